# SPDX-License-Identifier: Apache-2.0
"""Begins a training with the weights of another one: fine-tuning, and wider networks after narrow ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from facedepth_edge.errors import ArtifactError, ConfigError
from train.build import build_task
from train.checkpoint import load_checkpoint
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping, plain_from_dataclass
from train.networks import NETWORKS
from train.restore import TrainedNetwork
from train.tasks import Task
from train.widen import widen


@dataclass(frozen=True)
class Start:
    """The training that another one begins with.

    Args:
        path: Its checkpoint.
        config: Its settings.
        task: Its task; the network has the averaged weights.
        about: What is kept of it in the checkpoints that follow: sha256, step, samples, config and its own start.
    """

    path: Path
    config: TrainConfig
    task: Task
    about: dict[str, Any]


def read_start(path: Path) -> Start:
    """Read a checkpoint to begin with.

    Args:
        path: A last.pt or best.pt.

    Raises:
        ArtifactError: It is missing, damaged, or its weights do not fit its settings.
    """
    state = load_checkpoint(path)
    try:
        config = dataclass_from_mapping(TrainConfig, state["config"], "config")
        task = build_task(config)
        task.load_state_dict(state["task"])
        task.network.load_state_dict(state["ema"])
    except (ConfigError, RuntimeError) as error:
        raise ArtifactError.of(str(path), str(error), "a checkpoint of this version", "Train it again.") from error
    about = {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        **{key: state[key] for key in ("step", "samples", "config", "data", "start")},
    }
    return Start(path, config, task, about)


def begin_with(start: Start, task: Task, config: TrainConfig) -> int:
    """Give a task's networks the starting training's weights, widened where they are wider.

    The network gets the averaged weights; a discriminator or classifier comes along where the task is the same.

    Args:
        start: The training to begin with.
        task: The new training's task; changed in place.
        config: The new training's settings.

    Returns:
        How many times wider the new networks are.

    Raises:
        ConfigError: The network is another one, or its widths do not fit.
    """
    if start.config.network.name != config.network.name:
        got, rule = f"a checkpoint of {start.config.network.name}", f"one of {config.network.name}"
        raise ConfigError.of(f"--start {start.path}", got, rule, "Give a checkpoint of the same network.")
    generator = torch.Generator().manual_seed(config.loop.seed)
    factor = widen(start.task.network, task.network, generator)
    if start.config.task.name == config.task.name:
        companions = dict(start.task.named_children())
        for name, module in task.named_children():
            if name != "network":
                widen(companions[name], module, generator)
    return factor


def training_stages(trained: TrainedNetwork) -> list[dict[str, Any]]:
    """Say how a network was trained, from the training that all began with to its own.

    Args:
        trained: The network.

    Returns:
        For each training `parameters` (of its network), `samples`, `step`, `optimizer` and `lr`.

    Raises:
        ConfigError: A training's settings are of another version.
    """
    stages = []
    stage: dict[str, Any] | None = {
        "config": plain_from_dataclass(trained.config),
        "samples": trained.samples,
        "step": trained.step,
        "start": trained.start,
    }
    while stage is not None:
        config = dataclass_from_mapping(TrainConfig, stage["config"], "config")
        network = NETWORKS[config.network.name](config.network.options)
        stages.append(
            {
                "parameters": sum(parameter.numel() for parameter in network.parameters()),
                "samples": int(stage["samples"]),
                "step": int(stage["step"]),
                "optimizer": config.optimizer.name,
                "lr": config.optimizer.lr,
            }
        )
        stage = stage["start"]
    return stages[::-1]
