# SPDX-License-Identifier: Apache-2.0
"""Muon, an optimizer that steps a convolution's weights along the orthogonalised momentum; AdamW for all the others.

Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the size of the step is
that of J. Liu et al., "Muon is scalable for LLM training", 2025. PyTorch's own Muon takes matrices only and
orthogonalises in bfloat16, which a CPU without bfloat16 instructions does over ten times slower than float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
ITERATIONS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)  # of the Newton-Schulz iteration; singular values end between about 0.7 and 1.2
RMS_OF_ADAM = 0.2  # the root mean square of a step of AdamW, divided by its learning rate
EPSILON = 1e-8
FEWEST_MAPS = 16  # a convolution with fewer output maps is AdamW's


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return nearly U V^T of a matrix U S V^T: all its singular values are brought near 1.

    Args:
        matrix: (rows, columns) float32.

    Returns:
        The same shape; zeros of zeros.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + EPSILON)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)  # (a + b G + c G^2) X
    return x if wide is matrix else x.T


class Muon(torch.optim.Optimizer):
    """Step convolutions between feature maps by Muon, everything else by AdamW.

    AdamW steps biases and norms, the first convolution, whose input is one picture, and the last ones, which make fewer
    than FEWEST_MAPS maps: those are not transformations of features. Only `edge`'s plain convolutions were tried. A
    grouped convolution is taken as one matrix; a transposed one, whose weight begins with the inputs, is judged by its
    number of inputs instead of outputs.

    Args:
        parameters: What it steps.
        lr: Learning rate of AdamW's part; a group's "lr" may be changed between steps.
        betas: AdamW's decays.
        weight_decay: Decoupled; on weights with two or more dimensions.
        lr_factor: Muon's learning rate, as a multiple of lr.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        lr_factor: float,
    ) -> None:
        matrices = [p for p in parameters if p.ndim == 4 and p.shape[0] >= FEWEST_MAPS and p.shape[1] > 1]
        taken = {id(p) for p in matrices}
        others = [p for p in parameters if id(p) not in taken]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": weight_decay, "muon": True},
            {"params": [p for p in others if p.ndim >= 2], "weight_decay": weight_decay, "muon": False},
            {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0, "muon": False},
        ]
        super().__init__([g for g in groups if g["params"]], {"lr": lr, "betas": betas, "lr_factor": lr_factor})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Step every parameter that has a gradient; return what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    step = self._step_matrix if group["muon"] else self._step_adamw
                    step(parameter, parameter.grad, group)
        return loss

    def _step_matrix(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].mul_(MOMENTUM).add_(gradient)
        ahead = gradient + MOMENTUM * momentum  # Nesterov's
        direction = orthogonalised(ahead.reshape(len(ahead), -1))  # (outputs, inputs * kernel)
        rate = group["lr"] * group["lr_factor"]
        parameter.mul_(1 - rate * group["weight_decay"])
        size = RMS_OF_ADAM * max(direction.shape) ** 0.5
        parameter.add_(direction.reshape(parameter.shape), alpha=-rate * size)

    def _step_adamw(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (first, second) = self.state[parameter], group["betas"]
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].lerp_(gradient * gradient, 1 - second)
        mean = state["mean"] / (1 - first ** state["step"])
        deviation = (state["square"] / (1 - second ** state["step"])).sqrt() + EPSILON
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.addcdiv_(mean, deviation, value=-group["lr"])
