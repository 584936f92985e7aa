# SPDX-License-Identifier: Apache-2.0
"""Turns the network's raw maps into depth in millimetres and the head's mask.

Natively where the installation has the compiled module (runtime/include/facedepth/depth_maps.h), else by NumPy: the
same float32 steps in the same order, so both give the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from facedepth_edge.native import find_native

if TYPE_CHECKING:
    from numpy.typing import NDArray


def write_depth_maps(
    depth_mm: NDArray[np.float32],
    relative: NDArray[np.float32],
    mask: NDArray[np.bool_],
    relative_z: NDArray[np.float32],
    mask_probability: NDArray[np.float32] | None,
    distance_mm: float,
    half_range_mm: float,
    mask_threshold: float,
) -> tuple[bool, bool]:
    """Write depth, relative depth and mask of one face.

    Args:
        depth_mm: (h, w) float32, any strides; overwritten with distance_mm + relative * half_range_mm.
        relative: the same; overwritten with relative_z, kept within -1..1.
        mask: (h, w) bool, any strides; overwritten.
        relative_z: (h, w) float32, the network's, along the optical axis; only read.
        mask_probability: (h, w) float32: the mask is where it is above mask_threshold; None: where relative is below.
        distance_mm: the head's.
        half_range_mm: the model's.
        mask_threshold: the model's.

    Returns:
        (no pixel of relative is NaN, some pixel of mask is true).
    """
    module = find_native()[0]
    other = relative_z if mask_probability is None else mask_probability
    dense = False not in [plane.flags.c_contiguous for plane in (depth_mm, relative, mask, relative_z, other)]
    write = module.write_depth_maps if module is not None and dense else write_with_numpy
    found: tuple[bool, bool] = write(
        depth_mm, relative, mask, relative_z, mask_probability, distance_mm, half_range_mm, mask_threshold
    )
    return found


def write_with_numpy(
    depth_mm: NDArray[np.float32],
    relative: NDArray[np.float32],
    mask: NDArray[np.bool_],
    relative_z: NDArray[np.float32],
    mask_probability: NDArray[np.float32] | None,
    distance_mm: float,
    half_range_mm: float,
    mask_threshold: float,
) -> tuple[bool, bool]:
    """Do what write_depth_maps does, without the compiled module."""
    np.minimum(relative_z, np.float32(1.0), out=relative)
    np.maximum(relative, np.float32(-1.0), out=relative)
    np.multiply(relative, np.float32(half_range_mm), out=depth_mm)
    depth_mm += np.float32(distance_mm)
    if mask_probability is None:
        np.less(relative, np.float32(mask_threshold), out=mask)
    else:
        np.greater(mask_probability, np.float32(mask_threshold), out=mask)
    return bool(np.isfinite(relative.sum())), bool(mask.any())
