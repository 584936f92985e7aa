# SPDX-License-Identifier: Apache-2.0
"""Packs a checkout of the public repository ICT-VGL/ICT-FaceKit (MIT) into the one file that the renderer reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedepth_edge.errors import ConfigError
from facedepth_edge.whole_file import whole_file

_VERTICES = 26719  # of the ICT Face Model Light
_IDENTITIES = 100
# Shapes of the folder that are neither the neutral head, an identity nor an expression.
_NOT_EXPRESSIONS = ("generic_neutral_mesh", "identity")


def pack_head(checkout: Path, out: Path) -> None:
    """Read FaceXModel/*.obj and write neutral, uv, faces, face_uv, identity, expression, expr (centimetres).

    Args:
        checkout: folder of the repository.
        out: the .npz to write; it appears only when it is whole.

    Raises:
        ConfigError: a mesh is missing or has another number of vertices.
    """
    folder = checkout / "FaceXModel"
    neutral_path = folder / "generic_neutral_mesh.obj"
    if not neutral_path.is_file():
        fix = "Give a checkout of ICT-VGL/ICT-FaceKit."
        raise ConfigError.of(str(neutral_path), "no such file", "the ICT Face Model Light", fix)
    neutral, uv, faces, face_uv = _read_mesh(neutral_path)
    identities = [folder / f"identity{i:03d}.obj" for i in range(_IDENTITIES)]
    expressions = sorted(p for p in folder.glob("*.obj") if not p.stem.startswith(_NOT_EXPRESSIONS))
    offsets = []
    for path in tqdm([*identities, *expressions], desc="pack", unit="mesh"):
        if not path.is_file():
            fix = "Complete the checkout."
            raise ConfigError.of(str(path), "no such file", f"{_IDENTITIES} identities", fix)
        offsets.append((_read_vertices(path) - neutral).astype(np.float16))
    arrays = {
        "neutral": neutral.astype(np.float32),
        "uv": uv,
        "faces": faces,
        "face_uv": face_uv,
        "identity": np.stack(offsets[:_IDENTITIES]),
        "expression": np.stack(offsets[_IDENTITIES:]),
        "expr": np.array([p.stem for p in expressions]),
    }
    with whole_file(out) as file:
        np.savez_compressed(file, **arrays)


def _read_vertices(path: Path) -> np.ndarray:
    rows = [line.split()[1:4] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("v ")]
    if len(rows) != _VERTICES:
        fix = "Complete the checkout (Git LFS?)."
        raise ConfigError.of(str(path), f"{len(rows)} vertices", f"{_VERTICES}", fix)
    return np.array(rows, np.float64)


def _read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    uv, faces, face_uv = [], [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("vt "):
            uv.append([float(x) for x in line.split()[1:3]])
        elif line.startswith("f "):
            corners = [c.split("/") for c in line.split()[1:]]
            pad = [-1] * (4 - len(corners))
            faces.append([int(c[0]) - 1 for c in corners] + pad)
            face_uv.append([int(c[1]) - 1 for c in corners] + pad)
    return _read_vertices(path), np.array(uv, np.float32), np.array(faces, np.int32), np.array(face_uv, np.int32)
