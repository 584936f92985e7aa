# SPDX-License-Identifier: Apache-2.0
"""A training that begins with another one's weights: what it takes over, keeps of it, and refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from facedepth_edge.errors import ArtifactError, ConfigError
from train.__main__ import main
from train.build import build_task
from train.checkpoint import load_checkpoint, save_checkpoint
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping, mapping_from_yaml, plain_from_dataclass
from train.data.packed import PackedSet, open_packed_set
from train.loop import fit
from train.restore import network_from_checkpoint
from train.start import at_full_width, begin_with, read_start, training_stages
from train.tasks import Task
from train.weights import network_from_weights, save_weights

FACE = torch.linspace(-1, 1, 2 * 96 * 96).reshape(2, 1, 96, 96)


@pytest.fixture(scope="module")
def data(crops_root: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    return open_packed_set(crops_root, tmp_path_factory.mktemp("packed"), processes=1, progress=False)


def settings(factor: int = 1, task: str = "cgan", optimizer: dict[str, Any] | None = None, **loop: Any) -> TrainConfig:
    widths = [4 * factor, 6 * factor]
    about: dict[str, Any] = {"name": task}
    if task == "cgan":
        about["discriminator"] = {"widths": widths}
    return dataclass_from_mapping(
        TrainConfig,
        {
            "network": {"name": "paper", "encoder_widths": widths, "decoder_widths": widths[::-1]},
            "task": about,
            "optimizer": optimizer or {"name": "adam", "weight_decay": 0.0, "lr": 1e-3},
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
    assert begin_with(start, task, config, "k") == 2
    expected = network_from_checkpoint(narrow).network(FACE)["depth"]
    torch.testing.assert_close(task.network.eval()(FACE)["depth"], expected, rtol=0, atol=1e-5)
    judged = start.task.discriminator.eval()(FACE)  # type: ignore[operator]
    torch.testing.assert_close(task.discriminator.eval()(FACE), judged, rtol=0, atol=1e-5)  # type: ignore[operator]


def test_another_task_takes_the_network_alone(narrow: Path) -> None:
    config = settings(task="autoencoder")
    task = build_task(config)
    assert begin_with(read_start(narrow), task, config, "k") == 1
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
    constant = {"name": "adam", "weight_decay": 0.0, "lr": 1e-3, "schedule": "constant"}
    longer = fit(settings(factor=2, steps=1, optimizer=constant), data, tmp_path / "long", progress=False, start=start)
    assert load_checkpoint(longer.last)["start"] == kept
    longer = fit(settings(factor=2, steps=2, optimizer=constant), data, tmp_path / "long", resume=True, progress=False)
    assert (longer.step, load_checkpoint(longer.last)["start"]) == (2, kept)
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


def test_a_training_begins_with_published_weights(narrow: Path, data: PackedSet, tmp_path: Path) -> None:
    """With the network alone, in half precision, and with the trainings that the file tells of."""
    published = tmp_path / "paper.safetensors"
    save_weights(published, network_from_checkpoint(narrow))
    start, config = read_start(published), settings()
    task = build_task(config)
    fresh = {name: value.clone() for name, value in task.discriminator.state_dict().items()}  # type: ignore[operator]
    assert begin_with(start, task, config, "k") == 1
    kept = network_from_weights(published).network.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in task.network.state_dict().items())
    assert all(torch.equal(value, fresh[name]) for name, value in task.discriminator.state_dict().items())  # type: ignore[operator]
    run = fit(settings(factor=2, steps=2), data, tmp_path / "run", progress=False, start=start)
    stages = training_stages(network_from_checkpoint(run.last))
    assert [(stage["samples"], stage["step"]) for stage in stages] == [(12, 3), (8, 2)]
    again = tmp_path / "again.safetensors"
    save_weights(again, network_from_checkpoint(run.last))
    assert read_start(again).about["start"]["sha256"] == start.about["sha256"]
    with pytest.raises(ArtifactError, match=r"none\.safetensors: got no such file"):
        read_start(tmp_path / "none.safetensors")


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
        begin_with(read_start(narrow), build_task(config), config, "k")
    with pytest.raises(ArtifactError, match="no such file"):
        read_start(tmp_path / "none.pt")
    state = load_checkpoint(narrow)
    torch.save({**state, "start": "text"}, tmp_path / "odd.pt")
    with pytest.raises(ArtifactError, match=r"odd\.pt: start: got a str, expected a Mapping"):
        read_start(tmp_path / "odd.pt")
    state["ema"].pop("head.bias")
    torch.save(state, tmp_path / "bad.pt")
    with pytest.raises(ArtifactError, match=r"head\.bias"):
        read_start(tmp_path / "bad.pt")


def named_people(task: str, factor: int = 1, people: int = 8, **options: Any) -> TrainConfig:
    network: dict[str, Any] = {"name": "cui", "widths": [2 * factor, 4 * factor, 4 * factor]}
    about: dict[str, Any] = {"name": "cui", "classifier": {"widths": [2 * factor, 4 * factor], "people": people}}
    if task == "verification":
        network = {"name": "siamese", "widths": [2 * factor, 4 * factor, 4 * factor], "hidden": [4 * factor]}
        about = {"name": "verification", "frames_per_person": 2, "people": people, "validation_pairs": 8, **options}
    loop = {"steps": 1, "batch_size": 4, "accelerator": "cpu", "precision": "32-true", "threads": 1}
    plain = {"network": network, "task": about, "loop": loop, "data": {"validation_frames": 4}}
    return dataclass_from_mapping(TrainConfig, plain)


@pytest.mark.parametrize("task", ["cui", "verification"])
def test_names_come_along_with_the_same_people_only(task: str, tmp_path: Path) -> None:
    options = {"identity": 0.5} if task == "verification" else {}
    config = named_people(task, **options)
    torch.manual_seed(0)
    first = build_task(config)
    save_plain_start(first, config, tmp_path / "first.pt")
    start, part = read_start(tmp_path / "first.pt"), first.names_people[0]
    for people, key, taken in ((8, "k", True), (8, "another set", False), (16, "k", False)):
        wide = named_people(task, 2, people, **options)
        torch.manual_seed(1)
        new = build_task(wide)
        before = {name: value.clone() for name, value in new.state_dict().items()}
        assert begin_with(start, new, wide, key) == 2
        changed = {
            name.split(".")[0] for name, value in new.state_dict().items() if not torch.equal(value, before[name])
        }
        assert changed == ({"network", part} if taken else {"network"})


def test_naming_can_begin_after_pairs_alone(tmp_path: Path) -> None:
    pairs = named_people("verification", identity=0.0)
    save_plain_start(build_task(pairs), pairs, tmp_path / "pairs.pt")
    named = named_people("verification", identity=0.5)
    assert begin_with(read_start(tmp_path / "pairs.pt"), build_task(named), named, "k") == 1


def test_the_layer_that_tells_shapes_comes_along_with_any_people(tmp_path: Path) -> None:
    config = named_people("verification", shape=0.5)
    torch.manual_seed(0)
    first = build_task(config)
    save_plain_start(first, config, tmp_path / "first.pt")
    wide = named_people("verification", 2, shape=0.5)
    torch.manual_seed(1)
    new = build_task(wide)
    assert begin_with(read_start(tmp_path / "first.pt"), new, wide, "another set") == 2
    faces = torch.randn(3, 1, 96, 96)
    told = [task.eval().shape(task.network.embed(faces)) for task in (first, new)]  # type: ignore[operator]
    torch.testing.assert_close(told[1], told[0], rtol=1e-4, atol=1e-5)


def save_plain_start(task: Task, config: TrainConfig, path: Path) -> None:
    about = {"step": 1, "samples": 4, "elapsed_s": 0.0, "config": plain_from_dataclass(config), "spec": {},
             "commit": "c", "task": task.state_dict(), "ema": task.network.state_dict(), "optimizers": {}, "rng": None,
             "best": 0.0, "data": {"key": "k"}}  # fmt: skip
    save_checkpoint(path, about)


def test_other_options_than_widths_are_told(tmp_path: Path) -> None:
    plain = {"network": {"name": "edge", "widths": [4, 6, 8, 8], "head_width": 4}, "task": {"name": "depth"}}
    config = dataclass_from_mapping(TrainConfig, plain)
    save_plain_start(build_task(config), config, tmp_path / "edge.pt")
    other = dataclass_from_mapping(TrainConfig, {**plain, "network": {**plain["network"], "stem_kernel": 9}})
    with pytest.raises(ConfigError, match=r"layer stem.*: got .*9, 9.*, expected .*3, 3"):
        begin_with(read_start(tmp_path / "edge.pt"), build_task(other), other, "k")


def test_the_command_line_starts_and_says_with_what(
    narrow: Path, crops_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "wide.yaml"
    config.write_text(
        "network: {name: paper, encoder_widths: [8, 12], decoder_widths: [12, 8]}\n"
        "task: {name: autoencoder}\n"
        "optimizer: {name: adam, weight_decay: 0.0}\n"
        "loop: {steps: 1, batch_size: 2, accelerator: cpu, threads: 1}\n"
        f"data: {{cache_dir: {tmp_path / 'cache'}, processes: 1, validation_frames: 2}}\n"
    )
    arguments = ["--config", str(config), "--data", str(crops_root), "--out", str(tmp_path / "run")]
    assert main([*arguments, "--start", str(narrow)]) == 0
    assert load_checkpoint(tmp_path / "run" / "last.pt")["start"]["step"] == 3
    assert main([*arguments, "--out", str(tmp_path / "other"), "--start", str(tmp_path / "none.pt")]) == 1
    assert "none.pt: got no such file" in capsys.readouterr().err


def test_a_narrow_network_at_full_width(tmp_path: Path) -> None:
    plain = {
        "network": {"name": "siamese", "widths": [16, 32, 64, 64, 64], "hidden": [32, 8]},
        "task": {"name": "verification"},
    }
    config = dataclass_from_mapping(TrainConfig, plain)
    save_plain_start(build_task(config), config, tmp_path / "narrow.pt")
    state = load_checkpoint(tmp_path / "narrow.pt")
    torch.save({**state, "spec": {"input_px": 96}}, tmp_path / "narrow.pt")
    narrow = network_from_checkpoint(tmp_path / "narrow.pt")
    wide, again = at_full_width(narrow), at_full_width(narrow)
    assert wide.network.config.widths == (64, 128, 256, 256, 256)
    assert wide.config.network.options == wide.network.config
    torch.testing.assert_close(
        wide.network(FACE, -FACE)["same"], narrow.network(FACE, -FACE)["same"], rtol=0, atol=1e-5
    )
    assert all(
        torch.equal(value, again.network.state_dict()[name]) for name, value in wide.network.state_dict().items()
    )
    assert at_full_width(wide) is wide


@pytest.mark.parametrize("name", ["edge", "validity"])
def test_the_configs_go_on_from_the_bundled_model(name: str) -> None:
    repo = Path(__file__).resolve().parents[2]
    config = dataclass_from_mapping(TrainConfig, mapping_from_yaml(repo / "configs" / f"{name}.yaml"))
    start = read_start(repo / "facedepth_edge" / "models" / "edge")
    task = build_task(config)
    assert begin_with(start, task, config, "") == 1
    weights = start.task.network.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in task.network.state_dict().items())
