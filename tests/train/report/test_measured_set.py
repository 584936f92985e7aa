# SPDX-License-Identifier: Apache-2.0
"""From weights, a pair list and a set's folder to the report; measured once, and again when anything changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from facedepth_edge.errors import ArtifactError
from tests.train.report.test_measure import write_test_set
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping
from train.data.batches import make_batch
from train.data.packed import PackedSet, open_packed_set
from train.data.pairs import draw_pairs, read_pairs, write_pairs
from train.networks import NETWORKS
from train.report.command import main
from train.report.measure import TASKS, measure_files
from train.report.measurement import SYSTEMS, hashes_of_about, hashes_of_files, read_about, read_measured
from train.restore import TrainedNetwork
from train.verification import verification_input
from train.weights import network_from_weights, save_weights

pytestmark = pytest.mark.usefixtures("one_thread")
PAPER = {"name": "paper", "encoder_widths": [4, 4], "decoder_widths": [4, 4]}
TINY = {
    "paper": PAPER,
    "autoencoder": PAPER,
    "pix2pix": {"name": "pix2pix", "widths": [4, 4]},
    "cui": {"name": "cui", "widths": [4, 4, 4]},
    "siamese": {"name": "siamese", "widths": [4, 4, 6], "hidden": [4]},
}


def save_tiny(
    path: Path, name: str, task: str | None = None, seed: int = 0, input_px: int = 96, along: str = "axis"
) -> None:
    """Write a tiny system with random weights."""
    mapping = {"network": TINY[name], "task": {"name": task or TASKS[name]}, "data": {"depth_along": along}}
    config = dataclass_from_mapping(TrainConfig, mapping)
    torch.manual_seed(list(TINY).index(name) + 10 * seed)
    network = NETWORKS[config.network.name](config.network.options).eval()
    data = {"name": "crops", "key": "k", "train_frames": 8, "train_subjects": 2}
    save_weights(path, TrainedNetwork(network, config.network.name, config, 3, 24, "abc+changes", data, input_px))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_test_set(tmp_path_factory.mktemp("set") / "crops")


@pytest.fixture(scope="module")
def data(root: Path) -> PackedSet:
    return open_packed_set(root, processes=1, progress=False)


@pytest.fixture(scope="module")
def inputs(data: PackedSet, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folder of five tiny models, and a pair list."""
    folder = tmp_path_factory.mktemp("inputs")
    for name in TINY:
        save_tiny(folder / f"{name}.safetensors", name)
    write_pairs(folder / "pairs.csv", draw_pairs(data, "test", 8, 1), data, "test", 8, 1)
    return folder, folder / "pairs.csv"


@pytest.fixture
def arguments(root: Path, inputs: tuple[Path, Path], tmp_path: Path) -> list[str]:
    return ["--data", str(root), "--models", str(inputs[0]), "--pairs", str(inputs[1]), "--resamples", "20",
            "--measured", str(tmp_path / "measured")]  # fmt: skip


def test_the_networks_in_the_files_are_measured(data: PackedSet, inputs: tuple[Path, Path]) -> None:
    models, pairs = inputs
    measured = measure_files(data, models, pairs, progress=False)
    batch = make_batch(data, data.indices("test", faces_only=True))
    where = batch.valid.numpy()
    verifier = network_from_weights(models / "siamese.safetensors").network
    listed = read_pairs(pairs, data)
    for number, name in enumerate(SYSTEMS):
        depth = network_from_weights(models / f"{name}.safetensors").network(batch.face)["depth"]
        error = np.abs(depth.numpy() - batch.depth.numpy())[where].astype(np.float64).sum() * 127.5
        assert measured.sums["all"]["absolute"][number].sum() == pytest.approx(error, rel=1e-5)
        faces = verification_input(depth, torch.ones_like(batch.valid))
        rows_a, rows_b = measured.pairs.a, measured.pairs.b
        expected = torch.sigmoid(verifier(faces[rows_a], faces[rows_b])["same"][:, 0]).numpy()
        np.testing.assert_allclose(measured.pairs.similarity[number + 1], expected, atol=1e-5)
    assert np.array_equal(measured.pairs.same, listed.same)
    assert np.array_equal(measured.pairs.cell, listed.cell)
    assert hashes_of_about(measured.about) == hashes_of_files(models, pairs)
    assert measured.about["data"]["origin"] == "unknown"
    assert [stage["samples"] for stage in measured.about["models"]["cui"]["stages"]] == [24]
    assert len({row["sha256"] for row in measured.about["models"].values()}) == 5


