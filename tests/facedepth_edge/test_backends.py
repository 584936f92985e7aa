# SPDX-License-Identifier: Apache-2.0
"""Backends: the same answer from each, the file that each takes, and no silent replacement."""

from __future__ import annotations

import dataclasses
import importlib
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.api import EdgeDepth
from facedepth_edge.artifacts import open_artifact
from facedepth_edge.backends.base import BACKENDS, choose_backend, open_backend
from facedepth_edge.backends.onnxruntime import default_threads
from facedepth_edge.backends.onnxruntime_network import CPU, CUDA, import_onnxruntime, open_network
from facedepth_edge.errors import ArtifactError, BackendUnavailable, ConfigError
from facedepth_edge.spec import DepthOutput, InputSpec, MaskOutput, ModelSpec, Outputs, ValidityOutput
from tests.tiny_model import entry_of, tiny_onnx, tiny_outputs, write_tiny_artifact


def faces(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 1, 96, 96)).astype(np.float32)


def rewrite_spec(folder: Path, **changes: object) -> None:
    spec = ModelSpec.from_json((folder / "spec.json").read_bytes())
    (folder / "spec.json").write_text(dataclasses.replace(spec, **changes).to_json(), encoding="utf-8")


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_output_against_numpy(name: str, batch: int, tiny_reference_artifact: Path) -> None:
    backend = open_backend(name, open_artifact(tiny_reference_artifact), "fp32", 1)
    assert (backend.name, backend.memory, backend.precision) == (name, "host", "fp32")
    assert batch <= backend.max_batch
    backend.reserve(batch)
    backend.input[...] = faces(batch)
    backend.run()
    expected = tiny_outputs(faces(batch))
    assert backend.output.keys() == expected.keys()
    for key, value in backend.output.items():
        assert value.dtype == np.float32
        assert value.shape == expected[key].shape
        assert expected[key].std() > 0 or value.size == 1
        np.testing.assert_allclose(value, expected[key], atol=2e-6)
    backend.close()
    backend.close()


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_forks_do_not_share_buffers(name: str, tiny_reference_artifact: Path) -> None:
    first = open_backend(name, open_artifact(tiny_reference_artifact), "fp32", 1)
    second = first.fork()
    first.input[...], second.input[...] = faces(1, 1), faces(1, 2)
    first.run()
    second.run()
    np.testing.assert_allclose(first.output["depth"], tiny_outputs(faces(1, 1))["depth"], atol=2e-6)
    np.testing.assert_allclose(second.output["depth"], tiny_outputs(faces(1, 2))["depth"], atol=2e-6)
    first.close()
    second.run()
    np.testing.assert_allclose(second.output["depth"], tiny_outputs(faces(1, 2))["depth"], atol=2e-6)


def test_table_names_classes_that_exist() -> None:
    for name, entry in BACKENDS.items():
        module, _, class_name = entry.target.partition(":")
        assert getattr(importlib.import_module(module), class_name).name == name
        assert entry.install.startswith("pip install")


def test_auto_takes_onnxruntime_int8_and_says_why(tiny_artifact: Path) -> None:
    with EdgeDepth(tiny_artifact) as edge:
        info = edge.info
    assert info["backend"] == "onnxruntime"
    assert info["precision"] == "int8"
    assert info["provider"] == CPU
    assert info["threads"] == default_threads()
    assert len(info["why_not"]) == 1
    assert "tensorrt" in info["why_not"][0].lower()
    assert (info["model"], info["version"]) == ("tiny", "1.2.3")


def test_named_precision_and_threads(tiny_artifact: Path) -> None:
    with EdgeDepth(tiny_artifact, "onnxruntime", "fp32", threads=1) as edge:
        assert (edge.info["precision"], edge.info["threads"]) == ("fp32", 1)


def test_fp32_where_there_is_no_int8(tiny_reference_artifact: Path) -> None:
    with EdgeDepth(tiny_reference_artifact) as edge:
        assert edge.info["precision"] == "fp32"


