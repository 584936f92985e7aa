# SPDX-License-Identifier: Apache-2.0
"""Reading a set in Biwi's layout: depth aligned with intensity, people and splits, errors that name the file."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from facedepth_edge.errors import ConfigError, InputError
from tests.oracles.face_crop import crop_levels, nearest_depth
from tests.train.data.raw_sets import BIWI_DEPTH, BIWI_RGB, ball_in_crop, biwi_ball, write_biwi
from train.data.biwi import open_biwi
from train.data.packed import open_packed_set
from train.data.reader_config import ReaderConfig

CONFIG = ReaderConfig()


@pytest.fixture(scope="module")
def biwi_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_biwi(tmp_path_factory.mktemp("biwi") / "hpdb")


@pytest.fixture
def root(biwi_root: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(biwi_root, tmp_path / "hpdb", ignore=shutil.ignore_patterns("packed")))


def box_of(sequence: int, frame: int, distance_mm: float, focal_px: float = BIWI_RGB.focal_px, reach_mm: float = 480.0):
    """Eq. 6 with a margin of 1.5, in float64: the ball's centre projected into the RGB image."""
    point = BIWI_RGB.rotation @ biwi_ball(sequence, frame) + BIWI_RGB.translation_mm
    x, y = BIWI_RGB.focal_px * point[:2] / point[2] + np.array(BIWI_RGB.center_xy)
    half = focal_px * reach_mm / distance_mm / 2
    return x - half, y - half, x + half, y + half


def test_entries(biwi_root: Path) -> None:
    source = open_biwi(biwi_root, CONFIG)
    assert [(e.sequence, e.frame, e.subject) for e in source.crops.frames[2:7]] == [
        (1, 7, 1), (3, 3, 3), (3, 4, 3), (3, 7, 3), (15, 3, 3),
    ]  # fmt: skip
    assert source.crops.subjects == {"train": (3,), "val": (), "test": (1,)}
    assert source.crops.frames[0].frame_id == "001/000003"
    assert [e.roll_pitch_yaw_deg for e in source.crops.frames[:2]] == [
        pytest.approx((0, 0, 15)), pytest.approx((0, 0, 20)),
    ]  # fmt: skip
    assert (source.crops.crop_px, source.crops.box_px) == (144, 96)


def test_a_crop_is_eq_6_in_the_rgb_image(biwi_root: Path) -> None:
    source = open_biwi(biwi_root, CONFIG)
    for position, entry in enumerate(source.crops.frames[:4]):
        sample = source.read(position)
        colour, registered = source.read_registered(position)
        stored = cv2.imread(str(biwi_root / f"{entry.sequence:02d}" / f"frame_{entry.frame:05d}_rgb.png"))
        np.testing.assert_array_equal(colour, stored)
        ball = biwi_ball(entry.sequence, entry.frame)
        # The mean over a 40 mm window on a ball of 90 mm lies a few mm behind its front.
        front = float((BIWI_RGB.rotation @ ball + BIWI_RGB.translation_mm)[2]) - 90
        assert front < sample.distance_mm < front + 8
        in_rgb = BIWI_RGB.rotation @ ball + BIWI_RGB.translation_mm
        np.testing.assert_allclose(sample.ray_xy, in_rgb[:2] / in_rgb[2], atol=1e-9)
        box = box_of(entry.sequence, entry.frame, sample.distance_mm)
        np.testing.assert_array_equal(sample.depth_mm, nearest_depth(registered, box, (144, 144)))
        assert np.abs(sample.gray - crop_levels(colour, box, (144, 144))).max() <= 0.5 + 1e-4
        near = np.abs(sample.depth_mm.astype(float) - sample.distance_mm) <= 160
        np.testing.assert_array_equal(sample.label, (near & (sample.depth_mm > 0)).astype(np.uint8))
        assert 0 < sample.label.mean() < 0.5


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_depth_lies_over_intensity(biwi_root: Path) -> None:
    source = open_biwi(biwi_root, CONFIG)
    for position, entry in enumerate(source.crops.frames):
        sample = source.read(position)
        box = box_of(entry.sequence, entry.frame, sample.distance_mm)
        truth = ball_in_crop(BIWI_RGB, biwi_ball(entry.sequence, entry.frame), box, 144)
        measured = sample.depth_mm > 0
        ball = measured & (sample.depth_mm < sample.distance_mm + 200)
        bright = sample.gray > 125
        assert overlap(bright, truth) > 0.93
        assert overlap(ball, truth & measured) > 0.9
        # The depth camera's own image, cut at the same place, does not fit: the test can fail.
        z, _ = BIWI_DEPTH.see(biwi_ball(entry.sequence, entry.frame))
        unregistered = nearest_depth(np.round(z).astype(np.uint16), box, (144, 144))
        assert overlap((unregistered > 0) & (unregistered < sample.distance_mm + 200), truth) < 0.8


def test_holes_stay_holes_and_outside_nothing_is_measured(biwi_root: Path) -> None:
    source = open_biwi(biwi_root, CONFIG)
    _, registered = source.read_registered(0)
    assert (registered[:, :4] == 0).all()
    wide = open_biwi(biwi_root, ReaderConfig(margin=4.0)).read(0)
    box = box_of(1, 3, wide.distance_mm, reach_mm=1280.0)
    assert box[0] < 0
    assert wide.depth_mm.shape == (384, 384)
    outside = int(-box[0] / (box[2] - box[0]) * 384)
    assert outside > 2
    assert (wide.depth_mm[:, :outside] == 0).all()
    assert (wide.gray[:, :outside] == wide.gray[:, :1]).all()


