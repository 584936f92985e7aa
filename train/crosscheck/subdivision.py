# SPDX-License-Identifier: Apache-2.0
"""Catmull-Clark subdivision of a quad mesh: one level, prepared once and applied to many shapes and attributes."""

from __future__ import annotations

import numpy as np


class Subdivision:
    """One Catmull-Clark level of a fixed topology.

    Args:
        quads: (F, 4) int, counter-clockwise seen from outside.
        vertex_count: V; vertices that no quad uses keep their place.
    """

    def __init__(self, quads: np.ndarray, vertex_count: int) -> None:
        self._quads = np.asarray(quads, np.int64)
        self._count = vertex_count
        rim = np.stack([self._quads, np.roll(self._quads, -1, axis=1)], axis=2).reshape(-1, 2)
        self._edges, inverse = np.unique(np.sort(rim, axis=1), axis=0, return_inverse=True)
        self._edge_of_side = inverse.reshape(-1, 4)
        self._faces_of_edge = np.bincount(self._edge_of_side.ravel(), minlength=len(self._edges))
        self._faces_of_vertex = np.bincount(self._quads.ravel(), minlength=vertex_count)
        on_rim = np.zeros(vertex_count, bool)
        on_rim[self._edges[self._faces_of_edge != 2].ravel()] = True
        self._on_rim = on_rim
        middle = vertex_count + np.arange(len(self._edges))[self._edge_of_side]
        centre = vertex_count + len(self._edges) + np.arange(len(self._quads))
        before = np.roll(middle, 1, axis=1)
        fine = [np.stack([self._quads[:, k], middle[:, k], centre, before[:, k]], axis=1) for k in range(4)]
        self.quads = np.stack(fine, axis=1).reshape(-1, 4)
        self.parent = np.repeat(np.arange(len(self._quads)), 4)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Carry positions or attributes (V, C) of the coarse vertices to the fine ones (V + E + F, C) float64."""
        values = np.asarray(values, np.float64)
        centre = values[self._quads].mean(axis=1)
        ends = values[self._edges].sum(axis=1)
        beside = _summed(self._edge_of_side, np.repeat(centre[:, None], 4, axis=1), len(self._edges))
        inner = (self._faces_of_edge == 2)[:, None]
        middle = np.where(inner, (ends + beside) / 4, ends / 2)
        count = np.maximum(self._faces_of_vertex, 1)[:, None]
        around = _summed(self._quads, np.repeat(centre[:, None], 4, axis=1), self._count) / count
        half = values[self._edges].mean(axis=1)
        both = np.repeat(half[:, None], 2, axis=1)
        valence = np.maximum(np.bincount(self._edges.ravel(), minlength=self._count), 1)[:, None]
        edge_mean = _summed(self._edges, both, self._count) / valence
        smooth = (around + 2 * edge_mean + (valence - 3) * values) / valence
        rim = self._edges[self._faces_of_edge != 2]
        neighbours = _summed(rim, values[rim[:, ::-1]], self._count)
        curve = np.where(self._on_rim[:, None], 0.75 * values + neighbours / 8, values)
        corner = np.bincount(rim.ravel(), minlength=self._count) != 2
        curve[corner & self._on_rim] = values[corner & self._on_rim]
        kept = np.where((self._on_rim | (self._faces_of_vertex == 0))[:, None], curve, smooth)
        return np.concatenate([kept, middle, centre])


def _summed(index: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    flat, columns = index.ravel(), rows.reshape(index.size, rows.shape[-1])
    return np.stack([np.bincount(flat, columns[:, c], minlength=count) for c in range(columns.shape[1])], axis=1)
