# SPDX-License-Identifier: Apache-2.0
"""The head's centre, and the rule that decides its distance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from facedepth_edge.camera import Camera
from facedepth_edge.errors import InputError, UnmeasuredHead
from facedepth_edge.head import (
    EARS_BEHIND_FACE_MM,
    HEAD_WIDTH_MM,
    check_depth,
    check_head_center,
    decide_distance,
    distance_from_depth,
    distance_from_head_point,
)

CAMERA = Camera(600.0, 580.0)
SIZE_HW = (240, 320)
CENTER = (160.5, 120.5)
NAN, INF = math.nan, math.inf


def window_values(depth: np.ndarray, center: tuple[float, float], camera: Camera, distance_mm: float) -> np.ndarray:
    """Return the pixels whose centres lie in the 40 mm window at a distance, one by one."""
    values = []
    for row in range(depth.shape[0]):
        for column in range(depth.shape[1]):
            across_mm = (column + 0.5 - center[0]) * distance_mm / camera.fx
            down_mm = (row + 0.5 - center[1]) * distance_mm / camera.fy
            if abs(across_mm) <= 20 and abs(down_mm) <= 20:
                values.append(depth[row, column])
    return np.array(values)


@pytest.mark.parametrize("center", [(-0.1, 5), (5, -0.1), (320, 5), (5, 240), (NAN, 5), (5, INF), (-1e300, 0)])
def test_head_center_outside(center: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"head_center: got .*expected 0 <= x < 320 and 0 <= y < 240"):
        check_head_center(center, SIZE_HW)


@pytest.mark.parametrize(
    "center",
    [
        None,
        5,
        (1,),
        (1, 2, 3),
        "ab",
        "12",
        b"12",
        ("a", "b"),
        ("640", "360"),
        (True, 2),
        {640: 1, 360: 2},
        [None, 1],
        (1, (2, 3)),
    ],
)
def test_head_center_of_another_kind(center: Any) -> None:
    with pytest.raises(InputError, match=r"head_center: got .*expected two numbers \(x, y\)"):
        check_head_center(center, SIZE_HW)


@pytest.mark.parametrize("center", [(0, 0), (319.99, 239.99), np.array([3.5, 4.5]), [np.float32(1), np.int64(2)]])
def test_head_center_inside(center: Any) -> None:
    assert check_head_center(center, SIZE_HW) == (float(center[0]), float(center[1]))


def test_the_first_source_counts() -> None:
    depth = np.full(SIZE_HW, 810, np.uint16)
    rule = {"distance_mm": 640.0, "depth": depth, "head_width_px": 120.0}
    assert decide_distance(CENTER, SIZE_HW, CAMERA, **rule) == (640.0, "distance_mm")
    del rule["distance_mm"]
    assert decide_distance(CENTER, SIZE_HW, CAMERA, **rule) == (810.0, "depth")
    del rule["depth"]
    expected = 600.0 * HEAD_WIDTH_MM / 120.0 - EARS_BEHIND_FACE_MM
    assert decide_distance(CENTER, SIZE_HW, CAMERA, **rule) == (pytest.approx(expected), "head_width_px")
    assert decide_distance(CENTER, SIZE_HW, CAMERA) == (700.0, "nominal")


def test_a_text_is_shown_in_quotes() -> None:
    with pytest.raises(InputError, match=r"distance_mm: got 0\.5, expected"):
        decide_distance(CENTER, SIZE_HW, CAMERA, distance_mm=np.float32(0.5))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="distance_mm: got '700', expected"):
        decide_distance(CENTER, SIZE_HW, CAMERA, distance_mm="700")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"head_center: got \('640', '360'\), expected"):
        check_head_center(("640", "360"), SIZE_HW)


def test_the_head_width_counts_where_the_depth_image_has_only_holes() -> None:
    holes = np.zeros(SIZE_HW, np.uint16)
    expected = decide_distance(CENTER, SIZE_HW, CAMERA, head_width_px=120.0)
    assert decide_distance(CENTER, SIZE_HW, CAMERA, depth=holes, head_width_px=120.0) == expected
    with pytest.raises(InputError) as told:
        decide_distance(CENTER, SIZE_HW, CAMERA, depth=holes)
    assert told.type is UnmeasuredHead
    metres = np.full(SIZE_HW, 0.7, np.float32)
    with pytest.raises(InputError, match="Multiply a depth image in metres by 1000"):  # a mistake stays one
        decide_distance(CENTER, SIZE_HW, CAMERA, depth=metres, head_width_px=120.0)


def test_masked_pixels_are_holes() -> None:
    depth = np.ma.array(np.full(SIZE_HW, 650, np.uint16))
    depth[:, :] = 3000
    depth[:, 100:] = 700
    depth[:, :100] = np.ma.masked
    assert decide_distance((100.0, 100.0), SIZE_HW, CAMERA, depth=depth) == (700.0, "depth")
    assert not isinstance(check_depth(depth, SIZE_HW), np.ma.MaskedArray)
    assert depth.data[0, 0] == 3000  # the caller's stays as it is
    with pytest.raises(UnmeasuredHead):
        decide_distance((20.0, 100.0), SIZE_HW, CAMERA, depth=depth)
    for kind in (np.float32, np.int32):
        some = np.ma.masked_greater(np.where(depth.mask, 3000, 700).astype(kind), 2000)
        assert decide_distance((100.0, 100.0), SIZE_HW, CAMERA, depth=some, average="mean") == (700.0, "depth")


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_matrix_is_taken_as_an_array() -> None:
    depth = np.matrix(np.full(SIZE_HW, 700.0))
    depth[:, :150] = NAN
    for average in ("median", "mean"):
        assert decide_distance(CENTER, SIZE_HW, CAMERA, depth=depth, average=average) == (700.0, "depth")


def test_float16_depth() -> None:
    depth = np.full(SIZE_HW, 700, np.float16)
    depth[:, :150] = NAN
    assert decide_distance(CENTER, SIZE_HW, CAMERA, depth=depth) == (700.0, "depth")


def test_head_width_of_a_head_at_a_known_distance() -> None:
    """Two tragi 147 mm apart, 102 mm behind a surface at 700 mm, are seen fx * 147 / 802 wide."""
    distance, _ = decide_distance(CENTER, SIZE_HW, CAMERA, head_width_px=600.0 * 147 / (700 + 102))
    assert distance == pytest.approx(700.0)


@pytest.mark.parametrize(
    ("yaw_deg", "behind_mm"), [(0, 102), (-10, 95), (5, 98.5), (np.float32(40), 89), (50, 84.5), (-90, 73)]
)
def test_a_pose_estimates_point_lies_behind_the_surface(yaw_deg: float, behind_mm: float) -> None:
    assert distance_from_head_point(700.0, yaw_deg=yaw_deg) == pytest.approx(700 - behind_mm)


def test_beside_the_axis_the_point_lies_behind_along_the_ray() -> None:
    beside = math.tan(math.radians(30))
    for ray_xy in ((beside, 0.0), (0.0, -beside), np.array([beside, 0.0])):
        found = distance_from_head_point(700.0, ray_xy=ray_xy)
        assert found == pytest.approx(700 - 102 * math.cos(math.radians(30)))
    for value in ((NAN, 0.0), (0.0, INF), 0.5, (1.0, 2.0, 3.0), ("0", "0"), None):
        with pytest.raises(InputError, match=r"^ray_xy: got .*, expected two .*numbers .*Give x / z and y / z"):
            distance_from_head_point(700.0, ray_xy=value)


def test_a_point_that_is_none_is_refused() -> None:
    for value in (0, NAN, "700", True):
        with pytest.raises(InputError, match="point_z_mm: got"):
            distance_from_head_point(value)
    with pytest.raises(InputError, match=r"point_z_mm less the head's depth: got -101\.3, expected 10 to 100000"):
        distance_from_head_point(0.7)
    for value in (NAN, 91, "0", None):
        with pytest.raises(InputError, match="yaw_deg: got"):
            distance_from_head_point(700.0, yaw_deg=value)


@pytest.mark.parametrize("value", [0, -5, NAN, INF, "700", b"700", True, 0.7, None])
def test_distance_refused(value: Any) -> None:
    if value is None:
        assert decide_distance(CENTER, SIZE_HW, CAMERA, distance_mm=value) == (700.0, "nominal")
        return
    with pytest.raises(InputError, match=r"distance_mm: got .*expected 10 to 100000 millimetres"):
        decide_distance(CENTER, SIZE_HW, CAMERA, distance_mm=value)


@pytest.mark.parametrize("value", [0, -5, NAN, INF, "90", 2000.0])
def test_head_width_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"head_width_px: got"):
        decide_distance(CENTER, SIZE_HW, CAMERA, head_width_px=value)


@pytest.mark.parametrize("dtype", [np.uint16, ">u2", np.int16, np.int32, np.uint32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("true_mm", [300, 700, 1600])
def test_depth_window_is_40_mm_at_the_heads_distance(true_mm: int, dtype: Any) -> None:
    """A face that slopes: the answer depends on the window's size, which follows the distance that it found."""
    rng = np.random.default_rng(true_mm)
    y, x = np.mgrid[:240, :320]
    depth = (true_mm + np.hypot(x - 160, y - 120) * 1.5 + rng.integers(0, 9, SIZE_HW)).astype(dtype)
    depth[rng.random(SIZE_HW) < 0.2] = 0
    distance = 700.0
    for _ in range(3):
        values = window_values(depth, CENTER, CAMERA, distance)
        distance = float(np.median(values[values > 0]))
    assert distance_from_depth(depth, CENTER, CAMERA) == distance
    whole_frame = float(np.median(depth[depth > 0]))
    assert abs(distance - whole_frame) > 20


