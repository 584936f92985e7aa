# SPDX-License-Identifier: Apache-2.0
"""The head pose by the depth map: its geometry exactly, its answer on the package's own rendered face, its failures."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from facedepth_edge import EdgeDepth, head_pose
from facedepth_edge.camera import Camera
from facedepth_edge.demo import load_demo_frame
from facedepth_edge.errors import ArtifactError, InputError
from facedepth_edge.head import distance_from_head_point, point_behind_face_mm
from facedepth_edge.head_pose import (
    CELLS,
    SCALE_MM,
    angles_from_rotation,
    features_from_maps,
    rotation_along_ray,
    rotation_from_columns,
    rotation_from_maps,
)
from facedepth_edge.result import DepthResult
from facedepth_edge.stream import DepthStream
from facedepth_edge.tensor_file import split_tensor_file
from tests.facedepth_edge.test_result import sphere_result


def about(axis: int, degrees: float) -> np.ndarray:
    """Return the rotation about one of the camera's axes, right-handed."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[[first, second, first, second], [first, second, second, first]] = cos, cos, -sin, sin
    return rotation


@pytest.fixture(scope="module")
def demo_result() -> DepthResult:
    demo = load_demo_frame()
    with EdgeDepth(camera=demo.camera) as model:
        return model.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm)


@pytest.mark.parametrize("yaw", [-70.0, 0.0, 33.0])
@pytest.mark.parametrize("pitch", [-40.0, 12.0])
@pytest.mark.parametrize("roll", [-100.0, 25.0])
def test_angles_say_where_the_face_looks(yaw: float, pitch: float, roll: float) -> None:
    rotation = about(2, roll) @ about(1, -yaw) @ about(0, pitch)
    np.testing.assert_allclose(angles_from_rotation(rotation), (roll, pitch, yaw), atol=1e-9)


def test_signs_are_those_of_the_picture() -> None:
    """x is right and y down; a head that looks into the camera faces -z, its top is -y."""
    face, top = np.array([0.0, 0.0, -1.0]), np.array([0.0, -1.0, 0.0])
    right = about(1, -30) @ face
    assert right[0] > 0.4
    assert angles_from_rotation(about(1, -30))[2] == pytest.approx(30)
    down = about(0, 30) @ face
    assert down[1] > 0.4
    assert angles_from_rotation(about(0, 30))[1] == pytest.approx(30)
    leaning = about(2, 30) @ top
    assert leaning[0] > 0.4
    assert angles_from_rotation(about(2, 30))[0] == pytest.approx(30)


@pytest.mark.parametrize("ray_xy", [(0.0, 0.0), (0.4, 0.0), (-0.3, 0.7)])
def test_the_axis_turns_to_the_ray_by_the_smallest_rotation(ray_xy: tuple[float, float]) -> None:
    rotation = rotation_along_ray(ray_xy)
    ray = np.array([*ray_xy, 1.0]) / np.linalg.norm([*ray_xy, 1.0])
    np.testing.assert_allclose(rotation @ [0, 0, 1], ray, atol=1e-12)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    angle = math.acos((np.trace(rotation) - 1) / 2)
    assert angle == pytest.approx(math.acos(ray[2]), abs=1e-7)


def test_six_numbers_become_the_nearest_rotation() -> None:
    expected = about(1, 20) @ about(0, -15)
    noisy = np.concatenate([2.0 * expected[:, 0], 0.5 * expected[:, 1] + 0.3 * expected[:, 0]])
    np.testing.assert_allclose(rotation_from_columns(noisy), expected, atol=1e-12)


def test_cells_are_means_over_the_head_alone() -> None:
    mask = np.zeros((96, 96), bool)
    mask[8:16, 16:20] = True  # half of the cell in row 1, column 2
    depth_mm = np.full((96, 96), 1000.0, np.float32)
    depth_mm[8:16, 16:20] = 20.0
    depth_mm[0, 0] = np.nan  # beside the head
    cells = features_from_maps(depth_mm, mask).reshape(2, CELLS, CELLS)
    expected = np.zeros((2, CELLS, CELLS))
    expected[:, 1, 2] = 0.5 * 20.0 / SCALE_MM, 0.5
    np.testing.assert_allclose(cells, expected, atol=1e-7)
    with pytest.raises(InputError, match="head_pose: got maps of 96 x 50, expected sides that 12 divides"):
        features_from_maps(depth_mm[:50], mask[:50])


