# SPDX-License-Identifier: Apache-2.0
"""Makes batches out of a packed set: which frames a step sees, and what the networks learn from them.

Both are functions of (seed, step) alone, so an interrupted training goes on with exactly the samples it would have had.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from facedepth_edge.errors import ConfigError
from train.data.crops_set import HEAD_LABELS, OCCLUDER_LABEL
from train.data.frame_source import CropsSet
from train.data.geometry_augment import GeometryAugment, Placement, center_boxes, draw_placement, sample_boxes
from train.data.packed import PackedSet
from train.data.photo_augment import PhotoAugment, change_photo, cut_out
from train.data.ray_depth import relative_along_ray
from train.data.shapes import shapes_of
from train.data.validity_target import share_of_face_seen, validity_target
from train.units import HALF_RANGE_MM


@dataclass(frozen=True)
class AugmentConfig:
    """The augmentation of training batches.

    Args:
        enabled: False trains on eq. 6's boxes as they are, as the paper does.
        geometry: Of the box.
        photo: Of the image.
    """

    enabled: bool = True
    geometry: GeometryAugment = field(default_factory=GeometryAugment)
    photo: PhotoAugment = field(default_factory=PhotoAugment)


@dataclass(frozen=True)
class Augmentation:
    """What one batch is augmented by.

    Args:
        config: How much of what.
        generator: What chance is drawn from, see `step_generator`; on the batch's device.
    """

    config: AugmentConfig
    generator: torch.Generator


@dataclass(frozen=True)
class Batch:
    """B samples of S x S pixels; all tensors on one device.

    Args:
        face: (B, 1, S, S) float32 gray in [-1, 1].
        depth: (B, 1, S, S) float32 relative depth z in [-1, 1], along what the set says; 1 where not `valid`, which
            nothing may learn from.
        valid: (B, 1, S, S) bool, the depth was measured and the camera saw the pixel.
        head: (B, 1, S, S) bool, the pixel shows the head.
        seen: (B, 1, S, S) bool, the camera saw the pixel, so `head` is known there.
        validity: (B, 1) float32 in [0, 1], whether a usable face is in the box.
        distance_mm: (B,) float32, D.
        subject: (B,) int64, number of the person, 1 and up.
        ray_xy: (B, 2) float32, x / z and y / z of the box's centre in the camera's frame.
        shape: (B, SHAPE_VALUES) float32, the person's shape, see train.data.shapes; NaN where it is not known.
    """

    face: Tensor
    depth: Tensor
    valid: Tensor
    head: Tensor
    seen: Tensor
    validity: Tensor
    distance_mm: Tensor
    subject: Tensor
    ray_xy: Tensor
    shape: Tensor


def sample_order(count: int, seed: int, step: int, batch_size: int, rank: int = 0, world: int = 1) -> np.ndarray:
    """Return which samples a step sees: every sample once an epoch, in an order drawn anew for each.

    Args:
        count: Number of samples.
        seed: The training's seed.
        step: Number of the step, 0 and up.
        batch_size: Samples a step and process.
        rank: This process.
        world: Number of processes.

    Returns:
        (batch_size,) int64 positions below count.
    """
    positions = np.arange(batch_size, dtype=np.int64) + (step * world + rank) * batch_size
    epochs = positions // count
    chosen = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        order = np.random.default_rng((seed, 1, int(epoch))).permutation(count)
        here = epochs == epoch
        chosen[here] = order[positions[here] % count]
    return chosen


def step_generator(seed: int, step: int, device: torch.device, rank: int = 0) -> torch.Generator:
    """Return the generator that a step's augmentation draws from."""
    mixed = int(np.random.SeedSequence((seed, 2, step, rank)).generate_state(1, np.uint64)[0])
    generator = torch.Generator(device=device)
    generator.manual_seed(mixed & (2**63 - 1))
    return generator


def make_batch(
    data: PackedSet,
    indices: np.ndarray,
    device: torch.device | str = "cpu",
    augmentation: Augmentation | None = None,
    placement: Placement | None = None,
) -> Batch:
    """Read samples and turn them into a batch.

    Args:
        data: The packed set.
        indices: (B,) positions in it.
        device: Where the batch is made; augmentation runs there too.
        augmentation: Moves the boxes and changes the images; None cuts eq. 6's box out as it is.
        placement: Boxes to cut out, in the order of `indices` and on `device`; without `augmentation`.

    Returns:
        The batch; it owns its memory.

    Raises:
        ConfigError: `augmentation` with `placement`.
    """
    if augmentation is not None and placement is not None:
        raise ConfigError.of("make_batch", "augment and placement", "one of them", "Leave one out.")
    box_px, crop_px = data.crops.box_px, data.crops.crop_px
    if augmentation is not None:
        geometry, generator = augmentation.config.geometry, augmentation.generator
        placement = draw_placement(len(indices), crop_px, box_px, geometry, generator)
    boxes = _cut_boxes(_read_crops(data, indices, torch.device(device)), placement, box_px)
    if augmentation is not None and augmentation.config.photo.enabled:
        boxes = _change_photos(boxes, augmentation.config.photo, augmentation.generator)
    return _with_targets(boxes, placement, data, indices)