def test_systems_trained_along_the_ray_are_measured_along_the_ray(
    data: PackedSet, arguments: list[str], inputs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "turned"
    models.mkdir()
    for name in TINY:
        save_tiny(models / f"{name}.safetensors", name, along="ray")
    measured = measure_files(data, models, inputs[1], progress=False)
    batch = make_batch(data.with_depth_along("ray"), data.indices("test", faces_only=True))
    depth = network_from_weights(models / "cui.safetensors").network(batch.face)["depth"]
    error = np.abs(depth.numpy() - batch.depth.numpy())[batch.valid.numpy()].astype(np.float64).sum() * 127.5
    assert measured.sums["all"]["absolute"][3].sum() == pytest.approx(error, rel=1e-5)
    straight = measure_files(data, *inputs, progress=False)
    assert (measured.sums["all"]["absolute"][3] != straight.sums["all"]["absolute"][3]).all()
    assert np.array_equal(measured.pairs.same, straight.pairs.same)
    assert (measured.pairs.similarity[0] != straight.pairs.similarity[0]).any()
    assert (straight.about["depth_along"], measured.about["depth_along"]) == ("axis", "ray")
    sentence = "Depth is along the ray to the head, as a camera turned to the face measures it"
    for folder, told in ((models, True), (inputs[0], False)):
        assert main([*arguments, "--models", str(folder)]) == 0
        assert (sentence in capsys.readouterr().out) == told
    save_tiny(models / "pix2pix.safetensors", "pix2pix")
    rule = r"pix2pix\.safetensors: got depth along the axis, expected along the ray, as paper\.safetensors has"
    with pytest.raises(ArtifactError, match=rule):
        measure_files(data, models, inputs[1], progress=False)


def test_a_set_is_measured_once_and_again_when_something_changed(
    arguments: list[str], inputs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "figures.json"
    assert main([*arguments, "--json", str(out), "--out", str(tmp_path / "report")]) == 0
    first = capsys.readouterr().out
    assert "**Data: The set `crops`, of unknown origin." in first
    assert "| cGAN | `paper.safetensors` | 24 samples in 3 steps, 0.00 M parameters, adamw 0.002, on `crops` |" in first
    assert "`abc+changes`" in first
    plain = json.loads(out.read_text())
    assert plain["table_2"]["all|all"]["pairs"] == 8
    assert plain["measured_on"]["frames"] == 12
    assert (tmp_path / "report" / "systems_colour.png").stat().st_size > 10_000
    calls = []
    monkeypatch.setattr("train.report.measure.measure_systems", lambda *args: calls.append(args))
    assert main(arguments) == 0
    assert capsys.readouterr().out == first
    assert not calls
    monkeypatch.undo()
    models = tmp_path / "models"
    shutil.copytree(inputs[0], models)
    save_tiny(models / "cui.safetensors", "cui", seed=1)
    assert main([*arguments, "--models", str(models)]) == 0
    again = capsys.readouterr().out
    assert again != first
    assert read_about(tmp_path / "measured")["models"]["cui"]["sha256"][:12] in again
    assert main([*arguments, "--models", str(models), "--origin", "biwi"]) == 0
    assert "cGAN (paper, Biwi)" in capsys.readouterr().out
    assert read_measured(tmp_path / "measured").about["data"]["origin"] == "biwi"


def test_a_gpu_that_is_not_there_is_told(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([*arguments, "--device", "cuda"]) == 1
    assert "--device: got cuda, expected a GPU that PyTorch can use" in capsys.readouterr().err


def test_an_unknown_set_needs_its_own_pair_list(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    place = arguments.index("--pairs")
    assert main(arguments[:place] + arguments[place + 2 :]) == 1
    assert "--pairs: got nothing, expected the pair list of crops" in capsys.readouterr().err


def test_a_model_under_another_name_or_of_another_size_is_refused(
    data: PackedSet, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(inputs[0], models)
    shutil.copy(models / "autoencoder.safetensors", models / "paper.safetensors")
    with pytest.raises(
        ArtifactError, match=r"paper\.safetensors: got a network of the task autoencoder, expected one of"
    ):
        measure_files(data, models, inputs[1], progress=False)
    save_tiny(models / "paper.safetensors", "paper", input_px=64)
    with pytest.raises(ArtifactError, match=r"paper\.safetensors: got a network for 64 px, expected 96 px"):
        measure_files(data, models, inputs[1], progress=False)
