# SPDX-License-Identifier: Apache-2.0
"""Tasks: which weights each phase moves, what the parts are, and what is left alone."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from facedepth_edge.errors import ConfigError
from train import losses
from train.data.batches import Batch, make_batch
from train.data.packed import open_packed_set
from train.networks import Edge, EdgeConfig, PaperDiscriminatorConfig, PaperGenerator, PaperGeneratorConfig
from train.tasks import (
    TASKS,
    AutoencoderTask,
    AutoencoderTaskConfig,
    CGanTask,
    CGanTaskConfig,
    DepthTask,
    DepthTaskConfig,
)

SMALL_GENERATOR = PaperGeneratorConfig((4, 6), (6, 4))


@pytest.fixture(scope="module")
def batch(crops_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    data = open_packed_set(crops_root, tmp_path_factory.mktemp("packed"), processes=1, progress=False)
    return make_batch(data, np.arange(4))


def small_edge() -> Edge:
    torch.manual_seed(0)
    return Edge(EdgeConfig((4, 6, 8, 8), (0, 1, 0, 0), head_width=4))


def test_depth_task_sums_its_parts(batch: Batch) -> None:
    config = DepthTaskConfig()
    result = DepthTask(small_edge(), config)("network", batch)
    assert set(result["parts"]) == {
        "offset_free", "absolute", "background", "gradient", "normal", "mask", "dice", "validity"
    }  # fmt: skip
    total = sum(getattr(config, name) * value for name, value in result["parts"].items())
    torch.testing.assert_close(result["loss"], total)
    result["loss"].backward()


def test_a_weight_of_zero_leaves_its_part_out(batch: Batch) -> None:
    result = DepthTask(small_edge(), DepthTaskConfig(normal=0.0, dice=0.0))("network", batch)
    assert {"normal", "dice"}.isdisjoint(result["parts"])


def test_every_weight_of_the_network_learns(batch: Batch) -> None:
    network = small_edge()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    DepthTask(network, DepthTaskConfig())("network", batch)["loss"].backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_autoencoder_is_equation_3(batch: Batch) -> None:
    torch.manual_seed(0)
    network = PaperGenerator(SMALL_GENERATOR)
    result = AutoencoderTask(network, AutoencoderTaskConfig())("network", batch)
    expected = losses.mse(network(batch.face)["depth"], batch.depth, batch.valid)
    torch.testing.assert_close(result["loss"], expected)
    assert list(result["parts"]) == ["mse"]


@pytest.fixture
def cgan() -> CGanTask:
    torch.manual_seed(0)
    return CGanTask(PaperGenerator(SMALL_GENERATOR), CGanTaskConfig(2.0, PaperDiscriminatorConfig((4, 4))))


def test_cgan_phases_are_equations_1_and_5(cgan: CGanTask, batch: Batch) -> None:
    far = torch.ones_like(batch.depth)
    generated = torch.where(batch.valid, cgan.network(batch.face)["depth"], far)
    real = torch.where(batch.valid, batch.depth, far)
    result = cgan("discriminator", batch)
    ones, zeros = torch.ones(4, 1), torch.zeros(4, 1)
    bce = torch.nn.functional.binary_cross_entropy
    expected = bce(cgan.discriminator.probability(real), ones)
    expected = expected + bce(cgan.discriminator.probability(generated), zeros)
    torch.testing.assert_close(result["loss"], expected, rtol=1e-4, atol=1e-5)
    result = cgan("generator", batch)
    expected = 2.0 * result["parts"]["mse"] + bce(cgan.discriminator.probability(generated), ones)
    torch.testing.assert_close(result["loss"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("phase", CGanTask.phases)
def test_a_phase_moves_its_own_network_alone(phase: str, cgan: CGanTask, batch: Batch) -> None:
    before = copy.deepcopy(dict(cgan.named_parameters()))
    optimizer = torch.optim.Adam(cgan.phase_parameters(phase), lr=1e-3)
    cgan(phase, batch)["loss"].backward()
    optimizer.step()
    moved = {name for name, value in cgan.named_parameters() if not torch.equal(value, before[name])}
    own = "network." if phase == "generator" else "discriminator."
    assert moved == {name for name in before if name.startswith(own)}
    assert {id(p) for p in cgan.phase_parameters(phase)} == {
        id(p) for name, p in cgan.named_parameters() if name.startswith(own)
    }


def test_holes_tell_the_discriminator_nothing(cgan: CGanTask, batch: Batch) -> None:
    cgan.eval()
    assert (~batch.valid).any()
    wild = Batch(**{**vars(batch), "depth": torch.where(batch.valid, batch.depth, torch.full_like(batch.depth, -1))})
    for phase in CGanTask.phases:
        torch.testing.assert_close(cgan(phase, batch)["loss"], cgan(phase, wild)["loss"])


def test_settings_check_themselves() -> None:
    with pytest.raises(ConfigError, match=r"task\.mask: got -1\.0, expected a finite weight >= 0"):
        DepthTaskConfig(mask=-1.0)
    with pytest.raises(ConfigError, match=r"task\.lambda_mse: got nan"):
        CGanTaskConfig(lambda_mse=float("nan"))
    with pytest.raises(ConfigError, match=r"task\.gradient_strides: got \(\)"):
        DepthTaskConfig(gradient_strides=())


def test_the_table_names_every_task() -> None:
    assert {"depth": DepthTask, "cgan": CGanTask, "autoencoder": AutoencoderTask} == TASKS
