# SPDX-License-Identifier: Apache-2.0
"""Hair around the ears: on which side, how far down, over the skin, and in a share of the outfits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from train.synth.assemble import dress
from train.synth.dataset import SetConfig, Studio, set_note
from train.synth.hair import HairStyle, curtain, skin_radius
from train.synth.hair_ears import ear_style, nape, side_locks
from train.synth.headmodel import SPHERE_CENTRE_MM, azimuth_elevation
from train.synth.mesh import Mesh
from train.synth.shot import shoot
from train.synth.skin import hairline_deg
from train.synth.subject import OutfitShares, sample_outfit, sample_subject


def placed(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth and elevation of a mesh's points in degrees."""
    azimuth, elevation = azimuth_elevation(mesh.vertices.astype(float) - SPHERE_CENTRE_MM)
    return np.rad2deg(azimuth), np.rad2deg(elevation)


def test_a_share_of_outfits_has_hair_around_the_ears() -> None:
    subjects = [sample_subject(7, number) for number in range(1, 81)]
    plain, some, every = (
        [sample_outfit(7, s, 2, ["bob"], OutfitShares(ears=share)) for s in subjects] for share in (0.0, 0.4, 1.0)
    )
    changed = [one.style != other.style for one, other in zip(some, plain, strict=True)]
    assert 0.25 < np.mean(changed) < 0.55
    assert {one.style.kind for one in every} == {"short", "medium", "long"}
    for one, other in zip(plain, every, strict=True):  # nothing else changes
        assert other.style != one.style
        assert dataclasses.replace(other, style=one.style) == one
    over = [sample_outfit(7, s, 2, ["bob"], OutfitShares(swept=1.0, modelled=1.0, ears=1.0)) for s in subjects]
    assert [one.style for one in over] == [one.style for one in every]


def test_styles_free_and_cover_the_ears_in_many_ways() -> None:
    rng = np.random.default_rng(0)
    styles = [ear_style(rng) for _ in range(400)]
    short, long = ([s for s in styles if (s.kind != "long") == is_short] for is_short in (True, False))
    locks = np.array([s.locks_mm for s in short])
    assert 0.35 < (locks > 0).mean() < 0.75
    assert locks.max() <= 70
    assert np.corrcoef(locks.T)[0, 1] > 0.5  # most cuts are nearly the same on both sides
    assert 0.45 < np.mean([s.nape_mm > 0 for s in short]) < 0.75
    assert not any(s.nape_mm or any(s.locks_mm) for s in long)
    tucked = np.array([np.add(s.opening_deg, s.tucked_deg) for s in long])
    assert 0.6 < (tucked > 94 - 1e-9).mean() < 0.9
    assert ((tucked > 94 - 1e-9) != (tucked > 94 - 1e-9)[:, ::-1]).any()  # behind one ear alone
    assert not any(any(s.tucked_deg) for s in short)


def test_a_sideburn_reaches_down_before_the_ear_alone() -> None:
    azimuth = np.arange(-180, 181)
    lower = hairline_deg(azimuth, 0, 0) - hairline_deg(azimuth, 0, 0, sideburn_deg=20)
    assert lower[np.abs(azimuth) == 72] == pytest.approx(20, abs=1e-4)
    assert (lower[(np.abs(azimuth) <= 54) | (np.abs(azimuth) >= 100)] == 0).all()


@pytest.mark.parametrize("side", [0, 1])
def test_locks_hang_over_one_ear(studio: Studio, side: int) -> None:
    vertices = studio.model.neutral
    low = []
    for reach_mm in (10.0, 50.0):
        locks = (reach_mm, 0.0) if side == 0 else (0.0, reach_mm)
        (mesh,) = side_locks(studio.model, vertices, HairStyle("short", 10, locks_mm=locks), np.random.default_rng(2))
        azimuth, elevation = placed(mesh)
        assert (np.sign(azimuth) == (-1, 1)[side]).all()
        assert 50 < np.abs(azimuth).min() < 90 < np.abs(azimuth).max() < 150
        over = np.linalg.norm(mesh.vertices - SPHERE_CENTRE_MM, axis=1)
        over -= skin_radius(studio.model, vertices)(azimuth, elevation)
        assert over.min() > 1.5
        assert over.max() < 35
        low.append(mesh.vertices[:, 1].min())
    assert 20 < low[0] - low[1] < 60


