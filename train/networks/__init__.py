# SPDX-License-Identifier: Apache-2.0
"""The networks: the paper's generator and discriminator, and `edge`."""

from train.networks.edge import Edge, EdgeConfig, probabilities
from train.networks.paper_discriminator import PaperDiscriminator, PaperDiscriminatorConfig
from train.networks.paper_generator import PaperGenerator, PaperGeneratorConfig
from train.networks.table import NETWORKS

__all__ = [
    "NETWORKS",
    "Edge",
    "EdgeConfig",
    "PaperDiscriminator",
    "PaperDiscriminatorConfig",
    "PaperGenerator",
    "PaperGeneratorConfig",
    "probabilities",
]
