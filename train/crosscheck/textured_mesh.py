# SPDX-License-Identifier: Apache-2.0
"""Reads a scan: triangles with texture coordinates and a picture, of any file that trimesh reads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facedepth_edge.errors import BackendUnavailable, InputError

WHITE = (1.0, 1.0, 1.0)
_LEAST_PICTURE_PX = 16  # trimesh puts a tiny gray one where there is none


@dataclass(frozen=True)
class TexturedMesh:
    """Triangles under one picture.

    Args:
        points: (V, 3) float64, the file's units and axes.
        triangles: (T, 3) int32.
        uv: (V, 2) float32, u to the right and v upwards over the picture, which repeats beyond 0..1.
        picture: (H, W, 3) uint8 sRGB, red first.
        tint: Factors on the picture's linear RGB, as glTF's baseColorFactor.
    """

    points: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    picture: np.ndarray
    tint: tuple[float, float, float] = WHITE

    def colour_at(self, uv: np.ndarray) -> np.ndarray:
        """Return colours (N, 3) float64, linear RGB, interpolated between the centres of the picture's pixels.

        Args:
            uv: (N, 2) float32.
        """
        height, width = self.picture.shape[:2]
        level = self.picture.astype(np.float32) / 255
        linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).astype(np.float32)
        around = np.pad(linear, ((1, 1), (1, 1), (0, 0)), mode="wrap")
        x = (uv[:, 0] % 1 * width + 0.5).astype(np.float32)
        y = (-uv[:, 1] % 1 * height + 0.5).astype(np.float32)
        # OpenCV's maps are short in rows and columns: 2-D in and out again.
        side = int(np.ceil(np.sqrt(len(uv))))
        maps = [np.resize(values, (side, side)) for values in (x, y)]
        found = cv2.remap(around, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return found.reshape(-1, 3)[: len(uv)].astype(np.float64) * self.tint


def read_textured(mesh: Path, texture: Path | None = None) -> list[TexturedMesh]:
    """Read a file's meshes, where its scene puts them.

    Args:
        mesh: A file of triangles with texture coordinates that trimesh reads: .obj, .glb, .ply.
        texture: The picture of all of them; None where the file names or contains it.

    Raises:
        BackendUnavailable: trimesh is not installed.
        InputError: The file cannot be read, or a part has no triangles, texture coordinates or picture.
    """
    try:
        import trimesh
    except ImportError as error:
        how = "pip install -e '.[train,crosscheck]'"
        raise BackendUnavailable.of("train.crosscheck scan", "no package trimesh", "trimesh >= 4", how) from error
    try:
        found = trimesh.load(mesh, force="scene", process=False).dump()
    except Exception as error:  # its readers raise whatever a damaged file makes them
        raise InputError.of(str(mesh), f"{type(error).__name__}: {error}", "a mesh", "Check the path.") from error
    given = None if texture is None else _read_picture(texture)
    parts = [_part(mesh, one, given) for one in found if len(getattr(one, "faces", ()))]
    if not parts:
        raise InputError.of(str(mesh), "no triangles", "triangles with texture coordinates", "Export the scan again.")
    return parts


def digest_of(parts: list[TexturedMesh]) -> str:
    """Return the SHA-256 of all that a scan is made of, whichever files it came from."""
    digest = hashlib.sha256()
    for part in parts:
        for array in (part.points, part.triangles, part.uv, part.picture):
            digest.update(f"{array.shape} {array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        if part.tint != WHITE:
            digest.update(np.array(part.tint).tobytes())
    return digest.hexdigest()


def _part(mesh: Path, found: Any, given: np.ndarray | None) -> TexturedMesh:
    uv = getattr(found.visual, "uv", None)
    if uv is None or len(uv) != len(found.vertices):
        got = f"a part of {len(found.faces)} triangles with {'no' if uv is None else len(uv)} texture coordinates"
        raise InputError.of(str(mesh), got, "one for each corner", "Export the scan with its texture.")
    points, uv = np.array(found.vertices, np.float64), np.array(uv, np.float32)
    if not (np.isfinite(points).all() and np.isfinite(uv).all()):
        raise InputError.of(str(mesh), "NaN or infinity", "finite numbers", "Export the scan again.")
    picture, tint = given, WHITE
    if picture is None:
        picture, tint = _own_picture(found.visual.material), _own_tint(found.visual.material)
    if picture is None:
        raise InputError.of(str(mesh), "a part without a picture", "the scan's colours", "Give it with --texture.")
    return TexturedMesh(points, np.array(found.faces, np.int32), uv, picture, tint)


def _own_tint(material: Any) -> tuple[float, float, float]:
    factor = getattr(material, "baseColorFactor", None)  # (4,) uint8: trimesh rounds it to 1/255
    if factor is None:
        return WHITE
    red, green, blue = (float(level) / 255 for level in factor[:3])
    return red, green, blue


def _own_picture(material: Any) -> np.ndarray | None:
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if image is None or min(image.size) < _LEAST_PICTURE_PX:
        return None
    levels = np.array(image)
    if levels.dtype.itemsize > 1:  # 16-bit gray, whose upper levels PIL's convert would clip
        return np.repeat((levels >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))


def _read_picture(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)  # as texture coordinates count
    if picture is None:
        raise InputError.of(str(path), "no picture", "a picture that OpenCV reads", "Check the path.")
    return np.ascontiguousarray(picture[..., ::-1])
