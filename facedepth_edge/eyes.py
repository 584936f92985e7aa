# SPDX-License-Identifier: Apache-2.0
"""Estimates head centre and head width for `predict` from the positions of both eyes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from facedepth_edge.checks import LARGEST_GIVEN, check_point, is_number, shown
from facedepth_edge.errors import InputError

if TYPE_CHECKING:
    from facedepth_edge.argument_types import Point

# Ours: means over 300 identities of ICT-FaceKit, the point between the tragi at 700 mm, by `python -m
# benchmarks.head_distance --head ict_facekit.npz`. Columns: the yaw in degrees; then, in units of the distance between
# the eyes in the picture, how far the head centre lies below the middle of the eyes and how far to its side, and the
# width between the tragi of the same head when it faces the camera. Heads differ by 0.06 (standard deviation) in the
# two places and by 0.11 in the width; at 600 and at 1100 mm the width is 2.04 and 2.16.
_BY_YAW = np.array([
    (0.0, 0.52, 0.00, 2.08),
    (10.0, 0.53, 0.20, 2.12),
    (20.0, 0.56, 0.41, 2.26),
    (30.0, 0.62, 0.66, 2.52),
    (40.0, 0.72, 1.00, 2.96),
    (60.0, 1.23, 2.31, 5.22),
])  # fmt: skip


class HeadPlace(NamedTuple):
    """Where a head is in a frame, as `predict` takes it.

    Attributes:
        head_center: (x, y) in pixels of the frame, the projection of the point midway between the ears.
        head_width_px: width between the ears in pixels, as of a head that faces the camera.
    """

    head_center: tuple[float, float]
    head_width_px: float


def head_from_eyes(eye: Point, other_eye: Point, *, yaw_deg: float = 0.0) -> HeadPlace:
    """Estimate head centre and head width from both eyes.

    Convention: pixels of the frame, pixel i covers [i, i + 1), y down. The head is upright within 90 degrees of roll.

    Args:
        eye: (x, y) of one eye, its middle.
        other_eye: of the other one, in either order.
        yaw_deg: how far the face is turned, above 0 to the right side of the picture, -60 to 60 degrees; without it the
            head centre of a face that is turned by 20 degrees is off by 0.4 of the eyes' distance.

    Returns:
        The place. People differ: one standard deviation is 5 % of their own width, and 7 % of the distance that
        `predict` takes from it (44 mm with the point between the ears at 700 mm).

    Raises:
        InputError: an eye is not two finite numbers, both are at the same place, or the angle is no such number.
    """
    a, b = _point(eye, "eye"), _point(other_eye, "other_eye")
    limit = float(_BY_YAW[-1, 0])
    if not (is_number(yaw_deg) and -limit <= float(yaw_deg) <= limit):
        rule = f"a number from {-limit:g} to {limit:g}"
        raise InputError.of("yaw_deg", shown(yaw_deg), rule, "Turned by more, one eye is hidden: give the head centre.")
    left, right = (a, b) if a[0] <= b[0] else (b, a)
    line = right - left
    apart = float(np.hypot(*line))
    if not 0.0 < apart < LARGEST_GIVEN:
        got = f"both eyes at ({a[0]:g}, {a[1]:g})"
        raise InputError.of(
            "other_eye", got, f"two places, nearer than {LARGEST_GIVEN:g} pixels", "Give the middle of each eye."
        )
    down, aside, width = (float(np.interp(abs(yaw_deg), _BY_YAW[:, 0], column)) for column in _BY_YAW[:, 1:].T)
    below = np.array([-line[1], line[0]])  # at right angles to the line between the eyes, as long as it
    x, y = (left + right) / 2 + down * below - np.sign(yaw_deg) * aside * line
    return HeadPlace((float(x), float(y)), width * apart)


def _point(value: Any, where: str) -> np.ndarray:
    fix = "Give the eye's middle, (x, y) in pixels of the frame."
    point = np.array(check_point(value, where, fix))
    if not np.isfinite(point).all():
        raise InputError.of(where, repr(value), "two finite numbers (x, y)", fix)
    return point
