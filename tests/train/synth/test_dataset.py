# SPDX-License-Identifier: Apache-2.0
"""Rendered sets: the same for a seed however they are made, resumable, in the layout that the loader reads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from facedepth_edge.errors import ConfigError, InputError
from train.data.crops_set import HEAD_LABELS, open_crops_set, read_frame
from train.data.packed import open_packed_set
from train.synth import full_frame
from train.synth.dataset import SetConfig, Studio, render_set, set_note, write_sequence
from train.synth.full_frame import FrameSize, shoot_frame, write_frame, write_raw_sequence
from train.synth.headmodel import HeadModel
from train.synth.motion import (
    dataset_angles_from_rotation,
    is_turned_away,
    rotation_from_dataset_angles,
    sample_angles,
    sample_turned_angles,
    sample_turned_torso,
)
from train.synth.subject import sample_subject


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory, small_set: SetConfig, head_file: Path) -> Path:
    out = tmp_path_factory.mktemp("set") / "heads"
    render_set(small_set, head_file, None, out, processes=1)
    return out


def test_several_processes_write_the_same_bytes(
    rendered: Path, tmp_path: Path, small_set: SetConfig, head_file: Path
) -> None:
    render_set(small_set, head_file, None, tmp_path / "again", processes=2)
    first = digests(rendered)
    assert first == digests(tmp_path / "again")
    assert len(first) == 2 + 10 * (2 + 2 * 3)  # dataset.json, shapes.npy, and each sequence


def test_an_interrupted_set_is_completed(rendered: Path, tmp_path: Path, small_set: SetConfig, head_file: Path) -> None:
    out = tmp_path / "set"
    shutil.copytree(rendered, out)
    shutil.rmtree(out / "004")
    (out / ".004.partial").mkdir()
    (out / ".004.partial" / "frame_000000_face_rgb.png").write_bytes(b"half a file")
    kept = (out / "001" / "frames.json").stat().st_mtime_ns
    render_set(small_set, head_file, None, out, processes=1)
    assert digests(out) == digests(rendered)
    assert (out / "001" / "frames.json").stat().st_mtime_ns == kept


def test_a_set_of_other_settings_is_not_continued(rendered: Path, head_file: Path) -> None:
    with pytest.raises(ConfigError, match="other settings"):
        render_set(SetConfig(seed=99), head_file, None, rendered, processes=1)


def test_another_seed_gives_other_people(studio: Studio, head_file: Path, small_set: SetConfig) -> None:
    other = Studio(SetConfig(seed=4, frames=1, crop_px=small_set.crop_px), head_file, None)
    ours, theirs = next(iter(studio.shots(1, 1))), next(iter(other.shots(1, 1)))
    assert not np.array_equal(ours[1].picture, theirs[1].picture)


def test_the_loader_reads_what_was_written(rendered: Path, studio: Studio) -> None:
    crops = open_crops_set(rendered)
    assert len(crops.frames) == 20
    assert crops.box_px == 48
    by_key = {(entry.sequence, entry.frame): entry for entry in crops.frames}
    for frame, shot, face, _ in studio.shots(1, 4):
        entry = by_key[(4, frame)]
        gray, depth, label = read_frame(rendered, entry, crops.crop_px)
        assert np.array_equal(depth, shot.depth_mm)
        assert np.array_equal(label, shot.label)
        expected = shot.picture.astype(np.float64) @ [0.114, 0.587, 0.299]
        assert np.abs(gray - expected).max() <= 0.51
        assert entry.face == face
        assert entry.distance_mm == pytest.approx(shot.distance_mm, abs=0.01)
        assert entry.roll_pitch_yaw_deg == pytest.approx(shot.angles_deg, abs=1e-3)


def test_heads_turned_away_stay_on_their_necks() -> None:
    rng = np.random.default_rng(0)
    facing = np.array([0.0, 0.0, -1.0])  # of a head that looks into the camera
    apart, looks = [], []
    for _ in range(300):
        angles = sample_turned_angles(rng)
        assert is_turned_away(angles)
        head, torso = rotation_from_dataset_angles(*angles) @ facing, sample_turned_torso(rng, angles) @ facing
        looks.append(-head[2])
        apart.append(np.rad2deg(np.arccos(np.clip(head @ torso, -1, 1))))
    assert max(looks) < np.cos(np.deg2rad(65))  # none looks within 65 degrees of the camera
    assert min(looks) < -0.98
    assert max(apart) < 120
    assert np.mean(np.array(apart) < 80) > 0.9


def test_a_share_of_the_heads_is_turned_away(small_set: SetConfig, head_file: Path) -> None:
    few = {"frames": 16, "frames_per_expression": 16, "pictures": False, "turned": 0.5}
    config = dataclasses.replace(small_set, **few)
    assert set_note(config, hair=False).generator["turned"] == 0.5
    shots = list(Studio(config, head_file, None).shots(1, 1))
    turned = [(shot, face) for _, shot, face, attributes in shots if attributes["turned_away"]]
    others = [(shot, face) for _, shot, face, attributes in shots if not attributes["turned_away"]]
    assert 2 <= len(turned) <= 14  # of 16: three standard deviations of the half
    assert all(is_turned_away(shot.angles_deg) and not face for shot, face in turned)
    assert not any(is_turned_away(shot.angles_deg) for shot, _ in others)
    assert any(face for _, face in others)
    backs = [shot for shot, _ in turned if abs(shot.angles_deg[2]) > 105 and shot.visible > 0.5]
    assert backs
    for shot in backs:  # a head all the same, with its depth
        head = (shot.label >= HEAD_LABELS[0]) & (shot.label <= HEAD_LABELS[-1])
        assert head.mean() > 0.05
        assert np.abs(np.median(shot.depth_mm[head]) - shot.distance_mm) < 80


def test_heads_of_other_proportions(tmp_path: Path, small_set: SetConfig, head_file: Path) -> None:
    few = {"train_subjects": 1, "val_subjects": 0, "test_subjects": 0, "frames": 1, "pictures": False}
    alike = dataclasses.replace(small_set, **few)
    wide = dataclasses.replace(alike, proportions=0.1)
    sets = []
    for config, name in ((alike, "alike"), (wide, "wide")):
        root = tmp_path / name
        render_set(config, head_file, None, root, processes=1)
        note = json.loads((root / "dataset.json").read_text())["generator"]
        assert note.get("proportions") == (0.1 if config is wide else None)
        assert not {"swept", "modelled"} & set(note)  # sets that are older than the setting go on
        sets.append(open_crops_set(root).frames)
    with pytest.raises(ConfigError, match="other settings"):
        render_set(alike, head_file, None, tmp_path / "wide", processes=1)
    assert [entry.roll_pitch_yaw_deg for entry in sets[0]] == [entry.roll_pitch_yaw_deg for entry in sets[1]]
    assert any(a.distance_mm != b.distance_mm for a, b in zip(*sets, strict=True))
    studio = Studio(wide, head_file, None)
    plain, stretched = (sample_subject(wide.seed, 1, spread) for spread in (0.0, 0.1))
    assert np.ptp(plain.scale) == 0
    assert np.array_equal(plain.identity, stretched.identity)
    shapes = [studio.model.shape(who.identity, {}, who.scale) for who in (plain, stretched)]
    np.testing.assert_allclose(shapes[1], shapes[0] * (stretched.scale / plain.scale), rtol=1e-5, atol=1e-4)
    people = np.array([sample_subject(wide.seed, number, 0.1).scale for number in range(1, 400)])
    shares = people / people.mean(axis=1, keepdims=True)
    assert 0.06 < shares.std() < 0.1  # two standard deviations are cut off, and the mean is taken out
    assert abs(np.corrcoef(shares[:, 0], shares[:, 1])[0, 1]) < 0.7


def test_depth_alone(rendered: Path, tmp_path: Path, small_set: SetConfig, head_file: Path) -> None:
    root = tmp_path / "people"
    first = dataclasses.replace(small_set, test_subjects=0, pictures=False)  # person 1 of the same seed
    render_set(first, head_file, None, root, processes=1)
    assert not list(root.rglob("*_rgb.png"))
    data = open_packed_set(root, processes=1, progress=False)
    assert not data.crops.pictures
    assert not data.gray.any()
    assert not list((root / "packed").rglob("gray.npy"))
    lit = open_packed_set(rendered, tmp_path / "cache", processes=1, progress=False)
    same = lit.meta[lit.meta["subject"] == 1]
    assert len(data.meta) == len(same) == 10
    np.testing.assert_array_equal(data.meta["roll_pitch_yaw_deg"], same["roll_pitch_yaw_deg"])
    # What is painted draws from the sequence's chance before hair and clothes do: people and poses are the same.
    np.testing.assert_allclose(data.meta["distance_mm"], same["distance_mm"], atol=25)
    assert data.depth_mm.any()
    assert set(np.unique(data.label)) >= {0, 1, 2, 4}
    with pytest.raises(InputError, match="a set of depth alone, expected one with pictures"):
        data.crops.require_pictures()
    with pytest.raises(ConfigError, match="other settings"):
        render_set(small_set, head_file, None, root, processes=1)


def test_annotations_agree_with_the_pictures(rendered: Path) -> None:
    faces = 0
    for folder in sorted(p for p in rendered.iterdir() if p.is_dir()):
        angles = [line.split("\t") for line in (folder / "angles.txt").read_text(encoding="utf-8").splitlines()]
        notes = json.loads((folder / "frames.json").read_text(encoding="utf-8"))
        assert [int(row[0]) for row in angles] == [note["frame"] for note in notes]
        for note in notes:
            if not note["face"]:
                continue
            faces += 1
            label = cv2.imread(str(folder / f"frame_{note['frame']:06d}_face_label.png"), cv2.IMREAD_UNCHANGED)
            depth = cv2.imread(str(folder / f"frame_{note['frame']:06d}_face_depth.png"), cv2.IMREAD_UNCHANGED)
            assert depth.dtype == np.uint16
            assert label.dtype == np.uint8
            x, y = note["head_center_xy"]
            assert (x, y) == pytest.approx((36, 36), abs=1e-3)
            # The crop reaches over 1.5 * 320 mm at D.
            assert note["focal_px"] * 480 / note["distance_mm"] == pytest.approx(72, rel=1e-3)
            window = depth[34:39, 34:39][np.isin(label[34:39, 34:39], (1, 2, 3))]
            if len(window) > 12:
                assert abs(float(np.median(window)) - note["distance_mm"]) < 25
    assert faces >= 15


def test_sequences_move_one_angle_at_a_time(studio: Studio) -> None:
    rng = np.random.default_rng(0)
    spread = np.array([[np.abs(sample_angles(rng, s)) for _ in range(200)] for s in (1, 2, 3, 4)]).mean(axis=1)
    assert spread[0].argmax() == 2
    assert spread[1].argmax() == 1
    assert spread[2].argmax() == 0
    assert spread[0][:2].max() < 4
    assert spread[3].min() > 8


def test_a_full_frame_shows_the_head_where_its_note_says(studio: Studio, tmp_path: Path) -> None:
    size = FrameSize(focal_px=160.0, size_hw=(120, 160))
    position = np.array([60.0, -40.0, 700.0])
    shot = shoot_frame(studio, 1, 1, size, 0, position, (0, 0, 0), {})
    assert shot.picture.shape == (120, 160, 3)
    assert shot.depth_mm.shape == (120, 160)
    x, y = shot.head_center_xy
    assert (x, y) == pytest.approx((80 + 160 * 60 / 700, 60 - 160 * 40 / 700))
    assert shot.label[int(y), int(x)] in (1, 2, 3)
    assert float(shot.depth_mm[int(y), int(x)]) == pytest.approx(shot.distance_mm, abs=8)
    assert shot.distance_mm < 700
    write_frame(shot, tmp_path / "frame.png")
    note = json.loads((tmp_path / "frame.json").read_text(encoding="utf-8"))
    assert note["camera"] == {"fx": 160.0, "fy": 160.0, "cx": 80.0, "cy": 60.0}
    assert np.array_equal(cv2.imread(str(tmp_path / "frame_depth.png"), cv2.IMREAD_UNCHANGED), shot.depth_mm)


def test_raw_frames_have_pandoras_files(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_frame, "KINECT_COLOUR", FrameSize(106.0, (108, 192)))
    folder = write_raw_sequence(studio, tmp_path, 1, 2, frames=1)
    assert folder.name == "002"
    colour = cv2.imread(str(folder / "RGB" / "000000_RGB.png"), cv2.IMREAD_UNCHANGED)
    depth = cv2.imread(str(folder / "DEPTH" / "000000_DEPTH.png"), cv2.IMREAD_UNCHANGED)
    assert colour.shape == (108, 192, 4)
    assert depth.shape == (424, 512)
    assert depth.dtype == np.uint16
    (note,) = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    x, y, z = note["joints3D"]["Head"]
    assert note["joints"]["Head"] == pytest.approx([256 + 365 * x / z, 212 + 365 * y / z], abs=0.01)
    euler = note["orientation"]["euler"]
    turned = rotation_from_dataset_angles(euler["roll"], euler["pitch"], euler["yaw"])
    assert dataset_angles_from_rotation(turned)[1] == pytest.approx(euler["pitch"], abs=1e-6)


def test_a_finished_sequence_is_left_alone(rendered: Path, studio: Studio) -> None:
    before = digests(rendered / "003")
    assert write_sequence(studio, rendered, 1, 3) == rendered / "003"
    assert digests(rendered / "003") == before


@pytest.mark.parametrize("broken", ["missing", "truncated", "foreign"])
def test_a_bad_head_model_is_named(tmp_path: Path, head_file: Path, broken: str) -> None:
    path = tmp_path / "head.npz"
    if broken == "truncated":
        path.write_bytes(head_file.read_bytes()[:100_000])
    elif broken == "foreign":
        np.savez(path, something=np.zeros(3))
    with pytest.raises(ConfigError, match="pack-head"):
        HeadModel.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 0},
        {"train_subjects": 0},
        {"test_subjects": -1},
        {"margin": 0.5},
        {"margin": float("nan")},
        {"proportions": 0.2},
        {"swept": 1.1},
        {"modelled": -0.1},
        {"turned": -0.1},
        {"ears": 1.5},
        {"warp_mm": 7.0},
        {"warp_mm": -1.0},
        {"seed": -1},
    ],
)
def test_senseless_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change)).split("_")[-1]):
        SetConfig(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"portraits": 1.0}, "mouths_dark"),
        ({"portraits": 1.0}, "mouths_wide"),
        ({"portraits": 1.0}, "portraits_turn"),
        ({"drivers": 1.0}, "mouths_dark"),
        ({"drivers": 1.0}, "mouths_wide"),
        ({"pictures": False}, "rays_per_pixel"),
    ],
)
def test_a_set_that_an_earlier_version_began_is_not_continued(
    settings: dict[str, float], name: str, tmp_path: Path, small_set: SetConfig, head_file: Path
) -> None:
    config = dataclasses.replace(small_set, **settings)
    assert not {"mouths_dark", "mouths_wide", "portraits_turn", "rays_per_pixel"} & set(
        set_note(small_set, hair=False).generator
    )  # it goes on
    note = set_note(config, hair=False).plain()
    del note["generator"][name]
    (tmp_path / "dataset.json").write_text(json.dumps(note))
    with pytest.raises(ConfigError, match="a set of other settings"):
        render_set(config, head_file, None, tmp_path, processes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.json"]
