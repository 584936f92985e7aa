# SPDX-License-Identifier: Apache-2.0
"""What is not the head: torso and garments, scarf, seat and headrest, hands and things in front of the face.

All meshes are in the torso's frame, which is the head's frame of a head that looks straight ahead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.synth.mesh import Mesh, grid_triangles, tube
from train.synth.noise import smoothstep

COLLAR_TOP_MM, COLLAR_Z_MM, COLLAR_DEEPER_MM = -100.0, -8.0, 4.0
_UNDER_COLLAR_MM = 4.0
HEM_MM = -850.0  # where the garment ends: below any picture of a head that is looked past
_HEM_ROWS = 8


@dataclass(frozen=True)
class Torso:
    """A clothed torso in its own frame.

    Attributes:
        meshes: of garment and scarf.
        collar_mm: the collar's half width; its half depth is COLLAR_DEEPER_MM more, about z = COLLAR_Z_MM.
    """

    meshes: list[Mesh]
    collar_mm: float

    def tucked(self, points: np.ndarray) -> np.ndarray:
        """Bring skin that would lie outside the collar under the garment.

        Args:
            points: (N, 3) float mm in the torso's frame.

        Returns:
            (N, 3) like `points`: what lies below COLLAR_TOP_MM is no farther from the collar's axis than the collar.
        """
        half = np.array([self.collar_mm, self.collar_mm + COLLAR_DEEPER_MM]) - _UNDER_COLLAR_MM
        aside = (points[:, [0, 2]] - [0, COLLAR_Z_MM]) / half
        out = np.maximum(np.linalg.norm(aside, axis=1), 1e-6)
        below = smoothstep(-points[:, 1], -COLLAR_TOP_MM, 12 - COLLAR_TOP_MM)
        share = 1 + below * (np.minimum(1 / out, 1) - 1)
        tucked = points.copy()
        tucked[:, 0] *= share
        tucked[:, 2] = COLLAR_Z_MM + (points[:, 2] - COLLAR_Z_MM) * share
        return tucked


def torso(rng: np.random.Generator) -> Torso:
    """Loft a clothed torso from the collar down; the neck itself is the head model's skin."""
    rows, columns = 40, 96
    t = np.linspace(0, 1, rows)[:, None]
    y = -108 - 330 * t**1.3 - rng.uniform(-12, 18)
    slope = rng.uniform(0.65, 1.05)
    wide, deep = rng.uniform(175, 235), rng.uniform(95, 140)
    collar = rng.uniform(62, 80)
    grow = smoothstep(t, 0.0, 0.5 * slope)
    half_x = collar + (wide - collar) * grow
    half_z = collar + COLLAR_DEEPER_MM + (deep - collar) * smoothstep(t, 0.0, 0.55)
    ring = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    power = 2 + 0.8 * grow
    sin, cos = np.sin(ring), np.cos(ring)
    x = half_x * np.sign(sin) * np.abs(sin) ** (2 / power)
    z = half_z * np.sign(cos) * np.abs(cos) ** (2 / power) + COLLAR_Z_MM - 28 * t
    folds = rng.uniform(0.5, 3.5) * np.sin(ring * rng.integers(5, 14) + t * rng.uniform(6, 20)) * t
    x, z = x * (1 + folds / 150), z + folds
    # The front of the collar lies lower than the nape.
    dip = rng.uniform(5, 40) * np.clip(cos, 0, 1) ** 2 * (1 - t)
    points = np.stack(np.broadcast_arrays(x, y - dip + 14 * np.clip(-cos, 0, 1) * (1 - t), z), -1)
    # Straight down from the waist, the cloth mirrored.
    hem = points[-1:].repeat(_HEM_ROWS, axis=0)
    hem[:, :, 1] = np.linspace(points[-1, :, 1], HEM_MM, _HEM_ROWS + 1)[1:]
    mirrored = np.abs(1 - np.linspace(0, (-438 - HEM_MM) / 330, _HEM_ROWS + 1)[1:, None])  # 330 mm a texture, as above
    cloth_v = np.concatenate([t, mirrored])
    points = np.concatenate([points, hem])
    around = (ring / (2 * np.pi) + 0.5) % 1.0  # the texture's sides meet at the back
    uv = np.stack(np.broadcast_arrays(around, cloth_v), -1).reshape(-1, 2).astype(np.float32)
    triangles = grid_triangles(rows + _HEM_ROWS, columns, closed=True)
    out = [Mesh(points.reshape(-1, 3).astype(np.float32), triangles, uv, "garment")]
    if rng.uniform() < 0.6:  # a collar: a band that stands up or leans outwards
        stand, lean = rng.uniform(8, 45), rng.uniform(-4, 22)
        s = np.linspace(0, 1, 6)[:, None]
        gap = 1 - rng.uniform(0, 0.35) * np.clip(np.cos(ring), 0, 1) ** 4
        cx = (collar + 3 + lean * s) * sin
        cz = (collar + 3 + COLLAR_DEEPER_MM + lean * s) * cos + COLLAR_Z_MM
        cy = y[0] + 2 + stand * s * gap - dip[0] + 14 * np.clip(-cos, 0, 1)
        band = np.stack(np.broadcast_arrays(cx, cy, cz), -1).reshape(-1, 3)
        buv = np.stack(np.broadcast_arrays(around, 0.1 * s), -1).reshape(-1, 2).astype(np.float32)
        out.append(Mesh(band.astype(np.float32), grid_triangles(6, columns, closed=True), buv, "garment"))
    if rng.uniform() < 0.12:  # a scarf around the neck, sometimes up to the chin
        ring1 = np.linspace(0, 2 * np.pi, 60)
        high = rng.uniform(-105, -72)
        for turn in range(2):
            radius = 76 + rng.uniform(-4, 8)
            path = np.stack(
                [radius * np.sin(ring1), high - 26 * turn + 9 * np.cos(ring1 + turn), radius * 1.05 * np.cos(ring1)], 1
            )
            v, tri, tuv = tube(path, 20 + 4 * np.sin(ring1 * 5 + turn), 10)
            out.append(Mesh(v, tri, tuv, "scarf"))
    return Torso(out, float(collar))