def test_mean_is_an_option() -> None:
    depth = np.full(SIZE_HW, 700.0, np.float32)
    depth[:, :160] = 760.0
    values = window_values(depth, CENTER, CAMERA, 730.0)
    mean = distance_from_depth(depth, CENTER, CAMERA, "mean")
    assert mean == pytest.approx(float(values.mean()), abs=2)
    assert distance_from_depth(depth, CENTER, CAMERA) in (700.0, 760.0)


@pytest.mark.parametrize("hole", [0.0, -1.0, NAN, INF, -INF])
def test_holes_do_not_count(hole: float) -> None:
    depth = np.full(SIZE_HW, 650.0, np.float32)
    depth[110:131, 150:160] = hole
    assert decide_distance(CENTER, SIZE_HW, CAMERA, depth=depth) == (650.0, "depth")


@pytest.mark.parametrize("hole", [0.0, NAN, -3.0, INF])
def test_only_holes(hole: float) -> None:
    depth = np.full(SIZE_HW, 900.0, np.float64)
    depth[60:180, 80:240] = hole
    with pytest.raises(UnmeasuredHead, match=r"depth around head_center \(160.5, 120.5\): got \d+ pixels, all holes"):
        decide_distance(CENTER, SIZE_HW, CAMERA, depth=depth)


