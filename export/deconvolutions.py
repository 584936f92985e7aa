# SPDX-License-Identifier: Apache-2.0
"""Rewrites transposed convolutions (kernel 5, stride 2) exactly into convolutions, which every backend runs in INT8.

Convention: output pixel 2 m + p of phase p reads input pixels m + d; the kernel's tap is k = p + 2 - 2 d. Phase 0 has
the taps 4, 2, 0 at d = -1, 0, 1, phase 1 has the taps 3, 1 at d = 0, 1: 3 x 3 + 3 x 2 + 2 x 3 + 2 x 2 = 25 taps for the
four phases of a picture. A rectifier that follows is moved before the interleaving, where it fuses with the
convolution.

Forms, by what they cost for each pair of channels:
    phases  four convolutions, 25 taps: the fewest weights and multiplications
    rows    two convolutions, one for each phase of the rows, 3 x 3 and 2 x 3 with both column phases: 30 taps
    single  one 3 x 3 convolution with four times the outputs: 36 taps, 11 of them zero
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper

from export.onnx_graph import attribute_of, constants_of, copy_of, users_of, with_nodes
from facedepth_edge.errors import ConfigError

FORMS = ("phases", "rows", "single")
KERNEL = 5
STRIDE = 2
TAPS = {0: (4, 2, 0), 1: (3, 1)}  # by phase, in the order of the pixels that they read
PADS = {0: (1, 1), 1: (0, 1)}  # by phase: before and after
TAPS_OF_FORM = {"phases": 25, "rows": 30, "single": 36}
ZERO_TAPS = TAPS_OF_FORM["single"] - TAPS_OF_FORM["phases"]
MANY_ZEROS = 1_000_000
RECTIFIERS = ("Relu", "LeakyRelu")

FormOf = Callable[[int, int], str]
"""Takes a layer's input and output channels, returns one of FORMS."""


def kernels_of_form(weight: np.ndarray, form: str) -> list[tuple[np.ndarray, tuple[int, int, int, int]]]:
    """Return the convolutions that make a transposed convolution's phases.

    Args:
        weight: (C, K, 5, 5) of the transposed convolution.
        form: One of FORMS.

    Returns:
        Kernel (outputs, C, kh, kw) and pads (top, left, bottom, right) of each convolution. Their outputs, one after
        the other, are the phases (0, 0), (0, 1), (1, 0), (1, 1) of rows and columns with K channels each.
    """

    def kernel(row: int, column: int) -> np.ndarray:
        return weight[:, :, TAPS[row]][:, :, :, TAPS[column]].transpose(1, 0, 2, 3)  # (K, C, kh, kw)

    def widened(part: np.ndarray, row: bool) -> np.ndarray:
        """Return a kernel with a zero before its two columns (and rows, where asked), so that it reads like phase 0."""
        missing_rows = 3 - part.shape[2] if row else 0
        return np.pad(part, ((0, 0), (0, 0), (missing_rows, 0), (3 - part.shape[3], 0)))

    pairs = [(row, column) for row in (0, 1) for column in (0, 1)]
    if form == "phases":
        pads = {pair: (PADS[pair[0]][0], PADS[pair[1]][0], PADS[pair[0]][1], PADS[pair[1]][1]) for pair in pairs}
        return [(np.ascontiguousarray(kernel(*pair)), pads[pair]) for pair in pairs]
    if form == "rows":
        both = [np.concatenate([widened(kernel(row, column), False) for column in (0, 1)]) for row in (0, 1)]
        return [(both[row], (PADS[row][0], 1, PADS[row][1], 1)) for row in (0, 1)]
    if form == "single":
        return [(np.concatenate([widened(kernel(*pair), True) for pair in pairs]), (1, 1, 1, 1))]
    raise ConfigError.of("form", form, f"one of {', '.join(FORMS)}", "Give one of them.")


