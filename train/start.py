# SPDX-License-Identifier: Apache-2.0
"""Begins a training with the weights of another one: fine-tuning, and wider networks after narrow ones."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from facedepth_edge.errors import ArtifactError, ConfigError
from train.build import build_task
from train.checkpoint import load_checkpoint
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping, plain_from_dataclass
from train.networks import NETWORKS
from train.restore import TrainedNetwork
from train.tasks import Task
from train.widen import widen

FACE_PX = 96


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


def begin_with(start: Start, task: Task, config: TrainConfig, data_key: str) -> int:
    """Give a task's networks the starting training's weights, widened where they are wider.

    The network gets the averaged weights. A discriminator comes along where the task is the same; a layer that names
    people only where the people are the same, those of the same data.

    Args:
        start: The training to begin with.
        task: The new training's task; changed in place.
        config: The new training's settings.
        data_key: The new training's data.

    Returns:
        How many times wider the new network is.

    Raises:
        ConfigError: The network is another one, or its widths do not fit.
    """
    if start.config.network.name != config.network.name:
        got, rule = f"a checkpoint of {start.config.network.name}", f"one of {config.network.name}"
        raise ConfigError.of(f"--start {start.path}", got, rule, "Give a checkpoint of the same network.")
    generator = torch.Generator().manual_seed(config.loop.seed)
    factor = widen(start.task.network, task.network, generator, may_grow=True)
    _require_same_function(start, task.network)
    companions = dict(start.task.named_children()) if start.config.task.name == config.task.name else {}
    for name, module in task.named_children():
        if name == "network" or name not in companions:
            continue
        names_people = name in task.names_people
        if names_people and (start.about["data"]["key"] != data_key or start.task.people != task.people):
            continue
        widen(companions[name], module, generator)
    return factor


@torch.no_grad()
def _require_same_function(start: Start, network: nn.Module) -> None:
    """Look whether the network computes what the starting one does: options that are no widths may differ."""
    side = getattr(start.config.network.options, "input_px", FACE_PX)
    faces = torch.linspace(-1, 1, 2 * side * side).sin().reshape(2, 1, side, side)
    inputs = [faces] * len(inspect.signature(network.forward).parameters)
    answers = []
    for each in (start.task.network, network):
        was_training = each.training
        answers.append(each.eval()(*inputs))
        each.train(was_training)
    for name, before in answers[0].items():
        difference = float((answers[1][name] - before).abs().max())
        if not difference <= 1e-3 * max(1.0, float(before.abs().max())):
            got = f"{name} that differs by {difference:.3g}"
            raise ConfigError.of(f"--start {start.path}", got, "the same answers at first", "Keep the other options.")


def at_full_width(trained: TrainedNetwork) -> TrainedNetwork:
    """Return a network with its architecture's own widths that computes what a narrower trained one does.

    Args:
        trained: The network, of the architecture's default widths or all a whole number of times narrower.

    Returns:
        The network itself where it has those widths; else a wide one, always the same.

    Raises:
        ConfigError: Its widths or other options do not fit the defaults.
    """
    settings = {**plain_from_dataclass(trained.config), "network": {"name": trained.architecture}}
    config = dataclass_from_mapping(TrainConfig, settings, "config")
    network = NETWORKS[trained.architecture](config.network.options)
    if widen(trained.network, network, torch.Generator().manual_seed(0)) == 1:
        return trained
    return replace(trained, network=network.eval().requires_grad_(False), config=config)


def training_stages(trained: TrainedNetwork) -> list[dict[str, Any]]:
    """Say how a network was trained, from the training that all began with to its own.

    Args:
        trained: The network.

    Returns:
        For each training `parameters` (of its network), `samples`, `step`, `optimizer`, `lr` and `trained_on`, the data
        set's name.

    Raises:
        ConfigError: A training's settings are of another version.
    """
    stages = []
    stage: dict[str, Any] | None = {
        "config": plain_from_dataclass(trained.config),
        "samples": trained.samples,
        "step": trained.step,
        "start": trained.start,
        "data": trained.data,
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
                "trained_on": str(stage["data"].get("name", "unknown")),
            }
        )
        stage = stage["start"]
    return stages[::-1]
