# SPDX-License-Identifier: Apache-2.0
"""What a wrong distance, a camera on its side or few pixels cost: `python -m train.box_scale --model PATH --data DIR`.

A distance that is taken for 1 / s of the true one makes the box s times as large as eq. 6 asks for. The network sees a
head of another size then; its depth in mm should be the same. Measured on boxes of several sizes around the same heads,
with --rolls on boxes that are turned in the image plane, as in the picture of a camera that was not mounted upright,
and with --pixels on boxes that cover only so many pixels of the camera.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from facedepth_edge.box import Box
from facedepth_edge.face_crop import FaceSampler
from facedepth_edge.spec import Preprocessing
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
from train.units import gray_from_face
from train.validation import chunks_of, spread_indices

SCALES = (0.5, 0.65, 0.75, 0.85, 1.0, 1.15, 1.3, 1.45)
COLUMNS = ("head, mm", "called valid")


def of_few_pixels(faces: Tensor, pixels: int) -> Tensor:
    """Return faces as the runtime gives them to a network when their boxes cover few pixels of the camera.

    Args:
        faces: (B, 1, H, W) float32 in [-1, 1].
        pixels: Camera pixels along a side of the box; each is the mean of what it covers, in whole gray levels.

    Returns:
        The same shape, grown again by the runtime's sampler.
    """
    sampler, grown = FaceSampler(), np.empty(tuple(faces.shape), np.float32)
    for face, out in zip(faces[:, 0].numpy(), grown[:, 0], strict=True):
        camera = cv2.resize(gray_from_face(face), (pixels, pixels), interpolation=cv2.INTER_AREA)
        frame = np.clip(np.rint(camera), 0, 255).astype(np.uint8)
        sampler.sample_into(out, frame, Box(0, 0, pixels, pixels), Preprocessing(), None)
    return torch.from_numpy(grown)


@torch.no_grad()
def measure_boxes(
    network: nn.Module,
    data: PackedSet,
    indices: np.ndarray,
    thresholds: Thresholds,
    scale: float = 1.0,
    roll_deg: float = 0.0,
    pixels: int | None = None,
) -> np.ndarray:
    """Measure a network on boxes of one size, turned by one angle to either side in turn.

    Args:
        network: In inference mode; its depth along the same line as the set's.
        data: The packed set.
        indices: (n,) positions in it, of frames with a head.
        thresholds: Of validity and mask, at which a face counts as valid.
        scale: Of the box's side.
        roll_deg: In-plane rotation of the box.
        pixels: Camera pixels along a side of the box; None: as many as the network takes.

    Returns:
        (2,) the mean error after the offset over the head in mm, the share that the runtime would call valid; NaN where
        there is nothing to measure.
    """
    errors: list[float] = []
    valid: list[float] = []
    for chosen in chunks_of(indices):
        boxes = fixed_boxes(len(chosen), data.crops.crop_px, data.crops.box_px, scale, roll_deg)
        turns = torch.where(torch.arange(len(chosen)) % 2 == 0, 1.0, -1.0)
        batch = make_batch(data, chosen, placement=replace(boxes, angle_rad=boxes.angle_rad * turns))
        faces = batch.face if pixels is None else of_few_pixels(batch.face, pixels)
        found = {name: value.numpy() for name, value in probabilities(network(faces)).items()}
        truth, where = batch.depth.numpy()[:, 0], (batch.valid & batch.head).numpy()[:, 0]
        for depth, target, head in zip(found["depth"][:, 0], truth, where, strict=True):
            errors.append(score_depth(depth, target, head)[0])
        levels = gray_from_face(faces[:, 0].numpy())
        for i in range(len(chosen)):
            valid.append(called_valid({name: each[i] for name, each in found.items()}, levels[i], thresholds, pixels))
    mean = np.nanmean(errors) if np.isfinite(errors).any() else np.nan
    return np.array([mean, np.mean(valid)])


def table_of(
    models: list[Path],
    data: PackedSet,
    split: str,
    count: int | None,
    scales: tuple[float, ...],
    rolls_deg: tuple[float, ...] = (),
    pixels: tuple[int, ...] = (),
) -> str:
    """Measure models on boxes of several sizes, angles and numbers of pixels and return the table in Markdown.

    Raises:
        ArtifactError: A model cannot be used.
        InputError: The set has no pictures.
    """
    data.crops.require_pictures()
    columns = [f"{model.parent.name}/{model.name}: {column}" for model in models for column in COLUMNS]
    lines = ["| box | distance taken for | " + " | ".join(columns) + " |", "|---|---|" + "---|" * len(columns)]
    starts = [read_start(model) for model in models]
    rows: list[tuple[str, str, float, float, int | None]] = []
    rows += [(f"{scale:g}", f"{100 / scale:.0f} %", scale, 0.0, None) for scale in scales]
    rows += [(f"1, turned by {roll:g} degrees", "100 %", 1.0, roll, None) for roll in rolls_deg]
    rows += [(f"1, of {side} x {side} pixels", "100 %", 1.0, 0.0, side) for side in pixels]
    for box, distance, scale, roll, side in rows:
        cells = []
        for start in starts:
            along = data.with_depth_along(start.config.data.depth_along)
            indices = spread_indices(along, split, count, faces_only=True)
            found = measure_boxes(start.task.network.eval(), along, indices, Thresholds(), scale, roll, side)
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
    parser.add_argument("--pixels", type=int, nargs="+", default=(),
                        help="further rows: boxes of so few pixels of the camera's, a side")  # fmt: skip
    add_reading_arguments(parser)
    args = parser.parse_args(arguments)

    def work() -> Outcome:
        require_counts(args, "count")
        if not all(0.4 <= scale <= 1.5 for scale in args.scales):
            raise WrongSettings.of("--scales", args.scales, "0.4 to 1.5 each", "1 is eq. 6's box.")
        if not all(-360 <= roll <= 360 for roll in args.rolls):
            raise WrongSettings.of("--rolls", args.rolls, "-360 to 360 degrees each", "0 is upright.")
        if not all(1 <= side <= 1000 for side in args.pixels):
            raise WrongSettings.of("--pixels", args.pixels, "1 to 1000 each", "A face needs 24 and more.")
        data = open_set(args.data, args)
        rows = (tuple(args.scales), tuple(args.rolls), tuple(args.pixels))
        text = table_of(args.model, data, args.split, args.count, *rows)
        return Outcome(f"{args.data.resolve().name}, split {args.split}\n\n{text}")

    return run_command("python -m train.box_scale", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
