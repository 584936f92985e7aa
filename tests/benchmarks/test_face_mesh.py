# SPDX-License-Identifier: Apache-2.0
"""The mesh's triangles and its depth image against closed forms; MediaPipe itself is not needed."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.face_mesh import CROP_PX, crop_about, measured_distance_mm, rasterised, triangles_from_edges


def test_triangles_are_the_cycles_of_three_edges() -> None:
    square_with_diagonal = {(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)}
    assert triangles_from_edges(square_with_diagonal).tolist() == [[0, 1, 2], [0, 2, 3]]


def test_a_cycle_around_three_triangles_is_none() -> None:
    """As at each wing of FaceMesh's nose: a point in a triangle whose edges have faces on their other side."""
    inside = {(0, 3), (1, 3), (2, 3)}
    outside = {(0, 4), (1, 4), (1, 5), (2, 5), (0, 6), (2, 6)}
    found = triangles_from_edges({(0, 1), (1, 2), (0, 2)} | inside | outside)
    expected = [[0, 1, 3], [0, 1, 4], [0, 2, 3], [0, 2, 6], [1, 2, 3], [1, 2, 5]]
    assert found.tolist() == expected


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


def test_the_crop_holds_what_is_about_its_centre_in_its_scale() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image[90:94, 140:148] = 255  # its middle is (144, 92) where pixel i covers [i, i + 1)
    crop, scale = crop_about(image, (120.0, 100.0), 96.0)
    assert crop.shape == (CROP_PX, CROP_PX, 3)
    assert scale == CROP_PX / 96.0 == 4.0
    weight = crop[..., 0].astype(float)
    rows, columns = (np.average(np.arange(CROP_PX) + 0.5, weights=weight.sum(axis=axis)) for axis in (1, 0))
    assert ((columns - CROP_PX / 2) / scale + 120, (rows - CROP_PX / 2) / scale + 100) == pytest.approx(
        (144, 92), abs=0.01
    )


def test_the_distance_is_the_entry_s_or_measured_about_the_centre() -> None:
    depth = np.zeros((60, 80), np.uint16)
    depth[20:40, 30:50] = 700
    depth[22:24, 30:50] = 0
    item = {"head_center_xy": [40.0, 30.0]}
    assert measured_distance_mm(item, depth) == 700.0
    assert measured_distance_mm({**item, "distance_mm": 650}, depth) == 650.0
    assert np.isnan(measured_distance_mm({"head_center_xy": [5.0, 5.0]}, depth))
    depth[:] = 900
    assert np.isnan(measured_distance_mm({"head_center_xy": [-20.0, 5.0]}, depth))  # outside the picture
