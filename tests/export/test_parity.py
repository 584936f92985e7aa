# SPDX-License-Identifier: Apache-2.0
"""The gate: what is within the limits passes, and every way of being wrong is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export import parity
from export.comparison import Parity, Tally, compare_sheets
from export.face_subsets import SUBSETS, subsets_of
from export.half import fp16_from_fp32
from export.onnx_from_torch import run_reference
from export.onnx_graph import copy_of
from export.parity import GateReport, growth_faults, main, require_gate, run_gate, runner_from_program
from facedepth_edge.artifacts import open_artifact
from facedepth_edge.errors import ArtifactError, InputError
from tests.export.conftest import small_network
from train.data.packed import PackedSet
from train.metrics import ScoreSheet
from train.validation import batches_of


@pytest.fixture(scope="module")
def indices(export_data: PackedSet) -> np.ndarray:
    return export_data.indices("test")


@pytest.fixture(scope="module")
def halves(onnx_models: dict[str, onnx.ModelProto]) -> onnx.ModelProto:
    return fp16_from_fp32(onnx_models["edge"])


def gate(files: dict[str, onnx.ModelProto], data: PackedSet, indices: np.ndarray) -> GateReport:
    content = {name: model.SerializeToString() for name, model in files.items()}
    return run_gate(content, partial(run_reference, small_network("edge")), data, indices)


def test_equal_files_pass(
    onnx_models: dict[str, onnx.ModelProto], halves: onnx.ModelProto, export_data: PackedSet, indices: np.ndarray
) -> None:
    report = gate({"fp32.onnx": onnx_models["edge"], "fp16.onnx": halves}, export_data, indices)
    assert report.faults == []
    require_gate(report, "edge")
    assert report.faces == len(export_data.indices("test", faces_only=True)) > 3
    half = report.files["fp16.onnx"].subsets["all"]
    exact = report.files["fp32.onnx"].subsets["all"]
    assert 0 < exact["mean_mm"] < 1e-3 < half["mean_mm"] < half["p99_mm"] < half["max_mm"] < 2
    assert half["correlation"] > 0.999
    assert report.files["fp32.onnx"].largest_activation is None
    assert report.files["fp16.onnx"].largest_activation > 0.1
    assert "frontal" in report.files["fp16.onnx"].subsets
    text = report.table()
    assert "| fp16.onnx | all |" in text
    assert "RMSE scale-invariant" in text
    plain = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert plain["files"]["fp16.onnx"]["passed"] is True


def spoilt(model: onnx.ModelProto, change: Callable[[np.ndarray], np.ndarray], which: int = -1) -> onnx.ModelProto:
    """Change one of the convolutions' weights."""
    result = copy_of(model)
    tensor = [t for t in result.graph.initializer if len(t.dims) == 4][which]
    tensor.CopyFrom(numpy_helper.from_array(change(np.array(numpy_helper.to_array(tensor))), tensor.name))
    return result


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: w * np.float32(1.02), "of its range away from PyTorch, limit 0.0001"),
        (lambda w: w * np.float32(np.nan), "holds NaN or infinity"),
    ],
)
def test_a_wrong_fp32_file_fails(
    change: Callable, told: str, onnx_models: dict[str, onnx.ModelProto], export_data: PackedSet, indices: np.ndarray
) -> None:
    report = gate({"fp32.onnx": spoilt(onnx_models["edge"], change)}, export_data, indices)
    assert any(told in fault for fault in report.faults)
    with pytest.raises(ArtifactError, match=r"edge: got fp32\.onnx: "):
        require_gate(report, "edge")
    json.dumps(report.to_json(), allow_nan=False)


def test_an_overflow_that_onnx_runtime_cannot_show_fails(
    onnx_models: dict[str, onnx.ModelProto], export_data: PackedSet, indices: np.ndarray
) -> None:
    """The first convolution 3,000 times larger and the next as much smaller: the same function, but not in FP16."""
    larger = spoilt(onnx_models["edge"], lambda w: w * np.float32(30_000), 0)
    report = gate({"fp16.onnx": fp16_from_fp32(larger)}, export_data, indices)
    assert any("expected magnitudes under 16000" in fault for fault in report.faults)


def test_a_wrong_mask_alone_fails(halves: onnx.ModelProto, export_data: PackedSet, indices: np.ndarray) -> None:
    from export.graph_runner import GraphRunner

    def other_mask(runner: GraphRunner, faces: np.ndarray) -> dict[str, np.ndarray]:
        outputs = runner.run({"face": faces})
        return {**outputs, "mask": 1 - outputs["mask"]}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "run_emulated", other_mask)
        report = gate({"fp16.onnx": halves}, export_data, indices)
    assert any("mask differs by" in fault for fault in report.faults)
    assert not any("mean error grows" in fault for fault in report.faults)


