# SPDX-License-Identifier: Apache-2.0
"""Where the face is in a box: the region over which depth on real faces is judged, without hair, ears and neck."""

from __future__ import annotations

import numpy as np

from facedepth_edge.face_region import ellipse_in_box
from facedepth_edge.spec import Preprocessing

HALF_AXES_MM = (68.0, 90.0)  # across and down, at the head centre's distance


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
