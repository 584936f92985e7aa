# SPDX-License-Identifier: Apache-2.0
"""The paper's generator: a fully convolutional encoder-decoder from a gray face to its depth map.

Source: section 3.1.1, figure 2. The paper gives kernels, widths and strides; padding 2 and output padding 1 are ours:
they are the only symmetric choice for which every layer halves or doubles the size exactly (96 -> 6 -> 96).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from facedepth_edge.errors import ConfigError

KERNEL = 5
STRIDE = 2
LEAKY_SLOPE = 0.2
INIT_STD = 0.02


@dataclass(frozen=True)
class PaperGeneratorConfig:
    """Widths of the paper's generator; the defaults are the paper's, smaller ones are for tests.

    Args:
        encoder_widths: Feature maps of the stride 2 convolutions, outermost first.
        decoder_widths: Feature maps of the stride 2 transposed convolutions, innermost first.
    """

    encoder_widths: tuple[int, ...] = (128, 256, 512, 1024)
    decoder_widths: tuple[int, ...] = (512, 256, 128, 64)

    def __post_init__(self) -> None:
        if len(self.encoder_widths) != len(self.decoder_widths) or not self.encoder_widths:
            got = f"{len(self.encoder_widths)} encoder and {len(self.decoder_widths)} decoder widths"
            fix = "Give one decoder width for each encoder width."
            raise ConfigError.of("PaperGeneratorConfig", got, "equal numbers, at least one", fix)
        if min(self.encoder_widths + self.decoder_widths) < 1:
            got = f"widths {self.encoder_widths + self.decoder_widths}"
            raise ConfigError.of("PaperGeneratorConfig", got, "all >= 1", "Correct encoder_widths and decoder_widths.")


def init_as_paper(module: nn.Module) -> None:
    """Draw the weights of one layer from N(0, 0.02), batch norm scales from N(1, 0.02), biases zero.

    Source: FACTS section 1 (a co-author's public code of the same year); the paper does not say.

    Args:
        module: The layer; anything without weights is left alone. Use with `nn.Module.apply`.
    """
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, 0.0, INIT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, INIT_STD)
        nn.init.zeros_(module.bias)


def at_least_float32(x: Tensor) -> Tensor:
    """Return a half precision tensor as float32, others as they are: bfloat16 would round depth to 0.6 mm."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def encoder_layers(in_channels: int, widths: tuple[int, ...]) -> list[nn.Module]:
    """Build the k5 s2 convolution, batch norm, LeakyReLU 0.2 stack that generator and discriminator share.

    Args:
        in_channels: Channels of the input image.
        widths: Feature maps of each convolution, outermost first.

    Returns:
        The layers in order; each convolution halves height and width.
    """
    layers: list[nn.Module] = []
    for width in widths:
        layers += [
            nn.Conv2d(in_channels, width, KERNEL, STRIDE, padding=2, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
        ]
        in_channels = width
    return layers


class PaperGenerator(nn.Module):
    """Estimate a face's depth map with the paper's generator, 34.62 M parameters at the default widths.

    Source: section 3.1.1. Convolutions have no bias where a batch norm follows, which has its own.
    """

    Config = PaperGeneratorConfig

    def __init__(self, config: PaperGeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config or PaperGeneratorConfig()
        self.encoder = nn.Sequential(*encoder_layers(1, self.config.encoder_widths))
        layers: list[nn.Module] = []
        channels = self.config.encoder_widths[-1]
        for width in self.config.decoder_widths:
            layers += [
                nn.ConvTranspose2d(channels, width, KERNEL, STRIDE, padding=2, output_padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        self.decoder = nn.Sequential(*layers)
        self.head = nn.Conv2d(channels, 1, kernel_size=1)
        self.apply(init_as_paper)

    def fuse(self) -> PaperGenerator:
        """Return a copy in inference mode with every batch norm folded into the (transposed) convolution before it."""
        fused = copy.deepcopy(self).eval()
        for part in (fused.encoder, fused.decoder):
            for position in range(0, len(part), 3):
                conv, norm = part[position], part[position + 1]
                transposed = isinstance(conv, nn.ConvTranspose2d)
                folded = fuse_conv_bn_weights(
                    conv.weight.double(), None, norm.running_mean.double(), norm.running_var.double(), norm.eps,
                    norm.weight.double(), norm.bias.double(), transpose=transposed,
                )  # fmt: skip
                dtype = conv.weight.dtype
                conv.weight, conv.bias = (nn.Parameter(value.detach().to(dtype)) for value in folded)
                part[position + 1] = nn.Identity()
        return fused

    def forward(self, face: Tensor) -> dict[str, Tensor]:
        """Estimate depth.

        Args:
            face: (B, 1, H, W) float32 gray in [-1, 1]; H and W divisible by 2 to the number of encoder layers.

        Returns:
            `depth`: (B, 1, H, W) float32 in [-1, 1], relative depth z, farther is larger.
        """
        x = self.encoder(face)  # (B, 1024, H/16, W/16)
        x = self.decoder(x)  # (B, 64, H, W)
        return {"depth": torch.tanh(at_least_float32(self.head(x)))}  # (B, 1, H, W)
