# SPDX-License-Identifier: Apache-2.0
"""The paper's subsets: A1 and A2 by the head's angles, {S1 S2 S3} and {S4 S5} by the sequence, and their nine cells."""

from __future__ import annotations

import numpy as np

from facedepth_edge.errors import InputError
from train.data.frame_source import CropsSet

ANGLE_LIMIT_DEG = 10.0
ANGLE_SETS = ("A1", "A2", "all")
SEQUENCE_SETS: dict[str, tuple[int, ...]] = {"S123": (1, 2, 3), "S45": (4, 5), "all": (1, 2, 3, 4, 5)}
CELLS = tuple(f"{angles}|{sequences}" for angles in ANGLE_SETS for sequences in SEQUENCE_SETS)
"""Table 2's cells, by rows: A1|S123, A1|S45, A1|all, ... all|all."""


def is_frontal(meta: np.ndarray) -> np.ndarray:
    """Say which frames are in A1.

    Source: eq. 7a, all three angles from -10 to 10 degrees; the others are A2 (eq. 7b).

    Args:
        meta: (N,) of META_DTYPE.

    Returns:
        (N,) bool.
    """
    return (np.abs(meta["roll_pitch_yaw_deg"]) <= ANGLE_LIMIT_DEG).all(axis=1)


def sequence_of_subject(meta: np.ndarray, crops: CropsSet) -> np.ndarray:
    """Return which of its subject's sequences each frame is of.

    Args:
        meta: (N,) of META_DTYPE.
        crops: The set's description.

    Returns:
        (N,) int64, 1..5 for S1..S5.

    Raises:
        InputError: The set has no such sequences.
    """
    count = crops.sequences_per_subject
    if not count:
        fix = "Use a Pandora set, or the cells that end in |all."
        raise InputError.of(str(crops.root), f"layout {crops.layout}", "a set with S1 to S5 of every subject", fix)
    return (meta["sequence"].astype(np.int64) - 1) % count + 1


def in_angle_set(meta: np.ndarray, name: str) -> np.ndarray:
    """Say which frames are in A1, A2 or all: (N,) bool."""
    assert name in ANGLE_SETS, "callers take the name from ANGLE_SETS"
    if name == "all":
        return np.ones(len(meta), bool)
    return is_frontal(meta) if name == "A1" else ~is_frontal(meta)


def in_sequence_set(meta: np.ndarray, crops: CropsSet, name: str) -> np.ndarray:
    """Say which frames are in S123, S45 or all: (N,) bool.

    Raises:
        InputError: S123 or S45 of a set that has no such sequences.
    """
    if name == "all":
        return np.ones(len(meta), bool)
    return np.isin(sequence_of_subject(meta, crops), SEQUENCE_SETS[name])


def in_cell(meta: np.ndarray, crops: CropsSet, cell: str) -> np.ndarray:
    """Say which frames are in a cell: (N,) bool.

    Args:
        meta: (N,) of META_DTYPE.
        crops: The set's description.
        cell: One of CELLS.

    Raises:
        InputError: The set has no S1 to S5, and the cell asks for them.
    """
    angles, sequences = cell.split("|")
    return in_angle_set(meta, angles) & in_sequence_set(meta, crops, sequences)


def cells_of(crops: CropsSet) -> tuple[str, ...]:
    """Return the cells that a set has: all nine, or only those over all sequences."""
    return CELLS if crops.sequences_per_subject else tuple(cell for cell in CELLS if cell.endswith("|all"))
