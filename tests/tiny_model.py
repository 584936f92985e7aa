# SPDX-License-Identifier: Apache-2.0
"""A model small enough to be made in a test, whose answer is known in plain NumPy.

depth = tanh(5 x 5 mean of the face), mask = sigmoid(-4 depth) (bright is far, so dark is head),
validity = sigmoid(10 mean of the face + 5) (a black frame is not valid).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from facedepth_edge.spec import FileEntry, MaskOutput, ModelSpec, Outputs, ValidityOutput

OPSET = 19
SIZE_PX = 96


def tiny_outputs(face: np.ndarray) -> dict[str, np.ndarray]:
    """Compute what the tiny model gives for (B, 1, 96, 96) faces, in float64."""
    face = face.astype(np.float64)
    inside = np.pad(np.ones(face.shape[2:]), 2)
    padded = np.pad(face, ((0, 0), (0, 0), (2, 2), (2, 2)))
    total, count = np.zeros(face.shape), np.zeros(face.shape[2:])
    for row in range(5):
        for column in range(5):
            rows, columns = slice(row, row + face.shape[2]), slice(column, column + face.shape[3])
            total += padded[:, :, rows, columns]
            count += inside[rows, columns]
    depth = np.tanh(total / count)
    validity = 1 / (1 + np.exp(-(10 * face.mean(axis=(2, 3)) + 5)))
    return {"depth": depth, "mask": 1 / (1 + np.exp(4 * depth)), "validity": validity}


def tiny_onnx(precision: str = "fp32", *, mask: bool = True, validity: bool = True, depth_name: str = "depth") -> bytes:
    """Build the model's ONNX file; int8 quantises the face to 1/127 on its way in."""
    from onnx import TensorProto, helper

    nodes, constants, pooled = [], [], "face"
    if precision == "int8":
        constants += [helper.make_tensor("q_scale", TensorProto.FLOAT, [], [1 / 127])]
        constants += [helper.make_tensor("q_zero", TensorProto.INT8, [], [0])]
        nodes += [helper.make_node("QuantizeLinear", ["face", "q_scale", "q_zero"], ["face_q"])]
        nodes += [helper.make_node("DequantizeLinear", ["face_q", "q_scale", "q_zero"], ["face_dq"])]
        pooled = "face_dq"
    pool = {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2], "count_include_pad": 0}
    nodes += [helper.make_node("AveragePool", [pooled], ["mean"], **pool)]
    nodes += [helper.make_node("Tanh", ["mean"], [depth_name])]
    map_shape = ["batch", 1, SIZE_PX, SIZE_PX]
    outputs = [helper.make_tensor_value_info(depth_name, TensorProto.FLOAT, map_shape)]
    if mask:
        constants += [helper.make_tensor("minus_four", TensorProto.FLOAT, [], [-4.0])]
        nodes += [helper.make_node("Mul", [depth_name, "minus_four"], ["logit"])]
        nodes += [helper.make_node("Sigmoid", ["logit"], ["mask"])]
        outputs += [helper.make_tensor_value_info("mask", TensorProto.FLOAT, map_shape)]
    if validity:
        constants += [helper.make_tensor("ten", TensorProto.FLOAT, [], [10.0])]
        constants += [helper.make_tensor("five", TensorProto.FLOAT, [], [5.0])]
        constants += [helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])]
        nodes += [helper.make_node("ReduceMean", [pooled, "axes"], ["level"], keepdims=0)]
        nodes += [helper.make_node("Mul", ["level", "ten"], ["level_10"])]
        nodes += [helper.make_node("Add", ["level_10", "five"], ["validity_logit"])]
        nodes += [helper.make_node("Sigmoid", ["validity_logit"], ["validity"])]
        outputs += [helper.make_tensor_value_info("validity", TensorProto.FLOAT, ["batch", 1])]
    inputs = [helper.make_tensor_value_info("face", TensorProto.FLOAT, map_shape)]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    return bytes(model.SerializeToString())


def tiny_reference(path: Path) -> None:
    """Write the model as reference.pt2 by torch.export."""
    import torch

    class Tiny(torch.nn.Module):
        def forward(self, face: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            pooled = torch.nn.functional.avg_pool2d(face, 5, stride=1, padding=2, count_include_pad=False)
            depth = torch.tanh(pooled)
            return depth, torch.sigmoid(-4 * depth), torch.sigmoid(10 * face.mean(dim=(2, 3)) + 5)

    example = torch.zeros(2, 1, SIZE_PX, SIZE_PX)
    shapes = {"face": {0: torch.export.Dim("batch", min=1, max=64)}}
    torch.export.save(torch.export.export(Tiny().eval(), (example,), dynamic_shapes=shapes), str(path))


def write_tiny_artifact(
    folder: Path,
    *,
    precisions: tuple[str, ...] = ("fp32", "int8"),
    mask: bool = True,
    validity: bool = True,
    reference: bool = False,
) -> Path:
    """Write the tiny model as an artifact and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for precision in precisions:
        (folder / f"{precision}.onnx").write_bytes(tiny_onnx(precision, mask=mask, validity=validity))
    faces = np.random.default_rng(0).uniform(-1, 1, (4, 1, SIZE_PX, SIZE_PX)).astype(np.float32)
    wanted = {"depth"} | ({"mask"} if mask else set()) | ({"validity"} if validity else set())
    outputs = {name: value.astype(np.float32) for name, value in tiny_outputs(faces).items() if name in wanted}
    np.savez(folder / "golden.npz", face=faces, **outputs)
    if reference:
        tiny_reference(folder / "reference.pt2")
    names = [f"{precision}.onnx" for precision in precisions] + ["golden.npz"]
    names += ["reference.pt2"] if reference else []
    spec = ModelSpec(
        name="tiny",
        version="1.2.3",
        architecture="tiny",
        licence="Apache-2.0",
        opset=OPSET,
        files={name: entry_of(folder / name) for name in names},
        outputs=Outputs(mask=MaskOutput() if mask else None, validity=ValidityOutput() if validity else None),
        depth_mask_threshold=None if mask else 0.25,
        optional_files=("reference.pt2",) if reference else (),
        accuracy={"data": "none"},
        training={"commit": "none"},
    )
    (folder / "spec.json").write_text(spec.to_json(), encoding="utf-8")
    return folder


def entry_of(path: Path) -> FileEntry:
    """Return the spec's entry for a file."""
    content = path.read_bytes()
    return FileEntry(hashlib.sha256(content).hexdigest(), len(content))
