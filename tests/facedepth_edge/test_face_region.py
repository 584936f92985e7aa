# SPDX-License-Identifier: Apache-2.0
"""Where a face is looked for, and how much of it the mask shows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facedepth_edge.face_region import SEEN_HALF_AXES_MM, ellipse_in_box, share_of_border, share_seen
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
