# SPDX-License-Identifier: Apache-2.0
"""Value noise in space: smooth random fields that are sampled at points, for skin, cloth, hair and walls."""

from __future__ import annotations

import numpy as np

_SIDE = 32  # the lattice repeats after this many cells


def field(rng: np.random.Generator, points: np.ndarray, cell_mm: float, channels: int = 1) -> np.ndarray:
    """Sample a random field.

    Args:
        rng: source of randomness; draws one lattice.
        points: (N, 3) mm.
        cell_mm: distance of the lattice's points.
        channels: independent values a point.

    Returns:
        (N, channels) float64, mean 0, standard deviation about 0.6, continuous in the points.
    """
    lattice = rng.standard_normal((_SIDE, _SIDE, _SIDE, channels))
    at = np.asarray(points, np.float64) / cell_mm + rng.uniform(0, _SIDE, 3)
    low = np.floor(at).astype(np.int64)
    t = at - low
    t = t * t * (3 - 2 * t)
    total = np.zeros((len(at), channels))
    for corner in range(8):
        step = np.array([corner & 1, corner >> 1 & 1, corner >> 2 & 1])
        weight = np.prod(np.where(step, t, 1 - t), axis=1)
        x, y, z = ((low + step) % _SIDE).T
        total += weight[:, None] * lattice[x, y, z]
    return total


def ramp(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Go from 0 at `low` to 1 at `high` (either may be the larger) with zero slope at both ends."""
    t = np.clip((np.asarray(x, np.float64) - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
