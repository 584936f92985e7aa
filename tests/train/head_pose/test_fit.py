# SPDX-License-Identifier: Apache-2.0
"""Training of the head pose: its samples' rotations, that it learns, and its command on the bundled model."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from facedepth_edge import head_pose
from facedepth_edge.artifacts import BUNDLED_FOLDER
from facedepth_edge.errors import ArtifactError
from facedepth_edge.head_pose import CELLS, features_from_maps, rotation_along_ray, rotation_from_maps
from tests.tiny_model import write_tiny_artifact
from tests.train.conftest import write_crops_set
from train.data.packed import open_packed_set
from train.head_pose import fit
from train.head_pose.__main__ import main
from train.head_pose.fit import FitSettings, PoseNetwork, rotation_in_box, write_weights
from train.head_pose.measure import measure_set
from train.report.command import COMMITTED_MODELS
from train.synth.motion import rotation_from_dataset_angles

EDGE = Path(BUNDLED_FOLDER) / "edge"


@pytest.mark.parametrize("flip", [False, True])
def test_a_box_that_is_turned_and_mirrored_shows_the_heads_axes_so(flip: bool) -> None:
    """As Placement.pixels has it, a place s of the sample shows center + Rot(angle) (mirrored s) of the crop."""
    angles, ray_xy, angle = np.array([20.0, -15.0, 40.0]), (0.2, -0.1), 0.6
    seen = rotation_along_ray(ray_xy).T @ rotation_from_dataset_angles(*angles)
    found = rotation_in_box(angles, ray_xy, angle, flip)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    mirror = np.diag([-1.0 if flip else 1.0, 1.0])
    for axis in (1, 2):  # down and forward of the head; mirrored, its left and right change places
        np.testing.assert_allclose(turn @ mirror @ found[:2, axis], seen[:2, axis], atol=1e-12)
        assert found[2, axis] == pytest.approx(seen[2, axis])
    assert np.linalg.det(found) == pytest.approx(1.0)
    np.testing.assert_allclose(rotation_in_box(angles, (0.0, 0.0)), rotation_from_dataset_angles(*angles), atol=1e-12)


def about_of(path: Path) -> dict[str, Any]:
    """Return what a file of weights says of itself."""
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["about"])


def tilted_samples(count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, list[np.ndarray]]:
    """Return cells of discs that are tilted as heads of these rotations are, the rotations, and the depth maps."""
    y, x = (np.mgrid[:48, :48] + 0.5) * 320 / 48 - 160
    mask = np.hypot(x, y) < 80
    cells, rotations, maps = [], [], []
    for _ in range(count):
        rotation = rotation_from_dataset_angles(0.0, *rng.uniform(-30, 30, 2))
        normal = rotation[:, 2]
        depth_mm = (-(normal[0] * x + normal[1] * y) / normal[2]).astype(np.float32)
        cells.append(features_from_maps(depth_mm, mask))
        rotations.append(rotation)
        maps.append(depth_mm)
    return torch.from_numpy(np.stack(cells)), torch.from_numpy(np.stack(rotations).astype(np.float32)), maps


def test_it_learns_and_the_package_computes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    cells, rotations, _ = tilted_samples(1500, rng)
    pose, loss = fit._fitted(cells, rotations, FitSettings(epochs=12))
    again, _ = fit._fitted(cells, rotations, FitSettings(epochs=12))
    assert all(torch.equal(a, b) for a, b in zip(pose.state_dict().values(), again.state_dict().values(), strict=True))
    fresh, truth, maps = tilted_samples(200, rng)
    with torch.no_grad():
        found = pose(fresh)
    cosine = ((found * truth).sum(dim=(1, 2)) - 1) / 2
    errors = torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))
    assert loss < 0.2
    assert float(errors.mean()) < 4  # they are turned by 24 degrees on average
    write_weights(tmp_path / "pose.safetensors", pose, {"frames": 3})
    assert about_of(tmp_path / "pose.safetensors")["frames"] == 3
    content = (tmp_path / "pose.safetensors").read_bytes()
    write_weights(tmp_path / "pose.safetensors", pose, {"frames": 3})
    assert (tmp_path / "pose.safetensors").read_bytes() == content
    monkeypatch.setattr(head_pose, "WEIGHTS_FILE", str(tmp_path / "pose.safetensors"))
    y, x = (np.mgrid[:48, :48] + 0.5) * 320 / 48 - 160
    for depth_mm, expected in zip(maps[:5], found.numpy()[:5], strict=True):
        np.testing.assert_allclose(rotation_from_maps(depth_mm, np.hypot(x, y) < 80), expected, atol=5e-3)


def test_a_network_that_knows_nothing_says_that_all_look_into_the_camera() -> None:
    pose = PoseNetwork(torch.zeros(2 * CELLS * CELLS)).eval()
    with torch.no_grad():
        pose.last.weight.zero_()
        np.testing.assert_allclose(pose(torch.rand(2, 2 * CELLS * CELLS)), np.eye(3)[None].repeat(2, axis=0), atol=1e-6)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_crops_set(tmp_path / "heads", subjects=4, frames=3)
    common = ["--model", str(EDGE), "--data", str(data), "--cache-dir", str(tmp_path / "cache")]
    out = tmp_path / "pose.safetensors"
    assert main(["fit", *common, "--out", str(out), "--repeats", "2", "--epochs", "2"]) == 0
    printed = capsys.readouterr()
    assert "2 people, 12 samples" in printed.out
    about = about_of(out)
    assert (about["data"], about["people"], about["frames"], about["repeats"]) == (["heads"], 2, 6, 2)
    monkeypatch.setattr(head_pose, "WEIGHTS_FILE", str(out))
    monkeypatch.setattr("train.head_pose.measure.called_valid", lambda *arguments: True)  # these are no faces
    assert main(["measure", *common]) == 0
    printed = capsys.readouterr()
    assert "| heads | all | 3 |" in printed.out
    assert printed.err.strip().splitlines()[-1].startswith("PASS python -m train.head_pose measure")
    monkeypatch.setattr("train.head_pose.measure.called_valid", lambda *arguments: False)
    assert main(["measure", *common]) == 1
    assert "got no frame that is called valid" in capsys.readouterr().err
    assert main(["fit", *common, "--out", str(tmp_path / "none" / "x.safetensors")]) == 1
    assert "--out: got" in capsys.readouterr().err
    paper = str(COMMITTED_MODELS / "paper.safetensors")
    assert main(["fit", "--model", paper, *common[2:], "--out", str(out)]) == 1
    assert "got a PaperGenerator, expected a network with a mask, edge" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "measure"])
def test_a_set_of_depth_alone_is_refused_before_the_work(
    command: str, crops_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(crops_root, blind, ignore=shutil.ignore_patterns("packed"))
    note = json.loads((blind / "dataset.json").read_text())
    (blind / "dataset.json").write_text(json.dumps({**note, "pictures": False}))
    out = ["--out", str(tmp_path / "pose.safetensors")] if command == "fit" else []
    asked = ["--data", str(crops_root), "--data", str(blind), "--cache-dir", str(tmp_path / "cache"), *out]
    assert main([command, "--model", str(EDGE), *asked]) == 1
    said = capsys.readouterr()
    assert "blind: got a set of depth alone, expected one with pictures" in said.err
    assert "training" not in said.err
    assert not (tmp_path / "pose.safetensors").exists()


def test_models_that_cannot_be_measured_are_refused(crops_root: Path, tmp_path: Path) -> None:
    data = open_packed_set(crops_root, tmp_path / "cache", 1)
    without_mask = write_tiny_artifact(tmp_path / "tiny", precisions=("int8",), mask=False)
    with pytest.raises(ArtifactError, match=r"got outputs depth, validity of \(96, 96\), expected a mask"):
        measure_set(without_mask, data, "test")
    without_int8 = write_tiny_artifact(tmp_path / "float", precisions=("fp32",))
    with pytest.raises(ArtifactError, match=r"got no int8\.onnx"):
        measure_set(without_int8, data, "test")
