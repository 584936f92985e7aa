# SPDX-License-Identifier: Apache-2.0
"""The face crop by the compiled module; frames of any layout are fitted to what it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from facedepth_edge.checks import MAX_FRAME_SIDE_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facedepth_edge._native import FaceCropper
    from facedepth_edge.box import Box
    from facedepth_edge.spec import Preprocessing

MAX_OUT_SIDE_PX = 4096
MAX_BOX_EDGE_PX = 1e6
"""The native code's limits beside MAX_FRAME_SIDE_PX; what is beyond one of them goes through OpenCV."""


class CropSummary(NamedTuple):
    """What a crop looks like as a whole, in gray levels (0..255)."""

    contrast_levels: float
    """Population standard deviation, computed in float64."""
    largest: float


class NativeCropper:
    """Crop with the compiled module; holds its workspace, so one for each thread."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._preprocessing: Preprocessing | None = None
        self._cropper: FaceCropper | None = None
        self._copies: dict[tuple[Any, ...], NDArray[Any]] = {}

    @staticmethod
    def takes(out: NDArray[np.float32], frame: NDArray[Any], box: Box) -> bool:
        """Say whether sizes and box are within the native code's limits."""
        x0, y0, x1, y1 = box
        return (
            frame.shape[0] <= MAX_FRAME_SIDE_PX
            and frame.shape[1] <= MAX_FRAME_SIDE_PX
            and out.shape[0] <= MAX_OUT_SIDE_PX
            and out.shape[1] <= MAX_OUT_SIDE_PX
            and -MAX_BOX_EDGE_PX <= x0 < x1 <= MAX_BOX_EDGE_PX
            and -MAX_BOX_EDGE_PX <= y0 < y1 <= MAX_BOX_EDGE_PX
        )

    def crop_into(
        self,
        out: NDArray[np.float32],
        frame: NDArray[Any],
        box: Box,
        preprocessing: Preprocessing,
        max_value: float,
    ) -> CropSummary:
        """Write the face under a box into a buffer.

        Args:
            out: (h, w) float32, host, elements of a row side by side; overwritten with gray * scale + offset.
            frame: (H, W) or (H, W, 3) BGR, uint8 or uint16, any strides.
            box: in pixels of the frame; may reach outside it.
            preprocessing: the model's scale and offset.
            max_value: the pixel value of white.

        Returns:
            The crop's summary.
        """
        cropper = self._cropper
        if cropper is None or preprocessing is not self._preprocessing:
            cropper = self._cropper = self._module.FaceCropper(preprocessing.scale, preprocessing.offset)
            self._preprocessing = preprocessing
        strides, item = frame.strides, frame.itemsize
        dense = strides[-1] == item and (frame.ndim == 2 or strides[1] == 3 * item)
        if not dense or abs(strides[0]) < frame.shape[1] * strides[1] or not frame.flags.aligned:
            frame = self._dense_copy(frame, box)
        _, deviation, _, largest = cropper.crop_into(out, frame, *box, max_value)
        return CropSummary(deviation / preprocessing.scale, (largest - preprocessing.offset) / preprocessing.scale)

    def _dense_copy(self, frame: NDArray[Any], box: Box) -> NDArray[Any]:
        """Return a buffer of the frame's shape, filled only where the crop reads; overwritten by the next call."""
        key = (frame.shape, frame.dtype)
        if key not in self._copies:
            self._copies = {key: np.zeros(frame.shape, frame.dtype)}  # only the last shape: a camera has one
        copy = self._copies[key]
        rows, columns = _read_pixels(box.y0, box.y1, frame.shape[0]), _read_pixels(box.x0, box.x1, frame.shape[1])
        copy[rows, columns] = frame[rows, columns]
        return copy


def _read_pixels(start: float, end: float, size: int) -> slice:
    """Return the pixels of one axis that a crop may read, and a few more: the box and its surroundings."""
    first = min(max(int(start) - 2, 0), size - 1)
    last = max(min(int(end) + 2, size - 1), first)
    return slice(first, last + 1)
