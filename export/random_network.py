# SPDX-License-Identifier: Apache-2.0
"""A network with random weights, for timing and exactness, which do not depend on training."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping
from train.networks import NETWORKS
from train.restore import TrainedNetwork

SEED = 0
COMMIT = "random weights"
VERSION = "0.0.0+random"
MEASURED_FACES = 16


def random_network(name: str, faces: np.ndarray, settings: dict[str, object] | None = None) -> TrainedNetwork:
    """Build a network with random weights; its batch norms are measured on faces, so that it is no constant.

    Args:
        name: Of the network in NETWORKS.
        faces: (N, 1, H, H) float32; the first MEASURED_FACES are used.
        settings: Of the network; None for its own.

    Returns:
        Always the same network for the same faces on the same machine.
    """
    network_settings = {"name": name, **(settings or {})}
    config = dataclass_from_mapping(TrainConfig, {"network": network_settings, "task": {"name": "depth"}})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = NETWORKS[name](config.network.options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # the last batch's statistics alone
    with torch.no_grad():
        network.train()(torch.from_numpy(faces[:MEASURED_FACES]))
    data = {"name": "none", "train_frames": 0, "train_subjects": 0}
    trained = network.eval().requires_grad_(False)
    return TrainedNetwork(trained, name, config, 0, 0, COMMIT, data, faces.shape[-1])
