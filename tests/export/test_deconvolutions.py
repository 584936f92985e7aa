# SPDX-License-Identifier: Apache-2.0
"""Transposed convolutions rewritten: equal to PyTorch in float64, in every form, with every neighbour."""

from __future__ import annotations

import collections

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from export.cpu_rewrites import interleaving_as_blocks
from export.deconvolutions import (
    FORMS,
    TAPS_OF_FORM,
    deconvolutions_as_convolutions,
    kernels_of_form,
    weight_count,
)
from export.graph_runner import GraphRunner
from export.onnx_from_torch import onnx_from_network, open_session, run_session
from facedepth_edge.errors import ConfigError
from tests.export.conftest import small_network


def kinds(model: onnx.ModelProto) -> collections.Counter[str]:
    return collections.Counter(node.op_type for node in model.graph.node)


def layer_model(
    weight: np.ndarray, bias: np.ndarray | None, rectifier: str | None, **changed: object
) -> onnx.ModelProto:
    """One transposed convolution, k5 s2 unless changed, and what follows it."""
    attributes = {"strides": [2, 2], "pads": [2, 2, 2, 2], "output_padding": [1, 1], **changed}
    constants = [numpy_helper.from_array(weight, "w")]
    constants += [] if bias is None else [numpy_helper.from_array(bias, "b")]
    names = ["x", "w"] if bias is None else ["x", "w", "b"]
    last = "y" if rectifier is None else "grown"
    nodes = [helper.make_node("ConvTranspose", names, [last], "grow", **attributes)]
    if rectifier is not None:
        slope = {"alpha": 0.3} if rectifier == "LeakyRelu" else {}
        nodes.append(helper.make_node(rectifier, ["grown"], ["y"], "after", **slope))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", weight.shape[0], 7, 5])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rectifier", [None, "Relu", "LeakyRelu", "Tanh"])
@pytest.mark.parametrize("with_bias", [True, False])
def test_one_layer_equals_pytorch_in_float64(form: str, rectifier: str | None, with_bias: bool) -> None:
    rng = np.random.default_rng(3)
    weight = rng.normal(size=(3, 4, 5, 5)).astype(np.float32)
    bias = rng.normal(size=4).astype(np.float32) if with_bias else None
    model = deconvolutions_as_convolutions(layer_model(weight, bias, rectifier), lambda c, k: form)
    assert kinds(model)["ConvTranspose"] == 0
    assert kinds(model)["Conv"] == {"phases": 4, "rows": 2, "single": 1}[form]
    x = rng.normal(size=(2, 3, 7, 5))
    layer = torch.nn.ConvTranspose2d(3, 4, 5, 2, padding=2, output_padding=1, bias=with_bias).double()
    layer.weight.data = torch.from_numpy(weight.astype(np.float64))
    if bias is not None:
        layer.bias.data = torch.from_numpy(bias.astype(np.float64))
    after = {
        None: lambda y: y,
        "Relu": torch.relu,
        "Tanh": torch.tanh,
        "LeakyRelu": lambda y: torch.nn.functional.leaky_relu(y, float(np.float32(0.3))),
    }[rectifier]
    expected = after(layer(torch.from_numpy(x))).detach().numpy()
    got = GraphRunner(model, torch.float64).run({"x": x})["y"]
    assert got.shape == expected.shape == (2, 4, 14, 10)
    assert expected.std() > 0.1
    assert np.abs(got - expected).max() < 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_the_generator_equals_pytorch(form: str, onnx_models: dict[str, onnx.ModelProto]) -> None:
    plain = onnx_models["paper"]
    model = deconvolutions_as_convolutions(plain, lambda c, k: form)
    faces = np.random.default_rng(1).uniform(-1, 1, (2, 1, 96, 96))
    network = small_network("paper").fuse().double()
    for module in network.modules():
        if isinstance(module, torch.nn.LeakyReLU):
            module.negative_slope = float(np.float32(module.negative_slope))  # as the file holds it
    with torch.no_grad():
        expected = network(torch.from_numpy(faces))["depth"].numpy()
    assert expected.std() > 0.02
    for graph in (model, interleaving_as_blocks(model)):
        got = GraphRunner(graph, torch.float64).run({"face": faces})["depth"]
        assert np.abs(got - expected).max() < 1e-12
        single = run_session(open_session(graph), faces.astype(np.float32))["depth"]
        assert np.abs(single - expected).max() < 1e-5 * 2  # the range is -1 to 1
    assert weight_count(model) - weight_count(plain) == (TAPS_OF_FORM[form] - 25) * (8 * 8 + 8 * 8)


def test_folding_batch_norm_is_exact_in_float64() -> None:
    network = small_network("paper").double()
    faces = torch.rand(2, 1, 96, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected, got = network(faces)["depth"], network.fuse()(faces)["depth"]
    assert expected.std() > 0.02
    assert float((expected - got).abs().max()) < 1e-12


def test_forms_are_chosen_by_layer() -> None:
    network = small_network("paper")
    seen = []

    def form_of(channels: int, outputs: int) -> str:
        seen.append((channels, outputs))
        return "phases" if len(seen) == 1 else "single"

    model = deconvolutions_as_convolutions(onnx_from_network(network, (96, 96)), form_of)
    assert seen == [(8, 8), (8, 8)]
    assert kinds(model)["Conv"] == 3 + 4 + 1
    assert kinds(model)["DepthToSpace"] == 2


@pytest.mark.parametrize(
    "changed",
    [{"pads": [1, 1, 1, 1]}, {"output_padding": [0, 0]}, {"strides": [1, 1], "output_padding": [0, 0]},
     {"dilations": [2, 2]}, {"auto_pad": "SAME_UPPER", "pads": None, "output_padding": None}],
)  # fmt: skip
def test_other_layers_stay(changed: dict[str, object]) -> None:
    weight = np.ones((3, 4, 5, 5), np.float32)
    model = layer_model(weight, None, "Relu", **changed)
    assert kinds(deconvolutions_as_convolutions(model, lambda c, k: "single"))["ConvTranspose"] == 1


def test_a_tensor_with_two_readers_keeps_its_rectifier() -> None:
    model = layer_model(np.ones((3, 4, 5, 5), np.float32), None, "Relu")
    model.graph.output.append(helper.make_tensor_value_info("grown", TensorProto.FLOAT, ["batch", 4, 14, 10]))
    rewritten = deconvolutions_as_convolutions(model, lambda c, k: "phases")
    x = np.random.default_rng(0).normal(size=(1, 3, 7, 5))
    a, b = (GraphRunner(graph, torch.float64).run({"x": x}) for graph in (model, rewritten))
    for name in ("y", "grown"):
        assert np.abs(a[name] - b[name]).max() < 1e-12
    assert (a["grown"] < 0).any()


def test_an_unknown_form_is_told() -> None:
    with pytest.raises(ConfigError, match="form: got fast, expected one of phases, rows, single"):
        kernels_of_form(np.ones((1, 1, 5, 5), np.float32), "fast")
