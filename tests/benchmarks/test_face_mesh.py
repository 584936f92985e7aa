# SPDX-License-Identifier: Apache-2.0
"""The mesh's triangles and its depth image against closed forms; MediaPipe itself is not needed."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.face_mesh import rasterised, triangles_from_edges


def test_triangles_are_the_cycles_of_three_edges() -> None:
    square_with_diagonal = {(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)}
    assert triangles_from_edges(square_with_diagonal).tolist() == [[0, 1, 2], [0, 2, 3]]


def test_a_slanted_plane_is_drawn_exactly_at_pixel_centres() -> None:
    corners = np.array([[2.0, 2.0], [30.0, 2.0], [2.0, 30.0], [30.0, 30.0]])
    depth = corners @ [3.0, -1.0] + 5
    drawn = rasterised(corners, depth, np.array([[0, 1, 2], [1, 2, 3]]), 32)
    rows, columns = np.nonzero(np.isfinite(drawn))
    assert drawn[rows, columns] == pytest.approx((columns + 0.5) * 3 - (rows + 0.5) + 5, abs=1e-4)
    assert np.isfinite(drawn).sum() == 28 * 28
    assert np.isnan(drawn[0, 0])


def test_the_nearest_of_two_layers_is_seen() -> None:
    corners = np.array([[0.0, 0.0], [16.0, 0.0], [0.0, 16.0]] * 2)
    depth = np.array([50.0, 50, 50, 20, 20, 20])
    drawn = rasterised(corners, depth, np.array([[0, 1, 2], [3, 4, 5]]), 16)
    assert set(np.unique(drawn[np.isfinite(drawn)])) == {20.0}
