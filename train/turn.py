# SPDX-License-Identifier: Apache-2.0
"""Whether a model turns heads as far as they are turned: `python -m train.turn --model PATH --data DIR`.

Compared is the plane through the face's surface: by how many degrees it slopes across, counted in the direction of the
head's yaw. A model that is unsure turns faces back towards the camera; so does one that takes
some people's flatter faces for the deeper ones that it was trained on.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from train.command import Outcome, require_counts, run_command
from train.data.command_line import add_reading_arguments, open_set
from train.data.frame_source import SPLITS
from train.data.packed import PackedSet
from train.face_ellipse import beside_plane, face_ellipse, planes_over
from train.predictors import Predictor, predictors_from_model
from train.units import HALF_RANGE_MM
from train.validation import batches_of, spread_indices

YAWS_DEG = (5, 15, 25, 35, 45, 60)
LEAST_PIXELS = 400
COLUMNS = ("yaw to either side (degrees)", "frames", "measured", "model's", "error (mm)", "beside the plane (mm)")


@dataclass(frozen=True)
class Turn:
    """One frame.

    Args:
        yaw_deg: Of the head.
        measured_deg: How far the measured surface slopes across, above 0: the picture's right is farther, as on
            a head of positive yaw.
        found_deg: The model's.
        error_mm: Mean absolute error over the face after the offset.
        shape_error_mm: After the plane through the differences.
    """

    yaw_deg: float
    measured_deg: float
    found_deg: float
    error_mm: float
    shape_error_mm: float


def turn_of(measured_mm: np.ndarray, found_mm: np.ndarray, where: np.ndarray, yaw_deg: float) -> Turn:
    """Compare one frame.

    Args:
        measured_mm: (H, W) depth along the axis.
        found_mm: (H, W), the model's.
        where: (H, W) bool, the face's measured pixels.
        yaw_deg: Of the head.
    """
    planes = planes_over(where)
    both = np.stack([measured_mm[where], found_mm[where]], axis=1).astype(np.float64)
    slopes, shapes = beside_plane(both, planes)
    error, shape_error = (each[:, 1] - each[:, 0] for each in (both, shapes))
    measured, found = np.degrees(np.arctan(slopes[0]))
    flat = float(np.abs(error - error.mean()).mean())
    return Turn(yaw_deg, float(measured), float(found), flat, float(np.abs(shape_error).mean()))


def turns(data: PackedSet, indices: np.ndarray, predictor: Predictor) -> list[Turn]:
    """Compare a model with the truth, frame by frame; frames with fewer than LEAST_PIXELS of the face are left out.

    Args:
        data: The packed set, its depth along the axis.
        indices: (n,) frames of it.
        predictor: The model.
    """
    data.require_runtimes_reach()
    found: list[Turn] = []
    for chosen, batch in batches_of(data, indices):
        depth = predictor(chosen, batch)["depth"][:, 0] * HALF_RANGE_MM
        truth = batch.depth.numpy()[:, 0] * HALF_RANGE_MM
        where = (batch.valid & batch.head & batch.seen).numpy()[:, 0] & face_ellipse(*truth.shape[1:])
        for i, index in enumerate(chosen):
            if where[i].sum() >= LEAST_PIXELS:
                yaw_deg = float(data.meta["roll_pitch_yaw_deg"][index, 2])
                found.append(turn_of(truth[i], depth[i], where[i], yaw_deg))
    return found


def table_of(found: list[Turn]) -> str:
    """Write the means over yaws to both sides, in Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    rows = np.array([astuple(one) for one in found]).reshape(-1, len(fields(Turn)))
    yaw, slopes = rows[:, 0], rows[:, 1:3]
    for low, high in itertools.pairwise(YAWS_DEG):
        inside = (np.abs(yaw) >= low) & (np.abs(yaw) < high)
        if not inside.any():
            continue
        measured, model = (np.sign(yaw)[:, None] * slopes)[inside].mean(axis=0)
        error, shape_error = rows[inside, 3:].mean(axis=0)
        lines.append(
            f"| {low} to {high} | {inside.sum()} | {measured:.1f} | {model:.1f} | {error:.2f} | {shape_error:.2f} |"
        )
    within = (np.abs(yaw) >= YAWS_DEG[0]) & (np.abs(yaw) < YAWS_DEG[-1])
    measured, model = slopes[within].T
    if len(measured) > 1 and (measured != 0).any():
        share = float(measured @ model / (measured @ measured))
        lines.append(f"\nThe model turns faces {100 * share:.0f} % as far as they are turned.")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure as the command line says.

    Returns:
        Exit status: 0 done, 1 failed, 2 wrong settings.
    """
    parser = argparse.ArgumentParser(prog="python -m train.turn", description="Whether heads are turned far enough.")
    parser.add_argument("--model", type=Path, required=True, help="checkpoint, or an artifact's folder")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--count", type=int, help="most frames, spread over the split (default: all)")
    add_reading_arguments(parser)
    args = parser.parse_args(arguments)

    def work() -> Outcome:
        require_counts(args, "count")
        data = open_set(args.data, args)
        indices = spread_indices(data, args.split, args.count, faces_only=True)
        texts = [
            f"{name}, {args.data.resolve().name}, split {args.split}\n\n{table_of(turns(data, indices, predictor))}"
            for name, predictor in predictors_from_model(args.model).items()
        ]
        return Outcome("\n\n".join(texts))

    return run_command("python -m train.turn", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
