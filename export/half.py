# SPDX-License-Identifier: Apache-2.0
"""Makes an FP16-typed graph with FP32 input and output, and checks that FP16's range holds what flows through it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from export.onnx_graph import constants_of, copy_of, with_nodes
from facedepth_edge.errors import ArtifactError

MAX_ACTIVATION = 16_000.0  # a quarter of FP16's 65,504: other faces than the measured ones must fit too
MIN_SCALE = 2.0**-14  # FP16's smallest normal number; below it a scale loses digits
HALF = "_fp16"


def fp16_from_fp32(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph that computes in FP16 between casts from and to FP32.

    Args:
        model: A graph whose floats are all FP32, without Cast nodes; not changed. Scales of Q/DQ become FP16 too.

    Returns:
        A new graph with the same inputs and outputs.

    Raises:
        ArtifactError: A constant does not fit into FP16.
    """
    source = copy_of(model)
    kept_float = {name for node in source.graph.node if node.op_type == "Resize" for name in node.input[1:]}
    halves: dict[str, np.ndarray] = {}
    for name, array in constants_of(source).items():
        if array.dtype != np.float32 or name in kept_float:
            continue
        if not (np.abs(array) <= np.finfo(np.float16).max).all():  # NaN fails
            fix = "Train with weight decay, or leave fp16 out."
            raise ArtifactError.of(f"fp16: {name}", f"{np.abs(array).max():g}", "at most 65504 in magnitude", fix)
        halves[name] = array.astype(np.float16)
    outer = [value.name for value in (*source.graph.input, *source.graph.output)]
    renamed = {name: f"{name}{HALF}" for name in outer}
    before = [
        helper.make_node("Cast", [value.name], [renamed[value.name]], f"{value.name}_to_fp16", to=TensorProto.FLOAT16)
        for value in source.graph.input
    ]
    after = [
        helper.make_node("Cast", [renamed[value.name]], [value.name], f"{value.name}_to_fp32", to=TensorProto.FLOAT)
        for value in source.graph.output
    ]
    for node in source.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = renamed.get(name, name)
    return with_nodes(source, [*before, *source.graph.node, *after], halves)


def require_fp16_range(largest: Mapping[str, float], model: onnx.ModelProto, where: str) -> float:
    """Check what a GraphRunner noted, and the graph's FP16 scales.

    Args:
        largest: Largest magnitude of each FP16 tensor.
        model: The graph.
        where: The file's name, for the error.

    Returns:
        The largest magnitude of all.

    Raises:
        ArtifactError: A tensor reaches MAX_ACTIVATION or is NaN, nothing was noted, or a scale is under MIN_SCALE.
    """
    fix = "Scale the network's activations down (batch norm), or leave this file out."
    rule = f"magnitudes under {MAX_ACTIVATION:g}"
    if not largest:
        raise ArtifactError.of(where, "no FP16 tensor", rule, fix)
    for name, value in largest.items():
        if not value < MAX_ACTIVATION:  # NaN fails
            raise ArtifactError.of(f"{where}: {name}", f"{value:g}", rule, fix)
    constants = constants_of(model)
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale = constants[node.input[1]]
            if scale.dtype == np.float16 and not (scale >= MIN_SCALE).all():
                rule = f"scales of {MIN_SCALE:g} or more"
                raise ArtifactError.of(f"{where}: {node.input[1]}", f"{scale.min():g}", rule, fix)
    return max(largest.values())
