# SPDX-License-Identifier: Apache-2.0
"""Modelled hair: where a style comes to sit on the head, and how it is worn."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from facedepth_edge.errors import ConfigError
from train.data.crops_writer import start_set
from train.synth.dataset import SetConfig, Studio, render_set, set_note
from train.synth.hair import skin_radius
from train.synth.hair_cards import CardHair, fitted, load_cards
from train.synth.headmodel import PARTS, SPHERE_CENTRE_MM, HeadModel
from train.synth.mesh import vertex_normals
from train.synth.sources import source_digests
from train.synth.subject import OutfitShares, sample_outfit, sample_subject

_UP_DM = 8.0  # the base mesh stands on the ground
# Up and forwards: as far off as styles are that were made for other bodies.
_OFF_DM = {"low": (-0.5, 0.2), "right": (0.0, 0.0), "high": (1.1, -0.2)}


@pytest.fixture(scope="module")
def styles(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the base mesh, here the stand-in head in decimetres, and three caps with a fall of long hair."""
    folder = tmp_path_factory.mktemp("hair")
    model = studio.model
    body = model.neutral[: PARTS["skin"][1] + 1] / 100 + [0, _UP_DM, 0]
    parts = {"body": body}
    for name, side in (("joint-l-eye", "eye_left"), ("joint-r-eye", "eye_right")):
        low, high = PARTS[side]
        parts[name] = model.neutral[low : high + 1] / 100 + [0, _UP_DM, 0]
    lines, first = [], 1
    for name, points in parts.items():
        lines += [f"v {x} {y} {z}" for x, y, z in points] + [f"g {name}"]
        lines += [f"f {i} {i + 1} {i + 2}" for i in range(first, first + len(points) - 2)]
        first += len(points)
    (folder / "hm08_base.obj").write_text("\n".join(lines))
    for name, shift in _OFF_DM.items():
        _write_cap(folder, name, model, shift)
    return folder


def _write_cap(folder: Path, name: str, model: HeadModel, shift_dm: tuple[float, float]) -> None:
    rows, columns = 24, 40
    down = np.linspace(88, 25, rows)[:, None]
    around = np.linspace(-180, 180, columns)[None]
    lopsided = 1.05 + 0.03 * np.sin(np.deg2rad(around))
    reach = lopsided * skin_radius(model, model.neutral)(*np.broadcast_arrays(around, down))
    reach[10:12, 18:22] *= 0.9  # a dent into the skull
    reach[13:15, 18:22] *= 1.25  # a tuft
    a, e = np.deg2rad(around), np.deg2rad(down)
    cap = np.stack(np.broadcast_arrays(np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)), -1) * reach[..., None]
    fall = np.stack(np.broadcast_arrays(80 * np.sin(a), np.linspace(0, -300, rows)[:, None], 80 * np.cos(a)), -1)
    fall = fall[:, np.abs(around[0]) > 100]
    lines, first = ["vt 0 0", "vt 1 0", "vt 0 1"], 1
    for sheet in (cap, fall):
        points = (sheet.reshape(-1, 3) + SPHERE_CENTRE_MM) / 100 + [0, _UP_DM + shift_dm[0], shift_dm[1]]
        lines += [f"v {x} {y} {z}" for x, y, z in points]
        wide = sheet.shape[1]
        starts = [first + r * wide + c for r in range(rows - 1) for c in range(wide - 1)]
        lines += [f"f {i}/1 {i + 1}/2 {i + wide}/3" for i in starts]
        first += len(points)
    (folder / f"{name}.obj").write_text("\n".join(lines))
    cv2.imwrite(str(folder / f"{name}.png"), np.full((8, 8, 4), 255, np.uint8))


