# SPDX-License-Identifier: Apache-2.0
"""The optimizers by name: the paper's Adam, and AdamW."""

from __future__ import annotations

import torch
from torch import nn


def build_optimizer(
    name: str, parameters: list[nn.Parameter], lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Optimizer:
    """Build one phase's optimizer; only weights with two or more dimensions decay.

    Args:
        name: adam or adamw.
        parameters: What it steps.
        lr: Learning rate.
        betas: Adam's decays.
        weight_decay: Decoupled; not for adam.
    """
    if name == "adam":
        return torch.optim.Adam(parameters, lr=lr, betas=betas, fused=True)
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
