# SPDX-License-Identifier: Apache-2.0
"""The converters of public recordings: computed scenes, laid out as published, whose right answers are known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.recordings import kinect_v1, kinect_v2_infrared, three_cameras
from benchmarks.rgbd_frames import read_frames
from facedepth_edge import Camera
from facedepth_edge.errors import InputError

TURN_DEG = np.degrees(np.arcsin(0.6))  # its cosine is 0.8


def turn_by(right_deg: float = 0.0, up_deg: float = 0.0, roll_deg: float = 0.0) -> np.ndarray:
    return cv2.Rodrigues(np.radians([up_deg, right_deg, roll_deg]))[0]


def pixels_in(path: Path) -> np.ndarray:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))


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
    assert kinect_v2_infrared.origin_of(own, size * own @ turn.T + place) == pytest.approx(expected, abs=1e-9)


def test_v2_head_is_never_mirrored() -> None:
    """The relief measured inside out: not the mirror is best but no turn, of size (1600 + 900 - 100) / 2600."""
    relief = np.array([[40.0, 0, 0], [-40, 0, 0], [0, 30, 0], [0, -30, 0], [0, 0, 10], [0, 0, -10]])
    found = kinect_v2_infrared.origin_of(np.add(relief, [0, 0, -91]), relief * [1, 1, -1] + [5, 6, 700])
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


# Three cameras, pictures of 256 pixels a side: they look at one point 520 mm before the middle one, from 13 degrees to
# the left of it and 13 to the right.
POINT_MM = np.array([0.0, 0.0, 520.0])
TURNS = {"Left": turn_by(-13), "Middle": np.eye(3), "Right": turn_by(13)}


def lens(focal_px: float, x: float, y: float, radial: float) -> three_cameras.Lens:
    matrix = np.array([[focal_px, 0, x], [0, focal_px, y], [0, 0, 1]])
    return three_cameras.Lens(matrix, np.array([[radial, 0, 0, 0, 0]]))


LENSES = {"Left": lens(600, 128, 131, -0.2), "Middle": lens(610, 126, 125, 0.15), "Right": lens(590, 130, 127, -0.1)}


def seen_from(camera: str, points_mm: np.ndarray) -> np.ndarray:
    """Return points of the middle camera's frame (n, 3) in another's, mm."""
    return (points_mm - POINT_MM) @ TURNS[camera].T + POINT_MM


def pair_of(first: str, second: str) -> three_cameras.Pair:
    turn = TURNS[second] @ TURNS[first].T
    return three_cameras.Pair(LENSES[first], LENSES[second], turn, POINT_MM - turn @ POINT_MM)


def pixels_of(camera: str, points_mm: np.ndarray) -> np.ndarray:
    """Return where points of the camera's own frame are seen through its lens, (n, 2) in OpenCV's convention."""
    own = LENSES[camera]
    return cv2.projectPoints(points_mm, np.zeros(3), np.zeros(3), own.matrix, own.distortion)[0][:, 0]


def boards() -> dict[tuple[int, int], dict[str, np.ndarray]]:
    """Return boards in 9 poses; of the third, the right camera saw it 2 mm lower; of the fourth, nothing."""
    random, seen = np.random.default_rng(0), {}
    for number in range(9):
        turn = cv2.Rodrigues(random.uniform(-0.4, 0.4, 3))[0]
        corner = np.array([-40, -25, 520]) + random.uniform(-20, 20, 3)
        points = np.array([[10.0 * x, 10.0 * y, 0.0] for y in range(6) for x in range(9)]) @ turn.T + corner
        seen[1 + number % 2, number] = {
            camera: pixels_of(camera, seen_from(camera, points + late)).astype(np.float32)
            for camera in three_cameras.CAMERAS
            if (number, camera) != (3, "Right")
            for late in [[0, 2.0 * (number == 2 and camera == "Right"), 0]]
        }
    return seen


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    threads = cv2.getNumThreads()
    monkeypatch.setattr(three_cameras, "SIDE_PX", 256)
    yield monkeypatch
    cv2.setNumThreads(threads)


def exact_marks(change: pytest.MonkeyPatch, head_mm: np.ndarray) -> tuple[tuple[tuple[int, int], ...], np.ndarray]:
    """Make the mean's measures those, turned and of another size, of 5 pixels; return these and the depth image."""
    marks, depth = ((90, 90), (166, 92), (125, 130), (105, 150), (148, 151)), np.zeros((256, 256), np.uint16)
    points = []
    for (x, y), depth_mm in zip(marks, (440, 446, 400, 428, 431), strict=True):
        depth[y - 9 : y + 10, x - 9 : x + 10] = 0
        depth[y - 9, x - 9 : x + 10] = depth_mm  # at the window's edge, and the rest of it is not known
        depth[y + 10, x - 9 : x + 10] = depth[y - 10 : y + 10, x + 10] = 900
        points.append(np.linalg.solve(LENSES["Middle"].matrix, [x, y, 1]) * depth_mm)
    change.setattr(three_cameras, "MEAN_HEAD_MM", (np.array(points) - head_mm) @ turn_by(20, 10, 5) / 1.3)
    return marks, depth


