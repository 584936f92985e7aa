# SPDX-License-Identifier: Apache-2.0
"""Lets a convolutional decoder know how the whole head is turned: every pixel of the coarsest map sees all others."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from facedepth_edge.errors import ConfigError

THIN = 32  # channels that enter and leave the vector


class PoseContext(nn.Module):
    """Add to a coarse map what follows from all of it, pixel by pixel: a fully connected layer made of convolutions.

    Ours. A tilt of the depth map is one decision about the whole face, which stacked 3x3 convolutions make badly. The
    map is thinned out to THIN channels, gathered into one vector by a convolution as large as the map, and spread
    again over all pixels, each with weights of its own. Starts as the identity.

    Args:
        channels: Of the map.
        vector: Length of the vector.
        map_px: Side of the map; no other size can be taken.
    """

    def __init__(self, channels: int, vector: int, map_px: int) -> None:
        super().__init__()
        self.map_px = map_px
        self.thin_out = nn.Conv2d(channels, THIN, kernel_size=1)
        self.gather = nn.Conv2d(THIN, vector, kernel_size=map_px)
        self.spread = nn.Conv2d(vector, THIN * map_px**2, kernel_size=1)
        self.thicken = nn.Conv2d(THIN, channels, kernel_size=1)
        for layer in (self.thin_out, self.gather, self.spread):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.thicken.weight)
        nn.init.zeros_(self.thicken.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: (B, channels, map_px, map_px) to the same shape.

        Raises:
            ConfigError: The map has another size.
        """
        if tuple(x.shape[-2:]) != (self.map_px, self.map_px):
            got, rule = f"a map of {tuple(x.shape[-2:])} pixels", f"{self.map_px} x {self.map_px}"
            raise ConfigError.of("network.context", got, rule, "Set network.input_px to the side of the faces.")
        vector = F.relu(self.gather(F.relu(self.thin_out(x))))  # (B, vector, 1, 1)
        spread = F.pixel_shuffle(F.relu(self.spread(vector)), self.map_px)  # (B, THIN, map_px, map_px)
        return F.relu(x + self.thicken(spread))
