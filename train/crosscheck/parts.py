# SPDX-License-Identifier: Apache-2.0
"""A part of the scene: triangles with a colour at every vertex, a label and a surface."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from train.synth.mesh import compact

BACKGROUND, SKIN, HAIR, WORN, BODY = range(5)  # the labels of train/data/crops_set.py that this renderer has


@dataclass(frozen=True)
class Part:
    """Triangles of one surface.

    Attributes:
        vertices: (V, 3) float64, mm.
        triangles: (T, 3) int32, counter-clockwise seen from outside.
        colour: (V, 3) linear RGB albedo.
        label: what it counts as.
        roughness, specular: of the principled BSDF, 0..1; without specular the surface is matt.
        smooth: shaded with interpolated normals.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    colour: np.ndarray
    label: int
    roughness: float = 0.7
    specular: float = 0.0
    smooth: bool = True

    def moved(self, rotation: np.ndarray, translation_mm: np.ndarray) -> Part:
        """Return the part with `x -> rotation @ x + translation_mm` applied to every vertex."""
        return replace(self, vertices=self.vertices @ rotation.T + translation_mm)


def triangles_of(quads: np.ndarray) -> np.ndarray:
    """Split quads (F, 4) into triangles (2 F, 3) int32, two after each other for each quad."""
    return np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], axis=1).reshape(-1, 3).astype(np.int32)


def cut_out(vertices: np.ndarray, triangles: np.ndarray, colour: np.ndarray, label: int, **surface: float) -> Part:
    """Make a part of some triangles of a larger mesh; unused vertices are dropped."""
    points, kept, own = compact(vertices, triangles, colour)
    return Part(points, kept, own, label, **surface)  # type: ignore[arg-type]
