# SPDX-License-Identifier: Apache-2.0
"""Bends a head smoothly beyond what the head model's people differ in: jowls, hollow temples, another nose.

A sum of Gaussian displacements about points of the head, each with its mirror image on the other side, so that a face
stays as symmetric as the head model's. What lies within it (eyes, teeth) and on it (hair, glasses) goes along.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_COUNT = 24
_WIDTH_MM = (18.0, 55.0)  # standard deviation of a displacement's reach; narrower ones would tear lids and lips
_HALF_AXES_MM = np.array([72.0, 110.0, 95.0])  # of the ellipsoid on which the points lie, up to 30 mm under the skin
_UNEVEN = 0.25  # how much a displacement and its mirror image differ, relative to their length
_PER_STRENGTH = 0.54  # of a displacement's components, so that they add up to the strength over the face
_MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Warp:
    """A smooth displacement of space in the head's frame.

    Attributes:
        centres_mm: (K, 3).
        widths_mm: (K,) standard deviation of each Gaussian.
        moves_mm: (K, 3) displacement at each centre.
    """

    centres_mm: np.ndarray
    widths_mm: np.ndarray
    moves_mm: np.ndarray

    def moved(self, vertices: np.ndarray) -> np.ndarray:
        """Displace points.

        Args:
            vertices: (V, 3) float32 in mm, in the head's frame.

        Returns:
            (V, 3) float32 in mm.
        """
        total = np.zeros_like(vertices, dtype=np.float32)
        for centre, width, move in zip(self.centres_mm, self.widths_mm, self.moves_mm, strict=True):
            squared = np.square(vertices - centre.astype(np.float32)).sum(axis=1)
            total += np.exp(squared * np.float32(-0.5 / width**2))[:, None] * move.astype(np.float32)
        return vertices + total


def sample_warp(rng: np.random.Generator, strength_mm: float) -> Warp:
    """Draw a warp.

    Args:
        rng: source of randomness.
        strength_mm: about the RMS length of the displacements over a face relative to the head centre, averaged over
            people, who differ by a third.
    """
    half = _COUNT // 2
    direction = rng.normal(0, 1, (half, 3))
    direction[:, 2] = np.where(rng.uniform(size=half) < 0.75, np.abs(direction[:, 2]), direction[:, 2])  # faces first
    centres = direction / np.linalg.norm(direction, axis=1, keepdims=True) * _HALF_AXES_MM
    widths = rng.uniform(*_WIDTH_MM, half)
    moves = rng.normal(0, 1, (half, 3))
    other = moves * _MIRROR + _UNEVEN * rng.normal(0, 1, (half, 3))
    all_moves = np.concatenate([moves, other]) * (strength_mm * _PER_STRENGTH)
    return Warp(np.concatenate([centres, centres * _MIRROR]), np.concatenate([widths, widths]), all_moves)
