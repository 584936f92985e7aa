# SPDX-License-Identifier: Apache-2.0
"""The camera's intrinsics, and the rule that decides how far away the head is.

Convention: origin at the frame's upper left corner, pixel i covers [i, i + 1), so its centre is i + 0.5 and the middle
of a frame of width W is W / 2. Distances are z along the optical axis in millimetres, never along the ray.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from facedepth_edge.errors import ConfigError, InputError
from facedepth_edge.native_crop import MAX_FRAME_SIDE_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_FOCAL_PER_SIDE = 0.87
"""Focal length over the longer side of an unknown camera's frame: a 60 degree view along it."""

HEAD_WIDTH_MM = 150.0
"""Width of a head between the two tragi (just before the ears; the ears do not count).

Measured on 300 random identities of ICT-FaceKit (weights ~ N(0, 1)): 150.9 mm, standard deviation 8.6 mm.
"""

HEAD_WIDTH_PLANE_OFFSET_MM = 116.0
"""How far the plane in which that width is seen lies behind the visible surface at the head centre.

Measured on the same 300 identities, facing the camera: the ray from a camera at 700 mm to the point midway between the
tragi meets the face (the bridge or the side of the nose) 115.9 mm before that point on average, standard deviation
6.3 mm; at 500 and 1000 mm the mean is the same to 0.1 mm. Solving the rule itself for the constant with the projected
tragi (150 mm * focal / width in pixels, less the true distance) gives 114.4, 113.9 and 113.2 mm at 500, 700, 1000 mm.
One head's distance is then known to about 43 mm at 700 mm (one standard deviation): heads differ by 6 % in width.
"""

DEPTH_WINDOW_MM = 40.0
"""Side of the square around the head centre in which a depth image is read, at the head's own distance."""

LARGEST = 1e9  # of any number here; what is beyond is a mistake, and overflows sooner or later
MIN_DISTANCE_MM = 10.0
"""No head is nearer; a smaller number is a distance in metres or a mistake."""

MAX_DISTANCE_MM = 100_000.0
"""No face is farther: 100 m."""

DEPTH_KINDS, LEAST_DEPTH_BYTES = "iuf", 2  # millimetres do not fit into 8 bits


class _NothingMeasured(InputError):
    """A depth image has only holes where the head is."""