@pytest.mark.parametrize("backend", ["auto", "onnxruntime"])
def test_precision_that_the_model_lacks(backend: str, tiny_artifact: Path) -> None:
    with pytest.raises(ConfigError, match=r"precision: got fp16, expected .*\(fp32.onnx, int8.onnx\)"):
        EdgeDepth(tiny_artifact, backend, "fp16")


def test_torch_has_one_precision(tiny_reference_artifact: Path) -> None:
    with pytest.raises(ConfigError, match=r"precision: got int8, expected fp32 with backend 'torch'"):
        EdgeDepth(tiny_reference_artifact, "torch", "int8")


def test_no_tensorrt(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(
        BackendUnavailable, match=r"backend 'tensorrt': got .*tensorrt.*Try: pip install 'tensorrt>=10.3,<12' pycuda"
    ):
        EdgeDepth(tiny_artifact, "tensorrt")


@pytest.mark.parametrize("backend", ["ONNXRUNTIME", "", "openvino", None])
def test_unknown_backend(backend: str | None, tiny_artifact: Path) -> None:
    with pytest.raises(ConfigError, match=r"backend: got .*expected auto, tensorrt, onnxruntime, torch"):
        EdgeDepth(tiny_artifact, backend)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "value"), [("precision", "bf16"), ("threads", 0), ("threads", 1.5), ("threads", True)]
)
def test_wrong_options(option: str, value: object, tiny_artifact: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^{option}: got"):
        EdgeDepth(tiny_artifact, **{option: value})  # type: ignore[arg-type]


def test_named_backend_never_falls_back(tiny_reference_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendUnavailable, match=r"backend 'onnxruntime': got .*Try: pip install onnxruntime"):
        EdgeDepth(tiny_reference_artifact, "onnxruntime")
    with EdgeDepth(tiny_reference_artifact) as edge:
        assert edge.info["backend"] == "torch"
        assert any("backend 'onnxruntime': got" in line for line in edge.info["why_not"])


def test_nothing_works(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        BackendUnavailable, match=r"backend 'auto': got .*onnxruntime.*reference.pt2.*pip install torch"
    ):
        choose_backend(open_artifact(tiny_artifact), "auto", None)


def test_reference_is_not_in_the_wheel(tiny_reference_artifact: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_reference_artifact, tmp_path / "tiny"))
    (folder / "reference.pt2").unlink()
    with pytest.raises(BackendUnavailable, match=r"backend 'torch': got no reference.pt2 in"):
        EdgeDepth(folder, "torch")
    with EdgeDepth(folder) as edge:
        assert edge.info["backend"] == "onnxruntime"


def test_no_torch(tiny_reference_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendUnavailable, match=r"backend 'torch': got .*Try: pip install torch"):
        EdgeDepth(tiny_reference_artifact, "torch")


def test_reference_that_torch_cannot_load(tiny_reference_artifact: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_reference_artifact, tmp_path / "tiny"))
    (folder / "reference.pt2").write_bytes(b"not an exported program")
    spec = ModelSpec.from_json((folder / "spec.json").read_bytes())
    rewrite_spec(folder, files={**spec.files, "reference.pt2": entry_of(folder / "reference.pt2")})
    with pytest.raises(ArtifactError, match=r"reference\.pt2: got .*expected a program that torch.export can load"):
        EdgeDepth(folder, "torch")


