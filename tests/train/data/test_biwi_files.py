# SPDX-License-Identifier: Apache-2.0
"""Biwi's files: written and read back bit by bit, and errors that name the file and the byte or line."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from facedepth_edge.errors import InputError
from tests.train.data.raw_sets import BIWI_RGB, cal_text, naive_depth_bytes, rows_of, turn_y
from train.data.biwi_files import (
    Calibration,
    Pose,
    angles_from_pose,
    bytes_from_depth,
    depth_from_bytes,
    read_calibration,
    read_depth_bin,
    read_pose,
    text_from_calibration,
    text_from_pose,
)
from train.data.registration import Intrinsics

DEPTHS = hnp.arrays(
    np.uint16,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
    elements=st.one_of(st.just(0), st.integers(0, 32767)),
)


@settings(max_examples=60, deadline=None)
@given(DEPTHS)
def test_depth_is_read_back_bit_by_bit(depth: np.ndarray) -> None:
    data = bytes_from_depth(depth)
    again = depth_from_bytes(data, "x")
    assert again.dtype == np.uint16
    np.testing.assert_array_equal(again, depth)
    assert bytes_from_depth(again) == data
    np.testing.assert_array_equal(depth_from_bytes(naive_depth_bytes(depth), "x"), depth)


def test_a_known_image_has_these_bytes() -> None:
    depth = np.array([[0, 0, 700], [701, 0, 0]], np.uint16)
    expected = struct.pack("<ii", 3, 2) + struct.pack("<iihh", 2, 2, 700, 701) + struct.pack("<ii", 2, 0)
    assert bytes_from_depth(depth) == expected


def test_a_full_size_image_is_read_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    depth = rng.integers(0, 32768, (480, 640)).astype(np.uint16)
    depth[rng.random(depth.shape) < 0.6] = 0
    (tmp_path / "d.bin").write_bytes(bytes_from_depth(depth))
    np.testing.assert_array_equal(read_depth_bin(tmp_path / "d.bin"), depth)


@pytest.mark.parametrize(
    "depth", [np.zeros((2, 2), np.float32), np.zeros(4, np.uint16), np.full((2, 2), 40000, np.uint16)]
)
def test_what_the_format_cannot_hold_is_refused(depth: np.ndarray) -> None:
    with pytest.raises(InputError, match="depth: got"):
        bytes_from_depth(depth)


GOOD = struct.pack("<ii", 3, 2) + struct.pack("<iihh", 2, 2, 700, 701) + struct.pack("<ii", 2, 0)
BROKEN = {
    "empty": (b"", r"d\.bin: byte 0: got the end of the file, expected 8 bytes with width and height"),
    "no image": (struct.pack("<ii", 0, 4), r"byte 0: got a size of 0 x 4"),
    "huge": (struct.pack("<ii", 100_000, 4), r"byte 0: got a size of 100000 x 4"),
    "cut in a run's depths": (GOOD[:18], r"byte 16: got the end of the file after 18 bytes, expected 2 depths"),
    "cut between runs": (GOOD[:20], r"byte 20: got the end of the file after 20 bytes, expected another run: 4 of 6"),
    "cut in a run's numbers": (GOOD[:23], r"byte 20: got the end of the file after 23 bytes"),
    "a run too long": (
        GOOD[:20] + struct.pack("<ii", 3, 0),
        r"byte 20: got a run of 3 empty and 0 full pixels, expected at most the 2 pixels that are left",
    ),
    "a negative run": (GOOD[:20] + struct.pack("<ii", -1, 3), r"byte 20: got a run of -1 empty and 3 full"),
    "a negative full run": (GOOD[:20] + struct.pack("<ii", 4, -2), r"byte 20: got a run of 4 empty and -2 full"),
    "a run of nothing": (GOOD[:20] + struct.pack("<ii", 0, 0), r"byte 20: got a run of 0 empty and 0 full"),
    "a negative depth": (
        struct.pack("<iiiihh", 2, 1, 0, 2, 700, -3),
        r"byte 18: got a depth of -3 mm, expected 0 mm or more",
    ),
    "bytes at the end": (GOOD + b"\0\0", r"byte 28: got 2 more bytes, expected the end of the file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_depth_file_names_the_byte(case: str, tmp_path: Path) -> None:
    data, message = BROKEN[case]
    path = tmp_path / "d.bin"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_depth_bin(path)


def test_a_missing_depth_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.bin: got No such file"):
        read_depth_bin(tmp_path / "gone.bin")


def test_every_cut_of_a_file_is_noticed() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(InputError):
            depth_from_bytes(GOOD[:length], "x")


def test_calibrations_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "rgb.cal"
    path.write_text(cal_text(BIWI_RGB).replace("\n", "\r\n"))
    read = read_calibration(path)
    assert read.camera == Intrinsics((129.0, 129.0), (79.5, 61.5), (120, 160))  # half a pixel more than the file says
    np.testing.assert_allclose(read.rotation, BIWI_RGB.rotation, atol=1e-9)
    np.testing.assert_array_equal(read.translation_mm, BIWI_RGB.translation_mm)
    odd = Calibration(
        Intrinsics((517.679, 518.1), (320.25, 240.5), (480, 640)), turn_y(0.1234567), np.array([1 / 3, 2, 3])
    )
    path.write_text(text_from_calibration(odd))
    again = read_calibration(path)
    assert again.camera == odd.camera
    np.testing.assert_array_equal(again.rotation, odd.rotation)
    np.testing.assert_array_equal(again.translation_mm, odd.translation_mm)


def test_a_calibration_of_the_database_has_its_lines() -> None:
    lines = text_from_calibration(
        Calibration(Intrinsics((575.8, 575.8), (320.5, 240.5), (480, 640)), np.eye(3), np.zeros(3))
    ).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["575.8", "0.0", "320.0"],
        ["0.0", "575.8", "240.0"],
        ["0.0", "0.0", "1.0"],
    ]
    assert lines[6] == "1.0 0.0 0.0"
    assert lines[10] == "0.0 0.0 0.0"
    assert lines[12] == "640 480"


CAL = cal_text(BIWI_RGB)
BROKEN_CAL = {
    "cut": ("\n".join(CAL.splitlines()[:9]), r"rgb\.cal: line 13: got the end of the file, expected 2 numbers"),
    "no numbers": (CAL.replace("160 120", "wide high"), r"rgb\.cal: line 13: got wide high"),
    "a matrix of other form": (CAL.replace("129 0 79", "129 3 79"), r"rgb\.cal: lines 1-3: got 129 3 79"),
    "no rotation": (
        CAL.replace(rows_of(BIWI_RGB.rotation), "1 0 0\n0 2 0\n0 0 1"),
        r"rgb\.cal: lines 7-9: got 1 0 0; 0 2 0",
    ),
    "a NaN": (CAL.replace("-25", "nan"), r"rgb\.cal: line 11: got nan 1 -2"),
    "a size in parts": (CAL.replace("160 120", "160.5 120"), r"rgb\.cal: line 13: got 160\.5 120"),
}


@pytest.mark.parametrize("case", BROKEN_CAL)
def test_a_broken_calibration_names_the_line(case: str, tmp_path: Path) -> None:
    text, message = BROKEN_CAL[case]
    (tmp_path / "rgb.cal").write_text(text)
    with pytest.raises(InputError, match=message):
        read_calibration(tmp_path / "rgb.cal")


def test_poses_are_read_as_they_were_written(tmp_path: Path) -> None:
    pose = Pose(turn_y(31.7), np.array([10.5, -1 / 3, 870.25]))
    (tmp_path / "pose.txt").write_text(text_from_pose(pose))
    again = read_pose(tmp_path / "pose.txt")
    np.testing.assert_array_equal(again.rotation, pose.rotation)
    np.testing.assert_array_equal(again.center_mm, pose.center_mm)
    lines = text_from_pose(pose).splitlines()
    assert lines[3] == ""
    assert lines[4].split() == ["10.5", repr(-1 / 3), "870.25"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 0\n0 1 0\n0 0 1\n", r"p\.txt: line 5: got the end of the file"),
        ("1 0 0\n0 1 0\n0 0 2\n\n0 0 800\n", r"p\.txt: lines 1-3: got 1 0 0; 0 1 0; 0 0 2, expected a rotation"),
        ("-1 0 0\n0 1 0\n0 0 1\n\n0 0 800\n", r"p\.txt: lines 1-3: got -1 0 0"),
        ("1 0 0\n0 1 0\n0 0 1\n\n0 0 -800\n", r"p\.txt: line 5: got a head centre -800 mm deep"),
        ("1 0\n0 1 0\n0 0 1\n\n0 0 800\n", r"p\.txt: line 1: got 1 0, expected 3 finite numbers"),
    ],
)
def test_a_broken_pose_names_the_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_pose(tmp_path / "p.txt")


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (25.0, -40.0, 60.0), (-70.0, 30.0, -75.0)])
def test_angles_are_those_of_the_database(angles: tuple[float, float, float]) -> None:
    roll, pitch, yaw = np.deg2rad(angles)
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    rotation = about_z @ turn_y(float(np.rad2deg(yaw))) @ about_x
    assert angles_from_pose(rotation) == pytest.approx(angles, abs=1e-9)
