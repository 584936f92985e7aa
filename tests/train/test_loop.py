# SPDX-License-Identifier: Apache-2.0
"""The loop: learning, resuming after a kill, refusing other runs, schedules and averages."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from facedepth_edge.errors import ConfigError
from tests.train.conftest import write_crops_set
from train.checkpoint import load_checkpoint, save_checkpoint
from train.config import LoopConfig, OptimizerConfig, TrainConfig
from train.config_reader import dataclass_from_mapping
from train.data.packed import PackedSet, open_packed_set
from train.fabric import choose_precision
from train.loop import fit, learning_rate, update_average
from train.networks import NETWORKS, Edge, EdgeConfig
from train.tasks.base import Task

TINY = {"name": "edge", "widths": [4, 6, 8, 8], "blocks": [0, 1, 0, 0], "head_width": 4}
REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(crops_root: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    return open_packed_set(crops_root, tmp_path_factory.mktemp("packed"), processes=1, progress=False)


def tiny_config(task: dict | None = None, network: dict | None = None, **loop: object) -> TrainConfig:
    settings = {"steps": 6, "batch_size": 4, "validate_every": 3, "checkpoint_every": 2, "log_every": 2, "seed": 3,
                "accelerator": "cpu", "precision": "32-true", "threads": 1, **loop}  # fmt: skip
    return dataclass_from_mapping(
        TrainConfig,
        {
            "network": network or TINY,
            "task": task or {"name": "depth"},
            "optimizer": {"lr": 2e-3, "warmup_steps": 2},
            "loop": settings,
            "data": {"validation_frames": 4},
        },
    )


def assert_same(a: object, b: object, where: str = "state") -> None:
    """Compare nested checkpoints bit by bit."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (left, right) in enumerate(zip(a, b, strict=True)):
            assert_same(left, right, f"{where}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Make the loop die in the middle of a step, as by a kill."""
    from train import loop

    real, count = loop.make_batch, [0]

    def dying(*args: object, **kwargs: object) -> object:
        count[0] += 1
        if count[0] > steps:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(loop, "make_batch", dying)


TASKS = {
    "depth": ({"name": "depth"}, TINY),
    "cgan": (
        {"name": "cgan", "discriminator": {"widths": [4, 4]}},
        {"name": "paper", "encoder_widths": [4, 6], "decoder_widths": [6, 4]},
    ),
}


IN_HALF = {
    **TASKS,
    "pix2pix": (
        {"name": "pix2pix", "discriminator": {"widths": [4, 4]}},
        {"name": "pix2pix", "widths": [4, 6, 8, 8, 8]},
    ),
    "cui": (
        {"name": "cui", "classifier": {"widths": [4, 6], "people": 16}},
        {"name": "cui", "widths": [4, 6, 8, 8, 8]},
    ),
    "autoencoder": ({"name": "autoencoder"}, TASKS["cgan"][1]),
    "verification": (
        {"name": "verification", "frames_per_person": 2, "validation_pairs": 8},
        {"name": "siamese", "widths": [4, 6, 8, 8, 8], "hidden": [8, 4]},
    ),
}


@pytest.fixture(scope="module")
def pairs_data(tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    """A set whose validation split has two people, as pairs need."""
    root = write_crops_set(tmp_path_factory.mktemp("pairs") / "crops", subjects=7)
    note = json.loads((root / "dataset.json").read_text())
    note["subjects"] = {"train": [1, 2, 3, 4], "val": [5, 6], "test": [7]}
    (root / "dataset.json").write_text(json.dumps(note))
    return open_packed_set(root, tmp_path_factory.mktemp("packed"), processes=1, progress=False)


@pytest.mark.parametrize("name", IN_HALF)
def test_every_task_trains_in_mixed_precision(name: str, pairs_data: PackedSet, tmp_path: Path) -> None:
    """What `precision: auto` takes on a GPU and on CPUs with bf16, which the machine of these tests may not be."""
    data = pairs_data
    task, network = IN_HALF[name]
    batch = {"batch_size": 4, "steps": 2, "validate_every": 2}
    config = tiny_config(task, network, precision="bf16-mixed", **batch)
    forwards, seen = [], set()

    def note(module: torch.nn.Module, inputs: tuple[object, ...]) -> None:
        if isinstance(module, NETWORKS[network["name"]]) and module.training:
            forwards.append(module)
        if isinstance(module, Task):
            seen.update(value.dtype for value in vars(inputs[1]).values() if value.is_floating_point())

    hook = torch.nn.modules.module.register_module_forward_pre_hook(note)
    try:
        result = fit(config, data, tmp_path / "half", progress=False)
    finally:
        hook.remove()
    assert seen == {torch.float32}  # the truth is not rounded
    assert len(forwards) == (0 if name == "verification" else 2)  # a step runs the network once; pairs use its parts
    assert result.step == 2
    assert all(math.isfinite(score) for score in result.scores.values())
    weights = load_checkpoint(result.last)["task"]
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float32}
    whole = fit(tiny_config(task, network, **batch), data, tmp_path / "whole", progress=False)
    exact = load_checkpoint(whole.last)["task"]
    apart = [not torch.equal(weights[key], exact[key]) for key in exact if exact[key].is_floating_point()]
    assert any(apart)  # it did compute in another precision


@pytest.mark.parametrize("name", TASKS)
def test_resume_equals_uninterrupted(
    name: str, data: PackedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, network = TASKS[name]
    config = tiny_config(task, network)
    fit(config, data, tmp_path / "whole", progress=False)
    with monkeypatch.context() as patch:
        stop_after(patch, 5)  # after step 5: the last checkpoint is step 4's, so step 5 is done twice
        with pytest.raises(KeyboardInterrupt):
            fit(config, data, tmp_path / "parts", progress=False)
    assert load_checkpoint(tmp_path / "parts" / "last.pt")["step"] == 4
    torch.manual_seed(99)  # whatever state the new process has
    result = fit(config, data, tmp_path / "parts", resume=True, progress=False)
    assert result.step == 6
    whole, parts = (load_checkpoint(tmp_path / folder / "last.pt") for folder in ("whole", "parts"))
    for state in (whole, parts):
        state.pop("elapsed_s")
    assert_same(whole, parts)


def test_the_best_by_another_score_is_not_the_best(
    data: PackedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(steps=6)
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            fit(config, data, tmp_path / "run", progress=False)
    path = tmp_path / "run" / "last.pt"
    state = load_checkpoint(path)
    assert state["selects"] == "offset_free_mm"
    for selects, kept in (("bce", False), ("offset_free_mm", True), (None, True)):
        save_checkpoint(path, {**state, "selects": selects, "best": -1.0})  # no error in mm is as small
        fit(config, data, tmp_path / "run", resume=True, progress=False)
        found = load_checkpoint(path)
        assert (found["best"] == -1.0) == kept
        assert found["selects"] == "offset_free_mm"


def test_resume_after_a_real_kill(crops_root: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "network: {name: edge, widths: [4, 6, 8, 8], blocks: [0, 0, 0, 0], head_width: 4}\n"
        "task: {name: depth}\n"
        "loop: {steps: 40, batch_size: 2, checkpoint_every: 1, validate_every: 1000, accelerator: cpu, threads: 1}\n"
        f"data: {{cache_dir: {tmp_path / 'cache'}, processes: 1, validation_frames: 2}}\n"
    )
    out = tmp_path / "run"
    command = [sys.executable, "-m", "train", "--config", str(config), "--data", str(crops_root), "--out", str(out)]
    process = subprocess.Popen(command, cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (out / "last.pt").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    before = load_checkpoint(out / "last.pt")
    assert 1 <= before["step"] < 40
    done = subprocess.run([*command, "--resume"], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("PASS python -m train")
    assert load_checkpoint(out / "last.pt")["step"] == 40


def test_learning_lowers_the_error(data: PackedSet, tmp_path: Path) -> None:
    settings = {"steps": 60, "batch_size": 8, "validate_every": 60, "checkpoint_every": 60, "ema_decay": 0.0}
    config = tiny_config(**settings)
    result = fit(config, data, tmp_path / "run", progress=False)
    untrained = fit(tiny_config(**{**settings, "steps": 1}), data, tmp_path / "one", progress=False)
    assert result.scores["offset_free_mm"] < 0.75 * untrained.scores["offset_free_mm"]
    assert (tmp_path / "run" / "best.pt").is_file()
    assert list((tmp_path / "run" / "logs").glob("events*"))


def test_turned_heads_come_more_often_where_it_is_asked(
    data: PackedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn_from, draw = [], Task.draw
    note = lambda task, data, indices, *rest: drawn_from.append(indices) or draw(task, data, indices, *rest)  # noqa: E731
    monkeypatch.setattr(Task, "draw", note)
    turned = data.indices("train")[:5]
    meta = data.meta.copy()
    meta["roll_pitch_yaw_deg"][turned, 2] = -45.0
    config = tiny_config(steps=1)
    for most in (1, 3):
        settings = dataclasses.replace(config.data, even_yaw=most)
        changed = dataclasses.replace(data, meta=meta)
        fit(dataclasses.replace(config, data=settings), changed, tmp_path / str(most), progress=False)
    plain, even = drawn_from
    assert (plain == data.indices("train")).all()
    twice = [one in turned and bool(data.meta["face"][one]) for one in plain]  # the others are frontal
    assert any(twice)
    assert [(even == one).sum() for one in plain] == [1 + two for two in twice]


def test_people_are_not_evened(pairs_data: PackedSet, tmp_path: Path) -> None:
    config = tiny_config({"name": "verification"}, {"name": "siamese"})
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, even_yaw=2))
    with pytest.raises(ConfigError, match=r"data\.even_yaw"):
        fit(config, pairs_data, tmp_path / "run", progress=False)


def test_a_folder_with_a_run_is_refused_without_resume(data: PackedSet, tmp_path: Path) -> None:
    config = tiny_config(steps=2)
    fit(config, data, tmp_path / "run", progress=False)
    with pytest.raises(ConfigError, match=r"--out: got .*which holds a run, expected a new folder\. Add --resume"):
        fit(config, data, tmp_path / "run", progress=False)


def test_resume_refuses_another_config_or_data(data: PackedSet, tmp_path: Path) -> None:
    fit(tiny_config(steps=2), data, tmp_path / "run", progress=False)
    other = tiny_config(steps=4, task={"name": "depth", "mask": 3.5})
    with pytest.raises(
        ConfigError, match=r"loop\.steps 4, task\.mask 3\.5, expected .* \(loop\.steps 2, task\.mask 6\.0\)"
    ):
        fit(other, data, tmp_path / "run", resume=True, progress=False)
    with pytest.raises(ConfigError, match="other data"):
        fit(tiny_config(steps=2), dataclasses.replace(data, key="x"), tmp_path / "run", resume=True, progress=False)
    same = fit(tiny_config(steps=2, log_every=1, threads=2), data, tmp_path / "run", resume=True, progress=False)
    assert same.step == 2


def test_resume_refuses_another_number_of_samples_a_step(data: PackedSet, tmp_path: Path) -> None:
    """On two devices a step draws twice as many, and the next one would begin where it never was."""
    config = tiny_config(steps=2)
    last = fit(config, data, tmp_path / "run", progress=False).last
    state = load_checkpoint(last)
    del state["format"]
    half = {**state, "step": 1}  # in the middle; a run that is done draws no sample any more
    save_checkpoint(last, half)  # with twice the samples of a step, as a run of two devices leaves it
    with pytest.raises(ConfigError, match=r"loop\.devices: got 1 processes of .*Resume on as many devices as before"):
        fit(config, data, tmp_path / "run", resume=True, progress=False)


def test_a_budget_of_time_ends_the_schedule(data: PackedSet, tmp_path: Path) -> None:
    config = tiny_config(steps=100_000, max_minutes=3 / 60, validate_every=100_000, checkpoint_every=100_000)
    result = fit(config, data, tmp_path / "run", progress=False)
    state = load_checkpoint(result.last)
    assert 0 < result.step < 100_000
    assert state["elapsed_s"] >= 3.0
    rates = [group["lr"] for group in state["optimizers"]["network"]["param_groups"]]
    assert max(rates) < 0.2 * config.optimizer.lr  # the learning rate came down with the time


def test_a_loss_that_is_not_finite_stops_the_run(
    data: PackedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train import losses

    monkeypatch.setattr(losses, "mask_dice", lambda logits, head, seen: logits.sum() * float("nan"))
    with pytest.raises(ConfigError, match=r"step 2: got loss_network nan, expected a finite loss"):
        fit(tiny_config(), data, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "last.pt").exists()


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_what_diverged_is_never_saved(
    broken: str, data: PackedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the third of four steps, with a checkpoint every second; a gradient may break where the loss is finite."""
    from train import losses

    right, calls = losses.mask_dice, []

    def breaking(logits: torch.Tensor, head: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) <= 2 or not torch.is_grad_enabled():
            return right(logits, head, seen)
        if broken == "loss":
            return right(logits, head, seen) * float("nan")
        logits.register_hook(lambda gradient: gradient * float("inf"))
        return right(logits, head, seen)

    monkeypatch.setattr(losses, "mask_dice", breaking)
    config = tiny_config(steps=40, checkpoint_every=2, log_every=100, validate_every=100)
    with pytest.raises(
        ConfigError, match=r"step 4: got a weight that is not, .* a checkpoint that is there is from bef"
    ):
        fit(config, data, tmp_path / "run", progress=False)
    state = load_checkpoint(tmp_path / "run" / "last.pt")
    assert state["step"] == 2
    assert all(bool(torch.isfinite(value).all()) for value in state["task"].values())


def test_learning_rate_warms_up_and_comes_down() -> None:
    settings = OptimizerConfig(lr=1.0, warmup_steps=3, final_lr=0.1)
    assert learning_rate(settings, 0, 0.0) == pytest.approx(0.25)
    assert learning_rate(settings, 3, 0.0) == pytest.approx(1.0)
    assert learning_rate(settings, 50, 0.5) == pytest.approx(0.55)
    assert learning_rate(settings, 100, 1.0) == pytest.approx(0.1)
    assert learning_rate(dataclasses.replace(settings, schedule="constant"), 99, 1.0) == 1.0


def test_average_follows_weights_and_buffers() -> None:
    torch.manual_seed(0)
    network = Edge(EdgeConfig(widths=(4, 4, 4, 4), head_width=4))
    average = copy.deepcopy(network)
    with torch.no_grad():
        for value in network.state_dict().values():
            value.add_(1)
    before = {name: value.clone() for name, value in average.state_dict().items()}
    update_average(average, network, decay=0.9, step=10_000)
    for name, value in average.state_dict().items():
        expected = before[name] + (0.1 if value.is_floating_point() else 1)
        torch.testing.assert_close(value, expected)
    update_average(average, network, decay=0.0, step=0)
    for name, value in average.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])


def test_precision_is_what_was_asked() -> None:
    cpu = torch.device("cpu")
    assert choose_precision("32-true", cpu) == "32-true"
    assert choose_precision("bf16-mixed", cpu) == "bf16-mixed"
    assert choose_precision("auto", cpu) in ("32-true", "bf16-mixed")


def test_loop_config_checks_itself() -> None:
    with pytest.raises(ConfigError, match=r"loop\.steps: got 0, expected >= 1"):
        LoopConfig(steps=0)
    with pytest.raises(ConfigError, match=r"optimizer\.name: got sgd, expected one of adamw, muon, adam"):
        OptimizerConfig(name="sgd")


def test_the_loop_names_no_model() -> None:
    text = (REPO / "train" / "loop.py").read_text().lower()
    for word in ("edge(", "papergenerator", "discriminator", "cgan", '"mask"', '"validity"'):
        assert word not in text, word
    assert np.isfinite(len(text))
    assert len(text.splitlines()) <= 400