@pytest.mark.parametrize("center", [(0.0, 0.0), (319.9, 239.9), (0.2, 200.3)])
def test_window_at_the_border(center: tuple[float, float]) -> None:
    depth = np.full(SIZE_HW, 500, np.uint16)
    assert decide_distance(center, SIZE_HW, CAMERA, depth=depth) == (500.0, "depth")


def test_window_smaller_than_a_pixel() -> None:
    depth = np.full(SIZE_HW, 60_000, np.uint16)
    depth[120, 160] = 50_000
    assert decide_distance(CENTER, SIZE_HW, Camera(30, 30, nominal_distance_mm=50_000), depth=depth)[0] == 50_000


@pytest.mark.parametrize(
    ("depth", "text"),
    [
        (np.ones((240, 319), np.uint16), r"shape \(240, 319\), expected the frame's size"),
        (np.ones((240, 320, 1), np.uint16), r"shape \(240, 320, 1\)"),
        (np.ones((240, 320), np.uint8), "dtype uint8, expected integers or floats of 16 bits or more"),
        (np.ones((240, 320), np.bool_), "dtype bool"),
        (np.ones((240, 320), np.complex64), "dtype complex64"),
        ([[1.0]], "a list, expected a NumPy array"),
        (np.full((240, 320), 0.7, np.float32), "got 0.69.*Multiply a depth image in metres by 1000"),
    ],
)
def test_depth_refused(depth: Any, text: str) -> None:
    with pytest.raises(InputError, match=rf"^depth.*{text}"):
        decide_distance(CENTER, SIZE_HW, CAMERA, depth=depth)
