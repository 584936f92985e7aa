# SPDX-License-Identifier: Apache-2.0
"""The comparison with FaceMesh on photographs against known differences; MediaPipe itself is not needed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from benchmarks import face_mesh
from benchmarks.photographs import LEFT_TRAGUS, RIGHT_TRAGUS, difference, head_from_mesh, main
from facedepth_edge import DepthResult, EdgeDepth
from facedepth_edge.head import HEAD_WIDTH_MM
from tests.tiny_model import write_tiny_artifact

WIDTH_PX = 120.0


def mesh_of(result: DepthResult, points: int = 468) -> np.ndarray:
    """Return a mesh in pixels that lies on the result's surface, with its own origin."""
    rows, columns = np.nonzero(result.mask)
    chosen = np.random.default_rng(1).permutation(len(rows))[:points]
    rows, columns = rows[chosen], columns[chosen]
    box, (height, width) = result.box, result.relative.shape
    x = box.x0 + (columns + 0.5) * box.width / width
    y = box.y0 + (rows + 0.5) * box.height / height
    z = result.relative[rows, columns].astype(np.float64) * 160 / HEAD_WIDTH_MM * WIDTH_PX + 33
    mesh = np.stack([x, y, z], axis=1)
    mesh[RIGHT_TRAGUS, :2], mesh[LEFT_TRAGUS, :2] = (180, 170), (180 + WIDTH_PX, 170)
    mesh[[RIGHT_TRAGUS, LEFT_TRAGUS], 2] = 33
    return mesh


@pytest.fixture
def frame() -> np.ndarray:
    """Return (360, 480, 3) uint8 noise without sharp edges."""
    noise = np.random.default_rng(0).integers(0, 256, (360, 480, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 9)


@pytest.fixture
def result(frame: np.ndarray, tmp_path: Path) -> DepthResult:
    """What the tiny model says of the frame."""
    with EdgeDepth(write_tiny_artifact(tmp_path / "tiny")) as edge:
        return edge.predict(frame, (240.0, 180.0), distance_mm=650.0)


def test_the_head_of_a_mesh_lies_between_its_tragi() -> None:
    mesh = np.zeros((468, 3))
    mesh[RIGHT_TRAGUS], mesh[LEFT_TRAGUS] = (100, 50, 30), (160, 50, -50)  # turned: 60 across, 80 deep
    center, width_px = head_from_mesh(mesh)
    assert width_px == 100
    assert center == (130, 56)


def test_a_mesh_on_the_surface_is_not_apart(result: DepthResult) -> None:
    mesh = mesh_of(result)
    mesh[[RIGHT_TRAGUS, LEFT_TRAGUS], 1] = -500  # beside the box: they do not count
    mesh[[RIGHT_TRAGUS, LEFT_TRAGUS], 0] = (0, WIDTH_PX)
    apart = difference(result, mesh)
    assert apart is not None
    assert apart.mean_mm == pytest.approx(0, abs=1e-4)
    assert apart.correlation == pytest.approx(1)
    assert (apart.yaw_deg, apart.pitch_deg) == pytest.approx((0, 0), abs=1e-4)


def test_a_tilted_mesh_is_apart_by_its_tilt(result: DepthResult) -> None:
    mesh = mesh_of(result)
    mesh[:, 2] -= np.tan(np.radians(10)) * mesh[:, 1] - np.tan(np.radians(4)) * mesh[:, 0]
    mesh[[RIGHT_TRAGUS, LEFT_TRAGUS]] = (0, -500, 0), (WIDTH_PX, -500, 0)
    apart = difference(result, mesh)
    assert apart is not None
    assert (apart.yaw_deg, apart.pitch_deg) == pytest.approx((-4, 10), abs=1e-3)
    assert apart.shape_mm == pytest.approx(0, abs=1e-3)
    assert apart.mean_mm > 3


def test_a_mesh_beside_the_mask_is_not_compared(result: DepthResult) -> None:
    assert difference(result, mesh_of(result) + np.array([1000, 0, 0])) is None


def test_the_command_prints_a_table_and_draws(
    frame: np.ndarray, result: DepthResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, meshes, sheet = tmp_path / "photos", tmp_path / "meshes.npz", tmp_path / "sheet.png"
    photos.mkdir()
    cv2.imwrite(str(photos / "one.png"), frame)
    mesh = mesh_of(result)
    np.savez(meshes, name=np.array(["one.png", "one.png"]), points_px=np.stack([mesh, mesh]))
    asked = [str(photos), "--meshes", str(meshes), "--model", str(tmp_path / "tiny"), "--sheet", str(sheet)]
    assert main(asked) == 0
    said, log = capsys.readouterr()
    assert log.splitlines()[-1].startswith("PASS python -m benchmarks.photographs ")
    assert "| faces; compared; called valid | 2; 2; " in said
    assert "nan" not in said
    assert cv2.imread(str(sheet)).shape[1] == 2 * 760
    np.savez(meshes, name=np.array(["two.png"]), points_px=mesh[None])
    assert main(asked) == 1
    log = capsys.readouterr().err
    assert "two.png: got no picture" in log
    assert log.splitlines()[-1].startswith("FAIL python -m benchmarks.photographs ")


def test_face_mesh_writes_the_meshes_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    class FaceMesh:
        def __init__(self, **settings: object) -> None:
            assert settings["max_num_faces"] == 2

        def __enter__(self) -> FaceMesh:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def process(self, image: np.ndarray) -> SimpleNamespace:
            seen.append(image.shape)
            marks = [SimpleNamespace(x=0.5, y=0.25, z=-0.1)] * 478
            return SimpleNamespace(multi_face_landmarks=[SimpleNamespace(landmark=marks)] if image.any() else None)

    mediapipe = ModuleType("mediapipe")
    mediapipe.solutions = SimpleNamespace(face_mesh=SimpleNamespace(FaceMesh=FaceMesh))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mediapipe", mediapipe)
    photos, out = tmp_path / "photos", tmp_path / "meshes.npz"
    photos.mkdir()
    (photos / "notes.txt").write_text("no picture")
    cv2.imwrite(str(photos / "black.png"), np.zeros((80, 100, 3), np.uint8))
    asked = ["face_mesh.py", "--photographs", str(photos), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", asked)
    assert face_mesh.main() == 1
    assert "got no face" in capsys.readouterr().err
    cv2.imwrite(str(photos / "large.png"), np.full((1000, 3200, 3), 200, np.uint8))
    assert face_mesh.main() == 0
    assert seen[-1] == (500, 1600, 3)
    with np.load(out) as file:
        assert file["name"].tolist() == ["large.png"]
        assert file["points_px"].shape == (1, 468, 3)
        assert file["points_px"][0, 7].tolist() == pytest.approx([800, 125, -160])
