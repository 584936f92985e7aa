# SPDX-License-Identifier: Apache-2.0
"""Validity goes by what covers the face's place, wherever the box lies, and not by hair around it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from facedepth_edge.face_region import ellipse_in_box
from train.data import batches
from train.data.batches import Augmentation, AugmentConfig, Batch, make_batch, step_generator
from train.data.geometry_augment import GeometryAugment, Placement, draw_placement
from train.data.packed import PackedSet, open_packed_set
from train.data.photo_augment import PhotoAugment
from train.data.validity_target import share_of_face_seen, validity_target

ELLIPSE_PX = np.pi * 60 * 80 / (320 / 96) ** 2


@pytest.fixture(scope="module")
def data(crops_root: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    return open_packed_set(crops_root, tmp_path_factory.mktemp("packed"), processes=1, progress=False)


def labelled(data: PackedSet, label: np.ndarray) -> PackedSet:
    """Give every frame the same (144, 144) labels."""
    return dataclasses.replace(data, label=np.broadcast_to(label, (len(data.label), 144, 144)))


def placed(monkeypatch: pytest.MonkeyPatch, data: PackedSet, **changes: float) -> Batch:
    """Make a batch of one with a chosen box."""
    values = {"center_x_px": 72.0, "center_y_px": 72.0, "side_px": 96.0, "angle_rad": 0.0, "flip": 0.0, **changes}
    tensors = {name: torch.tensor([value]) for name, value in values.items()}
    chosen = Placement(**tensors, low_xy_px=torch.zeros(1, 2), high_xy_px=torch.full((1, 2), 144.0))
    monkeypatch.setattr(batches, "draw_placement", lambda *_: chosen)
    settings = AugmentConfig(geometry=GeometryAugment(), photo=PhotoAugment(enabled=False))
    return make_batch(data, np.arange(1), "cpu", Augmentation(settings, step_generator(0, 0, torch.device("cpu"))))


def face_with(covered: np.ndarray) -> np.ndarray:
    """Label a head in the middle 120 pixels, hair above, a hand where `covered`."""
    label = np.zeros((144, 144), np.uint8)
    label[12:132, 12:132] = 1
    label[12:50, 12:132] = 2
    label[covered] = 5
    return label


def test_target_rises_from_four_to_seven_tenths() -> None:
    face = torch.tensor([True, True, True, True, False])
    seen = torch.tensor([0.1, 0.55, 0.7, 1.0, 1.0])
    torch.testing.assert_close(validity_target(face, seen)[:, 0], torch.tensor([0.0, 0.5, 1.0, 1.0, 0.0]))


@pytest.mark.parametrize(("below", "seen"), [(144, 1.0), (72, 0.5), (0, 0.0)])
def test_a_hand_before_the_face_counts_and_hair_around_it_does_not(data: PackedSet, below: int, seen: float) -> None:
    rows = np.arange(144)[:, None] >= below
    place = np.zeros((144, 144), bool)
    place[24:120, 24:120] = ellipse_in_box((96, 96), (320.0, 320.0), (60.0, 80.0))
    batch = make_batch(labelled(data, face_with(rows & place)), np.arange(1))
    assert batch.head.float().mean() > 0.8  # hair and cheeks around the ellipse are all there
    expected = validity_target(torch.tensor([True]), torch.tensor([seen]))
    torch.testing.assert_close(batch.validity, expected, atol=0.02, rtol=0)


def test_the_wall_beside_a_profile_does_not_hide_it() -> None:
    grid = (torch.arange(96) + 0.5 - 48) * (320 / 96)
    x, y = grid.expand(1, 96, 96), grid[:, None].expand(1, 96, 96)
    head = (x > -20)[:, None]
    nothing = torch.zeros_like(head)
    assert share_of_face_seen(x, y, head, nothing).item() == 1.0
    assert share_of_face_seen(x, y, nothing, nothing).item() == 0.0
    assert share_of_face_seen(x, y, head, (x > 20)[:, None]).item() == pytest.approx(0.52, abs=0.08)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"center_x_px": 84.0, "center_y_px": 60.0},
        {"center_x_px": 84.0, "flip": 1.0},
        {"center_y_px": 84.0, "angle_rad": 0.25},
        {"side_px": 136.0},
        {"side_px": 72.0},
    ],
)
def test_the_face_s_place_moves_with_the_box(
    data: PackedSet, changes: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hand over all but the ellipse about the head centre, or over that alone: the box's place changes neither."""
    place = np.zeros((144, 144), bool)
    place[24:120, 24:120] = ellipse_in_box((96, 96), (320.0, 320.0), (60.0, 80.0))
    clear = placed(monkeypatch, labelled(data, face_with(~place)), **changes)
    hidden = placed(monkeypatch, labelled(data, face_with(place)), **changes)
    assert clear.validity.item() == 1.0
    assert hidden.validity.item() == 0.0
    side = changes.get("side_px", 96.0)
    assert clear.head.sum().item() == pytest.approx(ELLIPSE_PX * (96 / side) ** 2, rel=0.03)


def test_what_lies_beyond_the_crop_is_hidden(data: PackedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere = np.ones((144, 144), np.uint8)
    assert placed(monkeypatch, labelled(data, everywhere), center_x_px=60.0).validity.item() == 1.0
    assert placed(monkeypatch, labelled(data, everywhere), center_x_px=-26.0).validity.item() == 0.0


def test_rolled_samples_are_turned_and_refused_and_the_others_stay(data: PackedSet) -> None:
    device = torch.device("cpu")
    places = [
        draw_placement(400, 144, 96, GeometryAugment(rolled=share), step_generator(3, 0, device))
        for share in (0.0, 0.3)
    ]
    still, rolled = places[0], places[1].rolled
    assert not still.rolled.any()
    assert rolled.float().mean().item() == pytest.approx(0.3, abs=0.07)
    degrees = torch.rad2deg(places[1].angle_rad[rolled])
    assert degrees.abs().min() >= 90
    assert degrees.min() < -90 < 90 < degrees.max()
    assert torch.equal(still.angle_rad[~rolled], places[1].angle_rad[~rolled])
    settings = AugmentConfig(geometry=GeometryAugment(rolled=1.0), photo=PhotoAugment(enabled=False))
    batch = make_batch(data, np.arange(12), "cpu", Augmentation(settings, step_generator(0, 0, device)))
    assert batch.validity.max() == 0.0
    assert batch.head.any()
