# SPDX-License-Identifier: Apache-2.0
"""Evaluation: trivial answers, predictors from files, the table and the JSON of the command."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.errors import ArtifactError, InputError
from facedepth_edge.ray_depth import along_axis
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping
from train.data.batches import make_batch
from train.data.command_line import open_sets
from train.data.packed import PackedSet, open_packed_set
from train.evaluate import evaluate, main, table_from_rows
from train.networks import Siamese
from train.predictors import predictor_from_file, predictors_from_model, trivial_answers
from train.restore import TrainedNetwork
from train.weights import save_weights


@pytest.fixture(scope="module")
def data(crops_root: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    return open_packed_set(crops_root, tmp_path_factory.mktemp("packed"), processes=1, progress=False)


def perfect(indices: np.ndarray, batch: object) -> dict[str, np.ndarray]:
    return {
        "depth": batch.depth.numpy(),
        "mask": batch.head.float().numpy(),
        "validity": batch.validity.numpy(),
    }


def test_trivial_answers_are_the_training_means(data: PackedSet) -> None:
    answers = trivial_answers(data)
    batch = make_batch(data, data.indices("train"))
    depth, head = batch.depth[:, 0].numpy().astype(np.float64), batch.head[:, 0].numpy()
    where = batch.valid[:, 0].numpy() & head
    assert answers.plane == pytest.approx(depth[where].mean(), abs=1e-6)
    row, column = 48, 40
    assert where[:, row, column].any()
    expected = depth[where[:, row, column], row, column].mean()
    assert answers.mean_face[row, column] == pytest.approx(expected, abs=1e-6)
    assert answers.mean_face[0, 0] == answers.plane
    assert answers.mean_mask[48, 48]
    assert not answers.mean_mask[0, 0]


def test_order_of_predictors(data: PackedSet) -> None:
    answers = trivial_answers(data)
    predictors = {"plane": answers.plane_predictor, "mean": answers.mean_face_predictor, "perfect": perfect}
    found = evaluate(data, "test", predictors, progress=False)
    rows = {row["name"]: row for row in found if row["region"] == "head"}
    faces = {row["name"]: row for row in found if row["region"] == "face"}
    assert faces["perfect"]["offset_free_mm"] == pytest.approx(0, abs=1e-6)
    assert 0 < faces["plane"]["offset_free_mm"] < rows["plane"]["offset_free_mm"]  # the face is flatter than the head
    assert "mask_iou" not in faces["perfect"]
    assert rows["perfect"]["offset_free_mm"] == pytest.approx(0, abs=1e-6)
    assert rows["perfect"]["mask_iou"] == rows["perfect"]["validity_right"] == 1.0
    assert rows["perfect"]["correlation"] == pytest.approx(1.0)
    assert 0 < rows["mean"]["offset_free_mm"] < rows["plane"]["offset_free_mm"]
    assert "correlation" not in rows["plane"]
    assert "mask_iou" not in rows["plane"]
    assert all(row["answered"] == 1.0 for row in found)


def write_predictions(path: Path, data: PackedSet, frames: list[int], offset: float = 0.2) -> None:
    """Write the truth plus an offset, for the upper half of some frames."""
    depth = make_batch(data, np.array(frames)).depth[:, 0].numpy() + offset
    depth[:, 48:] = np.nan
    np.savez(path, frame=np.array([data.crops.frames[i].frame_id for i in frames]), depth=depth)


def test_predictions_along_the_ray_are_turned(data: PackedSet, tmp_path: Path) -> None:
    rays = np.full((len(data.meta), 2), (0.2, -0.1), np.float32)
    away = replace(data, ray_xy=rays)
    indices = data.indices("test")
    write_predictions(tmp_path / "axis.npz", away, [int(i) for i in indices])
    with np.load(tmp_path / "axis.npz") as axis:
        write = {"frame": axis["frame"], "along": "ray"}
    batch = make_batch(away.with_depth_along("ray"), indices)
    np.savez(tmp_path / "ray.npz", depth=batch.depth[:, 0].numpy(), **write)
    truth = make_batch(away, indices)
    found = predictor_from_file(tmp_path / "ray.npz", away)(indices, truth)["depth"]
    sure = (truth.valid & (truth.depth.abs() < 0.9) & (batch.depth.abs() < 0.9)).numpy()
    assert sure.mean() > 0.1
    np.testing.assert_allclose(found[sure], truth.depth.numpy()[sure], atol=1e-4)
    assert np.abs(batch.depth.numpy() - truth.depth.numpy())[sure].max() > 0.05
    np.savez(tmp_path / "wrong.npz", depth=batch.depth[:, 0].numpy(), frame=write["frame"], along="z")
    with pytest.raises(InputError, match="along: got z, expected one of axis, ray"):
        predictor_from_file(tmp_path / "wrong.npz", away)


def test_a_model_that_answers_along_the_ray_is_measured_along_the_axis(
    data: PackedSet, tiny_artifact: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_artifact, tmp_path / "ray"))
    spec = json.loads((folder / "spec.json").read_text())
    spec["depth_scale"]["along"] = "ray"
    (folder / "spec.json").write_text(json.dumps(spec))
    indices = data.indices("test")
    batch = make_batch(data, indices)
    for name, predict in predictors_from_model(folder).items():
        found, plain = predict(indices, batch)["depth"], predictors_from_model(tiny_artifact)[name](indices, batch)
        assert found.shape == plain["depth"].shape
        for one, z, ray, distance_mm in zip(found, plain["depth"], batch.ray_xy, batch.distance_mm, strict=True):
            expected = along_axis(z[0], tuple(ray.tolist()), float(distance_mm), 160.0, (320.0, 320.0))
            np.testing.assert_allclose(one[0], np.clip(expected, -1, 1), atol=1e-6)
        assert np.abs(found - plain["depth"]).max() > 0.05


def test_external_predictions_count_where_they_answer(data: PackedSet, tmp_path: Path) -> None:
    indices = data.indices("test")
    write_predictions(tmp_path / "mesh.npz", data, [int(i) for i in indices[:2]])  # of three frames with a head
    external = {"mesh": predictor_from_file(tmp_path / "mesh.npz", data)}
    plane = trivial_answers(data).plane_predictor
    rows = {(r["name"], r["region"]): r for r in evaluate(data, "test", {"plane": plane}, external, progress=False)}
    assert set(rows) == {("plane", "head"), ("plane", "face"), ("plane", "mesh"), ("mesh", "mesh")}
    mesh = rows["mesh", "mesh"]
    assert mesh["answered"] == pytest.approx(2 / 3)
    assert mesh["offset_free_mm"] == pytest.approx(0, abs=1e-4)
    assert mesh["absolute_mm"] == pytest.approx(32, abs=1e-3)
    assert rows["plane", "mesh"]["answered"] == pytest.approx(2 / 3)
    assert rows["plane", "mesh"]["offset_free_mm"] != rows["plane", "head"]["offset_free_mm"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"frame": np.array(["001/000000"])}, "depth is not a file in the archive"),
        ({"frame": np.array(["001/000000"]), "depth": np.zeros((1, 9, 9))}, r"depth \(1, 9, 9\) float64"),
        ({"frame": np.array([1]), "depth": np.zeros((1, 96, 96))}, r"frame \(1,\) int64"),
        ({"frame": np.array(["999/000000"]), "depth": np.zeros((1, 96, 96))}, "got frame 999/000000"),
        ({"frame": np.array(["001/000000"] * 2), "depth": np.zeros((2, 96, 96))}, "got a frame twice"),
    ],
)
def test_wrong_predictions_are_told(
    arrays: dict[str, np.ndarray], message: str, data: PackedSet, tmp_path: Path
) -> None:
    np.savez(tmp_path / "p.npz", **arrays)
    with pytest.raises(InputError, match=message):
        predictor_from_file(tmp_path / "p.npz", data)


def test_unreadable_predictions_and_models_are_told(data: PackedSet, tmp_path: Path) -> None:
    (tmp_path / "p.npz").write_text("x")
    with pytest.raises(InputError, match=r"p\.npz: got .*expected an \.npz"):
        predictor_from_file(tmp_path / "p.npz", data)
    with pytest.raises(ArtifactError):
        predictors_from_model(tmp_path)
    with pytest.raises(ArtifactError, match="no such file"):
        predictors_from_model(tmp_path / "none.pt")


def test_a_network_without_depth_is_refused(
    crops_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"network": {"name": "siamese", "widths": [4, 4, 4], "hidden": [4]}, "task": {"name": "verification"},
                "augment": {"enabled": False}}  # fmt: skip
    config = dataclass_from_mapping(TrainConfig, settings)
    path = tmp_path / "siamese.safetensors"
    network = Siamese(config.network.options).eval()
    save_weights(path, TrainedNetwork(network, "siamese", config, 1, 8, "none", {"name": "heads"}, 96))
    arguments = ["--model", str(path), "--data", str(crops_root), "--cache-dir", str(tmp_path / "cache")]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    expected = (
        "got a checkpoint of siamese, which compares two faces, expected a network that gives depth: one of edge, "
    )
    assert f"{path}: {expected}" in error
    with pytest.raises(ArtifactError, match="one of edge, paper, pix2pix, cui"):
        predictors_from_model(path)


def test_an_artifact_is_measured_file_by_file(data: PackedSet, tiny_artifact: Path) -> None:
    predictors = predictors_from_model(tiny_artifact)
    assert list(predictors) == ["tiny fp32", "tiny int8"]
    rows = evaluate(data, "val", predictors, progress=False)
    assert [row["name"] for row in rows] == ["tiny fp32", "tiny int8"] * 2  # over the head, over the face
    assert all(np.isfinite(row["offset_free_mm"]) for row in rows)
    assert all(0 <= row["mask_iou"] <= 1 for row in rows[:2])


def test_table() -> None:
    rows = [{"name": "a", "region": "head", "frames": 3, "answered": 1.0, "offset_free_mm": 1.234, "mask_iou": 0.5}]
    lines = table_from_rows(rows).splitlines()
    assert lines[2] == "| a | head | 1.000 | 1.23 | - | - | 0.500 | - |"
    assert len({line.count("|") for line in lines}) == 1


def test_command(crops_root: Path, tiny_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache, out = str(tmp_path / "cache"), tmp_path / "rows.json"
    arguments = ["--model", str(tiny_artifact), "--data", str(crops_root), "--split", "val", "--cache-dir", cache]
    assert main([*arguments, "--json", str(out)]) == 0
    printed = capsys.readouterr()
    assert "| mean face of the training set | head |" in printed.out
    assert "| tiny int8 | head |" in printed.out
    assert printed.err.strip().splitlines()[-1].startswith("PASS python -m train.evaluate")
    content = json.loads(out.read_text())
    assert content["split"] == "val"
    assert len(content["rows"]) == 8
    assert main([*arguments, "--predictions", "x"]) == 1
    assert "--predictions: got x, expected NAME=FILE" in capsys.readouterr().err
    assert main([*arguments, "--count", "0"]) == 1
    assert main([*arguments, "--json", str(tmp_path)]) == 1
    assert "--json: got" in capsys.readouterr().err


def test_a_set_that_still_grows_is_measured(
    crops_root: Path, tiny_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Test people are rendered first; the training people are named and have no frame yet."""
    growing = tmp_path / "growing"
    people = json.loads((crops_root / "dataset.json").read_text())["subjects"]
    sequences = [f"{(person - 1) * 5 + 1:03d}" for person in people["train"]]
    shutil.copytree(crops_root, growing, ignore=shutil.ignore_patterns("packed", *sequences))
    assert main(["--model", str(tiny_artifact), "--data", str(growing)]) == 0
    told = capsys.readouterr()
    assert "no training frames: no mean face" in told.err
    assert "fp32 | head |" in told.out


def test_two_sets_of_one_name_are_refused(crops_root: Path, tmp_path: Path) -> None:
    arguments = argparse.Namespace(cache_dir=tmp_path, settings=[])
    with pytest.raises(InputError, match=r"a second set of the name crops, expected another name for each"):
        open_sets([crops_root, crops_root], arguments)
    assert list(open_sets([crops_root], arguments)) == ["crops"]
