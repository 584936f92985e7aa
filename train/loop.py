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
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facedepth_edge.errors import ConfigError
from facedepth_edge.spec import DepthScale, Preprocessing
from train.build import build_task
from train.checkpoint import current_commit, load_checkpoint, save_checkpoint
from train.config import OptimizerConfig, TrainConfig
from train.config_reader import plain_from_dataclass
from train.data.batches import Augmentation, make_batch, step_generator
from train.data.packed import PackedSet
from train.fabric import open_fabric
from train.frames import Frames, choose_frames
from train.optimizers import build_optimizer
from train.refusals import (
    require_same_run,
    require_same_samples,
    require_same_start,
    require_start,
    require_usable_data,
)
from train.run_log import RunLog
from train.start import Start, begin_with
from train.tasks import TASKS, Task

LAST = "last.pt"
BEST = "best.pt"

log = logging.getLogger("train")


@dataclass(frozen=True)
class FitResult:
    """The result of a run.

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
        The run's result.

    Raises:
        InputError: The task needs pictures and the set has none.
        ConfigError: The task needs a start and has none; `out` holds another run, the config, the data or the start of
            a resumed run differ, the start does not fit, or the loss is not finite.
    """
    s = config.loop
    data = data.with_depth_along(config.data.depth_along)
    require_usable_data(config, data)
    frames = choose_frames(config, data)
    begun = _read_begun(out, resume)
    if begun is None:
        require_start(config, start)
        run = Run(config, data, frames, out, start)
    else:
        require_same_run(begun, config, frames.about, out / LAST)
        require_same_start(begun, start, out / LAST)
        run = Run(config, data, frames, out)  # it has weights of its own
        run.restore(begun)

    run_log = RunLog(out / "logs" if run.is_main else None, run.step, s.steps, progress)
    scores: dict[str, float] = {}
    while not run.is_done:
        rate = learning_rate(config.optimizer, run.step, run.progress)
        run_log.add_step(run.train_step(rate))
        measured = run.step % s.validate_every == 0 or run.is_done
        saved = run.step % s.checkpoint_every == 0 or measured
        if run.step % s.log_every == 0 or run.is_done:
            means = run_log.mean_losses()
            _require_finite_losses(means, run.step)
            run_log.write_losses(run.step, means, rate)
        if saved:  # on every rank, whose weights are the same: what has diverged is neither measured nor kept
            run.require_finite_weights()
        if measured and run.is_main:
            scores = run.measure()
            run_log.write_scores(run.step, scores, run.elapsed_s)
            run.save_if_best(scores)
        if saved and run.is_main:
            run.save()
    if run.is_main and not scores:  # the run had been finished before
        scores = run.measure()
    run_log.close()
    return FitResult(run.step, run.last, run.best if run.best.exists() else run.last, scores)


