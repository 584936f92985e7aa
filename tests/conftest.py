# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several test folders share."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.api import EdgeDepth
from facedepth_edge.artifacts import BUNDLED_FOLDER
from tests.tiny_model import write_tiny_artifact

HERE = Path(__file__)


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    held = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(held, how)
        yield
    finally:
        fcntl.flock(held, fcntl.LOCK_UN)  # closing is not enough where a child has it too
        os.close(held)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Let nothing run beside a test marked serial where several workers (pytest -n) share the tests.

    Every test enters by the door, one at a time; a serial one keeps the door until the room is empty and its own.
    """
    if not hasattr(item.config, "workerinput"):  # not the environment: a pytest that a test starts inherits that
        return (yield)
    door, room, alone = HERE, HERE.parent, item.get_closest_marker("serial") is not None
    with ExitStack() as stay:
        with _locked(door, fcntl.LOCK_EX):
            stay.enter_context(_locked(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        return (yield)


@pytest.fixture(scope="session")
def tiny_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny model with fp32.onnx, int8.onnx and golden.npz; its answers: tests/tiny_model.py. Read only."""
    return write_tiny_artifact(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_reference_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny model with reference.pt2 besides fp32.onnx. Read only."""
    folder = tmp_path_factory.mktemp("models") / "tiny_reference"
    return write_tiny_artifact(folder, precisions=("fp32",), reference=True)


@pytest.fixture
def tiny_edge(tiny_artifact: Path) -> Iterator[EdgeDepth]:
    """Give an EdgeDepth on the tiny model in float32."""
    with EdgeDepth(tiny_artifact, precision="fp32") as edge:
        yield edge


@pytest.fixture(scope="session")
def edge_artifact() -> Path:
    """Folder of the bundled default model; a checkout without it is a failure, not a skip."""
    folder = Path(BUNDLED_FOLDER, "edge")
    if not (folder / "spec.json").is_file():
        pytest.fail(f"{folder}: the default model is not there; python -m export writes it")
    return folder


@pytest.fixture(scope="session")
def frame() -> np.ndarray:
    """(360, 480, 3) uint8 BGR: a dark disc on a bright, uneven ground, with noise. Read only."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:360, :480]
    ground = 150 + 60 * np.sin(x / 37) * np.cos(y / 29)
    disc = (x - 250) ** 2 + (y - 170) ** 2 < 75**2
    gray = np.where(disc, 40 + 0.3 * (x - 250), ground)
    image = gray[..., None] + rng.normal(0, 8, (360, 480, 3))
    image = np.clip(image, 0, 255).astype(np.uint8)
    image.flags.writeable = False
    return image
