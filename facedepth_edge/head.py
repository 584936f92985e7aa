# SPDX-License-Identifier: Apache-2.0
"""Where the head is: checks its centre in the frame, and decides how far away it is.

Convention: as for Camera. A head's distance is that of the surface which the camera sees around the head centre: the
median of z over a window of DEPTH_WINDOW_MM, which training and a depth image give. The point midway between the ears
lies behind it, see distance_from_head_point.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from facedepth_edge.camera import MAX_DISTANCE_MM, MIN_DISTANCE_MM, Camera
from facedepth_edge.checks import check_point, check_positive, is_number, shown
from facedepth_edge.errors import InputError, UnmeasuredHead

if TYPE_CHECKING:
    from numpy.typing import NDArray

DistanceSource = Literal["distance_mm", "depth", "head_width_px", "nominal", "held"]
"""Where a head's distance comes from, as results say it; the first three are named after the argument that gives it."""
GIVEN: Final = "distance_mm"
FROM_DEPTH: Final = "depth"  # read from a depth image
FROM_WIDTH: Final = "head_width_px"
NOMINAL: Final = "nominal"  # the camera's: nobody said anything
HELD: Final = "held"  # a stream's last one, for a frame that brought none

HEAD_WIDTH_MM = 147.0
"""Width of a head between the two tragi (just before the ears; the ears do not count).

Measured on 300 random identities of ICT-FaceKit (weights ~ N(0, 1)): 147.4 mm, standard deviation 8.7 mm. This and the
next two by `python -m benchmarks.head_distance --head ict_facekit.npz`.
"""

EARS_BEHIND_FACE_MM = 102.0
"""How far the point between the tragi lies behind the head's distance, on a head that faces the camera.

Measured on the same identities with that point at 700 mm: 102.0 mm, standard deviation 7.1 mm; from 600 to 1100 mm it
is the same to 1 mm. One head's distance is then known to about 45 mm at 700 mm (one standard deviation): heads differ
by 6 % in width.
"""

BEHIND_BY_YAW_MM = (
    (0.0, EARS_BEHIND_FACE_MM),
    *((10.0, 95.0), (20.0, 91.0), (30.0, 91.0), (40.0, 89.0), (60.0, 80.0), (90.0, 73.0)),
)  # fmt: skip
"""The same by the head's yaw in degrees, standard deviation 4 to 7 mm: beside the nose the face is flatter."""

DEPTH_WINDOW_MM = 40.0
"""Side of the square around the head centre in which a depth image is read, at the head's own distance."""

DEPTH_KINDS, LEAST_DEPTH_BYTES = "iuf", 2  # millimetres do not fit into 8 bits


def check_head_center(head_center_xy: Any, size_hw: tuple[int, int]) -> tuple[float, float]:
    """Check a head centre against the frame.

    Args:
        head_center_xy: two numbers, x and y in pixels.
        size_hw: the frame's height and width in pixels.

    Returns:
        (x, y) as floats.

    Raises:
        InputError: it is not two finite numbers, or lies outside the frame.
    """
    height, width = size_hw
    fix = "Give the projection of the point midway between the ears, (x, y) in pixels of this frame."
    x, y = check_point(head_center_xy, "head_center", fix)
    if not (0.0 <= x < width and 0.0 <= y < height):  # false for NaN too
        rule = f"0 <= x < {width} and 0 <= y < {height}"
        fix = "Leave this head out: its centre, midway between the ears, must be in the frame."
        raise InputError.of("head_center", f"({x:g}, {y:g})", rule, fix)
    return x, y


def _check_distance(value: Any, where: str, fix: str) -> float:
    rule = f"{MIN_DISTANCE_MM:g} to {MAX_DISTANCE_MM:g} millimetres"
    number = check_positive(value, where, MIN_DISTANCE_MM, rule, fix)
    if number > MAX_DISTANCE_MM:
        raise InputError.of(where, shown(value), rule, fix)
    return number


