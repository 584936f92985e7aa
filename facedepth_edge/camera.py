# SPDX-License-Identifier: Apache-2.0
"""The camera's intrinsics.

Convention: origin at the frame's upper left corner, pixel i covers [i, i + 1), so its centre is i + 0.5 and the middle
of a frame of width W is W / 2. Distances are z along the optical axis in millimetres, never along the ray.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from os import PathLike
from typing import Any

import numpy as np

from facedepth_edge.checks import LARGEST_GIVEN, MAX_FRAME_SIDE_PX, is_number, is_positive, shown
from facedepth_edge.errors import ConfigError, InputError
from facedepth_edge.json_values import repeated_keys

DEFAULT_FOCAL_PER_SIDE = 0.87
"""Focal length over the longer side of an unknown camera's frame: a 60 degree view along it."""

NOMINAL_DISTANCE_MM = 700.0
"""The head's distance when nothing else is known about it."""

MIN_DISTANCE_MM = 10.0
"""No head is nearer; a smaller number is a distance in metres or a mistake."""
MAX_DISTANCE_MM = 100_000.0
"""No face is farther: 100 m."""


_LENS_KEYS = {*(f"k{number}" for number in range(1, 7)), "p1", "p2", "d", "dist", "skew"}
_MATRIX_KEYS = {"k", "m", "matrix", "camera_matrix", "cameramatrix", "intrinsic", "intrinsics", "intrinsic_matrix"}


