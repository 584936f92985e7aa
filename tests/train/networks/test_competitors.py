# SPDX-License-Identifier: Apache-2.0
"""The competitors' networks: shapes, ranges, sizes, what reaches what, and which settings are refused."""

from __future__ import annotations

import pytest
import torch

from facedepth_edge.errors import ConfigError
from train.networks import (
    NETWORKS,
    Fcn,
    FcnConfig,
    IdentityConfig,
    IdentityNetwork,
    PatchDiscriminator,
    PatchDiscriminatorConfig,
    UNet,
    UNetConfig,
)


def small_network(name: str) -> torch.nn.Module:
    """Build a small generator, the same every time."""
    torch.manual_seed(6)
    return UNet(UNetConfig((8, 12, 16), 0.0)) if name == "pix2pix" else Fcn(FcnConfig((8, 12, 16)))


@pytest.mark.parametrize("name", ["pix2pix", "cui"])
@pytest.mark.parametrize("size", [(32, 32), (16, 48)])
def test_depth_has_the_size_of_the_face_and_lies_in_range(name: str, size: tuple[int, int]) -> None:
    network = small_network(name)
    depth = network.eval()(torch.rand(2, 1, *size) * 2 - 1)["depth"]
    assert depth.shape == (2, 1, *size)
    assert depth.dtype == torch.float32
    assert depth.abs().max() <= 1
    assert depth.std() > 0


@pytest.mark.parametrize(("name", "millions"), [("pix2pix", 16.654), ("cui", 3.094)])
def test_number_of_weights(name: str, millions: float) -> None:
    count = sum(weight.numel() for weight in NETWORKS[name]().parameters())
    assert count / 1e6 == pytest.approx(millions, abs=5e-4)


@pytest.mark.parametrize("name", ["pix2pix", "cui"])
def test_every_layer_has_a_gradient(name: str) -> None:
    network = small_network(name)
    network.train()(torch.rand(3, 1, 32, 32) * 2 - 1)["depth"].square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_fine_detail_reaches_the_depth_through_the_skips() -> None:
    """A change of one pixel alters the depth beside it even if the innermost features are cut off."""
    torch.manual_seed(3)
    network = UNet(UNetConfig((4, 6, 8), 0.0)).eval()
    with torch.no_grad():
        network.down[-1][1].weight.zero_()
    face = torch.zeros(1, 1, 32, 32)
    dotted = face.clone()
    dotted[0, 0, 16, 16] = 1
    change = (network(face)["depth"] - network(dotted)["depth"]).abs()[0, 0]
    assert change[12:21, 12:21].max() > 0
    assert change[:4, :4].max() == 0


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(4)
    network = UNet(UNetConfig((4, 6, 8), 0.5))
    face = torch.rand(2, 1, 16, 16)
    network.eval()
    assert torch.equal(network(face)["depth"], network(face)["depth"])
    network.train()
    assert not torch.equal(network(face)["depth"], network(face)["depth"])


def test_patch_discriminator_sees_70_pixels_of_face_and_depth() -> None:
    torch.manual_seed(5)
    network = PatchDiscriminator(PatchDiscriminatorConfig((4, 4, 4, 4))).eval()
    face, depth = torch.zeros(1, 1, 192, 192, requires_grad=True), torch.zeros(1, 1, 192, 192, requires_grad=True)
    network(face, depth)[0, 0, 11, 11].backward()
    for plane in (face, depth):
        assert plane.grad is not None
        touched = plane.grad[0, 0].abs().sum(dim=0).nonzero()
        assert int(touched.max() - touched.min()) + 1 == 70
    assert PatchDiscriminator()(torch.zeros(2, 1, 96, 96), torch.zeros(2, 1, 96, 96)).shape == (2, 1, 10, 10)


def test_identity_network_names_people() -> None:
    assert IdentityNetwork(IdentityConfig((4, 8), 7))(torch.zeros(2, 1, 96, 96)).shape == (2, 7)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"UNetConfig\.widths: got \(8,\), expected at least two"):
        UNetConfig((8,))
    with pytest.raises(ConfigError, match=r"UNetConfig\.dropout: got 1\.0, expected from 0 to below 1"):
        UNetConfig(dropout=1.0)
    with pytest.raises(ConfigError, match=r"FcnConfig\.widths: got \(8, 0, 8\)"):
        FcnConfig((8, 0, 8))
    with pytest.raises(ConfigError, match=r"PatchDiscriminatorConfig\.widths: got \(\)"):
        PatchDiscriminatorConfig(())
    with pytest.raises(ConfigError, match=r"IdentityConfig: got widths \(32, 64, 128, 256\), people 1"):
        IdentityConfig(people=1)
