# SPDX-License-Identifier: Apache-2.0
"""Skin, hair, sensor and expressions: ranges, regions, and that every style of hair and wear can be rendered."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.errors import ConfigError
from train.data.crops_set import HEAD_LABELS
from train.synth import pack_head as pack_module
from train.synth.assemble import dress
from train.synth.dataset import Studio
from train.synth.hair import HairStyle
from train.synth.sensor import depth_picture, expose, structured_light_depth
from train.synth.shot import shoot
from train.synth.skin import FaceCanvas, hairline_deg, paint_skin, sample_traits, skin_tone_albedo
from train.synth.subject import Outfit, OutfitShares, sample_expression, sample_outfit, sample_subject

PLAIN = {
    "hat": "none",
    "glasses": "none",
    "face_mask": False,
    "beard": "none",
    "beard_mm": 0.0,
    "occlusion_rate": 0.0,
    "infrared": False,
    "seat": False,
}


def portrait(studio: Studio, **changes: object):
    """Render a frontal crop of subject 1 in a plain outfit with changes."""
    subject = sample_subject(3, 1)
    outfit = sample_outfit(3, subject, 1, [])
    outfit = dataclasses.replace(outfit, **{**PLAIN, "style": HairStyle("bald"), **changes})
    wardrobe = dress(studio.canvas, subject, outfit, {})
    head = studio.head(subject, outfit, wardrobe, {})
    rng = np.random.default_rng(1)
    return shoot(
        studio.model,
        head,
        outfit,
        wardrobe,
        1,
        rng,
        crop_px=72,
        angles_deg=(0, 0, 0),
        position_mm=np.array([0, 0, 800.0]),
    )


@pytest.fixture(scope="module")
def bald(studio: Studio):
    return portrait(studio)


@pytest.mark.parametrize("kind", ["shaved", "short", "medium", "afro", "long"])
def test_hair_covers_more_of_the_picture(studio: Studio, bald, kind: str) -> None:
    style = HairStyle(
        kind, thickness_mm={"shaved": 2.5, "short": 12, "medium": 25, "afro": 60, "long": 15}[kind], length_mm=120
    )
    shot = portrait(studio, style=style)
    assert (shot.label == 2).sum() > 40
    assert np.isin(shot.label, HEAD_LABELS).sum() >= np.isin(bald.label, HEAD_LABELS).sum()


@pytest.mark.parametrize("sweep", [1.0, -1.0])
def test_a_swept_fringe_hides_one_eye(studio: Studio, bald, sweep: float) -> None:
    cut = {"thickness_mm": 12, "fringe_mm": 150, "length_mm": 80, "opening_deg": 40}
    shot = portrait(studio, style=HairStyle("long", **cut, sweep=sweep))
    eyes = np.s_[28:33, 38:43], np.s_[28:33, 29:34]  # to the sides of +x and -x
    swept, open_side = eyes if sweep > 0 else eyes[::-1]
    assert (bald.label[swept] == 1).all()
    assert (shot.label[swept] == 2).mean() > 0.7
    assert (shot.label[open_side] == 2).mean() < 0.2
    nearer = bald.depth_mm[swept].astype(float) - shot.depth_mm[swept]
    assert 2 < np.median(nearer) < 40


def test_a_share_of_outfits_is_swept() -> None:
    subjects = [sample_subject(7, number) for number in range(1, 61)]
    plain, some, every = (
        [sample_outfit(7, s, 2, ["bob"], OutfitShares(swept=share)) for s in subjects] for share in (0.0, 0.4, 1.0)
    )
    assert all(outfit.style.sweep == 0 for outfit in plain)
    assert 0.25 < np.mean([outfit.style.sweep != 0 for outfit in some]) < 0.55
    assert {np.sign(outfit.style.sweep) for outfit in every} == {-1, 1}
    assert plain[2].seed == 443588804  # as it was before there was a share
    for one, other in zip(plain, every, strict=True):  # nothing else changes
        assert dataclasses.replace(other, style=one.style) == one


@pytest.mark.parametrize(
    ("wear", "label"),
    [
        ({"glasses": "clear"}, 3),
        ({"glasses": "dark"}, 3),
        ({"face_mask": True}, 3),
        ({"hat": "cap"}, 2),
        ({"hat": "beanie"}, 2),
        ({"hat": "scarf"}, 2),
        ({"beard": "full", "beard_mm": 20.0}, 2),
    ],
)
def test_what_is_worn_is_seen_and_belongs_to_the_head(studio: Studio, bald, wear: dict, label: int) -> None:
    shot = portrait(studio, **wear)
    assert (shot.label == label).sum() > (bald.label == label).sum() + 8
    assert shot.visible > 0.95


def test_an_occluder_hides_and_stands_in_front(studio: Studio) -> None:
    shots = [portrait(studio, occlusion_rate=1.0, seed=seed) for seed in (1,)]
    shot = shots[0]
    assert (shot.label == 5).any()
    assert shot.visible < 1.0
    assert np.median(shot.depth_mm[shot.label == 5]) < shot.distance_mm + 60


def test_the_face_bulges_towards_the_camera(bald) -> None:
    head = np.isin(bald.label, HEAD_LABELS)
    rows, columns = np.nonzero(head)
    middle = bald.depth_mm[36, 36]
    edge = np.median(bald.depth_mm[rows, columns][np.abs(columns - 36) > np.abs(columns - 36).max() - 2])
    assert middle + 30 < edge


def test_skin_tones_are_ordered_and_infrared_hides_them() -> None:
    tones = [skin_tone_albedo(t).mean() for t in np.linspace(0, 1, 9)]
    assert all(a > b for a, b in itertools.pairwise(tones))


def test_painted_skin_is_an_albedo(studio: Studio) -> None:
    canvas: FaceCanvas = studio.canvas
    zero = np.zeros((512, 1024), np.float32)
    traits = sample_traits(np.random.default_rng(0))
    for infrared in (False, True):
        skin = paint_skin(
            canvas,
            traits,
            infrared=infrared,
            stubble=0.5,
            beard=zero,
            scalp=zero,
            makeup=0.5,
            rng=np.random.default_rng(1),
        )
        assert skin.shape == (512, 1024, 3)
        assert skin.dtype == np.float32
        assert skin.min() > 0
        assert skin.max() < 1
    scalp = paint_skin(
        canvas,
        traits,
        infrared=False,
        stubble=0.0,
        beard=zero,
        scalp=zero + 1,
        makeup=0.0,
        rng=np.random.default_rng(1),
    )
    assert scalp.mean() != skin.mean()


def test_the_hairline_runs_from_the_forehead_down_to_the_nape() -> None:
    line = hairline_deg(np.array([0.0, 180.0, -180.0, 68.0]), 0.0, 0.0)
    assert line[0] > 30
    assert line[1] < -30
    assert line[1] == line[2]
    assert line[3] < 10


def test_expressions_are_weights_of_known_names(studio: Studio) -> None:
    names = studio.model.expression_names
    kinds = [sample_expression(np.random.default_rng(i), names) for i in range(60)]
    assert all(set(e) <= set(names) and all(0 < w <= 1 for w in e.values()) for e in kinds)
    assert 5 < sum("jawOpen" in e for e in kinds) < 58


def test_outfits_differ_between_sequences_and_people_do_not() -> None:
    subject = sample_subject(7, 3)
    again = sample_subject(7, 3)
    assert np.array_equal(subject.identity, again.identity)
    assert subject.traits == again.traits
    outfits: list[Outfit] = [sample_outfit(7, subject, s, []) for s in range(1, 6)]
    assert len({o.seed for o in outfits}) == 5
    assert outfits[0] == sample_outfit(7, subject, 1, [])


def test_exposure_gives_8_bit_pictures_and_infrared_is_gray() -> None:
    rng = np.random.default_rng(0)
    radiance = rng.uniform(0, 1, (60, 80, 3)).astype(np.float32)
    label = np.ones((60, 80), np.uint8)
    colour = expose(radiance, label, np.random.default_rng(1), infrared=False)
    gray = expose(radiance, label, np.random.default_rng(1), infrared=True)
    assert colour.dtype == np.uint8
    assert colour.shape == (60, 80, 3)
    assert np.array_equal(gray[..., 0], gray[..., 2])
    assert not np.array_equal(colour[..., 0], colour[..., 2])
    assert 20 < colour.mean() < 235


def test_depth_pictures_are_millimetres() -> None:
    depth = depth_picture(np.array([[500.4, np.inf]], np.float32), 2000.0)
    assert depth.tolist() == [[500, 2000]]
    assert depth.dtype == np.uint16


def test_a_structured_light_camera_leaves_holes_at_edges() -> None:
    depth = np.full((80, 120), 700, np.uint16)
    depth[:, 60:] = 1500
    seen = structured_light_depth(depth, np.random.default_rng(0))
    holes = seen == 0
    assert holes[:, 57:67].mean() > 0.2 > holes[:, :50].mean()
    valid = ~holes
    assert np.abs(seen[valid].astype(float) - depth[valid]).max() < 25


def test_packing_reads_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_module, "_VERTICES", 4)
    monkeypatch.setattr(pack_module, "_IDENTITIES", 2)
    folder = tmp_path / "checkout" / "FaceXModel"
    folder.mkdir(parents=True)
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)

    def write(name: str, points: np.ndarray) -> None:
        lines = [f"v {x} {y} {z}" for x, y, z in points] + [f"vt {x} {y}" for x, y, _ in corners]
        (folder / f"{name}.obj").write_text(
            "\n".join([*lines, "f 1/1 2/2 3/3 4/4", "f 1/1 2/2 3/3"]) + "\n", encoding="utf-8"
        )

    write("generic_neutral_mesh", corners)
    write("identity000", corners + np.array([0.5, 0, 0]))
    write("jawOpen", corners - [0, 2, 0])
    with pytest.raises(ConfigError, match="identity001"):
        pack_module.pack_head(tmp_path / "checkout", tmp_path / "head.npz")
    assert not (tmp_path / "head.npz").exists()
    write("identity001", corners * 2)
    pack_module.pack_head(tmp_path / "checkout", tmp_path / "head.npz")
    with np.load(tmp_path / "head.npz") as packed:
        assert packed["expr"].tolist() == ["jawOpen"]
        assert packed["faces"].tolist() == [[0, 1, 2, 3], [0, 1, 2, -1]]
        assert np.allclose(packed["identity"][0], [0.5, 0, 0])
        assert np.allclose(packed["expression"][0], [0, -2, 0])
    with pytest.raises(ConfigError, match="no such file"):
        pack_module.pack_head(tmp_path, tmp_path / "other.npz")
