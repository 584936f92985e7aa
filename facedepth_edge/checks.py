# SPDX-License-Identifier: Apache-2.0
"""Checks on numbers that callers pass in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facedepth_edge.errors import InputError

LARGEST_GIVEN = 1e9  # largest magnitude accepted from a caller; anything larger is a mistake and would overflow
NO_NUMBERS = (bool, np.bool_, str, bytes, np.timedelta64)  # types that float() accepts but that are not numbers here

MAX_FRAME_SIDE_PX = 32768
"""Longest side of a frame that a Camera may be made for, that may lie on a GPU, and that the native crop takes. In host
memory a frame may be larger, where the camera names no size: OpenCV crops it."""


def shown(value: object) -> str:
    """Return a value as Python writes it: texts in quotes, NumPy's numbers as plain ones."""
    if isinstance(value, np.generic) and not isinstance(value, np.timedelta64):  # a span's item() may be an int
        return repr(value.item())
    return repr(value)


def is_number(value: object) -> bool:
    """Say whether a value is a real number: neither a bool, a time span nor an int beyond LARGEST_GIVEN."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, NO_NUMBERS)
    return number and not (isinstance(value, int) and abs(value) > LARGEST_GIVEN)  # which float() might not take


def is_positive(value: Any) -> bool:
    """Say whether a value is a number above 0, up to LARGEST_GIVEN."""
    return is_number(value) and 0 < float(value) <= LARGEST_GIVEN


def check_point(value: Any, where: str, fix: str) -> tuple[float, float]:
    """Return two numbers, x and y, as floats, which may be NaN or infinite; else raise InputError with these texts."""
    try:
        values = list(value)
        if isinstance(value, (str, bytes, dict, set)) or any(isinstance(v, NO_NUMBERS) for v in values):
            raise TypeError("two numbers")
        x, y = (float(v) for v in values)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError.of(where, repr(value), "two numbers (x, y)", fix) from error
    return x, y


def check_positive(value: Any, where: str, low: float, rule: str, fix: str) -> float:
    """Return a finite number above 0, at least `low`, as a float; else raise InputError with these texts."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError.of(where, shown(value), rule, fix) from error
    if isinstance(value, NO_NUMBERS) or not math.isfinite(number) or number <= 0 or number < low:
        raise InputError.of(where, shown(value), rule, fix)
    return number
