# SPDX-License-Identifier: Apache-2.0
"""The ONNX graph: equal to PyTorch, the promised names and shapes, no trace of the machine, always the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export.onnx_from_torch import (
    OPSET,
    check_graph,
    onnx_from_network,
    open_session,
    require_equal_outputs,
    run_reference,
    run_session,
)
from facedepth_edge.errors import ArtifactError
from tests.export.conftest import small_network


@pytest.mark.parametrize("name", ["edge", "paper"])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_graph_equals_pytorch(name: str, batch: int, onnx_models: dict[str, onnx.ModelProto]) -> None:
    faces = np.random.default_rng(batch).uniform(-1, 1, (batch, 1, 96, 96)).astype(np.float32)
    reference = run_reference(small_network(name), faces)
    outputs = run_session(open_session(onnx_models[name]), faces)
    assert list(outputs) == (["depth", "mask", "validity"] if name == "edge" else ["depth"])
    errors = require_equal_outputs(reference, outputs, "fp32.onnx")
    assert max(errors.values()) < 1e-5
    assert reference["depth"].std() > 0.02
    assert outputs["depth"].dtype == np.float32
    if name == "edge":
        assert outputs["validity"].shape == (batch, 1)
        assert 0 <= outputs["mask"].min() < outputs["mask"].max() <= 1


@pytest.mark.parametrize("name", ["edge", "paper"])
def test_graph_is_plain(name: str, onnx_models: dict[str, onnx.ModelProto]) -> None:
    model = onnx_models[name]
    assert [(entry.domain, entry.version) for entry in model.opset_import if entry.domain == ""] == [("", OPSET)]
    kinds = {node.op_type for node in model.graph.node}
    assert "BatchNormalization" not in kinds
    if name == "edge":
        assert kinds <= {
            "Conv", "Relu", "Add", "Resize", "DepthToSpace", "Slice", "Tanh", "Sigmoid", "ReduceMean", "Reshape"
        }  # fmt: skip
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param == "batch"
    assert [dim.dim_value for dim in dims[1:]] == [1, 96, 96]


def test_graph_holds_no_trace_of_the_machine_and_repeats(onnx_models: dict[str, onnx.ModelProto]) -> None:
    content = onnx_models["edge"].SerializeToString(deterministic=True)
    for word in (str(Path(__file__).resolve().parents[2]), "site-packages", "train.networks", ".py"):
        assert word.encode() not in content
    network = small_network("edge")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert onnx_from_network(network, (96, 96)).SerializeToString(deterministic=True) == content
    after = network.state_dict()  # exporting changes nothing
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_differences_are_told() -> None:
    reference = {"depth": np.zeros((1, 1, 4, 4), np.float32)}
    assert require_equal_outputs(reference, {"depth": reference["depth"] + 1e-4}, "x.onnx")["depth"] < 1e-4
    for wrong in (reference["depth"] + 3e-4, reference["depth"] + np.nan, np.zeros((1, 1, 4, 5), np.float32)):
        with pytest.raises(ArtifactError, match=r"x\.onnx: depth: got .*expected at most 0\.0001 of the range"):
            require_equal_outputs(reference, {"depth": wrong}, "x.onnx")


def test_other_graphs_are_refused(onnx_models: dict[str, onnx.ModelProto]) -> None:
    with pytest.raises(ArtifactError, match=r"inputs and outputs .*expected \['face'\] and \['depth', 'mask'\]"):
        check_graph(onnx_models["edge"], (96, 96), ("depth", "mask"))
    with pytest.raises(ArtifactError, match="input shape"):
        check_graph(onnx_models["edge"], (96, 80), ("depth", "mask", "validity"))
    broken = onnx.ModelProto()
    broken.CopyFrom(onnx_models["edge"])
    broken.graph.node[0].op_type = "Convolution"
    with pytest.raises(ArtifactError, match="expected a valid graph"):
        check_graph(broken, (96, 96), ("depth", "mask", "validity"))
