# SPDX-License-Identifier: Apache-2.0
"""The networks: the paper's generator, discriminator and verification network, its two competitors, and `edge`."""

from train.networks.cui import Fcn, FcnConfig, IdentityConfig, IdentityNetwork
from train.networks.edge import Edge, EdgeConfig, probabilities
from train.networks.paper_discriminator import PaperDiscriminator, PaperDiscriminatorConfig
from train.networks.paper_generator import PaperGenerator, PaperGeneratorConfig
from train.networks.pix2pix import PatchDiscriminator, PatchDiscriminatorConfig, UNet, UNetConfig
from train.networks.siamese import Siamese, SiameseConfig
from train.networks.table import NETWORKS

__all__ = [
    "NETWORKS",
    "Edge",
    "EdgeConfig",
    "Fcn",
    "FcnConfig",
    "IdentityConfig",
    "IdentityNetwork",
    "PaperDiscriminator",
    "PaperDiscriminatorConfig",
    "PaperGenerator",
    "PaperGeneratorConfig",
    "PatchDiscriminator",
    "PatchDiscriminatorConfig",
    "Siamese",
    "SiameseConfig",
    "UNet",
    "UNetConfig",
    "probabilities",
]
