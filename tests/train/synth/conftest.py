# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the renderer's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.synth.head_fixture import write_head
from train.synth.dataset import SetConfig, Studio


@pytest.fixture(scope="session")
def head_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in head model's file."""
    return write_head(tmp_path_factory.mktemp("head") / "head.npz")


@pytest.fixture(scope="session")
def small_set() -> SetConfig:
    """A set of two subjects with two frames a sequence."""
    return SetConfig(
        seed=3, train_subjects=1, val_subjects=0, test_subjects=1, frames=2, frames_per_expression=1, crop_px=72
    )


@pytest.fixture(scope="session")
def studio(head_file: Path, small_set: SetConfig) -> Studio:
    """The renderer's studio on the stand-in head, without modelled hair."""
    return Studio(small_set, head_file, None)
