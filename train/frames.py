# SPDX-License-Identifier: Apache-2.0
"""Which frames of a packed set a run trains on and is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from train.config import TrainConfig
from train.data.even_yaw import evened
from train.data.packed import PackedSet
from train.validation import spread_indices


@dataclass(frozen=True)
class Frames:
    """Which frames of a set a run sees.

    Args:
        train: (N,) int64, the frames that steps draw from; those of turned heads several times where that is asked.
        val: (n,) int64, the frames that are measured on.
        about: What a checkpoint says of the data.
    """

    train: np.ndarray
    val: np.ndarray
    about: dict[str, Any]


def choose_frames(config: TrainConfig, data: PackedSet) -> Frames:
    """Return which frames of a set a run sees.

    Args:
        config: All settings.
        data: The packed set.
    """
    train = data.indices("train", config.data.faces_only)
    about = {
        "name": data.name,
        "key": data.key,
        "train_frames": len(train),
        "train_subjects": len(np.unique(data.meta["subject"][train])),
    }
    yaw_deg = np.where(data.meta["face"], data.meta["roll_pitch_yaw_deg"][:, 2], np.nan)  # without a face there is none
    val = spread_indices(data, "val", config.data.validation_frames, config.data.faces_only)
    return Frames(evened(train, yaw_deg[train], config.data.even_yaw), val, about)
