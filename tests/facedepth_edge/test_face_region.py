# SPDX-License-Identifier: Apache-2.0
"""Where a face is looked for, and how much of it the mask shows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facedepth_edge.box import Box
from facedepth_edge.face_region import SEEN_HALF_AXES_MM, cut_to_frame, ellipse_in_box, share_of_border, share_seen
from facedepth_edge.spec import Preprocessing


def test_the_ellipse_has_its_area_and_lies_in_the_middle() -> None:
    inside = ellipse_in_box((96, 192), (320.0, 480.0), (60.0, 80.0))
    area_mm2 = inside.sum() * (320 / 192) * (480 / 96)
    assert area_mm2 == pytest.approx(math.pi * 60 * 80, rel=0.01)
    rows, columns = np.nonzero(inside)
    assert (rows.mean(), columns.mean()) == (47.5, 95.5)
    assert np.ptp(columns) == pytest.approx(2 * 60 / (320 / 192), abs=2)
    assert np.ptp(rows) == pytest.approx(2 * 80 / (480 / 96), abs=2)
    with pytest.raises(ValueError, match="read-only"):
        inside[0, 0] = True


def test_the_share_is_of_the_ellipse_alone() -> None:
    place = ellipse_in_box((96, 96), (320.0, 320.0), SEEN_HALF_AXES_MM)
    assert share_seen(place, Preprocessing()) == 1.0
    assert share_seen(~place, Preprocessing()) == 0.0
    half = np.ones((96, 96), bool)
    half[:48] = False
    assert share_seen(half, Preprocessing()) == 0.5


def test_a_map_too_small_for_the_ellipse_says_seen() -> None:
    assert share_seen(np.zeros((2, 2), bool), Preprocessing()) == 1.0


def test_the_border_is_the_outermost_pixels() -> None:
    mask = np.zeros((6, 8), bool)
    assert share_of_border(mask) == 0.0
    mask[1:-1, 1:-1] = True
    assert share_of_border(mask) == 0.0
    mask[0, 2:5] = True
    assert share_of_border(mask) == pytest.approx(3 / 24)
    assert share_of_border(~mask) == pytest.approx(21 / 24)
    assert share_of_border(np.ones((1, 5), bool)) == 1.0


@pytest.mark.parametrize(
    "box",
    [
        Box(10.0, 20.0, 30.0, 50.0),
        Box(0.0, 0.0, 64.0, 48.0),
        Box(-7.3, 5.1, 20.4, 40.0),
        Box(50.2, -3.0, 80.9, 60.5),
        Box(63.9, 47.9, 90.0, 90.0),
        Box(-0.5, -0.4, 64.6, 48.5),
        Box(-40.0, 0.0, -1.0, 48.0),
        Box(-1e6, -1e6, 1e6, 1e6),
    ],
)
@pytest.mark.parametrize("shape", [(8, 12), (96, 96), (1, 1)])
def test_what_no_camera_saw_is_cut_off(box: Box, shape: tuple[int, int]) -> None:
    """By hand: a pixel stays where its centre lies in the frame of 64 x 48 pixels."""
    rows = box.y0 + (np.arange(shape[0]) + 0.5) * (box.y1 - box.y0) / shape[0]
    columns = box.x0 + (np.arange(shape[1]) + 0.5) * (box.x1 - box.x0) / shape[1]
    inside = ((rows >= 0) & (rows < 48))[:, None] & ((columns >= 0) & (columns < 64))
    mask = np.random.default_rng(3).random(shape) < 0.7
    expected = mask & inside
    assert cut_to_frame(mask, box, (48, 64)) == (not inside.all())
    assert np.array_equal(mask, expected)
