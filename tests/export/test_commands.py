# SPDX-License-Identifier: Apache-2.0
"""The export's command lines: a model by name with random weights, published weights, timing; and usage errors."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export import __main__ as command
from export import random_network as random_weights
from export import timing
from export.artifact_writer import make_spec, write_artifact
from export.faces import faces_bytes
from export.onnx_from_torch import onnx_from_network
from export.random_network import random_network
from facedepth_edge.api import EdgeDepth
from facedepth_edge.artifacts import open_artifact
from facedepth_edge.errors import ArtifactError
from train.config_reader import plain_from_dataclass
from train.data.packed import PackedSet
from train.networks import NETWORKS, EdgeConfig
from train.restore import network_from_checkpoint
from train.weights import save_weights

EDGE_DEFAULTS = plain_from_dataclass(EdgeConfig())
SMALL = {"encoder_widths": [8, 8], "decoder_widths": [8, 8]}


@pytest.fixture
def models(export_data: PackedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models with a faces file, where the command looks for it."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "faces.npz").write_bytes(faces_bytes(export_data, 32, 6))
    monkeypatch.setattr(command, "MODELS", folder)
    monkeypatch.setattr(command, "FACES_FILE", folder / "faces.npz")
    return folder


@pytest.fixture
def small_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the random generator a small one."""

    def small(name: str, faces: np.ndarray, settings: dict[str, object] | None = None) -> object:
        return random_network(name, faces, settings or SMALL)

    monkeypatch.setattr("export.random_network.random_network", small)
    monkeypatch.setattr(timing, "random_network", small)


