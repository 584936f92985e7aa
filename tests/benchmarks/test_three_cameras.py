# SPDX-License-Identifier: Apache-2.0
"""The converter of three cameras' recording: computed scenes, laid out as published, whose right answers are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.recordings import three_cameras
from benchmarks.rgbd_frames import read_frames
from facedepth_edge.errors import InputError
from tests.benchmarks.recording_scenes import pixels_in, turn_by

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
