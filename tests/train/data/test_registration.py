# SPDX-License-Identifier: Apache-2.0
"""Carrying depth into another view: against a point-by-point float64 oracle, against geometry, and with a z-buffer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.train.data.raw_sets import BIWI_DEPTH, BIWI_RGB, Pinhole, biwi_ball, turn_y
from train.data.registration import Intrinsics, register_depth


def intrinsics(camera: Pinhole) -> Intrinsics:
    return Intrinsics((camera.focal_px, camera.focal_px), camera.center_xy, camera.size_hw)


def register_slowly(
    depth: np.ndarray, camera: Intrinsics, rotation: np.ndarray, translation: np.ndarray, view: Intrinsics
) -> np.ndarray:
    """One point at a time, in plain float64: a square of 1.2 times the pixel's own size, the nearest point wins."""
    nearest = np.full(view.size_hw, math.inf)
    for row in range(depth.shape[0]):
        for column in range(depth.shape[1]):
            z = float(depth[row, column])
            if z == 0:
                continue
            point = np.array([(column + 0.5 - camera.center_xy_px[0]) / camera.focal_xy_px[0] * z,
                              (row + 0.5 - camera.center_xy_px[1]) / camera.focal_xy_px[1] * z, z])  # fmt: skip
            x, y, far = rotation @ point + translation
            if far <= 1:
                continue
            u = view.focal_xy_px[0] * x / far + view.center_xy_px[0]
            v = view.focal_xy_px[1] * y / far + view.center_xy_px[1]
            half_u = 0.6 * view.focal_xy_px[0] / camera.focal_xy_px[0] * z / far
            half_v = 0.6 * view.focal_xy_px[1] / camera.focal_xy_px[1] * z / far
            for j in range(view.size_hw[0]):
                for i in range(view.size_hw[1]):
                    covered_u = abs(i + 0.5 - u) <= half_u or math.floor(u) == i
                    covered_v = abs(j + 0.5 - v) <= half_v or math.floor(v) == j
                    if covered_u and covered_v:
                        nearest[j, i] = min(nearest[j, i], far)
    return np.where(np.isfinite(nearest), np.round(np.where(np.isfinite(nearest), nearest, 0)), 0).astype(np.uint16)


@pytest.mark.parametrize(
    ("focal", "shift"), [(16.0, (-25.0, 3.0, 4.0)), (33.0, (60.0, -20.0, -10.0)), (9.0, (0, 0, 0))]
)
def test_against_the_oracle(focal: float, shift: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(2)
    depth = rng.integers(500, 900, (11, 13)).astype(np.uint16)
    depth[rng.random(depth.shape) < 0.2] = 0
    camera = Intrinsics((18.0, 17.0), (6.3, 5.1), (11, 13))
    view = Intrinsics((focal, focal * 1.1), (7.0, 5.9), (12, 15))
    rotation = turn_y(3.0)
    got = register_depth(depth, camera, rotation, np.array(shift), view)
    expected = register_slowly(depth, camera, rotation, np.array(shift, float), view)
    assert (expected > 0).mean() > 0.2
    assert (expected == 0).any()
    np.testing.assert_array_equal(got, expected)


def test_the_same_view_keeps_every_pixel() -> None:
    rng = np.random.default_rng(3)
    depth = rng.integers(0, 60_000, (48, 64)).astype(np.uint16)
    depth[rng.random(depth.shape) < 0.3] = 0
    camera = Intrinsics((365.0, 364.0), (31.7, 24.2), (48, 64))
    np.testing.assert_array_equal(register_depth(depth, camera, np.eye(3), np.zeros(3), camera), depth)


def test_a_ball_lands_where_the_other_camera_sees_it() -> None:
    ball = biwi_ball(1, 3)
    z, _ = BIWI_DEPTH.see(ball)
    depth = np.round(z).astype(np.uint16)
    got = register_depth(
        depth, intrinsics(BIWI_DEPTH), BIWI_RGB.rotation, BIWI_RGB.translation_mm, intrinsics(BIWI_RGB)
    ).astype(float)
    expected, hit = BIWI_RGB.see(ball)
    measured = got > 0
    assert measured.mean() > 0.75  # the RGB camera sees more to all sides: (129 / 144)^2 is 0.80
    error = np.abs(got - expected)[measured]
    assert np.median(error) < 1.0
    assert np.percentile(error, 95) < 12  # silhouettes are a pixel wide
    inside = measured & hit & (expected < ball[2] - 40)
    assert np.abs(got - expected)[inside].max() < 12  # a pixel is 7 mm wide, the slope up to 2
    unregistered = np.abs(depth.astype(float) - expected)
    assert (unregistered[measured] > 100).sum() > 5 * (error > 100).sum()  # without it the test can fail


def test_the_nearer_surface_hides_the_farther() -> None:
    depth = np.full((40, 60), 2000, np.uint16)
    depth[10:30, 20:40] = 600
    camera = Intrinsics((100.0, 100.0), (30.0, 20.0), (40, 60))
    got = register_depth(depth, camera, np.eye(3), np.array([30.0, 0.0, 0.0]), camera)
    # 30 mm are 5 pixels at 600 mm and 1.5 at 2000 mm: the square covers wall on its right, a shadow opens on its left.
    assert (got[11:29, 25:45] == 600).all()
    assert (got[11:29, 23:25] == 0).all()
    assert (got[11:29, 46:] == 2000).all()
    assert (got[:9, 3:] == 2000).all()
    assert (got[:, 0] == 0).all()


def test_points_behind_the_view_are_dropped() -> None:
    depth = np.full((4, 4), 100, np.uint16)
    camera = Intrinsics((10.0, 10.0), (2.0, 2.0), (4, 4))
    assert not register_depth(depth, camera, np.eye(3), np.array([0.0, 0.0, -150.0]), camera).any()
    assert not register_depth(np.zeros((4, 4), np.uint16), camera, np.eye(3), np.zeros(3), camera).any()


def test_projecting_and_lifting_are_inverse() -> None:
    camera = Intrinsics((500.0, 510.0), (321.0, 239.5), (480, 640))
    point = camera.lift((100.25, 400.5), 870.0)
    assert point[2] == 870.0
    assert camera.project(point) == pytest.approx((100.25, 400.5), abs=1e-9)
    assert camera.sees((0.0, 479.9))
    assert not camera.sees((640.0, 10.0))
    assert not camera.sees((float("nan"), 10.0))
