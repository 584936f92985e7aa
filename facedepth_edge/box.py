# SPDX-License-Identifier: Apache-2.0
"""Eq. 6: the box around a head, real-valued in pixels of the frame (pixel i covers [i, i + 1)), never rounded."""

from __future__ import annotations

from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in pixels of the frame, real-valued; it may reach outside the frame."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.y1 - self.y0

    def overlap(self, other: Box) -> float:
        """Return the intersection over the union with another box, 0 to 1."""
        across = min(self.x1, other.x1) - max(self.x0, other.x0)
        down = min(self.y1, other.y1) - max(self.y0, other.y0)
        if across <= 0 or down <= 0:
            return 0.0
        shared = across * down
        return shared / (self.width * self.height + other.width * other.height - shared)


def box_from_head(
    head_center_xy: tuple[float, float],
    distance_mm: float,
    focal_xy_px: tuple[float, float],
    reach_xy_mm: tuple[float, float] = (320.0, 320.0),
) -> Box:
    """Compute the box around a head.

    Source: eq. 6, w = fx Rx / D and h = fy Ry / D, centred on the head centre.

    Args:
        head_center_xy: (x, y) in pixels.
        distance_mm: D, the z of the visible surface at the head centre.
        focal_xy_px: (fx, fy).
        reach_xy_mm: (Rx, Ry).

    Returns:
        The box in pixels, not rounded, not clipped.
    """
    x, y = head_center_xy
    half_w = 0.5 * focal_xy_px[0] * reach_xy_mm[0] / distance_mm
    half_h = 0.5 * focal_xy_px[1] * reach_xy_mm[1] / distance_mm
    return Box(x - half_w, y - half_h, x + half_w, y + half_h)
