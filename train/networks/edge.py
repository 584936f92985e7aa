# SPDX-License-Identifier: Apache-2.0
"""The `edge` network: a small encoder-decoder made for INT8 and low latency, with depth, head mask and validity.

Ours. Dense 3x3 convolutions with batch norm and ReLU only, because those fold into one INT8 convolution each on ONNX
Runtime and TensorRT. Most of the work is at 24x24 and 12x12, where a convolution is large enough to fill the cores and
small enough to stay in the cache; the 48x48 stage is thin, and carries nose, eyes and lips to the decoder by a skip.
The last convolution runs at 48x48 and makes the four sub-pixels of each output, which are then interleaved.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facedepth_edge.errors import ConfigError
from train.networks.paper_generator import at_least_float32
from train.networks.pose_context import PoseContext

LEVELS = 4  # the stages run at 1/2, 1/4, 1/8 and 1/16 of the input's size
OUTPUTS = 2  # depth and mask, both at full size
SUBPIXEL = 2  # the head's output pixels a side for each of its input pixels


@dataclass(frozen=True)
class EdgeConfig:
    """Shape of the `edge` network.

    Args:
        widths: Channels of the stages at 1/2, 1/4, 1/8 and 1/16 of the input's size.
        blocks: Residual blocks (two 3x3 convolutions each) of the encoder at each of these stages.
        decoder_blocks: 3x3 convolutions of the decoder after its skip additions, at 1/2, 1/4 and 1/8.
        stem_kernel: Side of the first convolution's kernel in pixels, odd.
        head_width: Channels that enter the last convolution.
        context: Length of the vector of `PoseContext` at 1/16; 0: without.
        validity_width: Channels of the validity's own convolution at 1/16; 0: without.
        input_px: Side of the input for which `context` is built.
    """

    widths: tuple[int, int, int, int] = (16, 48, 96, 128)
    blocks: tuple[int, int, int, int] = (0, 1, 1, 1)
    decoder_blocks: tuple[int, int, int] = (0, 1, 1)
    stem_kernel: int = 3
    head_width: int = 16
    context: int = 0
    validity_width: int = 0
    input_px: int = 96

    def __post_init__(self) -> None:
        if min(self.widths) < 1 or self.head_width < 1:
            got = f"widths {self.widths} and head_width {self.head_width}"
            raise ConfigError.of("EdgeConfig", got, "all >= 1", "Correct them.")
        if min(self.blocks) < 0 or min(self.decoder_blocks) < 0:
            got = f"blocks {self.blocks} and decoder_blocks {self.decoder_blocks}"
            raise ConfigError.of("EdgeConfig", got, "all >= 0", "Correct them.")
        if self.decoder_blocks[0] < 1 and self.head_width != self.widths[0]:
            got, rule = f"head_width {self.head_width} and no decoder block at 1/2", f"head_width {self.widths[0]} then"
            raise ConfigError.of("EdgeConfig", got, rule, "Give decoder_blocks[0] >= 1 or an equal head_width.")
        if self.context < 0 or self.input_px < 16 or self.input_px % 16:
            got = f"context {self.context} and input_px {self.input_px}"
            raise ConfigError.of("EdgeConfig", got, "context >= 0 and a multiple of 16", "Correct them.")
        if self.validity_width < 0:
            raise ConfigError.of("EdgeConfig", f"validity_width {self.validity_width}", ">= 0", "Correct it.")
        if self.stem_kernel < 3 or self.stem_kernel % 2 == 0:
            rule = "an odd number >= 3"
            raise ConfigError.of("EdgeConfig", f"stem_kernel {self.stem_kernel}", rule, "Use 3, 5 or 7.")


class ConvNorm(nn.Module):
    """Convolve, normalise and, where asked, rectify; `fuse()` makes it one convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: (B, inputs, H, W) to (B, outputs, H/stride, W/stride)."""
        return self.relu(self.norm(self.conv(x)))  # (B, outputs, H/stride, W/stride)

    def fuse(self) -> nn.Sequential:
        """Return the same function in inference mode as one convolution with a bias, and the rectifier.

        Returns:
            A new module; this one is unchanged. Folded in float64, so that the rounding is of the weights only.
        """
        conv, norm = self.conv, self.norm
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        fused = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)
        fused.to(conv.weight.device, conv.weight.dtype)
        with torch.no_grad():
            fused.weight.copy_(conv.weight.double() * scale[:, None, None, None])
            fused.bias.copy_(norm.bias.double() - norm.running_mean.double() * scale)
        return nn.Sequential(fused, copy.deepcopy(self.relu))


class ResidualBlock(nn.Module):
    """Add two 3x3 convolutions' output to the input, then rectify."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels, relu=False)
        self.relu = nn.ReLU(inplace=True)
        nn.init.zeros_(self.second.norm.weight)  # starts as the identity: a deeper net trains as fast as a shallow one

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block: (B, C, H, W) to the same shape."""
        return self.relu(x + self.second(self.first(x)))


class UpsampleAdd(nn.Module):
    """Bring a coarse map to the next finer stage: 1x1 convolution, each pixel repeated 2x2, skip added, rectified."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.project = ConvNorm(coarse, fine, kernel=1, relu=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Merge (B, coarse, H, W) into (B, fine, 2H, 2W)."""
        x = self.project(coarse)  # (B, fine, H, W)
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")  # (B, fine, 2H, 2W)
        return self.relu(x + skip)


