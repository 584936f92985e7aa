# SPDX-License-Identifier: Apache-2.0
"""Batches with depth along the ray: against the points in space, with and without augmentation, and back again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from facedepth_edge.errors import ConfigError, InputError
from facedepth_edge.ray_depth import along_axis
from tests.train.conftest import write_crops_set
from train.config import DataConfig
from train.data.batches import Augmentation, AugmentConfig, make_batch
from train.data.packed import PackedSet, open_packed_set

RAYS = [(0.2, -0.1), (-0.15, 0.3), (0.0, 0.0), (0.35, 0.05)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    root = write_crops_set(tmp_path_factory.mktemp("rays") / "set", subjects=4)
    for folder in root.glob("0*"):
        items = json.loads((folder / "frames.json").read_text())
        for item, (a, b) in zip(items, RAYS, strict=True):
            focal_px = item["distance_mm"] * 144 / 480
            item |= {"focal_px": focal_px, "principal_xy": [72 - a * focal_px, 72 - b * focal_px]}
        (folder / "frames.json").write_text(json.dumps(items))
    return open_packed_set(root, processes=1, progress=False)


def test_the_rays_are_read(data: PackedSet) -> None:
    np.testing.assert_allclose(data.ray_xy[:4], RAYS, atol=1e-6)
    lost = replace(data, ray_xy=None)
    assert not make_batch(lost, np.arange(3)).ray_xy.any()
    with pytest.raises(InputError, match="got no rays to the heads, expected them"):
        lost.with_depth_along("ray")
    other = replace(data, crops=replace(data.crops, reach_mm=300.0))
    with pytest.raises(InputError, match=r"reach_mm: got 300\.0, expected 320 mm"):
        other.with_depth_along("ray")
    assert other.with_depth_along("axis").along == "axis"


def test_against_the_points_in_space(data: PackedSet) -> None:
    indices = np.array([0, 1, 3, 6])
    axis, ray = make_batch(data, indices), make_batch(data.with_depth_along("ray"), indices)
    for name in ("face", "valid", "head", "validity", "ray_xy"):
        assert torch.equal(getattr(axis, name), getattr(ray, name))
    place_mm = (np.arange(96) + 0.5 - 48) * 320 / 96
    for i in range(len(indices)):
        d = float(axis.distance_mm[i])
        a, b = axis.ray_xy[i].double().numpy()
        z_mm = d + 160 * axis.depth[i, 0].double().numpy()
        norm = np.sqrt(1 + a * a + b * b)
        dot = ((a + place_mm / d) * a + (b + place_mm[:, None] / d) * b + 1) / norm
        expected = (z_mm * dot - d * norm) / 160
        sure = axis.valid[i, 0].numpy() & (axis.depth[i, 0].abs().numpy() < 1) & (np.abs(expected) < 1)
        assert sure.sum() > 1000
        np.testing.assert_allclose(ray.depth[i, 0].numpy()[sure], expected[sure], atol=1e-5)


def test_the_runtime_turns_it_back(data: PackedSet) -> None:
    indices = np.arange(8)
    axis, ray = make_batch(data, indices), make_batch(data.with_depth_along("ray"), indices)
    assert float((axis.depth - ray.depth).abs().max()) > 0.05
    for i in range(len(indices)):
        found = along_axis(
            ray.depth[i, 0].numpy(), tuple(axis.ray_xy[i].tolist()), float(axis.distance_mm[i]), 160.0, (320.0, 320.0)
        )
        sure = axis.valid[i, 0] & (axis.depth[i, 0].abs() < 1) & (ray.depth[i, 0].abs() < 1)
        np.testing.assert_allclose(found[sure.numpy()], axis.depth[i, 0][sure].numpy(), atol=1e-5)


def coded(data: PackedSet, seed: int, per_row: bool) -> torch.Tensor:
    """Return which column (or row) of the crop each pixel of an augmented batch shows, by depth that says so."""
    side = data.crops.crop_px
    code = np.arange(side, dtype=np.uint16)[:, None] if per_row else np.arange(side, dtype=np.uint16)
    depth_mm = np.broadcast_to(1000 + code, data.depth_mm.shape)
    flat = replace(data, depth_mm=depth_mm, meta=data.meta.copy())
    flat.meta["distance_mm"] = 1000.0 + side / 2
    batch = make_batch(flat, np.arange(8), "cpu", Augmentation(AugmentConfig(), torch.Generator().manual_seed(seed)))
    assert bool((batch.depth[batch.valid].abs() < 1).all())
    return batch.depth[:, 0] * 160 + side / 2


@pytest.mark.parametrize("seed", range(4))
def test_augmented_boxes_against_the_points_in_space(data: PackedSet, seed: int) -> None:
    """The ray goes to the placed box's middle, and depth is along that ray: by where in the crop each pixel lies."""
    indices = np.arange(8)
    generators = [torch.Generator().manual_seed(seed) for _ in range(2)]
    axis = make_batch(data, indices, "cpu", Augmentation(AugmentConfig(), generators[0]))
    ray = make_batch(data.with_depth_along("ray"), indices, "cpu", Augmentation(AugmentConfig(), generators[1]))
    assert torch.equal(axis.ray_xy, ray.ray_xy)
    column, row = coded(data, seed, per_row=False), coded(data, seed, per_row=True)
    moved = 0.0
    for i in range(8):
        d, a0, b0 = float(axis.distance_mm[i]), *map(float, data.ray_xy[i])
        u = a0 + (column[i].double().numpy() + 0.5 - 72) * (480 / 144) / d
        v = b0 + (row[i].double().numpy() + 0.5 - 72) * (480 / 144) / d
        # Pixels lie evenly in the box: its middle follows from those that were seen and not covered.
        known = axis.valid[i, 0].numpy()
        places = np.argwhere(known)
        design = np.stack([places[:, 0] - 47.5, places[:, 1] - 47.5, np.ones(len(places))], axis=1)
        middle = [np.linalg.lstsq(design, plane[known], rcond=None)[0][2] for plane in (u, v)]
        a, b = axis.ray_xy[i].double().numpy()
        np.testing.assert_allclose(middle, (a, b), atol=0.3 * (480 / 144) / d)
        moved = max(moved, abs(a - a0), abs(b - b0))
        norm = np.sqrt(1 + a * a + b * b)
        z_mm = d + 160 * axis.depth[i, 0].double().numpy()
        expected = (z_mm * (u * a + v * b + 1) / norm - d * norm) / 160
        sure = axis.valid[i, 0].numpy() & (np.abs(expected) < 0.98) & (axis.depth[i, 0].abs().numpy() < 1)
        # Half a pixel's share of the slope is what the nearest pixel may be off by.
        slack = 0.75 * (480 / 144) * (abs(a) + abs(b)) / 160 + 1e-4
        assert np.abs(ray.depth[i, 0].numpy() - expected)[sure].max() < slack
    assert moved > 0.01


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    root = write_crops_set(tmp_path / "set", subjects=3)
    notes = root / "001" / "frames.json"
    for focal_px, principal_xy in ((200.0, [1, 2, 3]), (200.0, [1, "x"]), (200.0, 5), (0.0, [1, 2]), ("f", [1, 2])):
        items = json.loads(notes.read_text())
        items[1] |= {"focal_px": focal_px, "principal_xy": principal_xy}
        notes.write_text(json.dumps(items))
        with pytest.raises(InputError, match=r"frames.json: \[1\]\.(principal_xy|focal_px): got "):
            open_packed_set(root, processes=1, progress=False)
    with pytest.raises(ConfigError, match=r"data\.depth_along: got z, expected one of axis, ray"):
        DataConfig(depth_along="z")
