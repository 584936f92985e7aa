# SPDX-License-Identifier: Apache-2.0
"""What is trained: a task owns its networks and turns a batch into losses; the loop knows nothing else of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from facedepth_edge.errors import ConfigError
from train import losses
from train.data.batches import Batch
from train.networks import PaperDiscriminator, PaperDiscriminatorConfig


def _require_weights(where: str, config: object) -> None:
    for entry in fields(config):  # type: ignore[arg-type]
        value = getattr(config, entry.name)
        if isinstance(value, float) and not 0.0 <= value < float("inf"):
            raise ConfigError.of(f"{where}.{entry.name}", value, "a finite weight >= 0", "Give 0 to leave it out.")


class Task(nn.Module):
    """What every task has, and the loop uses.

    `network` is what is averaged, measured and exported. `phases` are names, in the order in which a step runs them;
    each has an optimizer of its own.
    """

    phases: ClassVar[tuple[str, ...]] = ("network",)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def phase_parameters(self, phase: str) -> list[nn.Parameter]:
        """Return the parameters that a phase's optimizer steps."""
        return list(self.network.parameters())

    def forward(self, phase: str, batch: Batch) -> dict[str, Any]:
        """Compute a phase's loss.

        Args:
            phase: One of `phases`.
            batch: A batch.

        Returns:
            `loss`, a scalar, and `parts`, scalars by name for the log.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class DepthTaskConfig:
    """Weights of the losses of `edge`.

    Args:
        offset_free: Of `offset_free_mm`.
        absolute: Of `absolute_mm` over the head.
        background: Of `absolute_mm` over measured pixels outside the head.
        gradient: Of `gradient_mm`.
        normal: Of `normal_cosine`.
        mask: Of `mask_bce`.
        dice: Of `mask_dice`.
        validity: Of `validity_bce`.
        gradient_strides: Distances of `gradient_mm`, in pixels.
    """

    offset_free: float = 1.0
    absolute: float = 0.25
    background: float = 0.05
    gradient: float = 1.0
    normal: float = 5.0
    mask: float = 6.0
    dice: float = 2.0
    validity: float = 1.0
    gradient_strides: tuple[int, ...] = (1, 2, 4)

    def __post_init__(self) -> None:
        _require_weights("task", self)
        if not self.gradient_strides or min(self.gradient_strides) < 1:
            rule = "one or more distances, all >= 1"
            raise ConfigError.of("task.gradient_strides", self.gradient_strides, rule, "Use for example [1, 2, 4].")


class DepthTask(Task):
    """Learn depth, head mask and validity from the ground truth."""

    Config = DepthTaskConfig

    def __init__(self, network: nn.Module, config: DepthTaskConfig) -> None:
        super().__init__(network)
        self.config = config

    def forward(self, phase: str, batch: Batch) -> dict[str, Any]:
        """Compute the weighted sum of the losses and its parts; a weight of 0 spares the computation.

        Args:
            phase: One of `phases`.
            batch: A batch.

        Returns:
            `loss`, and `parts` without their weights.
        """
        c, b = self.config, batch
        out = self.network(b.face)
        depth, around = out["depth"], b.valid & ~b.head
        terms = {
            "offset_free": (c.offset_free, lambda: losses.offset_free_mm(depth, b.depth, b.valid, b.head)),
            "absolute": (c.absolute, lambda: losses.absolute_mm(depth, b.depth, b.valid & b.head)),
            "background": (c.background, lambda: losses.absolute_mm(depth, b.depth, around)),
            "gradient": (
                c.gradient,
                lambda: losses.gradient_mm(depth, b.depth, b.valid, b.head, c.gradient_strides),
            ),
            "normal": (c.normal, lambda: losses.normal_cosine(depth, b.depth, b.valid, b.head)),
            "mask": (c.mask, lambda: losses.mask_bce(out["mask"], b.head, b.seen)),
            "dice": (c.dice, lambda: losses.mask_dice(out["mask"], b.head, b.seen)),
            "validity": (c.validity, lambda: losses.validity_bce(out["validity"], b.validity)),
        }
        loss = depth.new_zeros(())
        parts: dict[str, Tensor] = {}
        for name, (weight, term) in terms.items():
            if weight > 0:
                parts[name] = term()
                loss = loss + weight * parts[name]
        return {"loss": loss, "parts": parts}


@dataclass(frozen=True)
class AutoencoderTaskConfig:
    """The paper's autoencoder has no settings: equation (3) alone."""


class AutoencoderTask(Task):
    """Train the generator without the discriminator, by equation (3): the paper's AE."""

    Config = AutoencoderTaskConfig

    def __init__(self, network: nn.Module, config: AutoencoderTaskConfig) -> None:
        super().__init__(network)
        self.config = config

    def forward(self, phase: str, batch: Batch) -> dict[str, Any]:
        """Compute equation (3) over the measured pixels."""
        loss = losses.mse(self.network(batch.face)["depth"], batch.depth, batch.valid)
        return {"loss": loss, "parts": {"mse": loss}}


@dataclass(frozen=True)
class CGanTaskConfig:
    """Settings of the adversarial training.

    Args:
        lambda_mse: lambda of equation (5).
        discriminator: Shape of the discriminator.
    """

    lambda_mse: float = 0.1
    discriminator: PaperDiscriminatorConfig = field(default_factory=PaperDiscriminatorConfig)

    def __post_init__(self) -> None:
        _require_weights("task", self)


class CGanTask(Task):
    """Train the generator against the discriminator: the discriminator steps first, then the generator.

    Source: section 3.1.2, equations (1), (2), (4) and (5). Where depth was not measured, real and generated maps both
    show the far value to the discriminator, so that holes tell it nothing and the generator learns nothing from them.
    """

    Config = CGanTaskConfig
    phases: ClassVar[tuple[str, ...]] = ("discriminator", "generator")

    def __init__(self, network: nn.Module, config: CGanTaskConfig) -> None:
        super().__init__(network)
        self.discriminator = PaperDiscriminator(config.discriminator)
        self.config = config

    def phase_parameters(self, phase: str) -> list[nn.Parameter]:
        """Return the parameters that a phase's optimizer steps."""
        return list((self.network if phase == "generator" else self.discriminator).parameters())

    def forward(self, phase: str, batch: Batch) -> dict[str, Any]:
        """Compute the discriminator's loss (the maximum of equation (1), negated) or equation (5)."""
        far = torch.ones_like(batch.depth)
        self.discriminator.requires_grad_(phase == "discriminator")  # the generator's step needs no gradient of it
        if phase == "discriminator":
            with torch.no_grad():
                generated = self.network(batch.face)["depth"]
            on_real = losses.adversarial_bce(self.discriminator(torch.where(batch.valid, batch.depth, far)), real=True)
            on_fake = losses.adversarial_bce(self.discriminator(torch.where(batch.valid, generated, far)), real=False)
            return {"loss": on_real + on_fake, "parts": {"d_real": on_real, "d_fake": on_fake}}
        generated = self.network(batch.face)["depth"]
        mse = losses.mse(generated, batch.depth, batch.valid)
        fooling = losses.adversarial_bce(self.discriminator(torch.where(batch.valid, generated, far)), real=True)
        loss = losses.generator_objective(mse, fooling, self.config.lambda_mse)
        return {"loss": loss, "parts": {"mse": mse, "g_adversarial": fooling}}


TASKS: dict[str, type[Task]] = {"depth": DepthTask, "cgan": CGanTask, "autoencoder": AutoencoderTask}
