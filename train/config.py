# SPDX-License-Identifier: Apache-2.0
"""The settings of a training run; these dataclasses are the only schema and hold the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from facedepth_edge.errors import ConfigError
from facedepth_edge.spec import DEPTH_ALONG
from train.config_reader import dataclass_from_mapping, nearest_names
from train.data.batches import AugmentConfig
from train.data.reader_config import ReaderConfig
from train.networks import NETWORKS
from train.tasks import TASKS

OPTIMIZERS = ("adamw", "muon", "adam")
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class Choice:
    """A network or a task by name, with the settings of that one.

    In YAML: a mapping with `name` and the settings beside it. `options` is an instance of the chosen class's `Config`.
    """

    name: str
    options: Any

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any], where: str) -> Choice:
        """Read `{name: ..., setting: ...}`; the part after the last dot of `where` is network or task.

        Raises:
            ConfigError: An unknown name or setting.
        """
        table = TABLES[where.rsplit(".", 1)[-1]]
        settings = dict(data)
        name = settings.pop("name", None)
        if name not in table:
            rule = f"name: one of {', '.join(sorted(table))}"
            raise ConfigError.of(where, f"name {name!r}", rule, nearest_names(str(name), table))
        return cls(name, dataclass_from_mapping(table[name].Config, settings, where))


TABLES: dict[str, Mapping[str, Any]] = {"network": NETWORKS, "task": TASKS}


@dataclass(frozen=True)
class DataConfig:
    """How the data set is read.

    Args:
        cache_dir: Where packed sets lie; None: in the set's own folder.
        processes: Processes that decode images when a set is packed.
        validation_frames: How many frames of the validation split are measured, spread evenly over it.
        reader: How raw Pandora and Biwi are read.
        depth_along: Along what the network's depth is: the optical "axis", as in the paper, or the "ray" to the head,
            see train/data/ray_depth.py.
        faces_only: Leave out the frames whose box shows no head, as the paper leaves out badly cropped ones.
        even_yaw: How often a frame may come in an epoch, so that turned heads are seen as often as frontal ones, see
            train/data/even_yaw.py; 1: every frame once.
    """

    cache_dir: str | None = None
    processes: int = 2
    validation_frames: int = 512
    reader: ReaderConfig = field(default_factory=ReaderConfig)
    faces_only: bool = False
    depth_along: str = "axis"
    even_yaw: int = 1

    def __post_init__(self) -> None:
        along = f"one of {', '.join(DEPTH_ALONG)}"
        _require(self.depth_along in DEPTH_ALONG, "data.depth_along", self.depth_along, along)
        _require(1 <= self.even_yaw <= 10, "data.even_yaw", self.even_yaw, "1 to 10")
        _require(self.processes >= 1, "data.processes", self.processes, ">= 1")
        _require(self.validation_frames >= 1, "data.validation_frames", self.validation_frames, ">= 1")


@dataclass(frozen=True)
class OptimizerConfig:
    """How the weights are stepped; each phase of a task has an optimizer of its own with these settings.

    Args:
        name: adamw; muon, which is AdamW with the convolutions stepped by Muon; or adam as in the paper.
        lr: Learning rate at the end of the warm-up.
        muon_lr_factor: Muon's learning rate, as a multiple of lr.
        betas: Decays of Adam's averages.
        weight_decay: Decoupled, on weights with two or more dimensions; 0 for adam.
        schedule: cosine, down to `final_lr` of lr at the end, or constant.
        final_lr: Fraction of lr.
        warmup_steps: Steps in which the learning rate rises linearly.
        clip_norm: Largest norm of a phase's gradient; 0 leaves it unclipped.
    """

    name: str = "adamw"
    lr: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.02
    muon_lr_factor: float = 2.5
    schedule: str = "cosine"
    final_lr: float = 0.005
    warmup_steps: int = 300
    clip_norm: float = 10.0

    def __post_init__(self) -> None:
        _require(self.name in OPTIMIZERS, "optimizer.name", self.name, f"one of {', '.join(OPTIMIZERS)}")
        _require(self.schedule in SCHEDULES, "optimizer.schedule", self.schedule, f"one of {', '.join(SCHEDULES)}")
        _require(0 < self.lr <= 1, "optimizer.lr", self.lr, "above 0, up to 1")
        _require(all(0 <= beta < 1 for beta in self.betas), "optimizer.betas", self.betas, "from 0 to below 1")
        _require(0 <= self.weight_decay < 1, "optimizer.weight_decay", self.weight_decay, "from 0 to below 1")
        _require(
            not isinstance(self.muon_lr_factor, bool) and 0 < self.muon_lr_factor <= 100,
            "optimizer.muon_lr_factor",
            self.muon_lr_factor,
            "above 0, up to 100",
        )
        decayed_adam = self.name == "adam" and self.weight_decay > 0
        _require(not decayed_adam, "optimizer.weight_decay", self.weight_decay, "0 with adam")
        _require(0 <= self.final_lr <= 1, "optimizer.final_lr", self.final_lr, "0 to 1")
        _require(self.warmup_steps >= 0, "optimizer.warmup_steps", self.warmup_steps, ">= 0")
        _require(self.clip_norm >= 0, "optimizer.clip_norm", self.clip_norm, ">= 0")


@dataclass(frozen=True)
class LoopConfig:
    """How long and on what a run trains, and how often it looks at itself.

    Args:
        steps: Steps of the whole run; the schedule ends there.
        max_minutes: Budget of time for training steps, over all resumptions; validation and checkpoints are not in it;
            the schedule ends at whichever of the two comes first.
            0: none. With a budget the learning rate depends on the machine's speed, so runs do not repeat bit by bit.
        batch_size: Samples a step and device.
        seed: Of weights, data order and augmentation.
        ema_decay: Of the averaged weights, which are what is measured and exported; 0: the last weights.
        validate_every: Steps between measurements on the validation split; also at the end.
        checkpoint_every: Steps between checkpoints; also at the end.
        log_every: Steps between lines in the log.
        accelerator: As Lightning Fabric names them; auto takes a GPU where there is one.
        devices: How many, or auto.
        strategy: As Lightning Fabric names them.
        precision: auto (bf16-mixed where the machine computes it in hardware, else 32-true), 32-true, bf16-mixed.
        threads: Threads of a CPU process; 0 leaves PyTorch's choice.
        channels_last: Memory format of the networks.
    """

    steps: int = 20_000
    max_minutes: float = 0.0
    batch_size: int = 64
    seed: int = 1
    ema_decay: float = 0.999
    validate_every: int = 500
    checkpoint_every: int = 250
    log_every: int = 20
    accelerator: str = "auto"
    devices: str = "auto"
    strategy: str = "auto"
    precision: str = "auto"
    threads: int = 0
    channels_last: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "validate_every", "checkpoint_every", "log_every"):
            _require(getattr(self, name) >= 1, f"loop.{name}", getattr(self, name), ">= 1")
        _require(self.max_minutes >= 0, "loop.max_minutes", self.max_minutes, ">= 0")
        _require(0 <= self.seed < 2**31, "loop.seed", self.seed, "from 0 to below 2^31")
        _require(0 <= self.ema_decay < 1, "loop.ema_decay", self.ema_decay, "from 0 to below 1")
        _require(self.threads >= 0, "loop.threads", self.threads, ">= 0")
        precisions = ("auto", "32-true", "bf16-mixed")
        _require(self.precision in precisions, "loop.precision", self.precision, f"one of {', '.join(precisions)}")


RESUMABLE = (
    "max_minutes",
    "validate_every",
    "checkpoint_every",
    "log_every",
    "accelerator",
    "devices",
    "strategy",
    "threads",
)
"""Settings of LoopConfig that may differ when a run is resumed: they change no sample, no schedule but the budget's."""


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run."""

    network: Choice
    task: Choice
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)


def _require(ok: bool, where: str, got: object, rule: str) -> None:
    if not ok:
        raise ConfigError.of(where, got, rule, "Correct it in the config or by --set.")
