# SPDX-License-Identifier: Apache-2.0
"""A textured scan becomes a set: its colours, its head and its depth are where they belong; bad scans are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from facedepth_edge.errors import ConfigError, InputError
from train.crosscheck import scan
from train.crosscheck.__main__ import main
from train.crosscheck.camera import sample_place
from train.crosscheck.parts import BODY, SKIN, Part
from train.crosscheck.path_tracer import Light
from train.crosscheck.scan import PITCHES_DEG, YAWS_DEG, ScanConfig, parts_of_scan, render_scan
from train.crosscheck.textured_mesh import digest_of, read_textured
from train.data.batches import make_batch
from train.data.packed import open_packed_set
from train.evaluate import main as evaluate_main
from train.synth.motion import rotation_from_dataset_angles

pytest.importorskip("trimesh")

UNIT_MM = 50.0
RADII = np.array([1.5, 2.2, 1.9])  # of an ellipsoid about the head centre
CENTER = np.array([0.3, 1.0, -0.2])
QUARTERS = {  # sRGB, of the person's right and left
    ("upper", "right"): (200, 40, 90), ("upper", "left"): (30, 120, 220),
    ("lower", "right"): (60, 180, 50), ("lower", "left"): (128, 128, 128),
}  # fmt: skip
LANDMARKS: dict[str, Any] = {
    "right_tragus": (-1.2, 1.0, -0.2), "left_tragus": (1.8, 1.0, -0.2), "chin": (0.3, -1.2, 1.0), "mm_per_unit": UNIT_MM
}  # fmt: skip


def write_scan(folder: Path, rows: int = 24, columns: int = 48) -> tuple[Path, Path]:
    """Write an ellipsoid on a post under a picture of QUARTERS, whose seam is at the back."""
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
    uvs += [(0.25, 0.75)] * 4
    faces += [(post, post + 1, post + 2), (post, post + 2, post + 3)]
    lines = [f"v {x} {y} {z}" for x, y, z in points] + [f"vt {u} {v}" for u, v in uvs]
    lines += ["f " + " ".join(f"{corner + 1}/{corner + 1}" for corner in face) for face in faces]
    (folder / "scan.obj").write_text("\n".join(lines) + "\n")
    picture = np.empty((64, 128, 3), np.uint8)
    for (half, side), colour in QUARTERS.items():
        rows_of, columns_of = (
            slice(0, 32) if half == "upper" else slice(32, 64),
            slice(64) if side == "right" else slice(64, 128),
        )
        picture[rows_of, columns_of] = colour[::-1]
    cv2.imwrite(str(folder / "scan.png"), picture)
    return folder / "scan.obj", folder / "scan.png"


def linear(colour: tuple[int, int, int]) -> np.ndarray:
    """Turn sRGB levels into linear light, as IEC 61966-2-1 says."""
    return np.array([c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour])


def require_quarters(head: Part) -> None:
    """Look whether each quarter of the face has its colour."""
    x, y, z = head.vertices.T
    for (half, side), colour in QUARTERS.items():
        here = (z > 0) & ((y > 6) if half == "upper" else (y < -6)) & ((x < -8) if side == "right" else (x > 8))
        assert here.sum() > 500
        np.testing.assert_allclose(head.colour[here], np.broadcast_to(linear(colour), (here.sum(), 3)), atol=2e-3)


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
    (head,), (body,) = parts_of_scan(ScanConfig(**LANDMARKS), read_textured(*write_scan(tmp_path)))
    assert (head.label, body.label) == (SKIN, BODY)
    assert head.specular > 0
    np.testing.assert_allclose(np.abs(head.vertices).max(axis=0), RADII * UNIT_MM, rtol=0.02)
    require_quarters(head)
    behind = (np.abs(head.vertices[:, 0]) < 1e-3) & (head.vertices[:, 2] < -60) & (head.vertices[:, 1] > 10)
    both = (linear(QUARTERS["upper", "right"]) + linear(QUARTERS["upper", "left"])) / 2
    np.testing.assert_allclose(head.colour[behind], np.broadcast_to(both, (behind.sum(), 3)), atol=2e-3)
    assert behind.sum() > 3
    assert len(np.unique(np.round(head.vertices, 2), axis=0)) == len(head.vertices)  # the seam is closed
    assert head.vertices[:, 1].max() == pytest.approx(110, rel=0.01)
    border = -55 + (-110 + 55) * body.vertices[:, 2] / 60  # through the chin, 110 mm under the centre and 60 in front
    assert (body.vertices[:, 1] < border + 3).all()
    assert (head.vertices[:, 1] > -55 - 55 * head.vertices[:, 2] / 60 - 3).all()
    assert body.vertices[:, 1].min() == pytest.approx(-200)
    corners = head.vertices[head.triangles]
    assert np.median(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)) < 2.5


def test_every_kind_of_file_is_painted_alike(tmp_path: Path) -> None:
    import trimesh

    config = ScanConfig(**LANDMARKS)
    mesh, texture = write_scan(tmp_path)
    whole = trimesh.load(mesh, force="mesh", process=False)
    picture = Image.open(texture)
    turn = trimesh.transformations.rotation_matrix(np.pi / 3, [1, 0, 0])
    scene = trimesh.Scene()
    for right in (True, False):
        part = whole.copy()
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=picture)
        uv = np.array(whole.visual.uv) + (0 if right else (2, -1))  # pictures repeat
        part.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
        part.update_faces((whole.triangles_center[:, 0] < CENTER[0]) == right)
        part.remove_unreferenced_vertices()
        part.apply_transform(np.linalg.inv(turn))
        scene.add_geometry(part, transform=turn)
    scene.export(tmp_path / "two.glb")
    (tmp_path / "named.obj").write_text("mtllib named.mtl\nusemtl skin\n" + mesh.read_text())
    (tmp_path / "named.mtl").write_text("newmtl skin\nmap_Kd scan.png\n")
    for parts in (read_textured(tmp_path / "two.glb"), read_textured(tmp_path / "two.glb", texture),
                  read_textured(tmp_path / "named.obj")):  # fmt: skip
        (head,), (body,) = parts_of_scan(config, parts)
        require_quarters(head)
        assert body.label == BODY
    digest = digest_of(read_textured(tmp_path / "named.obj"))
    assert digest == digest_of(read_textured(mesh, texture))
    cv2.imwrite(str(texture), np.full((32, 32, 3), 90, np.uint8))
    assert digest_of(read_textured(tmp_path / "named.obj")) != digest


def test_the_material_tints_its_own_picture_alone(tmp_path: Path) -> None:
    import trimesh

    mesh, texture = write_scan(tmp_path)
    whole = trimesh.load(mesh, force="mesh", process=False)
    uv, factor = whole.visual.uv, [0.2, 0.6, 1.0, 1.0]
    found = {}
    for name, given in (("plain", None), ("tinted", factor)):
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.open(texture), baseColorFactor=given)
        whole.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
        whole.export(tmp_path / f"{name}.glb")
        found[name] = read_textured(tmp_path / f"{name}.glb")
    (plain,), (tinted,) = found["plain"], found["tinted"]
    np.testing.assert_allclose(tinted.colour_at(tinted.uv), plain.colour_at(plain.uv) * factor[:3], atol=1e-6)
    assert plain.colour_at(plain.uv).min() > 0.005
    assert digest_of(found["tinted"]) != digest_of(found["plain"])
    (replaced,) = read_textured(tmp_path / "tinted.glb", texture)
    assert (replaced.colour_at(replaced.uv) == plain.colour_at(plain.uv)).all()


def test_a_set_of_a_scan_is_read_and_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (len(YAWS_DEG), len(PITCHES_DEG)) == (9, 3)
    yaws, pitches = (-40.0, 0.0, 55.0), (-20.0, 20.0)  # a few of them: every frame takes a third of a second
    monkeypatch.setattr(scan, "YAWS_DEG", yaws)
    monkeypatch.setattr(scan, "PITCHES_DEG", pitches)
    config = ScanConfig(**LANDMARKS, lights=1, seed=3, samples=1, crop_px=144)
    tracer = FlatTracer()
    mesh, texture = write_scan(tmp_path)
    render_scan(config, mesh, texture, tmp_path / "set", tracer)
    data = open_packed_set(tmp_path / "set", processes=1, progress=False)
    indices = data.indices("test")
    assert len(indices) == len(tracer.scenes) == 6
    angles = [entry.roll_pitch_yaw_deg for entry in data.crops.frames]
    assert angles == [(0.0, pitch, yaw) for pitch in pitches for yaw in yaws]
    batch = make_batch(data, indices)
    for number in (0, 2, 4):
        place = sample_place(np.random.default_rng([3, 13, number]))
        rotation = rotation_from_dataset_angles(*angles[number]) @ np.diag([1.0, -1.0, -1.0])
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
    cv2.imwrite(str(texture), np.full((32, 32, 3), 90, np.uint8))
    with pytest.raises(ConfigError, match="other settings"):
        render_scan(config, mesh, texture, tmp_path / "set", tracer)
    note = json.loads((tmp_path / "set" / "dataset.json").read_text())["generator"]
    assert note["name"] == "train.crosscheck scan"
    assert note["mesh"] == "scan.obj"


def _truth(folder: Path, data: Any) -> Path:
    depth = make_batch(data, data.indices("test")).depth[:, 0].numpy()
    np.savez(folder / "truth.npz", frame=np.array([entry.frame_id for entry in data.crops.frames]), depth=depth)
    return folder / "truth.npz"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"mm_per_unit": 0.0}, r"ScanConfig\.mm_per_unit: got 0\.0, expected > 0"),
        ({"mm_per_unit": 1.0}, "tragi: got 3 mm apart along x, .* expected 100 to 200 along x"),
        ({"right_tragus": (1.8, 1, 0), "left_tragus": (-1.2, 1, 0)}, "tragi: got -150 mm apart"),
        ({"left_tragus": (1.8, 2.0, -0.2)}, "tragi: got 150 mm apart along x, 50 along y"),
        ({"left_tragus": (1.8, np.nan, -0.2)}, r"ScanConfig\.left_tragus: got \(1\.8, nan, -0\.2\), expected finite"),
        ({"chin": (0.3, 1.2, 1.0)}, r"ScanConfig\.chin: got -10 mm under and 60 mm in front"),
        ({"chin": (0.3, -1.2, -1.0)}, r"ScanConfig\.chin: got 110 mm under and -40 mm in front"),
        ({"chin": (0.3, -1.2, -0.19)}, r"ScanConfig\.chin: got 110 mm under and 1 mm in front"),
        ({"chin": (0.3, -np.inf, 1.0)}, r"ScanConfig\.chin: got .* expected finite"),
        ({"lights": 0}, r"ScanConfig\.lights: got 0, expected >= 1"),
        ({"seed": -1}, r"ScanConfig\.seed: got -1, expected >= 0"),
        ({"margin": np.nan}, r"ScanConfig\.margin: got nan, expected >= 1"),
    ],
)
def test_wrong_landmarks_are_told(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        ScanConfig(**{**LANDMARKS, **change})


def test_files_that_are_no_scan_are_told(tmp_path: Path) -> None:
    mesh, texture = write_scan(tmp_path)
    with pytest.raises(InputError, match=r"gone\.obj: got .*Check the path"):
        read_textured(tmp_path / "gone.obj", texture)
    with pytest.raises(InputError, match=r"gone\.png: got no picture"):
        read_textured(mesh, tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"scan\.obj: got a part without a picture"):
        read_textured(mesh)
    (tmp_path / "plain.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(InputError, match=r"plain\.obj: got a part of 1 triangles with no texture coordinates"):
        read_textured(tmp_path / "plain.obj", texture)
    (tmp_path / "nan.obj").write_text(mesh.read_text().replace("v 0.3 3.2 -0.2", "v nan 3.2 -0.2", 1))
    with pytest.raises(InputError, match=r"nan\.obj: got NaN or infinity"):
        read_textured(tmp_path / "nan.obj", texture)
    far = ScanConfig(**{**LANDMARKS, "chin": (0.3, -1.9, 1.6)})
    with pytest.raises(InputError, match=r"ScanConfig\.chin: got \d+ mm from the nearest point of the scan"):
        parts_of_scan(far, read_textured(mesh, texture))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh, texture = write_scan(tmp_path)
    seen: list[Any] = []
    monkeypatch.setattr("train.crosscheck.__main__.PathTracer", lambda *args: args)
    monkeypatch.setattr("train.crosscheck.__main__.render_scan", lambda *args: seen.append(args))
    points = ["--right-tragus", "-1.2", "1", "-0.2", "--left-tragus", "1.8", "1", "-0.2", "--chin", "0.3", "-1.2", "1"]
    files = ["--mesh", str(mesh), "--texture", str(texture), "--out", str(tmp_path / "set")]
    rest = ["--lights", "3", "--seed", "4", "--samples", "5", "--threads", "2", "--credit", "me"]
    assert main(["scan", *files, *points, "--mm-per-unit", "50", *rest]) == 0
    expected = ScanConfig(**LANDMARKS, lights=3, seed=4, samples=5, credit="me")
    assert seen == [(expected, mesh, texture, tmp_path / "set", ("scalar_rgb", 2))]


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
