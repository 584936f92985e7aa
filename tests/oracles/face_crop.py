# SPDX-License-Identifier: Apache-2.0
"""The face crop as DESIGN defines it, in float64 and one output pixel at a time.

Convention: pixel i covers [i, i + 1); the box is real-valued. Nothing here is shared with the package.
"""

from __future__ import annotations

import math

import numpy as np


def axis_weights(start: float, end: float, n_out: int, n_in: int) -> np.ndarray:
    """Return (n_out, n_in) float64: how much of each source pixel goes into each output pixel of one axis."""
    weights = np.zeros((n_out, n_in))
    scale = (end - start) / n_out
    for j in range(n_out):
        if scale > 1:  # the mean over [left, right)
            left, right = start + j * scale, start + (j + 1) * scale
            for i in range(math.floor(left), math.ceil(right)):
                overlap = min(i + 1, right) - max(i, left)
                weights[j, min(max(i, 0), n_in - 1)] += overlap / scale
        else:  # linear between the two nearest pixel centres
            center = start + (j + 0.5) * scale
            i = math.floor(center - 0.5)
            share = center - (i + 0.5)
            weights[j, min(max(i, 0), n_in - 1)] += 1 - share
            weights[j, min(max(i + 1, 0), n_in - 1)] += share
    return weights


def gray_levels(frame: np.ndarray, max_value: float | None = None) -> np.ndarray:
    """Return (H, W) float64 gray in 0..255 of a (H, W) or (H, W, 3) BGR frame."""
    gray = frame.astype(np.float64)
    if frame.ndim == 3:
        gray = 0.114 * gray[..., 0] + 0.587 * gray[..., 1] + 0.299 * gray[..., 2]
    if frame.dtype == np.uint16:
        gray = gray * 255.0 / max_value
    return gray


def crop_levels(
    frame: np.ndarray,
    box: tuple[float, float, float, float],
    size_hw: tuple[int, int] = (96, 96),
    max_value: float | None = None,
) -> np.ndarray:
    """Return size_hw float64: the gray levels (0..255) under a box."""
    rows = axis_weights(box[1], box[3], size_hw[0], frame.shape[0])
    columns = axis_weights(box[0], box[2], size_hw[1], frame.shape[1])
    return rows @ gray_levels(frame, max_value) @ columns.T


def nearest_depth(depth: np.ndarray, box: tuple[float, float, float, float], size_hw: tuple[int, int]) -> np.ndarray:
    """Return size_hw of depth's dtype: the pixel that holds each output pixel's centre, 0 outside the image."""
    out = np.zeros(size_hw, depth.dtype)
    for row in range(size_hw[0]):
        for column in range(size_hw[1]):
            y = math.floor(box[1] + (row + 0.5) * (box[3] - box[1]) / size_hw[0])
            x = math.floor(box[0] + (column + 0.5) * (box[2] - box[0]) / size_hw[1])
            if 0 <= y < depth.shape[0] and 0 <= x < depth.shape[1]:
                out[row, column] = depth[y, x]
    return out
