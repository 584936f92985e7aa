# SPDX-License-Identifier: Apache-2.0
"""Turns relative depth along the ray to the head, which some models give, into that along the optical axis.

A face beside the optical axis that looks into the camera appears as it would in the middle, but its z slopes across the
box. A network cannot see that in the crop; the place of the head centre and the camera's intrinsics say it exactly.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from facedepth_edge.camera import Camera
from facedepth_edge.native import find_native

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_COSINE = 0.1
"""Below it, times |(a, b, 1)|, a pixel's ray is nearly at right angles to the head's: only for heads within 200 mm."""


def ray_of(head_center_xy: tuple[float, float], camera: Camera, size_hw: tuple[int, int]) -> tuple[float, float]:
    """Return (a, b): x / z and y / z of the head centre in the camera's frame.

    Args:
        head_center_xy: (x, y) in pixels.
        camera: its focal lengths and optical axis count.
        size_hw: the frame's height and width in pixels.
    """
    cx, cy = camera.center_px(size_hw)
    return (head_center_xy[0] - cx) / camera.fx, (head_center_xy[1] - cy) / camera.fy


def along_axis(
    relative_z: NDArray[np.float32],
    ray_xy: tuple[float, float],
    distance_mm: float,
    half_range_mm: float,
    reach_xy_mm: tuple[float, float],
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Turn relative depth along the ray to the box's centre into relative depth along the optical axis.

    With a pixel at (x, y) mm from the box's centre at distance D, s = a x + b y and n = |(a, b, 1)|:
    Z = (n D + relative_z half_range) n / (n^2 + s / D), returned as (Z - D) / half_range.

    Args:
        relative_z: (h, w) float32, the network's, along the ray; only read, unless it is `out`.
        ray_xy: (a, b), see ray_of.
        distance_mm: D.
        half_range_mm: the model's.
        reach_xy_mm: what the box covers at D.
        out: (h, w) float32 to write to, which may be `relative_z`: a fresh plane costs more than the arithmetic.

    Returns:
        (h, w) float32, `out` or fresh; `relative_z` itself where the head is on the axis. It may leave -1..1.
    """
    a, b = ray_xy
    if a == 0.0 and b == 0.0:
        return relative_z
    module = find_native()[0]
    found = np.empty(relative_z.shape, np.float32) if out is None else out
    if module is None or not (relative_z.flags.c_contiguous and found.flags.c_contiguous):
        found[...] = along_axis_with_numpy(relative_z, ray_xy, distance_mm, half_range_mm, reach_xy_mm)
        return found
    module.depth_along_axis(found, relative_z, a, b, distance_mm, half_range_mm, *reach_xy_mm)
    return found


def along_axis_with_numpy(
    relative_z: NDArray[np.float32],
    ray_xy: tuple[float, float],
    distance_mm: float,
    half_range_mm: float,
    reach_xy_mm: tuple[float, float],
) -> NDArray[np.float32]:
    """Do what along_axis does, without the compiled module; the same to float32's rounding."""
    a, b = ray_xy
    square = 1.0 + a * a + b * b
    norm = square**0.5
    x_mm, y_mm = _places(relative_z.shape, reach_xy_mm)
    slope_mm = np.float32(a) * x_mm + np.float32(b) * y_mm  # (h, w)
    found = relative_z * np.float32(norm)
    found -= slope_mm * np.float32(1.0 / half_range_mm)
    slope_mm *= np.float32(1.0 / distance_mm)
    slope_mm += np.float32(square)
    np.maximum(slope_mm, np.float32(LEAST_COSINE * norm), out=slope_mm)
    found /= slope_mm
    return found


@lru_cache(maxsize=8)
def _places(
    shape_hw: tuple[int, int], reach_xy_mm: tuple[float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how far columns (w,) and rows (h, 1) lie from the box's centre, in mm."""
    height, width = shape_hw
    x = ((np.arange(width) + 0.5) / width - 0.5) * reach_xy_mm[0]
    y = ((np.arange(height) + 0.5) / height - 0.5) * reach_xy_mm[1]
    return x.astype(np.float32), y.astype(np.float32)[:, None]
