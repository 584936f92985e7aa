# SPDX-License-Identifier: Apache-2.0
"""Puts the stand-ins where the package looks for TensorRT, PyCUDA, the driver and the compiler."""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.machinery
import os
import shutil
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facedepth_edge import cuda, cuda_driver
from facedepth_edge.engine import logger_of
from facedepth_edge.engine_cache import CACHE_VARIABLE
from facedepth_edge.spec import ModelSpec
from tests.fake_gpu.build import shared_library
from tests.fake_gpu.cuda import FakePyCuda
from tests.fake_gpu.onnxruntime import FakeOnnxRuntime
from tests.fake_gpu.tensorrt import FakeTensorRt
from tests.tiny_model import entry_of, write_tiny_artifact

REAL_PYCUDA = "FACEDEPTH_EDGE_TEST_REAL_PYCUDA"
"""When this is set, PyCUDA itself runs on the stand-in for the driver."""

NVCC = """#!/bin/sh
while [ "$1" != "-o" ]; do shift; done
printf 'cubin compiled' > "$2"
"""


@dataclass
class Machine:
    """A machine with a GPU: its TensorRT, its PyCUDA, its driver's test functions, its cache."""

    trt: FakeTensorRt
    pycuda: Any
    driver: Any
    cache: Path

    def log(self) -> list[str]:
        """The driver's functions that were called, in order."""
        self.driver.fake_log.restype = ctypes.c_char_p
        return list(self.driver.fake_log().decode().split())

    def place(self, array: np.ndarray, index: int = 0) -> np.ndarray:
        """Say that the memory of an array, and of what it is a view of, was allocated on a GPU; returns the array."""
        whole = array
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        self.driver.fake_place(ctypes.c_void_p(whole.ctypes.data), ctypes.c_size_t(whole.nbytes), index)
        return array


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, *, version: str, integrated: bool) -> Machine:
    """Install the stand-ins for one test."""
    pycuda: Any
    if REAL_PYCUDA in os.environ:  # the stand-in for the driver is preloaded
        pycuda = types.SimpleNamespace(_library=ctypes.CDLL(cuda_driver.LIBRARY))
        pycuda._library.fake_reset(int(integrated))
    else:
        pycuda = FakePyCuda(integrated)
        package = types.ModuleType("pycuda")
        package.__spec__ = importlib.machinery.ModuleSpec("pycuda", None)
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", pycuda)
        monkeypatch.setattr(cuda_driver.Driver.__init__, "__defaults__", (str(shared_library("libcuda")),))
    trt = FakeTensorRt(pycuda, version)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)  # type: ignore[arg-type]
    trt.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)  # type: ignore[attr-defined]
    for name in ("torch", "cupy", "jaxlib"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    cache = folder / "cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    tools = folder / "tools"
    tools.mkdir()
    (tools / "nvcc").write_text(NVCC)
    (tools / "nvcc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    return Machine(trt, pycuda, pycuda._library, cache)


def install_onnxruntime(monkeypatch: pytest.MonkeyPatch, machine: Machine, version: str = "1.23.0") -> FakeOnnxRuntime:
    """Put an ONNX Runtime with a CUDA provider on a machine, in the place of the real one."""
    ort = FakeOnnxRuntime(machine.pycuda, version)
    monkeypatch.setitem(sys.modules, "onnxruntime", ort)
    return ort


def forget() -> None:
    """Forget what the package keeps for a process."""
    for cached in (cuda._make_session, cuda_driver.open_driver, logger_of):
        cached.cache_clear()


def tensorrt_artifact(folder: Path, precisions: tuple[str, ...] = ("fp16", "int8-trt"), **changes: Any) -> Path:
    """Write the tiny model with files for TensorRT, fp32.onnx and golden faces; returns its folder."""
    write_tiny_artifact(folder, precisions=("fp32",))
    for precision in precisions:
        shutil.copy(folder / "fp32.onnx", folder / f"{precision}.onnx")
        with (folder / f"{precision}.onnx").open("ab") as file:
            file.write(precision.encode())  # so that each has a hash of its own
    spec = ModelSpec.from_json((folder / "spec.json").read_bytes())
    names = [*spec.files, *(f"{precision}.onnx" for precision in precisions)]
    spec = dataclasses.replace(spec, files={name: entry_of(folder / name) for name in names}, **changes)
    (folder / "spec.json").write_text(spec.to_json(), encoding="utf-8")
    return folder
