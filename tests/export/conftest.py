# SPDX-License-Identifier: Apache-2.0
"""A small trained checkpoint and its data, for the export's tests."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from export.onnx_from_torch import onnx_from_network
from tests.train.conftest import write_crops_set
from tests.train.networks.test_paper_networks import randomise_norms
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping
from train.data.packed import PackedSet, open_packed_set
from train.loop import fit
from train.networks import Edge, EdgeConfig, PaperGenerator, PaperGeneratorConfig


@pytest.fixture(scope="session")
def export_data(tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    """A packed set of simple heads, eight frames of each of eight people."""
    root = write_crops_set(tmp_path_factory.mktemp("export") / "heads", subjects=8, frames=8)
    return open_packed_set(root, processes=1, progress=False)


@pytest.fixture(scope="session")
def checkpoint(export_data: PackedSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small `edge`, trained for a few steps."""
    settings = {
        "network": {"name": "edge", "widths": [8, 8, 16, 16], "head_width": 8, "context": 8},
        "task": {"name": "depth"},
        "data": {"depth_along": "ray"},
        "loop": {"steps": 30, "batch_size": 8, "validate_every": 30, "threads": 1, "accelerator": "cpu",
                 "precision": "32-true", "ema_decay": 0.5},
    }  # fmt: skip
    config = dataclass_from_mapping(TrainConfig, settings)
    return fit(config, export_data, tmp_path_factory.mktemp("run") / "edge", progress=False).last


def small_network(name: str) -> nn.Module:
    """Build a small network whose outputs vary over the picture, always the same."""
    torch.manual_seed(0)
    if name == "edge":
        network: nn.Module = Edge(EdgeConfig((8, 8, 12, 12), (0, 1, 1, 0), head_width=8))
        nn.init.normal_(network.head.weight, 0.0, 0.1)
    else:
        network = PaperGenerator(PaperGeneratorConfig((8, 8), (8, 8)))
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                module.weight.data.mul_(10)
    randomise_norms(network)
    return network.eval()


@pytest.fixture(scope="session")
def onnx_models() -> dict[str, onnx.ModelProto]:
    """The small networks as FP32 graphs; do not change them."""
    return {name: onnx_from_network(small_network(name), (96, 96)) for name in ("edge", "paper")}