def test_hair_that_is_not_there_draws_nothing(studio: Studio) -> None:
    rng = np.random.default_rng(5)
    for add in (side_locks, nape):
        assert add(studio.model, studio.model.neutral, HairStyle("short", 10), rng) == []
    assert rng.uniform() == np.random.default_rng(5).uniform()  # what is drawn after it stays as it was


def test_hair_at_the_nape_hangs_behind_the_ears(studio: Studio) -> None:
    vertices = studio.model.neutral
    assert nape(studio.model, vertices, HairStyle("short", 10), np.random.default_rng(1)) == []
    low = []
    for reach_mm in (60.0, 120.0):
        (mesh,) = nape(studio.model, vertices, HairStyle("short", 10, nape_mm=reach_mm), np.random.default_rng(1))
        azimuth, _ = placed(mesh)
        assert np.abs(azimuth).min() > 95
        low.append(SPHERE_CENTRE_MM[1] - mesh.vertices[:, 1].min())
    assert low == pytest.approx([60, 120], rel=0.15)


def test_long_hair_is_tucked_behind_the_ear_that_says_so(studio: Studio) -> None:
    style = HairStyle("long", 10, length_mm=100, opening_deg=60, tucked_deg=(45.0, 0.0))
    for sheet in curtain(studio.model, studio.model.neutral, style, np.random.default_rng(3)):
        azimuth, elevation = placed(sheet)
        level = np.abs(elevation) < 5
        left, right = azimuth[level & (azimuth > 0)].min(), -azimuth[level & (azimuth < 0)].max()
        assert left > 90 > 85 > right


def profile(studio: Studio, style: HairStyle, hat: str = "none") -> np.ndarray:
    """Labels of a head in profile, its left side to the camera."""
    subject = sample_subject(3, 1)
    outfit = dataclasses.replace(
        sample_outfit(3, subject, 1, []), style=style, hat=hat, glasses="none", face_mask=False, beard="none",
        beard_mm=0.0, occlusion_rate=0.0, infrared=False, seat=False,
    )  # fmt: skip
    wardrobe = dress(studio.canvas, subject, outfit, {})
    head = studio.head(subject, outfit, wardrobe, {})
    rng, place = np.random.default_rng(1), np.array([0, 0, 800.0])
    return shoot(
        studio.model, head, outfit, wardrobe, 1, rng, crop_px=72, angles_deg=(0, 0, 80), position_mm=place
    ).label  # fmt: skip


def test_pictures_show_it(studio: Studio) -> None:
    plain = profile(studio, HairStyle("short", 8))
    for changes in ({"locks_mm": (45.0, 45.0)}, {"nape_mm": 120.0}, {"sideburn_deg": 26.0}):
        more = (profile(studio, HairStyle("short", 8, **changes)) == 2) & (plain != 2)
        assert more.sum() > 12, changes


def test_a_set_says_that_hair_is_around_the_ears(small_set: SetConfig) -> None:
    assert "ears" not in set_note(small_set, hair=False).generator
    assert set_note(dataclasses.replace(small_set, ears=0.3), hair=False).generator["ears"] == 0.3


def test_under_a_cap_the_hair_lies_flat(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    thick: list[float] = []
    for name in ("side_locks", "nape"):
        monkeypatch.setattr(
            f"train.synth.hair_ears.{name}", lambda m, v, style, rng: thick.append(style.thickness_mm) or []
        )
    profile(studio, HairStyle("medium", 25), hat="cap")
    profile(studio, HairStyle("medium", 25))
    assert thick == [6.0, 6.0, 25.0, 25.0]
