# SPDX-License-Identifier: Apache-2.0
"""Checks predict()'s `out`: where a result is written instead of into fresh arrays."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from facedepth_edge.errors import InputError
from facedepth_edge.result import DepthResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIX = "Give a DepthResult of this model, an array of numpy.empty(shape, numpy.float32), or leave it out."


def check_out(out: Any, shape: tuple[int, int]) -> None:
    """Check out.

    Args:
        out: None, a DepthResult, or an array for its depth_mm.
        shape: of the model's maps.

    Raises:
        InputError: it is something else, an array is of another shape or dtype or read-only, or two of its pixels, or
            two of its arrays, share memory.
    """
    if out is None:
        return
    kinds: tuple[str, ...] = ("float32",)
    if isinstance(out, np.ndarray):
        arrays: tuple[Any, ...] = (out,)
    elif isinstance(out, DepthResult):
        arrays, kinds = (out.depth_mm, out.relative, out.mask), ("float32", "float32", "bool")
    else:
        raise InputError.of("out", f"a {type(out).__name__}", "a DepthResult or a float32 array", _FIX)
    for array, kind in zip(arrays, kinds, strict=True):
        if not isinstance(array, np.ndarray):
            raise InputError.of("out", f"a result with a {type(array).__name__}", "one with three arrays", _FIX)
        if array.shape != shape or array.dtype != kind or not array.flags.writeable:
            got = f"shape {array.shape}, dtype {array.dtype}, writeable {array.flags.writeable}"
            raise InputError.of("out", got, f"shape {shape}, dtype {kind}, writeable", _FIX)
        if not array.flags.c_contiguous and _overlaps_itself(array):
            raise InputError.of("out", f"strides {array.strides}", "pixels with bytes of their own", _FIX)
    if any(np.may_share_memory(a, b) for a, b in itertools.combinations(arrays, 2)):
        raise InputError.of("out", "a result whose arrays share memory", "arrays of their own", _FIX)


def _overlaps_itself(array: NDArray[Any]) -> bool:
    """Say whether two pixels of (H, W) may share bytes; a view that slicing or turning makes never does."""
    (near, count), (far, _) = sorted((abs(step), size) for step, size in zip(array.strides, array.shape, strict=True))
    return near < array.itemsize or far < near * (count - 1) + array.itemsize
