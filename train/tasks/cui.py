# SPDX-License-Identifier: Apache-2.0
"""Trains Cui et al.'s depth network, the paper's competitor [5], with its identity loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import nn
from torch.nn import functional as F

from train import losses
from train.data.batches import Batch
from train.networks import IdentityConfig, IdentityNetwork
from train.tasks.base import Task, require_names, require_weights


@dataclass(frozen=True)
class CuiTaskConfig:
    """Settings of [5]'s training.

    Args:
        identity: Weight of the identity loss beside the mean squared error of depth. Ours: [5]'s is not known to us.
        classifier: Shape of the CNN that names the person.
    """

    identity: float = 0.01
    classifier: IdentityConfig = field(default_factory=IdentityConfig)

    def __post_init__(self) -> None:
        require_weights("task", self)


class CuiTask(Task):
    """Learn depth with a squared error, and by naming the person from the estimated depth.

    Source: [5]: both networks are trained together; the CNN is not used afterwards.
    """

    Config = CuiTaskConfig
    names_people: ClassVar[tuple[str, ...]] = ("classifier",)

    def __init__(self, network: nn.Module, config: CuiTaskConfig) -> None:
        super().__init__(network)
        self.classifier = IdentityNetwork(config.classifier)
        self.config = config

    @property
    def people(self) -> int:
        """How many names the classifier has."""
        return self.config.classifier.people

    def phase_parameters(self, phase: str) -> list[nn.Parameter]:
        """Return the parameters of both networks."""
        return [*self.network.parameters(), *self.classifier.parameters()]

    def forward(self, phase: str, batch: Batch) -> dict[str, Any]:
        """Compute the mean squared error over measured pixels plus the weighted identity loss.

        Raises:
            ConfigError: A person's number is above the number of classes.
        """
        require_names("task.classifier.people", batch.subject, self.config.classifier.people)
        depth = self.network(batch.face)["depth"]
        mse = losses.mean_squared(depth, batch.depth, batch.valid)
        identity = F.cross_entropy(self.classifier(depth), batch.subject - 1)
        return {"loss": mse + self.config.identity * identity, "parts": {"mse": mse, "identity": identity}}
