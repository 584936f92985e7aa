# SPDX-License-Identifier: Apache-2.0
"""A textured scan becomes a set: its colours, its head and its depth are where they belong; bad scans are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from facedepth_edge.errors import ConfigError, InputError
from train.crosscheck.__main__ import main
from train.crosscheck.camera import sample_place
from train.crosscheck.parts import BODY, SKIN, Part
from train.crosscheck.path_tracer import Light
from train.crosscheck.scan import PITCHES_DEG, YAWS_DEG, ScanConfig, parts_of_scan, render_scan
from train.data.batches import make_batch
from train.data.packed import open_packed_set
from train.evaluate import main as evaluate_main
from train.synth.motion import rotation_from_angles

pytest.importorskip("trimesh")

UNIT_MM = 50.0
RADII = np.array([1.5, 2.2, 1.9])  # of an ellipsoid about the head centre
CENTER = np.array([0.3, 1.0, -0.2])
LANDMARKS: dict[str, Any] = {
    "right_tragus": (-1.2, 1.0, -0.2), "left_tragus": (1.8, 1.0, -0.2), "chin": (0.3, -1.2, 1.0), "mm_per_unit": UNIT_MM
}  # fmt: skip


def write_scan(folder: Path, rows: int = 24, columns: int = 48) -> tuple[Path, Path]:
    """Write an ellipsoid on a post, its picture red on the person's right half and blue on the left, with a seam."""
    points, uvs, faces = [], [], []
    for row in range(rows + 1):
        for column in range(columns + 1):  # the last column lies on the first: the picture's seam, at the back
            theta, phi = np.pi * row / rows, 2 * np.pi * column / columns - np.pi
            direction = np.array([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)])
            points.append(CENTER + RADII * direction)
            uvs.append((column / columns, 1 - row / rows))
    for row in range(rows):
        for column in range(columns):
            a, b = row * (columns + 1) + column, (row + 1) * (columns + 1) + column
            faces += [(a, b, b + 1), (a, b + 1, a + 1)]
    post = len(points)
    points += [CENTER + np.array(xyz) for xyz in ((-0.5, -1.8, 0), (-0.5, -4, 0), (0.5, -4, 0), (0.5, -1.8, 0))]
    uvs += [(0.25, 0.5)] * 4
    faces += [(post, post + 1, post + 2), (post, post + 2, post + 3)]
    lines = [f"v {x} {y} {z}" for x, y, z in points] + [f"vt {u} {v}" for u, v in uvs]
    lines += ["f " + " ".join(f"{corner + 1}/{corner + 1}" for corner in face) for face in faces]
    (folder / "scan.obj").write_text("\n".join(lines) + "\n")
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, :64, 2] = 255
    picture[:, 64:, 0] = 255
    cv2.imwrite(str(folder / "scan.png"), picture)
    return folder / "scan.obj", folder / "scan.png"


class FlatTracer:
    """Gives every pixel the same light, and keeps the scenes."""

    def __init__(self) -> None:
        self.scenes: list[list[Part]] = []

    def render(self, parts: list[Part], light: Light, focal_px: float, principal_xy: tuple[float, float],
               side_px: int, samples: int, seed: int) -> np.ndarray:  # fmt: skip
        self.scenes.append(parts)
        ramp = np.linspace(0.1, 0.4, side_px, dtype=np.float32)
        return np.broadcast_to(ramp[:, None, None], (side_px, side_px, 3)).copy()


def test_a_scan_is_painted_and_parted(tmp_path: Path) -> None:
    (head,), (body,) = parts_of_scan(ScanConfig(**LANDMARKS), *write_scan(tmp_path))
    assert (head.label, body.label) == (SKIN, BODY)
    np.testing.assert_allclose(np.abs(head.vertices).max(axis=0), RADII * UNIT_MM, rtol=0.02)
    right, left = head.vertices[:, 0] < -8, head.vertices[:, 0] > 8
    front = head.vertices[:, 2] > 0
    for half, colour in ((right & front, (1, 0, 0)), (left & front, (0, 0, 1))):
        assert half.sum() > 1000
        assert np.abs(head.colour[half] - colour).max() < 1e-6
    assert len(np.unique(np.round(head.vertices, 2), axis=0)) == len(head.vertices)  # the seam is closed
    assert head.vertices[:, 1].max() == pytest.approx(110, rel=0.01)
    border = -55 + (-110 + 55) * body.vertices[:, 2] / 60  # through the chin, 110 mm under the centre and 60 in front
    assert (body.vertices[:, 1] < border + 3).all()
    assert (head.vertices[:, 1] > -55 - 55 * head.vertices[:, 2] / 60 - 3).all()
    assert body.vertices[:, 1].min() == pytest.approx(-200)
    corners = head.vertices[head.triangles]
    assert np.median(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)) < 2.5


