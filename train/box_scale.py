# SPDX-License-Identifier: Apache-2.0
"""What a wrong distance or a camera on its side costs: `python -m train.box_scale --model PATH --data DIR`.

A distance that is taken for 1 / s of the true one makes the box s times as large as eq. 6 asks for. The network sees a
head of another size then; its depth in mm should be the same. Measured on boxes of several sizes around the same heads,
and with --rolls on boxes that are turned in the image plane, as a camera's picture is that was not mounted upright.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from train.command import Outcome, WrongSettings, require_counts, run_command
from train.data.batches import make_batch
from train.data.command_line import add_reading_arguments, open_set
from train.data.frame_source import SPLITS
from train.data.geometry_augment import fixed_boxes
from train.data.packed import PackedSet
from train.groups import called_valid
from train.metrics import score_depth
from train.networks import probabilities
from train.predictors import Thresholds
from train.start import read_start
from train.validation import MEASURE_BATCH, spread_indices

SCALES = (0.5, 0.65, 0.75, 0.85, 1.0, 1.15, 1.3, 1.45)
COLUMNS = ("head, mm", "called valid")


@torch.no_grad()
def measure_boxes(
    network: nn.Module,
    data: PackedSet,
    indices: np.ndarray,
    thresholds: Thresholds,
    scale: float = 1.0,
    roll_deg: float = 0.0,
) -> np.ndarray:
    """Measure a network on boxes of one size, turned by one angle to either side in turn.

    Args:
        network: In inference mode; its depth along what the set's is.
        data: The packed set.
        indices: (n,) positions in it, of frames with a head.
        thresholds: Of validity and mask, from which on a face counts as valid.
        scale: Of the box's side.
        roll_deg: In-plane rotation of the box.

    Returns:
        (2,) the mean error after the offset over the head in mm, the share that is called valid; NaN where there is
        nothing to measure.
    """
    errors: list[float] = []
    valid: list[float] = []
    for first in range(0, len(indices), MEASURE_BATCH):
        chosen = indices[first : first + MEASURE_BATCH]
        boxes = fixed_boxes(len(chosen), data.crops.crop_px, data.crops.box_px, scale, roll_deg)
        turns = torch.where(torch.arange(len(chosen)) % 2 == 0, 1.0, -1.0)
        batch = make_batch(data, chosen, placement=replace(boxes, angle_rad=boxes.angle_rad * turns))
        found = {name: value.numpy() for name, value in probabilities(network(batch.face)).items()}
        truth, where = batch.depth.numpy()[:, 0], (batch.valid & batch.head).numpy()[:, 0]
        for depth, target, head in zip(found["depth"][:, 0], truth, where, strict=True):
            errors.append(score_depth(depth, target, head)[0])
        for i in range(len(chosen)):
            valid.append(called_valid({name: values[i] for name, values in found.items()}, thresholds))
    mean = np.nanmean(errors) if np.isfinite(errors).any() else np.nan
    return np.array([mean, np.mean(valid)])


def table_of(
    models: list[Path],
    data: PackedSet,
    split: str,
    count: int | None,
    scales: tuple[float, ...],
    rolls_deg: tuple[float, ...] = (),
) -> str:
    """Measure models on boxes of several sizes and angles and return the table in Markdown."""
    columns = [f"{model.parent.name}/{model.name}: {column}" for model in models for column in COLUMNS]
    lines = ["| box | distance taken for | " + " | ".join(columns) + " |", "|---|---|" + "---|" * len(columns)]
    starts = [read_start(model) for model in models]
    rows = [(f"{scale:g}", f"{100 / scale:.0f} %", scale, 0.0) for scale in scales]
    rows += [(f"1, turned by {roll:g} degrees", "100 %", 1.0, roll) for roll in rolls_deg]
    for box, distance, scale, roll in rows:
        cells = []
        for start in starts:
            along = data.with_depth_along(start.config.data.depth_along)
            indices = spread_indices(along, split, count, faces_only=True)
            found = measure_boxes(start.task.network.eval(), along, indices, Thresholds(), scale, roll)
            cells += ["-" if np.isnan(value) else f"{value:.2f}" for value in found]
        lines.append(f"| {box} | {distance} | " + " | ".join(cells) + " |")
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
    parser.add_argument("--scales", type=float, nargs="+", default=SCALES, help="of the box's side, 0.4 to 1.5")
    parser.add_argument("--rolls", type=float, nargs="+", default=(), metavar="DEGREES",
                        help="further rows: boxes turned in the image plane, to either side")  # fmt: skip
    add_reading_arguments(parser)
    args = parser.parse_args(arguments)

    def work() -> Outcome:
        require_counts(args, "count")
        if not all(0.4 <= scale <= 1.5 for scale in args.scales):
            raise WrongSettings.of("--scales", args.scales, "0.4 to 1.5 each", "1 is eq. 6's box.")
        if not all(-360 <= roll <= 360 for roll in args.rolls):
            raise WrongSettings.of("--rolls", args.rolls, "-360 to 360 degrees each", "0 is upright.")
        data = open_set(args.data, args)
        text = table_of(args.model, data, args.split, args.count, tuple(args.scales), tuple(args.rolls))
        return Outcome(f"{args.data.resolve().name}, split {args.split}\n\n{text}")

    return run_command("python -m train.box_scale", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
