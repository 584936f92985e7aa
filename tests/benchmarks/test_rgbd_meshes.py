# SPDX-License-Identifier: Apache-2.0
"""A model beside a mesh on measured depth: meshes that are right, tilted or beside the face score as they must."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.rgbd_frames import Comparison, compare_all, read_frames
from benchmarks.rgbd_meshes import beside, main, mesh_depth_mm, read_meshes
from facedepth_edge import Camera
from facedepth_edge.errors import InputError
from tests.benchmarks.recording_scenes import CAMERA, HEAD

ACROSS = 26
STEPS = np.arange(ACROSS * 18).reshape(18, ACROSS)
TRIANGLES = np.concatenate([
    np.stack([STEPS[:-1, :-1], STEPS[:-1, 1:], STEPS[1:, :-1]], axis=-1).reshape(-1, 3),
    np.stack([STEPS[:-1, 1:], STEPS[1:, :-1], STEPS[1:, 1:]], axis=-1).reshape(-1, 3),
])  # fmt: skip


def flat_mesh(one: Comparison, reach: float = 0.3) -> np.ndarray:
    """A grid of 468 points about the box's centre at z = 0: along the ray everywhere as far as the head."""
    box = one.result.box
    x, y = np.meshgrid(np.linspace(-reach, reach, ACROSS), np.linspace(-reach, reach, 18))
    columns = [(box.x0 + box.x1) / 2 + x * box.width, (box.y0 + box.y1) / 2 + y * box.height, np.zeros(x.shape)]
    return np.stack([column.reshape(-1) for column in columns], axis=1)


@pytest.fixture
def one(recording: Path, model: Path) -> Comparison:
    return compare_all(read_frames(recording)[:1], model)[0]


def test_a_flat_mesh_lies_across_the_ray_to_the_head(one: Comparison) -> None:
    camera = Camera(420.0, 420.0, HEAD[0] - 168.0, HEAD[1] + 42.0)  # the ray is (0.4, -0.1, 1)
    turned = replace(one, frame=replace(one.frame, camera=camera))
    drawn = mesh_depth_mm(turned, flat_mesh(one), TRIANGLES)
    distance = one.result.distance_mm
    height, width = drawn.shape
    x = ((np.arange(width) + 0.5) / width - 0.5) * one.result.box.width / 420 * distance
    y = ((np.arange(height) + 0.5) / height - 0.5)[:, None] * one.result.box.height / 420 * distance
    ray = np.array([0.4, -0.1, 1.0])
    # the plane through the head across the ray, where a pixel's own ray meets it
    expected = distance * ray @ ray / (ray @ ray + (0.4 * x - 0.1 * y) / distance)
    inside = np.isfinite(drawn)
    assert 0.3 < inside.mean() < 0.4
    assert drawn[inside] == pytest.approx(expected[inside], abs=0.02)


def test_a_mesh_that_is_the_measured_face_is_no_error_and_a_plane_is_told_apart(one: Comparison) -> None:
    one = replace(one, frame=replace(one.frame, camera=Camera(420.0, 420.0, *HEAD)))
    mesh = flat_mesh(one)
    mesh[:, 2] = 1e-6 * mesh[:, 0]
    right = mesh_depth_mm(one, mesh, TRIANGLES)
    rows, columns = np.indices(right.shape)
    relief = 3.0 * np.sin(columns / 7) * np.cos(rows / 5)
    measured = np.where(np.isfinite(right), right + relief - 40, right)
    one = replace(one, measured_mm=measured, face=np.ones_like(one.face))
    found = beside(one, mesh, TRIANGLES)
    assert found is not None
    covered = np.isfinite(right)
    own = relief[covered] - relief[covered].mean()
    assert found.covered == pytest.approx(covered.mean())
    assert found.error_mm[1] == pytest.approx(np.abs(own).mean(), abs=1e-3)  # a flat mesh has no relief
    bent = mesh.copy()
    bent[:, 2] = 0.2 * (mesh[:, 0] - mesh[:, 0].mean())
    tilted = beside(one, bent, TRIANGLES)
    assert tilted is not None
    assert tilted.error_mm[1] > found.error_mm[1] + 3
    assert tilted.shape_error_mm[1] == pytest.approx(found.shape_error_mm[1], abs=0.02)
    assert tilted.error_mm[0] == found.error_mm[0]
    exact = replace(one, measured_mm=mesh_depth_mm(one, bent, TRIANGLES))
    same = beside(exact, bent, TRIANGLES)
    assert same is not None
    assert same.error_mm[1] == pytest.approx(0, abs=1e-6)
    assert same.correlation[1] == pytest.approx(1)
    assert same.error_mm[0] > 1


