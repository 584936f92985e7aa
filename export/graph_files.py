# SPDX-License-Identifier: Apache-2.0
"""Makes an artifact's ONNX graphs from a network's FP32 graph, and checks each without running it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx

from export.calibration import PERCENTILES
from export.half import fp16_from_fp32, require_fp16_range
from export.int8_cpu import int8_from_fp32
from export.int8_tensorrt import int8_trt_from_fp32
from export.tensorrt_contract import tensorrt_faults
from facedepth_edge.errors import ArtifactError

FILES = ("fp32.onnx", "fp16.onnx", "int8.onnx", "int8-trt.onnx")
EMULATED = ("fp16.onnx", "int8-trt.onnx")
FOR_TENSORRT = ("fp32.onnx", "fp16.onnx", "int8-trt.onnx")


def graphs_from_fp32(
    graph: onnx.ModelProto,
    for_cpu: Callable[[], onnx.ModelProto],
    calibration: Mapping[str, np.ndarray],
    names: tuple[str, ...],
    percentiles: Sequence[float] = PERCENTILES,
) -> dict[str, onnx.ModelProto]:
    """Make an artifact's graphs.

    Args:
        graph: The FP32 graph.
        for_cpu: Returns the FP32 graph in the form that is quantised for ONNX Runtime's CPU.
        calibration: By the graph's input names, each (N, 1, H, W) float32.
        names: Which of FILES.
        percentiles: Activation ranges that the INT8 graphs try.

    Returns:
        Graph by file name, in the order of FILES.
    """
    makers: dict[str, Callable[[], onnx.ModelProto]] = {
        "fp32.onnx": lambda: graph,
        "fp16.onnx": lambda: fp16_from_fp32(graph),
        "int8.onnx": lambda: int8_from_fp32(for_cpu(), calibration, percentiles),
        "int8-trt.onnx": lambda: int8_trt_from_fp32(graph, calibration, percentiles),
    }
    return {name: makers[name]() for name in FILES if name in names}


def graph_faults(
    name: str, model: onnx.ModelProto, largest: Mapping[str, float] | None
) -> tuple[list[str], float | None]:
    """Check a file against TensorRT's rules and the range of FP16, where it is for TensorRT or has FP16 tensors.

    Args:
        name: One of FILES.
        model: Its graph.
        largest: What the GraphRunner noted of its FP16 tensors; None for a file that is not emulated.

    Returns:
        What is wrong, and the largest magnitude of its FP16 tensors; None where it has none or they are out of range.
    """
    faults = [f"TensorRT: {fault}" for fault in tensorrt_faults(model)] if name in FOR_TENSORRT else []
    if largest is None:
        return faults, None
    try:
        return faults, require_fp16_range(largest, model, name)
    except ArtifactError as error:
        return [*faults, str(error)], None
