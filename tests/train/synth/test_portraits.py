# SPDX-License-Identifier: Apache-2.0
"""Portraits: who is in them, how the camera sees them, and that sets without them stay as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.errors import ConfigError
from train.synth.dataset import SetConfig, Studio, set_note
from train.synth.motion import sample_portrait_angles, sample_portrait_position
from train.synth.sensor import expose
from train.synth.skin import FaceCanvas, brows
from train.synth.subject import Outfit, OutfitShares, portrait_traits, sample_outfit, sample_subject


def outfits(share: float) -> list[Outfit]:
    subjects = [sample_subject(7, number) for number in range(1, 41)]
    return [
        sample_outfit(7, one, sequence, [], OutfitShares(portraits=share)) for one in subjects for sequence in (1, 5)
    ]


def test_portraits_leave_the_face_free() -> None:
    plain, half, whole = (outfits(share) for share in (0.0, 0.5, 1.0))
    assert not any(one.portrait for one in plain)
    assert all(one.portrait for one in whole)
    assert 24 <= sum(one.portrait for one in half) <= 56
    assert all(one == (all_of if one.portrait else none) for none, one, all_of in zip(plain, half, whole, strict=True))
    for one in whole:
        assert (one.hat, one.face_mask, one.infrared, one.occlusion_rate) == ("none", False, False, 0.0)
        assert one.glasses in ("none", "clear")
    assert {one.glasses for one in whole} == {"none", "clear"}
    assert [one.style for one in whole] == [one.style for one in plain]


def test_half_of_the_heads_in_portraits_look_about_into_the_camera() -> None:
    rng = np.random.default_rng(0)
    roll, pitch, yaw = np.array([sample_portrait_angles(rng) for _ in range(2000)]).T
    assert np.abs([roll.mean(), pitch.mean(), yaw.mean()]).max() < 3
    assert roll.std() == pytest.approx(7, rel=0.1)
    assert 8 < pitch.std() < 13
    assert np.abs(pitch).max() <= 40
    # half normal with 18 degrees of standard deviation (2 % beyond 42), half even up to 72 degrees (42 %)
    assert np.mean(np.abs(yaw) > 42) == pytest.approx(0.22, abs=0.03)
    assert np.mean(np.abs(yaw) < 18) == pytest.approx(0.47, abs=0.03)
    places = np.array([sample_portrait_position(rng) for _ in range(400)])
    assert 600 <= places[:, 2].min() < 700
    assert 2600 < places[:, 2].max() <= 3000
    assert np.abs(places[:, :2] / places[:, 2:]).max() <= np.tan(np.radians(10)) + 1e-9


def test_brows_are_darker_in_portraits(studio: Studio) -> None:
    canvas = FaceCanvas(studio.model)
    for number in range(1, 9):
        traits = sample_subject(3, number).traits
        dense = portrait_traits(traits, seed=number)
        assert replace(dense, brow_density=traits.brow_density) == traits
        cover = [brows(canvas, one, np.random.default_rng(1)).sum() for one in (traits, dense)]
        assert cover[1] > 1.2 * cover[0]


def test_a_clean_picture_has_less_noise() -> None:
    radiance, label = np.full((80, 80, 3), 0.3, np.float32), np.ones((80, 80), np.uint8)
    spreads = []
    for clean in (False, True):
        pictures = [expose(radiance, label, np.random.default_rng(s), infrared=False, clean=clean) for s in range(12)]
        spreads.append(np.mean([np.abs(np.diff(picture.astype(float), axis=1)).mean() for picture in pictures]))
    assert spreads[1] < 0.3 * spreads[0]


def test_a_set_of_portraits(head_file: Path, small_set: SetConfig) -> None:
    config = replace(small_set, portraits=1.0)
    assert "portraits" not in set_note(small_set, hair=False).generator
    assert set_note(config, hair=False).generator["portraits"] == 1.0
    shown = list(Studio(config, head_file, None).shots(1, 1))
    assert [attributes["portrait"] for *_, attributes in shown] == [True, True]
    assert all(np.abs(shot.angles_deg).max() < 75 for _, shot, *_ in shown)
    other = list(Studio(small_set, head_file, None).shots(1, 1))
    assert all("portrait" not in attributes for *_, attributes in other)
    assert not np.array_equal(shown[0][1].picture, other[0][1].picture)
    with pytest.raises(ConfigError, match=r"SetConfig\.portraits: got 1\.5, expected 0 to 1"):
        SetConfig(portraits=1.5)