class Run:
    """A training under way: its networks and optimizers, how far it is, and its checkpoints.

    `task` is what is trained and kept, `wrapped_task` the same task wrapped by Fabric; `average` has the averaged
    weights of the task's network. `step`, `samples` and `elapsed_s` count what is done, `progress` is the fraction of
    it, and `best_score` is the smallest that was measured.

    Args:
        config: All settings.
        data: The packed set, with depth along what the config says.
        frames: Which of its frames are seen.
        out: Folder for the checkpoints.
        start: The training whose weights this one begins with.
    """

    def __init__(
        self, config: TrainConfig, data: PackedSet, frames: Frames, out: Path, start: Start | None = None
    ) -> None:
        self.config, self.data, self.frames = config, data, frames
        self.last, self.best = out / LAST, out / BEST
        self.commit = current_commit()
        if config.loop.threads:
            torch.set_num_threads(config.loop.threads)
        self.fabric = open_fabric(config.loop, several_phases=len(TASKS[config.task.name].phases) > 1)
        torch.manual_seed(config.loop.seed)
        self.task = self._build_task(start)
        self.began_with = None if start is None else start.about
        self.average = copy.deepcopy(self.task.network).eval().requires_grad_(False).to(self.fabric.device)
        o = config.optimizer
        optimizers = [
            build_optimizer(o.name, self.task.phase_parameters(name), o.lr, o.betas, o.weight_decay, o.muon_lr_factor)
            for name in self.task.phases
        ]
        self.wrapped_task, *wrapped = self.fabric.setup(self.task, *optimizers)
        self.optimizers = dict(zip(self.task.phases, wrapped, strict=True))
        self.wrapped_task.train()
        self.step, self.samples, self.elapsed_s, self.best_score = 0, 0, 0.0, math.inf
        self.progress = 0.0

    def _build_task(self, start: Start | None) -> Task:
        task = build_task(self.config)
        task.check_validation(self.data, self.frames.val)
        if start is not None:
            factor = begin_with(start, task, self.config, self.data.key)
            log.info("%s: begins with step %d of it, %d times as wide", start.path, start.about["step"], factor)
        if self.config.loop.channels_last:
            task = task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return task

    @property
    def is_main(self) -> bool:
        """Whether this process measures, logs and saves."""
        return self.fabric.is_global_zero

    @property
    def is_done(self) -> bool:
        """Whether all steps are done, or the budget of time is spent."""
        return self.progress >= 1.0

    def train_step(self, rate: float) -> dict[str, Tensor]:
        """Step each phase once, and the averaged weights.

        Args:
            rate: Learning rate.

        Returns:
            Losses and their parts by name, scalars on the training's device.
        """
        began = time.perf_counter()
        s, fabric = self.config.loop, self.fabric
        rank, world = fabric.global_rank, fabric.world_size
        chosen = self.task.draw(self.data, self.frames.train, s.seed, self.step, s.batch_size, rank, world)
        augmentation = None
        if self.config.augment.enabled:
            augmentation = Augmentation(self.config.augment, step_generator(s.seed, self.step, fabric.device, rank))
        batch = make_batch(self.data, chosen, fabric.device, augmentation)
        losses: dict[str, Tensor] = {}
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            result = self.wrapped_task(name, batch)
            fabric.backward(result["loss"])
            if self.config.optimizer.clip_norm:
                nn.utils.clip_grad_norm_(self.task.phase_parameters(name), self.config.optimizer.clip_norm)
            optimizer.step()
            for part, value in {f"loss_{name}": result["loss"], **result["parts"]}.items():
                losses[part] = value.detach()
        update_average(self.average, self.task.network, s.ema_decay, self.step)
        self.step += 1
        self.samples += s.batch_size * world
        self.elapsed_s += time.perf_counter() - began
        self.progress = fabric.broadcast(_progress(self.config, self.step, self.elapsed_s))  # one clock: one rate
        return losses

    def require_finite_weights(self) -> None:
        """Refuse to go on with a weight that is not finite.

        Raises:
            ConfigError: There is one.
        """
        all_finite = all(bool(torch.isfinite(value).all()) for value in self.task.state_dict().values())
        _require_finite(all_finite, self.step, "a weight that is not", "finite weights")

    def measure(self) -> dict[str, float]:
        """Return the averaged network's scores on the validation frames."""
        return self.task.measure(self.average, self.data, self.frames.val, self.fabric.device)

    def save_if_best(self, scores: dict[str, float]) -> None:
        """Write the best checkpoint if the score that the task selects by is the smallest yet."""
        if scores.get(self.task.selects, math.inf) < self.best_score:
            self.best_score = scores[self.task.selects]
            save_checkpoint(self.best, self.snapshot())

    def save(self) -> None:
        """Write the last checkpoint."""
        save_checkpoint(self.last, self.snapshot())

    def snapshot(self) -> dict[str, Any]:
        """Return all that a checkpoint holds; the tensors are the run's own."""
        return {
            "selects": self.task.selects,
            "step": self.step,
            "samples": self.samples,
            "elapsed_s": self.elapsed_s,
            "config": plain_from_dataclass(self.config),
            "spec": {
                "preprocessing": plain_from_dataclass(Preprocessing()),
                "depth_scale": plain_from_dataclass(DepthScale(along=self.config.data.depth_along)),
                "input_px": self.data.crops.box_px,
            },
            "commit": self.commit,
            "task": self.task.state_dict(),
            "ema": self.average.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "rng": torch.get_rng_state(),
            "best": self.best_score,
            "data": self.frames.about,
            "start": self.began_with,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint of this run.

        Args:
            state: What `snapshot` returned.

        Raises:
            ConfigError: A step had another number of samples, and there are steps to come.
        """
        self.progress = _progress(self.config, state["step"], state["elapsed_s"])
        if not self.is_done:
            require_same_samples(state, self.config.loop.batch_size, self.fabric.world_size, self.last)
        self.began_with = state["start"]
        self.task.load_state_dict(state["task"])
        self.average.load_state_dict(state["ema"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        torch.set_rng_state(state["rng"])
        self.step, self.samples, self.elapsed_s = state["step"], state["samples"], state["elapsed_s"]
        if state["selects"] in (None, self.task.selects):  # another score's best says nothing of this one
            self.best_score = state["best"]


def _read_begun(out: Path, resume: bool) -> dict[str, Any] | None:
    """Read the last checkpoint of the run that `out` holds; None where it holds none."""
    last = out / LAST
    if not last.exists():
        if resume:
            log.warning("%s: no checkpoint yet, starting at step 0", last)
        return None
    if not resume:
        fix = "Add --resume to go on, or give another --out."
        raise ConfigError.of("--out", f"{out}, which holds a run", "a new folder", fix)
    return load_checkpoint(last)


def _progress(config: TrainConfig, step: int, elapsed_s: float) -> float:
    """Fraction of the run that is done: of its steps, or of its budget of time if that is further."""
    by_time = elapsed_s / (60 * config.loop.max_minutes) if config.loop.max_minutes else 0.0
    return max(step / config.loop.steps, by_time)


def _require_finite_losses(means: dict[str, float], step: int) -> None:
    for name, value in means.items():
        _require_finite(math.isfinite(value), step, f"{name} {value}", "a finite loss")


def _require_finite(finite: bool, step: int, got: str, rule: str) -> None:
    if not finite:
        fix = "Lower optimizer.lr in a new --out; a checkpoint that is there is from before."
        raise ConfigError.of(f"step {step}", got, rule, fix)
