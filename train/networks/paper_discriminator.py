# SPDX-License-Identifier: Apache-2.0
"""The paper's discriminator: tells measured depth maps from generated ones.

Source: section 3.1.1, figure 2. The text says 0 = real and 1 = fake, but equations (1) and (5) hold only with 1 = real:
here 1 = real.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facedepth_edge.errors import ConfigError
from train.networks.paper_generator import encoder_layers, init_as_paper


@dataclass(frozen=True)
class PaperDiscriminatorConfig:
    """Widths and input size of the paper's discriminator.

    Args:
        widths: Feature maps of the stride 2 convolutions.
        size_px: Height and width of the depth map, which the fully connected layer fixes.
    """

    widths: tuple[int, ...] = (128, 256, 512, 1024)
    size_px: int = 96

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            rule = "at least one, all >= 1"
            raise ConfigError.of("PaperDiscriminatorConfig", f"widths {self.widths}", rule, "Correct widths.")
        if self.size_px % 2 ** len(self.widths):
            rule = f"a multiple of {2 ** len(self.widths)} for {len(self.widths)} layers of stride 2"
            fix = "Change size_px or widths."
            raise ConfigError.of("PaperDiscriminatorConfig", f"size_px {self.size_px}", rule, fix)


class PaperDiscriminator(nn.Module):
    """Judge depth maps: the generator's encoder, flattened, and one fully connected unit.

    Convention: 1 = real (measured), 0 = fake (generated), so that equations (1) and (5) hold as printed. The sigmoid is
    apart, in `probability`: the losses take logits, which is equation (2) without its overflow at y = 0 and y = 1.
    """

    Config = PaperDiscriminatorConfig

    def __init__(self, config: PaperDiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or PaperDiscriminatorConfig()
        widths = self.config.widths
        self.encoder = nn.Sequential(*encoder_layers(1, widths))
        pixels = (self.config.size_px // 2 ** len(widths)) ** 2
        self.fc = nn.Linear(widths[-1] * pixels, 1)
        self.fc.pixels_per_map = pixels  # what train.widen must know of a layer that takes flattened maps
        self.apply(init_as_paper)

    def forward(self, depth: Tensor) -> Tensor:
        """Return the logit of "real".

        Args:
            depth: (B, 1, size_px, size_px) float32 relative depth in [-1, 1].

        Returns:
            (B, 1) float32 logits.
        """
        x = self.encoder(depth)  # (B, 1024, H/16, W/16)
        return self.fc(x.flatten(1))  # (B, 1)

    def probability(self, depth: Tensor) -> Tensor:
        """Return D(x) of the paper, the probability of "real".

        Args:
            depth: (B, 1, size_px, size_px) float32 relative depth in [-1, 1].

        Returns:
            (B, 1) float32 in [0, 1].
        """
        return torch.sigmoid(self(depth))
