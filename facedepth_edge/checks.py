# SPDX-License-Identifier: Apache-2.0
"""What numbers of the caller's are checked for, before they are used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from facedepth_edge.errors import InputError

LARGEST_GIVEN = 1e9  # of any number of the caller's; what is beyond is a mistake, and overflows sooner or later
NO_NUMBERS = (bool, np.bool_, str, bytes, np.timedelta64)  # what float() takes all the same


def shown(value: object) -> str:
    """A value as Python would write it: texts in quotes, NumPy's numbers as plain ones."""
    if isinstance(value, np.generic) and not isinstance(value, np.timedelta64):  # a span's item() may be an int
        return repr(value.item())
    return repr(value)


def is_number(value: object) -> bool:
    """Say whether a value is a real number, neither a truth value nor beyond LARGEST_GIVEN as an int."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, NO_NUMBERS)
    return number and not (isinstance(value, int) and abs(value) > LARGEST_GIVEN)  # an int may be beyond any float


def is_positive(value: Any) -> bool:
    """Say whether a value is a number above 0, up to LARGEST_GIVEN."""
    return is_number(value) and 0 < float(value) <= LARGEST_GIVEN


def check_point(value: Any, where: str, fix: str) -> tuple[float, float]:
    """Return two numbers, x and y, as floats, which may be NaN or infinite; InputError with these texts otherwise."""
    try:
        values = list(value)
        if isinstance(value, (str, bytes, dict, set)) or any(isinstance(v, NO_NUMBERS) for v in values):
            raise TypeError("two numbers")
        x, y = (float(v) for v in values)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError.of(where, repr(value), "two numbers (x, y)", fix) from error
    return x, y


def check_positive(value: Any, where: str, low: float, rule: str, fix: str) -> float:
    """Return a finite number above 0, at least `low`, as a float; InputError with these texts otherwise."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError.of(where, shown(value), rule, fix) from error
    if isinstance(value, NO_NUMBERS) or not math.isfinite(number) or number <= 0 or number < low:
        raise InputError.of(where, shown(value), rule, fix)
    return number
