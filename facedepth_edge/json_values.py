# SPDX-License-Identifier: Apache-2.0
"""What JSON cannot write, and what a strict reader of it refuses."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, TypeVar

_T = TypeVar("_T")


def finite_or_none(value: _T) -> _T | None:
    """Return a value for JSON.

    Args:
        value: anything that JSON takes; a float may be NaN or infinite.

    Returns:
        None for a float that is not finite, everything else as it is.
    """
    return None if isinstance(value, float) and not math.isfinite(value) else value


def repeated_keys(pairs: list[tuple[str, Any]]) -> list[str]:
    """Return the keys that come more than once among the members of an object, sorted.

    Args:
        pairs: as json.loads gives them to its object_pairs_hook.
    """
    keys = sorted(key for key, _ in pairs)
    return sorted({key for key, following in pairwise(keys) if key == following})
