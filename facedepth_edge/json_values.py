# SPDX-License-Identifier: Apache-2.0
"""Numbers that JSON cannot write: what is not finite becomes null."""

from __future__ import annotations

import math
from typing import TypeVar

_T = TypeVar("_T")


def finite_or_none(value: _T) -> _T | None:
    """Return a value for JSON.

    Args:
        value: anything that JSON takes; a float may be NaN or infinite.

    Returns:
        None for a float that is not finite, everything else as it is.
    """
    return None if isinstance(value, float) and not math.isfinite(value) else value
