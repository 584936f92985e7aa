# SPDX-License-Identifier: Apache-2.0
"""Where the face is in a box, without hair, ears and neck: depth on real faces is judged there, and planes fitted.

The runtime's ellipse, in which it looks for a face, is a smaller one: facedepth_edge/face_region.py.
"""

from __future__ import annotations

import numpy as np

from facedepth_edge.face_region import ellipse_in_box
from facedepth_edge.spec import Preprocessing

HALF_AXES_MM = (68.0, 90.0)  # across and down, at the head centre's distance


def planes_over(where: np.ndarray) -> np.ndarray:
    """Return columns that span all planes over some pixels of eq. 6's box.

    Args:
        where: (H, W) bool.

    Returns:
        (n, 3) float64: mm to the right and mm down at the head's distance, each without its mean, and 1.
    """
    reach, (height, width) = Preprocessing(), where.shape
    down, across = np.nonzero(where)
    right_mm = (across + 0.5) / width * reach.reach_x_mm
    down_mm = (down + 0.5) / height * reach.reach_y_mm
    return np.stack([right_mm - right_mm.mean(), down_mm - down_mm.mean(), np.ones(len(down))], axis=1)


def beside_plane(values: np.ndarray, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a plane to values by least squares and take it out of them.

    Args:
        values: (n,) float64, or (n, m): m columns, each with a plane of its own.
        planes: (n, k) float64, what spans the planes, as `planes_over` returns it.

    Returns:
        The plane's coefficients (k,) or (k, m), and what of the values lies beside it, in their shape.
    """
    coefficients = np.linalg.lstsq(planes, values, rcond=None)[0]
    return coefficients, values - planes @ coefficients


def face_ellipse(height: int, width: int) -> np.ndarray:
    """Return the pixels of eq. 6's box whose centres lie in the ellipse of HALF_AXES_MM about its centre.

    Args:
        height: Of the box in pixels.
        width: Of the box in pixels.

    Returns:
        (height, width) bool, read-only.
    """
    reach = Preprocessing()
    return ellipse_in_box((height, width), (reach.reach_x_mm, reach.reach_y_mm), HALF_AXES_MM)
