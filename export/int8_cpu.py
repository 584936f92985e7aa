# SPDX-License-Identifier: Apache-2.0
"""Makes int8.onnx for ONNX Runtime's CPU: Q/DQ on inputs and outputs, uint8 activations, int8 weights per channel.

Ours, by measurement: the convolutions that read the face and that write the outputs stay FP32. The first has one input
channel, which starves the INT8 kernel (160 us against 34 us on one AVX2 core); the last would round depth to steps of
about 3 mm. Weights use 7 bits (reduce_range), because without VNNI the sum of two uint8 x int8 products saturates 16
bits, and results would then depend on the machine.
"""

from __future__ import annotations

import collections
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType

from export.calibration import PERCENTILES, nearest_to_float, quantised_with
from export.cpu_rewrites import interleaving_as_blocks, nearest_doubling_as_joins
from facedepth_edge.errors import ArtifactError


def float_convolutions(model: onnx.ModelProto) -> list[str]:
    """Return the names of the convolutions that stay FP32: those that read the face or end in an image output.

    Args:
        model: An FP32 graph with named nodes.
    """
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    inputs = {value.name for value in graph.input}
    chosen = {node.name for node in graph.node if node.op_type == "Conv" and inputs & set(node.input)}
    for value in graph.output:
        node = makers.get(value.name)
        while node is not None and node.op_type not in ("Conv", "Gemm"):
            node = makers.get(node.input[0])
        if node is not None and node.op_type == "Conv":
            chosen.add(node.name)
    return sorted(chosen)


def after(model: onnx.ModelProto, names: list[str]) -> list[str]:
    """Return the names of all nodes that follow only from the given ones, towards the outputs."""
    graph = model.graph
    tail: set[str] = set()
    inputs = {value.name for value in graph.input}
    reached = {
        output for node in graph.node if node.name in names and not inputs & set(node.input) for output in node.output
    }
    constants = {tensor.name for tensor in graph.initializer} | {""}
    for node in graph.node:
        dynamic = [name for name in node.input if name not in constants]
        if dynamic and all(name in reached for name in dynamic):
            tail.add(node.name)
            reached |= set(node.output)
    return sorted(tail)


def int8_from_fp32(
    model: onnx.ModelProto,
    faces: Mapping[str, np.ndarray],
    percentiles: Sequence[float] = PERCENTILES,
) -> onnx.ModelProto:
    """Quantise a graph for ONNX Runtime's CPU.

    Args:
        model: The FP32 graph, its transposed convolutions rewritten; not changed.
        faces: By the graph's input names, each (N, 1, H, W) float32, a few hundred of the training split.
        percentiles: Activation ranges to try; the graph nearest to the float one is taken.

    Returns:
        The quantised graph, with the same inputs and outputs.

    Raises:
        InputError: Fewer than MIN_CALIBRATION_FACES faces.
        ArtifactError: Not every convolution that should be INT8 became a QLinearConv.
    """
    prepared = interleaving_as_blocks(nearest_doubling_as_joins(model))
    kept = float_convolutions(prepared)
    excluded = sorted({*kept, *after(prepared, kept)})

    def quantised_at(percentile: float) -> onnx.ModelProto:
        return quantised_with(prepared, faces, excluded, QuantType.QUInt8, percentile, reduce_range=True)

    quantised = nearest_to_float(prepared, faces, quantised_at, percentiles)
    wanted = sum(node.op_type == "Conv" for node in prepared.graph.node) - len(kept)
    found = count_fused(quantised)["QLinearConv"]
    if found != wanted:
        fix = "Look at the graph that ONNX Runtime makes of it; its fusions changed."
        raise ArtifactError.of("int8.onnx", f"{found} QLinearConv after optimisation", str(wanted), fix)
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


def count_fused(model: onnx.ModelProto) -> collections.Counter[str]:
    """Return how many operators of each kind ONNX Runtime's CPU runs, after its own optimisations."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return collections.Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
