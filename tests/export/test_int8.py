# SPDX-License-Identifier: Apache-2.0
"""INT8 for ONNX Runtime's CPU: exact rewrites, the convolutions that stay FP32, all others fused, limits enforced."""

from __future__ import annotations

import collections

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.cpu_rewrites import nearest_doubling_as_joins
from export.int8_cpu import count_fused, float_convolutions, int8_from_fp32
from export.onnx_from_torch import open_session, run_session
from facedepth_edge.errors import InputError


@pytest.fixture(scope="module")
def fp32(onnx_models: dict[str, onnx.ModelProto]) -> onnx.ModelProto:
    return onnx_models["edge"]


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """Smooth pictures, (32, 1, 96, 96) float32."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(-1, 1, (32, 1, 12, 12))
    return np.kron(coarse, np.ones((8, 8))).astype(np.float32)


@pytest.fixture(scope="module")
def int8(fp32: onnx.ModelProto, faces: np.ndarray) -> onnx.ModelProto:
    return int8_from_fp32(fp32, {"face": faces[:24]})


def kinds(model: onnx.ModelProto) -> collections.Counter[str]:
    return collections.Counter(node.op_type for node in model.graph.node)


def test_nearest_doubling_is_rewritten_exactly(fp32: onnx.ModelProto, faces: np.ndarray) -> None:
    rewritten = nearest_doubling_as_joins(fp32)
    assert kinds(fp32)["Resize"] == 3
    assert kinds(rewritten)["Resize"] == 0
    assert kinds(rewritten)["Concat"] == 6
    for batch in (faces[:1], faces[:3]):
        expected, got = run_session(open_session(fp32), batch), run_session(open_session(rewritten), batch)
        for name, value in expected.items():
            np.testing.assert_allclose(got[name], value, atol=1e-6)


def resize_model(**attributes: object) -> onnx.ModelProto:
    scales = attributes.pop("scales", [1.0, 1.0, 2.0, 2.0])
    constants = [numpy_helper.from_array(np.array(scales, np.float32), "scales")]
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], "grow", **attributes)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 5, 4])]
    sizes = ["batch", 3, round(5 * scales[2]), round(4 * scales[3])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes)]
    graph = helper.make_graph([node], "g", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def run_plain(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return open_session(model).run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("attributes", "rewritten"),
    [
        ({"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, True),
        ({"mode": "nearest", "coordinate_transformation_mode": "half_pixel"}, True),
        ({"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil"}, False),
        ({"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "ceil"}, False),
        ({"mode": "nearest", "coordinate_transformation_mode": "align_corners"}, False),
        ({"mode": "linear", "coordinate_transformation_mode": "half_pixel"}, False),
        ({"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "scales": [1.0, 1.0, 3.0, 3.0]}, False),
    ],
)
def test_only_exact_doublings_are_rewritten(attributes: dict[str, object], rewritten: bool) -> None:
    model = resize_model(**attributes)
    result = nearest_doubling_as_joins(model)
    assert (kinds(result)["Resize"] == 0) is rewritten
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    np.testing.assert_array_equal(run_plain(result, x), run_plain(model, x))


def test_first_and_last_convolutions_stay_float(fp32: onnx.ModelProto) -> None:
    by_name = {node.name: node for node in fp32.graph.node}
    chosen = [by_name[name] for name in float_convolutions(fp32)]
    assert len(chosen) == 3  # the stem, the head of depth and mask, and validity's
    assert any("face" in node.input for node in chosen)


def test_every_other_convolution_runs_in_int8(fp32: onnx.ModelProto, int8: onnx.ModelProto) -> None:
    fused = count_fused(int8)
    assert fused["QLinearConv"] == kinds(fp32)["Conv"] - 3
    assert fused["Conv"] + fused["FusedConv"] == 3


def test_weights_are_per_channel_int8_and_activations_uint8(int8: onnx.ModelProto) -> None:
    constants = {tensor.name: tensor for tensor in int8.graph.initializer}
    weights = [t for t in constants.values() if t.data_type == TensorProto.INT8 and len(t.dims) == 4]
    assert len(weights) > 5
    for tensor in weights:
        values = numpy_helper.to_array(tensor)
        assert values.min() >= -64
        assert values.max() <= 64
    points = [constants[n.input[2]] for n in int8.graph.node if n.op_type == "QuantizeLinear"]
    assert points
    assert all(tensor.data_type == TensorProto.UINT8 for tensor in points)
    scales = [constants[n.input[1]] for n in int8.graph.node if n.op_type == "DequantizeLinear"]
    assert sum(len(tensor.dims) == 1 and tensor.dims[0] > 1 for tensor in scales) >= len(weights)


def test_int8_is_close_and_not_constant(fp32: onnx.ModelProto, int8: onnx.ModelProto, faces: np.ndarray) -> None:
    a, b = run_session(open_session(fp32), faces[24:]), run_session(open_session(int8), faces[24:])
    assert {name: value.shape for name, value in a.items()} == {name: value.shape for name, value in b.items()}
    assert a["depth"].std() > 0.02
    assert np.abs(a["depth"] - b["depth"]).mean() < 0.1 * a["depth"].std()
    assert np.corrcoef(a["mask"].ravel(), b["mask"].ravel())[0, 1] > 0.98


def test_quantising_repeats(fp32: onnx.ModelProto, int8: onnx.ModelProto, faces: np.ndarray) -> None:
    again = int8_from_fp32(fp32, {"face": faces[:24]})
    assert again.SerializeToString(deterministic=True) == int8.SerializeToString(deterministic=True)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_calibration_faces_are_told(count: int, fp32: onnx.ModelProto, faces: np.ndarray) -> None:
    with pytest.raises(InputError, match=f"calibration: got {count} faces, expected at least 16 faces"):
        int8_from_fp32(fp32, {"face": faces[:count]})
