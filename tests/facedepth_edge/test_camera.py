# SPDX-License-Identifier: Apache-2.0
"""Intrinsics, given, assumed, read from a file or of OpenCV's calibration."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facedepth_edge.api import EdgeDepth
from facedepth_edge.camera import Camera
from facedepth_edge.errors import ConfigError, InputError

CAMERA = Camera(600.0, 580.0)
SIZE_HW = (240, 320)
CENTER = (160.5, 120.5)
NAN, INF = math.nan, math.inf


def test_default_camera_sees_60_degrees() -> None:
    camera = Camera.default_for(1280)
    assert camera.fx == camera.fy == pytest.approx(0.87 * 1280)
    assert 2 * math.degrees(math.atan(640 / camera.fx)) == pytest.approx(60, abs=0.3)
    assert camera.center_px((720, 1280)) == (640.0, 360.0)
    assert camera.nominal_distance_mm == 700.0


def test_the_default_camera_is_the_same_turned_upright() -> None:
    assert Camera.default_for(720, 1280) == Camera.default_for(1280, 720) == Camera.default_for(1280)


def test_given_axis_is_kept() -> None:
    assert Camera(500, 500, cx=100.5, cy=90).center_px((240, 320)) == (100.5, 90)


@pytest.mark.parametrize("field", ["fx", "fy", "nominal_distance_mm", "max_value"])
@pytest.mark.parametrize("value", [0, -1.0, NAN, INF, "600", True])
def test_camera_refuses(field: str, value: Any) -> None:
    values = {"fx": 600.0, "fy": 600.0, field: value}
    with pytest.raises(ConfigError, match=rf"Camera\.{field}: got .*expected"):
        Camera(**values)


@pytest.mark.parametrize("field", ["cx", "cy"])
@pytest.mark.parametrize("value", [NAN, INF, "1"])
def test_camera_refuses_axis(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"Camera\.{field}"):
        Camera(600.0, 600.0, **{field: value})


def test_numbers_become_pythons_own() -> None:
    camera = Camera(np.float16(500), np.float32(500.5), cx=np.int64(3), max_value=1023, width=np.int32(640))  # type: ignore[arg-type]
    assert json.loads(json.dumps(dataclasses.asdict(camera))) == {
        "fx": 500.0,
        "fy": 500.5,
        "cx": 3.0,
        "cy": None,
        "nominal_distance_mm": 700.0,
        "max_value": 1023.0,
        "width": 640,
        "height": None,
    }


@pytest.mark.parametrize("value", [0, -640, 640.5, "640", True, NAN, INF, 32769])
def test_camera_refuses_size(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"Camera\.width: got .*expected a whole number, 1 to 32768"):
        Camera(500, 500, width=value)


def test_a_frame_of_another_size_than_the_cameras_is_refused(tiny_artifact: Path) -> None:
    """Intrinsics for 1280 x 720 on a frame of 640 x 360 would put the head at half its distance."""
    Camera(500, 500).check_size((240, 320))
    Camera(500, 500, height=240).check_size((240, 320))
    with pytest.raises(InputError, match=r"frame: got 640 x 360 pixels, expected 1280 x 720 pixels, the camera's"):
        Camera(500, 500, width=1280, height=720).check_size((360, 640))
    with EdgeDepth(tiny_artifact, camera=Camera(60, 60, width=80, height=60)) as edge:
        frame = np.full((60, 80), 100, np.uint8)
        frame[20:40, 30:50] = 200
        assert edge.predict(frame, (40, 30), distance_mm=500).camera.width == 80
        with pytest.raises(InputError, match=r"got 60 x 80 pixels, expected 80 x 60 pixels"):
            edge.predict(np.ascontiguousarray(frame.T), (30, 40), distance_mm=500)


def test_nominal_distance_in_metres_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"nominal_distance_mm: got 0.7"):
        Camera(600, 600, nominal_distance_mm=0.7)


def test_camera_from_file(tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    path.write_text(json.dumps({"fx": 1100, "fy": 1090.5, "cx": 640, "max_value": 4095}), encoding="utf-8")
    assert Camera.from_file(path) == Camera(1100, 1090.5, cx=640, max_value=4095)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON text"),
        ("[]", "expected a JSON object with fx and fy"),
        ('{"fx": 1}', "expected a JSON object with fx and fy"),
        ('{"fx": 1100, "fy": 1100, "cx": 5, "fx": 600}', r"got the keys \['fx'\] twice, expected each key once"),
        ('{"fx": 1100, "fy": {"a": 1, "b": 2, "a": 3, "b": 4}}', r"got the keys \['a', 'b'\] twice"),
        ('{"fx": 1, "fy": 1, "max_valu": 1}', "unknown key max_valu, .*Did you mean max_value"),
        ('{"fx": 1, "fy": 0}', r"Camera\.fy: got 0"),
        ('{"fx": 1, "fy": "2"}', r"Camera\.fy: got '2'"),
        ("\xff", "expected JSON text in UTF-8"),
    ],
)
def test_camera_file_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "camera.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=rf"camera\.json: .*{message}"):
        Camera.from_file(path)


def test_no_path_is_no_camera_file() -> None:
    with pytest.raises(ConfigError, match=r"None: got .*expected a file that can be read"):
        Camera.from_file(None)  # type: ignore[arg-type]


def test_camera_file_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.json: got No such file"):
        Camera.from_file(tmp_path / "no.json")


def test_camera_of_opencvs_matrix() -> None:
    matrix = np.array([[600.0, 0, 319.5], [0, 580.0, 239.5], [0, 0, 1]])
    camera = Camera.from_opencv(matrix, (640, 480), max_value=1023)
    assert camera == Camera(600, 580, 320, 240, width=640, height=480, max_value=1023)
    assert Camera.from_opencv(matrix.tolist()).width is None


@pytest.mark.parametrize(
    "matrix",
    [
        None, [[1, 2], [3, 4]], [[600, 2.5, 320], [0, 600, 240], [0, 0, 1]], [[600, 0, 320], [0, 600, 240], [0, 0, 2]],
        [[600, 0, 320], [0, 600, 240]], [["a", 0, 320], [0, 600, 240], [0, 0, 1]],
        [["600", "0", "320"], ["0", "600", "240"], ["0", "0", "1"]], [[10**400, 0, 320], [0, 600, 240], [0, 0, 1]],
        np.array([[600 + 5j, 0, 320], [0, 600, 240], [0, 0, 1]]), np.eye(3, dtype=bool),
    ],
)  # fmt: skip
def test_a_matrix_that_is_none_is_refused(matrix: Any) -> None:
    with pytest.raises(ConfigError, match=r"^Camera\.from_opencv: got .*, expected \(\(fx, 0, cx\)"):
        Camera.from_opencv(matrix)


def test_a_matrix_with_a_negative_focal_length_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^Camera\.fy: got -1\.0"):
        Camera.from_opencv([[600, 0, 320], [0, -1, 240], [0, 0, 1]])


@pytest.mark.parametrize("key", ["k1", "P2", "dist_coeffs", "skew"])
def test_a_lens_in_a_camera_file_is_told_how_to_mend(tmp_path: Path, key: str) -> None:
    file = tmp_path / "camera.json"
    file.write_text(json.dumps({"fx": 600, "fy": 600, key: -0.3}))
    with pytest.raises(ConfigError, match=r"Undistort the frames \(cv2\.undistort\)"):
        Camera.from_file(file)


@pytest.mark.parametrize("size", [(640,), (640, 480, 3), 640])
def test_a_size_that_is_no_pair_is_refused(size: Any) -> None:
    with pytest.raises(ConfigError, match=r"^Camera\.from_opencv: size_wh: got .*, expected \(width, height\)"):
        Camera.from_opencv(np.eye(3), size)


def test_a_cut_out_and_a_resized_frame_see_the_same_ray() -> None:
    """A point of the scene, projected by the camera and then cut and resized, is where their cameras project it."""
    camera = Camera(1100.0, 1000.0, 650.5, width=1280, height=720, max_value=1023)
    u, v = 0.21, -0.13
    x, y = camera.fx * u + 650.5, camera.fy * v + 360
    cut = camera.cropped(300, 50.5, 700, 600)
    assert (cut.width, cut.height, cut.max_value) == (700, 600, 1023)
    assert (cut.fx * u + cut.cx, cut.fy * v + cut.cy) == pytest.approx((x - 300, y - 50.5))
    small = cut.resized(350, 200)
    assert (small.width, small.height) == (350, 200)
    assert (small.fx * u + small.cx, small.fy * v + small.cy) == pytest.approx(((x - 300) / 2, (y - 50.5) / 3))


def test_a_cut_of_unknown_frames_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Camera\.cropped: got a camera whose cx or cy is the middle of any frame"):
        Camera(600.0, 600.0, cx=3.0).cropped(10, 10, 100, 100)
    assert Camera(600.0, 600.0, cx=3.0, cy=4.0).cropped(1, 1, 100, 100).cy == 3.0
    with pytest.raises(ConfigError, match=r"Camera\.resized: got a camera without width or height"):
        Camera(600.0, 600.0, cx=3.0, cy=4.0).resized(100, 100)
    sized = Camera(600.0, 600.0, width=320, height=240)
    with pytest.raises(ConfigError, match=r"Camera\.cropped: x: got nan"):
        sized.cropped(NAN, 0, 10, 10)
    for call in (lambda: sized.resized(320, None), lambda: sized.cropped(0, 0, None, 5)):  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="got None, expected a whole number"):
            call()
    for width in (0, 10.5, "10", True):
        with pytest.raises(ConfigError, match=r"Camera\.width: got"):
            sized.resized(width, 100)
        with pytest.raises(ConfigError, match=r"Camera\.width: got"):
            sized.cropped(0, 0, width, 100)


@pytest.mark.parametrize("key", ["camera_matrix", "K", "intrinsics"])
def test_a_matrix_in_a_camera_file_is_told_how_to_mend(tmp_path: Path, key: str) -> None:
    path = tmp_path / "camera.json"
    path.write_text(json.dumps({"fx": 600.0, "fy": 600.0, key: [[600, 0, 1], [0, 600, 1], [0, 0, 1]]}))
    with pytest.raises(ConfigError, match=r"cx and cy with 0\.5 added"):
        Camera.from_file(path)
