# SPDX-License-Identifier: Apache-2.0
"""Head centre and width by the eyes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from facedepth_edge import HeadPlace, InputError, head_from_eyes


def test_a_frontal_face() -> None:
    place = head_from_eyes((130.0, 80.0), (70.0, 80.0))
    assert place == HeadPlace((pytest.approx(100.0), pytest.approx(80 + 0.52 * 60)), pytest.approx(2.08 * 60))


def test_the_order_of_the_eyes_and_their_type_do_not_matter() -> None:
    one = head_from_eyes((70, 90), np.array([130, 80]), yaw_deg=15)
    other = head_from_eyes(np.float32([130, 80]), [70.0, 90.0], yaw_deg=np.float64(15))
    assert one.head_center == pytest.approx(other.head_center)
    assert one.head_width_px == pytest.approx(other.head_width_px)
    assert all(type(value) is float for value in (*one.head_center, one.head_width_px))


@pytest.mark.parametrize("roll_deg", [-80.0, -30.0, 45.0])
def test_a_rolled_head_rolls_the_place(roll_deg: float) -> None:
    angle = math.radians(roll_deg)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    upright = head_from_eyes((-30.0, 0.0), (30.0, 0.0), yaw_deg=25.0)
    rolled = head_from_eyes(turn @ (-30.0, 0.0), turn @ (30.0, 0.0), yaw_deg=25.0)
    assert rolled.head_center == pytest.approx(turn @ upright.head_center)
    assert rolled.head_width_px == pytest.approx(upright.head_width_px)


def test_the_ears_lie_on_the_other_side_than_the_face_looks_to() -> None:
    """A face that looks to the picture's right shows its eyes right of the point between the ears."""
    frontal = head_from_eyes((70.0, 80.0), (130.0, 80.0))
    right = head_from_eyes((70.0, 80.0), (130.0, 80.0), yaw_deg=20.0)
    left = head_from_eyes((70.0, 80.0), (130.0, 80.0), yaw_deg=-20.0)
    assert right.head_center[0] == pytest.approx(100 - 0.41 * 60)
    assert left.head_center[0] == pytest.approx(100 + 0.41 * 60)
    assert right.head_center[1] == left.head_center[1] > frontal.head_center[1]
    assert right.head_width_px == left.head_width_px > frontal.head_width_px


@pytest.mark.parametrize("eye", [None, "ab", (1.0,), (1, 2, 3), (math.nan, 0.0), (True, 1.0), 5, ("1", "2")])
def test_what_is_no_eye_is_refused(eye: Any) -> None:
    with pytest.raises(InputError, match=r"other_eye: got .*expected two"):
        head_from_eyes((1.0, 2.0), eye)


def test_one_place_and_a_wrong_angle_are_refused() -> None:
    with pytest.raises(InputError, match=r"other_eye: got both eyes at \(3, 4\)"):
        head_from_eyes((3.0, 4.0), (3.0, 4.0))
    with pytest.raises(InputError, match="other_eye: got both eyes"):
        head_from_eyes((3e9, 0), (-3e9, 0))
    for yaw_deg in (61, -90.0, math.nan, "0", None):
        with pytest.raises(InputError, match=r"yaw_deg: got .*expected a number from -60 to 60"):
            head_from_eyes((3.0, 4.0), (9.0, 4.0), yaw_deg=yaw_deg)
