# SPDX-License-Identifier: Apache-2.0
"""Runs an ONNX graph in PyTorch, node by node: in float64 as an oracle, or with every FP16 tensor rounded to FP16.

ONNX Runtime's CPU computes FP16 graphs in FP32, so it can show neither FP16's rounding nor its overflow; here each
tensor whose type in the file is FP16 is rounded after its node (sums inside a convolution are kept in float32, as
tensor cores do), and the largest magnitude of each is kept. INT8 tensors are carried as whole numbers in floats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from export.onnx_graph import attribute_of, types_of
from facedepth_edge.errors import ArtifactError

INTEGER_RANGE: dict[int, tuple[int, int]] = {TensorProto.INT8: (-128, 127), TensorProto.UINT8: (0, 255)}
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


class GraphRunner:
    """An ONNX graph of the operators that artifacts use, in PyTorch.

    Args:
        model: The graph.
        dtype: What floats are computed in. torch.float64 ignores FP16 types and is an oracle for exactness;
            torch.float32 rounds every FP16 tensor.

    Raises:
        ArtifactError: The graph has an operator that is not in OPERATORS.
    """

    def __init__(self, model: onnx.ModelProto, dtype: torch.dtype = torch.float32) -> None:
        self._model = model
        self._dtype = dtype
        self._types = types_of(model)
        self._constants = {tensor.name: self._constant(tensor) for tensor in model.graph.initializer}
        kept = {value.name for value in model.graph.output} | set(self._constants) | {""}
        self._last_use = {
            name: place for place, node in enumerate(model.graph.node) for name in node.input if name not in kept
        }
        self.largest: dict[str, float] = {}
        """Largest magnitude of each FP16 tensor over all runs, before its rounding; a NaN stays."""
        unknown = sorted({node.op_type for node in model.graph.node} - set(OPERATORS))
        if unknown:
            fix = "Add it to export/graph_runner.py, with a test."
            raise ArtifactError.of("graph runner", ", ".join(unknown), f"one of {', '.join(OPERATORS)}", fix)

    def _constant(self, tensor: TensorProto) -> Any:
        array = np.array(numpy_helper.to_array(tensor))  # a copy: PyTorch wants writable memory
        if tensor.data_type in (*FLOATS, *INTEGER_RANGE):
            return torch.from_numpy(array).to(self._dtype)
        return array  # shapes, axes

    @torch.no_grad()
    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the graph.

        Args:
            inputs: By name.

        Returns:
            The outputs by name, float32, or float64 where the runner computes in it.
        """
        values: dict[str, Any] = {"": None, **self._constants}
        for name, array in inputs.items():
            values[name] = torch.from_numpy(np.array(array)).to(self._dtype)
        for place, node in enumerate(self._model.graph.node):
            arguments = [values[name] for name in node.input]
            result = OPERATORS[node.op_type](node, arguments, self._types)
            name = node.output[0]
            if self._types[name] == TensorProto.FLOAT16 and self._dtype != torch.float64:
                self._note(name, result)
                result = result.half().to(self._dtype)
            values[name] = result
            for used in node.input:
                if self._last_use.get(used) == place:
                    values.pop(used, None)  # the paper's generator at batch 64 would fill gigabytes
        return {value.name: values[value.name].numpy() for value in self._model.graph.output}

    def _note(self, name: str, value: Tensor) -> None:
        found, before = float(value.abs().max()), self.largest.get(name, 0.0)
        self.largest[name] = float(np.maximum(found, before))  # a NaN stays


def _conv(node: onnx.NodeProto, x: list[Any], types: Mapping[str, int]) -> Tensor:
    top, left, bottom, right = attribute_of(node, "pads", [0, 0, 0, 0])
    padded = F.pad(x[0], (left, right, top, bottom))
    strides, dilations = attribute_of(node, "strides", [1, 1]), attribute_of(node, "dilations", [1, 1])
    bias = x[2] if len(x) > 2 else None
    return F.conv2d(padded, x[1], bias, tuple(strides), 0, tuple(dilations), attribute_of(node, "group", 1))


