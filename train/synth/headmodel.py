# SPDX-License-Identifier: Apache-2.0
"""The ICT-FaceKit head: identity and expression spaces, its parts, landmarks and spherical texture coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from facedepth_edge.errors import ConfigError
from train.synth.mesh import triangles_from_quads

_MM = 10.0  # the file is in centimetres
_LAST_SOLID = 24590  # behind it: lacrimal fluid, eye blend, lashes: not part of a depth render

# Inclusive vertex ranges of the ICT Face Model Light.
PARTS = {
    "skin": (0, 11247),
    "mouth": (11248, 13293),
    "eye_socket": (13294, 14061),
    "gums": (14062, 17038),
    "teeth": (17039, 21450),
    "eye_left": (21451, 23020),
    "eye_right": (23021, 24590),
}

# Multi-PIE 68 landmarks as vertex indices.
# fmt: off
LANDMARKS = np.array([
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443, 268,
    493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360,
    1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081, 0, 4275, 6200,
    6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
])
# fmt: on
# Where the tragi lie on the neutral head, mm; the nearest vertex of each ear is taken.
_TRAGUS_MM = np.array([72.5, 4.0, 12.0])
# The centre of the spherical texture coordinates, mm: inside the skull, at the height of the eyes.
SPHERE_CENTRE_MM = np.array([0.0, 30.0, 10.0], np.float32)
# Under this height (mm) the neck bends between head and torso; it is still the head's own motion above.
NECK_TOP_MM, NECK_BOTTOM_MM = -70.0, -150.0


@dataclass(frozen=True)
class HeadModel:
    """Arrays of the head model in mm; +x to the face's left, +y up, +z out of the face.

    Attributes:
        neutral: (V, 3) float32 vertices of the neutral mean head.
        identity: (100, V, 3) float32 offsets of one standard deviation.
        expression: (57, V, 3) float32 offsets of a full expression.
        expression_names: the 57 names, ARKit-like.
        triangles: (T, 3) int32, solid parts only.
    """

    neutral: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    expression_names: tuple[str, ...]
    triangles: np.ndarray

    @classmethod
    def load(cls, path: str | Path) -> HeadModel:
        """Read the packed head model (`python -m train.synth pack-head` makes it from the public repository).

        Args:
            path: a .npz with neutral, faces, identity, expression, expr in centimetres.

        Raises:
            ConfigError: the file is missing, cannot be read, or lacks an array.
        """
        path = Path(path)
        how = "Make it with: python -m train.synth pack-head --checkout ICT-FaceKit --out ict_facekit.npz"
        if not path.is_file():
            raise ConfigError.of("head model", f"no file at {path}", "the packed ICT-FaceKit head", how)
        try:
            with path.open("rb") as file, np.load(file) as data:
                count = _LAST_SOLID + 1
                faces = data["faces"]
                solid = triangles_from_quads(faces[faces.max(axis=1) < count])
                return cls(
                    neutral=data["neutral"][:count].astype(np.float32) * _MM,
                    identity=data["identity"][:, :count].astype(np.float32) * _MM,
                    expression=data["expression"][:, :count].astype(np.float32) * _MM,
                    expression_names=tuple(str(name) for name in data["expr"]),
                    triangles=solid,
                )
        except (KeyError, ValueError, OSError, EOFError, BadZipFile) as error:
            raise ConfigError.of(f"head model {path}", str(error), "a readable ICT-FaceKit pack", how) from error

    def shape(self, identity: np.ndarray, expression: dict[str, float], scale: float | np.ndarray = 1.0) -> np.ndarray:
        """Return vertices (V, 3) float32 in mm of `neutral + sum w_i identity_i + sum e_j expression_j`, scaled.

        Args:
            identity: (100,) weights.
            expression: name to weight.
            scale: of all, or (3,) of x, y and z.
        """
        vertices = self.neutral + np.tensordot(identity.astype(np.float32), self.identity, 1)
        for name, weight in expression.items():
            vertices = vertices + np.float32(weight) * self.expression[self.expression_names.index(name)]
        return (vertices * np.asarray(scale, np.float32)).astype(np.float32)

    def shape_values(self, identity: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return a person's shape as train.data.shapes has it, every value in mm of what it moves the head.

        Args:
            identity: (100,) weights.
            scale: (3,) width, height and depth relative to the model's.

        Returns:
            (103,) float32: every weight times the RMS motion, relative to the head centre, of the skin that is rigid
            with the head, then the logarithm of each size times that skin's RMS distance from the head centre.
        """
        return np.concatenate([identity * self._identity_mm, np.log(scale) * self._extent_mm]).astype(np.float32)

    @cached_property
    def _identity_mm(self) -> np.ndarray:
        moved = self.identity - self.identity[:, list(self.tragi)].mean(axis=1, keepdims=True)
        return np.sqrt(np.square(moved[:, self._rigid_skin]).sum(axis=2, dtype=np.float64).mean(axis=1))

    @cached_property
    def _extent_mm(self) -> np.ndarray:
        apart = self.neutral - self.head_center(self.neutral)
        return np.sqrt(np.square(apart[self._rigid_skin]).mean(axis=0, dtype=np.float64))

    @cached_property
    def _rigid_skin(self) -> np.ndarray:
        return np.flatnonzero(self.bend[: PARTS["skin"][1] + 1] >= 1.0)

    def part_triangles(self, name: str) -> np.ndarray:
        """Return the triangles (T, 3) that lie in one part of `PARTS`."""
        low, high = PARTS[name]
        return self.triangles[((self.triangles >= low) & (self.triangles <= high)).all(axis=1)]

    def landmarks(self, vertices: np.ndarray) -> np.ndarray:
        """Return the 68 Multi-PIE landmarks (68, 3) of a shape, mm."""
        return vertices[LANDMARKS]

    @cached_property
    def tragi(self) -> tuple[int, int]:
        """Vertex indices of the left and the right tragus."""
        skin = self.neutral[: PARTS["skin"][1] + 1]
        left = int(np.linalg.norm(skin - _TRAGUS_MM, axis=1).argmin())
        right = int(np.linalg.norm(skin - _TRAGUS_MM * [-1, 1, 1], axis=1).argmin())
        return left, right

    def head_center(self, vertices: np.ndarray) -> np.ndarray:
        """Return the head centre (3,) of a shape, mm: the point midway between the two tragi."""
        return vertices[list(self.tragi)].mean(axis=0)

    @cached_property
    def sphere_uv(self) -> np.ndarray:
        """(V, 2) float32 texture coordinates of the neutral head: azimuth and elevation around the skull's centre."""
        return sphere_uv(self.neutral)

    @cached_property
    def ear(self) -> np.ndarray:
        """(V,) bool: the vertices of the outer ears on the neutral head."""
        x, y, z = np.abs(self.neutral[:, 0]), self.neutral[:, 1], self.neutral[:, 2]
        flare = x > 70.0 + np.clip(y - 5.0, 0, 30) * 0.18
        inside = (y > -26) & (y < 42) & (z > -25) & (z < 18)
        return flare & inside & (np.arange(len(x)) <= PARTS["skin"][1])

    @cached_property
    def bend(self) -> np.ndarray:
        """(V,) float32: 1 where a vertex follows the head, 0 where it follows the torso, smooth along the neck."""
        y, z = self.neutral[:, 1], self.neutral[:, 2]
        top = NECK_TOP_MM + np.clip((z - 20) / 60, 0, 1) * -15 + np.clip((-z) / 60, 0, 1) * 15
        t = np.clip((y - NECK_BOTTOM_MM) / (top - NECK_BOTTOM_MM), 0, 1)
        weight = t * t * (3 - 2 * t)
        weight[PARTS["skin"][1] + 1 :] = 1.0
        return weight.astype(np.float32)


def sphere_uv(points_mm: np.ndarray) -> np.ndarray:
    """Map points (N, 3) mm to spherical texture coordinates (N, 2) float32.

    Convention: u = 0.5 + azimuth / 2 pi, azimuth 0 in front (+z), positive to the face's left (+x); v = 0.5 -
    elevation / pi, so that v grows downwards.
    """
    azimuth, elevation = azimuth_elevation(points_mm - SPHERE_CENTRE_MM)
    return np.stack([0.5 + azimuth / (2 * np.pi), 0.5 - elevation / np.pi], axis=1).astype(np.float32)


def azimuth_elevation(offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return azimuth and elevation, (N,) radians as in `sphere_uv`, of offsets (N, 3) from the skull's centre."""
    return np.arctan2(offset[:, 0], offset[:, 2]), np.arctan2(offset[:, 1], np.hypot(offset[:, 0], offset[:, 2]))
