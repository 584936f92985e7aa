# SPDX-License-Identifier: Apache-2.0
"""Depth along the ray to the head becomes depth along the optical axis: the camera's geometry, in float64."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge import Camera, ConfigError, EdgeDepth, _native
from facedepth_edge.box import box_from_head
from facedepth_edge.ray_depth import along_axis, along_axis_with_numpy, ray_of
from tests.oracles.face_crop import crop_levels
from tests.tiny_model import tiny_outputs

HW = (480, 640)
REACH = (320.0, 320.0)


def along_ray(z_mm: np.ndarray, u: np.ndarray, v: np.ndarray, ray_xy: tuple[float, float]) -> np.ndarray:
    """Depth that a camera turned along the ray measures of a point at depth z_mm in direction (u, v, 1)."""
    a, b = ray_xy
    return z_mm * (u * a + v * b + 1) / np.sqrt(a * a + b * b + 1)


@pytest.mark.parametrize("center", [(90.0, 400.0), (600.5, 30.25), (330.0, 260.0)])
@pytest.mark.parametrize("distance_mm", [400.0, 1200.0])
@pytest.mark.parametrize("camera", [Camera(520.0, 560.0), Camera(520.0, 560.0, 300.0, 200.0)])
def test_a_turned_camera_measures_the_same_points(
    center: tuple[float, float], distance_mm: float, camera: Camera
) -> None:
    z = np.random.default_rng(1).uniform(-0.5, 0.5, (96, 80)).astype(np.float32)
    ray = ray_of(center, camera, HW)
    found = distance_mm + 160.0 * along_axis(z, ray, distance_mm, 160.0, REACH).astype(np.float64)
    box = box_from_head(center, distance_mm, (camera.fx, camera.fy), REACH)
    cx, cy = camera.center_px(HW)
    u = (box.x0 + (np.arange(80) + 0.5) / 80 * box.width - cx) / camera.fx
    v = (box.y0 + (np.arange(96) + 0.5) / 96 * box.height - cy)[:, None] / camera.fy
    middle = along_ray(np.array(distance_mm), *map(np.array, ray), ray)
    np.testing.assert_allclose(along_ray(found, u, v, ray), middle + 160.0 * z, atol=2e-3)


def test_native_and_numpy_agree_and_a_strided_map_is_taken() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        z = rng.normal(0, 0.5, (33, 70)).astype(np.float32)
        z[3, 4] = np.nan
        numbers = (tuple(rng.uniform(-0.6, 0.6, 2).tolist()), float(rng.uniform(60, 1500)), 160.0, (320.0, 280.0))
        expected = along_axis_with_numpy(z, *numbers)
        np.testing.assert_allclose(along_axis(z, *numbers), expected, rtol=2e-5, atol=2e-6)
        np.testing.assert_allclose(along_axis(z[:, ::2], *numbers), along_axis_with_numpy(z[:, ::2], *numbers))
        for same in (z.copy(), np.repeat(z, 2, axis=1)[:, ::2]):
            assert along_axis(same, *numbers, out=same) is same
            np.testing.assert_allclose(same, expected, rtol=2e-5, atol=2e-6)
        own = z.copy()
        _native.depth_along_axis(own, own, *numbers[0], *numbers[1:3], *numbers[3])
        np.testing.assert_array_equal(own, along_axis(z, *numbers))
    with pytest.raises(ConfigError, match=r"relative: got shape \(33, 69\)"):
        _native.depth_along_axis(np.empty((33, 69), np.float32), z, 0.1, 0.1, 700.0, 160.0, 320.0, 320.0)


def test_on_the_axis_nothing_changes() -> None:
    z = np.zeros((4, 4), np.float32)
    assert along_axis(z, (0.0, 0.0), 700.0, 160.0, REACH) is z


def test_a_head_nearer_than_its_box_is_wide_gives_numbers() -> None:
    z = np.random.default_rng(2).uniform(-1, 1, (96, 96)).astype(np.float32)
    assert np.isfinite(along_axis(z, (0.8, -0.6), 30.0, 160.0, REACH)).all()


@pytest.mark.parametrize("along", ["axis", "ray"])
def test_without_a_mask_output_the_head_is_where_the_networks_own_depth_is_below_the_threshold(
    along: str, tiny_artifact: Path, tmp_path: Path, frame: np.ndarray
) -> None:
    folder = Path(shutil.copytree(tiny_artifact, tmp_path / along))
    spec = json.loads((folder / "spec.json").read_text())
    spec["depth_scale"]["along"] = along
    del spec["outputs"]["mask"]
    spec["depth_mask_threshold"] = 0.1
    (folder / "spec.json").write_text(json.dumps(spec))
    with EdgeDepth(folder, backend="onnxruntime", camera=Camera(400.0, 420.0, 150.0, 200.0)) as model:
        result = model.predict(frame, (250.4, 170.3), distance_mm=650.0)
    z = tiny_outputs((crop_levels(frame, result.box) / 127.5 - 1)[None, None])["depth"][0, 0]
    clear = np.abs(z - 0.1) > 0.01
    np.testing.assert_array_equal(result.mask[clear], z[clear] < 0.1)
    assert 0.05 < result.mask.mean() < 0.95
    where = " along the ray" if along == "ray" else ""
    assert result.mask_source == f"relative depth{where} below 0.1"
    assert ((result.relative[clear] < 0.1) != result.mask[clear]).any() == (along == "ray")


def test_the_whole_way_of_a_model_that_answers_along_the_ray(
    tiny_artifact: Path, tmp_path: Path, frame: np.ndarray
) -> None:
    folder = Path(shutil.copytree(tiny_artifact, tmp_path / "ray"))
    spec = json.loads((folder / "spec.json").read_text())
    spec["depth_scale"]["along"] = "ray"
    (folder / "spec.json").write_text(json.dumps(spec))
    camera = Camera(400.0, 420.0, 150.0, 200.0)
    center = (250.4, 170.3)
    with EdgeDepth(folder, backend="onnxruntime", camera=camera) as model:
        result = model.predict(frame, center, distance_mm=650.0)
        on_axis = model.predict(frame, (150.0, 200.0), distance_mm=650.0)
    ray = ray_of(center, camera, frame.shape[:2])
    assert ray == pytest.approx((0.251, -29.7 / 420))
    z = tiny_outputs((crop_levels(frame, result.box) / 127.5 - 1)[None, None])["depth"][0, 0]
    expected = along_axis(z.astype(np.float32), ray, 650.0, 160.0, REACH)
    inside = np.abs(expected) < 0.99
    assert inside.mean() > 0.5
    np.testing.assert_allclose(result.relative[inside], expected[inside], atol=0.01)
    np.testing.assert_allclose(result.depth_mm, 650 + 160 * result.relative, atol=1e-3)
    assert np.abs(result.relative - np.clip(z, -1, 1)).max() > 0.1
    z = tiny_outputs((crop_levels(frame, on_axis.box) / 127.5 - 1)[None, None])["depth"][0, 0]
    np.testing.assert_allclose(on_axis.relative, np.clip(z, -1, 1), atol=0.01)