def check_depth(depth: Any, size_hw: tuple[int, int]) -> NDArray[Any]:
    """Check a depth image against the frame.

    Args:
        depth: (H, W) of an integer or float dtype of 16 bits or more, host, any strides, millimetres along the optical
            axis, registered to the frame. Zero, negative, NaN and infinite pixels are holes, and so are those that a
            numpy.ma array masks.
        size_hw: the frame's height and width in pixels.

    Returns:
        The same array; of a subclass a plain one.

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
    if type(depth) is not np.ndarray:
        depth = np.asarray(np.ma.filled(depth, 0))
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
        UnmeasuredHead: every pixel of the window is a hole.
        InputError: the distance is below 10 mm.
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
            raise UnmeasuredHead.of(where, f"{window.size} pixels, all holes", "at least one measured pixel", fix)
        distance_mm = float(np.median(valid) if average == "median" else np.mean(valid, dtype=np.float64))
        _check_distance(distance_mm, where, "Multiply a depth image in metres by 1000.")
    return distance_mm


def distance_from_head_width(head_width_px: float, camera: Camera) -> float:
    """Compute the head's distance from its width in the frame.

    D = fx * 147 mm / width - 102 mm (HEAD_WIDTH_MM, EARS_BEHIND_FACE_MM). A turned head looks narrower by about
    the cosine of its yaw, and so farther: by 6 % turned by 20 degrees, by 32 % turned by 40. A box around
    hair and ears is wider, which makes the head nearer.

    Args:
        head_width_px: width of the head between the two tragi, just before the ears, in pixels, facing the camera.
        camera: the camera; fx counts.

    Returns:
        The distance in mm of the visible surface at the head centre.

    Raises:
        InputError: the width is not a positive number, or so large that the distance would be below 10 mm.
    """
    fix = "Give the width between the ears of a head that faces the camera, in pixels of this frame."
    width_px = check_positive(head_width_px, "head_width_px", 0.0, "a finite number above 0", fix)
    distance_mm = camera.fx * HEAD_WIDTH_MM / width_px - EARS_BEHIND_FACE_MM
    if distance_mm < MIN_DISTANCE_MM:
        largest_px = camera.fx * HEAD_WIDTH_MM / (EARS_BEHIND_FACE_MM + MIN_DISTANCE_MM)
        rule = f"at most {largest_px:.1f} with the camera's fx of {camera.fx:g}"
        raise InputError.of("head_width_px", head_width_px, rule, fix)
    if distance_mm > MAX_DISTANCE_MM:
        rule = f"a width that a head has within {MAX_DISTANCE_MM:g} mm with the camera's fx of {camera.fx:g}"
        raise InputError.of("head_width_px", head_width_px, rule, fix)
    return distance_mm


def distance_from_head_point(
    point_z_mm: float, *, yaw_deg: float = 0.0, ray_xy: tuple[float, float] = (0.0, 0.0)
) -> float:
    """Return the distance that `predict` takes, of a head whose 3-D place is known, as from a pose estimate.

    Args:
        point_z_mm: z along the optical axis of the point midway between the ears (tragi), in mm.
        yaw_deg: how far the head is turned to either side, 0 to 90 degrees from a head that looks into the camera.
        ray_xy: x / z and y / z of that point. It lies behind the surface along the ray, and so by less along the axis:
            without it, a head that is seen 30 degrees beside the axis comes out 10 to 14 mm too near.

    Returns:
        The z in mm of the face's surface around the head centre: point_z_mm less BEHIND_BY_YAW_MM, between its angles
        linearly, over the length of (x / z, y / z, 1).

    Raises:
        InputError: the angle is not a number from -90 to 90, ray_xy is not two finite numbers, or the distance is below
            10 mm.
    """
    if not (is_number(yaw_deg) and -90.0 <= float(yaw_deg) <= 90.0):
        fix = "Give the head's yaw in degrees; turned by more there is no face to see."
        raise InputError.of("yaw_deg", shown(yaw_deg), "a number from -90 to 90", fix)
    fix = "Give x / z and y / z of the point between the ears, or leave it out for a head on the optical axis."
    ray = check_point(ray_xy, "ray_xy", fix)
    if not all(math.isfinite(value) for value in ray):
        raise InputError.of("ray_xy", repr(ray), "two finite numbers (x / z, y / z)", fix)
    behind_mm = point_behind_face_mm(float(yaw_deg)) / math.hypot(1.0, *ray)
    fix = "Give the z of the point between the ears in millimetres."
    point_mm = check_positive(point_z_mm, "point_z_mm", 0.0, "a finite number above 0", fix)
    return _check_distance(point_mm - behind_mm, "point_z_mm less the head's depth", fix)


def point_behind_face_mm(yaw_deg: float) -> float:
    """Return how far the point between the ears lies behind the face's surface around the head centre, in mm.

    Args:
        yaw_deg: how far the head is turned to either side; BEHIND_BY_YAW_MM, between its angles linearly.
    """
    angles, depths = zip(*BEHIND_BY_YAW_MM, strict=True)
    return float(np.interp(abs(yaw_deg), angles, depths))


def decide_distance(
    head_center_xy: tuple[float, float],
    size_hw: tuple[int, int],
    camera: Camera,
    *,
    distance_mm: float | None = None,
    depth: NDArray[Any] | None = None,
    head_width_px: float | None = None,
    average: str = "median",
) -> tuple[float, DistanceSource]:
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
        UnmeasuredHead: the depth image has only holes around the head centre, and no head_width_px was given.
        InputError: the source that counts breaks its rule.
    """
    if distance_mm is not None:
        fix = "Give the z of the face's surface around the head centre in millimetres, or leave it out."
        return _check_distance(distance_mm, "distance_mm", fix), GIVEN
    if depth is not None:
        depth = check_depth(depth, size_hw)
        try:
            return distance_from_depth(depth, head_center_xy, camera, average), FROM_DEPTH
        except UnmeasuredHead:
            if head_width_px is None:
                raise
    if head_width_px is not None:
        return distance_from_head_width(head_width_px, camera), FROM_WIDTH
    return camera.nominal_distance_mm, NOMINAL
