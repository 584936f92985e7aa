# SPDX-License-Identifier: Apache-2.0
"""The face verification network: tells whether two depth maps show the same person.

Source: section 4.3, figure 3: k3n64s2 - k3n128s2 - k3n256s2 - k3n256s2 - k3n256s2, average pooling, fc128, fc32, fc1.
The figure leaves open the padding (none), what follows a convolution (batch norm, ReLU), the pooling (over the whole
map) and how the branches meet (their two 256-vectors side by side): those are from a co-author's public code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facedepth_edge.errors import ConfigError


@dataclass(frozen=True)
class SiameseConfig:
    """Widths of the verification network; the defaults are the paper's, smaller ones are for tests.

    Args:
        widths: Feature maps of the k3 s2 convolutions.
        hidden: Units of the fully connected layers before the last.
    """

    widths: tuple[int, ...] = (64, 128, 256, 256, 256)
    hidden: tuple[int, ...] = (128, 32)

    def __post_init__(self) -> None:
        for name in ("widths", "hidden"):
            values = getattr(self, name)
            if not values or min(values) < 1:
                raise ConfigError.of(f"SiameseConfig.{name}", values, "at least one, all >= 1", "Correct it.")


class Siamese(nn.Module):
    """Compare two faces by their depth maps; both pass through the same convolutions.

    Source: section 4.3, figure 3. The inputs come from `train.verification.verification_input`.
    """

    Config = SiameseConfig

    def __init__(self, config: SiameseConfig | None = None) -> None:
        super().__init__()
        self.config = config or SiameseConfig()
        layers: list[nn.Module] = []
        channels = 1
        for width in self.config.widths:
            layers += [
                nn.Conv2d(channels, width, 3, stride=2, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        units = 2 * channels
        decision: list[nn.Module] = []
        for width in self.config.hidden:
            decision += [nn.Linear(units, width), nn.ReLU(inplace=True)]
            units = width
        self.decision = nn.Sequential(*decision, nn.Linear(units, 1))

    def embed(self, image: Tensor) -> Tensor:
        """Turn a face into its vector.

        Args:
            image: (B, 1, 96, 96) float32, equalised and standardised depth.

        Returns:
            (B, 256) float32.
        """
        return self.trunk(image)

    def compare(self, first: Tensor, second: Tensor) -> Tensor:
        """Compare faces by their vectors; the answer may change with the order of the two.

        Args:
            first: (B, 256) float32 of `embed`.
            second: (B, 256) float32 of `embed`.

        Returns:
            (B,) float32 logits; above 0, which is a similarity above 0.5, means the same person.
        """
        return self.decision(torch.cat([first, second], dim=1))[:, 0]

    def forward(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Compare faces.

        Args:
            first: (B, 1, 96, 96) float32, equalised and standardised depth.
            second: (B, 1, 96, 96) float32, likewise.

        Returns:
            `same`: (B, 1) float32 logits.
        """
        return {"same": self.compare(self.embed(first), self.embed(second))[:, None]}
