# SPDX-License-Identifier: Apache-2.0
"""Rewrites a graph into forms that ONNX Runtime's CPU runs faster in INT8; exact, and only for that file.

Ours. ONNX Runtime keeps quantised convolutions in channels-last order but repeats pixels (Resize) and interleaves them
(DepthToSpace) one by one; written with channels-last rows it copies whole blocks, and the transposes around them cancel
with the convolutions'.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from export.onnx_graph import attribute_of, constants_of, copy_of, shapes_of, with_nodes

LAST = [0, 2, 3, 1]  # the transpose to channels-last order
FIRST = [0, 3, 1, 2]  # and back


def _is_nearest_doubling(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> bool:
    """Whether a Resize repeats every pixel 2 x 2."""
    if node.op_type != "Resize" or attribute_of(node, "mode", b"nearest") != b"nearest":
        return False
    scales = constants.get(node.input[2]) if len(node.input) > 2 else None
    if scales is None or scales.tolist() != [1.0, 1.0, 2.0, 2.0]:
        return False
    where = attribute_of(node, "coordinate_transformation_mode", b"half_pixel")
    rounding = attribute_of(node, "nearest_mode", b"round_prefer_floor")
    return (where == b"asymmetric" and rounding == b"floor") or (where == b"half_pixel" and rounding != b"ceil")


def nearest_doubling_as_joins(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace each nearest Resize by 2 with joins of channels-last rows.

    Args:
        model: A graph with fixed spatial sizes; not changed.

    Returns:
        A new graph that computes exactly the same.
    """
    shapes, constants = shapes_of(model), constants_of(model)
    added: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        shape = shapes.get(node.input[0]) if node.input else None
        if not _is_nearest_doubling(node, constants) or shape is None or None in shape[1:]:
            nodes.append(node)
            continue
        _, channels, height, width = shape
        assert channels
        assert height
        assert width
        name = node.name or node.output[0]
        added[f"{name}_rows"] = np.array([-1, height, 2 * width * channels], dtype=np.int64)
        added[f"{name}_planes"] = np.array([-1, 2 * height, 2 * width, channels], dtype=np.int64)
        last, wide, rows, tall, planes = (f"{name}_{part}" for part in ("last", "wide", "flat", "tall", "grown"))
        nodes += [
            helper.make_node("Transpose", [node.input[0]], [last], f"{last}_node", perm=LAST),
            helper.make_node("Concat", [last, last], [wide], f"{wide}_node", axis=3),
            helper.make_node("Reshape", [wide, f"{name}_rows"], [rows], f"{rows}_node"),
            helper.make_node("Concat", [rows, rows], [tall], f"{tall}_node", axis=2),
            helper.make_node("Reshape", [tall, f"{name}_planes"], [planes], f"{planes}_node"),
            helper.make_node("Transpose", [planes], [node.output[0]], f"{name}_first_node", perm=FIRST),
        ]
    return with_nodes(model, nodes, added)


def _is_interleaving(node: onnx.NodeProto) -> bool:
    """Whether a node is a DepthToSpace by 2 in DCR order."""
    doubles = node.op_type == "DepthToSpace" and attribute_of(node, "blocksize") == 2
    return doubles and attribute_of(node, "mode", b"DCR") == b"DCR"


def interleaving_as_blocks(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace each DepthToSpace by 2 in DCR order with a transpose of channels-last blocks.

    Args:
        model: A graph with fixed spatial sizes; not changed. DepthToSpace in CRD order stays.

    Returns:
        A new graph that computes exactly the same.
    """
    if not any(_is_interleaving(node) for node in model.graph.node):
        return copy_of(model)
    shapes = shapes_of(model)
    added: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        shape = shapes.get(node.input[0]) if node.input else None
        if not _is_interleaving(node) or shape is None or None in shape[1:]:
            nodes.append(node)
            continue
        _, channels, height, width = shape
        assert channels
        assert height
        assert width
        name = node.name or node.output[0]
        added[f"{name}_blocks"] = np.array([-1, height, width, 2, channels // 2], dtype=np.int64)
        added[f"{name}_planes"] = np.array([-1, 2 * height, 2 * width, channels // 4], dtype=np.int64)
        last, blocks, rows, planes = (f"{name}_{part}" for part in ("last", "cut", "rows", "grown"))
        nodes += [
            helper.make_node("Transpose", [node.input[0]], [last], f"{last}_node", perm=LAST),
            helper.make_node("Reshape", [last, f"{name}_blocks"], [blocks], f"{blocks}_node"),
            helper.make_node("Transpose", [blocks], [rows], f"{rows}_node", perm=[0, 1, 3, 2, 4]),
            helper.make_node("Reshape", [rows, f"{name}_planes"], [planes], f"{planes}_node"),
            helper.make_node("Transpose", [planes], [node.output[0]], f"{name}_first_node", perm=FIRST),
        ]
    return with_nodes(model, nodes, added)
