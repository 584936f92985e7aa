# SPDX-License-Identifier: Apache-2.0
"""Driver cameras: whom they see and how, and that sets without them stay as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from facedepth_edge.errors import ConfigError
from train.synth import __main__ as command
from train.synth import dataset as dataset_module
from train.synth import shot as shot_module
from train.synth.assemble import dress
from train.synth.backdrop import background
from train.synth.dataset import SetConfig, Studio, set_note
from train.synth.light import sample_driver_lighting
from train.synth.motion import sample_driver_angles, sample_driver_position
from train.synth.sensor import expose_driver
from train.synth.skin import hair_albedo
from train.synth.subject import Outfit, OutfitShares, sample_expression, sample_outfit, sample_subject, yawned


def outfits(share: float, portraits: float = 0.0) -> list[Outfit]:
    people = [sample_subject(7, number) for number in range(1, 41)]
    return [
        sample_outfit(7, one, n, [], OutfitShares(portraits=portraits, drivers=share)) for one in people for n in (1, 5)
    ]


def test_drivers_are_seen_in_the_near_infrared() -> None:
    plain, half, whole = (outfits(share) for share in (0.0, 0.5, 1.0))
    assert not any(one.driver for one in plain)
    assert all(one.driver and one.infrared and not one.portrait for one in whole)
    assert 24 <= sum(one.driver for one in half) <= 56
    assert all(one == (all_of if one.driver else none) for none, one, all_of in zip(plain, half, whole, strict=True))
    assert [(one.style, one.hat, one.glasses) for one in whole] == [(one.style, one.hat, one.glasses) for one in plain]
    assert not any(one.portrait for one in outfits(1.0, portraits=1.0))


def test_black_hair_stays_black() -> None:
    floors = [one.hair_floor for one in outfits(1.0)]
    assert (min(floors) < 0, max(floors) < 0.1) == (True, True)
    black = (0.02, 0.015, 0.01)
    assert hair_albedo(black, True)[0] == pytest.approx(0.112)
    assert hair_albedo(black, True, floor=-0.03)[0] == pytest.approx(0.008)
    assert hair_albedo(black, False, floor=-0.03) == pytest.approx(black)


def test_the_camera_looks_up() -> None:
    rng = np.random.default_rng(0)
    roll, pitch, yaw = np.array([sample_driver_angles(rng) for _ in range(600)]).T
    assert (roll.std(), pitch.mean(), pitch.std()) == (
        pytest.approx(7, rel=0.15), pytest.approx(-8, abs=2), pytest.approx(14, rel=0.15)
    )  # fmt: skip
    assert 60 < np.abs(yaw).max() <= 80
    assert np.median(np.abs(yaw)) < 25
    places = np.array([sample_driver_position(rng) for _ in range(400)])
    assert 400 <= places[:, 2].min() < 450
    assert 1050 < places[:, 2].max() <= 1200
    assert np.abs(places[:, :2] / places[:, 2:]).max() <= np.tan(np.radians(22)) + 1e-9


def test_mouths_open_wide(studio: Studio) -> None:
    names = studio.model.expression_names
    rng = np.random.default_rng(1)
    names = (*names, "mouthFunnel", "eyeWide_L")
    drawn = [yawned(rng, {**sample_expression(rng, names), "eyeWide_L": 0.5}, names) for _ in range(600)]
    wide = [one for one in drawn if one.get("jawOpen", 0) >= 0.45 and not any(n.startswith("mouthS") for n in one)]
    assert 150 < len(wide) < 300
    jaws = [one["jawOpen"] for one in wide]
    assert 1.25 < max(jaws) <= 1.3  # farther than the head model's full weight: people yawn by 50 mm
    assert max(weight for one in wide for name, weight in one.items() if name != "jawOpen") <= 1.0
    shut = [one for one in wide if one.get("eyeBlink_L") == 1.0 and "eyeWide_L" not in one]
    assert 30 < len(shut) < 120
    assert not any("mouthFunnel" in yawned(rng, {}, ("jawOpen",)) for _ in range(60))


def test_the_flash_is_by_the_camera() -> None:
    centre = np.array([40.0, -20.0, 650.0])
    for seed in range(20):
        flash = sample_driver_lighting(np.random.default_rng(seed), centre).lights[0]
        assert flash.place_mm is not None
        assert np.linalg.norm(flash.place_mm) < 250
        along = flash.place_mm - centre
        assert flash.direction == pytest.approx(along / np.linalg.norm(along))
        assert flash.colour == pytest.approx(np.ones(3))


def test_what_is_far_behind_is_dark() -> None:
    means = np.array(
        [
            [background(np.random.default_rng(s), (40, 40), infrared=True, driver=d).mean() for d in (False, True)]
            for s in range(60)
        ]
    )
    assert np.median(means[:, 1]) < 0.5 * np.median(means[:, 0])


def test_a_driver_camera_has_little_noise_and_shows_the_skin() -> None:
    radiance = np.full((80, 80, 3), 0.3, np.float32)
    radiance[:, 40:] = 0.003
    label = np.zeros((80, 80), np.uint8)
    label[:, :40] = 1
    pictures = [expose_driver(radiance, label, np.random.default_rng(seed)) for seed in range(40)]
    assert all((picture == picture[..., :1]).all() for picture in pictures)
    ratios = [picture[5:75, 5:30].mean() / max(picture[5:75, 30:36].mean(), 1) for picture in pictures]
    assert np.abs(np.array(ratios) - 1).max() < 0.1
    edges = [
        np.abs(np.diff(picture[40, 30:50, 0].astype(float))).max() / np.ptp(picture[40, :, 0]) for picture in pictures
    ]
    assert np.median(edges) > 0.45  # sharp: most of the step lies between two pixels
    skin = np.array([picture[:, :36].mean() for picture in pictures])
    assert 85 < np.median(skin) < 135
    assert (skin.min() > 30, skin.max() < 225) == (True, True)
    noise = [picture[10:70, 5:30].astype(float).std() for picture in pictures]
    assert 0.1 < np.median(noise) < 2.5
    assert np.median([picture[:, 44:].mean() for picture in pictures]) < 0.4 * np.median(skin)


def test_half_of_the_cameras_are_linear() -> None:
    radiance = np.full((80, 80, 3), 0.4, np.float32)
    radiance[:, 40:] = 0.2
    label = np.ones((80, 80), np.uint8)
    label[:, 40:] = 0
    pictures = [expose_driver(radiance, label, np.random.default_rng(seed)).astype(float) for seed in range(80)]
    ratios = np.array([picture[:, 50:].mean() / picture[:, :30].mean() for picture in pictures])
    linear = np.abs(ratios - 0.5) < 0.02
    assert 25 < linear.sum() < 55
    assert (ratios[~linear].min() > 0.5, ratios.max() < 0.8) == (True, True)


def test_hair_does_not_burn_the_skin_out() -> None:
    radiance = np.full((80, 80, 3), 0.005, np.float32)
    radiance[30:50, 30:50] = 0.4
    label = np.full((80, 80), 2, np.uint8)  # hair, but for a small face
    label[30:50, 30:50] = 1
    skin = [expose_driver(radiance, label, np.random.default_rng(s))[34:46, 34:46].mean() for s in range(40)]
    assert max(skin) < 230


def test_hardly_any_other_light() -> None:
    centre = np.array([0.0, 0.0, 700.0])
    drawn = [sample_driver_lighting(np.random.default_rng(seed), centre) for seed in range(80)]
    assert max(one.ambient.max() for one in drawn) <= 0.12
    assert 8 < sum(len(one.lights) == 2 for one in drawn) < 35  # daylight through the filter, now and then


def test_hair_and_brows_take_the_outfit_s_floor(studio: Studio) -> None:
    subject, outfit, _ = studio.cast(1, 1)
    subject = replace(subject, traits=replace(subject.traits, hair_colour=(0.02, 0.02, 0.02)))
    outfit = replace(outfit, infrared=True, hair_colour=(0.02, 0.02, 0.02))
    dark, gray = (
        dress(studio.canvas, subject, replace(outfit, hair_floor=floor), studio.cards) for floor in (0.0, 0.3)
    )
    assert dark.textures["hair0"].mean() < 0.3 * gray.textures["hair0"].mean()
    assert dark.textures["skin"].min() < 0.7 * gray.textures["skin"].min()  # brows are painted on the skin


def test_a_driver_s_shot_is_drawn_and_seen_as_one(
    head_file: Path, small_set: SetConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: dict[str, list[tuple[tuple[object, ...], dict[str, object]]]] = {}

    def watch(module: ModuleType, name: str) -> None:
        real = getattr(module, name)

        def noting(*args: object, **kwargs: object) -> object:
            called.setdefault(name, []).append((args, kwargs))
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, noting)

    for name in (
        "sample_driver_angles",
        "sample_driver_position",
        "sample_driver_lighting",
        "expose_driver",
        "background",
    ):
        watch(shot_module, name)
    for name in ("sample_angles", "sample_position", "sample_lighting", "expose"):
        watch(shot_module, name)
    watch(dataset_module, "yawned")
    shots = list(Studio(replace(small_set, drivers=1.0), head_file, None).shots(1, 1))
    assert set(called) == {"sample_driver_angles", "sample_driver_position", "sample_driver_lighting", "expose_driver",
                           "background", "yawned"}  # fmt: skip
    for (_, centre), _ in called["sample_driver_lighting"]:
        assert any(np.array_equal(centre, shot.centre_mm) for _, shot, *_ in shots)
    assert all(kwargs == {"infrared": True, "driver": True} for _, kwargs in called["background"])


def test_the_command_line_asks_for_drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[SetConfig] = []
    monkeypatch.setattr(command, "render_set", lambda config, *_: asked.append(config))
    assert command.main(["render", "--head", "h.npz", "--out", str(tmp_path), "--drivers", "0.25"]) == 0
    assert asked[0].drivers == 0.25


@pytest.mark.slow
def test_a_set_of_drivers(head_file: Path, small_set: SetConfig) -> None:
    config = replace(small_set, drivers=1.0)
    assert "drivers" not in set_note(small_set, hair=False).generator
    assert set_note(config, hair=False).generator["drivers"] == 1.0
    shown = list(Studio(config, head_file, None).shots(1, 1))
    assert [(attributes["driver"], attributes["infrared"]) for *_, attributes in shown] == [(True, True)] * 2
    for _, shot, *_ in shown:
        assert (shot.picture == shot.picture[..., :1]).all()
        assert shot.picture.max() > 40
    other = list(Studio(small_set, head_file, None).shots(1, 1))
    assert all("driver" not in attributes for *_, attributes in other)
    with pytest.raises(ConfigError, match=r"SetConfig\.drivers: got -0\.1, expected 0 to 1"):
        SetConfig(drivers=-0.1)


def test_an_open_mouth_is_darker_before_drivers_and_photographers(studio: Studio) -> None:
    assert {one.mouth_shade for one in outfits(0.0)} == {1.0}  # sets without them stay as they were
    for many in (outfits(1.0), outfits(0.0, portraits=1.0)):
        shades = np.array([one.mouth_shade for one in many])
        assert 0.12 <= shades.min() < 0.2 < 0.8 < shades.max() <= 1.0
    subject = sample_subject(7, 1)
    outfit = sample_outfit(7, subject, 1, [])
    bright, dark = (
        dress(studio.canvas, subject, replace(outfit, mouth_shade=shade), {}).textures for shade in (1.0, 0.25)
    )
    for name in ("mouth", "gums"):
        np.testing.assert_allclose(dark[name], 0.25 * bright[name], rtol=1e-5)
    np.testing.assert_array_equal(dark["teeth"], bright["teeth"])


@pytest.mark.parametrize("share", [{"portraits": 1.0}, {"drivers": 1.0}, {}])
def test_mouths_open_wide_in_portraits_too(
    share: dict[str, float], head_file: Path, small_set: SetConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(dataset_module, "yawned", lambda rng, weights, names: asked.append(1) or weights)
    list(Studio(replace(small_set, pictures=False, **share), head_file, None).shots(1, 1))
    assert len(asked) == (2 if share else 0)  # once an expression
