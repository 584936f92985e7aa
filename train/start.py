# SPDX-License-Identifier: Apache-2.0
"""Begins a training with another one's weights, or a published model's: fine-tuning, and widening a narrow network."""

from __future__ import annotations

import copy
import hashlib
import inspect
import io
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from facedepth_edge.artifacts import REFERENCE_FILE, open_artifact
from facedepth_edge.errors import ArtifactError, ConfigError
from facedepth_edge.spec import SPEC_FILE
from train.build import build_task
from train.checkpoint import load_checkpoint
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping, plain_from_dataclass
from train.networks import NETWORKS
from train.restore import TrainedNetwork
from train.tasks import Task
from train.weights import WEIGHTS_SUFFIX, network_from_weights
from train.widen import widen

FACE_PX = 96
_UNUSABLE = (
    *(ConfigError, AssertionError, KeyError, OverflowError, RuntimeError, TypeError, ValueError),
    zipfile.BadZipFile,
)  # what a spec.json by hand or a reference.pt2 of another kind can end in


@dataclass(frozen=True)
class Start:
    """The training that another one begins with.

    Args:
        path: Its checkpoint, its published weights, or the folder of a published model.
        config: Its settings; of a published model's folder only `network`, `task.name` and `data.depth_along`.
        task: Its task; the network has the averaged weights.
        about: What is kept of it in the checkpoints that follow: sha256, step, samples, config, data and its own start;
            of a published model also `stages`, its trainings as `training_stages` lists them.
        whole: Whether the task's other networks are the training's too; what is published has none of them.
    """

    path: Path
    config: TrainConfig
    task: Task
    about: dict[str, Any]
    whole: bool = True


def read_start(path: Path) -> Start:
    """Read what to begin with.

    Args:
        path: A last.pt or best.pt; a .safetensors file of weights; or the folder of a model that `python -m export`
            wrote, with its reference.pt2.

    Raises:
        ArtifactError: It is missing, damaged, or its weights do not fit its settings.
    """
    if path.is_dir():
        return _start_from_artifact(path)
    if path.suffix == WEIGHTS_SUFFIX:
        return _start_from_weights(path)
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


def _start_from_weights(path: Path) -> Start:
    trained = network_from_weights(path)
    try:
        task = build_task(trained.config)
        task.network.load_state_dict(trained.network.state_dict())
    except (ConfigError, RuntimeError) as error:
        raise ArtifactError.of(str(path), str(error), "weights of this version", "Train it again.") from error
    about = {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "step": trained.step,
        "samples": trained.samples,
        "config": plain_from_dataclass(trained.config),
        "data": trained.data,
        "start": trained.start,
    }
    return Start(path, trained.config, task, about, whole=False)


def _start_from_artifact(folder: Path) -> Start:
    if not (folder / SPEC_FILE).is_file():
        fix = "Give a last.pt or best.pt, .safetensors weights, or the folder of a model that python -m export wrote."
        raise ArtifactError.of(str(folder), f"a folder without {SPEC_FILE}", "a checkpoint or a model's folder", fix)
    artifact = open_artifact(folder)
    if not artifact.has(REFERENCE_FILE):
        fix = "The installed package leaves it out: take the model's folder in a checkout, or export it again."
        raise ArtifactError.of(str(folder), f"no {REFERENCE_FILE}", "a model with that file", fix)
    content = artifact.read(REFERENCE_FILE)
    spec, training = artifact.spec, dict(artifact.spec.training)
    prefix = "network."  # of export's module around the network
    try:
        settings = {
            "network": {"name": spec.architecture, **training["network"]},
            "task": {"name": training["task"]},
            "data": {"depth_along": spec.depth_scale.along},
        }
        config = dataclass_from_mapping(TrainConfig, settings, "config")
        task = build_task(config)
        weights = torch.export.load(io.BytesIO(content)).state_dict
        task.network.load_state_dict({name.removeprefix(prefix): value for name, value in weights.items()})
        about = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "step": _require(training["steps"], "training.steps", int),
            "samples": _require(training["samples"], "training.samples", int),
            "config": settings,
            "data": {"name": _require(training["data"], "training.data", str), "key": ""},
            "start": None,
            "stages": _require_stages(training["stages"]),
        }
    except _UNUSABLE as error:
        rule = "a model that python -m export wrote from a training"
        got = f"{type(error).__name__}: {error}"
        raise ArtifactError.of(str(folder), got, rule, "Begin with a checkpoint, or export it again.") from error
    return Start(folder, config, task, about, whole=False)


def _require(value: Any, where: str, kind: type) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError.of(where, value, f"{kind.__name__}", "Export the model again.")
    return value


def _require_stages(stages: Any) -> list[dict[str, Any]]:
    kinds = {"parameters": int, "samples": int, "step": int, "optimizer": str, "lr": (int, float), "trained_on": str}
    right = isinstance(stages, list) and all(
        isinstance(stage, dict)
        and set(stage) == set(kinds)
        and all(isinstance(stage[name], kind) for name, kind in kinds.items())
        for stage in stages
    )
    if not right or not stages:
        rule = f"a list of trainings with {', '.join(kinds)}"
        raise ConfigError.of("training.stages", stages, rule, "Export the model again.")
    return list(stages)


def begin_with(start: Start, task: Task, config: TrainConfig, data_key: str) -> int:
    """Give a task's networks the starting training's weights, widened where they are wider.

    The network gets the averaged weights. A discriminator, or the layer that tells shapes, comes along where the task
    is the same, but what is published has none; a layer that names people only where the people are the same, those of
    the same data.

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
    same_task = start.whole and start.config.task.name == config.task.name
    companions = dict(start.task.named_children()) if same_task else {}
    for name, module in task.named_children():
        if name == "network" or name not in companions:
            continue
        names_people = name in task.names_people
        if names_people and (start.about["data"]["key"] != data_key or start.task.people != task.people):
            continue
        widen(companions[name], module, generator)
    return factor


@torch.no_grad()
def weights_in(start: Start, deeper: Start) -> dict[str, torch.Tensor]:
    """Return the weights with which a network of more layers computes what the starting one does.

    Layers that only the larger network has keep their weights, except those that are 0 in a new network, as in a
    residual block: they become 0 again, so that these layers are the identity.

    Args:
        start: What a training began with.
        deeper: The training, of the same network or of one with further layers that begin as the identity.

    Raises:
        ConfigError: The networks differ in more than that.
    """
    rule = f"the network of {deeper.path}, or of the same widths without some of its blocks: {deeper.config.network}"
    wrong = ConfigError.of(str(start.path), str(start.config.network), rule, "Give what the training began with.")
    if start.config.network.name != deeper.config.network.name:
        raise wrong
    network, new = copy.deepcopy(deeper.task.network), dict(build_task(deeper.config).network.named_modules())
    shared = dict(start.task.network.named_modules())
    for name, module in network.named_modules():
        weight = getattr(new[name], "weight", None)
        if name not in shared and isinstance(weight, torch.Tensor) and not weight.any():
            for own in module.parameters():
                own.zero_()
    try:
        factor = widen(start.task.network, network, torch.Generator(), may_grow=True)
        _require_same_function(start, network)
    except ConfigError as error:
        raise wrong from error
    if factor != 1:
        raise wrong
    return network.state_dict()


@torch.no_grad()
def _require_same_function(start: Start, network: nn.Module) -> None:
    """Check that the network computes what the starting one does: options other than widths may differ."""
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
        if "stages" in stage:
            stages += stage["stages"][::-1]
            break
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