def test_the_mean_of_a_mask_is_over_the_faces_not_the_batches(
    halves: onnx.ModelProto, export_data: PackedSet, indices: np.ndarray
) -> None:
    """One face that is off by 0.03 in a batch of its own is one of all."""
    tally = Tally()
    for chosen, off in ((indices[:-1], 0.0), (indices[-1:], 0.03)):
        for _, batch in batches_of(export_data, chosen):
            expected = {"depth": batch.depth.numpy(), "mask": np.full(tuple(batch.depth.shape), 0.5, np.float32)}
            tally.add({**expected, "mask": expected["mask"] + np.float32(off)}, expected, batch)
    assert len(tally.mean_of_range["mask"]) == len(indices)
    assert np.mean(tally.mean_of_range["mask"]) == pytest.approx(0.03 / len(indices), rel=1e-3)


def test_a_missing_or_misshapen_output_fails(
    halves: onnx.ModelProto, export_data: PackedSet, indices: np.ndarray
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "run_emulated", lambda runner, faces: {"depth": np.zeros((1, 1, 4, 4), np.float32)})
        report = gate({"fp16.onnx": halves}, export_data, indices)
    told = [fault for fault in report.faults if "another shape" in fault]
    assert len(told) == 3


def test_faults_of_the_file_are_told(halves: onnx.ModelProto, export_data: PackedSet, indices: np.ndarray) -> None:
    other = copy_of(halves)
    other.opset_import[0].version = 21
    report = gate({"fp16.onnx": other, "int8.onnx": halves}, export_data, indices)
    assert any(fault.startswith("fp16.onnx: TensorRT: opset") for fault in report.faults)
    assert any("0 QLinearConv after optimisation" in fault for fault in report.faults)


def test_subsets(export_data: PackedSet) -> None:
    faces = export_data.indices("test")
    meta = export_data.meta.copy()
    meta["roll_pitch_yaw_deg"][faces] = [(0, 0, 5 + 12 * place) for place in range(len(faces))]
    meta["visible"][faces[2]] = 0.5
    gray = np.full(export_data.gray.shape, 100, np.uint8)
    gray[faces[3]] = 20
    data = PackedSet(export_data.crops, gray, export_data.depth_mm, export_data.label, meta, "x")
    chosen = subsets_of(data, faces)
    assert tuple(chosen) == SUBSETS
    assert chosen["all"].all()
    assert np.flatnonzero(chosen["frontal"]).tolist() == [0]
    assert np.flatnonzero(chosen["extreme"]).tolist() == list(range(3, len(faces)))
    assert 2 in np.flatnonzero(chosen["occluded"])
    assert np.flatnonzero(chosen["dark"]).tolist() == [3]


def sheet_of(errors: list[float], slopes: list[float] | None = None) -> ScoreSheet:
    """Scores of faces with given constant errors in mm and given relative slope errors."""
    sheet, everywhere = ScoreSheet(), np.ones((20, 20), bool)
    target = np.linspace(-0.5, 0.5, 400).reshape(20, 20)
    for error, slope in zip(errors, slopes or [0.0] * len(errors), strict=True):
        sheet.add(target * (1 + slope) + error / 160, target, everywhere, everywhere, everywhere)
    return sheet


@pytest.mark.parametrize(
    ("errors", "slopes", "passed"),
    [
        ([10.0, 10.0, 10.0], [0.1, 0.1, 0.1], True),
        ([10.2, 10.2, 10.2], [0.102, 0.102, 0.102], True),
        ([10.4, 10.4, 10.4], [0.1, 0.1, 0.1], False),  # 4 % in mean
        ([10.0, 10.0, 10.0], [0.104, 0.104, 0.104], False),  # 4 % in shape
        ([13.1, 8.0, 8.0], [0.1, 0.1, 0.1], False),  # one face 3.1 mm worse
        ([float("nan")] * 3, [0.1, 0.1, 0.1], False),
    ],
)
def test_limits(errors: list[float], slopes: list[float], passed: bool) -> None:
    base = sheet_of([10.0, 10.0, 10.0], [0.1, 0.1, 0.1])
    if np.isnan(errors[0]):
        found = Parity({}, {}, float("nan"), 0.0, 3)
    else:
        found = compare_sheets(base, sheet_of(errors, slopes))
    assert found.passed is passed
    assert (growth_faults(found, "dark") == []) is passed
    if not passed:
        assert growth_faults(found, "dark")[0].startswith("dark: mean error grows by")


