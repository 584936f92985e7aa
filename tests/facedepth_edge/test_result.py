# SPDX-License-Identifier: Apache-2.0
"""DepthResult: points, the frame's size, files and pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facedepth_edge.box import Box
from facedepth_edge.camera import Camera
from facedepth_edge.errors import InputError
from facedepth_edge.picture import colour_from_depth
from facedepth_edge.result import DepthResult

FRAME_HW = (240, 320)


def sphere_result(box: Box | None = None, size: int = 96, *, empty: bool = False, **changes: object) -> DepthResult:
    """Make a result of a ball of 80 mm radius whose nearest point is at 700 mm."""
    box = box or Box(100.25, 60.5, 240.75, 201.0)
    side_mm = 320.0
    y, x = (np.mgrid[:size, :size] + 0.5) * side_mm / size - side_mm / 2
    radius = np.hypot(x, y)
    mask = (radius < 80) & (not empty)
    bulge = 80 - np.sqrt(np.maximum(80**2 - radius**2, 0))
    relative = np.where(mask, bulge / 160, 1).astype(np.float32)
    values: dict[str, object] = {
        "depth_mm": (700 + 160 * relative).astype(np.float32),
        "relative": relative,
        "mask": mask,
        "mask_source": "model",
        "box": box,
        "head_center": (170.5, 130.75),
        "distance_mm": 700.0,
        "distance_source": "nominal",
        "validity": 0.9,
        "valid": True,
        "reason": "",
        "camera": Camera(307.3, 300.0, 160.0, 120.0),
        "frame_hw": FRAME_HW,
    }
    return DepthResult(**{**values, **changes})  # type: ignore[arg-type]


def test_points_project_back_onto_their_pixels() -> None:
    result = sphere_result()
    points = result.point_cloud()
    assert points.shape == (int(result.mask.sum()), 3)
    assert points.dtype == np.float32
    columns = 307.3 * points[:, 0] / points[:, 2] + 160.0
    rows = 300.0 * points[:, 1] / points[:, 2] + 120.0
    x, y = result.pixel_centers()
    where = np.argwhere(result.mask)
    np.testing.assert_allclose(columns, x[where[:, 1]], atol=1e-3)
    np.testing.assert_allclose(rows, y[where[:, 0]], atol=1e-3)
    np.testing.assert_array_equal(points[:, 2], result.depth_mm[result.mask])
    assert x[0] == pytest.approx(100.25 + 140.5 / 96 / 2)
    assert y[-1] == pytest.approx(201.0 - 140.5 / 96 / 2)


def test_points_of_the_whole_box() -> None:
    result = sphere_result()
    points = result.point_cloud(head_only=False)
    assert points.shape == (96 * 96, 3)
    np.testing.assert_array_equal(points[:, 2].reshape(96, 96), result.depth_mm)


@pytest.mark.parametrize(
    "box",
    [
        Box(100.25, 60.5, 240.75, 201.0),
        Box(-40.3, -20.7, 99.2, 118.9),  # partly outside
        Box(250.5, 170.5, 400.5, 320.5),
        Box(100.2, 80.1, 140.6, 120.5),  # smaller than the map
        Box(400.0, 300.0, 500.0, 400.0),  # outside
    ],
)
def test_on_frame_takes_the_pixel_that_covers(box: Box) -> None:
    result = sphere_result(box)
    pasted = result.on_frame()
    assert pasted.shape == FRAME_HW
    assert pasted.dtype == np.float32
    expected = np.zeros(FRAME_HW, np.float32)
    for row in range(FRAME_HW[0]):
        for column in range(FRAME_HW[1]):
            j = int(np.floor((column + 0.5 - box.x0) / box.width * 96))
            i = int(np.floor((row + 0.5 - box.y0) / box.height * 96))
            if 0 <= i < 96 and 0 <= j < 96 and result.mask[i, j]:
                expected[row, column] = result.depth_mm[i, j]
    np.testing.assert_array_equal(pasted, expected)
    whole = result.on_frame(head_only=False)
    assert (whole > 0).sum() >= (pasted > 0).sum()


def test_png_is_16_bit_millimetres(tmp_path: Path) -> None:
    result = sphere_result()
    path = result.save(tmp_path / "depth.png")
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, np.where(result.mask, np.rint(result.depth_mm), 0))
    assert image.max() > 700


def test_npy_is_depth_mm(tmp_path: Path) -> None:
    result = sphere_result()
    loaded = np.load(result.save(str(tmp_path / "depth.NPY")), allow_pickle=False)
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, result.depth_mm)


def test_ply_holds_the_points(tmp_path: Path) -> None:
    result = sphere_result()
    content = result.save(tmp_path / "depth.ply").read_bytes()
    header, _, body = content.partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert f"element vertex {result.mask.sum()}" in lines
    assert [line for line in lines if line.startswith("property")] == [f"property float {axis}" for axis in "xyz"]
    np.testing.assert_array_equal(np.frombuffer(body, "<f4").reshape(-1, 3), result.point_cloud())


def test_files_at_the_frames_size_are_registered_to_it(tmp_path: Path) -> None:
    result = sphere_result()
    image = cv2.imread(str(result.save(tmp_path / "depth.png", on_frame=True)), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(image, np.rint(result.on_frame()))
    np.testing.assert_array_equal(np.load(result.save(tmp_path / "depth.npy", on_frame=True)), result.on_frame())
    assert image.shape == FRAME_HW
    points = result.save(tmp_path / "depth.ply", on_frame=True).read_bytes()
    assert points == result.save(tmp_path / "again.ply").read_bytes()


def test_a_ply_says_that_its_result_is_not_valid(tmp_path: Path) -> None:
    refused = sphere_result(valid=False, reason="no usable face")
    header = refused.save(tmp_path / "a.ply").read_bytes().split(b"element")[0]
    assert header.endswith(b"comment not valid: no usable face\n")
    assert b"not valid" not in sphere_result().save(tmp_path / "b.ply").read_bytes()


def test_existing_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "depth.npy"
    path.write_bytes(b"x" * 100_000)
    np.testing.assert_array_equal(np.load(sphere_result().save(path)), sphere_result().depth_mm)


@pytest.mark.parametrize("name", ["depth.jpg", "depth", "depth.exr", ".png"])
def test_other_endings(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"path: got .*expected an ending of \.png, \.npy, \.ply"):
        sphere_result().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"depth\.png: got No such file.*expected a file that can be written"):
        sphere_result().save(tmp_path / "nowhere" / "depth.png")


def test_repr_is_short() -> None:
    assert repr(sphere_result()) == "DepthResult(96 x 96, head 700 to 774 mm, distance 700 mm by nominal, valid)"
    empty = sphere_result(empty=True, valid=False, reason="the mask is empty")
    assert repr(empty).endswith("no head pixel, distance 700 mm by nominal, not valid: the mask is empty)")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [FRAME_HW, (*FRAME_HW, 1), (*FRAME_HW, 3)])
def test_picture_with_frame(shape: tuple[int, ...], dtype: type) -> None:
    frame = np.full(shape, 60, dtype)
    before = frame.copy()
    result = sphere_result(camera=Camera(307.3, 300.0, 160.0, 120.0, max_value=255))
    picture = result.picture(frame)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[0] < picture.shape[1] < 2000
    np.testing.assert_array_equal(frame, before)
    colours = picture.reshape(-1, 3).astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)
    assert np.unique(colours).size > 200


def test_picture_shows_near_warm_and_far_cold_and_no_background() -> None:
    picture = sphere_result().picture().astype(int)
    depth_panel = picture[80:600, 16:536]
    blue, _, red = depth_panel[260, 260]
    assert red > blue + 80  # the middle of the ball, nearest
    blue, _, red = depth_panel[260, 260 - 128]
    assert blue > red + 40  # its edge, farthest
    corner = depth_panel[20, 20]
    assert corner.max() - corner.min() < 10
    assert corner.max() < 60


def test_picture_of_an_empty_mask() -> None:
    picture = sphere_result(empty=True, valid=False, reason="no head").picture(np.zeros(FRAME_HW, np.uint8))
    assert picture.shape[2] == 3
    assert not np.array_equal(picture, sphere_result().picture(np.zeros(FRAME_HW, np.uint8)))


@pytest.mark.parametrize("box", [Box(-400.0, -300.0, 700.0, 800.0), Box(150.0, 110.0, 153.0, 113.0)])
def test_picture_of_other_boxes(box: Box) -> None:
    assert sphere_result(box).picture(np.full(FRAME_HW, 50, np.uint8)).shape[0] > 500


def test_picture_of_another_frame() -> None:
    with pytest.raises(InputError, match=r"frame: got shape \(100, 100\), expected height and width \(240, 320\)"):
        sphere_result().picture(np.zeros((100, 100), np.uint8))


def test_colours_go_one_way() -> None:
    depth = np.linspace(600, 800, 256, dtype=np.float32)[None]
    colours = colour_from_depth(depth, 650.0, 750.0)
    np.testing.assert_array_equal(colours[0, 0], colours[0, 60])  # nearer than the scale
    np.testing.assert_array_equal(colours[0, -1], colours[0, -60])
    assert len(np.unique(colours[0], axis=0)) > 100
