# SPDX-License-Identifier: Apache-2.0
"""The average of a fine-tuned network and of what it began with."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from export.notes import training_notes
from facedepth_edge.errors import ArtifactError
from train.average import main
from train.checkpoint import load_checkpoint, save_checkpoint
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping
from train.data.packed import open_packed_set
from train.loop import fit
from train.restore import network_from_checkpoint
from train.start import read_start, training_stages
from train.weights import save_weights


def settings(width: int = 4, blocks: tuple[int, ...] = (0, 1, 1, 1)) -> TrainConfig:
    return dataclass_from_mapping(
        TrainConfig,
        {
            "network": {"name": "edge", "widths": [4, 4, width, 8], "head_width": 4, "blocks": list(blocks)},
            "task": {"name": "depth"},
            "optimizer": {"name": "adam", "weight_decay": 0.0, "lr": 1e-2},
            "loop": {"steps": 3, "batch_size": 4, "accelerator": "cpu", "precision": "32-true", "threads": 1,
                     "ema_decay": 0.5},
            "data": {"validation_frames": 4},
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(crops_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A run, one that begins with it, and one of another width."""
    data = open_packed_set(crops_root, tmp_path_factory.mktemp("packed"), processes=1, progress=False)
    first = fit(settings(), data, tmp_path_factory.mktemp("first"), progress=False).last
    second = fit(settings(), data, tmp_path_factory.mktemp("second"), progress=False, start=read_start(first)).last
    return first, second, fit(settings(8), data, tmp_path_factory.mktemp("wide"), progress=False).last