@dataclass(frozen=True)
class Camera:
    """Describe a pinhole camera.

    Args:
        fx: horizontal focal length in pixels.
        fy: vertical focal length in pixels.
        cx: x of the optical axis in pixels; None: the middle of the frame. OpenCV's calibration counts from the centre
            of the first pixel: add 0.5 to its cx and cy.
        cy: y of the optical axis in pixels; None: the middle of the frame.
        nominal_distance_mm: the head's distance where nothing else is known about it.
        max_value: the largest value of a uint16 pixel (1023 for 10 bits, 4095 for 12); a uint8 frame needs none.
        width: width of the frames that these numbers are for, in pixels, at most MAX_FRAME_SIDE_PX; a frame of another
            width is refused. None: any.
        height: height of those frames in pixels; None: any.

    Lens distortion is not modelled: frames have to be undistorted first (cv2.undistort). A barrel distortion of
    k1 = -0.3 moves a face that is 30 degrees off the axis by a tenth of its distance from it.

    Raises:
        ConfigError: a number is not finite, or one that must be positive is not.
    """

    fx: float
    fy: float
    cx: float | None = None
    cy: float | None = None
    nominal_distance_mm: float = NOMINAL_DISTANCE_MM
    max_value: float | None = None
    width: int | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        for name in ("fx", "fy"):
            value = getattr(self, name)
            _check(name, value, is_positive(value), "a finite number above 0", "Give the focal length in pixels.")
        for name in ("cx", "cy"):
            value = getattr(self, name)
            fix = "Give a position in pixels, or leave it out."
            _check(name, value, value is None or _is_finite(value), "a finite number or None", fix)
        value = self.nominal_distance_mm
        ok = is_positive(value) and MIN_DISTANCE_MM <= value <= MAX_DISTANCE_MM
        rule = f"{MIN_DISTANCE_MM:g} to {MAX_DISTANCE_MM:g}"
        _check("nominal_distance_mm", value, ok, rule, "Give the distance in millimetres.")
        top = self.max_value
        ok = top is None or (is_positive(top) and top <= 65535)
        fix = "Give the largest pixel value, 1023 for 10 bits and 4095 for 12."
        _check("max_value", top, ok, "a number above 0 and up to 65535, or None", fix)
        for name in ("width", "height"):
            side = getattr(self, name)
            ok = side is None or (is_positive(side) and side <= MAX_FRAME_SIDE_PX and side == int(side))
            fix = "Give the size of the frames that the camera was calibrated with, or leave it out."
            _check(name, side, ok, f"a whole number, 1 to {MAX_FRAME_SIDE_PX}, or None", fix)
        for name, given in list(vars(self).items()):  # plain numbers: a float16 would overflow, JSON takes no float32
            if given is not None:
                object.__setattr__(self, name, int(given) if name in ("width", "height") else float(given))

    @classmethod
    def default_for(cls, width_px: int, height_px: int = 0) -> Camera:
        """Make the camera that is used when none is given: a 60 degree view along the frame's longer side.

        A camera turned upright keeps its lens: by the width, a 9:16 frame would be 91 degrees high.

        Args:
            width_px: the frame's width in pixels.
            height_px: its height; it counts where it is the longer side.

        Returns:
            A camera with fx = fy = 0.87 * the longer side and the optical axis in the middle of the frame.
        """
        focal_px = DEFAULT_FOCAL_PER_SIDE * max(width_px, height_px)
        return cls(focal_px, focal_px)

    @classmethod
    def from_opencv(
        cls,
        matrix: Any,
        size_wh: tuple[int, int] | None = None,
        *,
        nominal_distance_mm: float = NOMINAL_DISTANCE_MM,
        max_value: float | None = None,
    ) -> Camera:
        """Make a camera from OpenCV's matrix of undistorted frames.

        Args:
            matrix: (3, 3), the camera matrix among what cv2.calibrateCamera or cv2.getOptimalNewCameraMatrix returns.
                OpenCV counts from the centre of the first pixel: half a pixel is added to cx and cy.
            size_wh: (width, height) of the frames that it is for; None: any.
            nominal_distance_mm: as for this class.
            max_value: as for this class.

        Returns:
            The camera.

        Raises:
            ConfigError: it is not such a matrix, or has a skew; size_wh is no pair; or a number breaks this class's
                rules.
        """
        rule = "((fx, 0, cx), (0, fy, cy), (0, 0, 1))"
        fix = "Give the camera matrix of cv2.calibrateCamera, of frames without distortion."
        try:
            given = np.array(matrix)
            if given.dtype.kind not in "iuf":  # NumPy would read texts as numbers, and drop imaginary parts
                raise TypeError(f"values of {given.dtype}")
            values = given.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigError.of("Camera.from_opencv", f"a {type(matrix).__name__}", rule, fix) from error
        empty = ((0, 1), (1, 0), (2, 0), (2, 1))
        if values.shape != (3, 3) or any(values[place] != 0 for place in empty) or values[2, 2] != 1:
            raise ConfigError.of("Camera.from_opencv", values.tolist(), rule, fix)
        fx, fy, cx, cy = (float(values[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
        try:
            width, height = (None, None) if size_wh is None else size_wh
        except (TypeError, ValueError) as error:
            fix = "Give the frames' width and height in pixels."
            raise ConfigError.of("Camera.from_opencv: size_wh", repr(size_wh), "(width, height)", fix) from error
        return cls(fx, fy, cx + 0.5, cy + 0.5, nominal_distance_mm, max_value, width, height)

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> Camera:
        """Read a camera from a JSON file whose keys are this class's arguments.

        Args:
            path: a file such as ``{"fx": 1100.0, "fy": 1100.0, "max_value": 1023}``.

        Returns:
            The camera.

        Raises:
            ConfigError: the file cannot be read, is not a JSON object, or has an unknown key, a key twice or a wrong
                value.
        """
        import difflib  # these three would double the time that importing this package takes
        import json
        from pathlib import Path

        where = str(path)

        def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            twice = repeated_keys(pairs)
            if twice:
                raise ConfigError.of(where, f"the keys {twice} twice", "each key once", "Remove the wrong one.")
            return dict(pairs)

        try:
            data: Any = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=object_of)
        except (OSError, TypeError) as error:
            got = getattr(error, "strerror", None) or str(error)
            raise ConfigError.of(where, got, "a file that can be read", "Check the path.") from error
        except (ValueError, RecursionError) as error:
            fix = (
                'Write an object such as {"fx": 1100.0, "fy": 1100.0}; '
                "for a file of OpenCV's read its matrix and use Camera.from_opencv."
            )
            raise ConfigError.of(where, str(error), "JSON text in UTF-8", fix) from error
        known = [entry.name for entry in fields(cls)]
        if not isinstance(data, dict) or not {"fx", "fy"} <= data.keys():
            fix = 'Write an object such as {"fx": 1100.0, "fy": 1100.0}.'
            raise ConfigError.of(where, data, "a JSON object with fx and fy", fix)
        for key in data:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                fix = f"Did you mean {near[0]}?" if near else "Remove it."
                if key.lower() in _LENS_KEYS or key.lower().startswith(("dist_c", "distc", "distort")):
                    fix = "Undistort the frames (cv2.undistort) and give the camera of those, without skew."
                if key.lower() in _MATRIX_KEYS:
                    fix = "Give its numbers: fx, fy, and cx and cy with 0.5 added, as Camera.from_opencv does."
                raise ConfigError.of(where, f"the unknown key {key}", f"only {', '.join(known)}", fix)
        try:
            return cls(**data)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error

    def cropped(self, x: float, y: float, width: int, height: int) -> Camera:
        """Return the camera for a part that is cut out of this one's frames.

        Args:
            x: the cut's left edge, in pixels of this camera's frames.
            y: its upper edge.
            width: its width in pixels.
            height: its height in pixels.

        Returns:
            A camera that takes frames of that size.

        Raises:
            ConfigError: a number breaks this class's rules; or cx or cy is the middle of frames of an unknown size.
        """
        _require_size("Camera.cropped", width, height)
        for name, value in (("x", x), ("y", y)):
            if not _is_finite(value):
                raise ConfigError.of(f"Camera.cropped: {name}", shown(value), "a finite number", "Give it in pixels.")
        cx, cy = self._known_center("Camera.cropped")
        return replace(self, cx=cx - float(x), cy=cy - float(y), width=width, height=height)

    def resized(self, width: int, height: int) -> Camera:
        """Return the camera for this one's frames after they were resized.

        Args:
            width: of the resized frames, in pixels.
            height: their height.

        Returns:
            A camera that takes frames of that size.

        Raises:
            ConfigError: the size that this camera is for is not known, or a number breaks this class's rules.
        """
        if self.width is None or self.height is None:
            fix = "Make it with the width and height of the frames that fx and fy are for."
            raise ConfigError.of("Camera.resized", "a camera without width or height", "one with both", fix)
        _require_size("Camera.resized", width, height)
        cx, cy = self._known_center("Camera.resized")
        sized = replace(self, width=width, height=height)  # checks both
        across, down = float(width) / self.width, float(height) / self.height
        return replace(sized, fx=self.fx * across, fy=self.fy * down, cx=cx * across, cy=cy * down)

    def _known_center(self, where: str) -> tuple[float, float]:
        if (self.cx is None and self.width is None) or (self.cy is None and self.height is None):
            fix = "Give cx and cy, or the width and height of the frames that it is for."
            raise ConfigError.of(where, "a camera whose cx or cy is the middle of any frame", "known ones", fix)
        return self.center_px((self.height or 0, self.width or 0))

    def center_px(self, size_hw: tuple[int, int]) -> tuple[float, float]:
        """Return (cx, cy) in pixels for a frame of this size, the middle where they were not given."""
        height, width = size_hw
        return (width / 2 if self.cx is None else self.cx, height / 2 if self.cy is None else self.cy)

    def check_size(self, size_hw: tuple[int, int]) -> None:
        """Refuse a frame of another size than the camera is for, if the camera says which.

        Raises:
            InputError: its width or height differs.
        """
        expected = (self.height or size_hw[0], self.width or size_hw[1])
        if expected != size_hw:
            got, rule = (f"{width} x {height} pixels" for height, width in (size_hw, expected))
            fix = (
                "Give camera.cropped(x, y, width, height) of a cut-out, camera.resized(width, height) of a resized one."
            )
            raise InputError.of("frame", got, f"{rule}, the camera's width x height", fix)


def _is_finite(value: Any) -> bool:
    """Say whether a value is a number of at most LARGEST_GIVEN either way."""
    return is_number(value) and -LARGEST_GIVEN <= float(value) <= LARGEST_GIVEN


def _check(name: str, value: Any, ok: bool, rule: str, fix: str) -> None:
    if not ok:
        raise ConfigError.of(f"Camera.{name}", shown(value), rule, fix)


def _require_size(where: str, width: Any, height: Any) -> None:
    for name, side in (("width", width), ("height", height)):
        if side is None:
            raise ConfigError.of(f"{where}: {name}", None, "a whole number", "Give the frames' size in pixels.")
