# SPDX-License-Identifier: Apache-2.0
"""Rewrites a graph into forms that ONNX Runtime's CPU runs faster in INT8; exact, and only for that file.

Ours. ONNX Runtime keeps quantised convolutions in channels-last order but repeats pixels (Resize) one by one; written
as joins of channels-last rows it copies whole blocks, and the transposes around it cancel with the convolutions'.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


def _shapes(model: onnx.ModelProto) -> dict[str, list[int | None]]:
    """Return each tensor's shape, None for dynamic axes."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    graph = inferred.graph
    return {
        value.name: [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }


def _constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _attribute(node: onnx.NodeProto, name: str, default: object) -> object:
    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default


def _is_nearest_doubling(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> bool:
    """Whether a Resize repeats every pixel 2 x 2."""
    if node.op_type != "Resize" or _attribute(node, "mode", b"nearest") != b"nearest":
        return False
    scales = constants.get(node.input[2]) if len(node.input) > 2 else None
    if scales is None or scales.tolist() != [1.0, 1.0, 2.0, 2.0]:
        return False
    where = _attribute(node, "coordinate_transformation_mode", b"half_pixel")
    rounding = _attribute(node, "nearest_mode", b"round_prefer_floor")
    return (where == b"asymmetric" and rounding == b"floor") or (where == b"half_pixel" and rounding != b"ceil")


def nearest_doubling_as_joins(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace each nearest Resize by 2 with joins of channels-last rows.

    Args:
        model: A graph with fixed spatial sizes; not changed.

    Returns:
        A new graph that computes exactly the same.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    shapes, constants = _shapes(model), _constants(model)
    nodes: list[onnx.NodeProto] = []
    for node in result.graph.node:
        shape = shapes.get(node.input[0]) if node.input else None
        if not _is_nearest_doubling(node, constants) or shape is None or None in shape[1:]:
            nodes.append(node)
            continue
        _, channels, height, width = shape
        assert channels
        assert height
        assert width
        name = node.name or node.output[0]
        sizes = {
            f"{name}_rows": [-1, height, 2 * width * channels],
            f"{name}_planes": [-1, 2 * height, 2 * width, channels],
        }
        for key, values in sizes.items():
            result.graph.initializer.append(numpy_helper.from_array(np.array(values, dtype=np.int64), key))
        last, wide, rows, tall, planes = (f"{name}_{part}" for part in ("last", "wide", "flat", "tall", "grown"))
        nodes += [
            helper.make_node("Transpose", [node.input[0]], [last], f"{last}_node", perm=[0, 2, 3, 1]),
            helper.make_node("Concat", [last, last], [wide], f"{wide}_node", axis=3),
            helper.make_node("Reshape", [wide, f"{name}_rows"], [rows], f"{rows}_node"),
            helper.make_node("Concat", [rows, rows], [tall], f"{tall}_node", axis=2),
            helper.make_node("Reshape", [tall, f"{name}_planes"], [planes], f"{planes}_node"),
            helper.make_node("Transpose", [planes], [node.output[0]], f"{name}_first_node", perm=[0, 3, 1, 2]),
        ]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in result.graph.initializer if tensor.name in used]  # a Resize's scales have no user now
    del result.graph.initializer[:]
    result.graph.initializer.extend(kept)
    onnx.checker.check_model(result, full_check=True)
    return result
