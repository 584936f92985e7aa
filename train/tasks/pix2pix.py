# SPDX-License-Identifier: Apache-2.0
"""Trains pix2pix, the paper's competitor [14]."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from train import losses
from train.data.batches import Batch
from train.networks import PatchDiscriminator, PatchDiscriminatorConfig
from train.tasks.base import AdversarialTask, require_weights


@dataclass(frozen=True)
class Pix2PixTaskConfig:
    """Settings of [14]'s training.

    Args:
        l1: Weight of the L1 term; [14] has 100.
        discriminator: Shape of the patch discriminator.
    """

    l1: float = 100.0
    discriminator: PatchDiscriminatorConfig = field(default_factory=PatchDiscriminatorConfig)

    def __post_init__(self) -> None:
        require_weights("task", self)


class Pix2PixTask(AdversarialTask):
    """Train a U-Net against a patch discriminator that is shown the face with the depth.

    Source: [14], section 3.1, equations (3) and (4); section 3.3: the discriminator's loss is halved. Holes: where
    depth was not measured, both maps show the far value to the discriminator, and the L1 term leaves them out.
    """

    Config = Pix2PixTaskConfig

    def __init__(self, network: nn.Module, config: Pix2PixTaskConfig) -> None:
        super().__init__(network, PatchDiscriminator(config.discriminator))
        self.config = config

    def forward(self, phase: str, batch: Batch) -> dict[str, Any]:
        """Compute half the discriminator's binary cross entropy, or the generator's objective."""
        far = torch.ones_like(batch.depth)
        generated = self.generated(phase, batch)
        if phase == "discriminator":
            real = self.discriminator(batch.face, torch.where(batch.valid, batch.depth, far))
            fake = self.discriminator(batch.face, torch.where(batch.valid, generated, far))
            on_real, on_fake = losses.adversarial_bce(real, real=True), losses.adversarial_bce(fake, real=False)
            return {"loss": (on_real + on_fake) / 2, "parts": {"d_real": on_real, "d_fake": on_fake}}
        l1 = losses.l1(generated, batch.depth, batch.valid)
        judged = self.discriminator(batch.face, torch.where(batch.valid, generated, far))
        fooling = losses.adversarial_bce(judged, real=True)
        return {"loss": fooling + self.config.l1 * l1, "parts": {"l1": l1, "g_adversarial": fooling}}
