# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to an artifact that facedepth_edge runs, and every way in which it must refuse."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from export import artifact_writer, pipeline
from export.__main__ import main
from export.artifact_writer import npz_bytes, require_free, write_artifact
from export.calibration import PERCENTILES
from export.graph_files import FILES
from export.options import ExportOptions
from export.parity import gate_of_artifact
from export.pipeline import export_network, golden_indices
from facedepth_edge.api import EdgeDepth
from facedepth_edge.artifacts import open_artifact
from facedepth_edge.errors import ArtifactError, ConfigError, InputError
from facedepth_edge.spec import ModelSpec
from tests.train.conftest import write_crops_set
from train.build import build_task
from train.checkpoint import load_checkpoint
from train.config_reader import plain_from_dataclass
from train.data.packed import PackedSet, open_packed_set
from train.restore import network_from_checkpoint
from train.start import begin_with, read_start, training_stages
from train.validation import measure_network
from train.weights import network_from_file, network_from_weights, save_weights


@pytest.fixture(scope="module")
def artifact(checkpoint: Path, export_data: PackedSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model; do not change it."""
    folder = tmp_path_factory.mktemp("models") / "edge"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "require_gate", lambda report, where: None)  # 30 steps make no model to measure
        export_network(network_from_file(checkpoint), export_data, folder, ExportOptions("edge"), print)
    return folder


@pytest.fixture
def quick(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the graph and the reference program from the artifact: making them again takes seconds."""
    graph, reference = onnx.load(artifact / "fp32.onnx"), (artifact / "reference.pt2").read_bytes()
    monkeypatch.setattr(pipeline, "onnx_from_network", lambda network, input_hw: graph)
    monkeypatch.setattr(pipeline, "reference_bytes", lambda network, input_hw: reference)


def test_a_training_begins_with_a_published_model(artifact: Path, checkpoint: Path, tmp_path: Path) -> None:
    """With the weights of reference.pt2, and with what spec.json says of the trainings before."""
    start = read_start(artifact)
    trained = network_from_checkpoint(checkpoint)
    weights = start.task.network.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in trained.network.state_dict().items())
    assert start.config.network == trained.config.network
    assert (start.about["samples"], start.about["step"], start.about["data"]["name"]) == (240, 30, "heads")
    next_training = dataclasses.replace(trained, start=start.about, samples=64, step=8)
    assert [stage["samples"] for stage in training_stages(next_training)] == [240, 64]
    assert training_stages(next_training)[0] == training_stages(trained)[0]
    task = build_task(trained.config)
    assert begin_with(start, task, trained.config, "k") == 1
    assert all(torch.equal(weights[name], value) for name, value in task.network.state_dict().items())
    save_weights(tmp_path / "edge.safetensors", next_training)
    kept = network_from_weights(tmp_path / "edge.safetensors")
    assert training_stages(kept) == training_stages(next_training)
    own = {"config": plain_from_dataclass(trained.config), "samples": 64, "step": 8, "data": {"name": "more"}}
    third = dataclasses.replace(trained, start={**own, "start": start.about}, samples=32)
    assert [stage["samples"] for stage in training_stages(third)] == [240, 64, 32]


