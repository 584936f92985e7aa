# SPDX-License-Identifier: Apache-2.0
"""Exports a checkpoint: `python -m export CHECKPOINT --name edge --data DIR --out models/edge [--int8]`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from facedepth_edge.errors import FaceDepthError


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m export", description="Turn a checkpoint into an artifact.")
    parser.add_argument("checkpoint", type=Path, help="a last.pt or best.pt of a training run")
    parser.add_argument("--name", required=True, help="the model's name, e.g. edge")
    parser.add_argument("--data", type=Path, required=True, help="data set: calibration, golden and held-out faces")
    parser.add_argument("--out", type=Path, required=True, help="the artifact's folder")
    parser.add_argument("--version", default="0.1.0", help="the model's version (default %(default)s)")
    parser.add_argument("--int8", action="store_true", help="write int8.onnx too, if it is as good as fp32.onnx")
    parser.add_argument("--replace", action="store_true", help="replace the artifact that is in --out")
    parser.add_argument("--cache-dir", type=Path, help="where packed data sets lie (default: in the set's folder)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Export as the command line says.

    Returns:
        Exit status: 0 done, 1 refused or failed.
    """
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    command = "python -m export " + " ".join(sys.argv[1:] if arguments is None else arguments)
    from export.artifact_writer import require_free  # after parsing: -h needs no torch
    from export.pipeline import ExportOptions, export_checkpoint
    from train.data.packed import open_packed_set

    options = ExportOptions(args.name, args.version, args.int8, args.replace)
    try:
        require_free(args.out, args.replace)
        data = open_packed_set(args.data, args.cache_dir)
        export_checkpoint(args.checkpoint, data, args.out, options, print)
    except FaceDepthError as error:
        print(error, file=sys.stderr)
        print(f"FAIL {command}", file=sys.stderr)
        return 1
    print(args.out)
    print(f"PASS {command}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
