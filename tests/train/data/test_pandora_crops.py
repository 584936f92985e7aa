# SPDX-License-Identifier: Apache-2.0
"""Reading the group's processed crops: any size to the box's, strict angle files, and batches without a margin."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facedepth_edge.errors import InputError
from tests.oracles.face_crop import crop_levels, nearest_depth
from train.data.batches import Augmentation, AugmentConfig, make_batch, step_generator
from train.data.packed import open_packed_set
from train.data.pandora_crops import open_pandora_crops
from train.data.reader_config import ReaderConfig

CONFIG = ReaderConfig()
SIZES = {0: (130, 130), 1: (61, 61), 2: (150, 146)}


def draw(frame: int) -> tuple[np.ndarray, np.ndarray]:
    """A ball before a wall as a crop would show it: BGR and uint16 mm."""
    height, width = SIZES[frame]
    y, x = ((np.mgrid[0:height, 0:width] + 0.5) / np.array([height, width])[:, None, None] - 0.5) * 320
    inside = 1 - (x**2 + y**2) / 100**2
    depth = np.where(inside > 0, 790 - 90 * np.sqrt(np.maximum(inside, 0)), 1300 + 0.1 * x).astype(np.uint16)
    depth[:3] = 0
    shade = np.where(inside > 0, 90 + 0.3 * x, 20 + 10 * np.sin(y / 9))
    return np.stack([shade, shade + 20, shade + 40], -1).clip(0, 255).astype(np.uint8), depth


def write_set(root: Path, sequences: tuple[int, ...] = (3, 46, 110)) -> Path:
    """Write a set; the last sequence's angle file has another name."""
    for sequence in sequences:
        folder = root / f"{sequence:03d}"
        folder.mkdir(parents=True)
        for frame in SIZES:
            colour, depth = draw(frame)
            image = colour[..., 0] if sequence == 46 else colour
            assert cv2.imwrite(str(folder / f"frame_{frame:06d}_face_rgb.png"), image)
            assert cv2.imwrite(str(folder / f"frame_{frame:06d}_face_depth.png"), depth)
        name = "angles.txt" if sequence != 110 else "110_angles.txt"
        (folder / name).write_text("0\t1.5\t-20\t3\n1\t2\t-21\t4\n2\t2.5\t-22\t5\n7\t0\t0\t0\n")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_set(tmp_path / "crops")


def test_entries(root: Path) -> None:
    crops = open_pandora_crops(root, CONFIG).crops
    assert [e.frame_id for e in crops.frames[::3]] == ["003/000000", "046/000000", "110/000000"]
    assert len(crops.frames) == 9
    assert crops.frames[1].roll_pitch_yaw_deg == (2.0, -21.0, 4.0)
    assert crops.subjects == {"train": (1,), "val": (22,), "test": (10,)}
    assert (crops.crop_px, crops.margin, crops.box_px) == (96, 1.0, 96)
    permuted = open_pandora_crops(root, ReaderConfig(angle_order=("pitch", "yaw", "roll")))
    assert permuted.crops.frames[1].roll_pitch_yaw_deg == (-21.0, 4.0, 2.0)


def test_crops_of_any_size_become_the_box(root: Path) -> None:
    source = open_pandora_crops(root, CONFIG)
    for position, frame in enumerate(SIZES):
        sample = source.read(position)
        colour, depth = draw(frame)
        box = (0.0, 0.0, float(colour.shape[1]), float(colour.shape[0]))
        np.testing.assert_array_equal(sample.depth_mm, nearest_depth(depth, box, (96, 96)))
        # Where both axes shrink, gray is rounded to whole levels before the average.
        assert np.abs(sample.gray - crop_levels(colour, box, (96, 96))).max() <= 1.0
        assert 700 < sample.distance_mm < 706
        assert (sample.depth_mm[0] == 0).all()
        assert 0.2 < sample.label.mean() < 0.4
    median = open_pandora_crops(root, ReaderConfig(distance="median")).read(0)
    assert 0 < abs(median.distance_mm - source.read(0).distance_mm) < 2