def test_what_is_no_published_model_cannot_begin(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(ArtifactError, match=r"run: got a folder without spec\.json.*last\.pt or best\.pt"):
        read_start(tmp_path / "run")
    wheel = shutil.copytree(artifact, tmp_path / "wheel", ignore=shutil.ignore_patterns("reference.pt2"))
    with pytest.raises(ArtifactError, match=r"wheel: got no reference\.pt2.*leaves it out"):
        read_start(wheel)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("steps", 2.5, "training.steps: got 2.5, expected int"),
        ("samples", True, "training.samples: got True"),
        ("data", None, "training.data: got None"),
        ("stages", [], "training.stages: got"),
        ("stages", [{"samples": 3}], "a list of trainings with parameters, samples"),
        ("network", None, "TypeError"),
        ("network", {"widths": [8, 8, 16, 16], "head_width": 8, "context": 16}, "size mismatch"),
    ],
)
def test_what_a_published_model_says_of_itself_is_checked(
    artifact: Path, tmp_path: Path, key: str, value: Any, message: str
) -> None:
    folder = shutil.copytree(artifact, tmp_path / "edge")
    spec = json.loads((folder / "spec.json").read_text())
    spec["training"][key] = value
    (folder / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(ArtifactError, match=re.escape(message)):
        read_start(folder)


def test_a_program_of_another_kind_cannot_begin(artifact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(artifact, tmp_path / "edge")
    with zipfile.ZipFile(folder / "reference.pt2", "w") as other:
        other.writestr("version", "5")
        other.writestr("a/b", "c")
    content = (folder / "reference.pt2").read_bytes()
    spec = json.loads((folder / "spec.json").read_text())
    spec["files"]["reference.pt2"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(ArtifactError, match="a model that python -m export wrote from a training"):
        read_start(folder)


def test_spec(artifact: Path) -> None:
    spec = ModelSpec.from_json((artifact / "spec.json").read_bytes())
    assert (spec.name, spec.architecture, spec.version, spec.licence) == ("edge", "edge", "0.1.0", "Apache-2.0")
    assert spec.outputs.names == ("depth", "mask", "validity")
    assert spec.opset == 19
    assert sorted(spec.files) == sorted([*FILES, "golden.npz", "parity.json", "reference.pt2"])
    assert spec.optional_files == ("reference.pt2",)
    assert spec.training["samples"] == 240
    assert [stage["samples"] for stage in spec.training["stages"]] == [240]
    assert spec.training["subjects"] == 6
    assert spec.training["data"] == "heads"
    assert spec.training["network"]["widths"] == [8, 8, 16, 16]
    assert {"fp32", "int8", "int8_mean_growth", "int8_worst_face_mm", "int8-trt", "fp16"} <= set(spec.accuracy)
    assert spec.training["export"]["calibration"]["faces"] == 48
    assert set(spec.training["export"]["calibration"]["percentiles"]) == {"int8", "int8-trt"}
    assert set(spec.training["export"]["calibration"]["percentiles"].values()) <= set(PERCENTILES)
    assert set(spec.training["export"]["versions"]) == {"torch", "onnx", "onnxruntime"}
    assert spec.accuracy["fp32"]["offset_free_mm"] > 0
    assert spec.depth_scale.along == spec.accuracy["depth_along"] == "ray"


def test_the_gate_measures_along_what_the_network_was_trained_on(
    artifact: Path, checkpoint: Path, export_data: PackedSet
) -> None:
    assert load_checkpoint(checkpoint)["spec"]["depth_scale"]["along"] == "ray"
    network = network_from_checkpoint(checkpoint).network
    indices = export_data.indices("test")
    errors = {
        along: measure_network(network, export_data.with_depth_along(along), indices, "cpu").summary()["offset_free_mm"]
        for along in ("axis", "ray")
    }
    spec = ModelSpec.from_json((artifact / "spec.json").read_bytes())
    assert spec.accuracy["fp32"]["offset_free_mm"] == pytest.approx(errors["ray"], abs=1e-3)
    assert abs(errors["ray"] - errors["axis"]) > 0.1
    again = gate_of_artifact(artifact, export_data)
    assert again.files["fp32.onnx"].summary["offset_free_mm"] == pytest.approx(errors["ray"], abs=1e-3)


def test_golden_faces_hold_the_reference(artifact: Path, checkpoint: Path) -> None:
    from export.onnx_from_torch import run_reference
    from train.restore import network_from_checkpoint

    with np.load(artifact / "golden.npz") as golden:
        arrays = dict(golden)
    assert arrays["face"].shape == (6, 1, 96, 96)
    assert arrays["face"].dtype == np.float32
    assert arrays["face"].std() > 0.1
    expected = run_reference(network_from_checkpoint(checkpoint).network, arrays.pop("face"))
    assert arrays.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(arrays[name], value)


@pytest.mark.parametrize(
    ("backend", "precision"),
    [("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("onnxruntime", "fp16"), ("torch", "fp32")],
)
def test_the_package_runs_it(backend: str, precision: str, artifact: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (240, 320), dtype=np.uint8)
    with EdgeDepth(artifact, backend=backend, precision=precision) as edge:
        result = edge.predict(frame, (160.0, 120.0), distance_mm=700.0)
    assert result.depth_mm.shape == (96, 96)
    assert np.isfinite(result.depth_mm).all()
    assert result.validity is not None


def test_the_reference_program_takes_any_batch(artifact: Path) -> None:
    import torch

    program = torch.export.load(str(artifact / "reference.pt2")).module()
    with np.load(artifact / "golden.npz") as golden:
        for count in (1, 2, 6):
            depth = program(torch.from_numpy(golden["face"][:count]))[0].numpy()
            np.testing.assert_allclose(depth, golden["depth"][:count], atol=1e-5)


def test_exporting_repeats_byte_by_byte(
    artifact: Path, checkpoint: Path, export_data: PackedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "require_gate", lambda report, where: None)
    export_network(
        network_from_file(checkpoint), export_data, tmp_path / "again", ExportOptions("edge"), lambda line: None
    )
    for path in sorted(artifact.iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_no_file_holds_a_path_of_this_machine(artifact: Path) -> None:
    root = str(Path(__file__).resolve().parents[2]).encode()
    for path in artifact.iterdir():
        assert root not in path.read_bytes(), path.name
        assert b"site-packages" not in path.read_bytes(), path.name


def test_npz_bytes_depend_on_the_arrays_alone() -> None:
    arrays = {"face": np.arange(6, dtype=np.float32).reshape(2, 3)}
    assert npz_bytes(arrays) == npz_bytes({"face": arrays["face"].copy()})
    assert npz_bytes(arrays) != npz_bytes({"face": arrays["face"] + 1})


@pytest.mark.usefixtures("quick")
def test_an_existing_folder_is_kept_unless_replaced(
    artifact: Path, checkpoint: Path, export_data: PackedSet, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(artifact, tmp_path / "edge"))
    (folder / "fp32.onnx").write_bytes(b"old")
    with pytest.raises(ArtifactError, match=r"got a folder that exists, expected a new one\. Add --replace"):
        export_network(network_from_file(checkpoint), export_data, folder, ExportOptions("edge"), print)
    with pytest.raises(ArtifactError, match="got a folder that exists"):
        export_network(
            network_from_file(checkpoint), export_data, tmp_path / "none" / ".." / "edge", ExportOptions("edge"), print
        )
    assert (folder / "fp32.onnx").read_bytes() == b"old"
    export_network(
        network_from_file(checkpoint),
        export_data,
        folder,
        ExportOptions("edge", files=("fp32.onnx",), replace=True),
        print,
    )
    assert sorted(open_artifact(folder).spec.files) == ["fp32.onnx", "golden.npz", "parity.json", "reference.pt2"]
    assert [path.name for path in tmp_path.iterdir()] == ["edge"]
    (tmp_path / "photos").mkdir()
    with pytest.raises(ArtifactError, match="a folder that is no artifact"):
        export_network(
            network_from_file(checkpoint),
            export_data,
            tmp_path / "photos",
            ExportOptions("edge", files=("fp32.onnx",), replace=True),
            print,
        )


def test_a_failed_write_leaves_the_old_artifact(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(artifact, tmp_path / "edge"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    spec = open_artifact(artifact).spec
    files = {name: before[name] for name in spec.files}

    def fail(path: Path) -> None:
        raise ArtifactError("the check failed")

    with pytest.raises(ArtifactError, match="the check failed"):
        write_artifact(folder, spec, files, replace=True, check=fail)

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ArtifactError, match="No space left"):
        write_artifact(folder, spec, files, replace=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["edge"]


@pytest.mark.parametrize("exchange", [True, False])
def test_replacing_leaves_nothing_behind(
    exchange: bool, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(artifact_writer, "exchange_folders", lambda first, second: False)
    folder = Path(shutil.copytree(artifact, tmp_path / "edge"))
    spec = open_artifact(artifact).spec
    (folder / "stray.txt").write_text("old")
    files = {name: (artifact / name).read_bytes() for name in spec.files}
    write_artifact(folder, spec, files, replace=True, check=pipeline.check_artifact)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*spec.files, "spec.json"])
    assert [path.name for path in tmp_path.iterdir()] == ["edge"]


def test_folders_change_places(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    if not artifact_writer.exchange_folders(tmp_path / "a", tmp_path / "b"):
        assert sys.platform != "linux"
        return
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["a"]
    assert not artifact_writer.exchange_folders(tmp_path / "a", tmp_path / "none")


@pytest.mark.parametrize("moment", ["fsync", "check"])
def test_a_kill_leaves_the_old_artifact(moment: str, artifact: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(artifact, tmp_path / "edge"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code = f"""
import os, signal, sys
from pathlib import Path
from export import artifact_writer
from facedepth_edge.artifacts import open_artifact

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
spec = open_artifact(folder).spec
if {moment!r} == "fsync":
    os.fsync = die
artifact_writer.write_artifact(folder, spec, {{"fp32.onnx": b"new"}}, replace=True, check=die)
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    pipeline.check_artifact(folder)


def test_an_altered_file_is_found_before_it_gets_its_name(artifact: Path, tmp_path: Path) -> None:
    spec = open_artifact(artifact).spec
    files = {name: (artifact / name).read_bytes() for name in spec.files}
    files["fp32.onnx"] = files["fp32.onnx"][:-1] + b"x"
    with pytest.raises(ArtifactError):
        write_artifact(tmp_path / "edge", spec, files, check=pipeline.check_artifact)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_a_file_past_the_limits_is_not_written(
    checkpoint: Path, export_data: PackedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export import comparison

    monkeypatch.setattr(comparison, "MAX_MEAN_GROWTH", -1.0)
    options = ExportOptions("edge", files=("fp32.onnx", "fp16.onnx"))
    with pytest.raises(ArtifactError, match=r"fp16\.onnx: all: mean error grows by .*expected files within the gate"):
        export_network(network_from_file(checkpoint), export_data, tmp_path / "edge", options, print)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("files", [("fp16.onnx",), ("fp32.onnx", "int4.onnx"), ()])
def test_unknown_files_are_told(files: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"--files: got .*expected fp32\.onnx and any of"):
        ExportOptions("edge", files=files)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("count", [0, 1])
def test_too_few_calibration_faces_are_told(
    count: int, checkpoint: Path, export_data: PackedSet, tmp_path: Path
) -> None:
    options = ExportOptions("edge", calibration_faces=count)
    with pytest.raises(InputError, match=f"calibration: got {count} faces, expected at least 16 faces"):
        export_network(network_from_file(checkpoint), export_data, tmp_path / "edge", options, print)
    assert list(tmp_path.iterdir()) == []


def test_another_architecture_is_told(checkpoint: Path, export_data: PackedSet, tmp_path: Path) -> None:
    other = dataclasses.replace(network_from_file(checkpoint), architecture="cui")
    with pytest.raises(ArtifactError, match="export: got a network cui, expected one of edge, paper"):
        pipeline.export_network(other, export_data, tmp_path / "cui", ExportOptions("cui"), print)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArtifactError, match="got a checkpoint of edge, expected a checkpoint of paper"):
        network_from_file(checkpoint, "paper")


@pytest.mark.parametrize("along", ["axis", "ray"])
def test_boxes_of_another_reach_are_told(along: str, checkpoint: Path, export_data: PackedSet, tmp_path: Path) -> None:
    """spec.json would say 320 mm of a network that learnt from boxes of 400."""
    network = network_from_file(checkpoint)
    config = dataclasses.replace(network.config, data=dataclasses.replace(network.config.data, depth_along=along))
    wide = dataclasses.replace(export_data, crops=dataclasses.replace(export_data.crops, reach_mm=400.0))
    with pytest.raises(InputError, match=r"reach_mm: got 400\.0, expected 320 mm, as the runtime's"):
        export_network(
            dataclasses.replace(network, config=config), wide, tmp_path / "edge", ExportOptions("edge"), print
        )


def test_what_cannot_be_written_is_told_before_the_work(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"edge: got .*/file above it, expected a folder that may be written"):
        require_free(tmp_path / "file" / "models" / "edge", replace=True)
    require_free(tmp_path / "none" / "models" / "edge", replace=False)
    with pytest.raises(ConfigError, match="--version: got ' ', expected a text"):
        ExportOptions("edge", version=" ")


def test_too_few_faces_are_told(checkpoint: Path, export_data: PackedSet, tmp_path: Path) -> None:
    root = write_crops_set(tmp_path / "small", subjects=3, frames=2)
    small = open_packed_set(root, processes=1, progress=False)
    with pytest.raises(InputError, match="2 such frames, expected at least 6 frames"):
        export_network(network_from_file(checkpoint), small, tmp_path / "edge", ExportOptions("edge"), print)
    chosen = golden_indices(export_data, export_data.indices("test"))
    assert len(set(chosen.tolist())) == 6
    assert export_data.meta["face"][chosen].all()


@pytest.mark.usefixtures("quick")
def test_command(checkpoint: Path, export_data: PackedSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "edge"
    arguments = [str(checkpoint), "--name", "edge", "--calibration", str(export_data.crops.root), "--out", str(out)]
    assert main([*arguments, "--version", "2.0.0", "--files", "fp32.onnx"]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip().splitlines()[-1] == str(out)
    assert "fp32.onnx against PyTorch" in printed.out
    assert printed.err.strip().splitlines()[-1].startswith("PASS python -m export")
    assert json.loads((out / "spec.json").read_text())["version"] == "2.0.0"
    assert main(arguments) == 1
    assert "got a folder that exists" in capsys.readouterr().err
    arguments[0] = str(tmp_path / "none.pt")
    arguments[-1] = str(tmp_path / "other")
    assert main(arguments) == 1
    assert "none.pt: got no such file, expected a checkpoint" in capsys.readouterr().err
    (tmp_path / "cut.pt").write_bytes(checkpoint.read_bytes()[:5000])
    arguments[0] = str(tmp_path / "cut.pt")
    assert main(arguments) == 1
    assert "The file is damaged" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["../x", "", "a b", "-x"])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"--name: got .*expected letters, digits"):
        ExportOptions(name)