class ValidityBranch(nn.Module):
    """Judge the coarsest map by a convolution of the validity's own, beside what is read off the map's means.

    Ours. Depth and validity share the encoder, whose maps serve depth first: what tells an ear from an eye, or a face
    on its side from an upright one, may be in no channel's mean. Starts as 0.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = ConvNorm(channels, width)
        self.last = nn.Conv2d(width, 1, kernel_size=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: (B, channels, H, W) to (B, 1, 1, 1)."""
        return self.last(self.conv(x).mean(dim=(2, 3), keepdim=True))


class Edge(nn.Module):
    """Estimate depth, head mask and validity of a face in one pass."""

    Config = EdgeConfig

    def __init__(self, config: EdgeConfig | None = None) -> None:
        super().__init__()
        self.config = config or EdgeConfig()
        w, blocks, decoder = self.config.widths, self.config.blocks, self.config.decoder_blocks
        self.stem = ConvNorm(1, w[0], self.config.stem_kernel, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(
                *([ConvNorm(w[level - 1], w[level], stride=2)] if level else []),
                *(ResidualBlock(w[level]) for _ in range(blocks[level])),
            )
            for level in range(LEVELS)
        )
        size = self.config.input_px // 2**LEVELS
        self.context = PoseContext(w[-1], self.config.context, size) if self.config.context else nn.Identity()
        self.merges = nn.ModuleList(UpsampleAdd(w[level + 1], w[level]) for level in range(LEVELS - 1))
        refine: list[nn.Module] = []
        for level in range(LEVELS - 1):
            outputs = self.config.head_width if level == 0 else w[level]
            widths = [w[level]] + [outputs] * decoder[level]
            refine.append(nn.Sequential(*(ConvNorm(a, b) for a, b in itertools.pairwise(widths))))
        self.refines = nn.ModuleList(refine)
        self.head = nn.Conv2d(self.config.head_width, OUTPUTS * SUBPIXEL**2, kernel_size=3, padding=1)
        self.validity = nn.Conv2d(w[-1], 1, kernel_size=1)
        if self.config.validity_width:
            self.validity_branch = ValidityBranch(w[-1], self.config.validity_width)
        nn.init.normal_(self.head.weight, 0.0, 0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, face: Tensor) -> dict[str, Tensor]:
        """Estimate depth in [-1, 1], and the logits of mask and validity.

        Args:
            face: (B, 1, H, W) float32 gray in [-1, 1]; H and W multiples of 16, with `context` the input_px.

        Returns:
            `depth` (B, 1, H, W) relative depth z, farther is larger; `mask` (B, 1, H, W) logit of "head";
            `validity` (B, 1) logit of "a usable face is in the box".
        """
        x = self.stem(face)  # (B, w0, H/2, W/2)
        skips = []
        for stage in self.stages:
            x = stage(x)  # (B, w_level, H/2/2^level, W/2/2^level)
            skips.append(x)
        validity = self.validity(x.mean(dim=(2, 3), keepdim=True))  # (B, 1, 1, 1)
        if self.config.validity_width:
            validity = validity + self.validity_branch(x)
        x = self.context(x)  # (B, w3, H/16, W/16)
        for level in reversed(range(LEVELS - 1)):
            x = self.refines[level](self.merges[level](x, skips[level]))  # (B, w_level, H/2/2^level, W/2/2^level)
        x = F.pixel_shuffle(at_least_float32(self.head(x)), SUBPIXEL)  # (B, OUTPUTS, H, W)
        return {"depth": torch.tanh(x[:, :1]), "mask": x[:, 1:], "validity": at_least_float32(validity).flatten(1)}

    def validity_layers(self) -> list[nn.Module]:
        """Return the layers that serve the validity alone: without them depth and mask are the same."""
        return [self.validity, *([self.validity_branch] if self.config.validity_width else [])]

    def fuse(self) -> Edge:
        """Return a copy in inference mode with every batch norm folded into its convolution."""
        fused = copy.deepcopy(self).eval()
        for parent in list(fused.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, ConvNorm):
                    setattr(parent, name, child.fuse())
        return fused.eval()


def probabilities(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn a network's training outputs into what an artifact promises: sigmoid on `mask` and `validity`.

    Args:
        outputs: `depth`, and the logits `mask` and `validity` where the network has them.

    Returns:
        A new dict in the same order.
    """
    return {name: value if name == "depth" else torch.sigmoid(value) for name, value in outputs.items()}