@pytest.fixture(scope="module")
def deeper(runs: tuple[Path, Path, Path], crops_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with residual blocks more that begins with the first one."""
    data = open_packed_set(crops_root, tmp_path_factory.mktemp("packed"), processes=1, progress=False)
    return fit(settings(blocks=(0, 1, 2, 3)), data, tmp_path_factory.mktemp("deep"), progress=False,
               start=read_start(runs[0])).last  # fmt: skip


def test_published_weights_and_another_depth(
    runs: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published, out = tmp_path / "edge.safetensors", tmp_path / "out.pt"
    save_weights(published, network_from_checkpoint(runs[0]))
    assert main([str(published), "--with", str(runs[0]), "--out", str(out)]) != 0
    assert "edge.safetensors, expected a last.pt or best.pt" in capsys.readouterr().err
    assert main([str(runs[1]), "--with", str(published), "--out", str(out)]) == 0
    state = load_checkpoint(runs[0])
    state["config"]["data"]["depth_along"] = "ray"
    del state["format"]
    save_checkpoint(tmp_path / "ray.pt", state)
    assert main([str(runs[1]), "--with", str(tmp_path / "ray.pt"), "--out", str(tmp_path / "mixed.pt")]) != 0
    assert "got depth along the ray, expected along the axis" in capsys.readouterr().err
    assert not (tmp_path / "mixed.pt").exists()


def test_a_deeper_network_is_averaged_with_what_it_began_with(
    runs: tuple[Path, Path, Path], deeper: Path, tmp_path: Path
) -> None:
    mixed = {}
    for share in (0.0, 0.5, 1.0):
        out = tmp_path / f"{share}.pt"
        assert main([str(deeper), "--with", str(runs[0]), "--share", str(share), "--out", str(out)]) == 0
        mixed[share] = read_start(out).task.network
    faces = torch.rand(2, 1, 96, 96) * 2 - 1
    answers = [read_start(path).task.network.eval()(faces)["depth"] for path in (runs[0], deeper)]
    torch.testing.assert_close(mixed[0.0].eval()(faces)["depth"], answers[0])
    torch.testing.assert_close(mixed[1.0].eval()(faces)["depth"], answers[1])
    assert not torch.allclose(answers[0], answers[1], atol=1e-5)
    trained, half = read_start(deeper).task.network.state_dict(), mixed[0.5].state_dict()
    block = "stages.3.2."  # one that the first network lacks
    torch.testing.assert_close(half[block + "first.conv.weight"], trained[block + "first.conv.weight"])
    assert trained[block + "second.norm.weight"].any()
    torch.testing.assert_close(half[block + "second.norm.weight"], 0.5 * trained[block + "second.norm.weight"])


def test_deeper_networks_are_averaged_in_any_order(
    runs: tuple[Path, Path, Path], deeper: Path, crops_root: Path, tmp_path: Path
) -> None:
    data = open_packed_set(crops_root, tmp_path / "packed", processes=1, progress=False)
    longer = replace(settings(blocks=(0, 1, 2, 3)), loop=replace(settings().loop, seed=9))
    other = fit(longer, data, tmp_path / "other", progress=False, start=read_start(runs[0])).last
    mixed = []
    for name, pair in (("one", (deeper, other)), ("two", (other, deeper))):
        out = tmp_path / f"{name}.pt"
        assert main([*map(str, pair), "--with", str(runs[0]), "--share", "0.5", "--out", str(out)]) == 0
        mixed.append(load_checkpoint(out)["ema"])
    trained = [load_checkpoint(path)["ema"]["stages.3.2.first.conv.weight"] for path in (deeper, other)]
    assert not torch.allclose(*trained)
    torch.testing.assert_close(mixed[0]["stages.3.2.first.conv.weight"], (trained[0] + trained[1]) / 2)
    for name, value in mixed[0].items():
        if value.is_floating_point():
            torch.testing.assert_close(value, mixed[1][name])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_average_lies_between(runs: tuple[Path, Path, Path], tmp_path: Path, share: float) -> None:
    first, second, _ = runs
    out = tmp_path / "average.pt"
    assert main([str(second), "--with", str(first), "--share", str(share), "--out", str(out)]) == 0
    before, after, mixed = (load_checkpoint(path)["ema"] for path in (first, second, out))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    for name, value in mixed.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (1 - share) * before[name] + share * after[name])
        else:
            assert torch.equal(value, after[name])
    trained = network_from_checkpoint(out)
    assert [stage["step"] for stage in training_stages(trained)] == [3, 3]
    assert trained.data["averaged"]["share"] == share
    assert training_notes(trained)["averaged"] == trained.data["averaged"]
    assert "averaged" not in training_notes(network_from_checkpoint(second))
    again = read_start(out).task.network.state_dict()
    assert all(torch.equal(again[name], value) for name, value in mixed.items())


def test_several_are_averaged_among_themselves_first(runs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    first, second, _ = runs
    out = tmp_path / "average.pt"
    assert main([str(second), str(second), str(first), "--with", str(first), "--share", "0.6", "--out", str(out)]) == 0
    before, after, mixed = (load_checkpoint(path) for path in (first, second, out))
    for name, value in mixed["ema"].items():
        if value.is_floating_point():  # 0.6 (2 after + before) / 3 + 0.4 before
            torch.testing.assert_close(value, 0.4 * after["ema"][name] + 0.6 * before["ema"][name])
    noted = mixed["data"]["averaged"]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (second, second, first)]
    assert [run["sha256"] for run in noted["runs"]] == digests
    assert [run["samples"] for run in noted["runs"]] == [12, 12, 12]
    assert noted["other"] == digests[2]


def test_what_cannot_be_averaged_is_told(
    runs: tuple[Path, Path, Path], deeper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, wide = runs
    out = tmp_path / "average.pt"
    for other, share, message in (
        (wide, "0.5", "Give what the training began with"),
        (deeper, "0.5", "Give what the training began with"),
        (first, "1.5", "--share: got 1.5, expected 0 to 1"),
        (first, "nan", "--share: got nan, expected 0 to 1"),
        (tmp_path / "none.pt", "0.5", "no such file"),
    ):
        assert main([str(second), "--with", str(other), "--share", share, "--out", str(out)]) == 1
        assert message in capsys.readouterr().err
        assert not out.exists()
    assert main([str(wide), "--with", str(first), "--out", str(out)]) == 1  # a wider one that could begin with it
    assert "the same widths" in capsys.readouterr().err
    out.write_text("mine")
    assert main([str(second), "--with", str(first), "--out", str(out)]) == 2
    assert out.read_text() == "mine"
    with pytest.raises(ArtifactError):
        load_checkpoint(out)
