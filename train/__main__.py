# SPDX-License-Identifier: Apache-2.0
"""Trains a network: `python -m train --config configs/edge.yaml --data DIR --out runs/edge [--resume]`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from facedepth_edge.errors import FaceDepthError
from train.command import Outcome, reading_settings, run_command
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping, mapping_from_yaml


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m train", description="Train a network on a set of face crops.")
    parser.add_argument("--config", type=Path, required=True, help="YAML file of settings, e.g. configs/edge.yaml")
    parser.add_argument("--data", type=Path, required=True, nargs="+", help="folder of the data set, of any layout; of"
                        " further ones the training people are added")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and TensorBoard logs")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    parser.add_argument("--start", type=Path, metavar="CHECKPOINT", help="begin with its weights, those of a"
                        " .safetensors file or of a model's folder; a network that is a whole number of times wider"
                        " computes the same at first")  # fmt: skip
    parser.add_argument("--max-minutes", type=float, help="minutes of training steps, over all resumptions;"
                        " the schedule ends cleanly with them, validation and checkpoints come on top")  # fmt: skip
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
                        help="override a setting, e.g. --set loop.batch_size=32")  # fmt: skip
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Train as the command line says.

    Returns:
        Exit status: 0 done, 1 failed or stopped, 2 wrong settings.
    """
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)

    def work() -> Outcome:
        settings = list(args.settings)
        if args.max_minutes is not None:
            settings.append(f"loop.max_minutes={args.max_minutes}")
        with reading_settings():
            config = dataclass_from_mapping(TrainConfig, mapping_from_yaml(args.config, settings))
        from train.data.joined import join_sets  # after the config: a wrong one fails at once
        from train.data.packed import open_packed_set
        from train.loop import fit
        from train.start import read_start
        from train.tasks import TASKS

        d = config.data
        try:
            sets = [open_packed_set(each, d.cache_dir, d.processes, reader=d.reader) for each in args.data]
            if TASKS[config.task.name].reads_pictures:
                for each in sets:  # one by one: the joined set has the first one's name
                    each.crops.require_pictures()
            data = join_sets(*sets)
            start = None if args.start is None else read_start(args.start)
            result = fit(config, data, args.out, args.resume, start=start)
        except KeyboardInterrupt as error:
            raise FaceDepthError(f"Stopped. What {args.out} holds is whole; add --resume to go on.") from error
        scores = [f"{name}\t{value:.4f}" for name, value in result.scores.items()]
        return Outcome("\n".join([*scores, f"checkpoint\t{result.best}"]))

    return run_command("python -m train", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
