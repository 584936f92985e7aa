# SPDX-License-Identifier: Apache-2.0
"""Writes and reads trained weights for publishing: one safetensors file, half precision, no code in it.

`python -m train.weights CHECKPOINT OUT.safetensors` makes one. Kernels are stored as float16; vectors (batch norm,
biases) keep their type, because their range does not always fit. The text beside them says what a checkpoint says.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from facedepth_edge.errors import ArtifactError
from facedepth_edge.whole_file import whole_file
from train.command import Outcome, run_command
from train.config_reader import plain_from_dataclass
from train.restore import TrainedNetwork, network_from_checkpoint, network_from_state

FORMAT = 1
WEIGHTS_SUFFIX = ".safetensors"


def save_weights(path: str | Path, trained: TrainedNetwork) -> None:
    """Write a network's weights; the file appears whole or not at all, and is the same for the same network.

    Args:
        path: The .safetensors file; one that is there is replaced.
        trained: The network and where it comes from.
    """
    path = Path(path)
    tensors = {
        name: (value.half() if value.is_floating_point() and value.ndim >= 2 else value).contiguous()
        for name, value in trained.network.state_dict().items()
    }
    about = {
        "format": FORMAT,
        "config": plain_from_dataclass(trained.config),
        "step": trained.step,
        "samples": trained.samples,
        "commit": trained.commit,
        "data": trained.data,
        "input_px": trained.input_px,
        "start": trained.start,
    }
    with whole_file(path) as file:
        # One entry: the library writes several in an order that changes from run to run. As bytes: save_file() puts a
        # file of its own in this one's place, which nobody else may read.
        file.write(save(tensors, {"about": json.dumps(about, sort_keys=True)}))


def network_from_weights(path: str | Path, architecture: str | None = None) -> TrainedNetwork:
    """Read a network that `save_weights` wrote.

    Args:
        path: The .safetensors file.
        architecture: The network that the caller needs; None takes any.

    Returns:
        The network, its kernels rounded to float16 and computed in float32.

    Raises:
        ArtifactError: The file is missing, damaged, of another architecture, or its weights do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError.of(str(path), "no such file", "a .safetensors file of weights", "Check the path.")
    try:
        with safe_open(str(path), framework="pt") as file:
            notes = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        about: dict[str, Any] = json.loads(notes.get("about", ""))
    except (OSError, ValueError, SafetensorError) as error:
        fix = "The file is damaged or of another program: get it again, or write it by python -m train.weights."
        raise ArtifactError.of(str(path), f"{type(error).__name__} on reading it", "weights", fix) from error
    keys = {"format", "config", "step", "samples", "commit", "data", "input_px"}
    if not isinstance(about, dict) or not keys <= set(about) or about["format"] != FORMAT:
        got = f"the notes {sorted(about)}" if isinstance(about, dict) else f"a {type(about).__name__} of notes"
        rule = f"{', '.join(sorted(keys))}, format {FORMAT}"
        raise ArtifactError.of(str(path), got, rule, "Write it again by python -m train.weights.")
    state = {name: value.float() if value.dtype == torch.float16 else value for name, value in tensors.items()}
    return network_from_state(
        path, about["config"], state, architecture,
        step=int(about["step"]), samples=int(about["samples"]), commit=str(about["commit"]), data=dict(about["data"]),
        input_px=int(about["input_px"]), start=about.get("start"),
    )  # fmt: skip


def network_from_file(path: Path, architecture: str | None = None) -> TrainedNetwork:
    """Read published weights (.safetensors), or any other file as a checkpoint.

    Raises:
        ArtifactError: As network_from_weights and network_from_checkpoint.
    """
    read = network_from_weights if path.suffix == WEIGHTS_SUFFIX else network_from_checkpoint
    return read(path, architecture)


def main(arguments: list[str] | None = None) -> int:
    """Turn a checkpoint into a file of weights.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    parser = argparse.ArgumentParser(prog="python -m train.weights", description="Publish a checkpoint's weights.")
    parser.add_argument("checkpoint", type=Path, help="a last.pt or best.pt")
    parser.add_argument("out", type=Path, help="the .safetensors file")
    args = parser.parse_args(arguments)

    def work() -> Outcome:
        if args.out.suffix != WEIGHTS_SUFFIX:
            fix = "Readers go by the ending: change it."
            raise ArtifactError.of(str(args.out), f"the ending {args.out.suffix!r}", WEIGHTS_SUFFIX, fix)
        trained = network_from_checkpoint(args.checkpoint)
        save_weights(args.out, trained)
        size = args.out.stat().st_size / 1e6
        return Outcome(f"{args.out}: {trained.architecture}, {trained.samples} samples, {size:.1f} MB")

    return run_command("python -m train.weights", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
