# SPDX-License-Identifier: Apache-2.0
"""Optimizers: which weights decay, and that every parameter is stepped."""

from __future__ import annotations

import torch

from train.networks import Edge, EdgeConfig
from train.optimizers import build_optimizer


def test_only_weights_decay() -> None:
    parameters = list(Edge(EdgeConfig((8, 8, 8, 8), head_width=8)).parameters())
    groups = build_optimizer("adamw", parameters, 1e-3, (0.9, 0.99), 0.05).param_groups
    for group in groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.05 if parameter.ndim >= 2 else 0.0)
    stepped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(stepped) == sorted(map(id, parameters))


def test_the_papers_adam_does_not_decay() -> None:
    optimizer = build_optimizer("adam", [torch.nn.Parameter(torch.ones(2, 2))], 2e-4, (0.5, 0.999), 0.05)
    (group,) = optimizer.param_groups
    assert type(optimizer) is torch.optim.Adam
    assert group["weight_decay"] == 0
    assert group["betas"] == (0.5, 0.999)
