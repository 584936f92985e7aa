# SPDX-License-Identifier: Apache-2.0
"""Builds a trained network again from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from facedepth_edge.errors import ArtifactError, ConfigError
from train.checkpoint import load_checkpoint
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping
from train.networks import NETWORKS


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with trained weights and where they come from.

    Args:
        network: In inference mode, on the CPU, float32, with the averaged weights.
        architecture: Its name in NETWORKS.
        config: The run's settings.
        step: Steps that it was trained.
        samples: Samples that it saw in them.
        commit: The checkout's commit when it was trained.
        data: The training data: name, key, numbers of frames and subjects.
        input_px: Side of the faces it was trained on.
        start: The training that this one began with: sha256, step, samples, config, data and its own start, or of a
            published model `stages`, its trainings; None where it began with nothing.
    """

    network: nn.Module
    architecture: str
    config: TrainConfig
    step: int
    samples: int
    commit: str
    data: dict[str, Any]
    input_px: int
    start: dict[str, Any] | None = None


def network_from_checkpoint(path: str | Path, architecture: str | None = None) -> TrainedNetwork:
    """Read a checkpoint's averaged weights into its network.

    Args:
        path: A last.pt or best.pt.
        architecture: The network that the caller needs; None takes any.

    Returns:
        The network.

    Raises:
        ArtifactError: The checkpoint is missing, damaged, of another architecture, or its weights do not fit.
    """
    state = load_checkpoint(path)
    return network_from_state(
        path, state["config"], state["ema"], architecture,
        step=int(state["step"]), samples=int(state["samples"]), commit=str(state["commit"]), data=dict(state["data"]),
        input_px=int(state["spec"]["input_px"]), start=state["start"],
    )  # fmt: skip


def network_from_state(
    path: str | Path, config: Any, state: dict[str, Tensor], architecture: str | None, **about: Any
) -> TrainedNetwork:
    """Build a network and give it weights.

    Args:
        path: Where they come from, for errors.
        config: The run's settings as plain values.
        state: The weights by name, float32.
        architecture: The network that the caller needs; None takes any.
        about: `step`, `samples`, `commit`, `data`, `input_px` and `start` of TrainedNetwork.

    Raises:
        ArtifactError: The settings are of another version or architecture, or the weights do not fit.
    """
    try:
        read = dataclass_from_mapping(TrainConfig, config, "config")
    except ConfigError as error:
        fix = "Train again with this version."
        raise ArtifactError.of(f"{path}: config", str(error), "settings of this version", fix) from error
    name = read.network.name
    if architecture is not None and name != architecture:
        rule = f"a checkpoint of {architecture}"
        raise ArtifactError.of(str(path), f"a checkpoint of {name}", rule, "Give one, or another --architecture.")
    network = NETWORKS[name](read.network.options)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        fix = "Train again with this version."
        raise ArtifactError.of(f"{path}: weights", str(error), f"the weights of {name}", fix) from error
    return TrainedNetwork(network.eval().requires_grad_(False), name, read, **about)
