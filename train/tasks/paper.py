# SPDX-License-Identifier: Apache-2.0
"""Trains the paper's generator: alone, as the AE, and against the discriminator, as the cGAN."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from train import losses
from train.data.batches import Batch
from train.networks import PaperDiscriminator, PaperDiscriminatorConfig
from train.tasks.base import AdversarialTask, Task, require_weights


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
        require_weights("task", self)


class CGanTask(AdversarialTask):
    """Train the generator against the discriminator: the discriminator steps first, then the generator.

    Source: section 3.1.2, equations (1), (2), (4) and (5). Where depth was not measured, real and generated maps both
    show the far value to the discriminator, so that holes tell it nothing and the generator learns nothing from them.
    """

    Config = CGanTaskConfig

    def __init__(self, network: nn.Module, config: CGanTaskConfig) -> None:
        super().__init__(network, PaperDiscriminator(config.discriminator))
        self.config = config

    def forward(self, phase: str, batch: Batch) -> dict[str, Any]:
        """Compute the discriminator's loss (the maximum of equation (1), negated) or equation (5)."""
        far = torch.ones_like(batch.depth)
        generated = self.generated(phase, batch)
        if phase == "discriminator":
            on_real = losses.adversarial_bce(self.discriminator(torch.where(batch.valid, batch.depth, far)), real=True)
            on_fake = losses.adversarial_bce(self.discriminator(torch.where(batch.valid, generated, far)), real=False)
            return {"loss": on_real + on_fake, "parts": {"d_real": on_real, "d_fake": on_fake}}
        mse = losses.mse(generated, batch.depth, batch.valid)
        fooling = losses.adversarial_bce(self.discriminator(torch.where(batch.valid, generated, far)), real=True)
        loss = losses.generator_objective(mse, fooling, self.config.lambda_mse)
        return {"loss": loss, "parts": {"mse": mse, "g_adversarial": fooling}}
