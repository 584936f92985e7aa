# SPDX-License-Identifier: Apache-2.0
"""The training loop, on Lightning Fabric: steps a task's phases, averages weights, measures, and checkpoints.

Everything that a step does follows from (config, step, weights): samples and augmentation are drawn from (seed, step).
A run that was killed and resumed therefore ends in the same weights, bit by bit on one CPU machine, unless it has a
wall-clock budget.
"""

from __future__ import annotations

import copy
import logging
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from facedepth_edge.errors import ConfigError
from facedepth_edge.spec import DepthScale, Preprocessing
from train.build import build_task
from train.checkpoint import current_commit, load_checkpoint, save_checkpoint
from train.config import RESUMABLE, OptimizerConfig, TrainConfig
from train.config_reader import dataclass_from_mapping, plain_from_dataclass
from train.data.batches import make_batch, step_generator
from train.data.even_yaw import evened
from train.data.packed import PackedSet
from train.engine import open_fabric
from train.optimizers import build_optimizer
from train.start import Start, begin_with
from train.tasks import TASKS
from train.validation import spread_indices

LAST = "last.pt"
BEST = "best.pt"

log = logging.getLogger("train")


@dataclass(frozen=True)
class FitResult:
    """What a run came to.

    Args:
        step: Steps done.
        last: The last checkpoint.
        best: The checkpoint with the smallest error (the score that its task selects by) on the validation split.
        scores: The last measurement.
    """

    step: int
    last: Path
    best: Path
    scores: dict[str, float]


