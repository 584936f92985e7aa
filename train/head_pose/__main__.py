# SPDX-License-Identifier: Apache-2.0
"""Trains and measures the head pose: `python -m train.head_pose fit ...`, `python -m train.head_pose measure ...`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from facedepth_edge.head_pose import WEIGHTS_FILE
from train.command import Outcome, require_counts, require_writable, run_command
from train.data.command_line import add_reading_arguments, open_sets
from train.data.frame_source import SPLITS
from train.data.packed import PackedSet
from train.head_pose.fit import FitSettings, fit_weights
from train.head_pose.measure import measure_set, table_of
from train.start import read_start


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m train.head_pose", description="The head pose by the depth map.")
    commands = parser.add_subparsers(dest="command", required=True)
    fit = commands.add_parser("fit", help="train the weights, minutes on a CPU core")
    fit.add_argument("--model", type=Path, required=True, help="the model whose depth it sees: folder or checkpoint")
    fit.add_argument("--out", type=Path, default=Path(WEIGHTS_FILE), help=".safetensors file (default: the package's)")
    fit.add_argument("--repeats", type=int, default=FitSettings.repeats,
                     help="how often each frame is seen, each time in another box (%(default)s)")  # fmt: skip
    fit.add_argument("--epochs", type=int, default=FitSettings.epochs, help="over all of these (%(default)s)")
    fit.add_argument("--seed", type=int, default=0)
    measure = commands.add_parser("measure", help="measure what the package says of a model's depth")
    measure.add_argument("--model", type=Path, required=True, help="the model's folder; its int8.onnx runs")
    measure.add_argument("--split", choices=SPLITS, default="test")
    measure.add_argument("--count", type=int, help="most frames of each set, spread over the split (default: all)")
    for command in (fit, measure):
        command.add_argument("--data", type=Path, action="append", required=True, help="data set; repeatable")
        add_reading_arguments(command)
    return parser.parse_args(arguments)


def _sets_with_pictures(args: argparse.Namespace) -> dict[str, PackedSet]:
    """Open the sets and refuse one of depth alone before any is worked on."""
    sets = open_sets(args.data, args)
    for data in sets.values():
        data.crops.require_pictures()
    return sets


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    args = parse_arguments(arguments)

    def fit() -> Outcome:
        require_counts(args, "repeats", "epochs")
        require_writable(args.out, "--out")
        settings = FitSettings(args.repeats, args.epochs, args.seed)
        return Outcome(fit_weights(read_start(args.model), _sets_with_pictures(args), args.out, settings))

    def measure() -> Outcome:
        require_counts(args, "count")
        sets = _sets_with_pictures(args)
        rows = [row for data in sets.values() for row in measure_set(args.model, data, args.split, args.count)]
        return Outcome(table_of(rows))

    return run_command("python -m train.head_pose", arguments, fit if args.command == "fit" else measure)


if __name__ == "__main__":
    sys.exit(main())
