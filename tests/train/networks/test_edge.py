# SPDX-License-Identifier: Apache-2.0
"""The `edge` network: size, shapes, folding, and what its outputs can see."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from facedepth_edge.errors import ConfigError
from tests.train.networks.test_paper_networks import randomise_norms
from train.networks import NETWORKS, Edge, EdgeConfig, probabilities
from train.networks.edge import ConvNorm, ResidualBlock, UpsampleAdd
from train.networks.pose_context import PoseContext


def multiplications(network: nn.Module) -> int:
    """Count the multiplications of all convolutions for one 96 x 96 face."""
    total = 0

    def count(module: nn.Conv2d, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal total
        total += output[0].numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 1, 96, 96))
    for hook in hooks:
        hook.remove()
    return total


def test_default_size() -> None:
    network = Edge()
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(0.786e6, rel=0.01)
    assert multiplications(network) == pytest.approx(100.7e6, rel=0.01)


@pytest.mark.parametrize("batch", [1, 3])
def test_outputs(batch: int) -> None:
    torch.manual_seed(0)
    network = Edge().eval()
    with torch.no_grad():
        out = network(torch.rand(batch, 1, 96, 96) * 2 - 1)
    assert {name: tuple(value.shape) for name, value in out.items()} == {
        "depth": (batch, 1, 96, 96), "mask": (batch, 1, 96, 96), "validity": (batch, 1)
    }  # fmt: skip
    assert all(value.dtype == torch.float32 for value in out.values())
    assert out["depth"].abs().max() <= 1


def test_context_starts_as_the_identity_and_lets_every_pixel_see_all_others() -> None:
    torch.manual_seed(0)
    with_it = Edge(EdgeConfig(context=24)).eval()
    without = Edge().eval()
    missing = without.load_state_dict(with_it.state_dict(), strict=False)
    assert not missing.missing_keys
    face = torch.rand(2, 1, 96, 96) * 2 - 1
    with torch.no_grad():
        for name, value in without(face).items():
            torch.testing.assert_close(with_it(face)[name], value)
    context = PoseContext(8, 5, 6)
    nn.init.normal_(context.thicken.weight)
    coarse = torch.rand(1, 8, 6, 6).requires_grad_()
    context(coarse)[0, :, 0, 0].sum().backward()
    assert (coarse.grad[0].abs().sum(dim=0) > 0).all()
    with torch.no_grad():  # and a bump moves differently at different places: more than one number for all pixels
        moved = context(coarse + torch.nn.functional.one_hot(torch.tensor(7), 36).reshape(6, 6)) - context(coarse)
    assert moved.std(dim=(2, 3)).max() > 1e-3


def test_validity_branch_starts_as_nothing_and_serves_the_validity_alone() -> None:
    torch.manual_seed(0)
    with_it = Edge(EdgeConfig(validity_width=12)).eval()
    without = Edge().eval()
    without.load_state_dict(with_it.state_dict(), strict=False)
    face = torch.rand(2, 1, 96, 96) * 2 - 1
    with torch.no_grad():
        before, same = without(face), with_it(face)
        nn.init.ones_(with_it.validity_branch.last.weight)
        other = with_it(face)
    assert all(torch.equal(same[name], value) for name, value in before.items())
    assert torch.equal(other["depth"], before["depth"])
    assert torch.equal(other["mask"], before["mask"])
    assert not torch.equal(other["validity"], before["validity"])
    assert with_it.validity_layers() == [with_it.validity, with_it.validity_branch]
    assert without.validity_layers() == [without.validity]


def test_probabilities_of_the_outputs() -> None:
    torch.manual_seed(0)
    raw = Edge().eval()(torch.rand(1, 1, 96, 96) * 2 - 1)
    promised = probabilities(raw)
    torch.testing.assert_close(promised["depth"], raw["depth"])
    for name in ("mask", "validity"):
        torch.testing.assert_close(promised[name], torch.sigmoid(raw[name]))
    assert list(promised) == ["depth", "mask", "validity"]


@pytest.mark.parametrize(
    "config",
    [
        EdgeConfig(),
        EdgeConfig(context=8),
        EdgeConfig((4, 6, 8, 10), (1, 0, 2, 1), (2, 0, 1), 5, 7),
        EdgeConfig(decoder_blocks=(1, 1, 1), validity_width=6),
    ],
)
def test_fused_equals_unfused(config: EdgeConfig) -> None:
    torch.manual_seed(3)
    network = Edge(config).double().eval()
    randomise_norms(network)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.mul_(0.5)
    nn.init.normal_(network.head.weight, 0.0, 0.02)
    for layer in network.validity_layers()[1:]:
        nn.init.normal_(layer.last.weight)
    fused = network.fuse()
    assert not any(isinstance(module, (nn.BatchNorm2d, ConvNorm)) for module in fused.modules())
    face = torch.rand(2, 1, 96, 96, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        expected, got = network(face), fused(face)
    for name, value in expected.items():
        assert value.std() > (1e-4 if value.ndim == 4 else 0), name
        torch.testing.assert_close(got[name], value, rtol=0, atol=1e-11)


def test_fused_block_equals_unfused_exactly_in_float64() -> None:
    torch.manual_seed(4)
    block = ConvNorm(5, 7, kernel=3, stride=2).double().eval()
    randomise_norms(block)
    x = torch.randn(2, 5, 12, 12, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(block.fuse()(x), block(x), rtol=0, atol=1e-13)
        assert block(x).std() > 0.1


def test_residual_block_starts_as_the_identity() -> None:
    block = ResidualBlock(6)
    x = torch.rand(2, 6, 5, 5)
    torch.testing.assert_close(block(x), x)


def test_upsampling_repeats_pixels_and_adds_the_skip() -> None:
    merge = UpsampleAdd(3, 2).eval()
    coarse, skip = torch.rand(1, 3, 2, 2), torch.rand(1, 2, 4, 4)
    with torch.no_grad():
        expected = torch.relu(merge.project(coarse).repeat_interleave(2, 2).repeat_interleave(2, 3) + skip)
        torch.testing.assert_close(merge(coarse, skip), expected)


def test_depth_depends_on_near_and_far_pixels() -> None:
    """The coarsest stage makes every output pixel see the whole face; the stem's skip makes it see its neighbour."""
    torch.manual_seed(5)
    network = Edge().eval()
    randomise_norms(network)  # residual blocks start as the identity, which sees no neighbour
    nn.init.normal_(network.head.weight, 0.0, 0.2)
    face = (torch.rand(1, 1, 96, 96) * 2 - 1).requires_grad_()
    network(face)["depth"][0, 0, 48, 48].backward()
    gradient = face.grad[0, 0].abs()
    assert gradient[44:53, 44:53].max() > 0
    assert gradient[:12].max() > 0
    assert gradient[-12:].max() > 0


def test_wrong_settings_are_told() -> None:
    with pytest.raises(ConfigError, match="stem_kernel 4, expected an odd number"):
        EdgeConfig(stem_kernel=4)
    with pytest.raises(ConfigError, match="head_width 8 and no decoder block"):
        EdgeConfig(head_width=8)
    with pytest.raises(ConfigError, match="context -1 and input_px 96"):
        EdgeConfig(context=-1)
    with pytest.raises(ConfigError, match="expected all >= 0"):
        EdgeConfig(blocks=(-1, 0, 0, 0))
    with pytest.raises(ConfigError, match="validity_width -1"):
        EdgeConfig(validity_width=-1)


def test_the_table_names_classes_with_a_config() -> None:
    assert set(NETWORKS) == {"edge", "paper", "pix2pix", "cui", "siamese"}
    for network in NETWORKS.values():
        assert network.Config.__dataclass_params__.frozen
