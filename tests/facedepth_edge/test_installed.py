# SPDX-License-Identifier: Apache-2.0
"""Versions of distributions, found without an import."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.bench.machine import describe_versions
from facedepth_edge.installed import TENSORRT, installed_version


def test_the_first_that_is_there() -> None:
    assert installed_version("numpy") == np.__version__
    assert installed_version("no-such-distribution", "numpy") == np.__version__
    assert installed_version("no-such-distribution") is None


def test_tensorrt_of_one_cuda_alone_is_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip install tensorrt-cu12 leaves it: there is no distribution of the name tensorrt."""
    folder = tmp_path / "tensorrt_cu12-10.16.1.11.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorrt-cu12\nVersion: 10.16.1.11\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert sys.path[0] == str(tmp_path)
    assert installed_version(*TENSORRT) == "10.16.1.11"
    assert describe_versions()["tensorrt"] == "10.16.1.11"
