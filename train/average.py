# SPDX-License-Identifier: Apache-2.0
"""Averages the weights of a fine-tuned network with those that it began with: `python -m train.average ...`.

A short training on new data forgets some of what the network knew. Between its weights and those that it began with
there is often a network that is better than both, on the old data and on the new (Wortsman et al., "Robust fine-tuning
of zero-shot models", CVPR 2022).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from facedepth_edge.errors import ConfigError
from train.checkpoint import load_checkpoint, save_checkpoint
from train.command import Outcome, WrongSettings, run_command
from train.start import read_start


def average(checkpoint: Path, other: Path, share: float, out: Path) -> None:
    """Write a checkpoint whose averaged weights are `share` of one network's and the rest of another's.

    Args:
        checkpoint: A last.pt or best.pt; what is written says of itself what this one does.
        other: What it began with: a checkpoint, or a published model's folder.
        share: Of `checkpoint`'s weights, 0 to 1.
        out: The checkpoint to write; its optimizers are `checkpoint`'s, so begin with it, do not resume it.

    Raises:
        ConfigError: The share is none, or the networks differ.
        ArtifactError: One cannot be read.
    """
    if not 0 <= share <= 1:
        raise ConfigError.of("--share", share, "0 to 1", "0.5 is halfway.")
    first, second = read_start(checkpoint), read_start(other)
    if first.config.network != second.config.network:
        rule = f"the network of {checkpoint}: {first.config.network}"
        raise ConfigError.of(f"--with {other}", str(second.config.network), rule, "Give what the training began with.")
    state = load_checkpoint(checkpoint)
    weights = second.task.network.state_dict()
    mixed = {
        name: torch.lerp(weights[name].float(), value.float(), share) if value.is_floating_point() else value
        for name, value in state["ema"].items()
    }
    noted = {"share": share, "sha256": first.about["sha256"], "other": second.about["sha256"]}
    state |= {"ema": mixed, "data": {**state["data"], "averaged": noted}}
    state["task"] = {**state["task"], **{f"network.{name}": value for name, value in mixed.items()}}
    del state["format"]
    save_checkpoint(out, state)


def main(arguments: list[str] | None = None) -> int:
    """Average as the command line says.

    Returns:
        Exit status: 0 done, 1 failed, 2 wrong settings.
    """
    parser = argparse.ArgumentParser(prog="python -m train.average", description="Average two networks' weights.")
    parser.add_argument("checkpoint", type=Path, help="a fine-tuned network's last.pt or best.pt")
    parser.add_argument(
        "--with", dest="other", type=Path, required=True, help="what it began with: a checkpoint, or a model's folder"
    )
    parser.add_argument("--share", type=float, default=0.5, help="of the checkpoint's weights, 0 to 1 (default 0.5)")
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint to write")
    chosen = parser.parse_args(arguments)

    def work() -> Outcome:
        if chosen.out.exists():
            raise WrongSettings.of("--out", str(chosen.out), "a path that is free", "Give another one.")
        average(chosen.checkpoint, chosen.other, chosen.share, chosen.out)
        return Outcome(f"checkpoint\t{chosen.out}")

    return run_command("python -m train.average", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
