# SPDX-License-Identifier: Apache-2.0
"""The converter of the York faces: an invented surface before the published cameras, laid out as published."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.recordings import york_3d_face
from benchmarks.recordings.marks import read_marks
from benchmarks.rgbd_frames import read_frames
from facedepth_edge.errors import InputError
from tests.benchmarks.recording_scenes import pixels_in, write_marks

MIDDLE_MM = np.array([75.0, 125.0, 0.0])  # about where both cameras look
SIDE = 41  # vertices along a side of the surface, 5 mm apart
Triangles = list[tuple[int, int, int]]


def sheet(side: int, spacing_mm: float, z_mm: float) -> tuple[np.ndarray, Triangles]:
    """Return a square sheet that slopes: vertices and triangles."""
    y, x = np.mgrid[:side, :side] * spacing_mm - (side - 1) * spacing_mm / 2
    points = np.stack([x.ravel(), y.ravel(), z_mm + 0.2 * x.ravel()], axis=1) + MIDDLE_MM
    corners = [row * side + column for row in range(side - 1) for column in range(side - 1)]
    return points, [t for i in corners for t in ((i, i + 1, i + side), (i + 1, i + side + 1, i + side))]


def write_capture(root: Path, capture: str, points: np.ndarray, triangles: Triangles, shift_px: float = 0.0) -> Path:
    camera = np.array(york_3d_face.CAMERAS_PX[int(int(capture[:5]) > 101)])
    places = york_3d_face.projected(camera, points)[0] + shift_px
    folder = root / york_3d_face.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# VisionRT Ltd.", ""]
    lines += [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in points]
    lines += [f"vt {x / 1024:.8f} {1 - y / 1320:.8f}" for x, y in places]
    lines += ["f " + " ".join(f"{i + 1}/{i + 1}" for i in triangle) for triangle in triangles]
    (folder / f"{capture}.obj").write_text("\n".join(lines) + "\n")
    picture = np.zeros((1320, 1024), np.uint8)
    picture[::2] = 100  # halves to 50
    cv2.imwrite(str(folder / f"{capture}.bmp"), picture)
    return folder / f"{capture}.obj"


@pytest.fixture
def surface(monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, Triangles]:
    """A large sheet with a step that is seen edge-on, and a small one in the air before it."""
    points, triangles = sheet(SIDE, 5.0, 0.0)
    wall = len(points) + np.arange(2)
    points = np.vstack([points, points[:2] - [0, 0, 300.0]])  # from the first edge straight away
    triangles = [*triangles, (0, 1, int(wall[0])), (1, int(wall[1]), int(wall[0]))]
    patch, others = sheet(4, 5.0, 500.0)
    triangles += [(a + len(points), b + len(points), c + len(points)) for a, b, c in others]
    monkeypatch.setattr(york_3d_face, "LEAST_VERTICES", SIDE * SIDE)
    return np.vstack([points, patch]), triangles


@pytest.mark.parametrize(("capture", "camera"), [("00101-08-mww20nnngn", 0), ("00103-10-fww20nnngn", 1)])
def test_depth_is_what_the_camera_sees(
    capture: str, camera: int, surface: tuple[np.ndarray, Triangles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_capture(tmp_path / "clone", capture, *surface)
    matrix = np.array(york_3d_face.CAMERAS_PX[camera])
    ((x, y),), _ = york_3d_face.projected(matrix, MIDDLE_MM[None])
    marks = write_marks(tmp_path / "marks.csv", f"{capture},{x / 2:.2f},{y / 2:.2f}")
    monkeypatch.setattr(york_3d_face, "MARKS", marks)
    assert york_3d_face.convert(tmp_path / "clone", tmp_path / "out") == 1
    (frame,) = read_frames(tmp_path / "out")
    assert frame.person == str(int(capture[:5]))
    assert frame.groups["sex"] == ("man" if "mww" in capture else "woman")
    assert (pixels_in(frame.image) == 50).all()
    assert pixels_in(frame.image).shape == (660, 512)
    depth = pixels_in(frame.depth)
    assert depth.dtype == np.uint16
    # The camera is all but straight ahead, so z falls by a fifth of x; no false patch, and no wall behind the edge.
    seen = frame.camera
    assert seen.cx is not None
    assert seen.cy is not None
    middle = float(depth[round(y / 2), round(x / 2)])
    centre_mm = -np.linalg.solve(matrix[:, :3], matrix[:, 3])
    assert middle == pytest.approx(centre_mm[2], rel=0.01)
    right = float(depth[round(y / 2), round(x / 2 + 60 * seen.fx / middle)])
    assert middle - right == pytest.approx(12, abs=2)
    assert (depth > 0).sum() == pytest.approx(200 * 200 * seen.fx * seen.fy / middle**2, rel=0.02)
    assert depth.max() < middle + 25
    assert depth[depth > 0].min() > middle - 25
    # The intrinsics bring a pixel back to the surface, up to the camera's small turn.
    column, row = round(x / 2 + 60 * seen.fx / middle), round(y / 2)
    across = (column + 0.5 - seen.cx) / seen.fx * right - (x / 2 - seen.cx) / seen.fx * middle
    assert across == pytest.approx(60, abs=1.5)
    assert (row + 0.5 - seen.cy) / seen.fy * right == pytest.approx((y / 2 - seen.cy) / seen.fy * middle, abs=4)


def test_a_head_centre_without_depth_is_left_out(
    surface: tuple[np.ndarray, Triangles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = "00200-08-mww20nnngn"
    write_capture(tmp_path, capture, *surface)
    monkeypatch.setattr(york_3d_face, "MARKS", write_marks(tmp_path / "marks.csv", f"{capture},40,40"))
    (tmp_path / "out").mkdir()
    assert york_3d_face.convert(tmp_path, tmp_path / "out") == 0


def test_the_nearer_of_two_surfaces_is_seen() -> None:
    places = np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
    both = np.vstack([places, places])
    z_mm = np.array([1000.0, 1000.0, 1200.0, 900.0, 900.0, 900.0])
    far = york_3d_face.depth_image(both, z_mm, np.array([[0, 1, 2]]), (24, 30))
    near = york_3d_face.depth_image(both, z_mm, np.array([[3, 5, 4], [0, 1, 2]]), (24, 30))
    assert set(np.unique(near)) == {0, 900}
    assert ((far > 0) == (near > 0)).all()
    assert float(far[0, 0]) == pytest.approx(1000, abs=6)
    assert far[18, 0] == round(1 / (1 / 1000 + 18.5 / 20 * (1 / 1200 - 1 / 1000)))
    assert (far[:, 20:] == 0).all()


def test_surfaces_not_as_published_are_refused(
    surface: tuple[np.ndarray, Triangles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = "00200-08-mww20nnngn"
    monkeypatch.setattr(york_3d_face, "MARKS", write_marks(tmp_path / "marks.csv", f"{capture},250,300"))
    path = write_capture(tmp_path, capture, *surface, shift_px=3.0)
    with pytest.raises(InputError, match=rf"{capture}\.obj: got a patch of \d+ vertices, 4\.2 pixels off"):
        york_3d_face.convert(tmp_path, tmp_path / "out")
    good = write_capture(tmp_path, capture, *surface).read_text()
    for text, told in (
        ("", r"got another kind of file, expected triangles"),
        (good.replace("v ", "v x", 1), r"line \d+: got could not convert"),
        (good + "f 1/1 2/2\n", "got another kind of file"),
        (good + "f 1/1 2/2 3\n", "got another kind of file"),
        (good + "f 1/1 2/2 99999/3\n", "got a triangle of points that are not there"),
        (good + "f 0/1 2/2 3/3\n", "got a triangle of points that are not there"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=told):
            york_3d_face.convert(tmp_path, tmp_path / "out")


def test_names_tell_the_groups() -> None:
    assert york_3d_face.groups_of("00028-10-mww22ngngy") == {
        "capture": "mostly frowning", "sex": "man", "origin as coded": "ww", "beard": "no", "glasses": "yes",
        "age": "up to 24",
    }  # fmt: skip
    other = york_3d_face.groups_of("00057-08-fac00bnhgy")
    assert (other["sex"], other["origin as coded"], other["beard"], other["glasses"]) == (
        "woman",
        "another",
        "yes",
        "no",
    )
    assert "age" not in other
    assert york_3d_face.groups_of("00057-08-fac40bnhgy")["age"] == "40 and more"
    with pytest.raises(InputError, match="got 00057-09-fac40bnhgy, expected a name such as"):
        york_3d_face.groups_of("00057-09-fac40bnhgy")
    assert all(len(york_3d_face.groups_of(name)) >= 5 for name in read_marks(york_3d_face.MARKS))


def test_the_marks_are_of_218_people_in_the_pictures() -> None:
    marks = read_marks(york_3d_face.MARKS)
    assert len(marks) == 396
    assert len({name[:5] for name in marks}) == 218
    assert all(100 < x < 450 and 150 < y < 540 for x, y in marks.values())
