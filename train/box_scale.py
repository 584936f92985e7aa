# SPDX-License-Identifier: Apache-2.0
"""What a wrong distance costs: `python -m train.box_scale --model PATH --data DIR`.

A distance that is taken for 1 / s of the true one makes the box s times as large as eq. 6 asks for. The network sees a
head of another size then; its depth in mm should be the same. Measured on boxes of several sizes around the same heads.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from train.command import Outcome, WrongSettings, require_counts, run_command
from train.data.batches import AugmentConfig, make_batch
from train.data.command_line import add_reading_arguments, open_set
from train.data.frame_source import SPLITS
from train.data.geometry_augment import GeometryAugment
from train.data.packed import PackedSet
from train.data.photo_augment import PhotoAugment
from train.metrics import score_depth
from train.networks import probabilities
from train.start import read_start
from train.validation import MEASURE_BATCH, spread_indices

SCALES = (0.65, 0.75, 0.85, 1.0, 1.15, 1.3, 1.45)
COLUMNS = ("head, mm", "called valid")


def scaled_boxes(scale: float) -> AugmentConfig:
    """Return the augmentation that does nothing but multiply the box's side.

    Raises:
        ConfigError: The scale is not from 0.5 to 1.5.
    """
    sides = (scale, scale)
    geometry = GeometryAugment(
        shift_large=0.0, shift_small=0.0, scale_large=sides, scale_small=sides, rotate_large_deg=0.0,
        rotate_small_deg=0.0, flip=0.0, frame_edge=0.0,
    )  # fmt: skip
    return AugmentConfig(geometry=geometry, photo=PhotoAugment(enabled=False))


@torch.no_grad()
def measure_scale(
    network: nn.Module, data: PackedSet, indices: np.ndarray, scale: float, threshold: float
) -> np.ndarray:
    """Measure a network on boxes of one size.

    Args:
        network: In inference mode; its depth along what the set's is.
        data: The packed set.
        indices: (n,) positions in it, of frames with a head.
        scale: Of the box's side.
        threshold: From which validity on a face counts as valid.

    Returns:
        (2,) the mean error after the offset over the head in mm, the share that is called valid; NaN where there is
        nothing to measure.
    """
    settings = scaled_boxes(scale)
    generator = torch.Generator()  # nothing is drawn from it that counts
    errors: list[float] = []
    valid: list[bool] = []
    for first in range(0, len(indices), MEASURE_BATCH):
        batch = make_batch(data, indices[first : first + MEASURE_BATCH], augment=settings, generator=generator)
        found = {name: value.numpy() for name, value in probabilities(network(batch.face)).items()}
        truth, where = batch.depth.numpy()[:, 0], (batch.valid & batch.head).numpy()[:, 0]
        for depth, target, head in zip(found["depth"][:, 0], truth, where, strict=True):
            errors.append(score_depth(depth, target, head)[0])
        if "validity" in found:
            valid += (found["validity"][:, 0] >= threshold).tolist()
    mean = np.nanmean(errors) if np.isfinite(errors).any() else np.nan
    return np.array([mean, np.mean(valid) if valid else np.nan])


def table_of(models: list[Path], data: PackedSet, split: str, count: int | None, scales: tuple[float, ...]) -> str:
    """Measure models on boxes of several sizes and return the table in Markdown."""
    columns = [f"{model.parent.name}/{model.name}: {column}" for model in models for column in COLUMNS]
    lines = ["| box | distance taken for | " + " | ".join(columns) + " |", "|---|---|" + "---|" * len(columns)]
    starts = [read_start(model) for model in models]
    for scale in scales:
        cells = []
        for start in starts:
            along = data.with_depth_along(start.config.data.depth_along)
            indices = spread_indices(along, split, count, faces_only=True)
            found = measure_scale(start.task.network.eval(), along, indices, scale, threshold=0.5)
            cells += ["-" if np.isnan(value) else f"{value:.2f}" for value in found]
        lines.append(f"| {scale:g} | {100 / scale:.0f} % | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure as the command line says.

    Returns:
        Exit status: 0 done, 1 failed, 2 wrong settings.
    """
    parser = argparse.ArgumentParser(prog="python -m train.box_scale", description="What a wrong distance costs.")
    parser.add_argument("--model", type=Path, action="append", required=True,
                        help="checkpoint, or a published model's folder; repeatable")  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--count", type=int, help="most frames, spread over the split (default: all)")
    parser.add_argument("--scales", type=float, nargs="+", default=SCALES, help="of the box's side, 0.5 to 1.5")
    add_reading_arguments(parser)
    args = parser.parse_args(arguments)

    def work() -> Outcome:
        require_counts(args, "count")
        if not all(0.5 <= scale <= 1.5 for scale in args.scales):
            raise WrongSettings.of("--scales", args.scales, "0.5 to 1.5 each", "1 is eq. 6's box.")
        data = open_set(args.data, args)
        text = table_of(args.model, data, args.split, args.count, tuple(args.scales))
        return Outcome(f"{args.data.resolve().name}, split {args.split}\n\n{text}")

    return run_command("python -m train.box_scale", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
