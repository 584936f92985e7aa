# SPDX-License-Identifier: Apache-2.0
"""Measures by the mask whether a face is covered, and whether a head is too large for its box.

The head centre lies between the ears, so at the head's distance a face fills an ellipse about it, whatever the pose: a
hand or a phone in front of it shows. And the box is wider than heads are: a head that fills it is nearer than was said.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facedepth_edge.box import Box
    from facedepth_edge.spec import Preprocessing

SEEN_HALF_AXES_MM = (60.0, 80.0)
"""Across and down: the ellipse in which a face is looked for."""
LEAST_SEEN = 0.6
"""Below this share of the ellipse a face is not valid; docs/accuracy.md has what that finds and what it costs."""

MOST_AT_BORDER = 0.25
"""Above this share of the box's outermost pixels the head is too large for its box. At the true distance long hair
covers up to a fifth of them."""


@functools.cache
def ellipse_in_box(
    size_hw: tuple[int, int], reach_xy_mm: tuple[float, float], half_axes_mm: tuple[float, float]
) -> NDArray[np.bool_]:
    """Return the pixels of a box whose centres lie in an ellipse about the box's centre.

    Args:
        size_hw: of the map over the box.
        reach_xy_mm: what the box covers at the head's distance.
        half_axes_mm: of the ellipse, across and down, at the head's distance.

    Returns:
        (height, width) bool, read-only.
    """
    (height, width), (reach_x, reach_y), (across_mm, down_mm) = size_hw, reach_xy_mm, half_axes_mm
    down = ((np.arange(height) + 0.5) / height - 0.5) * reach_y / down_mm
    across = ((np.arange(width) + 0.5) / width - 0.5) * reach_x / across_mm
    inside: NDArray[np.bool_] = down[:, None] ** 2 + across[None, :] ** 2 <= 1.0
    inside.flags.writeable = False
    return inside


@functools.cache
def _pixels_in_ellipse(
    size_hw: tuple[int, int], reach_xy_mm: tuple[float, float], half_axes_mm: tuple[float, float]
) -> NDArray[np.intp]:
    """Return ellipse_in_box as indices into the flat map: a seventh as many values to read and make as in a plane."""
    return np.flatnonzero(ellipse_in_box(size_hw, reach_xy_mm, half_axes_mm))


def cut_to_frame(mask: NDArray[np.bool_], box: Box, frame_hw: tuple[int, int]) -> bool:
    """Clear a mask where the box reaches outside the frame: what the network finds there, no camera has seen.

    Args:
        mask: (h, w) bool over the box; changed in place.
        box: in pixels of the frame.
        frame_hw: the frame's height and width in pixels.

    Returns:
        Whether the mask has a pixel whose centre lies outside the frame.
    """
    outside = False
    sides = ((mask, box.y0, box.y1, frame_hw[0]), (mask.T, box.x0, box.x1, frame_hw[1]))
    for plane, start, end, frame_px in sides:
        if start >= 0.0 and end <= frame_px:
            continue
        pitch = (end - start) / len(plane)  # pixel i's centre is at start + (i + 0.5) * pitch
        first = min(max(math.ceil(-start / pitch - 0.5), 0), len(plane))
        last = min(max(math.ceil((frame_px - start) / pitch - 0.5), 0), len(plane))
        plane[:first] = plane[last:] = False
        outside |= first > 0 or last < len(plane)
    return outside


def share_seen(mask: NDArray[np.bool_], preprocessing: Preprocessing) -> float:
    """Return which share of the face's place is head.

    Args:
        mask: (h, w) bool, the model's mask over the box, cut to the frame.
        preprocessing: the model's; says what the box covers.

    Returns:
        0..1; 1 where the map is too small for a pixel of the ellipse.
    """
    reach = (preprocessing.reach_x_mm, preprocessing.reach_y_mm)
    place = _pixels_in_ellipse((mask.shape[0], mask.shape[1]), reach, SEEN_HALF_AXES_MM)
    return int(np.count_nonzero(mask.take(place))) / place.size if place.size else 1.0


def share_of_border(mask: NDArray[np.bool_]) -> float:
    """Return which share of a box's outermost pixels is head.

    Args:
        mask: (h, w) bool, the model's mask over the box.

    Returns:
        0..1, of the pixels of the first and last row and column.
    """
    height, width = mask.shape
    inner = mask[1:-1, 1:-1]
    pixels = height * width - inner.size
    return (int(np.count_nonzero(mask)) - int(np.count_nonzero(inner))) / pixels
