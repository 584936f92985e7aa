# SPDX-License-Identifier: Apache-2.0
"""PyCUDA itself, where one was built, on the stand-in for the driver; and the stand-in for PyCUDA against PyCUDA.

PyCUDA is built from source by CUDA's compiler in some minutes, so a test does not install it. To run these, build it
and name the folder that holds it: FACEDEPTH_EDGE_TEST_PYCUDA=.../site-packages.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_gpu.build import whole_driver
from tests.fake_gpu.cuda import SURFACE, FakePyCuda
from tests.fake_gpu.installed import REAL_PYCUDA

FOLDER = "FACEDEPTH_EDGE_TEST_PYCUDA"
ROOT = Path(__file__).resolve().parents[2]
LOOK = """
import json, sys, pycuda, pycuda.driver as driver
surface = json.loads(sys.argv[1])
missing = [name for name in surface if not hasattr(driver, name)]
missing += [f"{name}.{part}" for name, parts in surface.items() for part in parts
            if not hasattr(getattr(driver, name, None), part)]
graphs = [name for name in dir(driver) if "graph" in name.lower() and "graphics" not in name.lower()]
print(json.dumps({"version": pycuda.VERSION_TEXT, "missing": missing, "graphs": graphs}))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables that put PyCUDA on the path and the stand-in for the driver below it."""
    if FOLDER not in os.environ:
        pytest.skip(f"{FOLDER} names no folder with PyCUDA")
    folder = Path(os.environ[FOLDER])
    (extension,) = (folder / "pycuda").glob("_driver*.so")
    driver = whole_driver(tmp_path, extension)
    path = os.pathsep.join([str(ROOT), str(folder)])
    return {
        **os.environ,
        "LD_PRELOAD": str(driver),
        "LD_LIBRARY_PATH": str(tmp_path),
        "PYTHONPATH": path,
        REAL_PYCUDA: "1",
    }


@pytest.mark.toolchain
def test_stand_in_has_only_what_pycuda_has(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, json.dumps(SURFACE)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["missing"] == []
    assert found["graphs"] == [], "PyCUDA has graphs now: cuda_driver.py need not take them from the driver"


@pytest.mark.toolchain
@pytest.mark.slow
def test_whole_path_on_pycuda_itself(environment: dict[str, str]) -> None:
    """Every test of a frame's way and of the engine, with PyCUDA in place of its stand-in."""
    names = ("test_device_path.py", "test_device_frame.py", "test_lost_context.py", "test_engine.py")
    files = [str(ROOT / "tests" / "facedepth_edge" / name) for name in names]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        capture_output=True, text=True, env=environment, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_surface_is_what_the_stand_in_has(gpu: object) -> None:
    module = FakePyCuda()
    for name, parts in SURFACE.items():
        for part in parts:
            instance_only = (name, part) == ("Stream", "handle")
            assert instance_only or hasattr(getattr(module, name), part), f"{name}.{part}"