def _shown(value: object) -> str:
    """A value as Python would write it: texts in quotes, NumPy's numbers as plain ones."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def _is_number(value: object) -> bool:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return number and not (isinstance(value, int) and abs(value) > LARGEST)  # an int may be beyond any float


def _is_positive(value: Any) -> bool:
    return _is_number(value) and 0 < float(value) <= LARGEST


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
        width: of the frames that these numbers are for, in pixels; a frame of another width is refused. None: any.
        height: the same of their height.

    There is no lens distortion in it: a frame of a wide lens has to be undistorted first (cv2.undistort).

    Raises:
        ConfigError: a number is not finite, or one that must be positive is not.
    """

    fx: float
    fy: float
    cx: float | None = None
    cy: float | None = None
    nominal_distance_mm: float = 700.0
    max_value: float | None = None
    width: int | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        for name in ("fx", "fy"):
            value = getattr(self, name)
            fix = "Give the focal length in pixels."
            if not _is_positive(value):
                raise ConfigError.of(f"Camera.{name}", _shown(value), "a finite number above 0", fix)
        for name in ("cx", "cy"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and -LARGEST <= float(value) <= LARGEST):
                fix = "Give a position in pixels, or leave it out."
                raise ConfigError.of(f"Camera.{name}", _shown(value), "a finite number or None", fix)
        value = self.nominal_distance_mm
        if not _is_positive(value) or value < MIN_DISTANCE_MM:
            rule = f"a finite number, {MIN_DISTANCE_MM:g} or more"
            raise ConfigError.of("Camera.nominal_distance_mm", _shown(value), rule, "Give the distance in millimetres.")
        top = self.max_value
        if top is not None and (not _is_positive(top) or top > 65535):
            fix = "Give the largest pixel value, 1023 for 10 bits and 4095 for 12."
            raise ConfigError.of("Camera.max_value", _shown(top), "a number above 0 and up to 65535, or None", fix)
        for name in ("width", "height"):
            side = getattr(self, name)
            if side is not None and not (_is_positive(side) and side <= MAX_FRAME_SIDE_PX and side == int(side)):
                rule = f"a whole number, 1 to {MAX_FRAME_SIDE_PX}, or None"
                fix = "Give the size of the frames that the camera was calibrated with, or leave it out."
                raise ConfigError.of(f"Camera.{name}", _shown(side), rule, fix)
        for name, given in list(vars(self).items()):  # plain numbers: a float16 would overflow, JSON takes no float32
            if given is not None:
                object.__setattr__(self, name, int(given) if name in ("width", "height") else float(given))

    @classmethod
    def default_for(cls, width_px: int, height_px: int = 0) -> Camera:
        """Make the camera that is taken where none is given: a 60 degree view along the frame's longer side.

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
    def from_file(cls, path: str | PathLike[str]) -> Camera:
        """Read a camera from a JSON file whose keys are this class's arguments.

        Args:
            path: a file such as ``{"fx": 1100.0, "fy": 1100.0, "max_value": 1023}``.

        Returns:
            The camera.

        Raises:
            ConfigError: the file cannot be read, is not a JSON object, or has an unknown key or a wrong value.
        """
        import difflib  # these three would double the time that importing this package takes
        import json
        from pathlib import Path

        where = str(path)
        try:
            data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, TypeError) as error:
            got = getattr(error, "strerror", None) or str(error)
            raise ConfigError.of(where, got, "a file that can be read", "Check the path.") from error
        except (ValueError, RecursionError) as error:
            fix = 'Write an object such as {"fx": 1100.0, "fy": 1100.0}.'
            raise ConfigError.of(where, str(error), "JSON text in UTF-8", fix) from error
        known = [entry.name for entry in fields(cls)]
        if not isinstance(data, dict) or not {"fx", "fy"} <= data.keys():
            fix = 'Write an object such as {"fx": 1100.0, "fy": 1100.0}.'
            raise ConfigError.of(where, data, "a JSON object with fx and fy", fix)
        for key in data:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                fix = f"Did you mean {near[0]}?" if near else "Remove it."
                raise ConfigError.of(where, f"the unknown key {key}", f"only {', '.join(known)}", fix)
        try:
            return cls(**data)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error

    def center_px(self, size_hw: tuple[int, int]) -> tuple[float, float]:
        """Return (cx, cy) in pixels for a frame of this size, the middle where they were not given."""
        height, width = size_hw
        return (width / 2 if self.cx is None else self.cx, height / 2 if self.cy is None else self.cy)

    def check_size(self, size_hw: tuple[int, int]) -> None:
        """Refuse a frame of another size than the camera's numbers are for, where that is known.

        Raises:
            InputError: its width or height differs.
        """
        expected = (self.height or size_hw[0], self.width or size_hw[1])
        if expected != size_hw:
            got, rule = (f"{width} x {height} pixels" for height, width in (size_hw, expected))
            fix = "Give this size's camera: in a resized frame fx, fy, cx and cy are multiplied as its sides are."
            raise InputError.of("frame", got, f"{rule}, the camera's width x height", fix)


def check_head_center(head_center_xy: Any, size_hw: tuple[int, int], where: str = "head_center") -> tuple[float, float]:
    """Check a head centre against the frame.

    Args:
        head_center_xy: two numbers, x and y in pixels.
        size_hw: the frame's height and width in pixels.
        where: the argument's name, for the error's text.

    Returns:
        (x, y) as floats.

    Raises:
        InputError: it is not two finite numbers, or lies outside the frame.
    """
    height, width = size_hw
    fix = "Give the projection of the point midway between the ears, (x, y) in pixels of this frame."
    try:
        values = list(head_center_xy)
        if isinstance(head_center_xy, (str, bytes, dict, set)) or any(isinstance(v, _NO_NUMBERS) for v in values):
            raise TypeError("two numbers")
        x, y = (float(value) for value in values)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError.of(where, repr(head_center_xy), "two numbers (x, y)", fix) from error
    if not (0.0 <= x < width and 0.0 <= y < height):  # false for NaN too
        rule = f"0 <= x < {width} and 0 <= y < {height}"
        raise InputError.of(where, f"({x:g}, {y:g})", rule, fix)
    return x, y


_NO_NUMBERS = (bool, np.bool_, str, bytes)  # what float() takes all the same


def _check_distance(value: Any, where: str, fix: str) -> float:
    rule = f"{MIN_DISTANCE_MM:g} to {MAX_DISTANCE_MM:g} millimetres"
    number = _check_positive(value, where, MIN_DISTANCE_MM, rule, fix)
    if number > MAX_DISTANCE_MM:
        raise InputError.of(where, _shown(value), rule, fix)
    return number


def _check_positive(value: Any, where: str, low: float, rule: str, fix: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError.of(where, _shown(value), rule, fix) from error
    if isinstance(value, _NO_NUMBERS) or not math.isfinite(number) or number <= 0 or number < low:
        raise InputError.of(where, _shown(value), rule, fix)
    return number


def check_depth(depth: Any, size_hw: tuple[int, int]) -> NDArray[Any]:
    """Check a depth image against the frame.

    Args:
        depth: (H, W) of an integer or float dtype of 16 bits or more, host, any strides, millimetres along the optical
            axis, registered to the frame. Zero, negative, NaN and infinite pixels are holes.
        size_hw: the frame's height and width in pixels.

    Returns:
        The same array.

    Raises:
        InputError: it is not such an array.
    """
    fix = "Give the depth image in millimetres, registered to the frame, with 0 or NaN where nothing was measured."
    if not isinstance(depth, np.ndarray):
        raise InputError.of("depth", f"a {type(depth).__name__}", "a NumPy array", fix)
    if depth.shape != size_hw:
        raise InputError.of("depth", f"shape {depth.shape}", f"the frame's size {size_hw}", fix)
    if depth.dtype.kind not in DEPTH_KINDS or depth.dtype.itemsize < LEAST_DEPTH_BYTES:
        raise InputError.of("depth", f"dtype {depth.dtype}", "integers or floats of 16 bits or more", fix)
    return depth


def _window(center_px: float, half_px: float, size_px: int) -> slice:
    """Return the pixels whose centres lie within half_px of center_px, at least the one that holds it."""
    first = min(math.ceil(center_px - half_px - 0.5), math.floor(center_px))
    last = max(math.floor(center_px + half_px - 0.5), math.floor(center_px))
    return slice(max(first, 0), min(last, size_px - 1) + 1)


def distance_from_depth(
    depth: NDArray[Any],
    head_center_xy: tuple[float, float],
    camera: Camera,
    average: str = "median",
) -> float:
    """Read the head's distance from a depth image.

    The window is 40 mm wide at the head's own distance, which is not known before it is read: it starts at the nominal
    distance and is sized twice more by what it found.

    Args:
        depth: a depth image that check_depth has accepted.
        head_center_xy: (x, y) in pixels.
        camera: its focal lengths size the window; its nominal distance starts it.
        average: "median", or "mean" as in the paper's section 3.2.

    Returns:
        The distance in mm.

    Raises:
        InputError: every pixel of the window is a hole, or the distance is below 10 mm.
    """
    x, y = head_center_xy
    height, width = depth.shape
    distance_mm = camera.nominal_distance_mm
    where = f"depth around head_center ({x:g}, {y:g})"
    for _ in range(3):
        half_mm = DEPTH_WINDOW_MM / 2
        rows = _window(y, half_mm * camera.fy / distance_mm, height)
        columns = _window(x, half_mm * camera.fx / distance_mm, width)
        window = depth[rows, columns]
        valid = window[window > 0]  # NaN > 0 is false
        if valid.dtype.kind == "f":
            valid = valid[valid < np.inf]
        if valid.size == 0:
            fix = "Give distance_mm or head_width_px too, or a depth image that has measured the head."
            raise _NothingMeasured.of(where, f"{window.size} pixels, all holes", "at least one measured pixel", fix)
        distance_mm = float(np.median(valid) if average == "median" else np.mean(valid, dtype=np.float64))
        _check_distance(distance_mm, where, "Multiply a depth image in metres by 1000.")
    return distance_mm


def distance_from_head_width(head_width_px: float, camera: Camera) -> float:
    """Compute the head's distance from its width in the frame.

    D = fx * 150 mm / width - 116 mm (HEAD_WIDTH_MM, HEAD_WIDTH_PLANE_OFFSET_MM).

    Args:
        head_width_px: width of the head between the two tragi, just before the ears, in pixels.
        camera: the camera; fx counts.

    Returns:
        The distance in mm of the visible surface at the head centre.

    Raises:
        InputError: the width is not a positive number, or so large that the distance would be below 10 mm.
    """
    fix = "Give the head's width between the ears in pixels of this frame."
    width_px = _check_positive(head_width_px, "head_width_px", 0.0, "a finite number above 0", fix)
    distance_mm = camera.fx * HEAD_WIDTH_MM / width_px - HEAD_WIDTH_PLANE_OFFSET_MM
    if distance_mm < MIN_DISTANCE_MM:
        largest_px = camera.fx * HEAD_WIDTH_MM / (HEAD_WIDTH_PLANE_OFFSET_MM + MIN_DISTANCE_MM)
        rule = f"at most {largest_px:.1f} with the camera's fx of {camera.fx:g}"
        raise InputError.of("head_width_px", head_width_px, rule, fix)
    if distance_mm > MAX_DISTANCE_MM:
        rule = f"a width that a head has within {MAX_DISTANCE_MM:g} mm with the camera's fx of {camera.fx:g}"
        raise InputError.of("head_width_px", head_width_px, rule, fix)
    return distance_mm


def decide_distance(
    head_center_xy: tuple[float, float],
    size_hw: tuple[int, int],
    camera: Camera,
    *,
    distance_mm: float | None = None,
    depth: NDArray[Any] | None = None,
    head_width_px: float | None = None,
    average: str = "median",
) -> tuple[float, str]:
    """Decide the head's distance by the first source that was given.

    The order is distance_mm, depth, head_width_px, the camera's nominal distance. A depth image that has only holes
    around the head centre does not count where head_width_px is given.

    Args:
        head_center_xy: (x, y) in pixels, inside the frame.
        size_hw: the frame's height and width in pixels.
        camera: the camera.
        distance_mm: the distance itself.
        depth: a depth image of the frame's size in mm; see check_depth.
        head_width_px: the head's width between the ears in pixels.
        average: how the depth image's window is averaged, "median" or "mean".

    Returns:
        (distance in mm, source): the source is "distance_mm", "depth", "head_width_px" or "nominal".

    Raises:
        InputError: the source that counts breaks its rule.
    """
    if distance_mm is not None:
        fix = "Give the distance of the face from the camera in millimetres, or leave it out."
        return _check_distance(distance_mm, "distance_mm", fix), "distance_mm"
    if depth is not None:
        depth = check_depth(depth, size_hw)
        try:
            return distance_from_depth(depth, head_center_xy, camera, average), "depth"
        except _NothingMeasured as error:
            if head_width_px is None:
                raise InputError(str(error)) from error  # its own class is nobody's business
    if head_width_px is not None:
        return distance_from_head_width(head_width_px, camera), "head_width_px"
    return camera.nominal_distance_mm, "nominal"