def headrest(rng: np.random.Generator) -> list[Mesh]:
    """Put a car seat with its headrest behind the head."""
    behind = -rng.uniform(105, 190)
    out = []
    boxes = [
        ((rng.uniform(-20, 20), rng.uniform(0, 60), behind - 45), (rng.uniform(110, 150), rng.uniform(70, 110), 45)),
        ((0, -300, behind - 70), (rng.uniform(220, 270), rng.uniform(190, 225), 60)),
    ]
    for centre, half in boxes:
        out.append(_rounded_box(np.array(centre), np.array(half), "seat"))
    return out


def occluder(rng: np.random.Generator, target_mm: np.ndarray) -> list[Mesh]:
    """Hold something in front of the face.

    Args:
        rng: what, where and how.
        target_mm: (3,) point of the face that it covers or touches.

    Returns:
        Meshes of materials "hand", "thing"; they lie 5 to 120 mm in front of the target.
    """
    kind = rng.choice(["hand", "phone", "cup", "fist", "bar"], p=[0.42, 0.2, 0.16, 0.14, 0.08])
    front = target_mm + np.array([0, 0, rng.uniform(12, 60) if kind in ("hand", "fist") else rng.uniform(30, 120)])
    roll = rng.uniform(-np.pi, np.pi) if kind in ("bar",) else rng.uniform(-0.9, 0.9)
    turn = _rotation(rng.uniform(-0.7, 0.7), rng.uniform(-0.7, 0.7), roll)
    if kind == "hand":
        parts = _hand(rng, rng.uniform(0, 0.8))
    elif kind == "fist":
        parts = _hand(rng, rng.uniform(1.1, 1.6))
    elif kind == "phone":
        parts = [_rounded_box(np.zeros(3), np.array([36, 75, 4.5]), "thing"), *_hand(rng, 0.9, shift=(20, -45, -16))]
    elif kind == "cup":
        parts = [_cup(rng), *_hand(rng, 1.0, shift=(10, -10, 34))]
    else:
        path = np.stack([np.linspace(-400, 400, 9), np.zeros(9), np.zeros(9)], 1)
        v, t, uv = tube(path, rng.uniform(6, 40), 12)
        parts = [Mesh(v, t, uv, "thing")]
    side = np.diag([rng.choice([-1.0, 1.0]), 1.0, 1.0])
    matrix = turn @ side
    out = []
    for part in parts:
        moved = part.moved(matrix, front)
        flip = np.linalg.det(side) < 0
        out.append(
            Mesh(
                moved.vertices,
                np.ascontiguousarray(moved.triangles[:, ::-1]) if flip else moved.triangles,
                moved.uv,
                moved.material,
            )
        )
    return out


