# SPDX-License-Identifier: Apache-2.0
"""Tests that only a float which is not finite becomes null."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from facedepth_edge.json_values import finite_or_none


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_what_is_not_finite_is_none(value: float) -> None:
    assert finite_or_none(value) is None


@pytest.mark.parametrize("value", [0.0, -1.5, 1e308, 3, 10**400, True, "nan", None, np.float64(2.5)])
def test_everything_else_stays(value: Any) -> None:
    assert finite_or_none(value) is value