def test_focal_length_and_average_are_options(biwi_root: Path) -> None:
    narrow = open_biwi(biwi_root, ReaderConfig(biwi_focal_xy_px=(90.0, 90.0), distance="median"))
    sample = narrow.read(0)
    colour, registered = narrow.read_registered(0)
    box = box_of(1, 3, sample.distance_mm, focal_px=90.0)
    np.testing.assert_array_equal(sample.depth_mm, nearest_depth(registered, box, (144, 144)))
    assert sample.distance_mm != open_biwi(biwi_root, CONFIG).read(0).distance_mm
    assert np.abs(sample.gray - crop_levels(colour, box, (144, 144))).max() <= 0.5 + 1e-4


def test_another_focal_length_is_another_reach(biwi_root: Path, tmp_path: Path) -> None:
    """The paper's focal length makes its boxes smaller; depth along the ray and the face's place go by the reach."""
    assert open_biwi(biwi_root, CONFIG).crops.reach_mm == 320.0
    focal_px = 0.75 * BIWI_RGB.focal_px
    config = ReaderConfig(biwi_focal_xy_px=(focal_px, focal_px))
    assert open_biwi(biwi_root, config).crops.reach_mm == pytest.approx(240.0)
    packed = open_packed_set(biwi_root, tmp_path / "cache", processes=1, reader=config, progress=False)
    with pytest.raises(InputError, match=r"reach_mm: got 240\.0.*leave data\.reader\.biwi_focal_xy_px"):
        packed.with_depth_along("ray")
    with pytest.raises(InputError, match="reach_mm"):
        packed.require_runtimes_reach()
    slightly = ReaderConfig(biwi_focal_xy_px=(focal_px, 1.003 * focal_px))
    assert open_biwi(biwi_root, slightly).crops.reach_mm == pytest.approx(240.0)
    with pytest.raises(ConfigError, match=r"data\.reader\.biwi_focal_xy_px: got 0\.750, 0\.900 of them"):
        open_biwi(biwi_root, ReaderConfig(biwi_focal_xy_px=(focal_px, 1.2 * focal_px)))


def test_a_person_is_in_one_split_only(biwi_root: Path) -> None:
    with pytest.raises(ConfigError, match=r"biwi_\*_sequences: got sequences 3, 15 in train and test"):
        open_biwi(biwi_root, ReaderConfig(biwi_test_sequences=(15,)))
    both = open_biwi(biwi_root, ReaderConfig(biwi_test_sequences=(3, 15), biwi_val_sequences=(1,)))
    assert both.crops.subjects == {"train": (), "val": (1,), "test": (3,)}


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


OPEN_DAMAGE = {
    "no rgb.cal": (remove("03/rgb.cal"), r"03/rgb\.cal: got no such file, expected a calibration file"),
    "no depth.cal": (remove("03/depth.cal"), r"03/depth\.cal: got no such file"),
    "no pose": (remove("01/frame_00004_pose.txt"), r"01/frame_00004_pose\.txt: got no such file, expected three files"),
    "no depth": (remove("01/frame_00004_depth.bin"), r"01/frame_00004_depth\.bin: got no such file"),
    "a pose cut": (
        lambda root: (root / "15/frame_00003_pose.txt").write_text("1 0 0\n"), r"pose\.txt: line 2: got the end",
    ),
    "a sequence twice": (lambda root: (root / "3").mkdir(), r"got 0?3 and 0?3, expected each sequence once"),
}  # fmt: skip


@pytest.mark.parametrize("case", OPEN_DAMAGE)
def test_a_damaged_set_names_the_file(case: str, root: Path) -> None:
    damage, message = OPEN_DAMAGE[case]
    damage(root)
    with pytest.raises(InputError, match=message):
        open_biwi(root, CONFIG)


def cut_depth(root: Path) -> None:
    path = root / "01/frame_00004_depth.bin"
    path.write_bytes(path.read_bytes()[:-7])


READ_DAMAGE = {
    "depth cut": (cut_depth, r"01/frame_00004_depth\.bin: byte \d+: got the end of the file after \d+ bytes"),
    "another size": (
        lambda root: cv2.imwrite(str(root / "01/frame_00004_rgb.png"), np.zeros((9, 9, 3), np.uint8)),
        r"frame_00004_rgb\.png: got 9 x 9 uint8, expected 160 x 120 uint8",
    ),
    "depth of another size": (
        lambda root: (root / "01/frame_00004_depth.bin").write_bytes(struct.pack("<iiii", 2, 1, 2, 0)),
        r"frame_00004_depth\.bin: got 2 x 1 pixels, expected 160 x 120 as in depth\.cal",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", READ_DAMAGE)
def test_a_damaged_frame_stops_the_packing(case: str, root: Path, tmp_path: Path) -> None:
    damage, message = READ_DAMAGE[case]
    damage(root)
    with pytest.raises(InputError, match=message):
        open_packed_set(root, tmp_path / "cache", processes=1, progress=False)
    assert list((tmp_path / "cache").iterdir()) == []
