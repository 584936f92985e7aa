# SPDX-License-Identifier: Apache-2.0
"""The optimizers by name: the paper's Adam, AdamW, and Muon."""

from __future__ import annotations

import torch
from torch import nn

from train.muon import Muon


def build_optimizer(
    name: str,
    parameters: list[nn.Parameter],
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    muon_lr_factor: float,
) -> torch.optim.Optimizer:
    """Build one phase's optimizer; only weights with two or more dimensions decay.

    Args:
        name: adam, adamw or muon.
        parameters: What it steps.
        lr: Learning rate.
        betas: Adam's and AdamW's decays.
        weight_decay: Decoupled; not for adam.
        muon_lr_factor: Muon's learning rate, as a multiple of lr.
    """
    if name == "adam":
        return torch.optim.Adam(parameters, lr=lr, betas=betas, fused=True)
    if name == "muon":
        return Muon(parameters, lr, betas, weight_decay, muon_lr_factor)
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
