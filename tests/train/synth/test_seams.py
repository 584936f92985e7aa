# SPDX-License-Identifier: Apache-2.0
"""What would give a rendered picture away: seams in cloth and hair, skin through garments, a bust that hovers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.train.synth.test_looks import PLAIN
from train.synth import accessories, assemble, body, sensor
from train.synth.assemble import dress
from train.synth.dataset import Studio
from train.synth.hair import HairStyle
from train.synth.materials import BODY, HEAD_HAIR, MATERIALS, cloth
from train.synth.noise import filtered, fractal_noise
from train.synth.shot import shoot
from train.synth.subject import sample_outfit, sample_subject


def steps_between_columns(texture: np.ndarray) -> np.ndarray:
    """Mean change from each column to the next, the last one's to the first at the end."""
    return np.abs(np.roll(texture, -1, axis=1) - texture).reshape(len(texture), texture.shape[1], -1).mean(axis=(0, 2))


@pytest.mark.parametrize("cell_px", [(4.0, 4.0), (90.0, 90.0), (30.0, 700.0)])
def test_noise_goes_on_where_its_sides_meet(cell_px: tuple[float, float]) -> None:
    for seed in range(5):
        noise = fractal_noise(np.random.default_rng(seed), (256, 512), cell_px, 2)
        steps = steps_between_columns(noise)
        assert steps[-1] < 2.5 * np.median(steps)
        assert 0.6 < noise.std() < 1.5


def test_cloth_goes_on_where_its_sides_meet() -> None:
    for seed in range(40):
        steps = steps_between_columns(cloth(np.random.default_rng(seed), infrared=False))
        assert steps[-1] <= 1.3 * steps[:-1].max()


def test_hair_has_no_slit_at_the_back(studio: Studio) -> None:
    subject = sample_subject(3, 1)
    style = HairStyle("short", thickness_mm=14)
    outfit = dataclasses.replace(sample_outfit(3, subject, 1, []), **{**PLAIN, "style": style})
    wardrobe = dress(studio.canvas, subject, outfit, {})
    shot = shoot(
        studio.model, studio.head(subject, outfit, wardrobe, {}), outfit, wardrobe, 1, np.random.default_rng(1),
        crop_px=144, angles_deg=(0, 0, 180), position_mm=np.array([0, 0, 800.0]),
    )  # fmt: skip
    rows, columns = np.nonzero(shot.label == HEAD_HAIR)
    middle = round(columns.mean())
    top, low = (int(np.percentile(rows, share)) for share in (20, 60))
    hair = (shot.label[top:low, middle - 12 : middle + 12] == HEAD_HAIR).mean(axis=0)
    assert hair.min() > 0.9 * np.median(hair) > 0.8


def test_skin_beside_the_collar_goes_under_it() -> None:
    torso = body.Torso([], collar_mm=70.0)
    aside = np.array([[95.0, -130.0, -8.0], [0.0, -130.0, 100.0], [-80.0, -125.0, -90.0]])
    tucked = torso.tucked(aside)
    assert np.hypot(tucked[:, 0] / 66.0, (tucked[:, 2] + 8.0) / 70.0) == pytest.approx(1.0)
    assert tucked[:, 1] == pytest.approx(aside[:, 1])
    kept = np.array([[95.0, -90.0, -8.0], [40.0, -130.0, 10.0]])  # the jaw's side; a neck within the collar
    assert torso.tucked(kept) == pytest.approx(kept)


