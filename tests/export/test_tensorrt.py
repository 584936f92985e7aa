# SPDX-License-Identifier: Apache-2.0
"""int8-trt.onnx and the contract with TensorRT, without TensorRT: what we write fits, and every fault is found."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.deconvolutions import deconvolutions_as_convolutions
from export.graph_runner import GraphRunner
from export.half import MIN_SCALE, fp16_from_fp32
from export.int8_tensorrt import int8_trt_from_fp32, with_half_scales
from export.onnx_from_torch import open_session, run_session
from export.onnx_graph import constants_of, copy_of
from export.tensorrt_contract import tensorrt_faults
from facedepth_edge.errors import InputError


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.kron(rng.uniform(-1, 1, (32, 1, 12, 12)), np.ones((8, 8))).astype(np.float32)


@pytest.fixture(scope="module")
def sources(onnx_models: dict[str, onnx.ModelProto]) -> dict[str, onnx.ModelProto]:
    return {name: deconvolutions_as_convolutions(model, lambda c, k: "rows") for name, model in onnx_models.items()}


@pytest.fixture(scope="module")
def int8_trt(sources: dict[str, onnx.ModelProto], faces: np.ndarray) -> dict[str, onnx.ModelProto]:
    """Do not change them."""
    return {name: int8_trt_from_fp32(model, {"face": faces[:24]}) for name, model in sources.items()}


@pytest.mark.parametrize("name", ["edge", "paper"])
def test_all_files_fit_tensorrt(
    name: str,
    onnx_models: dict[str, onnx.ModelProto],
    sources: dict[str, onnx.ModelProto],
    int8_trt: dict[str, onnx.ModelProto],
) -> None:
    for model in (onnx_models[name], sources[name], fp16_from_fp32(sources[name]), int8_trt[name]):
        assert tensorrt_faults(model) == []


@pytest.mark.parametrize(("name", "floats"), [("edge", 3), ("paper", 2)])
def test_every_other_convolution_is_quantised(
    name: str, floats: int, sources: dict[str, onnx.ModelProto], int8_trt: dict[str, onnx.ModelProto]
) -> None:
    model = int8_trt[name]
    constants = constants_of(model)
    weights = [
        constants[node.input[0]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    ]
    convolutions = sum(node.op_type == "Conv" for node in sources[name].graph.node)
    assert len(weights) == convolutions - floats > 3
    for weight in weights:
        assert weight.dtype == np.int8
        assert np.abs(weight.astype(int)).max() <= 127
    channels = np.concatenate([np.abs(w.astype(int)).max(axis=(1, 2, 3)) for w in weights])
    assert (channels >= 125).mean() > 0.9  # the scale of each channel fits its weights


@pytest.mark.parametrize("name", ["edge", "paper"])
def test_int8_trt_is_close(
    name: str, onnx_models: dict[str, onnx.ModelProto], int8_trt: dict[str, onnx.ModelProto], faces: np.ndarray
) -> None:
    expected = run_session(open_session(onnx_models[name]), faces[24:])["depth"]
    got = GraphRunner(int8_trt[name]).run({"face": faces[24:]})["depth"]
    on_ort = run_session(open_session(int8_trt[name]), faces[24:])["depth"]
    assert expected.std() > 0.02
    assert np.abs(got - expected).mean() < 0.1 * expected.std()
    assert np.abs(got - on_ort).mean() < 0.05 * expected.std()


def test_quantising_repeats(
    sources: dict[str, onnx.ModelProto], int8_trt: dict[str, onnx.ModelProto], faces: np.ndarray
) -> None:
    again = int8_trt_from_fp32(sources["edge"], {"face": faces[:24]})
    assert again.SerializeToString(deterministic=True) == int8_trt["edge"].SerializeToString(deterministic=True)


def test_too_few_faces_are_told(sources: dict[str, onnx.ModelProto], faces: np.ndarray) -> None:
    with pytest.raises(InputError, match="calibration: got 1 faces"):
        int8_trt_from_fp32(sources["edge"], {"face": faces[:1]})


def test_a_channel_of_tiny_weights_gets_a_scale_that_fp16_holds() -> None:
    weight = np.array([1.0, 1e-6], np.float32).reshape(2, 1, 1, 1)
    values = [helper.make_tensor_value_info("face", TensorProto.FLOAT, ["batch", 1, 2, 2])]
    values += [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2, 2, 2])]
    scales = np.array([1 / 127, 1e-6 / 127], np.float32)
    plain = helper.make_graph(
        [helper.make_node("Conv", ["face", "w"], ["y"], "c")], "g", values[:1], values[1:],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["w_quantized", "s", "z"], ["w_dq"], "dq", axis=0),
        helper.make_node("Conv", ["face", "w_dq"], ["y"], "c"),
    ]
    arrays = {"w_quantized": np.full(weight.shape, 127, np.int8), "s": scales, "z": np.zeros(2, np.int8)}
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    quantised = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    opset = [helper.make_opsetid("", 19)]
    result = with_half_scales(
        helper.make_model(quantised, opset_imports=opset, ir_version=9),
        helper.make_model(plain, opset_imports=opset, ir_version=9),
    )
    found = constants_of(result)
    assert found["s"][1] == MIN_SCALE
    assert found["s"][0] == np.float32(np.float16(1 / 127))
    assert found["w_quantized"].ravel().tolist() == [127, 0]


def first(model: onnx.ModelProto, kind: str, weight: bool | None = None) -> onnx.NodeProto:
    constants = {tensor.name for tensor in model.graph.initializer}
    return next(
        node
        for node in model.graph.node
        if node.op_type == kind and (weight is None or (node.input[0] in constants) == weight)
    )


def replace(model: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(array, name))


def unsigned(model: onnx.ModelProto) -> None:
    node = first(model, "QuantizeLinear")
    for entry in model.graph.node:
        if node.input[2] in entry.input:
            entry.input[2] = "zero_u8"
    model.graph.initializer.append(numpy_helper.from_array(np.array(3, np.uint8), "zero_u8"))


def shifted(model: onnx.ModelProto) -> None:
    replace(model, first(model, "QuantizeLinear").input[2], np.array(3, np.int8))


def tiny_scale(model: onnx.ModelProto) -> None:
    replace(model, first(model, "QuantizeLinear").input[1], np.array(2.0**-16, np.float16))


def negative_scale(model: onnx.ModelProto) -> None:
    replace(model, first(model, "QuantizeLinear").input[1], np.array(-0.5, np.float16))


def one_scale_for_weights(model: onnx.ModelProto) -> None:
    node = first(model, "DequantizeLinear", weight=True)
    replace(model, node.input[1], np.array(0.01, np.float16))
    replace(model, node.input[2], np.array(0, np.int8))


def wrong_axis(model: onnx.ModelProto) -> None:
    next(entry for entry in first(model, "DequantizeLinear", weight=True).attribute if entry.name == "axis").i = 1


def other_scale_behind(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float16), "other_scale"))
    first(model, "DequantizeLinear", weight=False).input[1] = "other_scale"


def quantised_rectifier(model: onnx.ModelProto) -> None:
    node = first(model, "DequantizeLinear", weight=False)
    place = list(model.graph.node).index(node) + 1
    model.graph.node.insert(place, helper.make_node("Relu", [node.output[0]], ["extra"], "extra_relu"))


def quantised_bias(model: onnx.ModelProto) -> None:
    conv = next(node for node in model.graph.node if node.op_type == "Conv" and len(node.input) > 2)
    channels = constants_of(model)[conv.input[2]].shape
    for name, array in (("b", np.ones(channels, np.int8)), ("bs", np.ones(channels, np.float16)),
                        ("bz", np.zeros(channels, np.int8))):  # fmt: skip
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["b_dq"], "b_node", axis=0))
    conv.input[2] = "b_dq"


def float_weight(model: onnx.ModelProto) -> None:
    node = first(model, "DequantizeLinear", weight=True)
    shape = constants_of(model)[node.input[0]].shape
    model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float16), "plain"))
    for entry in model.graph.node:
        for place, name in enumerate(entry.input):
            if name == node.output[0]:
                entry.input[place] = "plain"
    model.graph.node.remove(node)


def unknown_operator(model: onnx.ModelProto) -> None:
    first(model, "Relu").op_type = "Softplus"


def other_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 21


def dynamic_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    del model.graph.value_info[:]


def half_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def no_kernel_shape(model: onnx.ModelProto) -> None:
    dequantised = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    node = next(node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in dequantised)
    kept = [attribute for attribute in node.attribute if attribute.name != "kernel_shape"]
    del node.attribute[:]
    node.attribute.extend(kept)


def odd_attribute(model: onnx.ModelProto) -> None:
    node = first(model, "Conv")
    kept = [attribute for attribute in node.attribute if attribute.name != "auto_pad"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("auto_pad", "SAME_LOWER")])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (unsigned, "zero points are not INT8 zeros"),
        (shifted, "zero points are not INT8 zeros"),
        (tiny_scale, "a scale is under"),
        (negative_scale, "a scale is not positive"),
        (one_scale_for_weights, "not one a channel on axis 0"),
        (wrong_axis, "not one a channel on axis 0"),
        (other_scale_behind, "not followed by a DequantizeLinear of the same scale"),
        (quantised_rectifier, "read by Relu extra_relu"),
        (quantised_bias, "its bias is not a float initialiser"),
        (float_weight, "only one of input and weight is quantised"),
        (unknown_operator, "operator :Softplus is not on the list"),
        (other_opset, "opset"),
        (half_input, "face is not FP32"),
        (odd_attribute, "Conv with auto_pad"),
        (no_kernel_shape, "a quantised weight without its kernel_shape"),
        (dynamic_size, "not \\(batch, fixed sizes\\)"),
    ],
)
def test_every_fault_is_found(
    spoil: Callable[[onnx.ModelProto], None], told: str, int8_trt: dict[str, onnx.ModelProto]
) -> None:
    model = copy_of(int8_trt["edge"])
    spoil(model)
    assert re.search(told, "; ".join(tensorrt_faults(model)[:3]))


def test_the_cpu_dialect_is_refused(sources: dict[str, onnx.ModelProto], faces: np.ndarray) -> None:
    from export.int8_cpu import int8_from_fp32

    faults = tensorrt_faults(int8_from_fp32(sources["edge"], {"face": faces[:24]}))
    assert any("zero points" in fault for fault in faults)
