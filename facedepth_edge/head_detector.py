# SPDX-License-Identifier: Apache-2.0
"""Finds heads with the cascades that OpenCV 4 carries, for frames that come without a head centre."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facedepth_edge.errors import BackendUnavailable, InputError
from facedepth_edge.eyes import head_from_eyes
from facedepth_edge.opencv import import_cv2

INSTALL_HINT = "Run: pip install 'opencv-python>=4.8,<5', or give the head centre yourself."

# The longest side that the cascades see; a head 150 mm wide at 1.5 m is still 55 px there with a 60 degree view.
SEARCH_SIDE_PX = 640
SCALE_STEP = 1.08
MIN_FACE_PX = 32

# Where a system's own OpenCV (JetPack, Debian) keeps what the wheel has in cv2.data.
SYSTEM_CASCADE_FOLDERS = ("/usr/share/opencv4/haarcascades", "/usr/local/share/opencv4/haarcascades")


FaceBox = tuple[float, float, float, float]  # x, y, width, height in pixels


@dataclass(frozen=True)
class FaceBoxToHead:
    """Say where the head is in a cascade's square face box; all in units of the box's side.

    Convention: x to the right and y down from the box's upper left corner; `center_*` is the point midway between the
    two tragi, `width` what `head_width_px` of `predict` means: HEAD_WIDTH_MM on an average head.
    """

    center_x: float
    center_y: float
    width: float

    def mirrored(self) -> FaceBoxToHead:
        """Return the same measure for the image turned left to right."""
        return FaceBoxToHead(1.0 - self.center_x, self.center_y, self.width)


# Ours: medians over 398 boxes that were found on rendered heads turned by less than 30 degrees. Two thirds of the heads
# are within 10 % of this width and 0.10 head widths of this height; a turn of 20 degrees moves x by 0.2 head widths.
FRONTAL_BOX = FaceBoxToHead(center_x=0.50, center_y=0.575, width=0.78)
# Ours: 25 rendered heads that look to the left of the image, turned by 40 to 60 degrees.
LEFT_PROFILE_BOX = FaceBoxToHead(center_x=0.63, center_y=0.60, width=0.64)

# Both eyes tell centre and width too (eyes.py). On rendered heads they are no better than the box (10 %), the mean of
# both is a little better (9 %); on scikit-image's astronaut, whose box is tight, the eyes' width is right within 3 %,
# while the box's is 20 % too small.
# When a pair of eyes is believed, in units of the box's side: each eye's size and height, the distance between both,
# and how much their line may slope.
EYE_SIZE = (0.15, 0.38)
EYE_HEIGHT = (0.20, 0.55)
EYE_DISTANCE = (0.25, 0.62)
EYE_SLOPE = 0.35


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
        """Load the cascades.

        Raises:
            BackendUnavailable: OpenCV is missing, or is a release without the classifier or its cascades (5.0).
        """
        self._frontal = _load_cascade("haarcascade_frontalface_alt2.xml")
        self._profile = _load_cascade("haarcascade_profileface.xml")
        self._eye = _load_cascade("haarcascade_eye.xml")

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
        heads = []
        for box in _boxes(self._frontal, gray):
            head = _head_from_box(box, scale, FRONTAL_BOX, "frontal")
            eyes = self._eyes(gray, box)
            heads.append(head if eyes is None else _head_between(head, _head_from_eyes(box, scale, *eyes)))
        if not heads:
            heads = [_head_from_box(box, scale, LEFT_PROFILE_BOX, "left") for box in _boxes(self._profile, gray)]
            for x, y, side, height in _boxes(self._profile, np.ascontiguousarray(gray[:, ::-1])):
                box = (width - x - side, y, side, height)
                heads.append(_head_from_box(box, scale, LEFT_PROFILE_BOX.mirrored(), "right"))
        return sorted(heads, key=lambda head: head.head_width_px, reverse=True)

    def _eyes(self, gray: np.ndarray, box: FaceBox) -> tuple[np.ndarray, np.ndarray] | None:
        """Find both eyes in a frontal face: their (x, y) in the searched image, left of the image first."""
        x, y, side, _ = box
        rows = slice(max(round(y), 0), round(y + (EYE_HEIGHT[1] + 0.1) * side))
        columns = slice(max(round(x), 0), round(x + side))
        face = np.ascontiguousarray(gray[rows, columns])
        limits = [(max(1, round(size * side)),) * 2 for size in EYE_SIZE]
        found = self._eye.detectMultiScale(face, scaleFactor=1.05, minNeighbors=3, minSize=limits[0], maxSize=limits[1])
        spots = [np.array([columns.start + ex + ew / 2, rows.start + ey + eh / 2, ew]) for ex, ey, ew, eh in found]
        spots = [spot for spot in spots if EYE_HEIGHT[0] < (spot[1] - y) / side < EYE_HEIGHT[1]]
        best, best_cost = None, np.inf
        for left in spots:
            for right in spots:
                across, down = (right - left)[:2] / side
                if not EYE_DISTANCE[0] < across < EYE_DISTANCE[1] or abs(down) > EYE_SLOPE * across:
                    continue
                off_middle = abs((left[0] + right[0]) / 2 - (x + side / 2)) / side
                cost = abs(left[2] - right[2]) / side + 0.3 * off_middle  # alike in size first, then in the middle
                if cost < best_cost:
                    best, best_cost = (left[:2], right[:2]), cost
        return best

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
    cv2 = import_cv2()
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
    cv2 = import_cv2()
    fix = "Read the image with OpenCV, or drop its alpha channel."
    rule = "(H, W, 3) BGR or (H, W) gray, uint8 or uint16, with at least one pixel"
    if not isinstance(frame, np.ndarray) or frame.dtype not in (np.uint8, np.uint16):
        got = f"dtype {frame.dtype}" if isinstance(frame, np.ndarray) else f"a {type(frame).__name__}"
        raise InputError.of("frame", got, rule, fix)
    if frame.ndim not in (2, 3) or frame.size == 0 or (frame.ndim == 3 and frame.shape[2] != 3):
        raise InputError.of("frame", f"shape {frame.shape}", rule, fix)
    gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if frame.ndim == 3 else np.ascontiguousarray(frame)
    if gray.dtype == np.uint16:
        gray = cv2.normalize(gray, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    scale = max(1.0, max(gray.shape) / SEARCH_SIDE_PX)
    if scale > 1.0:
        size_wh = (max(1, round(gray.shape[1] / scale)), max(1, round(gray.shape[0] / scale)))
        gray = cv2.resize(gray, size_wh, interpolation=cv2.INTER_AREA)
    return gray, scale


def _boxes(cascade: Any, gray: np.ndarray) -> list[FaceBox]:
    """Return (x, y, width, height) of each face in pixels of the searched image."""
    found = cascade.detectMultiScale(gray, scaleFactor=SCALE_STEP, minNeighbors=4, minSize=(MIN_FACE_PX, MIN_FACE_PX))
    return [tuple(float(value) for value in box) for box in found]  # type: ignore[misc]


def _head_from_box(box: FaceBox, scale: float, to_head: FaceBoxToHead, view: str) -> DetectedHead:
    x, y, width, height = (value * scale for value in box)
    center = (x + to_head.center_x * width, y + to_head.center_y * height)
    return DetectedHead(center, to_head.width * width, (x, y, x + width, y + height), view)


def _head_from_eyes(box: FaceBox, scale: float, left: np.ndarray, right: np.ndarray) -> DetectedHead:
    x, y, width, height = (value * scale for value in box)
    place = head_from_eyes(left * scale, right * scale)
    return DetectedHead(place.head_center, place.head_width_px, (x, y, x + width, y + height), "frontal")


def _head_between(one: DetectedHead, other: DetectedHead) -> DetectedHead:
    """Return the mean of two measures of the same head."""
    x, y = ((a + b) / 2 for a, b in zip(one.head_center, other.head_center, strict=True))
    head_width_px = float(np.sqrt(one.head_width_px * other.head_width_px))
    return DetectedHead((x, y), head_width_px, one.face_box, one.view)
