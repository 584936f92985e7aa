# SPDX-License-Identifier: Apache-2.0
"""FP16: typed as promised, emulated with its rounding and its overflow, and its limits enforced."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from export.graph_runner import GraphRunner
from export.half import MAX_ACTIVATION, fp16_from_fp32, require_fp16_range
from export.onnx_from_torch import open_session, run_session
from export.onnx_graph import constants_of, types_of
from facedepth_edge.errors import ArtifactError


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (3, 1, 96, 96)).astype(np.float32)


@pytest.mark.parametrize("name", ["edge", "paper"])
def test_all_floats_inside_are_fp16(name: str, onnx_models: dict[str, onnx.ModelProto]) -> None:
    half = fp16_from_fp32(onnx_models[name])
    outer = {value.name for value in (*half.graph.input, *half.graph.output)}
    assert outer == {value.name for value in (*onnx_models[name].graph.input, *onnx_models[name].graph.output)}
    scales = {node.input[2] for node in half.graph.node if node.op_type == "Resize"}
    types = types_of(half)
    assert {key for key, kind in types.items() if kind == TensorProto.FLOAT} == outer | scales
    assert sum(kind == TensorProto.FLOAT16 for kind in types.values()) >= 20
    assert len(half.SerializeToString()) < 0.7 * len(onnx_models[name].SerializeToString())


@pytest.mark.parametrize("name", ["edge", "paper"])
def test_fp16_is_close_and_rounded(name: str, onnx_models: dict[str, onnx.ModelProto], faces: np.ndarray) -> None:
    expected = run_session(open_session(onnx_models[name]), faces)
    runner = GraphRunner(fp16_from_fp32(onnx_models[name]))
    got = runner.run({"face": faces})
    on_ort = run_session(open_session(fp16_from_fp32(onnx_models[name])), faces)
    for key, value in expected.items():
        assert got[key].dtype == np.float32
        off = np.abs(got[key] - value)  # the largest depends on the processor: 5.3e-3 with AVX-512
        assert 0 < off.max() < 1e-2
        assert off.mean() < 1e-3
        np.testing.assert_array_equal(got[key], got[key].astype(np.float16).astype(np.float32))
        np.testing.assert_allclose(got[key], on_ort[key], atol=1e-2)
    assert 0 < require_fp16_range(runner.largest, fp16_from_fp32(onnx_models[name]), "fp16.onnx") < 100


def scaled_model(weight: float) -> onnx.ModelProto:
    """x -> two 1x1 convolutions, the second of which undoes the first; between them values may overflow FP16."""
    constants = [
        numpy_helper.from_array(np.full((1, 1, 1, 1), value, np.float32), name)
        for name, value in (("up", weight), ("down", 1 / weight))
    ]
    nodes = [
        helper.make_node("Conv", ["face", "up"], ["large"], "first"),
        helper.make_node("Conv", ["large", "down"], ["depth"], "second"),
    ]
    shape = ["batch", 1, 4, 4]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("face", "depth")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


@pytest.mark.parametrize(("size", "passed", "finite"), [(1.5, True, True), (20.0, False, True), (80.0, False, False)])
def test_overflow_is_seen(size: float, passed: bool, finite: bool) -> None:
    half = fp16_from_fp32(scaled_model(1000.0))
    runner = GraphRunner(half)
    x = np.full((1, 1, 4, 4), size, np.float32)
    result = runner.run({"face": x})["depth"]
    assert np.isfinite(result).all() == finite
    assert runner.largest["large"] == pytest.approx(1000 * size)
    if passed:
        assert require_fp16_range(runner.largest, half, "fp16.onnx") == pytest.approx(1000 * size)
    else:
        with pytest.raises(ArtifactError, match=r"fp16\.onnx: large: got .*expected magnitudes under 16000"):
            require_fp16_range(runner.largest, half, "fp16.onnx")


def test_nan_is_seen_and_stays_seen() -> None:
    half = fp16_from_fp32(scaled_model(2.0))
    runner = GraphRunner(half)
    for value in (1.0, np.nan, 1.0):
        runner.run({"face": np.full((1, 1, 4, 4), value, np.float32)})
    with pytest.raises(ArtifactError, match="got nan"):
        require_fp16_range(runner.largest, half, "fp16.onnx")
    with pytest.raises(ArtifactError, match="no FP16 tensor"):
        require_fp16_range({}, half, "fp16.onnx")


def test_a_weight_beyond_fp16_is_refused() -> None:
    with pytest.raises(ArtifactError, match="fp16: up: got 70000, expected at most 65504"):
        fp16_from_fp32(scaled_model(70_000.0))


def test_small_scales_are_refused() -> None:
    constants = [numpy_helper.from_array(np.array(2.0**-15, np.float16), "s")]
    constants += [numpy_helper.from_array(np.array(0, np.int8), "z")]
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "q")]
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1])]
    outputs = [helper.make_tensor_value_info("q", TensorProto.INT8, [1])]
    graph = helper.make_graph(nodes, "g", values, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    with pytest.raises(ArtifactError, match="expected scales of"):
        require_fp16_range({"x": 1.0}, model, "int8-trt.onnx")
    assert MAX_ACTIVATION == 16_000


@pytest.mark.parametrize("name", ["edge", "paper"])
def test_the_runner_equals_onnx_runtime_in_float32(
    name: str, onnx_models: dict[str, onnx.ModelProto], faces: np.ndarray
) -> None:
    expected = run_session(open_session(onnx_models[name]), faces)
    got = GraphRunner(onnx_models[name]).run({"face": faces})
    double = GraphRunner(onnx_models[name], torch.float64).run({"face": faces})
    for key, value in expected.items():
        np.testing.assert_allclose(got[key], value, atol=2e-5)
        np.testing.assert_allclose(double[key], value, atol=2e-5)
        assert double[key].dtype == np.float64


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_quantising_equals_onnx_runtime(kind: type) -> None:
    zero = np.array(7 if kind is np.uint8 else 0, kind)
    constants = [numpy_helper.from_array(np.array(0.05, np.float32), "s"), numpy_helper.from_array(zero, "z")]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], "dq"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    x = np.random.default_rng(0).normal(0, 5, (100, 3)).astype(np.float32)
    expected = open_session(model).run(None, {"x": x})[0]
    assert len(np.unique(expected)) > 100
    np.testing.assert_allclose(GraphRunner(model).run({"x": x})["y"], expected, atol=1e-6)


def test_an_unknown_operator_is_told() -> None:
    model = scaled_model(2.0)
    model.graph.node[1].op_type = "Softplus"
    del model.graph.node[1].input[1:]
    with pytest.raises(ArtifactError, match="graph runner: got Softplus, expected one of Add"):
        GraphRunner(model)
    assert set(constants_of(model)) == {"up", "down"}
