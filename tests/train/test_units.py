# SPDX-License-Identifier: Apache-2.0
"""The units that training shares with the runtime."""

from __future__ import annotations

import numpy as np

from facedepth_edge.spec import Preprocessing
from train.units import HALF_RANGE_MM, REACH_MM, gray_from_face


def test_gray_levels_are_the_preprocessing_s_backwards() -> None:
    levels = np.arange(256, dtype=np.float32)
    pre = Preprocessing()
    back = gray_from_face(levels * np.float32(pre.scale) + np.float32(pre.offset))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, levels, atol=1e-4)
    faces = np.random.default_rng(0).uniform(-1, 1, (3, 96, 96)).astype(np.float32)
    np.testing.assert_array_equal(gray_from_face(faces), (faces + 1) * 127.5)  # to the bit


def test_the_box_and_the_scale() -> None:
    assert (REACH_MM, HALF_RANGE_MM) == (320.0, 160.0)
