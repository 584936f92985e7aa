# SPDX-License-Identifier: Apache-2.0
"""Reads and rebuilds ONNX graphs: shapes, constants, attributes, users, and a graph with other nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Shape = list[int | None]


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a deep copy of a graph."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result


def shapes_of(model: onnx.ModelProto) -> dict[str, Shape]:
    """Return each tensor's shape by inference, None for dynamic axes."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {
        value.name: [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type (onnx.TensorProto.*) of each tensor, constants included."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    return types


def constants_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Return the initialisers by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def attribute_of(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Return a node's attribute, or the default where it has none of that name."""
    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default


def makers_of(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Return the node that makes each tensor."""
    return {output: node for node in model.graph.node for output in node.output}


def users_of(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    """Return the nodes that read each tensor, in the graph's order; a node that reads it twice stands there once."""
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in dict.fromkeys(node.input):
            users.setdefault(name, []).append(node)
    return users


def with_nodes(
    model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], constants: Mapping[str, np.ndarray]
) -> onnx.ModelProto:
    """Return a graph with other nodes.

    Args:
        model: Where inputs, outputs, old constants and opset come from; not changed.
        nodes: All nodes of the new graph, in topological order.
        constants: More initialisers, or others for names that are there. Those that no node reads are left out.

    Returns:
        The checked graph.
    """
    result = copy_of(model)
    del result.graph.node[:]
    del result.graph.value_info[:]
    result.graph.node.extend(nodes)
    used = {name for node in result.graph.node for name in node.input}
    kept = [tensor for tensor in result.graph.initializer if tensor.name in used and tensor.name not in constants]
    kept += [numpy_helper.from_array(array, name) for name, array in constants.items() if name in used]
    del result.graph.initializer[:]
    result.graph.initializer.extend(kept)
    onnx.checker.check_model(result, full_check=True)
    return result
