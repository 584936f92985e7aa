# SPDX-License-Identifier: Apache-2.0
"""Depth along the ray to the head: what a face looks like says nothing of the camera's optical axis.

A depth camera measures z along its optical axis. A face beside the axis that looks into the camera appears as it would
in the middle, yet its z slopes across the crop by as much as its ray slopes. A network that sees the crop alone cannot
know that slope; the runtime does. So a network may learn z along the ray (`along: ray` in spec.json), and
`facedepth_edge.ray_depth` turns it back.
"""

from __future__ import annotations

import torch
from torch import Tensor


def relative_along_ray(
    relative: Tensor, x_mm: Tensor, y_mm: Tensor, ray_xy: Tensor, distance_mm: Tensor, half_range_mm: float
) -> Tensor:
    """Turn relative depth along the optical axis into relative depth along the ray to the box's centre.

    With n = (a, b, 1) / |(a, b, 1)| and P = Z (u, v, 1), depth along the ray is n P, and n P = |(a, b, 1)| D on the ray
    at Z = D. It is what a camera that had been turned towards the head would measure.

    Args:
        relative: (B, 1, H, W) float32, (Z - D) / half_range_mm.
        x_mm: (B, 1, H, W) or broadcastable, D (u - a): the pixel's place right of the box's centre, at distance D.
        y_mm: The same, D (v - b): below the centre.
        ray_xy: (B, 2) float32, (a, b): x / z and y / z of the box's centre in the camera's frame.
        distance_mm: (B,) float32, D.
        half_range_mm: Of the depth scale.

    Returns:
        (B, 1, H, W) float32, (n P - |(a, b, 1)| D) / half_range_mm.
    """
    a, b, d = (value[:, None, None, None] for value in (ray_xy[:, 0], ray_xy[:, 1], distance_mm))
    square = 1 + a.square() + b.square()
    slope_mm = a * x_mm + b * y_mm
    return (relative * (square + slope_mm / d) + slope_mm / half_range_mm) / torch.sqrt(square)
