# SPDX-License-Identifier: Apache-2.0
"""Bare heads: nothing on them and nothing before them, and the shapes that a rendered set knows of its people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.errors import ConfigError
from train.data.crops_set import open_crops_set
from train.data.shapes import SHAPE_VALUES
from train.synth import __main__ as command
from train.synth.assemble import dress
from train.synth.dataset import SetConfig, Studio, render_set, set_note
from train.synth.headmodel import HeadModel
from train.synth.renderer import View
from train.synth.subject import OutfitShares, sample_outfit, sample_subject


def test_bare_heads_wear_nothing() -> None:
    people = [sample_subject(7, number) for number in range(1, 60)]
    outfits = [
        sample_outfit(7, one, n, [], OutfitShares(portraits=1.0, drivers=1.0, bare=1.0))
        for one in people
        for n in (1, 5)
    ]
    assert all(one.bare and one.style.kind == "bald" for one in outfits)
    assert all(one.hat == one.glasses == one.beard == "none" and not one.seat for one in outfits)
    assert not any(one.beard_mm or one.occlusion_rate or one.face_mask or one.driver or one.portrait for one in outfits)


def test_a_share_of_the_sequences_is_bare_and_the_others_are_as_before() -> None:
    people = [sample_subject(7, number) for number in range(1, 200)]
    plain = [sample_outfit(7, one, 2, []) for one in people]
    mixed = [sample_outfit(7, one, 2, [], OutfitShares(bare=0.5)) for one in people]
    share = np.mean([one.bare for one in mixed])
    assert 0.4 < share < 0.6
    assert all(a == b for a, b in zip(plain, mixed, strict=True) if not b.bare)


def test_bare_heads_and_drivers_are_drawn_apart() -> None:
    people = [sample_subject(7, number) for number in range(1, 400)]
    outfits = [sample_outfit(7, one, 2, [], OutfitShares(drivers=0.5, bare=0.5)) for one in people]
    assert 0.42 < np.mean([one.bare for one in outfits]) < 0.58
    assert 0.18 < np.mean([one.driver for one in outfits]) < 0.32


def test_another_head_models_shapes_are_not_overwritten(head_file: Path, small_set: SetConfig, tmp_path: Path) -> None:
    config = replace(small_set, test_subjects=0, pictures=False)
    render_set(config, head_file, None, tmp_path, processes=1)
    shapes = np.load(tmp_path / "shapes.npy")
    render_set(config, head_file, None, tmp_path, processes=1)  # the same again
    np.save(tmp_path / "shapes.npy", shapes + np.float32(1))
    with pytest.raises(ConfigError, match=r"shapes\.npy: got the shapes of other people, expected those of this head"):
        render_set(config, head_file, None, tmp_path, processes=1)
    (tmp_path / "shapes.npy").unlink()
    render_set(config, head_file, None, tmp_path, processes=1)  # as a set that is older than the file
    np.testing.assert_array_equal(np.load(tmp_path / "shapes.npy"), shapes)


def test_depth_alone_takes_one_ray_a_pixel_and_pictures_three(
    head_file: Path, small_set: SetConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rays: list[int] = []
    real = View.directions

    def noting(view: View, rows: slice | None = None, *offsets: np.ndarray) -> np.ndarray:
        rays.extend(len(offset) for offset in offsets)
        return real(view, rows, *offsets)

    monkeypatch.setattr(View, "directions", noting)
    for pictures, count in ((False, 1), (True, 3)):
        rays.clear()
        list(Studio(replace(small_set, frames=1, pictures=pictures), head_file, None).shots(1, 1))
        assert set(rays) == {count}


def test_a_set_of_bare_heads_of_depth_alone(head_file: Path, small_set: SetConfig, tmp_path: Path) -> None:
    config = replace(small_set, bare=1.0, pictures=False, proportions=0.05)
    assert "bare" not in set_note(small_set, hair=False).generator
    assert set_note(config, hair=False).generator["bare"] == 1.0
    render_set(config, head_file, None, tmp_path, processes=1)
    crops = open_crops_set(tmp_path)
    assert len(crops.frames) == 20
    assert all(entry.attributes["bare"] for entry in crops.frames)
    labels = {label for _, shot, _, _ in Studio(config, head_file, None).shots(1, 1) for label in np.unique(shot.label)}
    assert labels >= {1, 4}  # on a torso
    assert not labels & {2, 3}  # no hair, beard, hat, glasses or mask


def test_a_bare_head_of_depth_alone_needs_no_paint(studio: Studio, small_set: SetConfig) -> None:
    subject = sample_subject(small_set.seed, 1)
    outfit = sample_outfit(small_set.seed, subject, 1, [], OutfitShares(bare=1.0))
    assert not dress(studio.canvas, subject, outfit, {}, painted=False).textures
    assert "skin" in dress(studio.canvas, subject, outfit, {}, painted=True).textures


def test_the_set_knows_its_peoples_shapes(head_file: Path, small_set: SetConfig, tmp_path: Path) -> None:
    config = replace(small_set, pictures=False, proportions=0.1)
    render_set(config, head_file, None, tmp_path, processes=1)
    shapes = open_crops_set(tmp_path).shapes
    assert shapes is not None
    assert shapes.shape == (2, SHAPE_VALUES)
    model = HeadModel.load(head_file)
    solid = np.flatnonzero(model.bend[:11248] >= 1.0)
    for row, number in enumerate((1, 2)):
        person = sample_subject(config.seed, number, config.proportions)
        centred = model.identity - model.identity[:, list(model.tragi)].mean(axis=1, keepdims=True)
        moved = person.identity[:, None, None] * centred[:, solid]
        np.testing.assert_allclose(
            np.abs(shapes[row, :100]), np.sqrt((moved**2).sum(axis=2).mean(axis=1)), rtol=1e-4, atol=1e-6
        )
        assert (np.sign(shapes[row, :2]) == np.sign(person.identity[:2])).all()
        extent = np.sqrt(((model.neutral - model.head_center(model.neutral))[solid] ** 2).mean(axis=0))
        np.testing.assert_allclose(shapes[row, 100:], np.log(person.scale) * extent, rtol=1e-4)


def test_the_command_line_asks_for_bare_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[SetConfig] = []
    monkeypatch.setattr(command, "render_set", lambda config, *_: asked.append(config))
    assert command.main(["render", "--head", "h.npz", "--out", str(tmp_path), "--bare", "0.25"]) == 0
    assert asked[0].bare == 0.25


def test_a_share_beyond_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"SetConfig\.bare: got 1\.5, expected 0 to 1"):
        SetConfig(bare=1.5)
