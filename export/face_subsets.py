# SPDX-License-Identifier: Apache-2.0
"""The groups of held-out faces that the gate looks at one by one: frontal, extreme, occluded, dark."""

from __future__ import annotations

import numpy as np

from train.data.packed import PackedSet
from train.data.subsets import is_frontal

EXTREME_DEG = 40.0  # one angle beyond it: about a quarter of the rendered set's faces
OCCLUDED_VISIBLE = 0.7  # at most this fraction of the face is visible: about a tenth
DARK_LEVEL = 60.0  # mean gray level of the box below it: about a twentieth
SUBSETS = ("all", "frontal", "extreme", "occluded", "dark")


def subsets_of(data: PackedSet, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Say which frames are in which subset; a frame may be in several, or in `all` only.

    Args:
        data: The packed set.
        indices: (n,) positions in it.

    Returns:
        (n,) bool by name, in the order of SUBSETS.
    """
    meta = data.meta[indices]
    edge = (data.crops.crop_px - data.crops.box_px) // 2
    inside = slice(edge, edge + data.crops.box_px)
    level = np.array([data.gray[index][inside, inside].mean() for index in indices])
    angles_deg = np.abs(meta["roll_pitch_yaw_deg"]).max(axis=1)
    chosen = {
        "all": np.ones(len(indices), bool),
        "frontal": is_frontal(meta),
        "extreme": angles_deg > EXTREME_DEG,
        "occluded": meta["visible"] <= OCCLUDED_VISIBLE,
        "dark": level < DARK_LEVEL,
    }
    return {name: np.asarray(chosen[name], bool) for name in SUBSETS}
