# SPDX-License-Identifier: Apache-2.0
"""Counts what one run of an ONNX graph must do: multiply-accumulates and bytes, convolution by convolution.

Shapes come from ONNX's own shape inference at batch 1; nothing is assumed about what a runtime fuses but that weights
are read once and every convolution reads its input and writes its output once.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper, shape_inference

from facedepth_edge.errors import ArtifactError

PRECISION_BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
COUNTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class LayerCost:
    """What one layer with weights must do at batch 1.

    Args:
        name: Its name, or its output's.
        kind: Its operator.
        macs: Multiply-accumulates.
        weights: How many weights it reads.
        values_in: How many values its input has.
        values_out: How many values its output has.
    """

    name: str
    kind: str
    macs: int
    weights: int
    values_in: int
    values_out: int


@dataclass(frozen=True)
class GraphCost:
    """The cost of a whole graph at batch 1.

    Args:
        layers: Its layers with weights, in order.
    """

    layers: tuple[LayerCost, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weights(self) -> int:
        """Weights of all layers."""
        return sum(layer.weights for layer in self.layers)

    def moved_bytes(self, precision: str, cached_activations: bool = True) -> int:
        """Return the bytes that must come from memory.

        Args:
            precision: fp32, fp16 or int8: what a weight and an activation take.
            cached_activations: Activations stay in the caches, so weights alone count; else every layer reads its
                input and writes its output.
        """
        values = self.weights
        if not cached_activations:
            values += sum(layer.values_in + layer.values_out for layer in self.layers)
        return values * PRECISION_BYTES[precision]


def cost_of_graph(path: str | Path) -> GraphCost:
    """Count an ONNX file; quantised graphs count like the graph that they stand for.

    Args:
        path: The ONNX file.

    Raises:
        ArtifactError: It is no ONNX file, or a layer's shape does not follow from it.
    """
    try:
        model = onnx.load(str(path))
        fixed = onnx.ModelProto()
        fixed.CopyFrom(model)
        for value in (*fixed.graph.input, *fixed.graph.output):
            first = value.type.tensor_type.shape.dim[0]
            first.ClearField("dim_param")
            first.dim_value = 1
        del fixed.graph.value_info[:]
        graph = shape_inference.infer_shapes(fixed, strict_mode=True).graph
    except (OSError, DecodeError, ValueError, IndexError, RuntimeError, onnx.checker.ValidationError) as error:
        rule = "an ONNX file whose shapes follow from its input's"
        raise ArtifactError.of(
            str(path), f"{type(error).__name__}: {error}", rule, "Export the model again."
        ) from error
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    shapes |= {value.name: tuple(value.dims) for value in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            shapes[node.output[0]] = numpy_helper.to_array(node.attribute[0].t).shape
    layers = []
    for node in graph.node:
        if node.op_type not in COUNTED:
            continue
        try:
            given, weight, made = (shapes[name] for name in (node.input[0], node.input[1], node.output[0]))
        except KeyError as error:
            rule = f"known shapes around {node.op_type} {node.name}"
            raise ArtifactError.of(str(path), f"no shape of {error}", rule, "Export the model again.") from error
        positions = math.prod(given[2:] if node.op_type == "ConvTranspose" else made[2:])
        if node.op_type in ("Gemm", "MatMul"):
            positions = math.prod(made[:-1])
        layers.append(
            LayerCost(
                node.name or node.output[0],
                node.op_type,
                math.prod(weight) * positions,
                math.prod(weight),
                math.prod(given),
                math.prod(made),
            )
        )
    return GraphCost(tuple(layers))


if __name__ == "__main__":
    print("benchmarks.graph_cost is no command. Use python -m benchmarks.roofline.", file=sys.stderr)
    sys.exit(2)
