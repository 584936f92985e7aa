# SPDX-License-Identifier: Apache-2.0
"""The converter of the Kinect v2's 62 people: invented files, laid out as published."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.recordings import rap3df
from benchmarks.rgbd_frames import read_frames
from facedepth_edge.errors import InputError
from tests.benchmarks.recording_scenes import pixels_in, write_marks


def kept_of(depth_mm: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(depth_mm, "<f4").view(np.uint8).reshape(*depth_mm.shape, 4)[..., 2].astype("<u2")


def test_depth_comes_back_to_half_a_step() -> None:
    depth = np.arange(516, 2048, dtype=np.float32)
    error = rap3df.depth_from_bytes(kept_of(depth)).astype(float) - depth
    assert np.abs(error[depth < 1024]).max() == 2
    assert np.abs(error[depth >= 1024]).max() == 4
    assert abs(error.mean()) < 0.6
    assert (rap3df.depth_from_bytes(np.zeros((2, 2), np.uint16)) == 0).all()


def test_keeps_what_hangs_together_with_the_face() -> None:
    depth = np.zeros((9, 12), np.uint16)
    depth[2:7, 2:6] = 800
    depth[4, 6:10] = 839, 878, 917, 956  # an ear, by steps below STEP_MM
    expected = depth.copy()
    depth[6, 6] = 840  # by a step of STEP_MM
    depth[7, 6] = 800  # by a corner only, but for the one above it
    depth[0, 0] = 800
    for centre in ((3.5, 4.5), (9.9, 0.1)):  # where nothing is measured: the nearest pixel that is
        assert (rap3df.connected_to(centre, depth) == expected).all()
    assert not rap3df.connected_to((1.0, 1.0), np.zeros((4, 5), np.uint16)).any()


def head_mm() -> np.ndarray:
    row, column = np.indices(rap3df.SIZE_HW)
    depth = 740 + 0.05 * ((column - 60) ** 2 + (row - 70) ** 2)
    return np.where(depth < 860, depth, 0)


@pytest.fixture
def rap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rap3df, "MARKS", write_marks(tmp_path / "rap.csv", "ABC1234,60.25,71", "XYZ,58,70.5"))
    root = tmp_path / "rap3df-database"
    for shade, person in enumerate(("ABC1234", "XYZ", "UNMARKED")):
        folder = root / "rap3df_data" / person
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "k1_box_xy.bmp"), np.full((149, 119, 3), (10, 20, 30 + shade), np.uint8))
        kept = kept_of(head_mm())
        kept[0, 0] = 77  # a speck
        kept.tofile(folder / "k1_box_xyz_depth.data")
    return root


def test_folder_is_one_that_is_read(rap: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert rap3df.main([str(rap), str(out)]) == 0
    assert capsys.readouterr().out == "2 frames\n"
    frames = read_frames(out)
    assert [(f.image.name, f.depth.name, f.person) for f in frames] == [
        ("ABC1234.png", "ABC1234_depth.png", "ABC1234"), ("XYZ.png", "XYZ_depth.png", "XYZ")
    ]  # fmt: skip
    assert [f.head_center_xy for f in frames] == [(60.25, 71), (58, 70.5)]
    for shade, frame in enumerate(frames):
        assert (frame.camera.fx, frame.camera.fy, frame.on_axis, frame.distance_mm) == (365.5, 365.5, True, None)
        assert (pixels_in(frame.image) == [10, 20, 30 + shade]).all()
        depth, head = pixels_in(frame.depth), head_mm()
        assert depth.dtype == np.uint16
        assert ((depth > 0) == (head > 0)).all()
        assert 0 < np.abs(depth - head).max() <= 2


def test_file_is_missing_or_not_as_published(rap: Path, tmp_path: Path) -> None:
    folder = rap / "rap3df_data" / "XYZ"
    for name, content, told in (
        ("k1_box_xyz_depth.data", b"12", r"XYZ/k1_box_xyz_depth\.data: got 2 bytes, expected 35462"),
        ("k1_box_xyz_depth.data", b"\1\1" * 17_731, r"XYZ/k1_box_xyz_depth\.data: got 257, expected numbers up to 255"),
        ("k1_box_xyz_depth.data", None, r"XYZ/k1_box_xyz_depth\.data: got No such file"),
        ("k1_box_xy.bmp", None, r"XYZ/k1_box_xy\.bmp: got no such file"),
    ):
        (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
        with pytest.raises(InputError, match=told):
            rap3df.convert(rap, tmp_path / "out")
