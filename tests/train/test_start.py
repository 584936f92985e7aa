# SPDX-License-Identifier: Apache-2.0
"""A training that begins with another one's weights: what it takes over, keeps of it, and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from facedepth_edge.errors import ArtifactError, ConfigError
from train.build import build_task
from train.checkpoint import load_checkpoint
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping
from train.data.packed import PackedSet, open_packed_set
from train.loop import fit
from train.restore import network_from_checkpoint
from train.start import begin_with, read_start, training_stages
from train.weights import network_from_weights, save_weights

FACE = torch.linspace(-1, 1, 2 * 96 * 96).reshape(2, 1, 96, 96)


@pytest.fixture(scope="module")
def data(crops_root: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    return open_packed_set(crops_root, tmp_path_factory.mktemp("packed"), processes=1, progress=False)


def settings(factor: int = 1, task: str = "cgan", **loop: Any) -> TrainConfig:
    widths = [4 * factor, 6 * factor]
    about: dict[str, Any] = {"name": task}
    if task == "cgan":
        about["discriminator"] = {"widths": widths}
    return dataclass_from_mapping(
        TrainConfig,
        {
            "network": {"name": "paper", "encoder_widths": widths, "decoder_widths": widths[::-1]},
            "task": about,
            "optimizer": {"name": "adam", "weight_decay": 0.0, "lr": 1e-3},
            "loop": {"steps": 3, "batch_size": 4, "accelerator": "cpu", "precision": "32-true", "threads": 1, **loop},
            "data": {"validation_frames": 4},
        },
    )


@pytest.fixture(scope="module")
def narrow(data: PackedSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(settings(), data, tmp_path_factory.mktemp("narrow"), progress=False).last


def test_a_wider_training_begins_with_the_average(narrow: Path) -> None:
    config = settings(factor=2)
    task = build_task(config)
    start = read_start(narrow)
    assert begin_with(start, task, config) == 2
    expected = network_from_checkpoint(narrow).network(FACE)["depth"]
    torch.testing.assert_close(task.network.eval()(FACE)["depth"], expected, rtol=0, atol=1e-5)
    judged = start.task.discriminator.eval()(FACE)  # type: ignore[operator]
    torch.testing.assert_close(task.discriminator.eval()(FACE), judged, rtol=0, atol=1e-5)  # type: ignore[operator]


def test_another_task_takes_the_network_alone(narrow: Path) -> None:
    config = settings(task="autoencoder")
    task = build_task(config)
    assert begin_with(read_start(narrow), task, config) == 1
    weights = load_checkpoint(narrow)["ema"]
    assert all(torch.equal(value, weights[name]) for name, value in task.network.state_dict().items())


def test_the_run_keeps_what_it_began_with(narrow: Path, data: PackedSet, tmp_path: Path) -> None:
    start = read_start(narrow)
    run = fit(settings(factor=2, steps=1), data, tmp_path / "run", progress=False, start=start)
    kept = load_checkpoint(run.last)["start"]
    assert (kept["step"], kept["samples"], kept["start"]) == (3, 12, None)
    assert list(kept["config"]["network"]["encoder_widths"]) == [4, 6]
    resumed = fit(settings(factor=2, steps=1), data, tmp_path / "run", resume=True, progress=False)
    assert load_checkpoint(resumed.last)["start"] == kept
    trained = network_from_checkpoint(run.last)
    save_weights(tmp_path / "paper.safetensors", trained)
    assert network_from_weights(tmp_path / "paper.safetensors").start == kept
    stages = training_stages(trained)
    assert [(stage["samples"], stage["step"], stage["optimizer"]) for stage in stages] == [
        (12, 3, "adam"),
        (4, 1, "adam"),
    ]
    assert stages[1]["parameters"] == sum(parameter.numel() for parameter in trained.network.parameters())
    assert stages[0]["parameters"] < stages[1]["parameters"] / 3
    again = fit(settings(factor=4, steps=1), data, tmp_path / "next", progress=False, start=read_start(run.last))
    assert load_checkpoint(again.last)["start"]["start"] == kept


def test_a_resumed_run_refuses_another_start(narrow: Path, data: PackedSet, tmp_path: Path) -> None:
    config = settings(steps=1)
    begun = fit(config, data, tmp_path / "with", progress=False, start=read_start(narrow))
    fit(config, data, tmp_path / "without", progress=False)
    same = fit(config, data, tmp_path / "with", resume=True, progress=False, start=read_start(narrow))
    assert same.step == begun.step
    with pytest.raises(ConfigError, match=r"got a run that began with nothing, expected .* Leave --start out"):
        fit(config, data, tmp_path / "without", resume=True, progress=False, start=read_start(narrow))
    with pytest.raises(ConfigError, match=r"got a run that began with [0-9a-f]{12}\.\.\., expected"):
        fit(config, data, tmp_path / "with", resume=True, progress=False, start=read_start(begun.last))


def test_what_cannot_begin_is_told(narrow: Path, tmp_path: Path) -> None:
    config = dataclass_from_mapping(TrainConfig, {"network": {"name": "edge"}, "task": {"name": "depth"}})
    with pytest.raises(ConfigError, match=r"--start .*: got a checkpoint of paper, expected one of edge"):
        begin_with(read_start(narrow), build_task(config), config)
    with pytest.raises(ArtifactError, match="no such file"):
        read_start(tmp_path / "none.pt")
    state = load_checkpoint(narrow)
    state["ema"].pop("head.bias")
    torch.save(state, tmp_path / "bad.pt")
    with pytest.raises(ArtifactError, match=r"head\.bias"):
        read_start(tmp_path / "bad.pt")
