# SPDX-License-Identifier: Apache-2.0
"""A tongue that moves: put out over the lower lip, or lifted in an open mouth; the head model's lies on the floor.

It is drawn as a bent, flattened tube in front of the head model's own, whose root and tip say where it begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.synth.headmodel import PARTS, HeadModel
from train.synth.mesh import Mesh, grid_triangles

OUT_SHARE = 0.5  # of the tongues that move are put out, the others are lifted
_ROOT_MM, _BACK_MM, _TIP_MM = (0.0, -36.0, 36.0), (0.0, -27.5, 56.0), (0.0, -34.0, 86.0)  # of the neutral head's tongue
_UPPER_LIP, _LOWER_LIP, _CORNERS = 62, 66, (60, 64)  # landmarks of the lips' inner borders
_STATIONS, _AROUND = 24, 20
_HALF_WIDTH_MM, _HALF_THICK_MM = 20.0, 6.0
_TIP_SHARE = 0.3  # of the length becomes narrower towards the tip
_LEAST_JAW = 0.22  # of jawOpen: as far as a tongue that is put out keeps the lips apart
_RISE = np.array([0.0, 1.0, 0.0])
_FORWARD = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Tongue:
    """How a tongue is held.

    Attributes:
        out_mm: how far it reaches beyond the lower lip; 0: it stays in the mouth.
        lift: how high it is lifted in the mouth, of the gap between the lips, 0..1; where it is not put out.
        down_deg: how far a tongue that is put out bends downwards.
        side_deg: how far it is turned to the face's left.
    """

    out_mm: float = 0.0
    lift: float = 0.0
    down_deg: float = 0.0
    side_deg: float = 0.0


def with_tongue(
    rng: np.random.Generator, expression: dict[str, float], share: float
) -> tuple[dict[str, float], Tongue | None]:
    """Draw whether and how a tongue moves; the mouth is open then.

    Args:
        rng: source of randomness.
        expression: weights of the head model's expressions.
        share: of the expressions in which a tongue moves.

    Returns:
        The expression, its mouth opened as far as the tongue needs it, and the tongue; unchanged and None without.
    """
    if rng.uniform() >= share:
        return expression, None
    jaw = max(expression.get("jawOpen", 0.0), _LEAST_JAW)
    closing = ("mouthClose", "mouthPress", "mouthRoll", "mouthPucker", "mouthShrug")
    opened = {name: weight for name, weight in expression.items() if not name.startswith(closing)}
    if rng.uniform() < OUT_SHARE:
        opened["jawOpen"] = float(max(jaw, rng.uniform(_LEAST_JAW, 0.6)))
        side = rng.normal(0, 12) if rng.uniform() < 0.7 else rng.uniform(-50, 50)
        return opened, Tongue(
            out_mm=float(rng.uniform(6, 38)), down_deg=float(rng.uniform(5, 75)), side_deg=float(side)
        )
    opened["jawOpen"] = float(max(jaw, rng.uniform(0.3, 1.0)))
    return opened, Tongue(lift=float(rng.uniform(0.1, 0.75)), side_deg=float(rng.normal(0, 8)))


def tongue_mesh(model: HeadModel, vertices: np.ndarray, tongue: Tongue) -> Mesh:
    """Build the tongue of a posed head.

    Args:
        model: the head model.
        vertices: (V, 3) mm, the head with its expression.
        tongue: how it is held.

    Returns:
        A mesh of the material "tongue", open at the root.
    """
    line_mm, gate = _middle_line(model, vertices, tongue)
    at = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line_mm, axis=0), axis=1))])
    along = at / at[-1]
    ahead = np.gradient(line_mm, at, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    across = np.cross(_RISE, ahead)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    above = np.cross(ahead, across)
    corner, other = model.landmarks(vertices)[list(_CORNERS)]
    room = 0.42 * float(np.linalg.norm(corner - other))  # between the corners of the mouth
    beyond = np.clip((np.arange(_STATIONS) - gate) / 3 + 1, 0, 1)
    round_tip = np.sqrt(np.clip(1 - (np.clip(along - 1 + _TIP_SHARE, 0, None) / _TIP_SHARE) ** 2, 0, None))
    half_width = (_HALF_WIDTH_MM + beyond * (min(room, _HALF_WIDTH_MM) - _HALF_WIDTH_MM)) * round_tip
    half_thick = _HALF_THICK_MM * (1 - 0.4 * along) * np.sqrt(round_tip)
    angle = -2 * np.pi * np.arange(_AROUND) / _AROUND  # so that the triangles look outwards
    furrow = 1 - 0.25 * np.exp(-((np.cos(angle) / 0.25) ** 2)) * (np.sin(angle) > 0)
    ring = (
        half_width[:, None, None] * np.cos(angle)[:, None] * across[:, None]
        + half_thick[:, None, None] * (np.sin(angle) * furrow)[:, None] * above[:, None]
    )  # (stations, around, 3)
    points = (line_mm[:, None] + ring).reshape(-1, 3)
    triangles = grid_triangles(_STATIONS, _AROUND, closed=True)
    uv = np.stack(np.broadcast_arrays(0.25 + 0.5 * np.abs(np.cos(angle)), along[:, None]), axis=-1).reshape(-1, 2)
    return Mesh(points.astype(np.float32), triangles, uv.astype(np.float32), "tongue")


def _middle_line(model: HeadModel, vertices: np.ndarray, tongue: Tongue) -> tuple[np.ndarray, int]:
    """Return the tongue's middle line, (stations, 3) mm from root to tip, and the station between the lips."""
    root, back, tip = (_carried(model, vertices, place) for place in (_ROOT_MM, _BACK_MM, _TIP_MM))
    upper, lower = model.landmarks(vertices)[[_UPPER_LIP, _LOWER_LIP]].astype(np.float64)
    gap = max(float((upper - lower) @ _RISE), 0.0)
    side = np.radians(tongue.side_deg)
    under = _RISE * _HALF_THICK_MM
    if tongue.out_mm > 0:
        between = lower + _RISE * min(0.8 * _HALF_THICK_MM, 0.5 * gap)
        turned = np.array([np.sin(side), 0.0, np.cos(side)])
        bends = np.radians(tongue.down_deg) * np.array([0.4, 1.0])
        first, second = (np.cos(b) * turned - np.sin(b) * _RISE for b in bends)
        knots = [root, back - under, between - 12 * _FORWARD, between]
        knots += [between + 0.5 * tongue.out_mm * first, between + 0.5 * tongue.out_mm * (first + second)]
        inside = 3 / (len(knots) - 1)
    else:
        rise = tongue.lift * gap * _RISE
        aside = np.array([np.sin(side), 0.0, 0.0]) * 20
        knots = [root, back - under + 0.6 * rise, 0.5 * (back + tip) - under + rise + 0.5 * aside]
        knots += [tip - 0.5 * under + 0.8 * rise + aside]
        inside = 1.0
    return _through(np.array(knots)), round(inside * (_STATIONS - 1))


def _carried(model: HeadModel, vertices: np.ndarray, place_mm: tuple[float, float, float]) -> np.ndarray:
    """Return where a place at the neutral head's tongue goes with it."""
    first, last = PARTS["gums"]
    nearest = first + int(np.argmin(np.linalg.norm(model.neutral[first : last + 1] - place_mm, axis=1)))
    return vertices[nearest].astype(np.float64) + (np.array(place_mm) - model.neutral[nearest])


def _through(knots: np.ndarray) -> np.ndarray:
    """Return a smooth line through knots (Catmull and Rom's), (stations, 3)."""
    ends = np.concatenate([[2 * knots[0] - knots[1]], knots, [2 * knots[-1] - knots[-2]]])
    t = np.linspace(0, len(knots) - 1, _STATIONS)
    first = np.minimum(t.astype(int), len(knots) - 2)
    f = (t - first)[:, None]
    a, b, c, d = (ends[first + k] for k in range(4))
    return 0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - a - 3 * c + d) * f**3)
