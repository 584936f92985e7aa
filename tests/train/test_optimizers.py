# SPDX-License-Identifier: Apache-2.0
"""Optimizers: which weights decay, and that every parameter is stepped."""

from __future__ import annotations

import copy

import torch

from train.muon import orthogonalised
from train.networks import Edge, EdgeConfig
from train.optimizers import build_optimizer


def test_only_weights_decay() -> None:
    parameters = list(Edge(EdgeConfig((8, 8, 8, 8), head_width=8)).parameters())
    groups = build_optimizer("adamw", parameters, 1e-3, (0.9, 0.99), 0.05, 1.0).param_groups
    for group in groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.05 if parameter.ndim >= 2 else 0.0)
    stepped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(stepped) == sorted(map(id, parameters))


def test_the_papers_adam_does_not_decay() -> None:
    optimizer = build_optimizer("adam", [torch.nn.Parameter(torch.ones(2, 2))], 2e-4, (0.5, 0.999), 0.05, 1.0)
    (group,) = optimizer.param_groups
    assert type(optimizer) is torch.optim.Adam
    assert group["weight_decay"] == 0
    assert group["betas"] == (0.5, 0.999)


def test_orthogonalised_is_near_u_vt() -> None:
    generator = torch.Generator().manual_seed(3)
    for shape in ((24, 60), (60, 24)):
        matrix = torch.randn(shape, generator=generator)
        u, _, vt = torch.linalg.svd(matrix.double(), full_matrices=False)
        found = orthogonalised(matrix).double()
        values = torch.linalg.svdvals(found)
        assert 0.6 < values.min() < values.max() < 1.3
        # the same singular vectors: U^T found V is diagonal
        inside = u.T @ found @ vt.T
        assert (inside - torch.diag(inside.diagonal())).abs().max() < 1e-4
    assert torch.equal(orthogonalised(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_muon_steps_feature_convolutions_and_leaves_the_rest_to_adamw() -> None:
    generator = torch.Generator().manual_seed(4)
    shapes = {"features": (16, 8, 3, 3), "picture": (16, 1, 3, 3), "maps": (8, 16, 3, 3), "bias": (16,)}
    start = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    gradients = [{name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} for _ in range(3)]

    def run(name: str) -> dict[str, torch.Tensor]:
        parameters = {key: torch.nn.Parameter(value.clone()) for key, value in start.items()}
        optimizer = build_optimizer(name, list(parameters.values()), 1e-2, (0.9, 0.99), 0.05, muon_lr_factor=2.0)
        for each in gradients:
            for key, parameter in parameters.items():
                parameter.grad = each[key].clone()
            optimizer.step()
        return {key: parameter.detach() for key, parameter in parameters.items()}

    muon, adamw = run("muon"), run("adamw")
    for name in ("picture", "maps", "bias"):
        torch.testing.assert_close(muon[name], adamw[name], rtol=1e-5, atol=1e-6)
    expected, momentum = start["features"].clone(), torch.zeros(shapes["features"])
    for each in gradients:
        momentum = 0.95 * momentum + each["features"]
        matrix = (each["features"] + 0.95 * momentum).reshape(16, 72)
        move = 2e-2 * 0.2 * 72**0.5 * orthogonalised(matrix).reshape(16, 8, 3, 3)
        expected = expected * (1 - 2e-2 * 0.05) - move
    torch.testing.assert_close(muon["features"], expected, rtol=1e-5, atol=1e-6)


def test_muon_goes_on_from_its_state() -> None:
    def build() -> tuple[torch.nn.Parameter, torch.nn.Parameter, torch.optim.Optimizer]:
        pair = torch.nn.Parameter(torch.ones(16, 2, 3, 3)), torch.nn.Parameter(torch.ones(5))
        return *pair, build_optimizer("muon", list(pair), 1e-2, (0.9, 0.99), 0.05, muon_lr_factor=2.0)

    def step(weight: torch.nn.Parameter, bias: torch.nn.Parameter, optimizer: torch.optim.Optimizer, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        weight.grad = torch.randn(weight.shape, generator=generator)
        bias.grad = torch.randn(bias.shape, generator=generator)
        optimizer.step()

    weight, bias, optimizer = build()
    step(weight, bias, optimizer, 1)
    again_weight, again_bias, again = build()
    with torch.no_grad():
        again_weight.copy_(weight)
        again_bias.copy_(bias)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(weight, bias, optimizer, 2)
    step(again_weight, again_bias, again, 2)
    assert torch.equal(weight, again_weight)
    assert torch.equal(bias, again_bias)
