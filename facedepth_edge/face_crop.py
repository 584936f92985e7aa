# SPDX-License-Identifier: Apache-2.0
"""Eq. 6: the box around a head, and sampling it into the network's input; the one definition of preprocessing.

Convention: origin at the frame's upper left corner, pixel i covers [i, i + 1). A box is real-valued and never rounded.
Output pixel j of n covers the box's j-th n-th part. Each axis is resampled by itself: by the exact area average, with
fractional edges, when it shrinks (box pixels > output pixels), else bilinearly between pixel centres. Pixels outside
the frame repeat its border. Gray is BT.601; a uint16 frame is scaled by 255 / max_value.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from facedepth_edge.errors import InputError
from facedepth_edge.spec import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRAY_FROM_BGR = (0.114, 0.587, 0.299)
"""BT.601 weights of blue, green and red."""

_INT32_SUM_PIXELS = (2**31 - 1) // 255
_ONE_STRIPE_PIXELS = 65536  # up to 1.5 times as many, cv2.cvtColor stays in the calling thread


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


def check_frame(frame: Any, max_value: float | None, where: str = "frame") -> NDArray[Any]:
    """Check a frame and drop a channel axis of length one.

    Args:
        frame: (H, W), (H, W, 1) or (H, W, 3) BGR, uint8 or uint16, host, any strides.
        max_value: the camera's largest pixel value; a uint16 frame needs it.
        where: the argument's name, for the error's text.

    Returns:
        A view of it, (H, W) or (H, W, 3).

    Raises:
        InputError: the frame breaks a rule.
    """
    if not isinstance(frame, np.ndarray):
        fix = "Read the image with cv2.imread, or wrap the buffer with numpy.frombuffer."
        raise InputError.of(where, f"a {type(frame).__name__}", "a NumPy array", fix)
    if frame.dtype != np.uint8 and frame.dtype != np.uint16:
        fix = "Give the camera's own pixels; scale a float image to 0..255 and convert it with astype(numpy.uint8)."
        raise InputError.of(where, f"dtype {frame.dtype}", "uint8 or uint16", fix)
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] not in (1, 3)):
        fix = "Give a gray or BGR image; of a BGRA image frame[..., :3]."
        raise InputError.of(where, f"shape {frame.shape}", "(H, W), (H, W, 1) or (H, W, 3)", fix)
    if frame.size == 0:
        fix = "Check that the image was read and that the camera delivers frames."
        raise InputError.of(where, f"shape {frame.shape}", "at least one pixel", fix)
    if frame.dtype == np.uint16 and max_value is None:
        fix = "Give camera=Camera(fx, fy, max_value=1023) for 10 bits, 4095 for 12, 65535 for 16."
        raise InputError.of(where, "dtype uint16 and a camera without max_value", "the camera's max_value", fix)
    return frame[:, :, 0] if frame.ndim == 3 and frame.shape[2] == 1 else frame


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


class FaceSampler:
    """Sample a box into the network's input by OpenCV and NumPy; holds its buffers, so one for each thread.

    Only the pixels under the box are touched. Where both axes shrink, the usual case, gray comes from cv2.cvtColor
    (rounded to whole levels) and the area average from differences of cv2.integral, which is exact at fractional
    edges, as the integral of a step function is linear between steps. Elsewhere everything is float64.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[Any]] = {}

    def sample_into(
        self,
        out: NDArray[np.float32],
        frame: NDArray[Any],
        box: Box,
        preprocessing: Preprocessing,
        max_value: float | None = None,
    ) -> None:
        """Write the face under a box into a buffer.

        Args:
            out: (h, w) float32, host; overwritten with gray * scale + offset.
            frame: (H, W) or (H, W, 3) BGR, uint8 or uint16, as check_frame returns it.
            box: in pixels of the frame; may reach outside it.
            preprocessing: the model's scale and offset.
            max_value: the largest value of a uint16 pixel.

        Raises:
            InputError: a uint16 pixel is larger than max_value.
        """
        rows = _plan_axis(box.y0, box.y1, out.shape[0], frame.shape[0])
        columns = _plan_axis(box.x0, box.x1, out.shape[1], frame.shape[1])
        region = frame[rows.first : rows.first + rows.length, columns.first : columns.first + columns.length]
        if rows.shrinks and columns.shrinks:
            gray = self._area(self._rounded_gray(region), rows, columns)
        else:
            exact = _exact_gray(region)
            gray = _resample_rows(_resample_rows(exact, rows).T, columns).T
        level = 1.0
        if frame.dtype == np.uint16:
            assert max_value is not None, "check_frame refuses a uint16 frame without max_value"
            level = 255.0 / max_value
            largest = float(gray.max())
            if largest > 1.001 * max_value:
                fix = "Set max_value to the largest value that the camera can give."
                raise InputError.of(
                    "frame", f"a pixel of {largest:.0f}", f"at most the camera's max_value {max_value:g}", fix
                )
        np.multiply(gray, level * preprocessing.scale, out=gray)
        np.add(gray, preprocessing.offset, out=out, casting="same_kind")

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
        import cv2

        rows, columns = region.shape[:2]
        gray = self._buffer("gray", (rows, columns), region.dtype)
        band = max(1, _ONE_STRIPE_PIXELS // columns)  # OpenCV's thread pool would cost more than it gives
        for top in range(0, rows, band):
            cv2.cvtColor(region[top : top + band], cv2.COLOR_BGR2GRAY, dst=gray[top : top + band])
        return gray

    def _area(self, gray: NDArray[Any], rows: _Axis, columns: _Axis) -> NDArray[np.float64]:
        """Average a (rows, columns) uint8 or uint16 region over the output's pixels."""
        import cv2

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


def sample_depth(depth: NDArray[Any], box: Box, size_hw: tuple[int, int], outside: float = 0) -> NDArray[Any]:
    """Sample a depth image under a box: the nearest pixel, never an average across an edge or a hole.

    Args:
        depth: (H, W), any dtype, any strides.
        box: in pixels; may reach outside the image.
        size_hw: the output's height and width in pixels.
        outside: the value where the box is outside the image: nothing was measured there.

    Returns:
        (h, w) of depth's dtype, C-contiguous, a fresh array; holes stay what they are.
    """
    rows, inside_rows = _nearest(box.y0, box.y1, size_hw[0], depth.shape[0])
    columns, inside_columns = _nearest(box.x0, box.x1, size_hw[1], depth.shape[1])
    sampled = depth[rows[:, None], columns]
    sampled[~(inside_rows[:, None] & inside_columns)] = outside
    return sampled


def _nearest(start: float, end: float, n_out: int, n_in: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the pixel under each output pixel's centre, and whether there is one."""
    at = np.floor(start + (end - start) / n_out * (np.arange(n_out) + 0.5))
    inside = (at >= 0) & (at < n_in)
    return np.clip(at, 0, n_in - 1).astype(np.intp), inside
