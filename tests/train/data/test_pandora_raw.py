# SPDX-License-Identifier: Apache-2.0
"""Reading raw Pandora: both cameras aligned, data.json in its variants, splits and exclusions, errors with the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from facedepth_edge.errors import ConfigError, InputError
from tests.oracles.face_crop import crop_levels, nearest_depth
from tests.train.data.raw_sets import (
    KINECT_COLOUR,
    KINECT_DEPTH,
    ball_in_crop,
    kinect_ball,
    kinect_json,
    write_pandora,
)
from train.data.frame_source import UNMEASURED_MM
from train.data.pandora_calibration import NOMINAL, KinectCalibration, read_calibration
from train.data.pandora_notes import read_notes
from train.data.pandora_raw import open_pandora_raw
from train.data.pandora_tables import EXCLUDED_TEST_FRAMES, is_excluded, pandora_splits
from train.data.reader_config import ReaderConfig

CONFIG = ReaderConfig()


@pytest.fixture(scope="module")
def pandora_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pandora(tmp_path_factory.mktemp("pandora") / "set")


@pytest.fixture
def root(pandora_root: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(pandora_root, tmp_path / "set"))


def test_entries(pandora_root: Path) -> None:
    crops = open_pandora_raw(pandora_root, CONFIG).crops
    assert [(e.sequence, e.frame, e.subject) for e in crops.frames[2:7]] == [
        (1, 5, 1), (2, 0, 1), (2, 1, 1), (2, 5, 1), (41, 0, 9),
    ]  # fmt: skip
    assert crops.subjects == {"train": (1,), "val": (9,), "test": (10,)}
    assert crops.frames[1].roll_pitch_yaw_deg == (1.0, 3.0, 4.0)
    assert (crops.crop_px, crops.box_px, crops.margin, crops.reach_mm) == (144, 96, 1.5, 320.0)


def test_colour_and_depth_are_cut_at_the_same_place(pandora_root: Path) -> None:
    source = open_pandora_raw(pandora_root, CONFIG)
    for position, entry in enumerate(source.crops.frames):
        sample = source.read(position)
        ball = kinect_ball(entry.sequence, entry.frame)
        point = KINECT_COLOUR.rotation @ ball + KINECT_COLOUR.translation_mm
        assert point[2] - 90 < sample.distance_mm < point[2] - 82
        # Eq. 6 in the depth camera's pixels; the same angles in the colour camera's.
        half = KINECT_COLOUR.focal_px * 480 / sample.distance_mm / 2
        x, y = KINECT_COLOUR.focal_px * point[:2] / point[2] + np.array(KINECT_COLOUR.center_xy)
        box = (x - half, y - half, x + half, y + half)
        colour = source.read_raw(position).colour
        assert np.abs(sample.gray - crop_levels(colour, box, (144, 144))).max() <= 0.5 + 1e-4
        truth = ball_in_crop(KINECT_COLOUR, ball, box, 144)
        near = (sample.depth_mm > 0) & (sample.depth_mm < sample.distance_mm + 200)
        bright = sample.gray > 125
        for mask, least in ((bright, 0.95), (near, 0.88)):
            assert (mask & truth).sum() / (mask | truth).sum() > least
        np.testing.assert_array_equal(near, sample.label.astype(bool))


def test_a_shared_point_of_view_keeps_the_depth_image(root: Path) -> None:
    note = kinect_json()
    note["colour_from_depth"] = {"rotation": np.eye(3).tolist(), "translation_mm": [0, 0, 0]}
    (root / "1" / "calibration.json").write_text(json.dumps(note))
    source = open_pandora_raw(root, CONFIG)
    sample = source.read(0)
    raw = cv2.imread(str(root / "1" / "DEPTH" / "000000_DEPTH.png"), cv2.IMREAD_UNCHANGED)
    ball = kinect_ball(1, 0)
    x, y = KINECT_DEPTH.focal_px * ball[:2] / ball[2] + np.array(KINECT_DEPTH.center_xy)
    half = KINECT_DEPTH.focal_px * 480 / sample.distance_mm / 2
    np.testing.assert_array_equal(
        sample.depth_mm, nearest_depth(raw, (x - half, y - half, x + half, y + half), (144, 144))
    )
    assert source.calibrations[2].translation_mm == (52.0, 0.0, 1.0)  # the others keep the set's


def test_focal_length_is_an_option(pandora_root: Path) -> None:
    wide = open_pandora_raw(pandora_root, ReaderConfig(pandora_focal_xy_px=(120.0, 120.0)))
    assert wide.read(0).distance_mm == open_pandora_raw(pandora_root, CONFIG).read(0).distance_mm
    share = wide.read(0).label.mean() / open_pandora_raw(pandora_root, CONFIG).read(0).label.mean()
    assert share == pytest.approx((91 / 120) ** 2, rel=0.05)


def test_joints_may_be_colour_pixels(root: Path) -> None:
    plain = open_pandora_raw(root, CONFIG).read(0)
    path = root / "1" / "data.json"
    notes = json.loads(path.read_text())
    for note in notes:
        ball = kinect_ball(1, note["frame_num"])
        point = KINECT_COLOUR.rotation @ ball + KINECT_COLOUR.translation_mm
        xy = KINECT_COLOUR.focal_px * point[:2] / point[2] + np.array(KINECT_COLOUR.center_xy)
        note["joints"]["Head"] = xy.tolist()
    path.write_text(json.dumps(notes))
    with pytest.raises(InputError, match=r"1/data\.json: got joints\.Head .* and 2 more, .*joint_pixels to colour"):
        open_pandora_raw(root, CONFIG)
    sample = open_pandora_raw(root, ReaderConfig(joint_pixels="colour")).read(0)
    np.testing.assert_allclose(sample.distance_mm, plain.distance_mm, atol=1e-6)
    assert (sample.depth_mm == plain.depth_mm).mean() > 0.99


def test_a_frame_without_depth_at_the_head_is_empty(root: Path) -> None:
    depth = np.zeros((106, 128), np.uint16)
    cv2.imwrite(str(root / "1" / "DEPTH" / "000001_DEPTH.png"), depth)
    sample = open_pandora_raw(root, CONFIG).read(1)
    assert sample.distance_mm == UNMEASURED_MM
    assert not sample.depth_mm.any()
    assert not sample.label.any()


XY, XYZ = [31.5, 20.25], [0.1, -0.2, 0.85]
JOINTS: dict[str, tuple[Any, Any]] = {
    "objects of lists": ({"Neck": [1, 2], "Head": XY}, {"Head": XYZ}),
    "objects of objects": ({"Head": {"x": 31.5, "y": 20.25}}, {"Head": {"X": 0.1, "Y": -0.2, "Z": 0.85}}),
    "lists in the order of the SDK": ([[0, 0], [1, 1], [2, 2], XY], [[0, 0, 0], [1, 1, 1], [2, 2, 2], XYZ]),
    "lists of named objects": (
        [{"name": "Neck", "x": 0, "y": 0}, {"name": "Head", "x": 31.5, "y": 20.25}],
        [{"joint": "Head", "x": 0.1, "y": -0.2, "z": 0.85}],
    ),
}


@pytest.mark.parametrize("case", JOINTS)
def test_joints_in_their_variants(case: str, tmp_path: Path) -> None:
    joints, joints_3d = JOINTS[case]
    note = {"frame_num": 4, "joints": joints, "joints3D": joints_3d, "orientation": {"pitch": 2, "roll": 1, "yaw": 3}}
    (tmp_path / "data.json").write_text(json.dumps([note]))
    (read,) = read_notes(tmp_path / "data.json", CONFIG)
    assert read == (4, (31.5, 20.25), pytest.approx(850.0), (1.0, 2.0, 3.0))
    (permuted,) = read_notes(tmp_path / "data.json", ReaderConfig(angle_order=("yaw", "roll", "pitch")))
    assert permuted.roll_pitch_yaw_deg == (3.0, 1.0, 2.0)


def test_without_joints_in_space_the_depth_image_is_asked(root: Path) -> None:
    expected = open_pandora_raw(root, CONFIG).read(0)
    path = root / "1" / "data.json"
    notes = json.loads(path.read_text())
    for note in notes:
        del note["joints3D"]
    path.write_text(json.dumps(notes))
    sample = open_pandora_raw(root, CONFIG).read(0)
    assert sample.distance_mm == pytest.approx(
        expected.distance_mm, abs=3
    )  # the joint's own depth moves the box a little


def change(**values: object) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        path = root / "1" / "data.json"
        notes = json.loads(path.read_text())
        notes[1].update(values)
        path.write_text(json.dumps(notes))

    return apply


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda root: (root / name).write_text(text)


DAMAGE = {
    "no data.json": (lambda root: (root / "1/data.json").unlink(), r"1/data\.json: got no such file"),
    "broken data.json": (write("1/data.json", "[{"), r"1/data\.json: got .*expected valid JSON"),
    "no list": (write("1/data.json", "{}"), r"1/data\.json: got a dict, expected a list"),
    "no frame number": (change(frame_num=None), r"1/data\.json: \[1\]\.frame_num: got None"),
    "half a frame": (change(frame_num=1.5), r"\[1\]\.frame_num: got 1\.5, expected a whole number"),
    "a frame twice": (change(frame_num=0), r"1/data\.json: got frame_num 0 twice"),
    "no head": (change(joints={"Neck": [1, 2]}), r"1/data\.json: \[1\]\.joints: got .* expected a joint Head"),
    "an angle that is text": (change(orientation={"euler": {"pitch": "x"}}), r"\[1\]\.orientation: got "),
    "no angles": (change(orientation=None), r"1/data\.json: \[1\]\.orientation: got None, expected euler"),
    "no colour": (lambda root: (root / "1/RGB/000005_RGB.png").unlink(), r"000005_RGB\.png: got no such file"),
    "no depth": (lambda root: (root / "1/DEPTH/000005_DEPTH.png").unlink(), r"000005_DEPTH\.png: got no such file"),
    "a broken calibration": (
        write("calibration.json", "{}"),
        r"calibration\.json: got the keys none, expected an object with",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_set_names_the_file(case: str, root: Path) -> None:
    damage, message = DAMAGE[case]
    damage(root)
    with pytest.raises(InputError, match=message):
        open_pandora_raw(root, CONFIG)


def test_an_image_of_another_size_is_named(root: Path) -> None:
    cv2.imwrite(str(root / "1/RGB/000000_RGB.png"), np.zeros((27, 48, 4), np.uint8))
    with pytest.raises(InputError, match=r"000000_RGB\.png: got 48 x 27 uint8, expected 480 x 270"):
        open_pandora_raw(root, CONFIG).read(0)
    cv2.imwrite(str(root / "1/DEPTH/000001_DEPTH.png"), np.zeros((106, 128), np.uint8))
    with pytest.raises(InputError, match=r"000001_DEPTH\.png: got 128 x 106 uint8, expected 128 x 106 uint16"):
        open_pandora_raw(root, CONFIG).read(1)


def test_calibrations_are_written_as_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(kinect_json()))
    read = read_calibration(path)
    assert read.depth.size_hw == (106, 128)
    assert read.colour.focal_xy_px == (266.0, 266.0)
    np.testing.assert_array_equal(read.rotation_matrix, KINECT_COLOUR.rotation)
    for calibration in (read, NOMINAL):
        path.write_text(calibration.as_json())
        assert read_calibration(path) == calibration


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("depth", 3, r"depth: got 3, expected an object with focal_xy_px"),
        ("colour", {"focal_xy_px": [1, "x"]}, r"colour\.focal_xy_px: got \[1, 'x'\], expected a list of 2 numbers"),
        ("colour", {"focal_xy_px": [-1, 1], "center_xy_px": [1, 1], "size_px": [4, 4]}, r"colour: got focal_xy_px"),
        ("colour_from_depth", {"rotation": [[2, 0, 0], [0, 1, 0], [0, 0, 1]]}, r"rotation: got 2 0 0; 0 1 0; 0 0 1"),
        ("colour_from_depth", {"rotation": [1]}, r"rotation: got \[1\], expected three rows"),
        ("colour_from_depth", {"rotation": np.eye(3).tolist()}, r"translation_mm: got None, expected a list of 3"),
    ],
)
def test_a_wrong_calibration_is_named(key: str, value: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({**kinect_json(), key: value}))
    with pytest.raises(InputError, match=rf"c\.json: {key}.*" if "got 3" in message else message):
        read_calibration(path)


def test_a_calibration_may_be_given_by_option(root: Path, tmp_path: Path) -> None:
    given = (root / "calibration.json").rename(tmp_path / "mine.json")
    assert open_pandora_raw(root, CONFIG).calibrations[1] is NOMINAL
    source = open_pandora_raw(root, ReaderConfig(pandora_calibration=str(given)))
    assert isinstance(source.calibrations[1], KinectCalibration)
    assert source.calibrations[1].depth.size_hw == (106, 128)
    with pytest.raises(InputError, match=r"gone\.json: got no such file"):
        open_pandora_raw(root, ReaderConfig(pandora_calibration=str(tmp_path / "gone.json")))


@pytest.mark.parametrize(
    ("sequence", "frame", "out"),
    [(48, 139, False), (48, 140, True), (48, 319, True), (48, 320, False), (48, 809, True), (49, 0, True),
     (49, 1421, False), (100, 1845, True), (98, 1527, True), (98, 1606, False), (47, 140, False), (70, 2010, True)],
)  # fmt: skip
def test_excluded_ranges(sequence: int, frame: int, out: bool) -> None:
    assert is_excluded(sequence, frame, CONFIG) == out
    assert not is_excluded(sequence, frame, ReaderConfig(pandora_exclude=False))
    assert not is_excluded(sequence, frame, ReaderConfig(pandora_test_subjects=(1,)))


def test_the_table_of_exclusions_is_of_test_subjects_and_whole() -> None:
    assert {(sequence - 1) // 5 + 1 for sequence in EXCLUDED_TEST_FRAMES} == {10, 14, 16, 20}
    counts = {s: sum(last - first + 1 for first, last in ranges) for s, ranges in EXCLUDED_TEST_FRAMES.items()}
    assert counts == {48: 226, 49: 1421, 66: 65, 69: 1404, 70: 42, 80: 70, 96: 136, 97: 135, 98: 321, 100: 304}
    for ranges in EXCLUDED_TEST_FRAMES.values():
        assert all(first <= last for first, last in ranges)
        assert sorted(ranges) == list(ranges)


def test_excluded_frames_are_not_listed(tmp_path: Path) -> None:
    root = write_pandora(tmp_path / "set", sequences=(1, 48), frames=(139, 140, 320))
    assert [e.frame_id for e in open_pandora_raw(root, CONFIG).crops.frames] == [
        "001/000139", "001/000140", "001/000320", "048/000139", "048/000320",
    ]  # fmt: skip
    assert len(open_pandora_raw(root, ReaderConfig(pandora_exclude=False)).crops.frames) == 6


def test_splits_are_of_the_paper_and_share_nobody() -> None:
    splits = pandora_splits(range(1, 111), CONFIG)
    assert splits["test"] == (10, 14, 16, 20)
    assert splits["val"] == (9, 18, 21, 22)
    assert sorted(sum(splits.values(), ())) == list(range(1, 23))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"margin": 1.4}, r"data\.reader\.margin: got 1\.4"),
        ({"distance": "mode"}, r"data\.reader\.distance: got mode, expected mean or median"),
        ({"angle_order": ("roll", "roll", "yaw")}, r"data\.reader\.angle_order"),
        ({"joint_pixels": "infrared"}, r"joint_pixels: got infrared"),
        ({"head_range_mm": (10.0, -10.0)}, r"head_range_mm"),
        ({"biwi_focal_xy_px": (0.0, 1.0)}, r"biwi_focal_xy_px"),
        ({"pandora_val_subjects": (10,)}, r"pandora_val_subjects: got \(10,\), expected none of"),
        ({"box_px": 8}, r"box_px: got 8"),
    ],
)
def test_senseless_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ReaderConfig(**settings)
