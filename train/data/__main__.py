# SPDX-License-Identifier: Apache-2.0
"""Looks at data sets and draws pairs: `python -m train.data list | sheet | pairs --data DIR`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from facedepth_edge.image_files import write_picture
from train.command import Outcome, reading_settings, require_counts, run_command
from train.data.command_line import add_reading_arguments, open_set, reader_from_settings
from train.data.frame_source import SPLITS
from train.data.packed import PackedSet


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m train.data", description="Look at a data set, or draw face pairs.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="print what the set holds: splits, subsets, distances, holes")
    sheet = commands.add_parser("sheet", help="draw a contact sheet: gray, depth, and depth edges over the gray")
    sheet.add_argument("--out", type=Path, required=True, help="PNG or JPEG file")
    sheet.add_argument("--frames", type=int, default=12)
    pairs = commands.add_parser("pairs", help="write a fixed list of face pairs for verification")
    pairs.add_argument("--split", choices=SPLITS, required=True)
    pairs.add_argument("--count", type=int, default=1000, help="pairs a cell, half of them of the same person")
    pairs.add_argument("--seed", type=int, default=1)
    pairs.add_argument("--out", type=Path, required=True, help="CSV file")
    for command in (listing, sheet, pairs):
        command.add_argument("--data", type=Path, required=True, help="folder of the data set, of any layout")
        command.add_argument("--processes", type=int, default=2, help="processes that decode images")
        add_reading_arguments(command)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        Exit status: 0 done, 1 failed, 2 wrong settings.
    """
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)

    def work() -> Outcome:
        with reading_settings():
            reader_from_settings(args.settings)
        require_counts(args, "processes")
        return Outcome(_run(args, open_set(args.data, args, args.processes)))

    return run_command("python -m train.data", arguments, work)


def _run(args: argparse.Namespace, data: PackedSet) -> str:
    if args.command == "list":
        from train.data.summary import summarise

        return summarise(data)
    if args.command == "sheet":
        from train.data.contact_sheet import draw_sheet

        require_counts(args, "frames")
        return str(write_picture(draw_sheet(data, args.frames), args.out))
    from train.data.pairs import draw_pairs, write_pairs

    drawn = draw_pairs(data, args.split, args.count, args.seed)
    write_pairs(args.out, drawn, data, args.split, args.count, args.seed)
    lines = args.out.read_text(encoding="utf-8").splitlines()
    return "\n".join(line.removeprefix("# ") for line in lines if line.startswith("#"))


if __name__ == "__main__":
    sys.exit(main())
