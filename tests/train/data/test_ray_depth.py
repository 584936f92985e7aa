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
from train.data.batches import AugmentConfig, make_batch
from train.data.packed import PackedSet, open_packed_set

RAYS = [(0.2, -0.1), (-0.15, 0.3), (0.0, 0.0), (0.35, 0.05)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    root = write_crops_set(tmp_path_factory.mktemp("rays") / "set", subjects=4)
    for folder in root.glob("0*"):
        items = json.loads((folder / "frames.json").read_text())
        for item, (a, b) in zip(items, RAYS, strict=True):
            item["head_center_mm"] = [a * item["distance_mm"], b * item["distance_mm"], item["distance_mm"]]
        (folder / "frames.json").write_text(json.dumps(items))
    return open_packed_set(root, processes=1, progress=False)


def test_the_rays_are_read(data: PackedSet) -> None:
    np.testing.assert_allclose(data.ray_xy[:4], RAYS, atol=1e-6)
    assert replace(data, ray_xy=None).ray_xy.shape == (len(data.meta), 2)


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


@pytest.mark.parametrize("augment", [None, AugmentConfig()])
def test_the_runtime_turns_it_back(data: PackedSet, augment: AugmentConfig | None) -> None:
    indices = np.arange(8)
    generators = [torch.Generator().manual_seed(5) if augment else None for _ in range(2)]
    axis = make_batch(data, indices, "cpu", augment, generators[0])
    ray = make_batch(data.with_depth_along("ray"), indices, "cpu", augment, generators[1])
    assert float((axis.depth - ray.depth).abs().max()) > 0.05
    if augment is not None:  # the box that was moved, scaled and turned is not the runtime's: only the ray is compared
        off = (axis.ray_xy - torch.from_numpy(data.ray_xy[indices])).abs().amax(dim=1)
        assert 0 < float(off.max()) < 0.3
        return
    for i in range(len(indices)):
        found = along_axis(
            ray.depth[i, 0].numpy(), tuple(axis.ray_xy[i].tolist()), float(axis.distance_mm[i]), 160.0, (320.0, 320.0)
        )
        sure = axis.valid[i, 0] & (axis.depth[i, 0].abs() < 1) & (ray.depth[i, 0].abs() < 1)
        np.testing.assert_allclose(found[sure.numpy()], axis.depth[i, 0][sure].numpy(), atol=1e-5)


def test_augmentation_moves_the_ray_with_the_box(data: PackedSet) -> None:
    """A flat wall across the optical axis slopes along the ray, by the slope of the ray to the moved box's centre."""
    flat = replace(data, depth_mm=np.full_like(data.depth_mm, 800), meta=data.meta.copy(), along="ray")
    flat.meta["distance_mm"] = 800.0
    generator = torch.Generator().manual_seed(3)
    augment = AugmentConfig()
    batch = make_batch(flat, np.arange(8), "cpu", augment, generator)
    turned = 0
    for i in range(8):
        z = batch.depth[i, 0].double().numpy() * 160
        known = batch.valid[i, 0].numpy()
        rows, columns = np.nonzero(known)
        design = np.stack([columns, rows, np.ones(len(rows))], axis=1)
        slope = np.linalg.lstsq(design, z[known], rcond=None)[0][:2]
        a, b = batch.ray_xy[i].double().numpy()
        # Pixels of the augmented box are 320 / 96 mm times its scale; turning and mirroring keep the slope's length.
        length = np.hypot(*slope) / (320 / 96) * np.sqrt(1 + a * a + b * b) / np.hypot(a, b)
        assert 0.7 < length < 1.4
        turned += not np.allclose(slope / np.hypot(*slope), np.array([a, b]) / np.hypot(a, b), atol=0.02)
    assert turned >= 2


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    root = write_crops_set(tmp_path / "set", subjects=3)
    notes = root / "001" / "frames.json"
    for wrong in ([1, 2], [1, 2, 0], [1, 2, "x"], [9e9, 0, 1], 5):
        items = json.loads(notes.read_text())
        items[1]["head_center_mm"] = wrong
        notes.write_text(json.dumps(items))
        with pytest.raises(InputError, match=r"frames.json: \[1\]\.head_center_mm: got .*z above 0"):
            open_packed_set(root, processes=1, progress=False)
    with pytest.raises(ConfigError, match=r"data\.depth_along: got z, expected one of axis, ray"):
        DataConfig(depth_along="z")
