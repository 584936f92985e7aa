# SPDX-License-Identifier: Apache-2.0
"""Tasks: which weights each phase moves, what the parts are, and what is left alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from facedepth_edge.errors import ConfigError
from train import losses
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping
from train.data.batches import Batch, make_batch
from train.data.packed import open_packed_set
from train.face_ellipse import face_ellipse
from train.loop import fit
from train.networks import (
    Edge,
    EdgeConfig,
    Fcn,
    FcnConfig,
    IdentityConfig,
    PaperDiscriminatorConfig,
    PaperGenerator,
    PaperGeneratorConfig,
    PatchDiscriminatorConfig,
    UNet,
    UNetConfig,
)
from train.tasks import (
    TASKS,
    AutoencoderTask,
    AutoencoderTaskConfig,
    CGanTask,
    CGanTaskConfig,
    DepthTask,
    DepthTaskConfig,
)
from train.tasks.cui import CuiTask, CuiTaskConfig
from train.tasks.pix2pix import Pix2PixTask, Pix2PixTaskConfig
from train.tasks.validity import ValidityTask, ValidityTaskConfig

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


@pytest.mark.parametrize(("name", "loss"), [("face", losses.offset_free_mm), ("tilt", losses.tilt_mm)])
def test_face_and_tilt_see_the_ellipse_alone(batch: Batch, name: str, loss: Callable[..., torch.Tensor]) -> None:
    task = DepthTask(small_edge(), DepthTaskConfig(**{name: 1.0}))  # type: ignore[arg-type]
    height, width = batch.depth.shape[-2:]
    ellipse = torch.from_numpy(face_ellipse(height, width).copy())
    with torch.no_grad():
        depth = task.network.train()(batch.face)["depth"]
        found = task.forward("network", batch)["parts"][name]
    torch.testing.assert_close(found, loss(depth, batch.depth, batch.valid, batch.head & ellipse))
    assert abs(float(found - loss(depth, batch.depth, batch.valid, batch.head))) > 1e-3


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
    assert set(TASKS) == {"depth", "validity", "cgan", "autoencoder", "pix2pix", "cui", "verification"}
    assert (TASKS["depth"], TASKS["cgan"], TASKS["autoencoder"]) == (DepthTask, CGanTask, AutoencoderTask)


@pytest.mark.parametrize("name", ["cgan", "pix2pix"])
def test_each_phase_moves_its_own_network_alone(batch: Batch, name: str) -> None:
    torch.manual_seed(0)
    if name == "cgan":
        task: CGanTask | Pix2PixTask = CGanTask(
            PaperGenerator(SMALL_GENERATOR), CGanTaskConfig(discriminator=PaperDiscriminatorConfig((4, 6)))
        )
    else:
        task = Pix2PixTask(
            UNet(UNetConfig((4, 6, 8))), Pix2PixTaskConfig(discriminator=PatchDiscriminatorConfig((4, 6)))
        )
    for phase, mover, still in (
        ("discriminator", task.discriminator, task.network),
        ("generator", task.network, task.discriminator),
    ):
        task.zero_grad(set_to_none=True)
        task(phase, batch)["loss"].backward()
        assert all(weight.grad is not None for weight in mover.parameters()), phase
        assert all(weight.grad is None for weight in still.parameters()), phase


def test_pix2pix_weighs_l1_a_hundredfold_and_halves_the_discriminator(batch: Batch) -> None:
    torch.manual_seed(0)
    shape = PatchDiscriminatorConfig((4, 6))
    task = Pix2PixTask(UNet(UNetConfig((4, 6, 8), 0.0)), Pix2PixTaskConfig(discriminator=shape))
    judged = task("discriminator", batch)
    torch.testing.assert_close(judged["loss"], (judged["parts"]["d_real"] + judged["parts"]["d_fake"]) / 2)
    made = task("generator", batch)
    torch.testing.assert_close(made["loss"], made["parts"]["g_adversarial"] + 100 * made["parts"]["l1"])
    difference = (task.network.eval()(batch.face)["depth"] - batch.depth).abs().double()
    measured = losses.l1(task.network(batch.face)["depth"].detach(), batch.depth, batch.valid)
    assert float(measured) == pytest.approx(float(difference[batch.valid].detach().mean()), rel=1e-5)


def test_cui_learns_depth_and_who_it_is(batch: Batch) -> None:
    torch.manual_seed(0)
    config = CuiTaskConfig(identity=0.5, classifier=IdentityConfig((4, 6), 9))
    task = CuiTask(Fcn(FcnConfig((4, 6, 8))), config)
    result = task("network", batch)
    torch.testing.assert_close(result["loss"], result["parts"]["mse"] + 0.5 * result["parts"]["identity"])
    depth = task.network(batch.face)["depth"]
    square = (depth - batch.depth).square().double()[batch.valid].mean()
    assert float(result["parts"]["mse"].detach()) == pytest.approx(float(square.detach()), rel=1e-5)
    task.zero_grad(set_to_none=True)
    result["parts"]["identity"].backward()  # the person's name teaches the depth network too
    assert all(weight.grad is not None for weight in task.phase_parameters("network"))
    few = CuiTask(Fcn(FcnConfig((4, 6, 8))), CuiTaskConfig(classifier=IdentityConfig((4,), 2)))
    late = Batch(**{**vars(batch), "subject": batch.subject + 4})
    with pytest.raises(ConfigError, match=r"task\.classifier\.people: got 2, expected at least \d, the highest number"):
        few("network", late)


def test_the_generator_runs_once_a_step_and_learns_what_it_would_from_two_runs(batch: Batch) -> None:
    torch.manual_seed(0)
    config = CGanTaskConfig(discriminator=PaperDiscriminatorConfig((4, 6)))
    task = CGanTask(PaperGenerator(SMALL_GENERATOR), config)
    runs: list[int] = []
    task.network.register_forward_hook(lambda *_: runs.append(1))
    task.network.eval()  # so that a second run would be the same as the first
    gradients = []
    for _ in range(2):
        task.zero_grad(set_to_none=True)
        if not gradients:
            task("discriminator", batch)["loss"].backward()
        task("generator", batch)["loss"].backward()
        gradients.append([weight.grad.clone() for weight in task.network.parameters() if weight.grad is not None])
        assert len(runs) == len(gradients)  # one run for both phases; one for the generator's phase alone
    for kept, fresh in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, fresh)
    other = Batch(**{**vars(batch), "face": batch.face.clone()})
    task("discriminator", batch)
    task("generator", other)  # maps of another batch are not taken
    assert len(runs) == 4


@pytest.mark.parametrize("width", [0, 5])
def test_validity_task_moves_nothing_but_the_validity(batch: Batch, width: int) -> None:
    torch.manual_seed(0)
    network = Edge(EdgeConfig((4, 6, 8, 8), (0, 1, 0, 0), head_width=4, validity_width=width))
    task = ValidityTask(network, ValidityTaskConfig()).train()
    before = copy.deepcopy(network)
    optimizer = torch.optim.SGD(task.phase_parameters("network"), lr=0.1)
    for _ in range(2):  # the branch's convolution has no gradient while its last layer is 0
        result = task("network", batch)
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
    was = before.state_dict()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, was[name])}
    layers = {"validity.weight", "validity.bias"}
    if width:
        norm = {f"norm.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
        layers |= {f"validity_branch.conv.{part}" for part in {"conv.weight", *norm}}
        layers |= {"validity_branch.last.weight", "validity_branch.last.bias"}
    assert moved == layers
    with torch.no_grad():
        now, then = network.eval()(batch.face), before.eval()(batch.face)
    assert torch.equal(now["depth"], then["depth"])
    assert torch.equal(now["mask"], then["mask"])
    assert not torch.equal(now["validity"], then["validity"])


def test_validity_task_measures_entropy_and_what_is_right(crops_root: Path, tmp_path: Path) -> None:
    data = open_packed_set(crops_root, tmp_path, processes=1, progress=False)
    task = ValidityTask(small_edge(), ValidityTaskConfig())
    for sign in (1.0, -1.0):
        with torch.no_grad():
            task.network.validity.weight.zero_()
            task.network.validity.bias.fill_(2.0 * sign)
        frames = np.arange(8)
        target = make_batch(data, frames).validity
        scores = task.measure(task.network, data, frames, "cpu")
        p = torch.sigmoid(torch.tensor(2.0 * sign))
        entropy = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
        assert scores["validity_bce"] == pytest.approx(float(entropy), rel=1e-5)
        assert scores["validity_right"] == pytest.approx(float(((target >= 0.5) == (sign > 0)).float().mean()))
        assert 0 < scores["validity_right"] < 1


def test_validity_task_takes_edge_alone() -> None:
    with pytest.raises(ConfigError, match=r"task\.name validity: got PaperGenerator, expected an Edge"):
        ValidityTask(PaperGenerator(SMALL_GENERATOR), ValidityTaskConfig())


def test_validity_needs_a_network_to_go_on_from(crops_root: Path, tmp_path: Path) -> None:
    data = open_packed_set(crops_root, tmp_path / "packed", processes=1, progress=False)
    settings = {"network": {"name": "edge"}, "task": {"name": "validity"}}
    config = dataclass_from_mapping(TrainConfig, settings)
    with pytest.raises(ConfigError, match=r"task\.name validity: got no start, expected a trained network"):
        fit(config, data, tmp_path / "run", progress=False)