def is_doubling(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> bool:
    """Whether a node is a transposed convolution that can be rewritten: k5 s2, padding 2, output padding 1."""
    if node.op_type != "ConvTranspose" or node.input[1] not in constants:
        return False
    if attribute_of(node, "auto_pad", b"NOTSET") != b"NOTSET" or attribute_of(node, "output_shape") is not None:
        return False
    return (
        constants[node.input[1]].shape[2:] == (KERNEL, KERNEL)
        and list(attribute_of(node, "strides", [1, 1])) == [STRIDE, STRIDE]
        and list(attribute_of(node, "pads", [0, 0, 0, 0])) == [2, 2, 2, 2]
        and list(attribute_of(node, "output_padding", [0, 0])) == [1, 1]
        and list(attribute_of(node, "dilations", [1, 1])) == [1, 1]
        and attribute_of(node, "group", 1) == 1
    )


def forms_of_deconvolutions(model: onnx.ModelProto, form_of: FormOf) -> list[str]:
    """Return which form each transposed k5 s2 convolution gets, in the graph's order."""
    constants = constants_of(model)
    doubling = [node for node in model.graph.node if is_doubling(node, constants)]
    return [form_of(*constants[node.input[1]].shape[:2]) for node in doubling]


def deconvolutions_as_convolutions(model: onnx.ModelProto, form_of: FormOf) -> onnx.ModelProto:
    """Replace each transposed k5 s2 convolution by convolutions and a DepthToSpace.

    Args:
        model: A graph; not changed. Transposed convolutions of other kinds stay.
        form_of: Chooses the form of each layer.

    Returns:
        A new graph that computes the same, up to the order of float additions.
    """
    constants, users = constants_of(model), users_of(model)
    if not any(is_doubling(node, constants) for node in model.graph.node):
        return copy_of(model)
    outputs = {value.name for value in model.graph.output}
    added: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []
    done: set[str] = set()
    for node in model.graph.node:
        if node.output[0] in done:
            continue
        if not is_doubling(node, constants):
            nodes.append(node)
            continue
        followers = users.get(node.output[0], [])
        rectifier = None
        if len(followers) == 1 and followers[0].op_type in RECTIFIERS and node.output[0] not in outputs:
            rectifier = followers[0]
        weight = constants[node.input[1]]
        bias = constants[node.input[2]] if len(node.input) > 2 else None
        name, parts = node.name or node.output[0], []
        for number, (kernel, pads) in enumerate(kernels_of_form(weight, form_of(*weight.shape[:2]))):
            part = f"{name}_part{number}"
            added[f"{part}_weight"] = kernel
            inputs = [node.input[0], f"{part}_weight"]
            if bias is not None:
                added[f"{part}_bias"] = np.tile(bias, len(kernel) // len(bias))
                inputs.append(f"{part}_bias")
            nodes.append(
                helper.make_node("Conv", inputs, [part], f"{part}_conv", kernel_shape=kernel.shape[2:], pads=pads)
            )
            if rectifier is not None:
                moved = helper.make_node(rectifier.op_type, [part], [f"{part}_rectified"], f"{part}_rectifier")
                moved.attribute.extend(rectifier.attribute)
                nodes.append(moved)
            parts.append(nodes[-1].output[0])
        joined = parts[0]
        if len(parts) > 1:
            joined = f"{name}_phases"
            nodes.append(helper.make_node("Concat", parts, [joined], f"{name}_join", axis=1))
        last = node.output[0] if rectifier is None else rectifier.output[0]
        nodes.append(
            helper.make_node("DepthToSpace", [joined], [last], f"{name}_interleave", blocksize=STRIDE, mode="DCR")
        )
        done.add(last)
    return with_nodes(model, nodes, added)


def form_for_few_weights(channels: int, outputs: int) -> str:
    """Choose a form for backends that wait for weights more than for kernels: FP32 on a CPU, and TensorRT.

    Ours. The paper's four layers have 13.1, 3.3, 0.8 and 0.2 million weights. On a small batch a device waits for their
    bytes, so the zero taps of the single form cost most in the large layers; in the small ones they cost less than the
    starting of three more convolutions. Measured on two AVX2 cores in FP32; for TensorRT by its bytes alone.
    """
    return "phases" if channels * outputs * ZERO_TAPS >= MANY_ZEROS else "single"


def form_for_cpu_int8(channels: int, outputs: int) -> str:
    """Choose a form for ONNX Runtime's INT8: `phases` in every layer.

    Ours, by the sum of its operators' times on one AVX2 core (the least of twelve runs each): phases 37.3 ms, rows
    41.9 ms, phases in the first layer and rows in the others 43.1 ms, the plain FP32 graph 123.3 ms. Joining the phases
    costs 0.4 ms, interleaving them in blocks of channels 0.3 ms, by DepthToSpace 2.0 ms.
    """
    return "phases"


def weight_count(model: onnx.ModelProto) -> int:
    """Return the number of weights of an FP32 graph's convolutions, zeros included."""
    constants = constants_of(model)
    kernels = [node.input[1] for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    return sum(constants[name].size for name in kernels)
