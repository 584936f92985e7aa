# SPDX-License-Identifier: Apache-2.0
"""The converter of the laser scanner's frames: invented files, laid out as published."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.recordings import minolta_vivid
from benchmarks.recordings.marks import read_marks
from benchmarks.rgbd_frames import Frame, read_frames
from facedepth_edge import Camera
from facedepth_edge.errors import InputError
from tests.benchmarks.recording_scenes import pixels_in


def vertices_of(pixels: list[tuple[int, int]], depth_mm: float = 1600.0) -> np.ndarray:
    right, down = (np.array(pixels) + 0.5 - minolta_vivid.CASIA_AXIS_XY).T / minolta_vivid.CASIA_FOCAL_PX * depth_mm
    return np.stack([right, -down, np.full(len(pixels), -depth_mm)], axis=1)


SQUARE = [(x, y) for y in range(100, 110) for x in range(150, 160)]


def vrml(points: np.ndarray, colours: np.ndarray) -> str:
    lists = [",\n\t".join(" ".join(f"{v:.6g}" for v in one) for one in values) for values in (points, colours)]
    return f"#VRML V2.0 utf8\ncoord Coordinate {{ point [ {lists[0]}]\n}} color Color {{ color [ {lists[1]}] }}\n"


def test_vertices_go_to_their_pixels() -> None:
    points = np.vstack([vertices_of([(0, 0), (319, 239)], 1500.4), vertices_of([(0, 0)], 1510), vertices_of(SQUARE)])
    colours = np.vstack([[[1, 0.5, 0], [0, 0, 1], [0, 0, 0]], np.full((100, 3), [0.2, 0.4, 0.6])])
    picture, depth = minolta_vivid.frame_from_vertices(points, colours, "a.wrl")
    assert (picture.shape, picture.dtype, depth.shape, depth.dtype) == ((240, 320, 3), np.uint8, (240, 320), np.uint16)
    assert (depth[0, 0], depth[239, 319], (depth > 0).sum()) == (1500, 1500, 102)
    assert picture[0, 0].tolist() == [0, 128, 255]
    assert picture[239, 319].tolist() == [255, 0, 0]
    assert (picture[100:110, 150:160] == [153, 102, 51]).all()
    assert (depth[100:110, 150:160] == 1600).all()
    assert (picture[depth == 0] == minolta_vivid.BACKGROUND).all()


def test_gaps_get_colour_and_no_depth() -> None:
    seen = [(x, y) for x, y in SQUARE if (x, y) not in ((153, 103), (156, 106), (157, 106), (158, 106))]
    shades = np.array([[(x - 150) / 10] * 3 for x, _ in seen])
    picture, depth = minolta_vivid.frame_from_vertices(vertices_of(seen), shades, "a.wrl")
    assert (depth > 0).sum() == 96
    assert picture[103, 153].tolist() == [76, 76, 76]  # the mean of 0.2, 0.3 and 0.4, of 255
    assert (picture[106, 156:159, 0] != minolta_vivid.BACKGROUND).all()
    assert (np.diff(picture[106, 155:160, 0].astype(int)) > 0).all()
    assert (picture[100:110, 149] == minolta_vivid.BACKGROUND).all()
    assert (picture[99, 150:160] == minolta_vivid.BACKGROUND).all()


def test_vertex_is_not_before_the_camera_or_beside_its_frame() -> None:
    for points, told in (
        (vertices_of([(3, 3)], -1600.0), r"a\.wrl: got z of 1600 mm, expected below 0"),
        (vertices_of([(3, 3), (320, 7)]), r"a\.wrl: got columns 3 to 320, rows 3 to 7, expected all within 320 x 240"),
        (vertices_of([(3, -1)]), r"a\.wrl: got columns 3 to 3, rows -1 to -1"),
    ):
        with pytest.raises(InputError, match=told):
            minolta_vivid.frame_from_vertices(points, np.zeros_like(points), "a.wrl")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("point [1 2 3]", r"a\.wrl: got no list color \[\.\.\.\], expected one"),
        ("point [1 2 3 color [1 1 1", r"a\.wrl: got no list point \[\.\.\.\]"),
        ("point [1 2 3] color [1 1 1, 1 1 1]", r"got 3 and 6 numbers of points and colours, expected three of both"),
        ("point [1 2] color [1 1]", r"got 2 and 2 numbers"),
        ("point [] color []", r"got 0 and 0 numbers"),
        ("point [1 x 2] color [1 1 1]", r"a\.wrl, point: got could not convert"),
        ("point [1 1 2] color [1 inf 1]", r"a\.wrl, color: got nan or inf"),
    ],
)
def test_broken_vrml(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.wrl").write_text(text)
    with pytest.raises(InputError, match=told):
        minolta_vivid.read_vertices(tmp_path / "a.wrl")


def range_image(flags: np.ndarray, depth: np.ndarray) -> str:
    rows = [" ".join(f"{v:g}" for v in values.ravel()) for values in (flags, depth * 0, depth * 0, -depth)]
    return "\n".join(["240 rows", "320 columns", "pixels (flag X Y Z):", *rows]) + "\n"


@pytest.fixture
def vivid(tmp_path: Path) -> tuple[Path, Path]:
    casia, frgc = tmp_path / "casia", tmp_path / "frgc"
    for name in minolta_vivid.CASIA_SCANS.values():
        path = casia / "Anthropometric 3D Face Recognition" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(vrml(vertices_of(SQUARE), np.full((100, 3), 0.4)))
    frgc.mkdir()
    cv2.imwrite(str(frgc / "0002_example.ppm"), np.full((240, 320, 3), (7, 8, 9), np.uint8))
    flags = np.zeros((240, 320))
    flags[50:100, 60:70] = 1
    (frgc / "0002_example.abs").write_text(range_image(flags, np.where(flags > 0, 1300.6, 999999.0)))
    return casia, frgc


def check_casia(frame: Frame) -> None:
    assert frame.camera == Camera(968.2, 968.2, 160.135, 120.33)
    assert (pixels_in(frame.image)[100:110, 150:160] == 102).all()
    assert (pixels_in(frame.depth)[100:110, 150:160] == 1600).all()


def test_folder_is_one_that_is_read(
    vivid: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert minolta_vivid.main([*map(str, vivid), str(out)]) == 0
    assert capsys.readouterr().out == "11 frames\n"
    frames, marks = read_frames(out), read_marks(minolta_vivid.MARKS)
    assert {frame.person: frame.head_center_xy for frame in frames} == marks
    assert not any(frame.on_axis or frame.distance_mm for frame in frames)
    for frame in frames[:-1]:
        check_casia(frame)
    last = frames[-1]
    assert last.camera == Camera(971.24, 971.16, 160.241, 120.132)
    assert (pixels_in(last.image) == [7, 8, 9]).all()
    depth = pixels_in(last.depth)
    assert (depth[50:100, 60:70] == 1301).all()
    assert (depth > 0).sum() == 500


def test_one_of_the_two_is_not_there(
    vivid: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    casia, frgc, gone, out = *vivid, tmp_path / "gone", tmp_path / "out"
    for roots, count in (((casia, gone), 10), ((gone, frgc), 1)):
        assert minolta_vivid.main([*map(str, roots), str(out)]) == 0
        assert capsys.readouterr().out == f"{count} frames\n{gone}: no such folder, left out\n"
        assert len(read_frames(out)) == count
    assert minolta_vivid.main([str(gone), str(gone), str(out)]) == 1
    assert "got no such folders, expected one at least" in capsys.readouterr().err


def test_broken_range_image(tmp_path: Path) -> None:
    path, flags = tmp_path / "a.abs", np.ones((240, 320))
    good = range_image(flags, flags * 1300)
    for text, told in (
        (good.replace("320 columns", "321 columns"), r"a\.abs: got 7 lines that begin with .*321 columns"),
        (good.rsplit("\n", 2)[0], r"a\.abs: got 6 lines"),
        (range_image(flags[:-1], flags), r"a\.abs: got 76480 flags and 76800 depths, expected 76800 of both"),
        (range_image(flags, flags * -5), r"a\.abs: got z to -5 mm behind"),
        (good.replace("-1300", "-far", 1), r"a\.abs, line 7: got could not convert"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=told):
            minolta_vivid.read_range_image(path)
