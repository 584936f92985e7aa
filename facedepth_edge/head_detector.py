# SPDX-License-Identifier: Apache-2.0
"""Finds heads with the cascades that OpenCV 4 carries, for frames that come without a head centre."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facedepth_edge.errors import BackendUnavailable, InputError

INSTALL_HINT = "Run: pip install 'opencv-python>=4.8,<5', or give the head centre yourself."

# The longest side that the cascades see; a head 150 mm wide at 1.5 m is still 55 px there with a 60 degree view.
SEARCH_SIDE_PX = 640
SCALE_STEP = 1.08
MIN_FACE_PX = 32

# Where a system's own OpenCV (JetPack, Debian) keeps what the wheel has in cv2.data.
SYSTEM_CASCADE_FOLDERS = ("/usr/share/opencv4/haarcascades", "/usr/local/share/opencv4/haarcascades")


@dataclass(frozen=True)
class FaceBoxToHead:
    """Say where the head is in a cascade's square face box; all in units of the box's side.

    Convention: x to the right and y down from the box's upper left corner; `center_*` is the point midway between the
    two tragi, `width` the head's breadth (150 mm on an average head) as `head_width_px` of `predict` means it.
    """

    center_x: float
    center_y: float
    width: float

    def mirrored(self) -> FaceBoxToHead:
        """Return the same measure for the image turned left to right."""
        return FaceBoxToHead(1.0 - self.center_x, self.center_y, self.width)


# Ours: measured on scikit-image's astronaut (box 96 px at (177, 66), tragi midway at (224.5, 111), 0.70 px a mm).
FRONTAL_BOX = FaceBoxToHead(center_x=0.50, center_y=0.47, width=1.00)
# Ours: the profile cascade's box runs from the nose to the ear of a head that looks to the left of the image.
LEFT_PROFILE_BOX = FaceBoxToHead(center_x=0.66, center_y=0.48, width=0.98)


@dataclass(frozen=True)
class DetectedHead:
    """One head found in a frame; every length in pixels of that frame, pixel i covering [i, i + 1).

    Args:
        head_center: (x, y), the projection of the point midway between the two tragi.
        head_width_px: breadth of the head, for `predict(head_width_px=)`.
        face_box: (x0, y0, x1, y1) that the cascade found.
        view: "frontal", or "left" or "right": the side of the image that the head looks to.
    """

    head_center: tuple[float, float]
    head_width_px: float
    face_box: tuple[float, float, float, float]
    view: str


class HeadDetector:
    """Find heads with OpenCV's frontal cascade and, where that finds none, the profile cascade on both sides.

    Not for several threads at once: OpenCV's classifiers keep state. Make one for each thread.
    """

    def __init__(self) -> None:
        """Load both cascades.

        Raises:
            BackendUnavailable: OpenCV is missing, or is a release without the classifier or its cascades (5.0).
        """
        self._frontal = _load_cascade("haarcascade_frontalface_alt2.xml")
        self._profile = _load_cascade("haarcascade_profileface.xml")

    def detect(self, frame: np.ndarray) -> list[DetectedHead]:
        """Find every head.

        Args:
            frame: (H, W, 3) BGR or (H, W) gray, uint8 or uint16, host, any strides.

        Returns:
            The heads, the widest first; an empty list where there is none.

        Raises:
            InputError: the frame has another shape or dtype.
        """
        gray, scale = _search_image(frame)
        width = gray.shape[1]
        heads = [_head_from_box(box, scale, FRONTAL_BOX, "frontal") for box in _boxes(self._frontal, gray)]
        if not heads:
            heads = [_head_from_box(box, scale, LEFT_PROFILE_BOX, "left") for box in _boxes(self._profile, gray)]
            for x, y, side, height in _boxes(self._profile, np.ascontiguousarray(gray[:, ::-1])):
                box = (width - x - side, y, side, height)
                heads.append(_head_from_box(box, scale, LEFT_PROFILE_BOX.mirrored(), "right"))
        return sorted(heads, key=lambda head: head.head_width_px, reverse=True)

    def detect_largest(self, frame: np.ndarray, where: str = "frame") -> DetectedHead:
        """Find the widest head, the nearest one in most frames.

        Args:
            frame: as in `detect`.
            where: the frame's name for the error's text.

        Returns:
            The head.

        Raises:
            InputError: no head was found, or the frame has another shape or dtype.
        """
        heads = self.detect(frame)
        if not heads:
            fix = "Give the head centre instead; the cascades need an upright face that is lit and larger than 32 px."
            raise InputError.of(where, "no face", "a face that OpenCV's cascades find", fix)
        return heads[0]


def _load_cascade(name: str) -> Any:
    """Open one cascade file of the installed OpenCV."""
    try:
        import cv2
    except ImportError as error:
        raise BackendUnavailable.of("head detection", str(error), "OpenCV 4", INSTALL_HINT) from error
    if not hasattr(cv2, "CascadeClassifier"):
        got = f"OpenCV {cv2.__version__} without CascadeClassifier"
        raise BackendUnavailable.of("head detection", got, "OpenCV 4.8 or later, before 5", INSTALL_HINT)
    own_folder = getattr(getattr(cv2, "data", None), "haarcascades", None)
    folders = ([own_folder] if own_folder else []) + list(SYSTEM_CASCADE_FOLDERS)
    path = next((Path(folder) / name for folder in folders if (Path(folder) / name).is_file()), None)
    if path is None:
        got = f"no {name} in {', '.join(map(str, folders))}"
        raise BackendUnavailable.of("head detection", got, "a cascade of OpenCV 4", INSTALL_HINT)
    cascade = cv2.CascadeClassifier(str(path))
    if cascade.empty():
        raise BackendUnavailable.of("head detection", f"an unusable {path}", "a Haar cascade", INSTALL_HINT)
    return cascade


def _search_image(frame: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the (h, w) uint8 gray image that is searched, and the frame's pixels for one of its pixels."""
    import cv2

    fix = "Read the image with OpenCV, or drop its alpha channel."
    rule = "(H, W, 3) BGR or (H, W) gray, uint8 or uint16, with at least one pixel"
    if not isinstance(frame, np.ndarray) or frame.dtype not in (np.uint8, np.uint16):
        got = f"dtype {frame.dtype}" if isinstance(frame, np.ndarray) else f"a {type(frame).__name__}"
        raise InputError.of("frame", got, rule, fix)
    if frame.ndim not in (2, 3) or frame.size == 0 or (frame.ndim == 3 and frame.shape[2] != 3):
        raise InputError.of("frame", f"shape {frame.shape}", rule, fix)
    gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if frame.ndim == 3 else np.ascontiguousarray(frame)
    if gray.dtype == np.uint16:
        gray = cv2.normalize(gray, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)  # type: ignore[call-overload]
    scale = max(1.0, max(gray.shape) / SEARCH_SIDE_PX)
    if scale > 1.0:
        size_wh = (max(1, round(gray.shape[1] / scale)), max(1, round(gray.shape[0] / scale)))
        gray = cv2.resize(gray, size_wh, interpolation=cv2.INTER_AREA)
    return gray, scale


def _boxes(cascade: Any, gray: np.ndarray) -> list[tuple[float, float, float, float]]:
    """Return (x, y, width, height) of each face in pixels of the searched image."""
    found = cascade.detectMultiScale(gray, scaleFactor=SCALE_STEP, minNeighbors=4, minSize=(MIN_FACE_PX, MIN_FACE_PX))
    return [tuple(float(value) for value in box) for box in found]  # type: ignore[misc]


def _head_from_box(
    box: tuple[float, float, float, float], scale: float, to_head: FaceBoxToHead, view: str
) -> DetectedHead:
    x, y, width, height = (value * scale for value in box)
    center = (x + to_head.center_x * width, y + to_head.center_y * height)
    return DetectedHead(center, to_head.width * width, (x, y, x + width, y + height), view)
