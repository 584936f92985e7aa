# SPDX-License-Identifier: Apache-2.0
"""Refuses, before a training begins, data or a start that its task cannot use, and to resume a different run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from facedepth_edge.errors import ConfigError
from train.config import RESUMABLE, TrainConfig
from train.config_reader import dataclass_from_mapping, plain_from_dataclass
from train.data.packed import PackedSet
from train.start import Start
from train.tasks import TASKS


def require_usable_data(config: TrainConfig, data: PackedSet) -> None:
    """Refuse data, or a way to draw from it, that the task cannot use.

    Raises:
        InputError: The task needs pictures and the set has none.
        ConfigError: The config repeats turned heads, and the task draws people.
    """
    task_class = TASKS[config.task.name]
    if task_class.reads_pictures:
        data.crops.require_pictures()
    if task_class.draws_people and config.data.even_yaw > 1:
        rule = f"1 for task {config.task.name}, which draws people, not frames"
        raise ConfigError.of("data.even_yaw", config.data.even_yaw, rule, "Leave it out.")


def require_start(config: TrainConfig, start: Start | None) -> None:
    """Refuse to begin without a start where the task needs one.

    Raises:
        ConfigError: There is none.
    """
    if TASKS[config.task.name].needs_start and start is None:
        fix = "Give --start with a checkpoint or a published model's folder."
        raise ConfigError.of(f"task.name {config.task.name}", "no start", "a trained network to go on from", fix)


def require_same_run(state: dict[str, Any], config: TrainConfig, about_data: dict[str, Any], path: Path) -> None:
    """Refuse to go on with other settings or data than a run began with.

    Args:
        state: The run's checkpoint.
        config: The settings now.
        about_data: What a checkpoint says of the data now.
        path: The checkpoint's, for the text.

    Raises:
        ConfigError: They differ; the text names each setting.
    """
    # Settings that are newer than the checkpoint count with their defaults.
    old = plain_from_dataclass(dataclass_from_mapping(TrainConfig, copy.deepcopy(state["config"]), "config"))
    new = plain_from_dataclass(config)
    for plain in (old, new):
        for name in RESUMABLE:
            plain["loop"].pop(name, None)
        if config.optimizer.schedule == "constant":
            plain["loop"].pop("steps", None)  # a longer run begins as the shorter one did
    differing = sorted(_differences(old, new, ""))
    if differing:
        got = ", ".join(f"{name} {now}" for name, now, _ in differing)
        began = ", ".join(f"{name} {before}" for name, _, before in differing)
        rule = f"the settings that the run began with ({began})"
        raise ConfigError.of(str(path), got, rule, "Restore them or use a new --out.")
    if state["data"] != about_data:
        fix = "Restore the data or use a new --out."
        raise ConfigError.of(str(path), f"other data ({about_data})", f"the run's data {state['data']}", fix)


def require_same_start(state: dict[str, Any], start: Start | None, path: Path) -> None:
    """Refuse to go on with another start than a run began with; where none is given, any run may go on.

    Raises:
        ConfigError: It is another.
    """
    old = state["start"]
    if start is not None and (old is None or old["sha256"] != start.about["sha256"]):
        got = f"a run that began with {'nothing' if old is None else old['sha256'][:12] + '...'}"
        rule = f"{start.about['sha256'][:12]}..., the start that was given"
        raise ConfigError.of(str(path), got, rule, "Leave --start out, or use a new --out.")


def require_same_samples(state: dict[str, Any], batch_size: int, processes: int, path: Path) -> None:
    """Refuse to go on with another number of samples a step: what a step draws depends on how many came before.

    Raises:
        ConfigError: The number differs.
    """
    if state["samples"] != state["step"] * batch_size * processes:
        got = f"{processes} processes of {batch_size} samples a step"
        rule = f"{state['samples'] / state['step']:g} samples a step in all, as the run has"
        raise ConfigError.of(f"{path}: loop.devices", got, rule, "Resume on as many devices as before.")


def _differences(old: Any, new: Any, where: str) -> list[tuple[str, str, str]]:
    """Return what differs, as (setting, new value, old value)."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(set(old) | set(new)):
            found += _differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
        return found
    return [] if old == new else [(where, str(new), str(old))]
