# SPDX-License-Identifier: Apache-2.0
"""Types of what callers give, for type checkers: what is taken at run time is checked there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class OnDevice(Protocol):
    """An array in a GPU's memory, such as PyTorch's, CuPy's and Numba's."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...


Frame = NDArray[Any] | OnDevice
Number = float | np.floating[Any] | np.integer[Any]
Point = Sequence[Number] | NDArray[Any]
Points = Sequence[Point] | NDArray[Any]
Numbers = Sequence[Number | None] | NDArray[Any]
