# SPDX-License-Identifier: Apache-2.0
"""The real bindings of three TensorRT versions against what our code names: classes, members, calls, the way chosen.

The bindings import without a GPU when three empty libraries stand in for TensorRT's own.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.fake_gpu.build import compile_library
from tests.fake_gpu.contract import broken_uses, uses
from tests.fake_gpu.tensorrt import SURFACE

VERSIONS = {
    "10.3.0": "tensorrt-cu12-bindings",  # JetPack 6.1 and 6.2
    "10.16.1.11": "tensorrt-cu12-bindings",
    "11.4.0.106": "tensorrt-cu13-bindings",
}
LIBRARIES = ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin")
FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60


@functools.cache
def stand_ins() -> Path:
    """Make the empty libraries; returns their folder."""
    folder = Path(tempfile.gettempdir(), f"facedepth-tensorrt-{os.getuid()}", "libraries")
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "empty.cc"
    source.write_text("".join(f'extern "C" void* {name}() {{ return nullptr; }}\n' for name in FUNCTIONS))
    for major in (10, 11):
        for library in LIBRARIES:
            name = f"{library}.so.{major}"
            if not (folder / name).is_file():
                compile_library([source], folder / name, f"-Wl,-soname,{name}")
    return folder


def bindings(version: str) -> Path:
    """Return the folder of the installed bindings; skips where they cannot be had."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = Path(tempfile.gettempdir(), f"facedepth-tensorrt-{os.getuid()}", f"{version}-{python}")
    if not (folder / "tensorrt_bindings").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--timeout", "10", "--retries", "0", "--target", str(folder)]
        try:
            done = subprocess.run(
                [*command, f"{VERSIONS[version]}=={version}"],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"the package index gave no {VERSIONS[version]} {version} within {TIMEOUT_S} s")
        if done.returncode != 0:
            pytest.skip(f"no {VERSIONS[version]} {version} from the package index: {done.stderr.strip()[-300:]}")
    return folder


@pytest.mark.toolchain
@pytest.mark.parametrize("version", VERSIONS)
def test_real_bindings(version: str) -> None:
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(stand_ins()),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(bindings(version))]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.fake_gpu.contract"],
        capture_output=True, text=True, env=environment, cwd=ROOT, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["version"] == version
    assert found["problems"] == []
    assert found["names"] >= 40
    assert found["calls"] >= 15
    major = int(version.split(".")[0])
    assert found["known"] == [int(part) for part in version.split(".")[:2]]
    assert (found["flags"] == [0]) == (major == 11), "strongly typed: asked for in 10, the only kind in 11"
    assert found["real"], "logger and progress monitor are the bindings' own by subclass"
    assert found["told"] == "kept"
    assert found["going_on"] is True
    assert "outer" in found["lines"][0]
    assert len(found["no_gpu"]) == 2
    assert all("expected a GPU that TensorRT can use" in text for text in found["no_gpu"])
    assert found["plan"] == "plan"
    assert found["dims"] == [-1, 1, 96, 96]


def test_every_name_is_collected() -> None:
    """The collector sees what is there: else the contract would hold for nothing."""
    names, calls = uses()
    assert {
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "ILogger.Severity.ERROR",
        "Builder.build_serialized_network",
        "OnnxParser.parse",
        "ParserError.desc",
        "IBuilderConfig.progress_monitor",
        "ITimingCache.serialize",
        "Runtime.deserialize_cuda_engine",
        "ICudaEngine.num_io_tensors",
        "IExecutionContext.execute_async_v3",
        "TensorIOMode.INPUT",
        "DataType.FLOAT",
    } <= names
    assert ("IBuilderConfig.set_timing_cache", 2, ()) in calls
    surface = {f"{name}.{member}" for name, members in SURFACE.items() for member in members} | SURFACE.keys()
    methods = {name for name in surface if "." in name}
    assert methods <= names | {"ILogger.log", "ILogger.Severity"} | {
        f"IProgressMonitor.{name}" for name in ("phase_start", "step_complete", "phase_finish")
    }, "the stand-in has nothing that the package does not use"


def test_removed_names_are_noticed() -> None:
    """Against a module that lacks everything, every name is a problem."""

    class Empty:
        __version__ = "99.0"

    checked, _, problems = broken_uses(Empty())
    assert len([problem for problem in problems if "is not in TensorRT 99" in problem]) == checked


def test_nothing_of_what_11_removed_is_named() -> None:
    text = "".join((ROOT / "facedepth_edge" / name).read_text() for name in ("engine.py", "backends/tensorrt.py"))
    for removed in ("BuilderFlag", "EXPLICIT_BATCH =", "calibrator", "device_memory_size", "set_dynamic_range"):
        assert removed not in text.replace("Nothing that 11 has removed", "")
