# SPDX-License-Identifier: Apache-2.0
"""Cui et al., the paper's competitor [5]: a fully convolutional network for depth, and a CNN that names the person.

Source: Cui et al., "Improving 2D Face Recognition via Discriminative Face Depth Estimation", ICB 2018: an FCN recovers
depth from the picture, and a CNN behind it, used in training alone, keeps the depth of different people apart. Ours:
the layers, after the FCN of Long et al. (3x3 convolutions and pooling, features of all scales summed) at 96 x 96
pixels; gray instead of colour, as all systems here; and a last tanh, so that all share one depth scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facedepth_edge.errors import ConfigError
from train.networks.paper_generator import at_least_float32

CONVOLUTIONS = 2  # of a stage


@dataclass(frozen=True)
class FcnConfig:
    """Widths of the FCN.

    Args:
        widths: Feature maps of the stages, outermost first; each but the first halves the size.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256, 256)

    def __post_init__(self) -> None:
        if len(self.widths) < 3 or min(self.widths) < 1:
            raise ConfigError.of("FcnConfig.widths", self.widths, "at least three, all >= 1", "Correct it.")


def conv_stage(channels: int, width: int) -> nn.Sequential:
    """Build CONVOLUTIONS k3 convolutions with batch norm and ReLU that keep the size.

    Args:
        channels: Channels of the input.
        width: Channels of every convolution.
    """
    layers: list[nn.Module] = []
    for _ in range(CONVOLUTIONS):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers)


class Fcn(nn.Module):
    """Estimate a face's depth map with a fully convolutional network.

    Source: [5]; layers ours, see the file's text.
    """

    Config = FcnConfig

    def __init__(self, config: FcnConfig | None = None) -> None:
        super().__init__()
        self.config = config or FcnConfig()
        widths = self.config.widths
        self.stages = nn.ModuleList(
            conv_stage(channels, width) for channels, width in zip((1, *widths), widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.lateral = nn.ModuleList(nn.Conv2d(width, width // 2, 1) for width in widths[:-1])
        inner = (widths[-1], *(width // 2 for width in widths[-2:0:-1]))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(channels, width // 2, 4, 2, padding=1)
            for channels, width in zip(inner, widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0] // 2, 1, 1)

    def forward(self, face: Tensor) -> dict[str, Tensor]:
        """Estimate depth.

        Args:
            face: (B, 1, H, W) float32 gray in [-1, 1]; H and W divisible by 2 to the number of widths less one.

        Returns:
            `depth`: (B, 1, H, W) float32 in [-1, 1], relative depth z, farther is larger.
        """
        kept: list[Tensor] = []
        x = face
        for level, stage in enumerate(self.stages):
            x = stage(self.pool(x) if level else x)  # (B, width, H/2^level, W/2^level)
            kept.append(x)
        kept.pop()
        for up, lateral in zip(self.up, reversed(list(self.lateral)), strict=True):
            x = torch.relu(up(x) + lateral(kept.pop()))  # twice the size
        return {"depth": torch.tanh(at_least_float32(self.head(x)))}  # (B, 1, H, W)


@dataclass(frozen=True)
class IdentityConfig:
    """Shape of the CNN that names the person.

    Args:
        widths: Feature maps of the k3 s2 convolutions.
        people: How many classes; person n is class n - 1.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    people: int = 256

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1 or self.people < 2:
            got = f"widths {self.widths}, people {self.people}"
            raise ConfigError.of("IdentityConfig", got, "one or more widths >= 1, people >= 2", "Correct them.")


class IdentityNetwork(nn.Module):
    """Name the person by a depth map; used in training alone.

    Source: [5]; layers ours, see the file's text.
    """

    Config = IdentityConfig

    def __init__(self, config: IdentityConfig | None = None) -> None:
        super().__init__()
        self.config = config or IdentityConfig()
        layers: list[nn.Module] = []
        channels = 1
        for width in self.config.widths:
            layers += [nn.Conv2d(channels, width, 3, 2, padding=1, bias=False), nn.BatchNorm2d(width)]
            layers.append(nn.ReLU(inplace=True))
            channels = width
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classes = nn.Linear(channels, self.config.people)

    def forward(self, depth: Tensor) -> Tensor:
        """Return the logits of the people.

        Args:
            depth: (B, 1, H, W) float32 relative depth in [-1, 1].

        Returns:
            (B, people) float32.
        """
        return self.classes(self.trunk(depth))
