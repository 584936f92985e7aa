# SPDX-License-Identifier: Apache-2.0
"""Tests what importing the package costs, each time in a process of its own with torch and the rest installed."""

import importlib.util
import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "onnx", "onnxruntime", "cv2", "tensorrt", "pycuda", "click", "train", "export")
LIMIT_MS = 150
NUMPY_MS = 90  # of it, on a machine for which the limit is meant


@pytest.fixture(scope="module")
def run_python(tmp_path_factory):
    """Run code in a new process, with modules compiled once as an installation has them."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path_factory.mktemp("bytecode"))

    def run(code):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment)
        return done.stdout.strip()

    run("import facedepth_edge")
    return run


def test_the_heavy_packages_are_installed():
    """Otherwise the next tests could not fail."""
    missing = [name for name in ("torch", "onnx", "onnxruntime", "cv2", "click") if not importlib.util.find_spec(name)]
    assert missing == []


def test_import_takes_numpy_only(run_python):
    found = run_python(f"import sys, facedepth_edge; print([name for name in {HEAVY} if name in sys.modules])")
    assert found == "[]"


@pytest.mark.parametrize("arguments", [["-h"], ["predict", "-h"], ["demo", "--help"], ["--version"]])
def test_help_imports_no_library(run_python, arguments):
    code = f"""
import sys
from facedepth_edge.cli import main
try:
    main({arguments!r}, prog_name="facedepth-edge")
except SystemExit as stop:
    assert stop.code == 0, stop.code
print([name for name in {HEAVY} if name in sys.modules and name != "click"])
"""
    shown, _, found = run_python(code).rpartition("\n")
    assert found == "[]"
    assert "facedepth-edge" in shown


@pytest.mark.serial
def test_import_is_quick(run_python):
    def least_ms(module):
        code = f"""
import time
start = time.thread_time()
import {module}
print((time.thread_time() - start) * 1e3)
"""
        # The thread's own time, and the least of several: whatever else the machine does can only add to it.
        return min(float(run_python(code)) for _ in range(15))

    ours_ms, numpy_ms = least_ms("facedepth_edge"), least_ms("numpy")
    slow = max(1.0, numpy_ms / NUMPY_MS)  # a machine that takes longer for NumPy alone takes longer for the rest too
    assert ours_ms < LIMIT_MS * slow, f"{ours_ms:.0f} ms, of which NumPy {numpy_ms:.0f} ms"
