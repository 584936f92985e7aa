# SPDX-License-Identifier: Apache-2.0
"""Reading and packing a set of crops: the right arrays, or an error that names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from facedepth_edge.errors import InputError
from tests.train.conftest import write_crops_set
from train.data.crops_set import open_crops_set, read_frame, sequence_folder, sequence_of, subject_of
from train.data.crops_writer import frame_note
from train.data.packed import open_packed_set


@pytest.fixture
def root(crops_root: Path, tmp_path: Path) -> Path:
    """A copy of the set that a test may damage."""
    return Path(shutil.copytree(crops_root, tmp_path / "set", ignore=shutil.ignore_patterns("packed")))


def test_entries(crops_root: Path) -> None:
    crops = open_crops_set(crops_root)
    assert (crops.crop_px, crops.box_px, crops.margin, crops.reach_mm) == (144, 96, 1.5, 320.0)
    assert len(crops.frames) == 24
    assert [entry.sequence for entry in crops.frames[::4]] == [1, 6, 11, 16, 21, 26]
    assert [entry.subject for entry in crops.frames[::4]] == [1, 2, 3, 4, 5, 6]
    entry = crops.frames[5]
    assert entry.frame_id == "006/000001"
    assert entry.roll_pitch_yaw_deg == (1.5, -2.25, 1.0)
    assert entry.attributes == {"kind": "ellipsoid"}
    assert [crops.split_of(subject) for subject in range(1, 7)] == ["train"] * 4 + ["val", "test"]


def test_gray_and_bgr_frames_are_both_read(crops_root: Path) -> None:
    crops = open_crops_set(crops_root)
    for entry in (crops.frames[0], crops.frames[4]):
        folder = crops_root / f"{entry.sequence:03d}"
        gray, depth, label = read_frame(crops_root, entry, 144)
        stored = cv2.imread(str(folder / f"frame_{entry.frame:06d}_face_rgb.png"), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(gray, stored)
        assert (gray.dtype, depth.dtype, label.dtype) == (np.uint8, np.uint16, np.uint8)
        assert depth.max() > 500
        assert set(np.unique(label)) == {0, 1, 2, 4}


def test_a_frame_s_note_is_rounded_as_it_is_written() -> None:
    note = frame_note(
        frame=3, distance_mm=700.12345, visible=0.987654, face=True, focal_px=609.000049,
        principal_xy=(70.00004, 71.99996), head_center_xy=(72.0, 72.0),
        head_center_mm=np.array([1.00049, -2.0, 812.5]), attributes={"light": "flash"},
    )  # fmt: skip
    written = (
        '{"frame": 3, "distance_mm": 700.12, "visible": 0.9877, "face": true, "focal_px": 609.0, '
        '"principal_xy": [70.0, 72.0], "head_center_xy": [72.0, 72.0], "head_center_mm": [1.0, -2.0, 812.5], '
        '"attributes": {"light": "flash"}}'
    )
    assert json.dumps(note) == written


def test_a_sequence_s_number_leads_back_to_its_person(tmp_path: Path) -> None:
    numbers = [sequence_of(subject, index) for subject in (1, 2, 210) for index in range(1, 6)]
    assert numbers == [*range(1, 11), *range(1046, 1051)]
    assert [subject_of(number) for number in numbers[::5]] == [1, 2, 210]
    assert [sequence_folder(tmp_path, number).name for number in (7, 1050)] == ["007", "1050"]


def test_sequences_beyond_999_keep_their_order(tmp_path: Path) -> None:
    root = write_crops_set(tmp_path / "set", subjects=3, frames=2)
    (root / "006").rename(root / "1001")
    info = json.loads((root / "dataset.json").read_text())
    info["subjects"] = {"train": [1, 3], "val": [201], "test": []}
    (root / "dataset.json").write_text(json.dumps(info))
    assert [entry.sequence for entry in open_crops_set(root).frames[::2]] == [1, 11, 1001]


def change_json(path: Path, change: Callable[[object], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def put(index: int, **values: object) -> Callable[[Path], None]:
    return lambda root: change_json(root / "001" / "frames.json", lambda items: items[index].update(values))


def about(**values: object) -> Callable[[Path], None]:
    return lambda root: change_json(root / "dataset.json", lambda info: info.update(values))


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda root: (root / name).write_text(text)


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def image(name: str, plane: np.ndarray) -> Callable[[Path], None]:
    return lambda root: cv2.imwrite(str(root / "001" / f"frame_000001_face_{name}.png"), plane)


ANGLES = "0\t0\t0\t0\n1\t0\t0\t0\n2\t0\t0\t0\n3\t0\t0\t0\n"
DAMAGE = {
    "no description": (remove("dataset.json"), r"dataset\.json: got no such file"),
    "broken description": (write("dataset.json", "{"), r"dataset\.json: got .*expected valid JSON"),
    "another layout": (about(layout="biwi"), r"dataset\.json: got format 1, layout 'biwi'"),
    "an odd margin": (about(margin=1.4), r"dataset\.json: got crop_px 144 and margin 1\.4"),
    "no splits": (about(subjects=None), r"dataset\.json: subjects: got None, expected an object with train, val, test"),
    "a subject twice": (
        about(subjects={"train": [1, 2, 3, 4], "val": [4, 5], "test": [6]}),
        r"dataset\.json: subjects: got subject 4 in train and val",
    ),
    "a subject in no split": (
        about(subjects={"train": [1, 2, 3], "val": [5], "test": [6]}),
        r"dataset\.json: got no split for subject 4",
    ),
    "no frames.json": (remove("001/frames.json"), r"001/frames\.json: got no such file"),
    "frames.json of another kind": (write("001/frames.json", "{}"), r"001/frames\.json: got a dict, expected a list"),
    "a distance of zero": (put(2, distance_mm=0), r"frames\.json: \[2\]\.distance_mm: got 0, expected a number from 1"),
    "a distance that is text": (put(2, distance_mm="far"), r"\[2\]\.distance_mm: got far"),
    "a distance of 400 digits": (put(2, distance_mm=10**400), r"\[2\]\.distance_mm: got 10{400}, expected a number"),
    "minus 400 digits": (put(2, distance_mm=-(10**400)), r"\[2\]\.distance_mm: got -10{400}, expected a number"),
    "5,000 digits": (write("001/frames.json", "1" * 5000), r"frames\.json: got .*expected valid JSON"),
    "brackets without end": (write("001/frames.json", "[" * 100_000), r"frames\.json: got .*expected valid JSON"),
    "a distance without end": (put(2, distance_mm=float("inf")), r"\[2\]\.distance_mm: got inf, expected a number"),
    "no distance": (put(2, distance_mm=None), r"\[2\]\.distance_mm: got None"),
    "too visible": (put(1, visible=1.5), r"\[1\]\.visible: got 1\.5, expected a number from 0 to 1"),
    "face unknown": (put(1, face="yes"), r"frames\.json: \[1\]: got face 'yes'"),
    "no angles": (remove("001/angles.txt"), r"001/angles\.txt: got .*expected a text file of angles"),
    "angles with commas": (write("001/angles.txt", ANGLES.replace("\t", ",")), r"angles\.txt: line 1: got 0,0,0,0"),
    "an angle missing": (write("001/angles.txt", ANGLES[:-8]), r"angles\.txt: got no line for frame 3"),
    "an angle too many": (write("001/angles.txt", ANGLES + "4\t0\t0\t0\n"), r"angles\.txt: got angles of frame 4"),
    "angles of a frame twice": (write("001/angles.txt", ANGLES + "3\t0\t0\t0\n"), r"angles\.txt: line 5: got 3"),
    "an angle that is NaN": (write("001/angles.txt", ANGLES.replace("1\t0", "1\tnan")), r"angles\.txt: line 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_set_names_the_file(case: str, root: Path) -> None:
    damage, message = DAMAGE[case]
    damage(root)
    with pytest.raises(InputError, match=message):
        open_crops_set(root)


IMAGE_DAMAGE = {
    "no image": (remove("001/frame_000001_face_rgb.png"), r"_rgb\.png: got no such file, expected a PNG image"),
    "no PNG": (write("001/frame_000001_face_depth.png", "x"), r"_depth\.png: got a file that does not decode"),
    "8-bit depth": (image("depth", np.zeros((144, 144), np.uint8)), r"got 144 x 144 uint8, expected 144 x 144 uint16"),
    "another size": (image("label", np.zeros((144, 96), np.uint8)), r"_label\.png: got 96 x 144 uint8"),
    "an unknown label": (image("label", np.full((144, 144), 9, np.uint8)), r"_label\.png: got label 9"),
    "labels in colour": (image("label", np.zeros((144, 144, 3), np.uint8)), r"_label\.png: got shape \(144, 144, 3\)"),
}


@pytest.mark.parametrize("case", IMAGE_DAMAGE)
def test_a_damaged_image_is_named_and_leaves_no_packed_set(case: str, root: Path, tmp_path: Path) -> None:
    damage, message = IMAGE_DAMAGE[case]
    damage(root)
    with pytest.raises(InputError, match=message):
        open_packed_set(root, tmp_path / "cache", processes=1, progress=False)
    assert list((tmp_path / "cache").iterdir()) == []


def test_packed_arrays_equal_the_images(crops_root: Path, tmp_path: Path) -> None:
    data = open_packed_set(crops_root, tmp_path, processes=1, progress=False)
    assert data.gray.shape == (24, 144, 144)
    for position in (0, 7, 23):
        entry = data.crops.frames[position]
        for plane, image in zip(
            (data.gray, data.depth_mm, data.label), read_frame(crops_root, entry, 144), strict=True
        ):
            np.testing.assert_array_equal(plane[position], image)
        assert data.meta[position]["distance_mm"] == np.float32(entry.distance_mm)
        assert data.meta[position]["subject"] == entry.subject
    with pytest.raises(ValueError, match="read-only"):
        data.gray[0, 0, 0] = 1


def test_splits_share_no_subject(crops_root: Path, tmp_path: Path) -> None:
    data = open_packed_set(crops_root, tmp_path, processes=1, progress=False)
    people = {split: set(data.meta["subject"][data.indices(split)].tolist()) for split in ("train", "val", "test")}
    assert people == {"train": {1, 2, 3, 4}, "val": {5}, "test": {6}}


def test_an_empty_split_is_told(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "026")
    data = open_packed_set(root, tmp_path / "cache", processes=1, progress=False)
    with pytest.raises(InputError, match="split test: got no frames"):
        data.indices("test")


def test_packing_is_done_once_and_anew_after_a_change(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = open_packed_set(root, cache, processes=1, progress=False)
    stamp = (cache / first.key / "gray.npy").stat().st_mtime_ns
    again = open_packed_set(root, cache, processes=1, progress=False)
    assert again.key == first.key
    assert (cache / first.key / "gray.npy").stat().st_mtime_ns == stamp
    change_json(root / "001" / "frames.json", lambda items: items[0].update(visible=0.5))
    changed = open_packed_set(root, cache, processes=1, progress=False)
    assert changed.key != first.key
    assert changed.meta[0]["visible"] == 0.5


def test_a_damaged_packed_set_is_told(crops_root: Path, tmp_path: Path) -> None:
    data = open_packed_set(crops_root, tmp_path, processes=1, progress=False)
    path = tmp_path / data.key / "label.npy"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"label\.npy: got .*Remove .* and start again"):
        open_packed_set(crops_root, tmp_path, processes=1, progress=False)


@pytest.mark.slow
def test_several_processes_pack_the_same(tmp_path: Path) -> None:
    root = write_crops_set(tmp_path / "set", subjects=3, frames=90)
    one = open_packed_set(root, tmp_path / "one", processes=1, progress=False)
    two = open_packed_set(root, tmp_path / "two", processes=2, progress=False)
    for name in ("gray", "depth_mm", "label"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert len(one.gray) == 270
