# SPDX-License-Identifier: Apache-2.0
"""The hook of tests/conftest.py by which nothing runs beside a serial test, in a tree of its own with two workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("xdist")
ROOT = Path(__file__).parents[1]
PLAIN = """
import time
import pytest

@pytest.mark.parametrize("number", range(8))
def test_plain(number):
    began = time.monotonic()
    time.sleep(0.05)
    open("times.txt", "a").write(f"plain {began} {time.monotonic()}\\n")
"""
SERIAL = """
import subprocess, sys, time
import pytest

@pytest.mark.serial
@pytest.mark.parametrize("number", range(3))
def test_serial(number):
    began = time.monotonic()
    time.sleep(0.1)
    open("times.txt", "a").write(f"serial {began} {time.monotonic()}\\n")

def test_a_pytest_within():  # while the other worker's serial tests wait for this one's end
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "inner.py"], check=True, timeout=40)
"""


@pytest.mark.slow
def test_nothing_runs_beside_a_serial_test(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    files = {"test_a.py": PLAIN, "test_b.py": SERIAL, "test_c.py": SERIAL, "inner.py": "def test_inner(): pass\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = serial\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTEST_ADDOPTS", None)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in (tmp_path / "times.txt").read_text().splitlines()]
    spans = [(kind, float(began), float(ended)) for kind, began, ended in rows]
    assert [kind for kind, _, _ in spans].count("serial") == 6
    assert len(spans) == 14
    for kind, began, ended in spans:
        beside = [other for other in spans if other[1] < ended and other[2] > began]
        assert kind == "plain" or len(beside) == 1, (kind, began, ended, beside)
