# SPDX-License-Identifier: Apache-2.0
"""The shapes of a rendered set's people: what the verification network may learn of a head besides whose it is.

`shapes.npy` lies beside dataset.json: (people, SHAPE_VALUES) float32, person n in row n - 1, mm; a row of NaN where a
person's shape is not known.
"""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np

from facedepth_edge.errors import InputError
from facedepth_edge.whole_file import whole_file

FILE = "shapes.npy"
SHAPE_VALUES = 103
"""Of the head model's 100 identity weights, then of the head's width, height and depth, what each moves, in mm."""


def read_shapes(root: Path) -> np.ndarray | None:
    """Read a set's shapes.

    Args:
        root: The set's folder.

    Returns:
        (people, SHAPE_VALUES) float32; None where the set has no such file.

    Raises:
        InputError: The file is no such array; the text names it.
    """
    path = root / FILE
    if not path.exists():
        return None
    fix = "Remove it; `python -m train.synth render` writes it again."
    try:
        shapes = np.lib.format.open_memmap(path, mode="r")  # mapped: a damaged header cannot fill the memory
    except (OSError, EOFError, ValueError, SyntaxError, TokenError) as error:
        raise InputError.of(str(path), str(error), "an array of shapes", fix) from error
    if shapes.dtype != np.float32 or shapes.shape[1:] != (SHAPE_VALUES,):
        got = f"{shapes.shape} {shapes.dtype}"
        raise InputError.of(str(path), got, f"(people, {SHAPE_VALUES}) float32", fix)
    return np.array(shapes)


def write_shapes(root: Path, shapes: np.ndarray) -> None:
    """Write a set's shapes, (people, SHAPE_VALUES) float32; the file appears whole or not at all."""
    with whole_file(root / FILE) as file:
        np.save(file, shapes)


def shapes_of(shapes: np.ndarray | None, subjects: np.ndarray) -> np.ndarray:
    """Return people's shapes.

    Args:
        shapes: (people, SHAPE_VALUES) float32, or None.
        subjects: (n,) int, numbers of people, 1 and up.

    Returns:
        (n, SHAPE_VALUES) float32; NaN for those whose shape is not known.
    """
    out = np.full((len(subjects), SHAPE_VALUES), np.nan, np.float32)
    if shapes is not None:
        known = subjects <= len(shapes)
        out[known] = shapes[subjects[known] - 1]
    return out
