# SPDX-License-Identifier: Apache-2.0
"""Turned heads are seen as often as frontal ones, within a limit."""

from __future__ import annotations

import numpy as np
import pytest

from facedepth_edge.errors import ConfigError
from train.config import DataConfig
from train.data.even_yaw import evened


def shares(indices: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """How many frames each 10 degrees of |yaw| up to 70 have."""
    return np.histogram(np.abs(yaw[indices]), np.arange(0, 71, 10))[0]


def test_each_yaw_comes_as_often() -> None:
    yaw = np.random.default_rng(0).normal(0, 32, 4000)
    before, after = (shares(evened(np.arange(4000), yaw, most), yaw) for most in (1, 10))
    assert before.max() / before.min() > 4
    assert after.max() / after.min() < 1.6, after  # whole repetitions


def test_a_frame_comes_at_most_so_often_and_at_least_once() -> None:
    yaw = np.concatenate([np.zeros(90), np.full(30, -25.0), np.full(5, 45.0), np.full(7, 80.0)])
    indices = np.arange(len(yaw)) + 1000
    found = evened(indices, yaw, 4)
    times = np.bincount(found - 1000)
    assert [np.unique(times[a:b]).tolist() for a, b in ((0, 90), (90, 120), (120, 125), (125, 132))] == [
        [1],
        [3],
        [4],
        [1],
    ]
    assert (found[: len(yaw)] == indices).all()


def test_one_leaves_the_frames_as_they_are() -> None:
    indices = np.array([3, 5, 9])
    assert (evened(indices, np.array([0.0, 1.0, 45.0]), 1) == indices).all()
    assert (evened(indices, np.array([80.0, 90.0, -100.0]), 3) == indices).all()


@pytest.mark.parametrize("most", [0, 11])
def test_senseless_limits_are_refused(most: int) -> None:
    with pytest.raises(ConfigError, match=r"data\.even_yaw"):
        DataConfig(even_yaw=most)