def test_cuda_provider_that_does_not_start(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is listed, but the session comes up without it: the CPU provider runs, with its own precision."""
    import onnxruntime

    if CUDA in onnxruntime.get_available_providers():
        pytest.fail("this test needs an ONNX Runtime without the CUDA provider")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    with pytest.warns(UserWarning, match=CUDA):
        edge = EdgeDepth(tiny_artifact)
    assert (edge.info["provider"], edge.info["precision"]) == (CPU, "int8")
    assert any(line.startswith(f"{CUDA}: did not start") for line in edge.info["why_not"])
    edge.close()


def test_int8_is_not_asked_of_cuda(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    with EdgeDepth(tiny_artifact, precision="int8") as edge:
        assert edge.info["provider"] == CPU
        assert f"{CUDA}: the model has no file for it in precision int8" in edge.info["why_not"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"input": InputSpec(name="image")}, "the inputs .*'face'.*expected .*'image'"),
        ({"input": InputSpec(height=64, width=64)}, "the inputs .*96, 96.*expected .*64, 64"),
        ({"outputs": Outputs(DepthOutput(name="z"), MaskOutput(), ValidityOutput())}, ".*expected the output z"),
        (
            {"outputs": Outputs(DepthOutput(height=48, width=48), MaskOutput(height=48, width=48))},
            ".*expected the output depth",
        ),
        (
            {"outputs": Outputs(DepthOutput(), MaskOutput(), ValidityOutput(name="score"))},
            ".*expected the output score",
        ),
    ],
)
def test_graph_that_is_not_what_the_spec_says(
    changes: dict[str, object], text: str, tiny_artifact: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_artifact, tmp_path / "tiny"))
    rewrite_spec(folder, **changes)
    with pytest.raises(ArtifactError, match=rf"fp32\.onnx: got {text}"):
        EdgeDepth(folder, precision="fp32")


def test_file_that_is_no_onnx(tiny_artifact: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_artifact, tmp_path / "tiny"))
    (folder / "fp32.onnx").write_bytes(b"this is not a graph" * 10)
    spec = ModelSpec.from_json((folder / "spec.json").read_bytes())
    rewrite_spec(folder, files={**spec.files, "fp32.onnx": entry_of(folder / "fp32.onnx")})
    with pytest.raises(ArtifactError, match=r"fp32\.onnx: got .*expected a valid ONNX graph"):
        EdgeDepth(folder, precision="fp32")


def test_opset_of_the_future(tiny_artifact: Path, tmp_path: Path) -> None:
    """ONNX Runtime is too old for the file: that is the installation's fault, not the file's."""
    import onnx

    folder = Path(shutil.copytree(tiny_artifact, tmp_path / "tiny"))
    model = onnx.load_from_string(tiny_onnx())
    model.ir_version = 1000
    (folder / "fp32.onnx").write_bytes(model.SerializeToString())
    spec = ModelSpec.from_json((folder / "spec.json").read_bytes())
    rewrite_spec(folder, files={**spec.files, "fp32.onnx": entry_of(folder / "fp32.onnx")})
    with pytest.raises(BackendUnavailable, match=r"backend 'onnxruntime': got .*pip install --upgrade onnxruntime"):
        EdgeDepth(folder, "onnxruntime", "fp32")


def test_an_older_release_calls_a_newer_graph_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime 1.17 raises for the bundled models, of IR version 10, what it raises for a damaged file."""
    ort = import_onnxruntime()

    def refuse(*_: object, **__: object) -> None:
        text = "Unsupported model IR version: 10, max supported IR version: 9"
        raise ort.capi.onnxruntime_pybind11_state.InvalidArgument(text)

    monkeypatch.setattr(ort, "InferenceSession", refuse)
    with pytest.raises(
        BackendUnavailable, match=r"Unsupported model IR version: 10.*pip install --upgrade onnxruntime"
    ):
        open_network(ort, tiny_onnx(), "int8.onnx", CPU, 1)


def test_threads_run_one_session_at_once(tiny_artifact: Path) -> None:
    first = open_backend("onnxruntime", open_artifact(tiny_artifact), "fp32", 1)
    errors: list[float] = []

    def work(seed: int) -> None:
        backend = first.fork()
        for turn in range(20):
            backend.input[...] = faces(1, seed * 100 + turn)
            backend.run()
            expected = tiny_outputs(faces(1, seed * 100 + turn))["depth"]
            errors.append(float(np.abs(backend.output["depth"] - expected).max()))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 80
    assert max(errors) < 2e-6


def test_model_with_depth_alone(tmp_path: Path) -> None:
    folder = write_tiny_artifact(tmp_path / "plain", precisions=("fp32",), mask=False, validity=False)
    backend = open_backend("onnxruntime", open_artifact(folder), "auto", None)
    assert backend.output.keys() == {"depth"}