@pytest.mark.usefixtures("small_paper")
def test_a_model_with_random_weights(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--model", "paper", "--random-weights"]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip().splitlines()[-1] == str(models / "paper")
    assert printed.err.strip().splitlines()[-1].startswith("PASS python -m export --model paper")
    spec = open_artifact(models / "paper").spec
    assert (spec.name, spec.version, spec.architecture) == ("paper", "0.0.0+random", "paper")
    assert {"fp32.onnx", "fp16.onnx", "int8.onnx", "int8-trt.onnx", "parity.json"} <= set(spec.files)
    assert spec.depth_mask_threshold == 0.75
    assert spec.training["export"]["deconvolutions"] == {"fp32, fp16, int8-trt": ["single"] * 2, "int8": ["phases"] * 2}
    frame = np.random.default_rng(0).integers(0, 255, (240, 320), dtype=np.uint8)
    depths = {}
    for precision in ("fp32", "int8", "fp16"):
        with EdgeDepth(models / "paper", backend="onnxruntime", precision=precision) as model:
            depths[precision] = model.predict(frame, (160.0, 120.0), distance_mm=700.0).depth_mm
    assert depths["fp32"].std() > 0.1
    for precision in ("int8", "fp16"):
        assert np.abs(depths[precision] - depths["fp32"]).mean() < 0.2 * depths["fp32"].std()
    assert timing.main(["--artifact", str(models / "paper"), "--blocks", "1", "--runs", "1", "--threads", "1"]) == 0
    assert "| int8.onnx |" in capsys.readouterr().out
    assert command.main(["--model", "paper", "--random-weights"]) == 1
    assert "got a folder that exists" in capsys.readouterr().err


def test_an_artifact_of_another_size_is_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = random_network("paper", timing.smooth_pictures(2, (64, 64)), dict(SMALL)).network
    files = {"fp32.onnx": onnx_from_network(network, (64, 64)).SerializeToString()}
    spec = make_spec(name="paper", version="1", architecture="paper", input_hw=(64, 64), output_names=("depth",),
                     files=files, accuracy={}, training={"network": SMALL}, depth_mask_threshold=0.75)  # fmt: skip
    write_artifact(tmp_path / "paper", spec, files)
    arguments = ["--artifact", str(tmp_path / "paper"), "--blocks", "1", "--runs", "1", "--threads", "1"]
    assert timing.main([*arguments, "--json", str(tmp_path / "none" / "t.json")]) == 1
    printed = capsys.readouterr()
    assert (printed.out, "--json: got" in printed.err) == ("", True)
    assert timing.main(arguments) == 0
    assert "| fp32.onnx |" in capsys.readouterr().out
    write_artifact(tmp_path / "paper", replace(spec, training={}), files, replace=True)
    assert timing.main(arguments) == 1
    assert "spec.json: training.network: got None, expected the network's settings" in capsys.readouterr().err


class _FakeOpenVino:
    """Stands for the package, and for its core, compiled model and request: notes what it is asked for."""

    def __init__(self) -> None:
        self.settings: dict[str, object] = {}
        self.shapes: list[tuple[int, ...]] = []

    __version__ = "2099.1"
    Core = create_infer_request = lambda self: self

    def read_model(self, graph: bytes) -> bytes:
        return graph

    def compile_model(self, graph: bytes, device: str, settings: dict[str, object]) -> _FakeOpenVino:
        model = onnx.load_from_string(graph).graph
        assert model.input[0].name == "face"
        assert any(node.op_type == "QuantizeLinear" for node in model.node)
        self.settings = {"device": device, **settings}
        return self

    def infer(self, inputs: list[np.ndarray]) -> None:
        self.shapes += [array.shape for array in inputs]


@pytest.mark.slow
@pytest.mark.usefixtures("small_paper")
def test_openvino_beside_onnxruntime(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--blocks", "2", "--runs", "3", "--threads", "2", "--openvino", "--json", str(tmp_path / "t.json")]
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert timing.main(arguments) == 1
    assert "expected OpenVINO. pip install openvino" in capsys.readouterr().err
    fake = _FakeOpenVino()
    monkeypatch.setitem(sys.modules, "openvino", fake)
    assert timing.main(arguments) == 0
    assert fake.settings["device"] == "CPU"
    assert fake.settings["INFERENCE_NUM_THREADS"] == 2
    assert fake.shapes == [(1, 1, 96, 96)] * 2 * (2 + 3)
    figures = json.loads((tmp_path / "t.json").read_text())
    assert figures["times_faster"]["int8 phases, OpenVINO"] > 1
    assert figures["openvino"] == "2099.1"
    assert figures["weight_bytes"]["int8 phases, OpenVINO"] == figures["weight_bytes"]["int8 phases"]


def test_published_weights(checkpoint: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--model", "edge"]) == 1
    assert "edge.safetensors: got no such file" in capsys.readouterr().err
    save_weights(models / "weights" / "edge.safetensors", network_from_checkpoint(checkpoint))
    assert command.main(["--model", "edge", "--files", "fp32.onnx", "--version", "3.0.0"]) == 0
    spec = open_artifact(models / "edge").spec
    assert (spec.version, spec.training["samples"]) == ("3.0.0", 240)
    assert spec.accuracy["data"] == "heads"
    (models / "weights" / "edge.safetensors").rename(models / "weights" / "paper.safetensors")
    assert command.main(["--model", "paper"]) == 1
    assert "got a checkpoint of edge, expected a checkpoint of paper" in capsys.readouterr().err
    assert not (models / "paper").exists()
    cut = models / "weights" / "paper.safetensors"
    cut.write_bytes(cut.read_bytes()[:3000])
    assert command.main(["--model", "paper"]) == 1
    assert "The file is damaged" in capsys.readouterr().err


def test_a_damaged_faces_file_is_told(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (models / "faces.npz").write_bytes(b"nothing")
    assert command.main(["--model", "paper", "--random-weights"]) == 1
    assert "faces.npz: got" in capsys.readouterr().err
    assert not (models / "paper").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give a checkpoint or --model NAME, and not both"),
        (["x.pt", "--model", "edge"], "give a checkpoint or --model NAME, and not both"),
        (["x.pt", "--random-weights", "--name", "edge"], "--random-weights goes with --model NAME"),
        (["x.pt", "--name", "edge"], "the following arguments are required: --calibration, --out"),
    ],
)
def test_usage(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    assert told in capsys.readouterr().err


def test_only_depth_networks_have_random_weights(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--model", "siamese", "--random-weights"]) == 1
    assert "--model: got siamese, expected one of edge, paper" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):  # the faces file has no depth of its training faces
        command.main(["--model", "siamese"])
    assert "required: --calibration" in capsys.readouterr().err


def test_random_networks_repeat_and_leave_the_generator_alone() -> None:
    faces = np.random.default_rng(0).uniform(-1, 1, (4, 1, 96, 96)).astype(np.float32)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again = random_network("paper", faces, SMALL), random_network("paper", faces, SMALL)
    assert torch.equal(torch.rand(1), expected)
    a, b = first.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    with torch.no_grad():
        assert first.network(torch.from_numpy(faces))["depth"].std() > 1e-3
    assert first.architecture in NETWORKS
    assert not first.network.training


def bundle(folder: Path, monkeypatch: pytest.MonkeyPatch, **network: object) -> None:
    """Bundle the model edge with other settings of its network."""
    artifact = open_artifact("edge")
    training = {**artifact.spec.training, "network": network} if network else {}
    spec = replace(artifact.spec, training=training)
    monkeypatch.setattr(random_weights, "open_artifact", lambda name: replace(artifact, spec=spec, folder=folder))


def test_edge_at_random_is_the_bundled_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = np.random.default_rng(0).uniform(-1, 1, (2, 1, 96, 96)).astype(np.float32)
    bundled = open_artifact("edge").spec.training["network"]
    settings = plain_from_dataclass(random_network("edge", faces).config)["network"]
    assert {name: list(value) if isinstance(value, list | tuple) else value for name, value in settings.items()} == {
        "name": "edge", **EDGE_DEFAULTS, **bundled,
    }  # fmt: skip
    bundle(tmp_path, monkeypatch, widths=[8, 8, 8, 8], head_width=8, context=16)
    options = random_network("edge", faces).config.network.options
    assert (options.widths, options.context) == ((8, 8, 8, 8), 16)
    bundle(tmp_path, monkeypatch)
    with pytest.raises(
        ArtifactError, match=r"spec\.json: training\.network: got None, expected the network's settings"
    ):
        random_network("edge", faces)


@pytest.mark.usefixtures("small_paper")
def test_timing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "timing.json"
    assert timing.main(["--blocks", "2", "--runs", "1", "--threads", "1", "--json", str(out)]) == 0
    printed = capsys.readouterr()
    assert "| int8 rows |" in printed.out
    figures = json.loads(out.read_text())
    assert figures["times_faster"][timing.PLAIN] == 1.0
    assert set(figures["median_ms"]) == {
        timing.PLAIN,
        *(f"{kind} {form}" for kind in ("fp32", "int8") for form in timing.FORMS),
    }
    assert figures["weight_bytes"]["int8 rows"] < figures["weight_bytes"]["int8 single"]
    assert timing.main(["--blocks", "0"]) == 1
    assert "--blocks: got 0" in capsys.readouterr().err
