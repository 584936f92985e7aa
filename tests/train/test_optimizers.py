# SPDX-License-Identifier: Apache-2.0
"""Optimizers: what decays, Muon against NumPy's singular values, its AdamW part against PyTorch's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from train.networks import Edge, EdgeConfig
from train.optimizers import MUON_MOMENTUM, Muon, build_optimizer, is_matrix, orthogonal_factor


def parameters_of_edge() -> list[nn.Parameter]:
    return list(Edge(EdgeConfig((8, 8, 8, 8), head_width=8)).parameters())


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_only_weights_decay(name: str) -> None:
    parameters = parameters_of_edge()
    groups = build_optimizer(name, parameters, 1e-3, (0.9, 0.99), 0.05).param_groups
    for group in groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.05 if parameter.ndim >= 2 else 0.0)
    stepped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(stepped) == sorted(map(id, parameters))


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (16, 16)])
def test_orthogonal_factor_keeps_directions_and_levels_singular_values(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    u, _, vt = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    singular = np.linspace(1.0, 0.05, min(shape))
    factor = orthogonal_factor(torch.from_numpy(u @ np.diag(singular) @ vt).float()).double().numpy()
    levels = u.T @ factor @ vt.T
    np.testing.assert_allclose(levels - np.diag(np.diag(levels)), 0, atol=1e-4)
    assert np.diag(levels).min() > 0.6
    assert np.diag(levels).max() < 1.3


def test_which_weights_are_matrices() -> None:
    network = Edge()
    matrices = {name for name, parameter in network.named_parameters() if is_matrix(parameter)}
    assert "stages.1.1.first.conv.weight" in matrices
    assert "merges.0.project.conv.weight" in matrices
    assert "stages.1.1.first.norm.weight" not in matrices
    assert "validity.weight" not in matrices  # one output


def test_a_matrix_step_is_the_scaled_factor_of_the_momentum() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(10, 2, 3, 3))
    before = weight.detach().clone()
    optimizer = Muon([{"params": [weight], "matrix": True, "weight_decay": 0.1}], 0.01, (0.9, 0.99))
    momentum, expected = torch.zeros_like(before), before
    for _ in range(3):
        weight.grad = torch.randn_like(weight)
        momentum = MUON_MOMENTUM * momentum + (1 - MUON_MOMENTUM) * weight.grad
        ahead = MUON_MOMENTUM * momentum + (1 - MUON_MOMENTUM) * weight.grad
        factor = orthogonal_factor(ahead.flatten(1)).reshape(weight.shape)
        expected = expected * (1 - 0.01 * 0.1) - 0.01 * 0.2 * 18**0.5 * factor
        optimizer.step()
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-4, atol=1e-6)


def test_the_rest_is_stepped_as_by_adamw() -> None:
    torch.manual_seed(0)
    start = torch.randn(7)
    mine, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    a = Muon([{"params": [mine], "weight_decay": 0.1}], 0.01, (0.9, 0.99))
    b = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(5):
        mine.grad = torch.randn(7)
        theirs.grad = mine.grad.clone()
        a.step()
        b.step()
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


def test_state_goes_through_a_checkpoint() -> None:
    torch.manual_seed(0)

    def steps(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, seeds: range) -> None:
        for seed in seeds:
            torch.manual_seed(seed)
            for parameter in parameters:
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()

    whole = parameters_of_edge()
    first = build_optimizer("muon", whole, 1e-2, (0.9, 0.99), 0.05)
    steps(whole, first, range(2))
    parts = [nn.Parameter(parameter.detach().clone()) for parameter in whole]
    second = build_optimizer("muon", parts, 1e-2, (0.9, 0.99), 0.05)
    second.load_state_dict(copy.deepcopy(first.state_dict()))  # as from a disk: load_state_dict shares tensors
    steps(whole, first, range(2, 4))
    steps(parts, second, range(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))
