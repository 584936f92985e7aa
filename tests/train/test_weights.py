# SPDX-License-Identifier: Apache-2.0
"""Published weights: read as they were written, the same bytes for the same network, and damage is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from facedepth_edge.errors import ArtifactError
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping
from train.networks import NETWORKS
from train.restore import TrainedNetwork
from train.weights import main, network_from_weights, save_weights


def tiny_trained() -> TrainedNetwork:
    network = {"name": "paper", "encoder_widths": [4, 6], "decoder_widths": [6, 4]}
    config = dataclass_from_mapping(TrainConfig, {"network": network, "task": {"name": "autoencoder"}})
    torch.manual_seed(0)
    built = NETWORKS["paper"](config.network.options)
    built(torch.randn(4, 1, 16, 16))  # batch norm statistics that are not the initial ones
    data = {"name": "heads", "key": "k", "train_frames": 9, "train_subjects": 3}
    return TrainedNetwork(built.eval(), "paper", config, 7, 56, "abc", data, 96)


def test_round_trip_in_half_precision(tmp_path: Path) -> None:
    trained = tiny_trained()
    path = tmp_path / "paper.safetensors"
    save_weights(path, trained)
    again = network_from_weights(path)
    assert (again.architecture, again.step, again.samples, again.commit) == ("paper", 7, 56, "abc")
    assert (again.data, again.input_px, again.config) == (trained.data, 96, trained.config)
    for name, value in trained.network.state_dict().items():
        read = again.network.state_dict()[name]
        expected = value.half().float() if value.is_floating_point() and value.ndim >= 2 else value
        assert read.dtype == value.dtype
        assert torch.equal(read, expected), name
    face = torch.randn(1, 1, 16, 16)
    difference = (again.network(face)["depth"] - trained.network(face)["depth"]).abs().max()
    assert 0 < difference < 2e-3
    size = path.stat().st_size
    save_weights(tmp_path / "again.safetensors", trained)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert size < 2.6 * sum(v.numel() for v in trained.network.state_dict().values()) + 4000


def test_who_may_read_it_is_the_umasks_say(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    save_weights(tmp_path / "paper.safetensors", tiny_trained())
    assert (tmp_path / "paper.safetensors").stat().st_mode == plain.stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["paper.safetensors", "plain"]


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", tiny_trained())
    with pytest.raises(ArtifactError, match="got a checkpoint of paper, expected a checkpoint of edge"):
        network_from_weights(tmp_path / "w.safetensors", "edge")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, tiny_trained())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match=r"w\.safetensors: got \w+ on reading it, expected weights"):
        network_from_weights(path)


def test_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="got no such file"):
        network_from_weights(tmp_path / "none.safetensors")
    path = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, str(path))
    with pytest.raises(ArtifactError, match=r"foreign\.safetensors: got"):
        network_from_weights(path)
    save_file({"a": torch.zeros(1)}, str(path), {"about": json.dumps({"step": 1})})
    with pytest.raises(ArtifactError, match=r"got the notes \['step'\], expected commit, config, data, format"):
        network_from_weights(path)


def test_missing_tensors_are_named(tmp_path: Path) -> None:
    trained = tiny_trained()
    path = tmp_path / "w.safetensors"
    save_weights(path, trained)
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        notes = file.metadata()
    state = trained.network.state_dict()
    del state["head.weight"]
    save_file(state, str(path), notes)
    with pytest.raises(ArtifactError, match=r"(?s)weights: got .*head\.weight.*, expected the weights of paper"):
        network_from_weights(path)


def test_command_refuses_what_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.pt"), str(tmp_path / "out.safetensors")]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("FAIL python -m train.weights")
    assert not (tmp_path / "out.safetensors").exists()
