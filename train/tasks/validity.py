# SPDX-License-Identifier: Apache-2.0
"""Trains the validity of a trained `edge` alone: its depth and mask stay as they are, bit by bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from facedepth_edge.errors import ConfigError
from train import losses
from train.data.batches import Batch
from train.data.packed import PackedSet
from train.networks.edge import Edge
from train.tasks.base import Task
from train.validation import batches_of


@dataclass(frozen=True)
class ValidityTaskConfig:
    """No settings of its own: the loss is `validity_bce` alone."""


class ValidityTask(Task):
    """Learn when to trust the results of a network whose depth is already trained; begin with it (`--start`).

    The layers of `Edge.validity_layers` are stepped. All others stay in inference mode, so that their running means
    stay too.
    """

    Config = ValidityTaskConfig
    selects = "validity_bce"
    scores = ("validity_bce", "validity_right")
    needs_start = True

    def __init__(self, network: nn.Module, config: ValidityTaskConfig) -> None:
        super().__init__(network)
        if not isinstance(network, Edge):
            raise ConfigError.of("task.name validity", type(network).__name__, "an Edge", "Correct network.name.")
        network.requires_grad_(False)
        for layer in network.validity_layers():
            layer.requires_grad_(True)

    def train(self, mode: bool = True) -> ValidityTask:
        """Set the mode of the layers that learn; all others stay in inference mode."""
        super().train(False)
        self.training = mode
        for layer in self.network.validity_layers():
            layer.train(mode)
        return self

    def phase_parameters(self, phase: str) -> list[nn.Parameter]:
        """Return the parameters that a phase's optimizer steps."""
        return [parameter for layer in self.network.validity_layers() for parameter in layer.parameters()]

    def forward(self, phase: str, batch: Batch) -> dict[str, Any]:
        """Compute the loss.

        Args:
            phase: One of `phases`.
            batch: A batch.

        Returns:
            `loss`; `parts` is empty.
        """
        validity = losses.validity_bce(self.network(batch.face)["validity"], batch.validity)
        return {"loss": validity, "parts": {}}

    @torch.no_grad()
    def measure(
        self, network: nn.Module, data: PackedSet, indices: np.ndarray, device: torch.device | str
    ) -> dict[str, float]:
        """Measure a network's validity, without augmentation; see `Task.measure`."""
        network.eval()
        entropy, right = 0.0, 0
        for _, batch in batches_of(data, indices, device):
            logit = network(batch.face)["validity"]
            entropy += float(losses.validity_bce(logit, batch.validity)) * len(logit)
            right += int(((logit >= 0) == (batch.validity >= 0.5)).sum())
        return {"validity_bce": entropy / len(indices), "validity_right": right / len(indices)}
