# SPDX-License-Identifier: Apache-2.0
"""The networks by the names that configs and artifacts use."""

from __future__ import annotations

from torch import nn

from train.networks.cui import Fcn
from train.networks.edge import Edge
from train.networks.paper_generator import PaperGenerator
from train.networks.pix2pix import UNet
from train.networks.siamese import Siamese

NETWORKS: dict[str, type[nn.Module]] = {
    "edge": Edge,
    "paper": PaperGenerator,
    "pix2pix": UNet,
    "cui": Fcn,
    "siamese": Siamese,
}