def _hand(rng: np.random.Generator, curl: float, shift: tuple[float, float, float] = (0, 0, 0)) -> list[Mesh]:
    """Build a hand with its forearm; palm towards -z, fingers up; curl 0 stretched .. 1.6 fist."""
    scale = rng.uniform(0.85, 1.1)
    palm = _rounded_box(np.array([0, -20, 0.0]), np.array([40, 46, 13.0]), "hand")
    parts = [palm]
    spread = rng.uniform(0, 0.2)
    for i, (x, length) in enumerate(zip((-30, -10, 10, 29), (62, 74, 70, 55), strict=True)):
        bend, point = curl * rng.uniform(0.7, 1.1), np.array([x, 24.0, 0.0])
        path, angle = [point.copy()], 0.0
        for segment in (0.45, 0.3, 0.25):
            angle += bend
            direction = np.array([np.sin((i - 1.5) * spread), np.cos(angle), -np.sin(angle)])
            for _ in range(2):
                point = point + direction * length * segment / 2
                path.append(point.copy())
        v, t, uv = tube(np.array(path), np.linspace(9.5, 7.0, len(path)), 8)
        parts.append(Mesh(v, t, uv, "hand"))
    thumb = np.array([[38, -40, 0], [52, -22, -6], [60, -4, -14 - 10 * curl], [60, 14, -20 - 14 * curl]], float)
    v, t, uv = tube(thumb, np.array([13, 11, 10, 8.0]), 8)
    parts.append(Mesh(v, t, uv, "hand"))
    arm = np.array([[0, -60, 0], [0, -120, -4], [rng.uniform(-40, 40), -330, -30]], float)
    v, t, uv = tube(arm, np.array([25, 29, 42.0]), 12)
    parts.append(Mesh(v, t, uv, "garment" if rng.uniform() < 0.5 else "hand"))
    return [p.moved(np.eye(3) * scale, np.array(shift, float)) for p in parts]


def _cup(rng: np.random.Generator) -> Mesh:
    height, radius = rng.uniform(40, 110), rng.uniform(30, 42)
    path = np.stack([np.zeros(10), np.linspace(-height, height, 10), np.zeros(10)], 1)
    profile = radius * np.array(
        [0.02, 0.9, 0.95, 1, 1, 1, 0.98, 0.8 if height > 75 else 1.0, 0.45 if height > 75 else 1.0, 0.02]
    )
    v, t, uv = tube(path, profile, 20)
    return Mesh(v, t, uv, "thing")


def _rounded_box(centre: np.ndarray, half: np.ndarray, material: str) -> Mesh:
    """Make a superellipsoid that looks like a cushion or a thing with rounded edges."""
    rows, columns = 14, 28
    e = np.linspace(-np.pi / 2, np.pi / 2, rows)[:, None]
    a = np.linspace(-np.pi, np.pi, columns, endpoint=False)[None]

    def power(x: np.ndarray) -> np.ndarray:
        return np.sign(x) * np.abs(x) ** 0.4

    unit = np.stack(
        np.broadcast_arrays(power(np.cos(e)) * power(np.cos(a)), power(np.sin(e)), power(np.cos(e)) * power(np.sin(a))),
        -1,
    )
    uv = np.stack(np.broadcast_arrays(a / (2 * np.pi) + 0.5, e / np.pi + 0.5), -1).reshape(-1, 2).astype(np.float32)
    points = (unit * half + centre).reshape(-1, 3).astype(np.float32)
    return Mesh(points, grid_triangles(rows, columns, closed=True)[:, ::-1].copy(), uv, material)


def _rotation(x: float, y: float, z: float) -> np.ndarray:
    cx, sx, cy, sy, cz, sz = np.cos(x), np.sin(x), np.cos(y), np.sin(y), np.cos(z), np.sin(z)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