def test_a_set_of_a_scan_is_read_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ScanConfig(**LANDMARKS, lights=1, seed=3, samples=1, crop_px=144)
    tracer = FlatTracer()
    mesh, texture = write_scan(tmp_path)
    render_scan(config, mesh, texture, tmp_path / "set", tracer)
    data = open_packed_set(tmp_path / "set", processes=1, progress=False)
    indices = data.indices("test")
    assert len(indices) == len(tracer.scenes) == len(YAWS_DEG) * len(PITCHES_DEG)
    angles = [entry.roll_pitch_yaw_deg for entry in data.crops.frames]
    assert angles == [(0.0, pitch, yaw) for pitch in PITCHES_DEG for yaw in YAWS_DEG]
    batch = make_batch(data, indices)
    for number in (0, 13, 20):
        place = sample_place(np.random.default_rng([3, 13, number]))
        rotation = rotation_from_angles(*angles[number]) @ np.diag([1.0, -1.0, -1.0])
        distance = float(batch.distance_mm[number])
        a, b = place[:2] / place[2]
        np.testing.assert_allclose(batch.ray_xy[number].numpy(), (a, b), atol=1e-4)
        # The ellipsoid's nearest crossing with each pixel's ray, in its own axes.
        step = ((np.arange(96) + 0.5) / 96 - 0.5) * 320 / distance
        u, v = np.meshgrid(a + step, b + step)
        rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ rotation / (RADII * UNIT_MM)
        origin = -place @ rotation / (RADII * UNIT_MM)
        half, square = rays @ origin, (rays**2).sum(-1)
        root = half**2 - square * ((origin**2).sum() - 1)
        expected = (-half - np.sqrt(np.maximum(root, 0))) / square
        found = distance + 160 * batch.depth[number, 0].numpy()
        inside = batch.head[number, 0].numpy() & batch.valid[number, 0].numpy() & (root > 0.05 * root.max())
        assert inside.sum() > 1000
        assert np.abs(found - expected)[inside].max() < 4
        assert np.abs(found - expected)[inside].mean() < 1
    assert evaluate_main(["--data", str(tmp_path / "set"), "--predictions", f"truth={_truth(tmp_path, data)}"]) == 0
    printed = capsys.readouterr()
    assert "The set has no training frames: no mean face to compare with." in printed.err
    assert "| truth | truth | 1.000 | 0.00 |" in printed.out
    render_scan(config, mesh, texture, tmp_path / "set", tracer)  # done: nothing is rendered again
    assert len(tracer.scenes) == len(indices)
    note = json.loads((tmp_path / "set" / "dataset.json").read_text())["generator"]
    assert note["name"] == "train.crosscheck scan"
    assert sorted(note["files"]) == ["scan.obj", "scan.png"]


def _truth(folder: Path, data: Any) -> Path:
    depth = make_batch(data, data.indices("test")).depth[:, 0].numpy()
    np.savez(folder / "truth.npz", frame=np.array([entry.frame_id for entry in data.crops.frames]), depth=depth)
    return folder / "truth.npz"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"mm_per_unit": 0.0}, r"ScanConfig\.mm_per_unit: got 0\.0, expected > 0"),
        ({"mm_per_unit": 1.0}, "tragi: got 3 mm apart along x, expected 100 to 200 mm"),
        ({"right_tragus": (1.8, 1, 0), "left_tragus": (-1.2, 1, 0)}, "tragi: got -150 mm apart"),
        ({"chin": (0.3, 1.2, 1.0)}, r"ScanConfig\.chin: got -10 mm under and 60 mm in front"),
        ({"chin": (0.3, -1.2, -1.0)}, r"ScanConfig\.chin: got 110 mm under and -40 mm in front"),
        ({"lights": 0}, r"ScanConfig\.lights: got 0, expected > 0"),
    ],
)
def test_wrong_landmarks_are_told(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        ScanConfig(**{**LANDMARKS, **change})


def test_files_that_are_no_scan_are_told(tmp_path: Path) -> None:
    config = ScanConfig(**LANDMARKS)
    mesh, texture = write_scan(tmp_path)
    with pytest.raises(InputError, match=r"gone\.obj: got .*Check the path"):
        parts_of_scan(config, tmp_path / "gone.obj", texture)
    with pytest.raises(InputError, match=r"gone\.png: got no picture"):
        parts_of_scan(config, mesh, tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"scan\.obj: got no picture, expected the scan's colours"):
        parts_of_scan(config, mesh)
    plain = "\n".join(line.split("/")[0] for line in ("v 0 0 0", "v 1 0 0", "v 0 1 0", "f 1 2 3"))
    (tmp_path / "plain.obj").write_text(plain)
    with pytest.raises(InputError, match=r"plain\.obj: got 1 triangles, no texture coordinates"):
        parts_of_scan(config, tmp_path / "plain.obj", texture)


def test_the_command_needs_mitsuba(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mesh, texture = write_scan(tmp_path)
    try:
        import mitsuba  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("mitsuba is installed")
    points = ["--right-tragus", "-1.2", "1", "-0.2", "--left-tragus", "1.8", "1", "-0.2", "--chin", "0.3", "-1.2", "1"]
    files = ["--mesh", str(mesh), "--texture", str(texture), "--out", str(tmp_path / "set")]
    assert main(["scan", *files, *points, "--mm-per-unit", "50"]) == 1
    assert "no package mitsuba" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()
