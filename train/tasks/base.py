# SPDX-License-Identifier: Apache-2.0
"""What a training task is: it owns its networks and turns a batch into losses; the loop knows nothing else of it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from facedepth_edge.errors import ConfigError
from train.data.batches import Batch, sample_order
from train.data.packed import PackedSet
from train.validation import measure_network


def require_weights(where: str, config: object) -> None:
    """Refuse a config of which a float field is negative or not finite.

    Raises:
        ConfigError: Such a field; the text names it.
    """
    for entry in fields(config):  # type: ignore[arg-type]
        value = getattr(config, entry.name)
        if isinstance(value, float) and not 0.0 <= value < float("inf"):
            raise ConfigError.of(f"{where}.{entry.name}", value, "a finite weight >= 0", "Give 0 to leave it out.")


def require_names(where: str, subjects: Tensor, people: int) -> None:
    """Refuse people that a classifier has no name for.

    Args:
        where: The setting with the number of names.
        subjects: (B,) int64, numbers of people, 1 and up.
        people: How many names there are.

    Raises:
        ConfigError: A number is above `people`.
    """
    highest = int(subjects.max())
    if highest > people:
        raise ConfigError.of(where, people, f"at least {highest}, the highest number of a person", "Raise it.")


class Task(nn.Module):
    """What every task has, and the loop uses.

    Args:
        network: What is averaged, measured and exported.
    """

    phases: ClassVar[tuple[str, ...]] = ("network",)
    """Names of the phases, in the order in which a step runs them; each has an optimizer of its own."""
    names_people: ClassVar[tuple[str, ...]] = ()
    """The parts of the task that know the training people."""
    selects: ClassVar[str] = "offset_free_mm"
    """The score of `measure` by which the best checkpoint is chosen: the one where it is smallest."""
    scores: ClassVar[tuple[str, ...]] = ("offset_free_mm", "absolute_mm", "correlation")
    """All scores that `measure` gives."""
    reads_pictures: ClassVar[bool] = True
    """False where depth alone serves."""
    draws_people: ClassVar[bool] = False
    """Whether `draw` draws people and then frames of each, so that no frame may come twice among `indices`."""
    needs_start: ClassVar[bool] = False
    """Whether the task only goes on from a trained network (`--start`)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @property
    def people(self) -> int:
        """How many people the parts of `names_people` have names for."""
        return 0

    def phase_parameters(self, phase: str) -> list[nn.Parameter]:
        """Return the parameters that a phase's optimizer steps."""
        return list(self.network.parameters())

    def draw(
        self, data: PackedSet, indices: np.ndarray, seed: int, step: int, batch_size: int, rank: int, world: int
    ) -> np.ndarray:
        """Return which frames a step sees: every entry of `indices` once an epoch, in an order drawn anew for each.

        Args:
            data: The packed set.
            indices: (N,) int64, the frames to draw from.
            seed: The training's seed.
            step: Number of the step, 0 and up.
            batch_size: Samples a step and process.
            rank: This process.
            world: Number of processes.

        Returns:
            (batch_size,) int64 positions in the set.
        """
        return indices[sample_order(len(indices), seed, step, batch_size, rank, world)]

    def forward(self, phase: str, batch: Batch) -> dict[str, Any]:
        """Compute a phase's loss.

        Args:
            phase: One of `phases`.
            batch: A batch of the frames that `draw` chose, in that order.

        Returns:
            `loss`, a scalar, and `parts`, scalars by name for the log.
        """
        raise NotImplementedError

    def check_validation(self, data: PackedSet, indices: np.ndarray) -> None:
        """Refuse validation frames that `measure` could not use; called before the first step.

        Raises:
            InputError: They do not suffice.
        """

    def measure(
        self, network: nn.Module, data: PackedSet, indices: np.ndarray, device: torch.device | str
    ) -> dict[str, float]:
        """Measure a network, without augmentation.

        Args:
            network: The averaged network.
            data: The packed set.
            indices: (n,) int64, validation frames.
            device: Where the network is.

        Returns:
            Scores by name; `selects` is among them where it can be measured.
        """
        return measure_network(network, data, indices, device).summary()


class AdversarialTask(Task):
    """A generator that is trained against a discriminator; the discriminator steps first, on the same generated maps.

    The generator runs once a step: its maps are made in the discriminator's phase, which sees them detached, and kept
    for its own phase, whose gradient goes back through them. The generator's weights do not change in between.
    """

    phases: ClassVar[tuple[str, ...]] = ("discriminator", "generator")

    def __init__(self, network: nn.Module, discriminator: nn.Module) -> None:
        super().__init__(network)
        self.discriminator = discriminator
        self._kept: tuple[Tensor, Tensor] | None = None

    def phase_parameters(self, phase: str) -> list[nn.Parameter]:
        """Return the parameters that a phase's optimizer steps."""
        return list((self.network if phase == "generator" else self.discriminator).parameters())

    def generated(self, phase: str, batch: Batch) -> Tensor:
        """Return the generator's maps of a batch, (B, 1, H, W), detached in the discriminator's phase.

        The discriminator's weights take a gradient in its own phase alone.
        """
        self.discriminator.requires_grad_(phase == "discriminator")
        if phase == "generator" and self._kept is not None and self._kept[0] is batch.face:
            depth = self._kept[1]
            self._kept = None
            return depth
        depth = self.network(batch.face)["depth"]
        if phase == "generator":
            return depth
        self._kept = (batch.face, depth)
        return depth.detach()
