# SPDX-License-Identifier: Apache-2.0
"""Exports a network: `python -m export CHECKPOINT --name edge --calibration DATA --out DIR`, or `--model paper`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from facedepth_edge.errors import ArtifactError
from train.command import Outcome, run_command

if TYPE_CHECKING:
    from train.data.packed import PackedSet
    from train.restore import TrainedNetwork

MODELS = Path("models")
FACES_FILE = MODELS / "faces.npz"
SIAMESE = "siamese"
OF_THE_PAPER = ("paper", SIAMESE)  # whose widths the paper gives; narrower weights are widened


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m export", description="Turn a network into an artifact.")
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a last.pt, best.pt, or .safetensors of weights")
    parser.add_argument("--model", metavar="NAME",
                        help="a model with weights in models/weights/NAME.safetensors, calibrated with "
                        "models/faces.npz (siamese: give --calibration), written to models/NAME; each can be "
                        "given otherwise")  # fmt: skip
    parser.add_argument("--name", help="the model's name, e.g. edge")
    parser.add_argument("--calibration", "--data", type=Path, metavar="DATA",
                        help="data set or faces file: training faces calibrate, test faces measure")  # fmt: skip
    parser.add_argument("--out", type=Path, help="the artifact's folder")
    parser.add_argument("--version", help="the model's version (default 0.1.0)")
    parser.add_argument("--files", help="ONNX files to write, with commas (default: all four)")
    parser.add_argument("--random-weights", action="store_true",
                        help="with --model: weights at random, for timing and exactness")  # fmt: skip
    parser.add_argument("--replace", action="store_true", help="replace the artifact that is in --out")
    parser.add_argument("--cache-dir", type=Path, help="where packed data sets lie (default: in the set's folder)")
    args = parser.parse_args(arguments)
    if (args.checkpoint is None) == (args.model is None):
        parser.error("give a checkpoint or --model NAME, and not both")
    if args.random_weights and args.model is None:
        parser.error("--random-weights goes with --model NAME")
    if args.model is not None:
        args.name = args.name or args.model
        if args.model != SIAMESE or args.random_weights:
            args.calibration = args.calibration or FACES_FILE  # which has no depth of its training faces
        args.out = args.out or MODELS / args.model
    missing = [f"--{name}" for name in ("name", "calibration", "out") if getattr(args, name) is None]
    if missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    return args


def network_of(args: argparse.Namespace, data: PackedSet) -> TrainedNetwork:
    """Return the network that the command line names.

    Raises:
        ArtifactError: Its file is missing, damaged or of another architecture.
    """
    from export.pipeline import DEPTH_NETWORKS, faces_of
    from export.random_network import MEASURED_FACES, random_network
    from train.start import at_full_width
    from train.validation import spread_indices
    from train.weights import network_from_file

    if not args.random_weights:
        if args.checkpoint is not None:
            return network_from_file(args.checkpoint, args.model)
        trained = network_from_file(MODELS / "weights" / f"{args.model}.safetensors", args.model)
        return at_full_width(trained) if args.model in OF_THE_PAPER else trained
    if args.model not in DEPTH_NETWORKS:
        rule = f"one of {', '.join(DEPTH_NETWORKS)}"
        raise ArtifactError.of("--model", args.model, rule, "Only these have random weights.")
    return random_network(args.model, faces_of(data, spread_indices(data, "train", MEASURED_FACES)))


def main(arguments: list[str] | None = None) -> int:
    """Export as the command line says.

    Returns:
        Exit status: 0 done, 1 refused or failed.
    """
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    from export.artifact_writer import require_free  # after parsing: -h needs no torch
    from export.faces import open_faces_or_set
    from export.graph_files import FILES
    from export.options import ExportOptions
    from export.pipeline import export_network
    from export.random_network import VERSION
    from export.siamese import export_siamese

    def work() -> Outcome:
        version = args.version or (VERSION if args.random_weights else "0.1.0")
        files = FILES if args.files is None else tuple(args.files.split(","))
        options = ExportOptions(args.name, version, files, args.replace)
        require_free(args.out, args.replace)
        data = open_faces_or_set(args.calibration, args.cache_dir)
        trained = network_of(args, data)
        export = export_siamese if trained.architecture == SIAMESE else export_network
        export(trained, data, args.out, options, print)
        return Outcome(str(args.out))

    return run_command("python -m export", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
