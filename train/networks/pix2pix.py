# SPDX-License-Identifier: Apache-2.0
"""pix2pix, the paper's competitor [14]: a U-Net generator and a patch discriminator that sees face and depth.

Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017, appendix 6.1. Ours:
the depth of the U-Net fits 96 x 96 pixels (96 -> 3 in five halvings, where 256 x 256 takes eight), and dropout is off
when a map is generated, so that figures repeat.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facedepth_edge.errors import ConfigError
from train.networks.paper_generator import at_least_float32, init_as_paper

LEAKY_SLOPE = 0.2


@dataclass(frozen=True)
class UNetConfig:
    """Widths of the U-Net; the defaults are [14]'s, cut to five halvings.

    Args:
        widths: Feature maps of the k4 s2 convolutions, outermost first.
        dropout: Share of dropped features in the innermost two decoder layers while training.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ConfigError.of("UNetConfig.widths", self.widths, "at least two, all >= 1", "Correct it.")
        if not 0 <= self.dropout < 1:
            raise ConfigError.of("UNetConfig.dropout", self.dropout, "from 0 to below 1", "Correct it.")


class UNet(nn.Module):
    """Estimate a face's depth map with pix2pix's generator.

    Source: [14], section 3.2.1: encoder k4 s2 with LeakyReLU 0.2, decoder k4 s2 transposed with ReLU, every decoder
    layer also sees the encoder's features of its size; no batch norm on the first and the innermost layer.
    """

    Config = UNetConfig

    def __init__(self, config: UNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or UNetConfig()
        widths = self.config.widths
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            layers: list[nn.Module] = [nn.LeakyReLU(LEAKY_SLOPE)] if level else []
            plain = level in (0, len(widths) - 1)
            layers.append(nn.Conv2d(widths[level - 1] if level else 1, width, 4, 2, padding=1, bias=plain))
            if not plain:
                layers.append(nn.BatchNorm2d(width))
            self.down.append(nn.Sequential(*layers))
        self.up = nn.ModuleList()
        channels = widths[-1]
        for level in range(len(widths) - 2, -1, -1):
            width = widths[level]
            layers = [nn.ReLU(), nn.ConvTranspose2d(channels, width, 4, 2, padding=1, bias=False)]
            layers.append(nn.BatchNorm2d(width))
            if level >= len(widths) - 3:
                layers.append(nn.Dropout(self.config.dropout))
            self.up.append(nn.Sequential(*layers))
            channels = 2 * width
        self.head = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(channels, 1, 4, 2, padding=1))
        self.apply(init_as_paper)

    def forward(self, face: Tensor) -> dict[str, Tensor]:
        """Estimate depth.

        Args:
            face: (B, 1, H, W) float32 gray in [-1, 1]; H and W divisible by 2 to the number of widths.

        Returns:
            `depth`: (B, 1, H, W) float32 in [-1, 1], relative depth z, farther is larger.
        """
        kept: list[Tensor] = []
        x = face
        for layer in self.down:
            x = layer(x)  # (B, width, H/2, W/2) and so on down to H/32
            kept.append(x)
        kept.pop()
        for layer in self.up:
            x = torch.cat([layer(x), kept.pop()], dim=1)  # (B, 2 width, ...), twice the size
        return {"depth": torch.tanh(at_least_float32(self.head(x)))}  # (B, 1, H, W)


@dataclass(frozen=True)
class PatchDiscriminatorConfig:
    """Widths of the patch discriminator; the defaults give [14]'s receptive field of 70 x 70 pixels.

    Args:
        widths: Feature maps of the k4 convolutions; all have stride 2 but the last, which has stride 1.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512)

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise ConfigError.of("PatchDiscriminatorConfig.widths", self.widths, "one or more, all >= 1", "Correct it.")


class PatchDiscriminator(nn.Module):
    """Judge patches of a depth map beside the face that it belongs to; 1 = real.

    Source: [14], section 3.2.2 and appendix 6.1.2.
    """

    Config = PatchDiscriminatorConfig

    def __init__(self, config: PatchDiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config or PatchDiscriminatorConfig()
        layers: list[nn.Module] = []
        channels = 2
        for level, width in enumerate(self.config.widths):
            stride = 1 if level == len(self.config.widths) - 1 else 2
            layers.append(nn.Conv2d(channels, width, 4, stride, padding=1, bias=level == 0))
            if level:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.LeakyReLU(LEAKY_SLOPE, inplace=True))
            channels = width
        self.body = nn.Sequential(*layers, nn.Conv2d(channels, 1, 4, 1, padding=1))
        self.apply(init_as_paper)

    def forward(self, face: Tensor, depth: Tensor) -> Tensor:
        """Return the logits of "real" of overlapping patches.

        Args:
            face: (B, 1, H, W) float32 gray in [-1, 1].
            depth: (B, 1, H, W) float32 relative depth in [-1, 1].

        Returns:
            (B, 1, h, w) float32 logits; 10 x 10 for 96 x 96.
        """
        return self.body(torch.cat([face, depth], dim=1))
