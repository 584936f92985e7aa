# SPDX-License-Identifier: Apache-2.0
"""Types of the native module, which runtime/bindings/module.cc defines."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

version: str

class FaceCropper:
    def __init__(self, scale: float, offset: float, int8_step: float = 1.0) -> None: ...
    def crop_into(
        self,
        out: NDArray[np.float32] | NDArray[np.float16] | NDArray[np.int8],
        frame: NDArray[Any],
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        max_value: float,
    ) -> tuple[float, float, float, float]: ...

def write_depth_maps(
    depth_mm: NDArray[np.float32],
    relative: NDArray[np.float32],
    mask: NDArray[np.bool_],
    depth: NDArray[np.float32],
    mask_probability: NDArray[np.float32] | None,
    distance_mm: float,
    half_range_mm: float,
    mask_threshold: float,
) -> tuple[bool, bool]: ...
def depth_along_axis(
    relative: NDArray[np.float32],
    depth: NDArray[np.float32],
    ray_x: float,
    ray_y: float,
    distance_mm: float,
    half_range_mm: float,
    reach_x_mm: float,
    reach_y_mm: float,
) -> None: ...
