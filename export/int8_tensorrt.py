# SPDX-License-Identifier: Apache-2.0
"""Makes int8-trt.onnx for TensorRT: symmetric INT8 on the inputs of convolutions only, FP16 around them.

Weights lie in the file as INT8 with one scale a channel, and only a DequantizeLinear follows them; biases stay FP16.
The convolutions that read the face and that write the outputs stay FP16, as in int8.onnx.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnxruntime.quantization import QuantType

from export.calibration import PERCENTILES, nearest_to_float, quantised_with
from export.half import MIN_SCALE, fp16_from_fp32
from export.int8_cpu import after, float_convolutions
from export.onnx_graph import constants_of, copy_of, makers_of, with_nodes
from facedepth_edge.errors import ArtifactError

MAX_LEVEL = 127
QUANTISED_WEIGHT = "_quantized"  # what ONNX Runtime appends to a weight's name


def int8_trt_from_fp32(
    model: onnx.ModelProto, faces: dict[str, np.ndarray], percentiles: Sequence[float] = PERCENTILES
) -> onnx.ModelProto:
    """Quantise a graph for TensorRT.

    Args:
        model: The FP32 graph, its transposed convolutions rewritten; not changed.
        faces: Calibration faces by the graph's input names, each (N, 1, H, W) float32.
        percentiles: Activation ranges to try; the graph nearest to the float one is taken.

    Returns:
        The quantised graph, FP16-typed between FP32 inputs and outputs.

    Raises:
        InputError: Too few faces.
        ArtifactError: A convolution was not quantised that should be.
    """
    kept = float_convolutions(model)
    excluded = sorted({*kept, *after(model, kept)})
    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": ["Conv"],
    }

    def quantised_at(percentile: float) -> onnx.ModelProto:
        quantised = quantised_with(
            model, faces, excluded, QuantType.QInt8, percentile, options, op_types_to_quantize=["Conv"]
        )
        return with_half_scales(on_convolutions_only(quantised), model)

    quantised = nearest_to_float(model, faces, quantised_at, percentiles)
    wanted = sum(node.op_type == "Conv" for node in model.graph.node) - len(kept)
    found = quantised_convolutions(quantised)
    if found != wanted:
        fix = "Look at the quantiser's graph; its rules changed."
        raise ArtifactError.of("int8-trt.onnx", f"{found} quantised convolutions", str(wanted), fix)
    return fp16_from_fp32(quantised)


def on_convolutions_only(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let only convolutions read quantised tensors: ONNX Runtime's quantiser gives them to every reader.

    Args:
        model: A graph with Q/DQ; not changed.

    Returns:
        A new graph in which a residual addition, for one, reads the tensor before its QuantizeLinear.
    """
    result, makers = copy_of(model), makers_of(model)
    plain: dict[str, str] = {}
    for node in result.graph.node:
        maker = makers.get(node.input[0])
        if node.op_type == "DequantizeLinear" and maker is not None:
            plain[node.output[0]] = maker.input[0]
    for node in result.graph.node:
        if node.op_type != "Conv":
            for place, name in enumerate(node.input):
                node.input[place] = plain.get(name, name)
    return with_nodes(result, result.graph.node, {})


def quantised_convolutions(model: onnx.ModelProto) -> int:
    """Return the number of convolutions whose input and weight both come from a DequantizeLinear."""
    dequantised = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    return sum(node.input[0] in dequantised and node.input[1] in dequantised for node in convolutions)


def with_half_scales(quantised: onnx.ModelProto, source: onnx.ModelProto) -> onnx.ModelProto:
    """Round all scales to FP16 and quantise the weights again with them.

    A weight quantised with one scale and read with another would be wrong by their ratio; a channel of tiny weights
    gets the scale MIN_SCALE, which FP16 holds exactly.

    Args:
        quantised: FP32-typed graph with Q/DQ.
        source: The graph before; its weights are quantised.

    Returns:
        A new graph; the scales are FP32 numbers that FP16 holds exactly.
    """
    constants, weights = constants_of(quantised), constants_of(source)
    changed: dict[str, np.ndarray] = {}
    for node in quantised.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale = np.maximum(constants[node.input[1]], MIN_SCALE).astype(np.float16).astype(np.float32)
        changed[node.input[1]] = scale
        if node.input[0] in constants:
            weight = weights[node.input[0].removesuffix(QUANTISED_WEIGHT)].astype(np.float64)
            levels = np.round(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
            changed[node.input[0]] = np.clip(levels, -MAX_LEVEL, MAX_LEVEL).astype(np.int8)
    return with_nodes(quantised, quantised.graph.node, changed)
