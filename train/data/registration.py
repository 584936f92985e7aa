# SPDX-License-Identifier: Apache-2.0
"""Carries a depth image into another camera's view, point by point, with a z-buffer.

Convention: pinhole cameras without distortion, x right, y down, z forward, millimetres along the optical axis; pixel i
covers [i, i + 1), so its centre is i + 0.5 and `center_xy_px` of a camera looking through its frame's middle is W / 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FOOTPRINT = 0.6
"""Half the side of the square that a depth pixel fills in the new view, in its own size there.

0.5 would leave cracks where a surface is seen a little larger than the depth camera saw it; 0.6 closes them up to a
stretch of 1.2 and keeps a view that does not move at all as it is.
"""


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera's frame.

    Args:
        focal_xy_px: (fx, fy).
        center_xy_px: (x, y) of the optical axis; pixel centres are at half numbers.
        size_hw: Rows and columns.
    """

    focal_xy_px: tuple[float, float]
    center_xy_px: tuple[float, float]
    size_hw: tuple[int, int]

    def project(self, point_mm: np.ndarray) -> tuple[float, float]:
        """Return the (x, y) in pixels of a point (3,) in mm before the camera."""
        x, y, z = (float(value) for value in point_mm)
        (fx, fy), (cx, cy) = self.focal_xy_px, self.center_xy_px
        return fx * x / z + cx, fy * y / z + cy

    def lift(self, xy_px: tuple[float, float], z_mm: float) -> np.ndarray:
        """Return the point (3,) float64 in mm that lies z_mm deep at a pixel position."""
        (fx, fy), (cx, cy) = self.focal_xy_px, self.center_xy_px
        return np.array([(xy_px[0] - cx) / fx * z_mm, (xy_px[1] - cy) / fy * z_mm, z_mm])

    def sees(self, xy_px: tuple[float, float]) -> bool:
        """Say whether a position lies in the frame; false for NaN."""
        height, width = self.size_hw
        return 0 <= xy_px[0] < width and 0 <= xy_px[1] < height


def register_depth(
    depth_mm: np.ndarray, camera: Intrinsics, rotation: np.ndarray, translation_mm: np.ndarray, view: Intrinsics
) -> np.ndarray:
    """Carry a depth image into another view: X_view = rotation X_camera + translation.

    Every measured pixel becomes a point, and the point a square of its own size in the view; the nearest wins. What no
    point covers stays a hole, and so do the shadows that open where the cameras lie apart.

    Args:
        depth_mm: (H, W) uint16, 0 = no measurement.
        camera: Of the depth image.
        rotation: (3, 3) float64.
        translation_mm: (3,) float64.
        view: Where to.

    Returns:
        (h, w) uint16 of the view's size: z in the view in whole mm, 0 = no measurement.
    """
    rows, columns = np.nonzero(depth_mm)
    z = depth_mm[rows, columns].astype(np.float64)
    (fx, fy), (cx, cy) = camera.focal_xy_px, camera.center_xy_px
    points = np.stack(((columns + 0.5 - cx) / fx * z, (rows + 0.5 - cy) / fy * z, z))
    x, y, far = rotation @ points + np.asarray(translation_mm, np.float64)[:, None]
    ahead = far > 1.0
    x, y, far, z = x[ahead], y[ahead], far[ahead], z[ahead]
    (view_fx, view_fy), (view_cx, view_cy) = view.focal_xy_px, view.center_xy_px
    u, v = view_fx * x / far + view_cx, view_fy * y / far + view_cy
    half_u, half_v = FOOTPRINT * view_fx / fx * z / far, FOOTPRINT * view_fy / fy * z / far
    # Pixels whose centres the square covers, but at least the one that holds the point.
    first_u = np.minimum(np.ceil(u - half_u - 0.5), np.floor(u)).astype(np.int64)
    first_v = np.minimum(np.ceil(v - half_v - 0.5), np.floor(v)).astype(np.int64)
    last_u = np.maximum(np.floor(u + half_u - 0.5), np.floor(u)).astype(np.int64)
    last_v = np.maximum(np.floor(v + half_v - 0.5), np.floor(v)).astype(np.int64)
    height, width = view.size_hw
    nearest = np.full(height * width, np.inf)
    for step_v in range(int((last_v - first_v).max(initial=-1)) + 1):
        for step_u in range(int((last_u - first_u).max(initial=-1)) + 1):
            at_u, at_v = first_u + step_u, first_v + step_v
            inside = (at_u <= last_u) & (at_v <= last_v) & (at_u >= 0) & (at_u < width) & (at_v >= 0) & (at_v < height)
            np.minimum.at(nearest, at_v[inside] * width + at_u[inside], far[inside])
    seen = np.isfinite(nearest)
    registered = np.zeros(height * width, np.uint16)
    registered[seen] = np.clip(np.round(nearest[seen]), 1, 65535)
    return registered.reshape(height, width)
