# SPDX-License-Identifier: Apache-2.0
"""Types of the arguments, for type checkers; the values are checked at run time, where they are used."""

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
