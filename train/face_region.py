# SPDX-License-Identifier: Apache-2.0
"""Where the face is in a box: the region over which depth on real faces is judged, without hair, ears and neck."""

from __future__ import annotations

import functools

import numpy as np

from facedepth_edge.spec import Preprocessing

HALF_AXES_MM = (68.0, 90.0)  # across and down, at the head centre's distance


@functools.cache
def face_ellipse(height: int, width: int) -> np.ndarray:
    """Return the pixels of eq. 6's box whose centres lie in the ellipse of HALF_AXES_MM about its centre.

    Args:
        height: Of the box in pixels.
        width: Of the box in pixels.

    Returns:
        (height, width) bool, read-only.
    """
    reach = Preprocessing()
    down = ((np.arange(height) + 0.5) / height - 0.5) * reach.reach_y_mm / HALF_AXES_MM[1]
    across = ((np.arange(width) + 0.5) / width - 0.5) * reach.reach_x_mm / HALF_AXES_MM[0]
    inside = down[:, None] ** 2 + across[None, :] ** 2 <= 1.0
    inside.flags.writeable = False
    return inside