def test_the_rendered_face_of_the_package(demo_result: DepthResult) -> None:
    """demo/frame.json says how its head is turned: roll 3, pitch 4, yaw -14, which looks to the picture's right."""
    pose = demo_result.head_pose()
    assert pose is not None
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == pytest.approx((14, 4, 3), abs=5)
    np.testing.assert_allclose(angles_from_rotation(pose.rotation), (pose.roll_deg, pose.pitch_deg, pose.yaw_deg))
    np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-12)
    x, y, z = pose.position_mm
    assert z == pytest.approx(demo_result.distance_mm + 100, abs=10)
    camera = demo_result.camera
    assert camera.cx is not None
    assert camera.cy is not None
    projected = (camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy)
    assert projected == pytest.approx(demo_result.head_center)


def test_a_mirrored_frame_looks_to_the_other_side(demo_result: DepthResult) -> None:
    demo = load_demo_frame()
    frame = np.ascontiguousarray(demo.frame[:, ::-1])
    camera = replace(demo_result.camera, cx=frame.shape[1] - demo_result.camera.cx)  # type: ignore[operator]
    center = (frame.shape[1] - demo.head_center[0], demo.head_center[1])
    with EdgeDepth(camera=camera) as model:
        mirrored = model.predict(frame, center, distance_mm=demo.distance_mm).head_pose()
    pose = demo_result.head_pose()
    assert mirrored is not None
    assert pose is not None
    assert pose.yaw_deg > 8
    assert (mirrored.yaw_deg, mirrored.pitch_deg) == pytest.approx((-pose.yaw_deg, pose.pitch_deg), abs=5)


def test_depth_along_the_ray_is_undone_exactly(demo_result: DepthResult) -> None:
    """The same head beside the axis: its maps along the ray are the same, and the ray turns its rotation."""
    ray_xy = (0.35, -0.2)
    norm = math.sqrt(1 + ray_xy[0] ** 2 + ray_xy[1] ** 2)
    x, y = demo_result.pixel_centers()
    camera = Camera(demo_result.camera.fx, demo_result.camera.fy, 0.0, 0.0)
    center = (ray_xy[0] * camera.fx, ray_xy[1] * camera.fy)
    side_px = demo_result.box.width
    box = type(demo_result.box)(*(c + s * side_px / 2 for s in (-1, 1) for c in center))
    beside = replace(demo_result, camera=camera, head_center=center, box=box)
    x, y = beside.pixel_centers()
    slope = 1 + ray_xy[0] * x[None] / camera.fx + ray_xy[1] * y[:, None] / camera.fy
    along_mm = np.where(demo_result.mask, 30.0 * np.sin(x[None] / 40) + 0 * y[:, None], 0)
    z = ((along_mm + norm * demo_result.distance_mm) * norm / slope).astype(np.float32)
    pose = replace(beside, depth_mm=z).head_pose()
    assert pose is not None
    seen = rotation_from_maps(along_mm.astype(np.float32), demo_result.mask)
    np.testing.assert_allclose(pose.rotation_seen, seen, atol=1e-4)
    np.testing.assert_allclose(pose.rotation, rotation_along_ray(ray_xy) @ seen, atol=1e-4)
    assert pose.yaw_seen_deg == pytest.approx(angles_from_rotation(seen)[2], abs=1e-2)
    assert abs(pose.yaw_seen_deg - pose.yaw_deg) > 10
    behind_mm = point_behind_face_mm(pose.yaw_seen_deg)  # along the ray, from the face's surface
    assert pose.position_mm[2] == pytest.approx(demo_result.distance_mm + behind_mm / norm, abs=1e-6)
    assert pose.position_mm[:2] == pytest.approx([slope * pose.position_mm[2] for slope in ray_xy])


def test_depth_that_is_not_finite_has_no_pose(demo_result: DepthResult) -> None:
    depth_mm = demo_result.depth_mm.copy()
    depth_mm[demo_result.mask] = np.nan
    assert replace(demo_result, depth_mm=depth_mm).head_pose() is None


@pytest.mark.parametrize("above_px", [80, 120, 160])
def test_a_head_that_the_frames_edge_cuts(above_px: int) -> None:
    """The mask ends at the frame's edge, which is no shape of the head."""
    demo = load_demo_frame()
    first = round(demo.head_center[1]) - above_px
    camera = demo.camera.cropped(0, first, demo.frame.shape[1], demo.frame.shape[0] - first)
    center = (demo.head_center[0], demo.head_center[1] - first)
    with EdgeDepth(camera=camera) as model:
        pose = model.predict(demo.frame[first:], center, distance_mm=demo.distance_mm).head_pose()
    assert pose is not None
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == pytest.approx((14, 4, 3), abs=9)


