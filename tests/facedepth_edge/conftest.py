# SPDX-License-Identifier: Apache-2.0
"""Fixtures of a machine with a stand-in for its GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_gpu.installed import Machine, forget, install, install_onnxruntime, tensorrt_artifact
from tests.fake_gpu.onnxruntime import FakeOnnxRuntime


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Machine]:
    """A desktop with a GPU of its own memory, TensorRT 10.3."""
    forget()
    yield install(monkeypatch, tmp_path, version="10.3.0", integrated=False)
    forget()


@pytest.fixture
def jetson(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Machine]:
    """A device whose GPU shares the host's memory, TensorRT 11."""
    forget()
    yield install(monkeypatch, tmp_path, version="11.4.0.106", integrated=True)
    forget()


@pytest.fixture
def ort(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> FakeOnnxRuntime:
    """The ONNX Runtime of that desktop, with a CUDA provider."""
    return install_onnxruntime(monkeypatch, gpu)


@pytest.fixture(scope="session")
def trt_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny model with fp16.onnx and int8-trt.onnx. Read only."""
    return tensorrt_artifact(tmp_path_factory.mktemp("models") / "tiny_trt")
