# SPDX-License-Identifier: Apache-2.0
"""Averages the weights of fine-tuned networks with those that they began with: `python -m train.average ...`.

A short training on new data forgets some of what the network knew. Between its weights and those that it began with
there is often a network that is better than both, on the old data and on the new (Wortsman et al., "Robust fine-tuning
of zero-shot models", CVPR 2022). Several trainings that began with the same weights, with other seeds or settings, are
averaged among themselves first (Wortsman et al., "Model soups", ICML 2022): two cores train two as fast as one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from facedepth_edge.errors import ConfigError
from train.checkpoint import load_checkpoint, save_checkpoint
from train.command import Outcome, WrongSettings, run_command
from train.start import read_start, weights_in


def average(checkpoints: Sequence[Path], other: Path, share: float, out: Path) -> None:
    """Write a checkpoint whose averaged weights are `share` of the networks' mean and the rest another's.

    Args:
        checkpoints: last.pt or best.pt, one or more; what is written carries the notes of the first, and names
            all of them in `data["averaged"]`.
        other: What they began with: a checkpoint, published weights or a published model's folder; it may lack layers
            that begin as the identity, such as residual blocks.
        share: The weight of the checkpoints' mean, 0 to 1.
        out: The checkpoint to write; its optimizers are the first one's, so begin with it, do not resume it.

    Raises:
        ConfigError: The share is not from 0 to 1, or the networks differ.
        ArtifactError: One cannot be read.
    """
    if not 0 <= share <= 1:
        raise ConfigError.of("--share", share, "0 to 1", "0.5 is halfway.")
    first, *more = [read_start(checkpoint) for checkpoint in checkpoints]
    base = read_start(other)
    if not first.whole:
        rule = "a last.pt or best.pt, whose settings the average takes over"
        raise ConfigError.of("the first of the checkpoints", str(first.path), rule, "Give one, or a training's first.")
    for one in (*more, base):
        if one.config.data.depth_along != first.config.data.depth_along:
            rule = f"along the {first.config.data.depth_along}, as of {first.path}"
            got = f"depth along the {one.config.data.depth_along}"
            raise ConfigError.of(str(one.path), got, rule, "Average networks of the same depth.")
    for one in more:
        if one.config.network != first.config.network:
            rule = f"the network of {first.path}: {first.config.network}"
            raise ConfigError.of(str(one.path), str(one.config.network), rule, "Average the same networks.")
    state = load_checkpoint(first.path)
    weights = [one.task.network.state_dict() for one in (first, *more)]
    mean = {
        name: torch.stack([one[name].float() for one in weights]).mean(0) if value.is_floating_point() else value
        for name, value in state["ema"].items()
    }
    first.task.network.load_state_dict(mean)
    before = weights_in(base, first)
    mixed = {
        name: torch.lerp(before[name].float(), value, share) if value.is_floating_point() else value
        for name, value in mean.items()
    }
    runs = [{key: one.about[key] for key in ("sha256", "step", "samples")} for one in (first, *more)]
    noted = {"runs": runs, "share": share, "other": base.about["sha256"]}
    state |= {"ema": mixed, "data": {**state["data"], "averaged": noted}}
    state["task"] = {**state["task"], **{f"network.{name}": value for name, value in mixed.items()}}
    del state["format"]
    save_checkpoint(out, state)


def main(arguments: list[str] | None = None) -> int:
    """Average as the command line says.

    Returns:
        Exit status: 0 done, 1 failed, 2 wrong settings.
    """
    parser = argparse.ArgumentParser(prog="python -m train.average", description="Average networks' weights.")
    parser.add_argument("checkpoints", type=Path, nargs="+", help="fine-tuned networks' last.pt or best.pt")
    parser.add_argument(
        "--with",
        dest="other",
        type=Path,
        required=True,
        help="what they began with: a checkpoint, weights or a model's folder",
    )
    parser.add_argument("--share", type=float, default=0.5, help="of the checkpoints' mean, 0 to 1 (default 0.5)")
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint to write")
    chosen = parser.parse_args(arguments)

    def work() -> Outcome:
        if chosen.out.exists():
            raise WrongSettings.of("--out", str(chosen.out), "a path that is free", "Give another one.")
        average(chosen.checkpoints, chosen.other, chosen.share, chosen.out)
        return Outcome(f"checkpoint\t{chosen.out}")

    return run_command("python -m train.average", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
