# SPDX-License-Identifier: Apache-2.0
"""A network with random weights, for timing and exactness, which do not depend on training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from facedepth_edge.artifacts import Artifact, list_models, open_artifact
from facedepth_edge.errors import ArtifactError
from facedepth_edge.spec import SPEC_FILE
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping
from train.networks import NETWORKS
from train.restore import TrainedNetwork

SEED = 0
COMMIT = "random weights"
VERSION = "0.0.0+random"
MEASURED_FACES = 16


def bundled_settings(name: str) -> dict[str, object]:
    """Return the settings of the bundled model of a name, as its spec says under training.network.

    Args:
        name: Of the network in NETWORKS.

    Returns:
        Empty where no model of that name is bundled: then the network's own settings hold.

    Raises:
        ArtifactError: The model's spec does not say them.
    """
    if name not in list_models():
        return {}
    return settings_of(open_artifact(name))


def settings_of(artifact: Artifact) -> dict[str, object]:
    """Return the settings of an artifact's network, as its spec says under training.network.

    Raises:
        ArtifactError: It does not say them.
    """
    settings = artifact.spec.training.get("network")
    if not isinstance(settings, Mapping):
        where = f"{artifact.folder / SPEC_FILE}: training.network"
        raise ArtifactError.of(where, settings, "the network's settings", "Export the model again.")
    return dict(settings)


def random_network(name: str, faces: np.ndarray, settings: dict[str, object] | None = None) -> TrainedNetwork:
    """Build a network with random weights; its batch norms are measured on faces, so that its output varies.

    Args:
        name: Of the network in NETWORKS.
        faces: (N, 1, H, H) float32; the first MEASURED_FACES are used.
        settings: Of the network; None for those of the bundled model of that name, or else the network's own.

    Returns:
        Always the same network for the same faces on the same machine.
    """
    network_settings = {"name": name, **(bundled_settings(name) if settings is None else settings)}
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