def _over_skin(points: np.ndarray, model: HeadModel, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mm over the skin, and the elevation in degrees."""
    offset = points - SPHERE_CENTRE_MM
    azimuth = np.rad2deg(np.arctan2(offset[:, 0], offset[:, 2]))
    elevation = np.rad2deg(np.arctan2(offset[:, 1], np.hypot(offset[:, 0], offset[:, 2])))
    return np.linalg.norm(offset, axis=1) - skin_radius(model, vertices)(azimuth, elevation), elevation


@pytest.fixture(scope="module")
def cards(styles: Path, studio: Studio) -> dict[str, CardHair]:
    return load_cards(styles, studio.model)


@pytest.mark.parametrize("name", _OFF_DM)
def test_a_style_sits_on_the_skull(name: str, cards: dict[str, CardHair], studio: Studio) -> None:
    """Whatever body a style was made for: one that hangs 5 cm too low covers the eyes."""
    assert sorted(cards) == sorted(_OFF_DM)
    over, elevation = _over_skin(cards[name].vertices, studio.model, studio.model.neutral)
    crown = elevation > 35
    assert crown.sum() > 300
    assert 0 < np.median(over[crown]) < 12
    assert np.percentile(np.abs(over[crown]), 95) < 25
    right = cards["right"].vertices
    np.testing.assert_allclose(cards[name].vertices, right, atol=2.5)  # the search goes in steps of 2 mm


def test_a_style_is_worn_in_many_ways(cards: dict[str, CardHair], studio: Studio) -> None:
    who = dataclasses.replace(sample_subject(3, 2), scale=np.array([1.12, 0.95, 1.0]))
    vertices = studio.model.shape(who.identity, {}, who.scale)
    fronts, falls, leans, volumes, sides, facing = [], [], [], [], [], []
    for seed in range(16):
        worn = fitted(cards["low"], studio.model, vertices, np.random.default_rng(seed))
        over, elevation = _over_skin(worn.vertices, studio.model, vertices)
        crown = elevation > 40
        assert over[crown].min() > 2  # nothing is in the skull, whatever its shape
        assert 4 < np.median(over[crown]) < 25
        offset = worn.vertices - SPHERE_CENTRE_MM
        fronts.append(elevation[(np.abs(offset[:, 0]) < 15) & (offset[:, 2] > 50)].min())
        falls.append(offset[:, 1].min())
        side = np.abs(offset[:, 0]) > 40
        ends, upper = offset[:, 1] < 0.8 * falls[-1], (offset[:, 1] < -40) & (offset[:, 1] > -70)
        leans.append((offset[ends & side, 2].mean() - offset[upper & side, 2].mean()) / falls[-1])
        volumes.append(over[crown].max())
        middle, outer = np.abs(offset[:, 0]) < 15, (np.abs(offset[:, 0]) > 50) & (elevation < 60)
        assert abs(np.median(over[crown & middle]) - np.median(over[crown & outer])) < 4  # mm: a wide, low head's too
        right = offset[:, 0] > 0
        sides.append(np.sign(np.median(over[crown & right]) - np.median(over[crown & ~right])))
        cap = (elevation[worn.triangles] > 35).all(axis=1)
        normals = vertex_normals(worn.vertices, worn.triangles[cap])
        outward = (normals * offset).sum(axis=1)[np.unique(worn.triangles[cap])]
        assert abs(np.sign(outward).mean()) > 0.9
        facing.append(np.sign(np.sign(outward).mean()))
    assert np.ptp(fronts) > 4  # degrees, the hairline
    assert np.ptp(falls) > 60  # mm, the length
    assert np.ptp(leans) > 0.2  # of the length, behind the shoulders or before; the tilt alone gives 0.1
    assert np.ptp(volumes) > 16  # mm, the tuft; the random size alone gives 8
    assert set(sides) == {-1, 1}
    assert len(set(facing)) == 1  # mirrored hair shows the same side of its sheets
    again = fitted(cards["low"], studio.model, vertices, np.random.default_rng(15))
    assert np.array_equal(again.vertices, worn.vertices)


def test_a_share_of_outfits_has_modelled_hair() -> None:
    subjects = [sample_subject(7, number) for number in range(1, 81)]
    shares = (0.0, 0.5, 1.0)
    plain, some, every = (
        [sample_outfit(7, s, 2, ["bob", "long"], OutfitShares(modelled=share)) for s in subjects] for share in shares
    )
    assert np.mean([outfit.style.card != "" for outfit in plain]) < 0.4
    assert 0.4 < np.mean([outfit.style.card != "" for outfit in some]) < 0.85
    assert {outfit.style.card for outfit in every} == {"bob", "long"}
    for one, other in zip(plain, every, strict=True):  # nothing else changes
        assert dataclasses.replace(other, style=one.style) == one


def test_shares_of_outfits_have_the_styles_that_are_asked_for() -> None:
    subjects = [sample_subject(7, number) for number in range(1, 201)]
    plain = [sample_outfit(7, s, 2, ["bob", "long01"]) for s in subjects]
    asked = {"afro": 0.4, "long01": 0.3}
    some = [sample_outfit(7, s, 2, ["bob", "long01"], OutfitShares(ears=1.0, styles=asked)) for s in subjects]
    assert 0.3 < np.mean([outfit.style.kind == "afro" for outfit in some]) < 0.5
    assert 0.2 < np.mean([outfit.style.card == "long01" for outfit in some]) < 0.4
    assert {outfit.style.kind for outfit in some} == {"afro", "cards", "short", "medium", "long"}  # the rest is `ears`'
    turned = dict(reversed(asked.items()))
    assert some == [sample_outfit(7, s, 2, ["bob", "long01"], OutfitShares(ears=1.0, styles=turned)) for s in subjects]
    for one, other in zip(plain, some, strict=True):  # nothing else changes
        assert dataclasses.replace(other, style=one.style) == one


@pytest.mark.parametrize("styles", [{"afro": 0.7, "short": 0.5}, {"afro": -0.1}, {"afro": float("nan")}])
def test_styles_are_shares(styles: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"SetConfig\.styles: got .*at most 1 in all"):
        SetConfig(styles=styles)


@pytest.mark.parametrize("name", ["mullet", "cards"])
def test_styles_that_nobody_knows_are_refused(head_file: Path, styles: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"styles: got {name}, expected names of afro, .*shaved"):
        render_set(SetConfig(styles={name: 0.1}), head_file, styles, tmp_path / "set", 1)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_modelled_hair_needs_its_files(head_file: Path, tmp_path: Path, processes: int) -> None:
    with pytest.raises(ConfigError, match=r"modelled: got 0\.5, expected 0 without modelled hair.*--hair"):
        render_set(SetConfig(modelled=0.5), head_file, None, tmp_path / "set", processes)
    assert not (tmp_path / "set").exists()


def test_a_set_with_hair_from_before_it_sat_right_is_not_continued(
    small_set: SetConfig, head_file: Path, styles: Path, tmp_path: Path
) -> None:
    note = set_note(small_set, hair=True)
    before = {name: value for name, value in note.generator.items() if name != "hair_seated"}
    start_set(tmp_path, dataclasses.replace(note, generator=before))
    with pytest.raises(ConfigError, match="other settings"):
        render_set(small_set, head_file, styles, tmp_path, processes=1)
    assert "hair_seated" not in set_note(small_set, hair=False).generator


def test_a_folder_that_is_no_hair_is_refused(styles: Path, studio: Studio, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--hair .*: got no hm08_base\.obj, expected a folder of NAME\.obj"):
        load_cards(tmp_path / "none", studio.model)
    shutil.copy(styles / "hm08_base.obj", tmp_path)
    with pytest.raises(ConfigError, match=r"got no NAME\.obj with its NAME\.png"):
        load_cards(tmp_path, studio.model)
    shutil.copy(styles / "low.obj", tmp_path)
    (tmp_path / "low.png").write_text("no picture")
    with pytest.raises(ConfigError, match=r"low\.png: got no picture, expected a picture with an alpha channel"):
        load_cards(tmp_path, studio.model)
    cv2.imwrite(str(tmp_path / "low.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"low\.png: got an array of \(4, 4, 3\)"):
        load_cards(tmp_path, studio.model)


def test_a_set_goes_on_with_no_other_hair_and_head(
    styles: Path, tmp_path: Path, small_set: SetConfig, head_file: Path
) -> None:
    out, hair = tmp_path / "set", tmp_path / "hair"
    shutil.copytree(styles, hair)
    note = set_note(small_set, hair=True, sources=source_digests(head_file, hair))
    start_set(out, note)
    start_set(out, set_note(small_set, hair=True, sources=source_digests(head_file, styles)))  # the same files
    (hair / "low.obj").unlink()
    with pytest.raises(ConfigError, match="a set of other settings"):
        start_set(out, set_note(small_set, hair=True, sources=source_digests(head_file, hair)))
    other_head = tmp_path / "head.npz"
    with np.load(head_file) as archive:
        arrays = dict(archive)
    np.savez(other_head, **arrays)  # packed otherwise, the same head
    assert source_digests(other_head, styles) == source_digests(head_file, styles)
    np.savez_compressed(other_head, **arrays, more=np.zeros(1))
    with pytest.raises(ConfigError, match="a set of other settings"):
        start_set(out, set_note(small_set, hair=True, sources=source_digests(other_head, styles)))
    shutil.copy(styles / "low.obj", hair)
    (hair / "hm08_base.obj").write_text((styles / "hm08_base.obj").read_text() + "\n")
    with pytest.raises(ConfigError, match="a set of other settings"):  # another body: styles sit otherwise
        start_set(out, set_note(small_set, hair=True, sources=source_digests(head_file, hair)))
    older = note.plain()
    del older["generator"]["sources"]
    (out / "dataset.json").write_text(json.dumps(older))
    start_set(out, set_note(small_set, hair=True, sources=source_digests(head_file, hair)))  # nobody knows better