@dataclass(frozen=True)
class _Boxes:
    """What is cut out of the crops; all (B, 1, S, S), on one device.

    Args:
        gray: float32 in [0, 1].
        depth_mm: int32, 0 = no measurement.
        label: uint8.
        seen: bool, the camera saw the pixel.
        covered: bool, the augmentation put something before it.
    """

    gray: Tensor
    depth_mm: Tensor
    label: Tensor
    seen: Tensor
    covered: Tensor


def _read_crops(data: PackedSet, indices: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Read gray float32 in [0, 1], depth int32 in mm and label uint8, (B, P, P) each."""
    order = np.argsort(indices, kind="stable")  # reading in file order spares page faults
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    ordered = np.asarray(indices)[order]
    gray = torch.from_numpy(data.gray[ordered][back]).to(device).float().div_(255)
    depth_mm = torch.from_numpy(data.depth_mm[ordered][back].astype(np.int32)).to(device)
    label = torch.from_numpy(data.label[ordered][back]).to(device)
    return gray, depth_mm, label


def _cut_boxes(crops: tuple[Tensor, Tensor, Tensor], placement: Placement | None, box_px: int) -> _Boxes:
    """Cut the boxes out of crops as `_read_crops` returns them; eq. 6's where no placement says otherwise."""
    if placement is None:
        gray, depth_mm, label = (center_boxes(plane, box_px) for plane in crops)
        gray, seen = gray.contiguous(), torch.ones(gray.shape, dtype=torch.bool, device=gray.device)
    else:
        gray, depth_mm, label, seen = sample_boxes(*crops, placement, box_px)
    return _Boxes(gray, depth_mm, label, seen, covered=torch.zeros_like(seen))


def _change_photos(boxes: _Boxes, photo: PhotoAugment, generator: torch.Generator) -> _Boxes:
    gray, covered = cut_out(change_photo(boxes.gray, photo, generator), photo, generator)
    return replace(boxes, gray=gray, covered=covered)


def _with_targets(boxes: _Boxes, placement: Placement | None, data: PackedSet, indices: np.ndarray) -> Batch:
    """Make the batch of boxes: what the networks see of them, and what they learn."""
    crops, device = data.crops, boxes.gray.device
    meta = data.meta[indices]
    distance_mm = torch.from_numpy(meta["distance_mm"].copy()).to(device)
    box_mm = _box_from_head_mm(crops, placement, distance_mm)  # (B, 2)
    x_mm, y_mm = _from_head_mm(crops, placement, boxes.gray)  # (B, S, S), or (1, S, S) without a placement
    rays = np.zeros((len(indices), 2), np.float32) if data.ray_xy is None else data.ray_xy[indices]
    ray_xy = torch.from_numpy(rays).to(device) + box_mm / distance_mm.clamp(min=1)[:, None]

    head = (boxes.label >= HEAD_LABELS[0]) & (boxes.label <= HEAD_LABELS[-1]) & ~boxes.covered
    valid = (boxes.depth_mm > 0) & boxes.seen & ~boxes.covered
    depth = (boxes.depth_mm - distance_mm[:, None, None, None]) / HALF_RANGE_MM
    if data.along == "ray":
        box_x_mm, box_y_mm = box_mm[:, :, None, None].unbind(1)  # (B, 1, 1)
        right_mm, down_mm = (x_mm - box_x_mm)[:, None], (y_mm - box_y_mm)[:, None]  # (B, 1, S, S)
        depth = relative_along_ray(depth, right_mm, down_mm, ray_xy, distance_mm, HALF_RANGE_MM)

    has_face = torch.from_numpy(meta["face"].copy()).to(device)
    if placement is not None:
        has_face = has_face & ~placement.rolled
    hidden = (boxes.label == OCCLUDER_LABEL) | boxes.covered | ~boxes.seen
    return Batch(
        face=boxes.gray * 2 - 1,
        depth=torch.where(valid, depth.clamp(-1, 1), torch.ones_like(depth)),
        valid=valid,
        head=head,
        seen=boxes.seen,
        validity=validity_target(has_face, share_of_face_seen(x_mm, y_mm, head, hidden)),
        distance_mm=distance_mm,
        subject=torch.from_numpy(meta["subject"].astype(np.int64)).to(device),
        ray_xy=ray_xy,
        shape=torch.from_numpy(shapes_of(crops.shapes, meta["subject"])).to(device),
    )


def _from_head_mm(crops: CropsSet, placement: Placement | None, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the pixels of (B, 1, S, S) boxes lie, in mm right and down of the head centre, at its distance."""
    if placement is None:
        x = (torch.arange(crops.box_px, device=boxes.device) + 0.5 - crops.box_px / 2).expand(1, crops.box_px, -1)
        y = x.transpose(1, 2)
    else:
        x, y = (place - crops.crop_px / 2 for place in placement.pixels(boxes.shape[-1]))
    mm_per_px = crops.reach_mm / crops.box_px
    return x * mm_per_px, y * mm_per_px


def _box_from_head_mm(crops: CropsSet, placement: Placement | None, distance_mm: Tensor) -> Tensor:
    """Return where the boxes' centres lie, (B, 2) in mm right and down of the head centres, at their distance."""
    if placement is None:
        return torch.zeros(len(distance_mm), 2, device=distance_mm.device)
    return (placement.center_xy_px - crops.crop_px / 2) * (crops.reach_mm / crops.box_px)
