# SPDX-License-Identifier: Apache-2.0
"""The optimizers: Adam, AdamW, and Muon for convolutions with AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

MUON_MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # a quintic whose iteration brings singular values between 0.7 and 1.2
NEWTON_SCHULZ_STEPS = 5
ADAM_RMS = 0.2  # the usual root mean square of an AdamW update, in units of the learning rate
MIN_SIDE = 8  # matrices with a shorter side (a first or last convolution) have no spectrum worth balancing


def orthogonal_factor(matrix: Tensor) -> Tensor:
    """Return roughly U V^T of a matrix U S V^T, by Newton-Schulz iteration.

    Args:
        matrix: (m, n) float32.

    Returns:
        (m, n), singular values between about 0.7 and 1.2.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = x / (x.norm() + 1e-12)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


class Muon(torch.optim.Optimizer):
    """Step convolutions by the orthogonal factor of their momentum, everything else by AdamW.

    Source: ours, after Jordan's Muon; scaled as an AdamW update is (ADAM_RMS), so that both share one learning rate and
    one weight decay. A convolution's weight counts as a matrix (outputs, inputs * kernel).

    Args:
        groups: Parameter groups with a bool `matrix` each.
        lr: Learning rate.
        betas: AdamW's decays.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": 0.0, "matrix": False, "eps": 1e-8})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step every parameter that has a gradient."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                step = self._matrix_step if group["matrix"] else self._adam_step
                parameter.add_(step(parameter, group), alpha=-group["lr"])
        return loss

    def _matrix_step(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"]
        momentum.lerp_(parameter.grad, 1 - MUON_MOMENTUM)
        ahead = torch.lerp(parameter.grad, momentum, MUON_MOMENTUM).flatten(1)  # Nesterov
        return (orthogonal_factor(ahead) * (ADAM_RMS * max(ahead.shape) ** 0.5)).reshape(parameter.shape)

    def _adam_step(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        beta1, beta2 = group["betas"]
        state["step"] += 1
        count = int(state["step"])
        state["mean"].lerp_(parameter.grad, 1 - beta1)
        state["square"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
        scale = (1 - beta2**count) ** 0.5 / (1 - beta1**count)
        return scale * state["mean"] / (state["square"].sqrt() + group["eps"] * (1 - beta2**count) ** 0.5)


def is_matrix(parameter: nn.Parameter) -> bool:
    """Whether Muon steps a parameter by its orthogonal factor."""
    return parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= MIN_SIDE


def build_optimizer(
    name: str, parameters: list[nn.Parameter], lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Optimizer:
    """Build one phase's optimizer; only weights with two or more dimensions decay.

    Args:
        name: adam, adamw or muon.
        parameters: What it steps.
        lr: Learning rate.
        betas: Adam's decays.
        weight_decay: Decoupled; not for adam.
    """
    if name == "adam":
        return torch.optim.Adam(parameters, lr=lr, betas=betas)
    if name == "muon":
        matrices = [p for p in parameters if is_matrix(p)]
        thin = [p for p in parameters if p.ndim >= 2 and not is_matrix(p)]
        plain = [p for p in parameters if p.ndim < 2]
        return Muon(
            [
                {"params": matrices, "weight_decay": weight_decay, "matrix": True},
                {"params": thin, "weight_decay": weight_decay},
                {"params": plain},
            ],
            lr,
            betas,
        )
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=betas)
