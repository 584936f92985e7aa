# SPDX-License-Identifier: Apache-2.0
"""Sampling a box of the frame into the network's input: the one definition of preprocessing.

Convention: origin at the frame's upper left corner, pixel i covers [i, i + 1). A box is real-valued and never rounded.
Output pixel j of n covers the box's j-th n-th part. Each axis is resampled by itself: by the exact area average, with
fractional edges, when it shrinks (box pixels > output pixels), else bilinearly between pixel centres. Pixels outside
the frame repeat its border. Gray is BT.601; a uint16 frame is scaled by 255 / max_value.

Two ways do it, held against the same float64 oracle: native_crop (C++, within 0.01 gray level) and opencv_crop (within
1, as cv2.cvtColor rounds).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from facedepth_edge.errors import BackendUnavailable, ConfigError, InputError
from facedepth_edge.native import find_native
from facedepth_edge.native_crop import NativeCropper
from facedepth_edge.opencv_crop import OpenCvCropper

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facedepth_edge.box import Box
    from facedepth_edge.spec import Preprocessing

CROPS = ("auto", "native", "opencv")
WHITE = 255.0
_WHITE_TOLERANCE = 1.001  # times max_value: what is brighter is so by more than rounding


def check_frame(frame: Any, max_value: float | None) -> NDArray[Any]:
    """Check a frame and drop a channel axis of length one.

    Args:
        frame: (H, W), (H, W, 1) or (H, W, 3) BGR, uint8 or uint16, host, any strides.
        max_value: the camera's largest pixel value; a uint16 frame needs it.

    Returns:
        A view of it, (H, W) or (H, W, 3).

    Raises:
        InputError: the frame breaks a rule.
    """
    if not isinstance(frame, np.ndarray):
        fix = "Read the image with cv2.imread, or wrap the buffer with numpy.frombuffer."
        if frame is None:
            fix = "Check that the file is there, or that the camera has delivered a frame."
        raise InputError.of("frame", f"a {type(frame).__name__}", "a NumPy array", fix)
    if frame.dtype != np.uint8 and frame.dtype != np.uint16:
        fix = "Give the camera's own pixels; scale a float image to 0..255 and convert it with astype(numpy.uint8)."
        if frame.dtype == np.dtype(np.uint16).newbyteorder():
            fix = "These pixels are of the other byte order: convert them with astype(numpy.uint16)."
        raise InputError.of("frame", f"dtype {frame.dtype}", "uint8 or uint16", fix)
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] not in (1, 3)):
        fix = "Give a gray or BGR image; of a BGRA image frame[..., :3]."
        raise InputError.of("frame", f"shape {frame.shape}", "(H, W), (H, W, 1) or (H, W, 3)", fix)
    if frame.size == 0:
        fix = "Check that the image was read and that the camera delivers frames."
        raise InputError.of("frame", f"shape {frame.shape}", "at least one pixel", fix)
    if frame.dtype == np.uint16 and max_value is None:
        fix = "Give camera=Camera(fx, fy, max_value=1023) for 10 bits, 4095 for 12, 65535 for 16."
        raise InputError.of("frame", "dtype uint16 and a camera without max_value", "the camera's max_value", fix)
    return frame[:, :, 0] if frame.ndim == 3 and frame.shape[2] == 1 else frame


def require_within(largest: float, white: float) -> None:
    """Refuse a crop that is brighter than the camera's largest pixel value.

    Args:
        largest: the crop's largest gray level, which is 255 for a pixel of `white`.
        white: the camera's max_value.

    Raises:
        InputError: it is brighter by more than rounding.
    """
    if largest > _WHITE_TOLERANCE * WHITE:
        got = f"gray up to {largest * white / WHITE:.0f} in the face's crop"
        fix = (
            "Set max_value to the largest value that the camera can give; where its bits are the upper ones of 16 "
            "(12 bits: multiples of 16 up to 65520), shift the frame down or give max_value=65520."
        )
        raise InputError.of("frame", got, f"at most the camera's max_value {white:g}", fix)


class FaceSampler:
    """Sample a box into the network's input; holds its buffers, so one for each thread.

    Args:
        crop: "native", "opencv", or "auto": the native way where this installation has built it. The named native way
            never falls back; only a frame or a box beyond its limits (native_crop) goes through OpenCV.

    Raises:
        ConfigError: there is no such way.
        BackendUnavailable: the native way was named and is not there.
    """

    def __init__(self, crop: str = "auto") -> None:
        if crop not in CROPS:
            raise ConfigError.of("crop", crop, f"one of {', '.join(CROPS)}", "Choose one of these.")
        module, reason = (None, "") if crop == "opencv" else find_native()
        if crop == "native" and module is None:
            fix = "Install the package where there is a C++17 compiler."
            raise BackendUnavailable.of("crop 'native'", reason, "the compiled module facedepth_edge._native", fix)
        self._native = None if module is None else NativeCropper(module)
        self._opencv = OpenCvCropper()

    @property
    def crop(self) -> str:
        """Which way is taken: "native" or "opencv"."""
        return "opencv" if self._native is None else "native"

    def sample_into(
        self,
        out: NDArray[np.float32],
        frame: NDArray[Any],
        box: Box,
        preprocessing: Preprocessing,
        max_value: float | None = None,
    ) -> float:
        """Write the face under a box into a buffer.

        Args:
            out: (h, w) float32, host, C-contiguous; overwritten with gray * scale + offset.
            frame: (H, W) or (H, W, 3) BGR, uint8 or uint16, as check_frame returns it.
            box: in pixels of the frame; may reach outside it.
            preprocessing: the model's scale and offset.
            max_value: the largest value of a uint16 pixel.

        Returns:
            The contrast: the crop's standard deviation in gray levels, 0..127.5.

        Raises:
            InputError: uint16 pixels under a pixel of the crop are larger than max_value on average.
        """
        white = WHITE
        if frame.dtype == np.uint16:
            assert max_value is not None, "check_frame refuses a uint16 frame without max_value"
            white = max_value
        native = self._native
        if native is not None and native.takes(out, frame, box):
            contrast_levels, largest = native.crop_into(out, frame, box, preprocessing, white)
        else:
            contrast_levels, largest = self._opencv.crop_into(out, frame, box, preprocessing, white)
        require_within(largest, white)
        return contrast_levels


def sample_depth(depth: NDArray[Any], box: Box, size_hw: tuple[int, int]) -> NDArray[Any]:
    """Sample a depth image under a box: the nearest pixel, never an average across an edge or a hole.

    Args:
        depth: (H, W), any dtype, any strides.
        box: in pixels; may reach outside the image.
        size_hw: the output's height and width in pixels.

    Returns:
        (h, w) of depth's dtype, C-contiguous, a fresh array; holes stay what they are, and outside the image
        all is 0, a hole.
    """
    rows, inside_rows = _nearest(box.y0, box.y1, size_hw[0], depth.shape[0])
    columns, inside_columns = _nearest(box.x0, box.x1, size_hw[1], depth.shape[1])
    sampled = depth[rows[:, None], columns]
    sampled[~(inside_rows[:, None] & inside_columns)] = 0
    return sampled


def _nearest(start: float, end: float, n_out: int, n_in: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the pixel under each output pixel's centre, and whether there is one."""
    at = np.floor(start + (end - start) / n_out * (np.arange(n_out) + 0.5))
    inside = (at >= 0) & (at < n_in)
    return np.clip(at, 0, n_in - 1).astype(np.intp), inside