def test_the_neck_of_a_scene_is_tucked(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = sample_subject(3, 1)
    outfit = dataclasses.replace(sample_outfit(3, subject, 1, []), **{**PLAIN, "style": HairStyle("bald")})
    wardrobe = dress(studio.canvas, subject, outfit, {})
    head = studio.head(subject, outfit, wardrobe, {})
    meshes = []
    monkeypatch.setattr(assemble, "TraceScene", lambda given, *_: meshes.extend(given))
    assemble.surroundings(studio.model, head, wardrobe, np.eye(3), [])
    (neck,) = [mesh for mesh in meshes if mesh.material == "neck"]
    low = neck.vertices[neck.vertices[:, 1] < -113]
    half = wardrobe.torso.collar_mm - 4
    assert len(low) > 20
    assert np.hypot(low[:, 0] / half, (low[:, 2] + 8) / (half + 4)).max() < 1.001


@pytest.mark.parametrize("driver", [False, True])
def test_a_part_of_the_pictures_went_through_a_codec(driver: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    radiance, label = np.full((48, 48, 3), 0.3, np.float32), np.ones((48, 48), np.uint8)
    radiance[10:30, 10:30] = 0.8

    def picture(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return (
            sensor.expose_driver(radiance, label, rng)
            if driver
            else sensor.expose(radiance, label, rng, infrared=False)
        )

    coded = [picture(seed) for seed in range(40)]
    monkeypatch.setattr(sensor, "_coded", lambda picture, *_: picture)
    changed = sum((one != picture(seed)).any() for seed, one in enumerate(coded))
    assert 14 < changed < 34


def test_a_garment_ends_below_any_picture() -> None:
    for seed in range(20):
        (garment, *_) = body.torso(np.random.default_rng(seed)).meshes
        assert garment.vertices[:, 1].min() == pytest.approx(body.HEM_MM)
        assert garment.uv.min() >= 0
        assert garment.uv.max() <= 1
        front = garment.vertices[:, 2] > 60
        assert np.abs(garment.uv[front, 0] - 0.5).max() < 0.26  # the texture's sides meet at the back


def test_a_head_scarf_is_head_above_the_neck_alone(studio: Studio) -> None:
    vertices = studio.model.neutral
    wrap, cape = accessories.head_scarf(studio.model, vertices, np.random.default_rng(2))
    assert (MATERIALS[wrap.material].label, MATERIALS[cape.material].label) == (HEAD_HAIR, BODY)
    assert cape.vertices[:, 1].min() < -130


def test_attributes_say_what_is_seen(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hair style under a hat, and no open mouth under a face mask."""
    subject = sample_subject(3, 1)
    plain = dataclasses.replace(sample_outfit(3, subject, 1, []), **{**PLAIN, "style": HairStyle("short")})
    monkeypatch.setattr("train.synth.dataset.sample_expression", lambda rng, names: {"jawOpen": 0.8})
    said = {}
    for name, changes in {"plain": {}, "cap": {"hat": "cap"}, "mask": {"face_mask": True}}.items():
        outfit = dataclasses.replace(plain, **changes)
        cast = (subject, outfit, dress(studio.canvas, subject, outfit, {}))
        monkeypatch.setattr(Studio, "cast", lambda self, number, sequence, cast=cast: cast)
        (_, _, _, said[name]), *_ = studio.shots(1, 1)
    assert [said[name]["hair"] for name in said] == ["short", "under a hat", "short"]
    assert [said[name]["jaw_open"] for name in said] == [0.8, 0.8, pytest.approx(0.096)]


def test_noise_and_codec_are_those_of_the_cameras_pixels() -> None:
    """Drawn in pixels of a third of the crop's it averages out; in larger ones neighbours have it in common."""
    shown = {}
    for finer in (0.6, 1.0, 3.0, 5.0):
        grain = sensor._grain(np.random.default_rng(4), (144, 144, 3), finer)
        assert grain.shape == (144, 144, 3)
        beside = np.corrcoef(grain[:, 1:, 0].ravel(), grain[:, :-1, 0].ravel())[0, 1]
        shown[finer] = (float(grain.std()), float(beside))
    assert shown[1.0][0] == pytest.approx(1.0, abs=0.02)
    assert shown[3.0][0] == pytest.approx(1 / 3, abs=0.02)
    assert shown[5.0][0] == pytest.approx(1 / 5, abs=0.02)
    assert abs(shown[3.0][1]) < 0.05 < 0.3 < shown[0.6][1]


@pytest.mark.parametrize("gray", [True, False])
def test_a_codec_changes_little_and_leaves_gray_pictures_gray(gray: bool) -> None:
    y, x = np.mgrid[:144, :144]
    picture = np.stack([120 + 60 * np.sin(x / 9), 120 + 50 * np.cos(y / 7), 90 + 0.4 * x], axis=-1).astype(np.uint8)
    if gray:
        picture = np.repeat(picture[..., :1], 3, axis=2)
    coded = [sensor._coded(picture, np.random.default_rng(seed), 0.6 + 0.2 * seed, 35) for seed in range(20)]
    changed = [one for one in coded if (one != picture).any()]
    assert 6 < len(changed) < 18
    for one in changed:
        assert (one.shape, one.dtype) == (picture.shape, np.uint8)
        assert np.abs(one.astype(float) - picture).mean() < 6
        assert (one[..., 0] == one[..., 2]).all() == gray


def test_textures_are_filtered_around_and_flat_ones_stay() -> None:
    rng = np.random.default_rng(6)
    texture = rng.uniform(0, 1, (64, 128, 3)).astype(np.float32)
    texture[:, :2] = 0
    done = filtered(texture)
    assert (done.shape, done.dtype) == (texture.shape, np.float32)
    assert done.std() < 0.5 * texture.std()
    assert done.mean() == pytest.approx(texture.mean(), abs=0.01)
    moved = np.roll(filtered(np.roll(texture, 40, axis=1)), -40, axis=1)
    assert moved == pytest.approx(done, abs=1e-5)  # wherever its sides meet
    flat = np.full((1, 1, 3), 0.3, np.float32)
    assert filtered(flat) is flat
