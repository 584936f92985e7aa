# SPDX-License-Identifier: Apache-2.0
"""The verification network as an artifact: two inputs, equal to PyTorch, quantised, gated, no model of EdgeDepth."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export import siamese
from export.int8_cpu import count_fused
from export.onnx_from_torch import open_session
from export.options import ExportOptions
from export.siamese import (
    INPUTS,
    PairModule,
    export_siamese,
    fold_batch_norms,
    onnx_from_siamese,
    pairs_of,
    siamese_gate,
)
from export.tensorrt_contract import tensorrt_faults
from facedepth_edge.artifacts import open_artifact
from facedepth_edge.errors import ArtifactError, InputError
from tests.train.conftest import write_crops_set
from tests.train.networks.test_paper_networks import randomise_norms
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping
from train.data.packed import PackedSet, open_packed_set
from train.networks.siamese import Siamese, SiameseConfig
from train.restore import TrainedNetwork


def small_siamese() -> Siamese:
    torch.manual_seed(0)
    network = Siamese(SiameseConfig((8, 8, 16), (8,)))
    randomise_norms(network)
    return network.eval()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    """A set with two people in each of two splits."""
    root = write_crops_set(tmp_path_factory.mktemp("pairs") / "heads", subjects=6, frames=4)
    info = json.loads((root / "dataset.json").read_text())
    info["subjects"] = {"train": [1, 2, 3], "val": [4], "test": [5, 6]}
    (root / "dataset.json").write_text(json.dumps(info))
    return open_packed_set(root, processes=1, progress=False)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx_from_siamese(small_siamese(), 96)


def trained() -> TrainedNetwork:
    settings = {"network": {"name": "siamese", "widths": [8, 8, 16], "hidden": [8]}, "task": {"name": "depth"}}
    about = {"name": "heads", "train_frames": 12, "train_subjects": 3}
    config = dataclass_from_mapping(TrainConfig, settings)
    return TrainedNetwork(small_siamese(), "siamese", config, 1, 8, "none", about, 96)


def test_folding_is_exact_in_float64() -> None:
    network = small_siamese().double()
    x = torch.rand(2, 1, 96, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, got = network.trunk(x), fold_batch_norms(network.trunk)(x)
    assert expected.std() > 0.01
    assert float((expected - got).abs().max()) < 1e-12


@pytest.mark.parametrize("batch", [1, 3])
def test_graph_equals_pytorch(batch: int, model: onnx.ModelProto) -> None:
    rng = np.random.default_rng(batch)
    pairs = {name: rng.normal(size=(batch, 1, 96, 96)).astype(np.float32) for name in INPUTS}
    got = open_session(model).run(["same"], pairs)[0]
    with torch.no_grad():
        logit = small_siamese()(*(torch.from_numpy(pairs[name]) for name in INPUTS))["same"]
    assert got.shape == (batch, 1)
    np.testing.assert_allclose(got, torch.sigmoid(logit).numpy(), atol=1e-5)
    swapped = open_session(model).run(["same"], {"first": pairs["second"], "second": pairs["first"]})[0]
    assert np.abs(swapped - got).max() > 1e-4
    assert [value.name for value in model.graph.input] == ["first", "second"]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_artifact(data: PackedSet, tmp_path: Path) -> None:
    folder, lines = tmp_path / "siamese", []
    options = ExportOptions("siamese", calibration_faces=24, held_out_faces=12)
    export_siamese(trained(), data, folder, options, lines.append)
    assert len(lines) == 4
    spec = json.loads((folder / "spec.json").read_text())
    assert (spec["kind"], spec["architecture"], spec["accuracy"]["pairs"]) == ("pair-verification", "siamese", 12)
    for name, entry in spec["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry["sha256"], name
    fused = count_fused(onnx.load(folder / "int8.onnx"))
    assert fused["QLinearConv"] == 4  # of six: each branch's first stays float
    for name in ("fp32.onnx", "fp16.onnx", "int8-trt.onnx"):
        assert tensorrt_faults(onnx.load(folder / name)) == []
    with np.load(folder / "golden.npz") as golden:
        pairs = {name: golden[name] for name in INPUTS}
        for name in ("fp32.onnx", "int8.onnx"):
            got = open_session((folder / name).read_bytes()).run(["same"], pairs)[0]
            np.testing.assert_allclose(got, golden["same"], atol=1e-4 if name == "fp32.onnx" else 0.1)
        program = torch.export.load(str(folder / "reference.pt2")).module()
        got = program(*(torch.from_numpy(pairs[name]) for name in INPUTS)).detach().numpy()
        np.testing.assert_allclose(got, golden["same"], atol=1e-6)
    with pytest.raises(ArtifactError, match=r"spec\.json: kind: got pair-verification, expected a model"):
        open_artifact(folder)
    with pytest.raises(ArtifactError, match="got a folder that exists"):
        siamese.write_folder(folder, {})


def test_depth_along_the_ray_and_sets_of_another_size(data: PackedSet, tmp_path: Path) -> None:
    """The published network learnt along the ray: its artifact says so, and its pairs are along it."""
    network, folder = trained(), tmp_path / "siamese"
    along = dataclasses.replace(network.config, data=dataclasses.replace(network.config.data, depth_along="ray"))
    options = ExportOptions("siamese", files=("fp32.onnx",), calibration_faces=8, held_out_faces=8)
    rays = np.full((len(data.meta), 2), 0.3, np.float32)
    beside = dataclasses.replace(data, ray_xy=rays)
    export_siamese(dataclasses.replace(network, config=along), beside, folder, options, lambda line: None)
    assert json.loads((folder / "spec.json").read_text())["depth_along"] == "ray"
    with np.load(folder / "golden.npz") as golden:
        np.testing.assert_array_equal(golden["first"], pairs_of(beside.with_depth_along("ray"), "test", 8)["first"])
        assert np.abs(golden["first"] - pairs_of(beside, "test", 8)["first"]).max() > 0.1
    with pytest.raises(InputError, match="boxes of 96 px, expected 64 px, as the checkpoint was trained"):
        export_siamese(dataclasses.replace(network, input_px=64), data, tmp_path / "small", options, print)


def test_a_file_that_was_not_written_whole_is_found(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hal")
    with pytest.raises(ArtifactError, match="a: got sha256"):
        siamese._check_files({"a": hashlib.sha256(b"half").hexdigest()}, tmp_path)


def test_the_gate_finds_a_wrong_file(model: onnx.ModelProto, data: PackedSet) -> None:
    pairs = pairs_of(data, "test", 8)
    run = partial(siamese._run_torch, PairModule(small_siamese()))
    assert siamese_gate({"fp32.onnx": model}, run, pairs)["fp32.onnx"]["faults"] == []
    for change in (0.3, np.nan):
        report = siamese_gate({"fp32.onnx": model}, lambda part, c=change: run(part) + np.float32(c), pairs)
        assert report["fp32.onnx"]["faults"]


def test_pairs_repeat_and_need_depth(data: PackedSet) -> None:
    first, again = pairs_of(data, "train", 10), pairs_of(data, "train", 10)
    for name in INPUTS:
        np.testing.assert_array_equal(first[name], again[name])
        assert abs(float(first[name].mean())) < 0.05
    blank = PackedSet(data.crops, data.gray, np.zeros_like(data.depth_mm), data.label, data.meta, "x")
    with pytest.raises(InputError, match="got no depth"):
        pairs_of(blank, "train", 10)


def test_it_is_no_command() -> None:
    done = subprocess.run([sys.executable, "-m", "export.siamese"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Use python -m export --model siamese." in done.stderr
