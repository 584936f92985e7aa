# SPDX-License-Identifier: Apache-2.0
"""Mesh operations against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from train.synth.mesh import Mesh, compact, grid_triangles, subdivided, triangles_from_quads, tube, vertex_normals


def sphere(rows: int = 24, columns: int = 48, radius: float = 50.0) -> tuple[np.ndarray, np.ndarray]:
    """A sphere around the origin, triangles counter-clockwise seen from outside."""
    e = np.linspace(-np.pi / 2, np.pi / 2, rows)[:, None]
    a = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    points = np.stack(np.broadcast_arrays(np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)), -1)
    return (radius * points.reshape(-1, 3)).astype(np.float32), grid_triangles(rows, columns, closed=True)[
        :, ::-1
    ].copy()


def test_quads_and_triangles_are_split() -> None:
    faces = np.array([[0, 1, 2, 3], [4, 5, 6, -1]])
    assert triangles_from_quads(faces).tolist() == [[0, 1, 2], [4, 5, 6], [0, 2, 3]]


def test_normals_of_a_sphere_point_outwards() -> None:
    points, triangles = sphere()
    normals = vertex_normals(points, triangles)
    inner = slice(48, -48)  # the poles' triangles are degenerate
    cosine = (normals[inner] * points[inner]).sum(1) / 50
    assert cosine.min() > 0.99


def test_subdivision_keeps_the_surface_and_quarters_the_triangles() -> None:
    points, triangles = sphere()
    weight = points[:, 1].copy()
    fine, fine_triangles, fine_weight = subdivided(points, triangles, weight)
    assert len(fine_triangles) == 4 * len(triangles)
    assert np.allclose(fine_weight, fine[:, 1], atol=1e-4)

    def area(p: np.ndarray, t: np.ndarray) -> float:
        return float(np.linalg.norm(np.cross(p[t[:, 1]] - p[t[:, 0]], p[t[:, 2]] - p[t[:, 0]]), axis=1).sum() / 2)

    assert area(fine, fine_triangles) == pytest.approx(area(points, triangles), rel=1e-5)


def test_compact_drops_what_is_unused() -> None:
    points = np.arange(15, dtype=np.float32).reshape(5, 3)
    kept, triangles, extra = compact(points, np.array([[4, 2, 0]]), np.arange(5))
    assert extra.tolist() == [0, 2, 4]
    assert np.array_equal(kept[triangles[0]], points[[4, 2, 0]])


def test_tube_has_its_radius_everywhere() -> None:
    path = np.stack([np.linspace(0, 100, 11), np.zeros(11), np.zeros(11)], 1)
    vertices, triangles, uv = tube(path, 7.0, sides=10)
    assert np.allclose(np.hypot(vertices[:, 1], vertices[:, 2]), 7.0, atol=1e-4)
    assert triangles.max() == len(vertices) - 1
    assert uv.min() >= 0
    assert uv.max() <= 1


def test_moved_turns_and_shifts() -> None:
    points, triangles = sphere()
    quarter = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    moved = Mesh(points, triangles, np.zeros((len(points), 2), np.float32), "skin").moved(
        quarter, np.array([1.0, 2, 3])
    )
    assert np.allclose(moved.vertices, points @ quarter.T + [1, 2, 3], atol=1e-4)
