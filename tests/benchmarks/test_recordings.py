# SPDX-License-Identifier: Apache-2.0
"""The converters of the Kinects' recordings: computed scenes, laid out as published, whose right answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.recordings import kinect_v1, kinect_v2_infrared
from benchmarks.recordings.similarity import origin_of
from benchmarks.rgbd_frames import read_frames
from facedepth_edge import Camera
from facedepth_edge.errors import InputError
from tests.benchmarks.recording_scenes import pixels_in, turn_by

TURN_DEG = np.degrees(np.arcsin(0.6))  # its cosine is 0.8


# Kinect v1. The tragi are 80 mm beside this point, in the space of the poses, and 3 marks with two of them right have
# the right median. A mark is a pixel: 525 * 64 / 700 = 48 and 500 * 14 / 700 = 10 from the published axis, 320 and 240.
MIDDLE_MM = np.array([300.0, 500.0, 60.0])
V1_MARKS = {
    "right": ((1, 272, 230), (1, 100, 100), (1, 272, 230)),
    "left": ((3, 368, 230), (3, 368, 230), (3, 100, 100)),
}
V1_FRAMES = (  # yaw, pitch, and where the camera sees the point
    (0.0, 0.0, (100.0, 50.0, 800.0)),
    (TURN_DEG, 0.0, (0.0, -14.0, 748.0)),  # the right tragus at -64, -14, 700 mm
    (75.0, 0.0, (-40.0, 20.0, 700.0)),
    (-TURN_DEG, 0.0, (0.0, -14.0, 748.0)),
    (77.0, 0.0, (0.0, 0.0, 700.0)),
    (-77.0, 0.0, (0.0, 0.0, 700.0)),
    (0.0, 80.0, (10.0, 0.0, 700.0)),
)
V1_KEPT = [0, 1, 2, 3, 6]


def ear_depth(depth_mm: int, x: int) -> np.ndarray:
    """Return a raw depth image: an ear in a fifth of a mark's window, hair that is not measured, and a far wall."""
    raw = np.full((480, 640), 1290, np.uint16)
    window = np.array([*np.add(depth_mm, [0, -10, 30, 0, 0]), *[0] * 10, *[5000] * 10], np.uint16)
    raw[229 - 2 : 229 + 3, x - 2 - 2 : x - 2 + 3] = window.reshape(5, 5)  # 2 pixels left of the mark, 1 above
    return raw


def v1_file(root: Path, frame: int, ending: str) -> Path:
    return root / "Assignment1/Data/data" / f"{frame:010d}{ending}"


def write_camera(path: Path, **matrices: np.ndarray) -> None:
    nodes = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, matrix in matrices.items():
        nodes.write(name, matrix.astype(np.float32))
    nodes.release()


@pytest.fixture
def v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kinect_v1, "FRAMES", len(V1_FRAMES))
    monkeypatch.setattr(kinect_v1, "TRAGUS_XY", V1_MARKS)
    root = tmp_path / "Computer-Vision-2"
    v1_file(root, 0, "").parent.mkdir(parents=True)
    for frame, (yaw, pitch, seen) in enumerate(V1_FRAMES):
        cv2.imwrite(str(v1_file(root, frame, ".jpg")), np.full((480, 640, 3), 50 + 20 * frame, np.uint8))
        cv2.imwrite(str(v1_file(root, frame, "_depth.png")), ear_depth(700, 272 if frame == 1 else 368))
        turn = turn_by(yaw, pitch)
        place_m = (MIDDLE_MM - turn @ seen)[:, None] / 1000
        intrinsics = np.array([[525.0, 0, 320], [0, 500, 240], [0, 0, 1]])
        write_camera(v1_file(root, frame, "_camera.xml"), intrinsic=intrinsics, R=turn, t=place_m)
    return root


def test_v1_tragi_are_found_by_marks_and_poses(v1: Path) -> None:
    recording = kinect_v1.Recording(v1)
    for side, beside in (("right", -80), ("left", 80)):
        found = kinect_v1.tragus_mm(recording, V1_MARKS[side])
        assert found == pytest.approx(np.add(MIDDLE_MM, [beside, 0, 0]), abs=1e-3)
    assert kinect_v1.head_center_mm(recording) == pytest.approx(MIDDLE_MM, abs=1e-3)