def learning_rate(settings: OptimizerConfig, step: int, progress: float) -> float:
    """Return the learning rate of a step.

    Args:
        settings: Peak, warm-up and schedule.
        step: Number of the step, 0 and up.
        progress: Fraction of the run that is done, 0..1.
    """
    warm = min(1.0, (step + 1) / (settings.warmup_steps + 1))
    if settings.schedule == "constant":
        return settings.lr * warm
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return settings.lr * warm * (settings.final_lr + (1 - settings.final_lr) * cosine)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move averaged weights and buffers towards the network's; the first steps average over fewer.

    Args:
        average: A copy of the network, changed in place.
        network: The network that is trained.
        decay: Weight of the old average.
        step: Number of the step, 0 and up.
    """
    amount = 1.0 - min(decay, (1 + step) / (10 + step)) if decay > 0 else 1.0
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    moving = [(old, new) for old, new in pairs if old.is_floating_point()]
    torch._foreach_lerp_([old for old, _ in moving], [new for _, new in moving], amount)
    for old, new in pairs:
        if not old.is_floating_point():
            old.copy_(new)


def fit(
    config: TrainConfig,
    data: PackedSet,
    out: Path,
    resume: bool = False,
    progress: bool = True,
    start: Start | None = None,
) -> FitResult:
    """Train.

    Args:
        config: All settings.
        data: The packed set.
        out: Folder for checkpoints and logs.
        resume: Go on from `out`'s last checkpoint; starts anew where there is none yet.
        progress: Show a progress bar on stderr.
        start: The training whose weights this one begins with; a resumed run must be given the same again, or none.

    Returns:
        What the run came to.

    Raises:
        InputError: The task needs pictures and the set has none.
        ConfigError: The task needs a start and has none; `out` holds another run, the config, the data or the start of
            a resumed run differ, the start does not fit, or the loss is not finite.
    """
    s = config.loop
    data = data.with_depth_along(config.data.depth_along)
    if s.threads:
        torch.set_num_threads(s.threads)
    task_class = TASKS[config.task.name]
    if task_class.reads_pictures:
        data.crops.require_pictures()
    if task_class.draws_people and config.data.even_yaw > 1:
        rule = f"1 for task {config.task.name}, which draws people, not frames"
        raise ConfigError.of("data.even_yaw", config.data.even_yaw, rule, "Leave it out.")
    if task_class.needs_start and start is None and not (out / LAST).exists():
        fix = "Give --start with a checkpoint or a published model's folder."
        raise ConfigError.of(f"task.name {config.task.name}", "no start", "a trained network to go on from", fix)
    fabric = open_fabric(s, several_phases=len(task_class.phases) > 1)
    torch.manual_seed(s.seed)
    task = build_task(config)
    last_path, best_path = out / LAST, out / BEST
    began_with = None
    if start is not None and not last_path.exists():  # a resumed run has its own weights
        began_with = start.about
        factor = begin_with(start, task, config, data.key)
        log.info("%s: begins with step %d of it, %d times as wide", start.path, start.about["step"], factor)
    if s.channels_last:
        task = task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(task.network).eval().requires_grad_(False).to(fabric.device)
    o = config.optimizer
    optimizers = {
        name: build_optimizer(o.name, task.phase_parameters(name), o.lr, o.betas, o.weight_decay, o.muon_lr_factor)
        for name in task.phases
    }
    raw_task, network = task, task.network
    task, *wrapped = fabric.setup(task, *optimizers.values())
    optimizers = dict(zip(optimizers, wrapped, strict=True))

    train_indices = data.indices("train", config.data.faces_only)
    val_indices = spread_indices(data, "val", config.data.validation_frames, config.data.faces_only)
    raw_task.check_validation(data, val_indices)
    augment = config.augment if config.augment.enabled else None
    about_data = {
        "name": data.name,
        "key": data.key,
        "train_frames": len(train_indices),
        "train_subjects": len(np.unique(data.meta["subject"][train_indices])),
    }
    yaw_deg = np.where(data.meta["face"], data.meta["roll_pitch_yaw_deg"][:, 2], np.nan)  # without a face there is none
    train_indices = evened(train_indices, yaw_deg[train_indices], config.data.even_yaw)
    step, samples, elapsed_s, best = 0, 0, 0.0, math.inf
    if last_path.exists() and not resume:
        fix = "Add --resume to go on, or give another --out."
        raise ConfigError.of("--out", f"{out}, which holds a run", "a new folder", fix)
    if last_path.exists():
        state = load_checkpoint(last_path)
        _require_same_run(state, config, about_data, last_path)
        if _progress(config, state["step"], state["elapsed_s"]) < 1:
            _require_same_samples(state, s.batch_size, fabric.world_size, last_path)
        if start is not None:
            _require_same_start(state["start"], start, last_path)
        began_with = state["start"]
        raw_task.load_state_dict(state["task"])
        average.load_state_dict(state["ema"])
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        torch.set_rng_state(state["rng"])
        step, samples, elapsed_s = state["step"], state["samples"], state["elapsed_s"]
        if state["selects"] in (None, raw_task.selects):  # another score's best says nothing of this one
            best = state["best"]
    elif resume:
        log.warning("%s: no checkpoint yet, starting at step 0", last_path)

    def snapshot() -> dict[str, Any]:
        return {
            "selects": raw_task.selects,
            "step": step,
            "samples": samples,
            "elapsed_s": elapsed_s,
            "config": plain_from_dataclass(config),
            "spec": {
                "preprocessing": plain_from_dataclass(Preprocessing()),
                "depth_scale": plain_from_dataclass(DepthScale(along=config.data.depth_along)),
                "input_px": data.crops.box_px,
            },
            "commit": commit,
            "task": raw_task.state_dict(),
            "ema": average.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
            "rng": torch.get_rng_state(),
            "best": best,
            "data": about_data,
            "start": began_with,
        }

    commit = current_commit()
    main = fabric.is_global_zero
    writer = SummaryWriter(str(out / "logs"), purge_step=step) if main else None
    bar = tqdm(total=s.steps, initial=step, desc="training", unit="step", disable=not (progress and main))
    sums: dict[str, torch.Tensor] = {}
    summed, scores = 0, {}
    task.train()
    progress_made = _progress(config, step, elapsed_s)
    done = progress_made >= 1.0
    while not done:
        began = time.perf_counter()
        rate = learning_rate(config.optimizer, step, progress_made)
        rank, world = fabric.global_rank, fabric.world_size
        chosen = raw_task.draw(data, train_indices, s.seed, step, s.batch_size, rank, world)
        generator = step_generator(s.seed, step, fabric.device, fabric.global_rank)
        batch = make_batch(data, chosen, fabric.device, augment, generator)
        for name, optimizer in optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            result = task(name, batch)
            fabric.backward(result["loss"])
            if config.optimizer.clip_norm:
                nn.utils.clip_grad_norm_(raw_task.phase_parameters(name), config.optimizer.clip_norm)
            optimizer.step()
            for part, value in {f"loss_{name}": result["loss"], **result["parts"]}.items():
                sums[part] = sums.get(part, 0) + value.detach()
        update_average(average, network, s.ema_decay, step)
        summed += 1
        step += 1
        samples += s.batch_size * fabric.world_size
        elapsed_s += time.perf_counter() - began
        progress_made = fabric.broadcast(_progress(config, step, elapsed_s))  # one clock: all step at the same rate
        done = progress_made >= 1.0
        bar.update()
        measured = step % s.validate_every == 0 or done
        saved = step % s.checkpoint_every == 0 or measured
        if step % s.log_every == 0 or done:
            means = {name: float(value) / summed for name, value in sums.items()}
            for name, value in means.items():
                _require_finite(math.isfinite(value), step, f"{name} {value}", "a finite loss")
            bar.set_postfix({name: f"{value:.3g}" for name, value in list(means.items())[:4]}, refresh=False)
            if writer is not None:
                for name, value in means.items():
                    writer.add_scalar(f"train/{name}", value, step)
                writer.add_scalar("train/lr", rate, step)
            sums, summed = {}, 0
        if saved:  # on every rank, whose weights are the same: what has diverged is neither measured nor kept
            whole = all(bool(torch.isfinite(value).all()) for value in raw_task.state_dict().values())
            _require_finite(whole, step, "a weight that is not", "finite weights")
        if measured and main:
            scores = raw_task.measure(average, data, val_indices, fabric.device)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
            line = f"step {step} ({elapsed_s / 60:.1f} min): {shown}"
            tqdm.write(line, file=sys.stderr) if progress else log.info(line)
            if writer is not None:
                for name, value in scores.items():
                    writer.add_scalar(f"val/{name}", value, step)
                writer.flush()
        if main and saved:
            if measured and scores.get(raw_task.selects, math.inf) < best:
                best = scores[raw_task.selects]
                save_checkpoint(best_path, snapshot())
            save_checkpoint(last_path, snapshot())
    if main and not scores:  # the run had been finished before
        scores = raw_task.measure(average, data, val_indices, fabric.device)
    bar.close()
    if writer is not None:
        writer.close()
    return FitResult(step, last_path, best_path if best_path.exists() else last_path, scores)


def _require_finite(finite: bool, step: int, got: str, rule: str) -> None:
    if not finite:
        fix = "Lower optimizer.lr in a new --out; a checkpoint that is there is from before."
        raise ConfigError.of(f"step {step}", got, rule, fix)


def _progress(config: TrainConfig, step: int, elapsed_s: float) -> float:
    """Fraction of the run that is done: of its steps, or of its budget of time if that is further."""
    by_time = elapsed_s / (60 * config.loop.max_minutes) if config.loop.max_minutes else 0.0
    return max(step / config.loop.steps, by_time)


def _require_same_run(state: dict[str, Any], config: TrainConfig, about_data: dict[str, Any], path: Path) -> None:
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


def _require_same_samples(state: dict[str, Any], batch_size: int, processes: int, path: Path) -> None:
    # What a step draws goes by how many samples all steps before it drew.
    if state["samples"] != state["step"] * batch_size * processes:
        got = f"{processes} processes of {batch_size} samples a step"
        rule = f"{state['samples'] / state['step']:g} samples a step in all, as the run has"
        raise ConfigError.of(f"{path}: loop.devices", got, rule, "Resume on as many devices as before.")


def _require_same_start(old: dict[str, Any] | None, start: Start, path: Path) -> None:
    if old is None or old["sha256"] != start.about["sha256"]:
        got = f"a run that began with {'nothing' if old is None else old['sha256'][:12] + '...'}"
        rule = f"{start.about['sha256'][:12]}..., the start that was given"
        raise ConfigError.of(str(path), got, rule, "Leave --start out, or use a new --out.")


def _differences(old: Any, new: Any, where: str) -> list[tuple[str, str, str]]:
    """Return what differs, as (setting, new value, old value)."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(set(old) | set(new)):
            found += _differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
        return found
    return [] if old == new else [(where, str(new), str(old))]
