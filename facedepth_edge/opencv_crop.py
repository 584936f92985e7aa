# SPDX-License-Identifier: Apache-2.0
"""The face crop by OpenCV and NumPy, which needs no compiled module."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from facedepth_edge.native_crop import CropSummary
from facedepth_edge.opencv import import_cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facedepth_edge.box import Box
    from facedepth_edge.spec import Preprocessing

GRAY_FROM_BGR = (0.114, 0.587, 0.299)
"""BT.601 weights of blue, green and red."""

_INT32_SUM_PIXELS = (2**31 - 1) // 255
_ONE_STRIPE_PIXELS = 65536  # up to 1.5 times as many, cv2.cvtColor stays in the calling thread


class _Axis(NamedTuple):
    """How one axis is resampled: out = lerp of source samples lo and hi, and a difference where it shrinks.

    Where it shrinks, lo and hi index the running sum (n + 1 of them), weight may leave [0, 1] to repeat the border, and
    out[j] = (sum[j + 1] - sum[j]) / scale. Where it grows they index pixels.
    """

    first: int  # first source pixel that is read
    length: int  # source pixels that are read
    lo: NDArray[np.intp]
    hi: NDArray[np.intp]
    weight: NDArray[np.float64]
    scale: float  # source pixels in one output pixel
    shrinks: bool


def _plan_axis(start: float, end: float, n_out: int, n_in: int) -> _Axis:
    scale = (end - start) / n_out
    shrinks = scale > 1.0
    if shrinks:
        at = start + scale * np.arange(n_out + 1)
        whole = np.floor(at)
        np.maximum(np.minimum(whole, n_in - 1, out=whole), 0, out=whole)
        weight = at - whole
        lo = whole.astype(np.intp)
        hi = lo + 1
        first, last = int(lo[0]), int(lo[-1])
    else:
        at = start + scale * (np.arange(n_out) + 0.5) - 0.5
        whole = np.floor(at)
        weight = at - whole
        lo = np.clip(whole, 0, n_in - 1).astype(np.intp)
        hi = np.clip(whole + 1, 0, n_in - 1).astype(np.intp)
        first, last = int(lo[0]), int(hi[-1])
    return _Axis(first, last + 1 - first, lo - first, hi - first, weight, scale, shrinks)


def _exact_gray(region: NDArray[Any]) -> NDArray[np.float64]:
    if region.ndim == 2:
        return region.astype(np.float64)
    blue, green, red = GRAY_FROM_BGR
    return region[:, :, 0] * blue + region[:, :, 1] * green + region[:, :, 2] * red


def _resample_rows(image: NDArray[np.float64], axis: _Axis) -> NDArray[np.float64]:
    """Resample the first axis of a (rows, columns) image."""
    if axis.shrinks:
        sums = np.zeros((image.shape[0] + 1, image.shape[1]))
        np.cumsum(image, axis=0, out=sums[1:])
        image = sums
    low = image.take(axis.lo, axis=0)
    mixed = low + axis.weight[:, None] * (image.take(axis.hi, axis=0) - low)
    return np.diff(mixed, axis=0) / axis.scale if axis.shrinks else mixed


class OpenCvCropper:
    """Crop with OpenCV and NumPy; holds its buffers, so one for each thread.

    Only the pixels under the box are touched. Where both axes shrink, the usual case, gray comes from cv2.cvtColor
    (rounded to whole levels) and the area average from differences of cv2.integral, which is exact at fractional
    edges, as the integral of a step function is linear between steps. Elsewhere everything is float64.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[Any]] = {}

    def crop_into(
        self,
        out: NDArray[np.float32],
        frame: NDArray[Any],
        box: Box,
        preprocessing: Preprocessing,
        max_value: float,
    ) -> CropSummary:
        """Write the face under a box into a buffer; arguments and result as NativeCropper.crop_into has them."""
        rows = _plan_axis(box.y0, box.y1, out.shape[0], frame.shape[0])
        columns = _plan_axis(box.x0, box.x1, out.shape[1], frame.shape[1])
        region = frame[rows.first : rows.first + rows.length, columns.first : columns.first + columns.length]
        if rows.shrinks and columns.shrinks:
            gray = self._area(self._rounded_gray(region), rows, columns)
        else:
            exact = _exact_gray(region)
            gray = _resample_rows(_resample_rows(exact, rows).T, columns).T
        level = 255.0 / max_value
        summary = CropSummary(float(gray.std()) * level, float(gray.max()) * level)
        np.multiply(gray, level * preprocessing.scale, out=gray)
        np.add(gray, preprocessing.offset, out=out, casting="same_kind")
        return summary

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return a C-contiguous view of a buffer that only grows; overwritten by the next call of that name."""
        size = math.prod(shape)
        held = self._buffers.get(name)
        if held is None or held.size < size or held.dtype != dtype:
            held = self._buffers[name] = np.empty(size, dtype)
        return held[:size].reshape(shape)

    def _rounded_gray(self, region: NDArray[Any]) -> NDArray[Any]:
        """Return the region in gray: itself if it is, else a buffer of the same dtype."""
        if region.ndim == 2:
            return region
        cv2 = import_cv2()

        rows, columns = region.shape[:2]
        if not region.flags.aligned:  # such as rows with a header of one byte
            region = np.ascontiguousarray(region)
        gray = self._buffer("gray", (rows, columns), region.dtype)
        band = max(1, _ONE_STRIPE_PIXELS // columns)  # OpenCV's thread pool would cost more than it gives
        for top in range(0, rows, band):
            cv2.cvtColor(region[top : top + band], cv2.COLOR_BGR2GRAY, dst=gray[top : top + band])
        return gray

    def _area(self, gray: NDArray[Any], rows: _Axis, columns: _Axis) -> NDArray[np.float64]:
        """Average a (rows, columns) uint8 or uint16 region over the output's pixels."""
        cv2 = import_cv2()

        shape = (gray.shape[0] + 1, gray.shape[1] + 1)
        if gray.dtype == np.uint8 and gray.size <= _INT32_SUM_PIXELS:
            sums = self._buffer("sums_int32", shape, np.int32)
            cv2.integral(gray, sums, sdepth=cv2.CV_32S)
        else:
            if gray.dtype == np.uint16:
                wide = self._buffer("gray_float32", gray.shape, np.float32)
                np.copyto(wide, gray)
                gray = wide
            sums = self._buffer("sums_float64", shape, np.float64)
            cv2.integral(gray, sums, sdepth=cv2.CV_64F)
        flat = sums.reshape(-1)
        grid = (len(rows.lo), len(columns.lo))
        corners = self._buffer("corners", grid, np.intp)
        np.add(rows.lo[:, None] * shape[1], columns.lo, out=corners)
        top = self._sums_at(flat, corners, columns.weight, "top")
        corners += shape[1]  # hi is lo + 1: one row further down
        bottom = self._sums_at(flat, corners, columns.weight, "bottom")
        bottom -= top
        bottom *= rows.weight[:, None]
        bottom += top
        strips = np.subtract(bottom[1:], bottom[:-1], out=top[1:])
        area = self._buffer("area", (grid[0] - 1, grid[1] - 1), np.float64)
        np.subtract(strips[:, 1:], strips[:, :-1], out=area)
        area *= 1.0 / (rows.scale * columns.scale)
        return area

    def _sums_at(
        self, flat: NDArray[Any], at: NDArray[np.intp], weight: NDArray[np.float64], name: str
    ) -> NDArray[np.float64]:
        """Interpolate running sums between the entries at and at + 1."""
        low = self._buffer("low", at.shape, flat.dtype)
        high = self._buffer("high", at.shape, flat.dtype)
        sums = self._buffer(name, at.shape, np.float64)
        flat.take(at, out=low, mode="clip")  # every index is inside; mode "raise" would copy through a buffer
        flat[1:].take(at, out=high, mode="clip")
        high -= low
        np.multiply(high, weight, out=sums)
        sums += low
        return sums
