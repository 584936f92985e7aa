# SPDX-License-Identifier: Apache-2.0
"""Says, without TensorRT, what TensorRT 10.3's parser would refuse or run slowly in a graph.

Source: the operator list that ONNX-TensorRT publishes (docs/operators.md of 10.0 and 10.1: opsets 9 to 20, types and
restrictions by operator; its changelog names nothing that 10.3 took away) and the checks of its importers. Only
operators that our graphs use are listed; another one is a fault until someone has looked it up. Ours: types are as in a
strongly typed network, so nothing is cast silently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto

from export.half import MIN_SCALE
from export.onnx_graph import attribute_of, constants_of, makers_of, shapes_of, types_of, users_of

OPSETS = (19, 20)  # 19 is the first with FP16 scales, 20 the last that 10.3 parses
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


@dataclass(frozen=True)
class Rule:
    """What TensorRT takes of one operator.

    Args:
        types: Of its first input.
        constant_inputs: Positions of inputs that must be initialisers.
        attributes: Allowed values by name; other attributes are free. One that is absent is fine.
        one_type: All its float inputs must have the type of the first.
    """

    types: tuple[int, ...] = FLOATS
    constant_inputs: tuple[int, ...] = ()
    attributes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    one_type: bool = True


OPERATORS: dict[str, Rule] = {
    "Add": Rule(),
    "Cast": Rule(attributes={"to": FLOATS}),
    "Concat": Rule(),
    "Conv": Rule(attributes={"auto_pad": (b"NOTSET",)}),
    "ConvTranspose": Rule(constant_inputs=(1, 2), attributes={"auto_pad": (b"NOTSET",), "dilations": ([1, 1],)}),
    "DepthToSpace": Rule(attributes={"mode": (b"DCR", b"CRD")}),
    "DequantizeLinear": Rule((TensorProto.INT8,), (1, 2), one_type=False),
    "Flatten": Rule(),
    "Gemm": Rule(constant_inputs=(1, 2)),
    "LeakyRelu": Rule(),
    "QuantizeLinear": Rule(constant_inputs=(1, 2)),
    "ReduceMean": Rule(constant_inputs=(1,), attributes={"noop_with_empty_axes": (0,)}),
    "Relu": Rule(),
    "Reshape": Rule(constant_inputs=(1,), attributes={"allowzero": (0, 1)}),
    "Resize": Rule(
        constant_inputs=(1, 2, 3),
        attributes={
            "mode": (b"nearest", b"linear"),
            "nearest_mode": (b"floor", b"ceil", b"round_prefer_floor", b"round_prefer_ceil"),
            "coordinate_transformation_mode": (b"half_pixel", b"pytorch_half_pixel", b"asymmetric", b"align_corners"),
            "keep_aspect_ratio_policy": (b"stretch",),
            "antialias": (0,),
        },
        one_type=False,  # its scales are FP32 by ONNX's own rules
    ),
    "Sigmoid": Rule(),
    "Slice": Rule(constant_inputs=(1, 2, 3, 4)),
    "Tanh": Rule(),
    "Transpose": Rule(),
}


def tensorrt_faults(model: onnx.ModelProto) -> list[str]:
    """Return what is wrong with a graph for TensorRT 10.3 to 11, one sentence each; none when it fits.

    Args:
        model: An FP32, FP16 or int8-trt graph.
    """
    faults = _graph_faults(model)
    if faults:
        return faults  # what follows needs a sound graph
    types, shapes, constants = types_of(model), shapes_of(model), constants_of(model)
    for node in model.graph.node:
        faults += _node_faults(node, types, shapes, constants)
    return faults + _quantisation_faults(model)


def _graph_faults(model: onnx.ModelProto) -> list[str]:
    faults = []
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets.get("", opsets.get("ai.onnx")) not in OPSETS:
        faults.append(f"opset {opsets}, not one of {OPSETS}")
    if model.functions:
        faults.append("functions")
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            faults.append(f"{tensor.name} lies in another file")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            faults.append(f"operator {node.domain}:{node.op_type} is not on the list")
        if any(attribute.type == AttributeProto.GRAPH for attribute in node.attribute):
            faults.append(f"{node.name} holds a graph")
        if len(node.output) != 1:
            faults.append(f"{node.name} has {len(node.output)} outputs")
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            faults.append(f"{value.name} is not FP32")
    return faults


def _node_faults(
    node: onnx.NodeProto,
    types: Mapping[str, int],
    shapes: Mapping[str, list[int | None]],
    constants: Mapping[str, np.ndarray],
) -> list[str]:
    rule, faults, name = OPERATORS[node.op_type], [], node.name or node.output[0]
    if types[node.input[0]] not in rule.types:
        faults.append(f"{name}: {node.op_type} of type {TensorProto.DataType.Name(types[node.input[0]])}")
    floats = {types[entry] for entry in node.input if entry and types[entry] in FLOATS}
    if rule.one_type and len(floats) > 1:
        faults.append(f"{name}: {node.op_type} of mixed types")
    for place in rule.constant_inputs:
        if place < len(node.input) and node.input[place] and node.input[place] not in constants:
            faults.append(f"{name}: input {place} of {node.op_type} is no initialiser")
    for key, allowed in rule.attributes.items():
        value = attribute_of(node, key, allowed[0])
        if (list(value) if isinstance(value, (list, tuple)) else value) not in allowed:
            faults.append(f"{name}: {node.op_type} with {key} {value!r}")
    shape = shapes.get(node.output[0])
    if shape is None or None in shape[1:] or (len(shape) and shape[0] is not None and node.output[0] not in constants):
        fixed_weight = node.op_type == "DequantizeLinear" and node.input[0] in constants
        if not fixed_weight:
            faults.append(f"{name}: shape {shape}, not (batch, fixed sizes)")
    if node.op_type in ("Conv", "ConvTranspose", "DepthToSpace", "Resize") and (shape is None or len(shape) != 4):
        faults.append(f"{name}: {node.op_type} of other than four axes")
    return faults


@dataclass(frozen=True)
class _Graph:
    """A graph's tensors by name: constants, who makes them, who reads them, and which are its outputs."""

    constants: Mapping[str, np.ndarray]
    makers: Mapping[str, onnx.NodeProto]
    users: Mapping[str, list[onnx.NodeProto]]
    outputs: set[str]


