# SPDX-License-Identifier: Apache-2.0
"""Glasses: rims, bridge and temples as tubes; dark ones have lenses, clear lenses are left out."""

from __future__ import annotations

import numpy as np

from train.crosscheck.parts import WORN, Part
from train.synth.mesh import tube


def frame_parts(
    eyes: list[tuple[np.ndarray, float]], ears: np.ndarray, *, dark: bool, seed: int, infrared: bool
) -> list[Part]:
    """Build glasses.

    Args:
        eyes: centre (3,) and radius, mm, of the left and the right eyeball.
        ears: (2, 3) the left and the right tragus.
        dark: with dark lenses.
        seed: of shape and colour.
        infrared: gray; some dark lenses are clear at 940 nm, these are not.

    Returns:
        The parts, in the eyes' coordinates.
    """
    rng = np.random.default_rng([seed, 51])
    thick = rng.uniform(0.9, 2.2)
    tone = float(np.exp(rng.uniform(np.log(0.01), np.log(0.25))))
    colour = np.full(3, tone) if infrared else tone * rng.uniform(0.5, 1.3, 3)
    wide, high, square = rng.uniform(24, 29), rng.uniform(17, 24), rng.uniform(2.0, 4.5)
    angle = np.linspace(0, 2 * np.pi, 49)
    cosine, sine = np.cos(angle), np.sin(angle)
    rim_x = wide * np.sign(cosine) * np.abs(cosine) ** (2 / square)
    rim_y = high * np.sign(sine) * np.abs(sine) ** (2 / square)
    parts, inner = [], []
    for (centre, radius), ear, side in zip(eyes, ears, (1, -1), strict=True):
        front = centre[2] + radius + rng.uniform(13, 17)
        middle = np.array([centre[0] + side * 2, centre[1] - 3, front])
        rim = np.stack([middle[0] + rim_x, middle[1] + rim_y, front - 0.003 * (rim_x + side * 10) ** 2], axis=1)
        parts.append(_tube(rim, thick, colour))
        if dark:
            points = np.concatenate([[middle], rim])
            fan = np.stack([np.zeros(48), np.arange(1, 49), np.arange(2, 50)], axis=1).astype(np.int32)
            parts.append(Part(points, fan, np.full((len(points), 3), 0.012), WORN, 0.08, 0.6))
        hinge = np.array([middle[0] + side * wide, middle[1] + 0.35 * high, front - 0.003 * (wide + 10) ** 2])
        bow = np.array([ear[0] + side * 5, ear[1] + 16, ear[2] - 5])
        parts.append(_tube(hinge + np.linspace(0, 1, 8)[:, None] * (bow - hinge), thick, colour))
        inner.append(middle - [side * wide, -0.3 * high, 0])
    across = np.linspace(0, 1, 9)[:, None]
    bridge = inner[0] + across * (inner[1] - inner[0]) + np.sin(np.pi * across) * [0, 2.0, 3.0]
    parts.append(_tube(bridge, thick, colour))
    return parts


def _tube(path: np.ndarray, radius: float, colour: np.ndarray) -> Part:
    points, triangles, _ = tube(path, radius)
    return Part(points.astype(np.float64), triangles, np.broadcast_to(colour, points.shape), WORN, 0.3, 0.5)