def _conv_transpose(node: onnx.NodeProto, x: list[Any], types: Mapping[str, int]) -> Tensor:
    top, left, bottom, right = attribute_of(node, "pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right):
        fix = "Pad by equal numbers of pixels."
        raise ArtifactError.of("ConvTranspose", f"pads {top, left, bottom, right}", "equal pads", fix)
    strides, extra = attribute_of(node, "strides", [1, 1]), attribute_of(node, "output_padding", [0, 0])
    bias = x[2] if len(x) > 2 else None
    return F.conv_transpose2d(x[0], x[1], bias, tuple(strides), (top, left), tuple(extra))


def _depth_to_space(node: onnx.NodeProto, x: list[Any], types: Mapping[str, int]) -> Tensor:
    side, (count, channels, height, width) = attribute_of(node, "blocksize"), x[0].shape
    kept = channels // side**2
    if attribute_of(node, "mode", b"DCR") == b"DCR":
        blocks = x[0].reshape(count, side, side, kept, height, width).permute(0, 3, 4, 1, 5, 2)
    else:
        blocks = x[0].reshape(count, kept, side, side, height, width).permute(0, 1, 4, 2, 5, 3)
    return blocks.reshape(count, kept, height * side, width * side)


def _slice(node: onnx.NodeProto, x: list[Any], types: Mapping[str, int]) -> Tensor:
    axes = x[3] if len(x) > 3 else range(len(x[1]))
    steps = x[4] if len(x) > 4 else [1] * len(x[1])
    index: list[slice] = [slice(None)] * x[0].ndim
    for axis, start, end, step in zip(axes, x[1], x[2], steps, strict=True):
        index[int(axis)] = slice(int(start), int(end), int(step))
    return x[0][tuple(index)]


def _resize(node: onnx.NodeProto, x: list[Any], types: Mapping[str, int]) -> Tensor:
    scales = [float(scale) for scale in x[2]]
    if attribute_of(node, "mode", b"nearest") != b"nearest" or scales != [1.0, 1.0, 2.0, 2.0]:
        raise ArtifactError.of("Resize", f"scales {scales}", "nearest by 2", "Use another rewrite.")
    return x[0].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def _mean(node: onnx.NodeProto, x: list[Any], types: Mapping[str, int]) -> Tensor:
    axes = tuple(int(axis) for axis in x[1])
    return x[0].mean(dim=axes, keepdim=bool(attribute_of(node, "keepdims", 1)))


def _reshape(node: onnx.NodeProto, x: list[Any], types: Mapping[str, int]) -> Tensor:
    sizes = [x[0].shape[place] if size == 0 else int(size) for place, size in enumerate(x[1])]
    return x[0].reshape(sizes)


def _flatten(node: onnx.NodeProto, x: list[Any], types: Mapping[str, int]) -> Tensor:
    return x[0].flatten(attribute_of(node, "axis", 1))


def _gemm(node: onnx.NodeProto, x: list[Any], types: Mapping[str, int]) -> Tensor:
    a = x[0].T if attribute_of(node, "transA", 0) else x[0]
    b = x[1].T if attribute_of(node, "transB", 0) else x[1]
    result = attribute_of(node, "alpha", 1.0) * (a @ b)
    return result + attribute_of(node, "beta", 1.0) * x[2] if len(x) > 2 else result


def _along(node: onnx.NodeProto, value: Tensor, like: Tensor) -> Tensor:
    """Shape a scale per channel so that it multiplies a tensor along the node's axis."""
    if value.numel() == 1:
        return value.reshape(())
    sizes = [1] * like.ndim
    sizes[attribute_of(node, "axis", 1)] = -1
    return value.reshape(sizes)


def _quantize(node: onnx.NodeProto, x: list[Any], types: Mapping[str, int]) -> Tensor:
    low, high = INTEGER_RANGE[types[node.output[0]]]
    zero = _along(node, x[2], x[0]) if len(x) > 2 else 0
    return (torch.round(x[0] / _along(node, x[1], x[0])) + zero).clamp(low, high)


def _dequantize(node: onnx.NodeProto, x: list[Any], types: Mapping[str, int]) -> Tensor:
    zero = _along(node, x[2], x[0]) if len(x) > 2 else 0
    return (x[0] - zero) * _along(node, x[1], x[0])


Operator = Callable[[onnx.NodeProto, list[Any], Mapping[str, int]], Tensor]

OPERATORS: dict[str, Operator] = {
    "Add": lambda node, x, types: x[0] + x[1],
    "Cast": lambda node, x, types: x[0],  # the type of its output does the rounding
    "Concat": lambda node, x, types: torch.cat(x, dim=attribute_of(node, "axis")),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "DequantizeLinear": _dequantize,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "LeakyRelu": lambda node, x, types: F.leaky_relu(x[0], attribute_of(node, "alpha", 0.01)),
    "QuantizeLinear": _quantize,
    "ReduceMean": _mean,
    "Relu": lambda node, x, types: F.relu(x[0]),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": lambda node, x, types: torch.sigmoid(x[0]),
    "Slice": _slice,
    "Tanh": lambda node, x, types: torch.tanh(x[0]),
    "Transpose": lambda node, x, types: x[0].permute(attribute_of(node, "perm")),
}
"""The operators that artifacts use."""
