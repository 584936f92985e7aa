# SPDX-License-Identifier: Apache-2.0
"""Widening: the larger network computes what the smaller one does, in training and in use, and its copies part."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from facedepth_edge.errors import ConfigError
from tests.train.networks.test_paper_networks import randomise_norms
from train.networks import Edge, EdgeConfig, PaperDiscriminator, PaperDiscriminatorConfig
from train.networks.cui import Fcn, FcnConfig, IdentityConfig, IdentityNetwork
from train.networks.paper_generator import PaperGenerator, PaperGeneratorConfig
from train.networks.pix2pix import PatchDiscriminator, PatchDiscriminatorConfig, UNet, UNetConfig
from train.networks.siamese import Siamese, SiameseConfig
from train.widen import widen

FACTOR = 3


def times(widths: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(FACTOR * width for width in widths)


def edge(factor: int) -> Edge:
    widths = tuple(factor * width for width in (4, 6, 8, 8))
    return Edge(EdgeConfig(widths, blocks=(0, 1, 0, 1), head_width=4 * factor))


def generator(factor: int) -> PaperGenerator:
    return PaperGenerator(PaperGeneratorConfig((2 * factor, 4 * factor), (4 * factor, 3 * factor)))


PAIRS: dict[str, Callable[[], tuple[nn.Module, nn.Module, int]]] = {
    "generator": lambda: (generator(1), generator(FACTOR), 1),
    "discriminator": lambda: (
        PaperDiscriminator(PaperDiscriminatorConfig((2, 4), 32)),
        PaperDiscriminator(PaperDiscriminatorConfig(times((2, 4)), 32)),
        1,
    ),
    "pix2pix": lambda: (UNet(UNetConfig((2, 3, 4), 0.0)), UNet(UNetConfig(times((2, 3, 4)), 0.0)), 1),
    "patches": lambda: (
        PatchDiscriminator(PatchDiscriminatorConfig((2, 3))),
        PatchDiscriminator(PatchDiscriminatorConfig(times((2, 3)))),
        2,
    ),
    "cui": lambda: (Fcn(FcnConfig((2, 4, 4))), Fcn(FcnConfig(times((2, 4, 4)))), 1),
    "identity": lambda: (
        IdentityNetwork(IdentityConfig((2, 4), 5)),
        IdentityNetwork(IdentityConfig(times((2, 4)), 5)),
        1,
    ),
    "siamese": lambda: (
        Siamese(SiameseConfig((2, 3), (4, 2))),
        Siamese(SiameseConfig(times((2, 3)), times((4, 2)))),
        2,
    ),
    "edge": lambda: (edge(1), edge(FACTOR), 1),
}


def outputs(network: nn.Module, training: bool, *inputs: Tensor) -> dict[str, Tensor]:
    result = copy.deepcopy(network).train(training)(*inputs)
    return result if isinstance(result, dict) else {"result": result}


def prepared(name: str) -> tuple[nn.Module, nn.Module, list[Tensor]]:
    """Two networks in float64, the small one with batch norms that are not those of a fresh network."""
    torch.manual_seed(0)
    small, large, count = PAIRS[name]()
    for module in small.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_()
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 2)
    inputs = [2 * torch.rand(3, 1, 32, 32, dtype=torch.float64) - 1 for _ in range(count)]
    return small.double(), large.double(), inputs


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", PAIRS)
def test_the_function_stays(name: str, training: bool) -> None:
    small, large, inputs = prepared(name)
    assert widen(small, large, torch.Generator().manual_seed(1)) == FACTOR
    expected, got = outputs(small, training, *inputs), outputs(large, training, *inputs)
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        assert value.std() > 1e-7, "the test's network must compute something"
        torch.testing.assert_close(got[key], value, rtol=1e-10, atol=1e-12)


def test_the_copies_part_in_training() -> None:
    small, large, inputs = prepared("generator")
    widen(small, large, torch.Generator().manual_seed(1))
    first = large.encoder[0].weight
    assert torch.equal(first[0], first[1])  # copies of one map
    large.train()(*inputs)["depth"].square().mean().backward()
    difference = (first.grad[0] - first.grad[1]).abs().max()
    assert difference > 0.05 * first.grad[0].abs().max()


def test_the_same_widths_are_copied() -> None:
    small, _, _ = prepared("generator")
    same = generator(1).double()
    assert widen(small, same, torch.Generator()) == 1
    for name, value in small.state_dict().items():
        assert torch.equal(same.state_dict()[name], value), name


def test_a_seed_gives_the_same_weights() -> None:
    results = []
    for seed in (1, 1, 2):
        small, large, _ = prepared("cui")
        widen(small, large, torch.Generator().manual_seed(seed))
        results.append(
            torch.cat([value.flatten() for value in large.state_dict().values() if value.is_floating_point()])
        )
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_a_layer_that_is_new_and_starts_as_the_identity_keeps_the_function() -> None:
    torch.manual_seed(4)
    widths = ((4, 6, 8, 8), (0, 1, 0, 0), (0, 0, 0), 3, 4)
    small, large = Edge(EdgeConfig(*widths)).eval(), Edge(EdgeConfig(*widths, context=12)).eval()
    randomise_norms(small)
    assert widen(small, large, torch.Generator(), may_grow=True) == 1
    face = torch.rand(2, 1, 96, 96) * 2 - 1
    with torch.no_grad():
        for name, value in small(face).items():
            torch.testing.assert_close(large(face)[name], value)


@pytest.mark.parametrize(
    ("small", "large", "message"),
    [
        (
            generator(2),
            generator(3),
            r"layer encoder\.0, weight: got shape \(6, 1, 5, 5\), expected a whole number of times",
        ),
        (
            PaperGenerator(PaperGeneratorConfig((2, 2), (2, 2))),
            PaperGenerator(PaperGeneratorConfig((4, 4), (4, 6))),
            r"widths: got 2 times .* and 3 times .*, expected one factor",
        ),
        (PaperGenerator(PaperGeneratorConfig((2, 4, 4), (4, 4, 3))), generator(1), "expected the layers of the start"),
        (
            PaperGenerator(PaperGeneratorConfig((2, 4), (4, 3))),
            PaperGenerator(PaperGeneratorConfig((2, 4, 4), (4, 3, 3))),
            "expected the layers",
        ),
        (Edge(EdgeConfig()), Edge(EdgeConfig(context=8)), "layer context.* expected the layers of the starting"),
        (generator(1), edge(1), "expected the layers of the starting network"),
        (nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 3), r"layer : got .*'kernel_size': \(3, 3\)"),
        (nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1, bias=False), r"the parts \['weight'\], expected \['bias', 'weight'\]"),
        (nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(8, 8, 1, groups=4), "got 4 groups, expected as many groups as maps"),
        (nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1), "got 1 groups"),
        (
            PaperDiscriminator(PaperDiscriminatorConfig((2,), 16)),
            PaperDiscriminator(PaperDiscriminatorConfig((2,), 32)),
            "layer fc: got .*256.*expected .*64",
        ),
    ],
)
def test_what_does_not_fit_is_told(small: nn.Module, large: nn.Module, message: str) -> None:
    before = copy.deepcopy(large.state_dict())
    with pytest.raises(ConfigError, match=message):
        widen(small, large, torch.Generator())
    assert all(torch.equal(value, large.state_dict()[name]) for name, value in before.items())
