# SPDX-License-Identifier: Apache-2.0
"""Prepares depth maps for the verification network, and draws pairs of faces to train and measure it on.

Source: section 4.3; the histogram equalisation and the standardisation are from a co-author's public code.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from facedepth_edge.errors import InputError

LEVELS = 256
MIN_SPREAD = 1e-3


def levels_from_depth(depth: Tensor) -> Tensor:
    """Return relative depth as gray levels of the paper's 8-bit scale, (z + 1) * 127.5, rounded.

    Args:
        depth: (B, 1, H, W) float32 in [-1, 1].

    Returns:
        (B, 1, H, W) int64, 0..255.
    """
    return ((depth + 1) * (LEVELS - 1) / 2).round().clamp(0, LEVELS - 1).long()


def equalised(levels: Tensor, valid: Tensor) -> Tensor:
    """Spread each image's gray levels evenly, by the histogram of its valid pixels.

    Ours where there are holes: the formula, with all pixels valid, is that of OpenCV's equalizeHist,
    255 (c(v) - c_min) / (n - c_min), c the cumulative histogram, c_min its value at the lowest level there is.

    Args:
        levels: (B, 1, H, W) int64, 0..255.
        valid: (B, 1, H, W) bool.

    Returns:
        (B, 1, H, W) float32, 0..255, whole numbers; 0 where not valid; an image of one level stays as it is.
    """
    count = len(levels)
    flat, known = levels.reshape(count, -1), valid.reshape(count, -1)
    image = torch.arange(count, device=levels.device)[:, None] * LEVELS
    histogram = torch.zeros(count * LEVELS, device=levels.device)
    histogram.scatter_add_(0, (flat + image).flatten(), known.flatten().float())
    cumulative = histogram.reshape(count, LEVELS).cumsum(dim=1)  # (B, 256)
    total = cumulative[:, -1:]
    lowest = torch.where(cumulative > 0, cumulative, total).amin(dim=1, keepdim=True)
    spread = (LEVELS - 1) * (cumulative - lowest) / (total - lowest).clamp(min=1)
    own = torch.arange(LEVELS, device=levels.device).float().expand_as(spread)
    table = torch.where(total > lowest, spread.round().clamp(0, LEVELS - 1), own)
    return torch.where(known, table.gather(1, flat), 0.0).reshape(levels.shape)


def verification_input(depth: Tensor, valid: Tensor) -> Tensor:
    """Turn depth maps into what the verification network takes: equalised, then standardised image by image.

    Args:
        depth: (B, 1, H, W) float32 relative depth z in [-1, 1].
        valid: (B, 1, H, W) bool; holes take no part and get the mean, 0. All True for generated maps.

    Returns:
        (B, 1, H, W) float32 with mean 0 and standard deviation 1 over the valid pixels; 0 for an image of one level.
    """
    values = equalised(levels_from_depth(depth), valid)
    weight = valid.float()
    count = weight.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)
    centred = (values - (values * weight).sum(dim=(1, 2, 3), keepdim=True) / count) * weight
    deviation = (centred.square().sum(dim=(1, 2, 3), keepdim=True) / count).sqrt()
    return torch.where(deviation > MIN_SPREAD, centred / deviation.clamp(min=MIN_SPREAD), torch.zeros_like(centred))


def random_pairs(subjects: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw random pairs of frames, each with equal chance of the same and of different people.

    Args:
        subjects: (N,) int, whom each frame shows.
        count: How many pairs.
        rng: Where the chance comes from.

    Returns:
        Two (count,) int64 arrays of positions in `subjects`; the two of a pair are different frames.

    Raises:
        InputError: There are not two people with two frames each.
    """
    people, owner, frames = np.unique(subjects, return_inverse=True, return_counts=True)
    if len(people) < 2 or frames.min() < 2:
        fewest = int(frames.min()) if len(frames) else 0
        got = f"{len(people)} people, the one with the fewest frames has {fewest}"
        raise InputError.of("random_pairs", got, "two or more people with two or more frames each", "Give more.")
    order = np.argsort(owner, kind="stable")
    starts = np.cumsum(frames) - frames
    first_person = rng.integers(0, len(people), count)
    same = rng.random(count) < 0.5
    other_person = (first_person + rng.integers(1, len(people), count)) % len(people)
    second_person = np.where(same, first_person, other_person)
    first = rng.integers(0, frames[first_person])
    # Among one person's frames the second is any but the first.
    step = rng.integers(1, frames[first_person])
    second = np.where(same, (first + step) % frames[first_person], rng.integers(0, frames[second_person]))
    return order[starts[first_person] + first], order[starts[second_person] + second]