def test_a_hole_in_the_middle_makes_the_frame_unusable(root: Path, tmp_path: Path) -> None:
    path = root / "046" / "frame_000001_face_depth.png"
    depth = draw(1)[1]
    depth[20:41, 20:41] = 0
    cv2.imwrite(str(path), depth)
    data = open_packed_set(root, tmp_path / "cache", processes=1, progress=False)
    assert list(data.indices("test")) == [3, 5]
    assert not data.meta["face"][4]
    assert data.meta["distance_mm"][4] == 0
    assert not data.gray[4].any()


def test_batches_need_no_margin(root: Path, tmp_path: Path) -> None:
    data = open_packed_set(root, tmp_path / "cache", processes=1, progress=False)
    plain = make_batch(data, np.arange(3))
    np.testing.assert_allclose(plain.face[:, 0].numpy(), data.gray[:3] / 127.5 - 1.0, atol=1e-6)
    np.testing.assert_array_equal(plain.valid[:, 0].numpy(), data.depth_mm[:3] > 0)
    cpu = torch.device("cpu")
    moved = make_batch(data, np.arange(9), cpu, Augmentation(AugmentConfig(), step_generator(1, 0, cpu)))
    assert moved.face.shape == (9, 1, 96, 96)
    assert torch.isfinite(moved.face).all()
    assert not moved.seen.all()  # a box that moves out of the crop sees nothing there
    assert moved.valid.float().mean() > 0.7
    assert not (moved.valid & ~moved.seen).any()


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda root: (root / name).write_text(text)


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


DAMAGE = {
    "no angles": (remove("003/angles.txt"), r"003: got no \.txt file, expected angles\.txt, or one \.txt file"),
    "two files that may be angles": (write("110/notes.txt", "x"), r"110: got 110_angles\.txt, notes\.txt"),
    "frames out of order": (
        write("003/angles.txt", "0\t0\t0\t0\n2\t0\t0\t0\n1\t0\t0\t0\n"),
        r"003/angles\.txt: line 3: got 1 0 0 0 after frame 2, expected each frame once, from 0 up in ascending order",
    ),
    "a frame twice": (write("003/angles.txt", "0\t0\t0\t0\n0\t0\t0\t0\n"), r"angles\.txt: line 2: got 0 0 0 0 after"),
    "a column missing": (write("003/angles.txt", "0\t0\t0\n"), r"angles\.txt: line 1: got 0 0 0, expected frame, roll"),
    "no number": (write("003/angles.txt", "0\t0\tx\t0\n"), r"angles\.txt: line 1: got 0 0 x 0"),
    "a NaN": (write("003/angles.txt", "0\t0\tnan\t0\n"), r"angles\.txt: line 1: got 0 0 nan 0, expected finite"),
    "a frame without angles": (write("003/angles.txt", "0\t0\t0\t0\n"), r"003/angles\.txt: got no line for frame 1"),
    "no image": (remove("110/frame_000002_face_rgb.png"), r"110/frame_000002_face_rgb\.png: got no such file"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_set_names_the_file(case: str, root: Path) -> None:
    damage, message = DAMAGE[case]
    damage(root)
    with pytest.raises(InputError, match=message):
        open_pandora_crops(root, CONFIG)


def test_a_damaged_image_is_named(root: Path) -> None:
    path = root / "003" / "frame_000000_face_depth.png"
    cv2.imwrite(str(path), np.zeros((30, 30), np.uint8))
    with pytest.raises(InputError, match=r"face_depth\.png: got 30 x 30 uint8, expected an image of uint16"):
        open_pandora_crops(root, CONFIG).read(0)
    path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"face_depth\.png: got a file that does not decode"):
        open_pandora_crops(root, CONFIG).read(0)


def test_excluded_frames_are_left_out(tmp_path: Path) -> None:
    root = write_set(tmp_path / "crops", sequences=(49,))
    shutil.copytree(root / "049", root / "050")
    assert [e.frame_id for e in open_pandora_crops(root, CONFIG).crops.frames] == [
        "050/000000", "050/000001", "050/000002",
    ]  # fmt: skip
    assert len(open_pandora_crops(root, ReaderConfig(pandora_exclude=False)).crops.frames) == 6
