# SPDX-License-Identifier: Apache-2.0
"""Shows turned heads as often as frontal ones.

A network that is unsure of a picture answers what is likely. Where most heads look into the camera, it turns the others
towards it: one real man's head came out up to 13 degrees less turned than it was (docs/experiments.md, "Turned faces").
"""

from __future__ import annotations

import numpy as np

BIN_DEG, WIDEST_DEG = 10.0, 70.0


def evened(indices: np.ndarray, yaw_deg: np.ndarray, most: int) -> np.ndarray:
    """Repeat frames of rarer yaws, until each 10 degrees of |yaw| up to 70 have as many, or up to a limit.

    Args:
        indices: (n,) the frames.
        yaw_deg: (n,) their heads' yaw, NaN without a face; such frames and those beyond WIDEST_DEG are not repeated.
        most: How often a frame may come at most; 1 leaves them as they are.

    Returns:
        (m,), m >= n: the frames, and behind them the repetitions.
    """
    turned = np.abs(yaw_deg)
    bins = np.where(turned < WIDEST_DEG, turned // BIN_DEG, -1).astype(np.int64)
    counts = np.bincount(bins[bins >= 0], minlength=1)
    times = np.ones(len(indices), np.int64)
    for one in np.flatnonzero(counts):
        times[bins == one] = min(most, round(counts.max() / counts[one]))
    return np.concatenate([indices[times > repetition] for repetition in range(max(most, 1))])
