# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: read back as written, whole or not at all, and damage is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from facedepth_edge.errors import ArtifactError
from train.checkpoint import KEYS, current_commit, load_checkpoint, save_checkpoint
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping, plain_from_dataclass
from train.networks import Edge, EdgeConfig
from train.restore import network_from_checkpoint

SMALL = {"name": "edge", "widths": [4, 4, 4, 4], "head_width": 4}


@pytest.fixture
def state() -> dict[str, Any]:
    torch.manual_seed(0)
    config = dataclass_from_mapping(TrainConfig, {"network": SMALL, "task": {"name": "depth"}})
    values: dict[str, Any] = dict.fromkeys(KEYS, 0)
    del values["format"]
    network = Edge(EdgeConfig((4, 4, 4, 4), head_width=4))
    values.update(
        step=12, commit="abc", config=plain_from_dataclass(config), ema=network.state_dict(),
        data={"name": "heads"}, spec={"input_px": 96}, task={}, optimizers={},
    )  # fmt: skip
    return values


def test_round_trip(state: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "new" / "last.pt"
    save_checkpoint(path, state)
    loaded = load_checkpoint(path)
    assert loaded.pop("format") == 1
    assert loaded.pop("start") is None  # as in a checkpoint that is older than the key
    assert loaded.pop("selects") is None
    assert all(torch.equal(loaded["ema"][name], value) for name, value in state["ema"].items())
    assert {key: loaded[key] for key in loaded if key != "ema"} == {key: state[key] for key in state if key != "ema"}
    assert [entry.name for entry in path.parent.iterdir()] == ["last.pt"]


def test_a_failed_write_leaves_the_old_one(
    state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, state)
    before = path.read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {**state, "step": 13})
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_damaged_files_are_told(state: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    with pytest.raises(ArtifactError, match=r"last\.pt: got no such file, expected a checkpoint"):
        load_checkpoint(path)
    save_checkpoint(path, state)
    whole = path.read_bytes()
    for content in (b"", b"not a checkpoint", whole[: len(whole) // 2], whole[:-200]):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match="The file is damaged"):
            load_checkpoint(path)
    torch.save({"format": 1, "weights": {}}, path)
    with pytest.raises(ArtifactError, match=r"got the keys \['format', 'weights'\], expected format 1"):
        load_checkpoint(path)


class Surprise:
    """What a malicious checkpoint would hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("surprise",)


def test_a_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": Surprise()}, tmp_path / "bad.pt")
    with pytest.raises(ArtifactError):
        load_checkpoint(tmp_path / "bad.pt")
    assert not (tmp_path / "surprise").exists()


def test_restoring_a_network(state: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    save_checkpoint(path, state)
    trained = network_from_checkpoint(path)
    assert (trained.architecture, trained.step, trained.input_px, trained.data) == ("edge", 12, 96, {"name": "heads"})
    assert not trained.network.training
    assert all(torch.equal(value, state["ema"][name]) for name, value in trained.network.state_dict().items())
    with pytest.raises(ArtifactError, match="got a checkpoint of edge, expected a checkpoint of paper"):
        network_from_checkpoint(path, "paper")


def test_weights_that_do_not_fit_are_told(state: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    state["ema"].pop("head.bias")
    save_checkpoint(path, state)
    with pytest.raises(ArtifactError, match=r"head\.bias.*expected the weights of edge"):
        network_from_checkpoint(path)
    state["config"]["network"]["name"] = "egde"
    save_checkpoint(path, state)
    with pytest.raises(ArtifactError, match=r"best\.pt: config: got .*Did you mean edge\?"):
        network_from_checkpoint(path)


def test_commit_is_a_hash_or_unknown() -> None:
    commit = current_commit().removesuffix("+changes")
    assert commit == "unknown" or (len(commit) == 40 and int(commit, 16) >= 0)


@pytest.mark.parametrize(
    ("key", "value"), [("data", None), ("ema", "x"), ("samples", "x"), ("spec", 3), ("step", None)]
)
def test_a_part_of_another_kind_is_told(state: dict[str, Any], tmp_path: Path, key: str, value: object) -> None:
    save_checkpoint(tmp_path / "last.pt", {**state, key: value})
    with pytest.raises(ArtifactError, match=rf"last\.pt: {key}: got a {type(value).__name__}, expected a"):
        load_checkpoint(tmp_path / "last.pt")
