# SPDX-License-Identifier: Apache-2.0
"""Batches and augmentation: true labels wherever the box goes, the same samples for the same step."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from facedepth_edge.errors import ConfigError
from train.data.batches import Augmentation, AugmentConfig, Batch, make_batch, sample_order, step_generator
from train.data.geometry_augment import GeometryAugment, Placement, draw_placement, sample_boxes
from train.data.packed import PackedSet, open_packed_set
from train.data.photo_augment import PhotoAugment, change_photo, cut_out

CPU = torch.device("cpu")
PLAIN_PHOTO = PhotoAugment(
    shading=0, vignette=0, gain_share=0, gamma_share=0, contrast_share=0, low_light=0, noise_share=0, blur=0,
    low_resolution=0, cutout=0,
)  # fmt: skip
STILL = GeometryAugment(large=0, flip=0, frame_edge=0, shift_small=0, scale_small=(1, 1), rotate_small_deg=0)


@pytest.fixture(scope="module")
def data(crops_root: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    return open_packed_set(crops_root, tmp_path_factory.mktemp("packed"), processes=1, progress=False)


def batch_of(data: PackedSet, augment: AugmentConfig | None, seed: int = 0, count: int = 12) -> Batch:
    augmentation = Augmentation(augment, step_generator(seed, 0, CPU)) if augment else None
    return make_batch(data, np.arange(count), CPU, augmentation)


def test_an_epoch_sees_every_sample_once() -> None:
    seen = np.concatenate([sample_order(10, seed=4, step=step, batch_size=4) for step in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])
    assert list(sample_order(10, 4, 3, 4)) == list(seen[12:16])
    assert list(sample_order(10, 5, 0, 4)) != list(seen[:4])


def test_processes_share_an_epoch() -> None:
    parts = [sample_order(12, 1, step, 3, rank, 2) for step in range(2) for rank in range(2)]
    assert sorted(np.concatenate(parts)) == list(range(12))


def test_a_batch_without_augmentation_is_the_box(data: PackedSet) -> None:
    batch = batch_of(data, None)
    box = slice(24, 120)
    gray, depth, label = data.gray[:12, box, box], data.depth_mm[:12, box, box], data.label[:12, box, box]
    np.testing.assert_allclose(batch.face[:, 0].numpy(), gray / 127.5 - 1.0, atol=1e-6)
    np.testing.assert_array_equal(batch.valid[:, 0].numpy(), depth > 0)
    np.testing.assert_array_equal(batch.head[:, 0].numpy(), (label >= 1) & (label <= 3))
    distance = data.meta["distance_mm"][:12, None, None]
    expected = np.clip((depth.astype(np.float64) - distance) / 160, -1, 1)
    np.testing.assert_allclose(batch.depth[:, 0].numpy(), np.where(depth > 0, expected, 1), atol=1e-5)
    assert batch.seen.all()
    assert (~batch.valid).any()
    assert batch.validity[:, 0].tolist() == [1, 1, 1, 0] * 3


def test_samples_keep_the_order_that_was_asked(data: PackedSet) -> None:
    shuffled = make_batch(data, np.array([7, 2, 11]))
    for row, index in enumerate((7, 2, 11)):
        torch.testing.assert_close(shuffled.face[row], make_batch(data, np.array([index])).face[0])
        assert shuffled.distance_mm[row] == data.meta["distance_mm"][index]


def test_still_augmentation_changes_nothing(data: PackedSet) -> None:
    plain, still = batch_of(data, None), batch_of(data, AugmentConfig(geometry=STILL, photo=PLAIN_PHOTO))
    torch.testing.assert_close(still.face, plain.face, atol=1e-5, rtol=0)
    for name in ("depth", "valid", "head", "seen", "validity"):
        torch.testing.assert_close(getattr(still, name), getattr(plain, name))


def test_augmentation_is_a_function_of_seed_and_step(data: PackedSet) -> None:
    settings = AugmentConfig()
    indices = np.arange(6)
    a, b, other_step, other_seed = (
        make_batch(data, indices, CPU, Augmentation(settings, step_generator(seed, step, CPU)))
        for seed, step in ((1, 5), (1, 5), (1, 6), (2, 5))
    )
    for entry in dataclasses.fields(Batch):
        torch.testing.assert_close(getattr(a, entry.name), getattr(b, entry.name), rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(a.face, other_step.face)
    assert not torch.equal(a.face, other_seed.face)


def place(**changes: float) -> Placement:
    values = {"center_x_px": 72.0, "center_y_px": 72.0, "side_px": 96.0, "angle_rad": 0.0, "flip": 0.0, **changes}
    tensors = {name: torch.tensor([value]) for name, value in values.items()}
    return Placement(**tensors, low_xy_px=torch.zeros(1, 2), high_xy_px=torch.full((1, 2), 144.0))


def picture() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A linear ramp (bilinear sampling is exact on it), and each pixel's own number as depth and label."""
    y, x = torch.meshgrid(torch.arange(144), torch.arange(144), indexing="ij")
    ramp = (0.25 + (x + 0.5) * 0.003 + (y + 0.5) * 0.001)[None]
    return ramp, (y * 144 + x + 1)[None].int(), ((x // 8 + y // 8) % 6)[None].to(torch.uint8)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"center_x_px": 75.5, "center_y_px": 68.25},
        {"side_px": 108.0},
        {"angle_rad": 0.2},
        {"flip": 1.0},
        {"center_x_px": 70.0, "side_px": 90.0, "angle_rad": -0.15, "flip": 1.0},
    ],
)
def test_gray_depth_and_label_move_together(changes: dict[str, float]) -> None:
    ramp, depth, label = picture()
    gray, depth_out, label_out, seen = sample_boxes(ramp, depth, label, place(**changes), 96)
    values = {"center_x_px": 72.0, "center_y_px": 72.0, "side_px": 96.0, "angle_rad": 0.0, "flip": 0.0, **changes}
    rows, columns = np.mgrid[0:96, 0:96]
    u, v = (columns + 0.5) / 96 - 0.5, (rows + 0.5) / 96 - 0.5
    u = -u if values["flip"] else u
    cos, sin = np.cos(values["angle_rad"]) * values["side_px"], np.sin(values["angle_rad"]) * values["side_px"]
    x, y = values["center_x_px"] + cos * u - sin * v, values["center_y_px"] + sin * u + cos * v
    assert seen.all()
    assert x.min() > 0.5
    assert y.max() < 143.5
    np.testing.assert_allclose(gray[0, 0].numpy(), 0.25 + x * 0.003 + y * 0.001, atol=2e-5)
    number = depth_out[0, 0].numpy() - 1
    # Nearest: the pixel that covers the point; rounding may take a neighbour where the point lies on a border.
    assert (np.abs(number % 144 + 0.5 - x) < 0.5 + 1e-3).all()
    assert (np.abs(number // 144 + 0.5 - y) < 0.5 + 1e-3).all()
    np.testing.assert_array_equal(label_out[0, 0].numpy(), label[0].numpy().ravel()[number])


def test_outside_the_crop_gray_repeats_and_nothing_is_seen() -> None:
    ramp, depth, label = picture()
    gray, _, _, seen = sample_boxes(ramp, depth, label, place(center_x_px=40.0), 96)
    assert not seen[0, 0, :, :8].any()
    assert seen[0, 0, :, 8:].all()
    torch.testing.assert_close(gray[0, 0, :, :8], gray[0, 0, :, 8:9].expand(96, 8), atol=2e-3, rtol=0)


def test_a_frame_edge_repeats_the_border_and_hides_what_is_beyond() -> None:
    ramp, depth, label = picture()
    cut = dataclasses.replace(place(), high_xy_px=torch.tensor([[144.0, 100.0]]))
    gray, depth_out, _, seen = sample_boxes(ramp, depth, label, cut, 96)
    assert seen[0, 0, :76].all()
    assert not seen[0, 0, 76:].any()
    torch.testing.assert_close(gray[0, 0, 76:], gray[0, 0, 75:76].expand(20, 96), atol=1e-6, rtol=0)
    assert (depth_out[0, 0, 76:] == depth_out[0, 0, 75:76]).all()


def test_placement_stays_in_its_ranges() -> None:
    settings = GeometryAugment(large=1.0, flip=0.5, frame_edge=0.5)
    placement = draw_placement(4000, 144, 96, settings, step_generator(0, 0, CPU))
    for center in (placement.center_x_px, placement.center_y_px):
        assert 0.14 * 96 < (center - 72).abs().max() <= 0.15 * 96 + 1e-4
    scale = placement.side_px / 96
    assert 0.85 <= scale.min() < 0.87
    assert 1.16 < scale.max() <= 1.18 + 1e-5
    assert 14 < torch.rad2deg(placement.angle_rad).abs().max() <= 15 + 1e-4
    assert placement.flip.mean() == pytest.approx(0.5, abs=0.05)
    cut = ((placement.low_xy_px > 0).any(1) | (placement.high_xy_px < 144).any(1)).float().mean()
    assert cut == pytest.approx(0.5, abs=0.05)
    small = draw_placement(4000, 144, 96, dataclasses.replace(settings, large=0.0), step_generator(0, 0, CPU))
    assert (small.center_x_px - 72).abs().max() <= 0.04 * 96 + 1e-4


def test_photo_stays_in_range_and_on_256_levels(data: PackedSet) -> None:
    gray = torch.from_numpy(data.gray[:16, 24:120, 24:120].astype(np.float32))[:, None] / 255
    strong = PhotoAugment(shading=1, vignette=1, gain_share=1, gamma_share=1, contrast_share=1, low_light=0.5,
                          noise_share=1, blur=1, low_resolution=1)  # fmt: skip
    changed = change_photo(gray, strong, step_generator(0, 0, CPU))
    assert changed.shape == gray.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    torch.testing.assert_close(changed * 255, torch.round(changed * 255), atol=1e-3, rtol=0)
    assert (changed - gray).abs().mean() > 0.02
    correlations = [np.corrcoef(a.numpy().ravel(), b.numpy().ravel())[0, 1] for a, b in zip(changed, gray, strict=True)]
    assert np.median(correlations) > 0.5  # it is still that face
    same = change_photo(gray, PLAIN_PHOTO, step_generator(0, 0, CPU))
    torch.testing.assert_close(same, gray, atol=1 / 500, rtol=0)


@pytest.mark.parametrize("kind", ["blur", "low_resolution"])
def test_blur_and_low_resolution_keep_brightness_and_lose_detail(kind: str, data: PackedSet) -> None:
    gray = torch.from_numpy(data.gray[:8, 24:120, 24:120].astype(np.float32))[:, None] / 255
    settings = dataclasses.replace(PLAIN_PHOTO, **{kind: 1.0})
    changed = change_photo(gray, settings, step_generator(0, 0, CPU))
    torch.testing.assert_close(changed.mean(dim=(1, 2, 3)), gray.mean(dim=(1, 2, 3)), atol=0.01, rtol=0)
    assert (changed.diff(dim=-1).abs().mean() < 0.8 * gray.diff(dim=-1).abs().mean()).item()


def test_cut_outs_hide_the_head_and_lower_the_validity(data: PackedSet) -> None:
    photo = dataclasses.replace(PLAIN_PHOTO, cutout=1.0, cutout_size=(0.9, 1.0))
    plain, cut = batch_of(data, None), batch_of(data, AugmentConfig(geometry=STILL, photo=photo))
    changed = (plain.face - cut.face).abs() > 0.02
    assert changed.float().mean() > 0.1
    assert not (cut.head & changed).any()
    assert not (cut.valid & changed).any()
    assert (cut.depth[changed] == 1).all()
    faces = plain.validity == 1
    assert faces.sum() == 9
    assert (cut.validity <= plain.validity).all()
    assert (cut.validity[faces] < 0.5).any()  # a cut-out that hides most of a face's place


def test_cut_out_covers_what_it_says() -> None:
    gray = torch.full((200, 1, 96, 96), 0.5)
    changed, covered = cut_out(gray, dataclasses.replace(PLAIN_PHOTO, cutout=0.5), step_generator(3, 0, CPU))
    assert torch.equal(changed[~covered], gray[~covered])
    share = covered.flatten(1).any(dim=1).float().mean()
    assert share == pytest.approx(0.5, abs=0.1)


def test_settings_check_themselves() -> None:
    with pytest.raises(ConfigError, match=r"augment\.geometry\.shift_large: got 0\.6, expected 0 to 0\.45"):
        GeometryAugment(shift_large=0.6)
    with pytest.raises(ConfigError, match=r"augment\.geometry\.scale_large: got \(1\.2, 0\.9\)"):
        GeometryAugment(scale_large=(1.2, 0.9))
    with pytest.raises(ConfigError, match=r"augment\.photo\.gain: got \(0\.0, 1\.0\)"):
        PhotoAugment(gain=(0.0, 1.0))
