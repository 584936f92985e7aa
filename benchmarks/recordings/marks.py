# SPDX-License-Identifier: Apache-2.0
"""Reads the head centres that were marked once and lie beside a converter as a table."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from facedepth_edge.errors import InputError
from train.data.strict_files import read_text

COLUMNS = ["name", "x", "y"]
_FIX = "Restore the file from the repository."


def read_marks(path: Path) -> dict[str, tuple[float, float]]:
    """Read a table of head centres.

    Args:
        path: CSV with the columns name, x and y, in pixels of the written pictures, pixel i covering [i, i + 1).

    Returns:
        For each name, in the file's order, x and y.

    Raises:
        InputError: it is missing, or a line has another form or a name that comes twice; the text names the line.
    """
    marks: dict[str, tuple[float, float]] = {}
    heads, *rows = csv.reader(read_text(path, "a table of head centres", _FIX).splitlines() or [""])
    if heads != COLUMNS:
        raise InputError.of(f"{path}, line 1", ",".join(heads), ",".join(COLUMNS), _FIX)
    for line, row in enumerate(rows, 2):
        try:
            name, x, y = row[0], *(float(value) for value in row[1:])
        except (IndexError, ValueError) as error:
            raise InputError.of(f"{path}, line {line}", ",".join(row), "a name and two numbers", _FIX) from error
        if not name or name in marks or not np.isfinite([x, y]).all():
            raise InputError.of(f"{path}, line {line}", ",".join(row), "a new name and two finite numbers", _FIX)
        marks[name] = x, y
    return marks
