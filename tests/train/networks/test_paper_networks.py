# SPDX-License-Identifier: Apache-2.0
"""The paper's generator and discriminator: parameters, layer shapes, receptive geometry, folding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from facedepth_edge.errors import ConfigError
from train.networks import PaperDiscriminator, PaperDiscriminatorConfig, PaperGenerator, PaperGeneratorConfig

SMALL = PaperGeneratorConfig((4, 6, 8, 10), (8, 6, 4, 3))


@pytest.fixture(scope="module")
def generator() -> PaperGenerator:
    torch.manual_seed(0)
    return PaperGenerator().eval()


def randomise_norms(network: nn.Module) -> None:
    """Give batch norms statistics and scales that folding cannot ignore."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)


def shapes_of(network: nn.Module, kinds: tuple[type, ...], image: torch.Tensor) -> list[tuple[int, ...]]:
    """Return the output shapes of the layers of some kinds, in order."""
    shapes: list[tuple[int, ...]] = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
        for module in network.modules()
        if isinstance(module, kinds)
    ]
    with torch.no_grad():
        network(image)
    for hook in hooks:
        hook.remove()
    return shapes


def test_generator_has_34_62_million_parameters(generator: PaperGenerator) -> None:
    kernels = 25 * (128 + 128 * 256 + 256 * 512 + 512 * 1024)
    kernels += 25 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 64)
    norms = 2 * (128 + 256 + 512 + 1024 + 512 + 256 + 128 + 64)
    count = sum(parameter.numel() for parameter in generator.parameters())
    assert count == kernels + norms + 64 + 1
    assert round(count / 1e6, 2) == 34.62


def test_generator_layers(generator: PaperGenerator) -> None:
    shapes = shapes_of(generator, (nn.Conv2d, nn.ConvTranspose2d), torch.zeros(1, 1, 96, 96))
    assert shapes == [
        (128, 48, 48), (256, 24, 24), (512, 12, 12), (1024, 6, 6),
        (512, 12, 12), (256, 24, 24), (128, 48, 48), (64, 96, 96), (1, 96, 96),
    ]  # fmt: skip
    for module in [*generator.encoder, *generator.decoder]:
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            assert (module.kernel_size, module.stride, module.padding) == ((5, 5), (2, 2), (2, 2))
    slopes = [module.negative_slope for module in generator.encoder if isinstance(module, nn.LeakyReLU)]
    assert slopes == [0.2] * 4
    assert sum(isinstance(module, nn.ReLU) for module in generator.decoder) == 4


def test_generator_work_is_3_3_gmac(generator: PaperGenerator) -> None:
    total = 0
    inputs = {"encoder": (1, 48, 24, 12, 6), "decoder": (0, 6, 12, 24, 48)}
    for name, sizes in inputs.items():
        convolutions = [m for m in getattr(generator, name) if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
        # A convolution multiplies its kernel at each output pixel, a transposed one at each input pixel.
        total += sum(m.weight.numel() * size**2 for m, size in zip(convolutions, sizes[1:], strict=True))
    assert total + 64 * 96**2 == pytest.approx(3.311e9, rel=1e-3)


def test_generator_output_range_and_batches(generator: PaperGenerator) -> None:
    torch.manual_seed(1)
    faces = torch.rand(2, 1, 96, 96) * 2 - 1
    with torch.no_grad():
        both = generator(faces)["depth"]
        alone = generator(faces[1:])["depth"]
    assert both.shape == (2, 1, 96, 96)
    assert both.abs().max() <= 1
    torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-5)
    assert both.std() > 0


def extent(gradient: torch.Tensor) -> tuple[int, int, int, int]:
    """Return first and last row and column that are not zero."""
    rows, columns = torch.nonzero(gradient.abs().sum(dim=1)), torch.nonzero(gradient.abs().sum(dim=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def test_receptive_field_of_the_embedding() -> None:
    """Four k5 s2 p2 layers: 1 + 4 (1 + 2 + 4 + 8) = 61 pixels, centred on 16 i; no more and no fewer."""
    torch.manual_seed(0)
    network = PaperGenerator(SMALL).double().eval()
    face = torch.zeros(1, 1, 192, 192, dtype=torch.float64, requires_grad=True)
    network.encoder(face)[0, :, 6, 5].sum().backward()
    assert extent(face.grad[0, 0]) == (16 * 6 - 30, 16 * 6 + 30, 16 * 5 - 30, 16 * 5 + 30)


def test_impulse_response_of_the_decoder() -> None:
    """One embedding pixel i paints output pixels 16 i - 30 .. 16 i + 30: each k5 s2 p2 layer maps [a, b] to
    [2 a - 2, 2 b + 2]."""
    torch.manual_seed(0)
    network = PaperGenerator(SMALL).double().eval()
    code = torch.zeros(1, 10, 12, 12, dtype=torch.float64)
    code[0, :, 6, 5] = 1
    with torch.no_grad():
        response = network.decoder(code)[0] - network.decoder(torch.zeros_like(code))[0]
    low, high = 0, 0
    for _ in range(4):
        low, high = 2 * low - 2, 2 * high + 2
    assert (low, high) == (-30, 30)
    rows_low, rows_high, columns_low, columns_high = extent(response.abs().sum(dim=0))
    assert 16 * 6 + low <= rows_low < rows_high <= 16 * 6 + high
    assert 16 * 5 + low <= columns_low < columns_high <= 16 * 5 + high
    assert rows_high - rows_low >= 16  # the neighbour's response overlaps: no gaps


def test_fused_generator_equals_unfused() -> None:
    torch.manual_seed(2)
    network = PaperGenerator(SMALL).double().eval()
    randomise_norms(network)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.weight.data.mul_(10)
    faces = torch.rand(2, 1, 96, 96, dtype=torch.float64) * 2 - 1
    fused = network.fuse()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())  # the original is untouched
    with torch.no_grad():
        a, b = network(faces)["depth"], fused(faces)["depth"]
    assert a.std() > 1e-3
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_weights_are_drawn_as_the_paper_s_authors_did(generator: PaperGenerator) -> None:
    weight = generator.encoder[3].weight.detach()
    assert float(weight.std()) == pytest.approx(0.02, rel=0.02)
    assert abs(float(weight.mean())) < 1e-3


def test_discriminator() -> None:
    network = PaperDiscriminator()
    kernels = 25 * (128 + 128 * 256 + 256 * 512 + 512 * 1024)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == kernels + 2 * (128 + 256 + 512 + 1024) + 1024 * 36 + 1
    shapes = shapes_of(network.eval(), (nn.Conv2d, nn.Linear), torch.zeros(1, 1, 96, 96))
    assert shapes == [(128, 48, 48), (256, 24, 24), (512, 12, 12), (1024, 6, 6), (1,)]
    with torch.no_grad():
        depth = torch.rand(2, 1, 96, 96)
        torch.testing.assert_close(network.probability(depth), torch.sigmoid(network(depth)))
        assert network.probability(depth).shape == (2, 1)


def test_wrong_widths_are_told() -> None:
    with pytest.raises(ConfigError, match="got 2 encoder and 1 decoder widths, expected equal numbers"):
        PaperGeneratorConfig((4, 4), (4,))
    with pytest.raises(ConfigError, match="size_px 90, expected a multiple of 16"):
        PaperDiscriminatorConfig(size_px=90)