@pytest.mark.parametrize("head_center", [(160.0, 120.0), (300.0, 20.0), (5.0, 200.0)])
def test_the_distance_comes_back_from_where_the_head_is(head_center: tuple[float, float]) -> None:
    result = sphere_result(head_center=head_center)
    pose = result.head_pose()
    assert pose is not None
    x, y, z = pose.position_mm
    found = distance_from_head_point(z, yaw_deg=pose.yaw_seen_deg, ray_xy=(x / z, y / z))
    assert found == pytest.approx(result.distance_mm, abs=1e-9)
    assert z - result.distance_mm > 50


def test_results_without_a_pose() -> None:
    assert sphere_result(valid=False, reason="no").head_pose() is None
    assert sphere_result(mask_source="relative depth below 0.75").head_pose() is None
    assert sphere_result(size=50).head_pose() is None
    assert sphere_result().head_pose() is not None


def test_a_streams_result_has_the_pose_of_its_filtered_depth(demo_result: DepthResult) -> None:
    demo = load_demo_frame()
    with EdgeDepth(camera=demo.camera) as model:
        stream = DepthStream(model)
        for frame in range(3):
            found = stream.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm, time_s=frame / 30)
    pose, expected = found.head_pose(), demo_result.head_pose()
    assert pose is not None
    assert expected is not None
    assert pose.yaw_deg == pytest.approx(expected.yaw_deg, abs=0.1)


def test_damaged_weights_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = Path(head_pose.WEIGHTS_FILE).read_bytes()
    with safe_open(head_pose.WEIGHTS_FILE, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in head_pose.WEIGHTS}

    def written(changed: dict[str, np.ndarray]) -> bytes:
        _, data = split_tensor_file(save(changed))
        return save(changed, {"about": json.dumps({"sha256": hashlib.sha256(data).hexdigest()})})

    header = b'{"mean": {"dtype": "F32", "shape": [Infinity], "data_offsets": [0, 0]}, "__metadata__": {"about": "%s"}}'
    header %= b'{\\"sha256\\": \\"0\\"}'
    endless = len(header).to_bytes(8, "little") + header
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 16
    damaged = {
        "lacking": (written({name: arrays[name] for name in arrays if name != "mean"}), "KeyError: 'mean'"),
        "shape": (written({**arrays, "last_bias": arrays["last_bias"][:5]}), "got arrays of"),
        "nan": (written({**arrays, "mean": np.full_like(arrays["mean"], np.nan)}), "got arrays of"),
        "integers": (written({**arrays, "mean": arrays["mean"].astype(np.int32)}), "tensor mean: KeyError"),
        "mute": (save(arrays), "KeyError: '__metadata__'"),
        "flipped": (bytes(flipped), "got weights of SHA-256"),
        "short": (content[:-3], r"tensor \w+ of .* in bytes"),
        "text": (b"no tensors", "a header that ends at byte"),
        "empty": (b"", "a header that ends at byte 8 of 0"),
        "list": (b"\2" + bytes(7) + b"[]", "a header that is a list"),
        "deep": ((100_000).to_bytes(8, "little") + b"[" * 100_000, "RecursionError"),
        "endless": (endless, "OverflowError"),
    }
    for name, (bytes_, _) in damaged.items():
        (tmp_path / name).write_bytes(bytes_)
    for name, told in (*((name, told) for name, (_, told) in damaged.items()), ("none", "FileNotFoundError")):
        monkeypatch.setattr(head_pose, "WEIGHTS_FILE", str(tmp_path / name))
        with pytest.raises(ArtifactError, match=rf"{name}: got .*Install the package again") as refused:
            sphere_result().head_pose()
        assert re.search(told, str(refused.value)), str(refused.value)


def test_weights_are_read_as_the_library_reads_them() -> None:
    weights = head_pose._weights(head_pose.WEIGHTS_FILE)
    with safe_open(head_pose.WEIGHTS_FILE, framework="numpy") as file:
        assert set(file.keys()) == set(weights) == set(head_pose.WEIGHTS)
        for name, array in weights.items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, file.get_tensor(name))