def test_v1_folder_is_one_that_is_read(v1: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert kinect_v1.main([str(v1), str(out)]) == 0
    assert capsys.readouterr().out == "5 frames\n"
    frames = read_frames(out)
    assert [frame.image.name for frame in frames] == [f"{number:03d}.png" for number in V1_KEPT]
    for number, frame in zip(V1_KEPT, frames, strict=True):
        x, y, z = V1_FRAMES[number][2]
        assert frame.head_center_xy == pytest.approx((320.5 + 525 * x / z, 240.5 + 500 * y / z), abs=0.006)
        assert frame.camera == Camera(525, 500, 320.5, 240.5)
        assert (frame.person, frame.on_axis, frame.distance_mm) == ("1", False, None)
        assert np.abs(pixels_in(frame.image).astype(int) - (50 + 20 * number)).max() <= 1
        assert (pixels_in(frame.depth)[228, [270, 274] if number == 1 else [366, 370]] == 700).all()


def test_v1_depth_is_moved_right_and_down(v1: Path) -> None:
    raw = np.arange(480 * 640, dtype=np.uint32).reshape(480, 640) % 65_521
    cv2.imwrite(str(v1_file(v1, 0, "_depth.png")), raw.astype(np.uint16))
    assert (kinect_v1.Recording(v1).depth(0) == np.pad(raw[:-1, :-2], ((1, 0), (2, 0)))).all()


def test_v1_yaw_is_about_the_upright_axis(v1: Path) -> None:
    for frame, (yaw, _, _) in enumerate(V1_FRAMES):
        assert kinect_v1.Recording(v1).yaw_deg(frame) == pytest.approx(yaw, abs=1e-3)


def test_v1_camera_file_is_missing_or_damaged(v1: Path) -> None:
    path = v1_file(v1, 1, "_camera.xml")
    told = r"0000000001_camera\.xml: got .*, expected intrinsic, R and t\. Clone"
    write_camera(path, intrinsic=np.eye(3), R=np.eye(3))
    for text in (None, "", "no XML"):
        with pytest.raises(InputError, match=told):
            kinect_v1.head_center_mm(kinect_v1.Recording(v1))
        path.write_text(text or "")
    path.unlink()
    with pytest.raises(InputError, match=told):
        kinect_v1.head_center_mm(kinect_v1.Recording(v1))


@pytest.mark.parametrize("everywhere", [0, 1300])
def test_v1_no_depth_at_a_mark(v1: Path, everywhere: int) -> None:
    cv2.imwrite(str(v1_file(v1, 3, "_depth.png")), np.full((480, 640), everywhere, np.uint16))
    with pytest.raises(InputError, match=r"frame 3, pixel 368, 230: got no depth"):
        kinect_v1.head_center_mm(kinect_v1.Recording(v1))


def test_v1_tragi_are_not_those_of_a_head(v1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The left ear 210 mm farther along its ray, (64, -14, 700), is at 49.4, -4.2, 179.5 from the right one."""
    cv2.imwrite(str(v1_file(v1, 3, "_depth.png")), ear_depth(910, 368))
    with pytest.raises(InputError, match=r"TRAGUS_XY: got 186 mm between the tragi, expected 150 to 180"):
        kinect_v1.head_center_mm(kinect_v1.Recording(v1))
    monkeypatch.setattr(kinect_v1, "TRAGUS_XY", {"right": V1_MARKS["right"], "left": V1_MARKS["right"]})
    with pytest.raises(InputError, match=r"TRAGUS_XY: got 0 mm"):
        kinect_v1.head_center_mm(kinect_v1.Recording(v1))


def test_v1_picture_of_another_size(v1: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(v1_file(v1, 2, ".jpg")), np.zeros((240, 320, 3), np.uint8))
    assert kinect_v1.main([str(v1), str(tmp_path / "out")]) == 1
    assert "0000000002.jpg: got 320 x 240 uint8, expected 640 x 480" in capsys.readouterr().err


# Kinect v2: a head on the mean's measures whose centre is at V2_HEAD_MM, which is V2_HEAD_XY of a frame of 200 x 220.
V2_HEAD_MM = (30.0, -20.0, 800.0)
V2_HEAD_XY = (100 + 365 * 30 / 800, 110 - 365 * 20 / 800)
MEASURED = [index for index, *_ in kinect_v2_infrared.MEAN_HEAD_MM]


def set_depth(points: np.ndarray, depth: np.ndarray, index: int, depth_mm: float) -> None:
    column, row = points[index].astype(int)
    depth[row - 1 : row + 2, column - 1 : column + 2] = depth_mm


def infrared_face() -> tuple[np.ndarray, np.ndarray]:
    """Return the labelled points (15, 2) and the depth (220, 200) uint16 mm, known at seven of them only."""
    points, depth = np.full((15, 2), 105.0), np.zeros((220, 200), np.uint16)
    for index, *beside in kinect_v2_infrared.MEAN_HEAD_MM:
        x, y, z = np.add(V2_HEAD_MM, beside)
        points[index] = 100 + 365 * x / z, 110 + 365 * y / z
        set_depth(points, depth, index, z)
    return points, depth


def label(name: str, points: np.ndarray) -> str:
    return " ".join(map(str, [name, 0, 200, 0, 220, *(points - 0.5).ravel()]))


def test_v2_labels_are_pixels(tmp_path: Path) -> None:
    numbers = " ".join(map(str, range(34)))
    (tmp_path / "labels.txt").write_text(f"a-male/0 {numbers}\n\nb-female/17 {numbers}\n")
    labels = kinect_v2_infrared.read_labels(tmp_path)
    assert list(labels) == ["a-male/0", "b-female/17"]
    assert (labels["a-male/0"] == np.arange(4, 34).reshape(15, 2) + 0.5).all()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a/1 " + "3 " * 33, r"labels\.txt, line 3: got 33 numbers, expected 34"),
        ("a/1 " + "3 " * 35, r"labels\.txt, line 3: got 35 numbers, expected 34"),
        ("a/1 " + "3 " * 33 + "x", r"labels\.txt, line 3: got could not convert .*'x', expected numbers"),
        ("a/1 " + "3 " * 33 + "nan", r"labels\.txt, line 3: got nan or inf, expected finite numbers"),
        ("a " + "3 " * 34, r"labels\.txt, line 3: got a, expected PERSON/NUMBER"),
        ("a/b " + "3 " * 34, r"labels\.txt, line 3: got a/b, expected PERSON/NUMBER"),
    ],
)
def test_v2_broken_line_is_named(tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "labels.txt").write_text(f"a/0 {'3 ' * 34}\n\n{line}\n")
    with pytest.raises(InputError, match=told):
        kinect_v2_infrared.read_labels(tmp_path)


@pytest.mark.parametrize(("size", "kept"), [(1.0, 1.0), (0.92, 0.92), (1.12, 1.12), (1.5, 1.15), (0.5, 0.9)])
def test_v2_known_similarity_is_recovered(size: float, kept: float) -> None:
    """Past SIZES the middles still agree."""
    own = np.array([place for _, *place in kinect_v2_infrared.MEAN_HEAD_MM])
    turn, place = turn_by(50, -8, 12), np.array([30.0, -20.0, 800.0])
    expected = place + (size - kept) * turn @ own.mean(axis=0)
    assert origin_of(own, size * own @ turn.T + place, kinect_v2_infrared.SIZES) == pytest.approx(expected, abs=1e-9)


def test_v2_head_is_never_mirrored() -> None:
    """The relief measured inside out: not the mirror is best but no turn, of size (1600 + 900 - 100) / 2600."""
    relief = np.array([[40.0, 0, 0], [-40, 0, 0], [0, 30, 0], [0, -30, 0], [0, 0, 10], [0, 0, -10]])
    found = origin_of(np.add(relief, [0, 0, -91]), relief * [1, 1, -1] + [5, 6, 700], kinect_v2_infrared.SIZES)
    assert found == pytest.approx([5, 6, 784], abs=1e-9)


def test_v2_head_centre() -> None:
    points, depth = infrared_face()
    assert kinect_v2_infrared.head_center_xy(points, depth) == pytest.approx(V2_HEAD_XY, abs=1e-6)
    depth[int(points[8, 1]) - 1 : int(points[8, 1]) + 1] = 0  # a third of what is around a point is enough
    set_depth(points, depth, 2, 0)
    set_depth(points, depth, 9, 900)  # the wall behind
    points[4] = -40, -60  # outside, so its depth is unknown
    assert kinect_v2_infrared.head_center_xy(points, depth) == pytest.approx(V2_HEAD_XY, abs=1e-6)
    points[10] = 300, 400
    assert kinect_v2_infrared.head_center_xy(points, depth) is None  # 0, 6 and 8 are left


def test_v2_head_centre_is_not_known() -> None:
    points, depth = infrared_face()
    for index, far_mm in zip(MEASURED, (300, 450, 600, 720, 850, 1000, 1150), strict=True):
        set_depth(points, depth, index, far_mm)
    assert kinect_v2_infrared.head_center_xy(points, depth) is None  # none within 80 mm of the median but itself
    points, depth = infrared_face()
    for index in MEASURED[:3]:
        set_depth(points, depth, index, 0)
    assert kinect_v2_infrared.head_center_xy(points, depth) is not None
    set_depth(points, depth, MEASURED[3], 0)
    assert kinect_v2_infrared.head_center_xy(points, depth) is None
    points[MEASURED[0]], depth[:2, :2] = 0.5, 720  # the window of a point at the edge is what there is of it
    assert kinect_v2_infrared.head_center_xy(points, depth) is not None


def test_v2_white_is_what_the_face_reaches() -> None:
    """The face's 10 x 10 pixels are 1 to 100, so 98.02 is what 98 percent of them reach, and becomes 220."""
    infrared = np.full((20, 30), 5000, np.uint16)
    infrared[4:14, 7:17] = np.arange(1, 101).reshape(10, 10)
    points = np.full((15, 2), 9.5)
    points[0], points[1] = (7.5, 4.5), (16.5, 13.5)
    picture = kinect_v2_infrared.picture_from(infrared, points)
    assert picture.dtype == np.uint8
    assert (picture[4:14, 7:17].ravel() == np.rint(np.arange(1, 101) * 220 / 98.02)).all()
    assert (picture[0] == 255).all()
    assert not kinect_v2_infrared.picture_from(np.zeros((20, 30), np.uint16), points).any()


def write_v2(root: Path) -> Path:
    points, depth = infrared_face()
    for part, person, numbers in (("FaceX-Train/train", "a-male", range(8)), ("FaceX/test", "b-female", range(4))):
        (root / part / person).mkdir(parents=True)
        lines = [label(f"{person}/{number}", points) for number in numbers]
        (root / part / "labels.txt").write_text("\n".join(lines) + "\n")
        for number in (0, 3, 6):  # the others are not looked for
            measured = np.zeros_like(depth) if (person, number) == ("a-male", 3) else depth
            start = str(root / part / person / f"{number}_")
            cv2.imwrite(start + "depth.png", measured)
            cv2.imwrite(start + "long_exposure_infrared.png", np.full(depth.shape, 900 + number, np.uint16))
    return root


def test_v2_folder_is_one_that_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = write_v2(tmp_path / "published"), tmp_path / "out"
    assert kinect_v2_infrared.main([str(root), str(out)]) == 0
    assert capsys.readouterr().out == "4 frames\n"
    frames = read_frames(out)
    assert [frame.image.stem for frame in frames] == ["a-male_00", "a-male_06", "b-female_00", "b-female_03"]
    assert [frame.person for frame in frames] == ["a-male"] * 2 + ["b-female"] * 2
    for item, frame in zip(json.loads((out / "frames.json").read_text()), frames, strict=True):
        assert not {"cx", "cy", "distance_mm"} & set(item)
        assert frame.on_axis
        assert (frame.camera.fx, frame.camera.fy) == (365, 365)
        assert frame.head_center_xy == pytest.approx(V2_HEAD_XY, abs=0.006)
        assert (pixels_in(frame.image) == np.full((220, 200), 220, np.uint8)).all()
        assert (pixels_in(frame.depth) == infrared_face()[1]).all()


def test_v2_file_is_missing_or_of_another_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_v2(tmp_path / "published")
    depth, labels = root / "FaceX/test/b-female/3_depth.png", root / "FaceX-Train/train/labels.txt"
    cv2.imwrite(str(depth), np.zeros((200, 220), np.uint16))
    for told, spoilt in (("depth.png: got 220", depth), ("depth.png: got no", labels), ("labels.txt: got no", root)):
        assert kinect_v2_infrared.main([str(root), str(tmp_path)]) == 1
        assert told in capsys.readouterr().err
        spoilt.rename(spoilt.with_name("gone"))
