# SPDX-License-Identifier: Apache-2.0
"""Trains the face verification network on pairs of measured depth maps.

Ours: a step draws a few frames of each of a few people and compares every frame with every other, same and different
people weighing half each: the expectation is that of random pairs, half of the same person, at a fraction of the cost,
because the convolutions see every frame once and not once a pair. Beside that, ours too, the vectors can be made to
name the training person, or to tell the shape of the head where the renderer knows it, which says far more of each
frame than who it is; the layers that do so are not used afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facedepth_edge.errors import ConfigError, InputError
from train.data.batches import Batch
from train.data.packed import PackedSet
from train.data.shapes import SHAPE_VALUES
from train.networks import Siamese
from train.tasks.base import Task, require_names, require_weights
from train.validation import batches_of
from train.verification import random_pairs, verification_input

VALIDATION_SEED = 20180905


@dataclass(frozen=True)
class VerificationTaskConfig:
    """Settings of the verification training.

    Args:
        frames_per_person: How many frames of each person a step compares; divides loop.batch_size.
        validation_pairs: Random pairs of validation frames that are measured, half of them of the same person.
        identity: Weight of naming the training person by the vector; 0: pairs alone, as in the paper.
        people: How many names; person n is name n - 1.
        shape: Weight of regressing the shape from the vector, per mm^2 of squared error summed over all values of the
            shape (on average the mean squared error of the head's vertices); people whose shape is not known take no
            part.
        across_sequences: Compare frames of different sequences of a person where there are enough: within one sequence
            hair and clothes are the same, and a network may learn those.
    """

    frames_per_person: int = 4
    validation_pairs: int = 4000
    identity: float = 0.0
    people: int = 256
    shape: float = 0.0
    across_sequences: bool = False

    def __post_init__(self) -> None:
        require_weights("task", self)
        if self.frames_per_person < 2:
            raise ConfigError.of("task.frames_per_person", self.frames_per_person, ">= 2", "Correct it.")
        if self.validation_pairs < 1:
            raise ConfigError.of("task.validation_pairs", self.validation_pairs, ">= 1", "Correct it.")
        if self.people < 2:
            raise ConfigError.of("task.people", self.people, ">= 2", "Correct it.")


def embeddings_of(network: nn.Module, data: PackedSet, indices: np.ndarray, device: torch.device | str) -> Tensor:
    """Return the vectors of measured depth maps, without augmentation.

    Args:
        network: A `Siamese` in inference mode.
        data: The packed set.
        indices: (n,) int64, which frames.
        device: Where the network is.

    Returns:
        (n, 256) float32, in the order of `indices`.
    """
    parts = []
    for _, batch in batches_of(data, indices, device, pictures=False):
        parts.append(network.embed(verification_input(batch.depth, batch.valid)))  # type: ignore[operator]
    return torch.cat(parts)


def _of_different(frames: np.ndarray, sequence: np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` frames of the order in which each sequence's first frame comes before all others."""
    first = np.zeros(len(frames), bool)
    first[np.unique(sequence[frames], return_index=True)[1]] = True
    return np.concatenate([frames[first], frames[~first]])[:count]


class VerificationTask(Task):
    """Learn to tell people apart by measured depth: binary cross entropy over pairs, half of the same person.

    Source: section 4.3; how pairs are made of a batch is ours, see the file's text.
    """

    Config = VerificationTaskConfig
    selects: ClassVar[str] = "wrong"
    scores: ClassVar[tuple[str, ...]] = ("accuracy", "wrong", "bce")
    reads_pictures: ClassVar[bool] = False
    draws_people: ClassVar[bool] = True
    names_people: ClassVar[tuple[str, ...]] = ("names",)

    def __init__(self, network: nn.Module, config: VerificationTaskConfig) -> None:
        super().__init__(network)
        if not isinstance(network, Siamese):
            rule = "the network siamese"
            raise ConfigError.of("task.name verification", type(network).__name__, rule, "Correct network.name.")
        self.config = config
        if config.identity:
            self.names = nn.Linear(network.config.widths[-1], config.people)
        if config.shape:
            self.shape = nn.Linear(network.config.widths[-1], SHAPE_VALUES)

    @property
    def people(self) -> int:
        """How many names the layer that names has."""
        return self.config.people

    def phase_parameters(self, phase: str) -> list[nn.Parameter]:
        """Return the network's parameters, and those of the layers that name and tell the shape."""
        return list(self.parameters())

    def draw(
        self, data: PackedSet, indices: np.ndarray, seed: int, step: int, batch_size: int, rank: int, world: int
    ) -> np.ndarray:
        """Return frames of batch_size / frames_per_person random people, (batch_size,) int64 positions in the set.

        Raises:
            ConfigError: The batch size does not fit, there are too few people or frames, or no shapes for task.shape.
        """
        if self.config.shape and data.crops.shapes is None:
            fix = "Render a set anew by train.synth and add it to --data, or leave task.shape out."
            raise ConfigError.of("task.shape", "people without a known shape", "shapes.npy in a set", fix)
        each = self.config.frames_per_person
        subjects = data.meta["subject"][indices]
        people = np.unique(subjects)
        count = batch_size // each
        if batch_size % each or not 2 <= count <= len(people):
            rule = f"a multiple of {each} with 2 to {len(people)} people"
            raise ConfigError.of("loop.batch_size", batch_size, rule, "Correct it, or task.frames_per_person.")
        rng = np.random.default_rng((seed, 3, step, rank))
        chosen = []
        for person in rng.choice(people, count, replace=False):
            frames = indices[subjects == person]
            if len(frames) < each:
                rule = f"at least {each} frames a person"
                raise ConfigError.of(f"subject {person}", f"{len(frames)} frames", rule, "Lower frames_per_person.")
            if self.config.across_sequences:
                chosen.append(_of_different(rng.permutation(frames), data.meta["sequence"], each))
            else:
                chosen.append(rng.choice(frames, each, replace=False))
        return np.concatenate(chosen)

    def forward(self, phase: str, batch: Batch) -> dict[str, Any]:
        """Compute the binary cross entropy of every ordered pair of the batch, and its accuracy for the log.

        Raises:
            ConfigError: A person's number is above the number of names.
        """
        network: Any = self.network
        vectors = network.embed(verification_input(batch.depth, batch.valid))  # (B, 256)
        count = len(vectors)
        first, second = torch.meshgrid(*2 * [torch.arange(count, device=vectors.device)], indexing="ij")
        apart = first != second
        first, second = first[apart], second[apart]  # (B (B - 1),)
        same = batch.subject[first] == batch.subject[second]
        logits = network.compare(vectors[first], vectors[second])
        costs = F.binary_cross_entropy_with_logits(logits, same.float(), reduction="none")
        right = ((logits.detach() > 0) == same).float()
        loss = (costs[same].mean() + costs[~same].mean()) / 2
        parts = {"accuracy": (right[same].mean() + right[~same].mean()) / 2}
        if self.config.identity:
            require_names("task.people", batch.subject, self.config.people)
            parts["identity"] = F.cross_entropy(self.names(vectors), batch.subject - 1)
            loss = loss + self.config.identity * parts["identity"]
        if self.config.shape:
            known = batch.shape.isfinite().all(dim=1, keepdim=True)
            error = (self.shape(vectors) - batch.shape.nan_to_num()) * known
            missed = error.square().sum() / known.sum().clamp(min=1)
            parts["shape_mm"] = missed.detach().sqrt()
            loss = loss + self.config.shape * missed
        return {"loss": loss, "parts": parts}

    def check_validation(self, data: PackedSet, indices: np.ndarray) -> None:
        """Refuse validation frames of which no pairs can be made.

        Raises:
            InputError: There are not two people with two frames each.
        """
        try:
            random_pairs(data.meta["subject"][indices], 1, np.random.default_rng(VALIDATION_SEED))
        except InputError as error:
            raise InputError(f"{data.crops.root}, split val: {error}") from error

    @torch.no_grad()
    def measure(
        self, network: nn.Module, data: PackedSet, indices: np.ndarray, device: torch.device | str
    ) -> dict[str, float]:
        """Return `accuracy`, `wrong` and `bce` over random pairs of the frames, the same at every call.

        `wrong` is 1 - accuracy: tables 1 and 2 count pairs, and a loss may grow while more of them are right.
        """
        was_training = network.training
        network.eval()
        rng = np.random.default_rng(VALIDATION_SEED)
        subjects = data.meta["subject"][indices]
        first, second = random_pairs(subjects, self.config.validation_pairs, rng)
        vectors = embeddings_of(network, data, indices, device)
        logits = network.compare(vectors[first], vectors[second])  # type: ignore[operator]
        same = torch.from_numpy(subjects[first] == subjects[second]).to(logits.device)
        network.train(was_training)
        bce = F.binary_cross_entropy_with_logits(logits, same.float())
        accuracy = float(((logits > 0) == same).float().mean())
        wrong = 1 - accuracy if bool(torch.isfinite(logits).all()) else math.nan
        return {"accuracy": accuracy, "wrong": wrong, "bce": float(bce)}