def test_a_mesh_beside_the_face_is_not_compared(one: Comparison) -> None:
    moved = flat_mesh(one)
    moved[:, 2] = 0.1 * moved[:, 0]
    assert beside(one, moved, TRIANGLES) is not None
    moved[:, 0] += 0.9 * one.result.box.width
    assert beside(one, moved, TRIANGLES) is None


def test_a_mesh_without_any_relief_has_no_correlation_and_is_not_compared(one: Comparison) -> None:
    facing = replace(one, frame=replace(one.frame, camera=Camera(420.0, 420.0, *HEAD)))
    assert beside(facing, flat_mesh(one), TRIANGLES) is None


def test_the_table_counts_frames_that_facemesh_missed(
    recording: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compared = compare_all(read_frames(recording), model)
    meshes = recording / "meshes.npz"
    points = [flat_mesh(one) for one in compared[1:]]
    np.savez(meshes, name=np.array(["1.png", "2.png"]), points_px=np.stack(points), triangles=TRIANGLES)
    assert main([str(recording), "--meshes", str(meshes), "--model", str(model)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")] == ["| ", "| 0", "| 1", "| all frames"]
    assert lines[2].startswith("| 0 | 1 | ")
    assert float(lines[2].split(" | ")[4]) < 0.5  # the measured depth is the model's own, in whole millimetres
    assert float(lines[2].split(" | ")[7]) > 1
    assert "3 frames; FaceMesh found a face in 2; 2 compared." in lines


def test_pictures_in_folders_are_told_apart_by_their_whole_names(
    recording: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = json.loads((recording / "frames.json").read_text())[:2]
    for item, folder in zip(items, ("a", "b"), strict=True):
        (recording / folder).mkdir()
        (recording / item["image"]).rename(recording / folder / "same.png")
        item["image"] = f"{folder}/same.png"
    (recording / "frames.json").write_text(json.dumps(items))
    points = [flat_mesh(one) for one in compare_all(read_frames(recording), model)]
    points[1][:, 2] = 0.5 * points[1][:, 0]
    meshes = recording / "meshes.npz"
    np.savez(meshes, name=np.array(["a/same.png", "b/same.png"]), points_px=np.stack(points), triangles=TRIANGLES)
    assert main([str(recording), "--meshes", str(meshes), "--model", str(model)]) == 0
    assert "2 frames; FaceMesh found a face in 2; 2 compared." in capsys.readouterr().out
    np.savez(meshes, name=np.array(["a/same.png"] * 2), points_px=np.stack(points), triangles=TRIANGLES)
    with pytest.raises(InputError, match="n different names"):
        read_meshes(meshes)


def test_files_that_are_no_meshes_are_refused(recording: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="FileNotFoundError"):
        read_meshes(recording / "none.npz")
    bad = recording / "bad.npz"
    for content, told in ((b"", "EOFError"), (b"PK\x03\x04 no archive", "BadZipFile")):
        bad.write_bytes(content)
        with pytest.raises(InputError, match=told):
            read_meshes(bad)
    for triangles in (np.zeros((0, 3), int), TRIANGLES - 1):
        np.savez(bad, name=np.array(["0.png"]), points_px=np.zeros((1, 468, 3)), triangles=triangles)
        with pytest.raises(InputError, match=r"expected n different names, \(n, points, 3\) and \(T, 3\)"):
            read_meshes(bad)
    np.savez(bad, name=np.array(["0.png"]))
    with pytest.raises(InputError, match="points_px"):
        read_meshes(bad)
    np.savez(bad, name=np.array(["0.png"]), points_px=np.zeros((1, 9, 3)), triangles=TRIANGLES)
    with pytest.raises(InputError, match=r"triangles \(850, 3\)"):
        read_meshes(bad)
    np.savez(bad, name=np.array(["other.png"]), points_px=np.zeros((1, 468, 3)), triangles=TRIANGLES)
    assert main([str(recording), "--meshes", str(bad), "--model", str(model)]) == 1
    printed = capsys.readouterr()
    assert "3 frames, 0 of them in" in printed.out + printed.err


def test_the_fixture_is_off_the_axis(recording: Path) -> None:
    assert json.loads((recording / "frames.json").read_text())[0]["cx"] == CAMERA["cx"] != HEAD[0]
