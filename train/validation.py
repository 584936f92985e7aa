# SPDX-License-Identifier: Apache-2.0
"""Measures a network on frames of a packed set, without augmentation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from train.data.batches import Batch, make_batch
from train.data.packed import PackedSet
from train.metrics import ScoreSheet
from train.networks import probabilities

MEASURE_BATCH = 64


def spread_indices(data: PackedSet, split: str, count: int | None = None, faces_only: bool = False) -> np.ndarray:
    """Return up to `count` frames of a split, spread evenly over it; all of them when None.

    Args:
        data: The packed set.
        split: train, val or test.
        count: How many.
        faces_only: Leave out the frames whose box shows no head.

    Returns:
        (n,) int64, ascending, the same at every call.
    """
    indices = data.indices(split, faces_only)
    if count is None or count >= len(indices):
        return indices
    return indices[np.linspace(0, len(indices) - 1, count).round().astype(np.int64)]


def chunks_of(indices: np.ndarray) -> Iterator[np.ndarray]:
    """Yield positions in a set in chunks of at most MEASURE_BATCH, in order."""
    for first in range(0, len(indices), MEASURE_BATCH):
        yield indices[first : first + MEASURE_BATCH]


def batches_of(
    data: PackedSet, indices: np.ndarray, device: torch.device | str = "cpu", pictures: bool = True
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Yield frames in batches, without augmentation: positions in the set, and the batch.

    Raises:
        InputError: `pictures` are needed and the set has none.
    """
    if pictures:
        data.crops.require_pictures()
    for chosen in chunks_of(indices):
        yield chosen, make_batch(data, chosen, device)


def score_batch(
    sheet: ScoreSheet, outputs: dict[str, np.ndarray], batch: Batch, known: np.ndarray | None = None
) -> None:
    """Add a batch's images to a sheet.

    Args:
        sheet: Where to.
        outputs: `depth` (B, 1, H, W) relative z; where there: `mask` (B, 1, H, W) and `validity` (B, 1) probabilities.
        batch: The truth.
        known: (B, 1, H, W) bool, pixels whose depth counts; None for all.
    """
    truth = [plane[:, 0].cpu().numpy() for plane in (batch.depth, batch.valid, batch.head, batch.seen)]
    validity = batch.validity[:, 0].cpu().numpy()
    for i in range(len(validity)):
        depth, valid, head, seen = (plane[i] for plane in truth)
        if known is not None:
            valid = valid & known[i, 0]
        mask = outputs["mask"][i, 0] >= 0.5 if "mask" in outputs else None
        pair = (float(outputs["validity"][i, 0]), float(validity[i])) if "validity" in outputs else None
        sheet.add(outputs["depth"][i, 0], depth, valid, head, seen, mask, pair)


@torch.no_grad()
def measure_network(network: nn.Module, data: PackedSet, indices: np.ndarray, device: torch.device | str) -> ScoreSheet:
    """Measure a network in inference mode; its mode is restored.

    Args:
        network: Takes (B, 1, H, W) faces, returns a dict of training outputs: `depth`, and logits.
        data: The packed set.
        indices: Which frames.
        device: Where the network is.

    Returns:
        The sheet of scores, in the order of `indices`.
    """
    was_training = network.training
    network.eval()
    sheet = ScoreSheet()
    for _, batch in batches_of(data, indices, device):
        outputs = probabilities(network(batch.face))
        score_batch(sheet, {name: value.float().cpu().numpy() for name, value in outputs.items()}, batch)
    network.train(was_training)
    return sheet
