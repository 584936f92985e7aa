# SPDX-License-Identifier: Apache-2.0
"""Trains `edge`: depth, head mask and validity from the ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from facedepth_edge.errors import ConfigError
from train import losses
from train.data.batches import Batch
from train.face_ellipse import face_ellipse
from train.metrics import METRICS
from train.tasks.base import Task, require_weights


@dataclass(frozen=True)
class DepthTaskConfig:
    """Weights of the losses of `edge`.

    Args:
        offset_free: Of `offset_free_mm`.
        face: Of `offset_free_mm` over the head's part of the ellipse of train/face_ellipse.py.
        tilt: Of `tilt_mm` over that part.
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
    face: float = 0.0
    tilt: float = 0.0
    absolute: float = 0.25
    background: float = 0.05
    gradient: float = 1.0
    normal: float = 5.0
    mask: float = 6.0
    dice: float = 2.0
    validity: float = 1.0
    gradient_strides: tuple[int, ...] = (1, 2, 4)

    def __post_init__(self) -> None:
        require_weights("task", self)
        if not self.gradient_strides or min(self.gradient_strides) < 1:
            rule = "one or more distances, all >= 1"
            raise ConfigError.of("task.gradient_strides", self.gradient_strides, rule, "Use for example [1, 2, 4].")


class DepthTask(Task):
    """Learn depth, head mask and validity from the ground truth."""

    Config = DepthTaskConfig
    scores = METRICS

    def __init__(self, network: nn.Module, config: DepthTaskConfig) -> None:
        super().__init__(network)
        self.config = config

    @staticmethod
    def _ellipse(depth: Tensor) -> Tensor:
        height, width = depth.shape[-2:]
        return torch.from_numpy(face_ellipse(height, width).copy()).to(depth.device)  # (H, W)

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
        face = b.head & self._ellipse(depth)
        terms = {
            "offset_free": (c.offset_free, lambda: losses.offset_free_mm(depth, b.depth, b.valid, b.head)),
            "face": (c.face, lambda: losses.offset_free_mm(depth, b.depth, b.valid, face)),
            "tilt": (c.tilt, lambda: losses.tilt_mm(depth, b.depth, b.valid, face)),
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
