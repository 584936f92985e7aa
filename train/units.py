# SPDX-License-Identifier: Apache-2.0
"""The runtime's units under short names: the box's side, the depth scale, gray levels; and the least head."""

from __future__ import annotations

import numpy as np

from facedepth_edge.spec import DepthScale, Preprocessing

_PREPROCESSING = Preprocessing()
_LEVELS_PER_UNIT = 1 / _PREPROCESSING.scale

REACH_MM = _PREPROCESSING.reach_x_mm
"""Side of eq. 6's box at the head's distance, across and down."""
HALF_RANGE_MM = DepthScale().half_range_mm
"""Depth in mm from the head's distance is relative depth z times this."""
MIN_HEAD_PIXELS = 64
"""A head of fewer measured pixels has no meaningful offset of its own: it counts in no loss and no metric."""


def gray_from_face(face: np.ndarray) -> np.ndarray:
    """Return the gray levels, 0 to 255, of faces as networks take them: any shape, float32, -1 to 1; not rounded."""
    return (face - _PREPROCESSING.offset) * _LEVELS_PER_UNIT
