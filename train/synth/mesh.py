# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes with texture coordinates and a material each, and the few operations that the head needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mesh:
    """Triangles of one material.

    Attributes:
        vertices: (V, 3) float32, mm.
        triangles: (T, 3) int32 indices into `vertices`.
        uv: (V, 2) float32 texture coordinates, u to the right, v downwards, both in [0, 1]; u wraps: a triangle
            that spans more than half of the texture is taken to cross u = 1.
        material: name of the material in the scene's table.
        ambient: (V,) float32 share of the ambient light that reaches the vertex, 0..1, or None for 1.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    material: str
    ambient: np.ndarray | None = None

    def moved(self, rotation: np.ndarray, translation_mm: np.ndarray) -> Mesh:
        """Return the mesh with `x -> rotation @ x + translation_mm` applied to every vertex."""
        vertices = (self.vertices @ rotation.T.astype(np.float32) + translation_mm).astype(np.float32)
        return Mesh(vertices, self.triangles, self.uv, self.material, self.ambient)


def triangles_from_quads(faces: np.ndarray) -> np.ndarray:
    """Split quads (F, 4), -1 in the fourth place of a triangle, into triangles (T, 3) int32."""
    quads = faces[faces[:, 3] >= 0]
    return np.concatenate([faces[:, :3], quads[:, [0, 2, 3]]]).astype(np.int32)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Compute area-weighted unit vertex normals.

    Args:
        vertices: (V, 3) float32.
        triangles: (T, 3) int32, counter-clockwise seen from outside.

    Returns:
        (V, 3) float32 unit vectors; zero where a vertex has no triangle.
    """
    corner = vertices[triangles]
    face = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    index = triangles.ravel()
    normal = np.stack(
        [np.bincount(index, np.repeat(face[:, axis], 3), minlength=len(vertices)) for axis in range(3)], axis=1
    )
    return (normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def compact(vertices: np.ndarray, triangles: np.ndarray, *attributes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Drop the vertices that no triangle uses; returns vertices, triangles and the attributes, re-indexed."""
    used, inverse = np.unique(triangles, return_inverse=True)
    kept = inverse.reshape(triangles.shape).astype(np.int32)
    return (vertices[used], kept, *(attribute[used] for attribute in attributes))


def grid_triangles(rows: int, columns: int, *, closed: bool = False) -> np.ndarray:
    """Triangulate a (rows, columns) grid of vertices in row-major order; `closed` joins last and first column."""
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns - (0 if closed else 1)), indexing="ij")
    right = (column + 1) % columns
    a, b = row * columns + column, row * columns + right
    c, d = (row + 1) * columns + column, (row + 1) * columns + right
    quads = np.stack([a, c, d, b], axis=-1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def subdivided(vertices: np.ndarray, triangles: np.ndarray, *attributes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Split every triangle into four at its edges' midpoints; attributes are averaged along the edges."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    middle = (inverse.reshape(3, -1).T + len(vertices)).astype(np.int32)
    a, b, c = triangles.T
    ab, bc, ca = middle.T
    fine = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    out = [np.concatenate([x, (x[unique[:, 0]] + x[unique[:, 1]]) / 2]) for x in (vertices, *attributes)]
    return (out[0].astype(np.float32), fine.astype(np.int32), *out[1:])


def tube(path: np.ndarray, radius: np.ndarray | float, sides: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sweep a circle along a path.

    Args:
        path: (N, 3) mm, N >= 2.
        radius: mm, one or (N,).
        sides: vertices of the circle.

    Returns:
        vertices (N * sides, 3) float32, triangles (T, 3) int32, uv (N * sides, 2) float32.
    """
    path = np.asarray(path, np.float64)
    tangent = np.gradient(path, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    helper = np.array([0.0, 1.0, 0.0]) if abs(tangent[0, 1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    first = np.cross(tangent, helper)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = np.cross(tangent, first)
    angle = np.arange(sides) * (2 * np.pi / sides)
    ring = np.cos(angle)[None, :, None] * first[:, None] + np.sin(angle)[None, :, None] * second[:, None]
    scale = np.broadcast_to(np.asarray(radius, np.float64), (len(path),))
    vertices = path[:, None] + ring * scale[:, None, None]
    along, around = np.meshgrid(np.linspace(0, 1, len(path)), angle / (2 * np.pi), indexing="ij")
    uv = np.stack([around, along], -1).reshape(-1, 2)
    triangles = grid_triangles(len(path), sides, closed=True)
    return vertices.reshape(-1, 3).astype(np.float32), triangles, uv.astype(np.float32)