def test_three_pictures_come_in_their_numbers_order(tmp_path: Path) -> None:
    for name in ("1093.jpg", "1.jpg", "365.jpg", "2.txt", "x.jpg"):
        (tmp_path / f"s_{name}").touch()
    expected = [(number, tmp_path / f"s_{number}.jpg") for number in (1, 365, 1093)]
    assert [*three_cameras.numbered(tmp_path).items()] == expected
    with pytest.raises(InputError, match=r"none: got no pictures, expected \*_NUMBER\.jpg"):
        three_cameras.numbered(tmp_path / "none")


def test_three_boards_are_found_from_left_to_right(small: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Squares of 18 pixels, the first at 20, 40: the first inner corner is between pixels, at 37.5, 57.5."""
    picture = np.full((256, 256), 220.0)
    picture[40 : 40 + 126, 20 : 20 + 180] = np.kron(np.indices((7, 10)).sum(axis=0) % 2, np.full((18, 18), 200)) + 20
    corners = np.array([[37.5 + 18 * x, 57.5 + 18 * y] for y in range(6) for x in range(9)])
    for folder in ("Calibratie 1/calibration", "Calibratie 2/calibration2"):
        for camera in three_cameras.CAMERAS:
            path = tmp_path / "code/images" / f"{folder}{camera}" / "Calibratie_7.jpg"
            path.parent.mkdir(parents=True)
            shown = {"Left": picture, "Middle": picture[::-1, ::-1], "Right": np.full((256, 256), 220.0)}[camera]
            cv2.imwrite(str(path), np.dstack([shown] * 3), [cv2.IMWRITE_JPEG_QUALITY, 100])
    found = three_cameras.find_boards(tmp_path)
    assert set(found) == {(1, 7), (2, 7)}
    for own in found.values():
        assert set(own) == {"Left", "Middle"}
        assert own["Left"] == pytest.approx(corners, abs=0.1)
        assert own["Middle"] == pytest.approx(255 - corners[::-1], abs=0.1)


def test_three_cameras_are_calibrated(small: pytest.MonkeyPatch) -> None:
    pairs = three_cameras.calibrate(boards())
    assert list(pairs) == [("Left", "Middle"), ("Middle", "Right")]
    for names, pair in pairs.items():
        true = pair_of(*names)
        for found, put in ((pair.first, true.first), (pair.second, true.second)):
            assert found.matrix == pytest.approx(put.matrix, abs=0.02)
            assert found.distortion == pytest.approx(put.distortion, abs=0.002)
        assert pair.turn == pytest.approx(true.turn, abs=1e-5)
        assert pair.place == pytest.approx(true.place, abs=0.01)


@pytest.mark.parametrize("late_px", [0.0, 3.0])
def test_three_depth_of_a_plane(small: pytest.MonkeyPatch, late_px: float) -> None:
    """A pixel of disparity is 7.5 mm here; the second picture's rows are late by so many pixels."""
    pair = pair_of("Middle", "Right")
    plane = np.array([0.15, -0.1, 1.0]) / 520  # plane @ (x, y, z) = 1
    noise = np.random.default_rng(1).integers(0, 256, (600, 600)).astype(np.float32)
    paint = (cv2.GaussianBlur(noise, (0, 0), 1.0) - 127.5) * 2.4 + 128

    def picture_of(own: three_cameras.Lens, turn: np.ndarray, place: np.ndarray, late: float) -> np.ndarray:
        at = np.ascontiguousarray(np.indices((256, 256))[::-1].reshape(2, 1, -1).T - [0.0, late])
        rays = cv2.undistortPoints(at, own.matrix, own.distortion)[:, 0]
        rays, eye = np.insert(rays, 2, 1, axis=1) @ turn, -turn.T @ place
        points = eye + rays * ((1 - plane @ eye) / (rays @ plane))[:, None]
        x, y = (points[:, :2] * 1.2 + 300).astype(np.float32).T.reshape(2, 256, 256)
        gray = cv2.remap(paint, x, y, cv2.INTER_CUBIC)
        return cv2.cvtColor(gray.clip(0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)

    first = picture_of(pair.first, np.eye(3), np.zeros(3), 0)
    depth = three_cameras.Stereo(pair).depth(first, picture_of(pair.second, pair.turn, pair.place, late_px))
    y, x = np.indices((256, 256))
    true = 1 / (np.stack([(x - 126) / 610, (y - 125) / 610, np.ones((256, 256))], axis=-1) @ plane)
    error = depth[depth > 0] - true[depth > 0]
    assert depth.dtype == np.uint16
    assert (depth > 0).mean() > 0.6
    assert abs(error.mean()) < 0.6
    assert np.percentile(np.abs(error), 99) < 4
    other = np.ascontiguousarray(first[::-1])  # does not show the same
    assert (three_cameras.Stereo(pair).depth(first, other) > 0).mean() < 0.02


def test_three_head_centre_by_marks(small: pytest.MonkeyPatch) -> None:
    head = np.array([7.0, -9.0, 530.0])
    marks, depth = exact_marks(small, head)
    assert three_cameras.head_center_mm(marks, depth, LENSES["Middle"]) == pytest.approx(head, abs=1e-6)
    depth[121, 116:135] = 0
    with pytest.raises(InputError, match=r"MARKS_XY 125, 130: got no depth"):
        three_cameras.head_center_mm(marks, depth, LENSES["Middle"])


def test_three_folder_is_one_that_is_read(small: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two pictures of a first person, who has one more by the middle camera, as published, and one of another."""
    head, spot, asked = np.array([7.0, -9.0, 530.0]), np.array([[95.0, -95.0, 520.0]]), []
    marks, marked_depth = exact_marks(small, head)

    def depth(self: three_cameras.Stereo, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        asked.append((round(first[200].mean()), round(second[200].mean())))
        return marked_depth if len(asked) % 2 == 0 else np.full((256, 256), 480 + len(asked), np.uint16)

    small.setattr(three_cameras, "find_boards", lambda root: boards())
    small.setattr(three_cameras.Stereo, "depth", depth)
    small.setattr(three_cameras, "PEOPLE", (1, 2))
    small.setattr(three_cameras, "MARKS_XY", {1: (marks, marks), 2: (marks,)})
    numbers = {"1Left": (1, 365), "1Middle": (1, 364, 1090), "1Right": (1, 365)}
    numbers |= {"2_Left": (1,), "2_Middle": (1,), "2_Right": (1,)}
    for level, (name, own) in enumerate(numbers.items(), 1):
        folder = tmp_path / f"code/images/subject{name[0]}/subject{name}"
        folder.mkdir(parents=True)
        for place, number in enumerate(own):
            picture = np.full((256, 256, 3), 30 * level + 10 * place, np.uint8)
            column, row = np.rint(pixels_of(name.lstrip("12_"), spot)[0]).astype(int)
            picture[row - 1 : row + 2, column - 1 : column + 2] = 255
            cv2.imwrite(str(folder / f"subject{name}_{number}.jpg"), picture)
    assert three_cameras.main([str(tmp_path), str(tmp_path / "out")]) == 0
    assert asked == [(30, 60), (60, 90), (40, 70), (70, 100), (120, 150), (150, 180)]
    frames = read_frames(tmp_path / "out")
    names = ["1_0_left", "1_0_middle", "1_1_left", "1_1_middle", "2_0_left", "2_0_middle"]
    assert [frame.image.stem for frame in frames] == names
    assert [frame.person for frame in frames] == ["1"] * 4 + ["2"] * 2
    for number, frame in enumerate(frames):
        camera = ("Left", "Middle")[number % 2]
        matrix = LENSES[camera].matrix + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        x, y, z = matrix @ seen_from(camera, head[None])[0]
        assert frame.head_center_xy == pytest.approx((x / z, y / z), abs=0.03)
        found = [getattr(frame.camera, key) for key in ("fx", "fy", "cx", "cy")]
        assert found == pytest.approx(matrix[[0, 1, 0, 1], [0, 1, 2, 2]], abs=0.03)
        expected = marked_depth if number % 2 else np.full((256, 256), 481 + number)
        assert (pixels_in(frame.depth) == expected).all()
        shown = pixels_in(frame.image)[..., 0]
        assert shown[200, 50:200].mean() == pytest.approx(asked[number][0], abs=1)
        white = np.argwhere(shown > 210).mean(axis=0)[::-1] + 0.5
        x, y, z = matrix @ spot[0]
        assert white == pytest.approx([x / z, y / z], abs=0.8)


def test_three_are_too_few(small: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert three_cameras.main([str(tmp_path), str(tmp_path)]) == 1
    assert "calibrationLeft: got no pictures" in capsys.readouterr().err
    small.setattr(three_cameras, "find_boards", lambda root: boards())
    for camera in three_cameras.CAMERAS:
        folder = tmp_path / f"code/images/subject1/subject1{camera}"
        folder.mkdir(parents=True)
        for number in range(4 if camera == "Right" else 5):
            (folder / f"a_{number}.jpg").touch()
    assert three_cameras.main([str(tmp_path), str(tmp_path)]) == 1
    assert "subject1: got 4 pictures, expected 5 of each camera" in capsys.readouterr().err