def _quantisation_faults(model: onnx.ModelProto) -> list[str]:
    """Check the rules of explicit INT8: symmetric, on convolution inputs only, weights per channel, biases float."""
    outputs = {value.name for value in model.graph.output}
    graph = _Graph(constants_of(model), makers_of(model), users_of(model), outputs)
    faults = []
    for node in model.graph.node:
        check = _QUANTISATION.get(node.op_type)
        if check is not None:
            faults += check(node, node.name or node.output[0], graph)
    return faults


def _quantize_faults(node: onnx.NodeProto, name: str, graph: _Graph) -> list[str]:
    constants, faults = graph.constants, _end_faults(node, name, graph)
    if constants[node.input[1]].size != 1:
        faults.append(f"{name}: activations are quantised per tensor, not per channel")
    if node.input[0] in constants:
        faults.append(f"{name}: a weight is stored as INT8, not quantised at every start")
    for reader in graph.users.get(node.output[0], []):
        if reader.op_type != "DequantizeLinear" or not _same_scale(node, reader, constants):
            faults.append(f"{name}: not followed by a DequantizeLinear of the same scale")
    return faults


def _dequantize_faults(node: onnx.NodeProto, name: str, graph: _Graph) -> list[str]:
    constants, faults = graph.constants, _end_faults(node, name, graph)
    weight = node.input[0] in constants
    maker = graph.makers.get(node.input[0])
    if not weight and (maker is None or maker.op_type != "QuantizeLinear"):
        faults.append(f"{name}: neither a weight nor after a QuantizeLinear")
    for reader in graph.users.get(node.output[0], []):
        if reader.op_type != "Conv" or list(reader.input).index(node.output[0]) != (1 if weight else 0):
            faults.append(f"{name}: read by {reader.op_type} {reader.name}, not as a convolution's input")
    if weight:
        faults += _weight_faults(node, name, constants[node.input[0]], constants)
    return faults


def _convolution_faults(node: onnx.NodeProto, name: str, graph: _Graph) -> list[str]:
    constants, makers, faults = graph.constants, graph.makers, []
    kinds = [entry in makers and makers[entry].op_type == "DequantizeLinear" for entry in node.input]
    if len(set(kinds[:2])) > 1:
        faults.append(f"{name}: only one of input and weight is quantised")
    if kinds[1]:
        # 10.3's parser takes the size of a weight that is no initialiser from the attribute alone.
        levels = constants.get(makers[node.input[1]].input[0])
        if levels is not None and list(attribute_of(node, "kernel_shape", [])) != list(levels.shape[2:]):
            faults.append(f"{name}: a quantised weight without its kernel_shape")
    if len(node.input) > 2 and node.input[2] not in constants:
        faults.append(f"{name}: its bias is not a float initialiser")
    if not kinds[1] and node.input[1] not in constants:
        faults.append(f"{name}: its weight is neither an initialiser nor a DequantizeLinear of one")
    return faults


_QUANTISATION = {
    "QuantizeLinear": _quantize_faults,
    "DequantizeLinear": _dequantize_faults,
    "Conv": _convolution_faults,
}


def _end_faults(node: onnx.NodeProto, name: str, graph: _Graph) -> list[str]:
    """Check what Q and DQ have in common: a right scale, and somebody in the graph who reads them."""
    faults = _scale_faults(node, name, graph.constants)
    if node.output[0] in graph.outputs or not graph.users.get(node.output[0]):
        faults.append(f"{name}: {node.op_type} ends in an output")
    return faults


def _scale_faults(node: onnx.NodeProto, name: str, constants: Mapping[str, np.ndarray]) -> list[str]:
    if len(node.input) < 3 or node.input[1] not in constants or node.input[2] not in constants:
        return [f"{name}: {node.op_type} without constant scale and zero point"]
    scale, zero = constants[node.input[1]], constants[node.input[2]]
    faults = []
    if zero.dtype != np.int8 or zero.any() or zero.size != scale.size:
        faults.append(f"{name}: zero points are not INT8 zeros, one for each scale")
    if not (np.isfinite(scale) & (scale > 0)).all():
        faults.append(f"{name}: a scale is not positive")
    elif scale.dtype == np.float16 and (scale < MIN_SCALE).any():
        faults.append(f"{name}: a scale is under {MIN_SCALE:g}")
    return faults


def _same_scale(first: onnx.NodeProto, second: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> bool:
    return all(np.array_equal(constants[first.input[place]], constants[second.input[place]]) for place in (1, 2))


def _weight_faults(
    node: onnx.NodeProto, name: str, weight: np.ndarray, constants: Mapping[str, np.ndarray]
) -> list[str]:
    scale = constants[node.input[1]]
    faults = []
    if scale.ndim != 1 or scale.shape[0] != weight.shape[0] or attribute_of(node, "axis", 1) != 0:
        faults.append(f"{name}: weights {weight.shape} with scales {scale.shape}, not one a channel on axis 0")
    if weight.dtype != np.int8 or math.prod(weight.shape) == 0:
        faults.append(f"{name}: weights are not INT8")
    return faults