def test_one_subset_is_compared_by_itself() -> None:
    base, other = sheet_of([10.0, 10.0, 10.0, 10.0]), sheet_of([10.0, 10.0, 10.0, 12.0])
    assert compare_sheets(base, other, np.array([True, True, True, False])).mean_growth == pytest.approx(0)
    last = compare_sheets(base, other, np.array([False, False, False, True]))
    assert (last.faces, last.worst_face_mm) == (1, pytest.approx(2.0))


def test_no_head_no_comparison() -> None:
    sheet, nothing = ScoreSheet(), np.zeros((20, 20), bool)
    sheet.add(np.zeros((20, 20)), np.zeros((20, 20)), nothing, nothing, ~nothing)
    with pytest.raises(ArtifactError, match="no face with a measured head"):
        compare_sheets(sheet, sheet)


def test_differences_are_over_the_head_in_mm() -> None:
    import torch

    from train.data.batches import Batch

    shape = (1, 1, 20, 20)
    head = torch.zeros(shape, dtype=torch.bool)
    head[..., :10] = True
    plane = torch.linspace(-0.5, 0.5, 400).reshape(shape)
    yes = torch.ones(shape, dtype=torch.bool)
    one = torch.ones(1)
    batch = Batch(plane, plane, yes, head, yes, one[:, None], 700 * one, one, torch.zeros(1, 2), torch.zeros(1, 103))
    reference = {"depth": plane.numpy()}
    other = plane.numpy() + np.where(np.arange(20) < 10, 0.01, 0.5).astype(np.float32)
    tally = Tally()
    tally.add({"depth": other}, reference, batch)
    found = tally.against_reference(np.array([True]))
    assert found["mean_mm"] == pytest.approx(1.6, abs=1e-4)
    assert found["max_mm"] == pytest.approx(1.6, abs=1e-4)
    assert found["correlation"] == pytest.approx(1)
    assert tally.worst_of_range["depth"] == pytest.approx(0.25, abs=1e-5)
    assert tally.paper_metrics(np.array([True]))["l1"] == pytest.approx(0.5 * (0.01 + 0.5) * 127.5, abs=1e-3)


@pytest.fixture(scope="module")
def artifact(checkpoint: Path, export_data: PackedSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of two files within the limits; do not change it."""
    from export.options import ExportOptions
    from export.pipeline import export_network
    from train.weights import network_from_file

    folder = tmp_path_factory.mktemp("gate") / "edge"
    options = ExportOptions("edge", files=("fp32.onnx", "fp16.onnx"))
    export_network(network_from_file(checkpoint), export_data, folder, options, lambda line: None)
    return folder


def test_command(
    artifact: Path, export_data: PackedSet, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "report.json"
    arguments = [str(artifact), "--data", str(export_data.crops.root), "--json", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "| fp32.onnx | all |" in printed.out
    assert printed.err.strip().splitlines()[-1].startswith("PASS python -m export.parity")
    report = json.loads(out.read_text())
    kept = json.loads((artifact / "parity.json").read_text())
    assert report["files"] == kept["files"]
    assert main([*arguments[:-1], str(tmp_path / "none" / "report.json")]) == 1
    printed = capsys.readouterr()
    assert (printed.out, "--json: got" in printed.err) == ("", True)  # before any face was run
    monkeypatch.setattr(parity, "MAX_ACTIVATION", 1.0)
    monkeypatch.setattr("export.half.MAX_ACTIVATION", 1e-3)
    assert main([*arguments, "--count", "3"]) == 1
    printed = capsys.readouterr()
    assert "fp16.onnx: FAIL" in printed.out
    assert printed.err.strip().splitlines()[-1].startswith("FAIL python -m export.parity")
    assert main([str(artifact), "--data", str(tmp_path)]) == 1
    assert main([*arguments, "--count", "0"]) == 1
    assert "--count: got 0" in capsys.readouterr().err


def test_the_reference_is_in_the_artifact(artifact: Path) -> None:
    opened = open_artifact(artifact)
    run = runner_from_program(opened.read("reference.pt2"), opened.spec)
    with np.load(artifact / "golden.npz") as golden:
        for name, value in run(golden["face"]).items():
            np.testing.assert_allclose(value, golden[name], atol=1e-6)


def test_a_set_without_test_faces_is_told(export_data: PackedSet, halves: onnx.ModelProto) -> None:
    empty = export_data.indices("test")[~export_data.meta["face"][export_data.indices("test")]]
    with pytest.raises(InputError, match="held-out faces with a measured head"):
        gate({"fp16.onnx": halves}, export_data, empty)
