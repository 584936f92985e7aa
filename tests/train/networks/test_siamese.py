# SPDX-License-Identifier: Apache-2.0
"""The verification network: figure 3's shape, and pairs compared by their vectors."""

from __future__ import annotations

import pytest
import torch

from facedepth_edge.errors import ConfigError
from train.networks import Siamese, SiameseConfig


def test_the_shape_is_figure_3s() -> None:
    network = Siamese()
    convolutions = [layer for layer in network.trunk if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [64, 128, 256, 256, 256]
    assert {(layer.kernel_size, layer.stride, layer.padding) for layer in convolutions} == {((3, 3), (2, 2), (0, 0))}
    lines = [layer for layer in network.decision if isinstance(layer, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in lines] == [(512, 128), (128, 32), (32, 1)]


def test_comparing_vectors_is_comparing_images() -> None:
    torch.manual_seed(0)
    network = Siamese(SiameseConfig((4, 4, 6, 6, 8), (6, 4))).eval()
    first, second = torch.randn(3, 1, 96, 96), torch.randn(3, 1, 96, 96)
    assert network.embed(first).shape == (3, 8)
    logits = network(first, second)["same"]
    assert logits.shape == (3, 1)
    torch.testing.assert_close(logits[:, 0], network.compare(network.embed(first), network.embed(second)))
    assert not torch.allclose(logits, network(second, first)["same"])


def test_both_branches_share_their_weights_and_learn() -> None:
    torch.manual_seed(1)
    network = Siamese(SiameseConfig((4, 4, 6, 6, 8), (6, 4)))
    first, second = torch.randn(4, 1, 96, 96, requires_grad=True), torch.randn(4, 1, 96, 96, requires_grad=True)
    network(first, second)["same"].sum().backward()
    for image in (first, second):
        assert image.grad is not None
        assert image.grad.abs().sum() > 0
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"SiameseConfig\.hidden: got \(\), expected at least one"):
        SiameseConfig(hidden=())
