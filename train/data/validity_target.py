# SPDX-License-Identifier: Apache-2.0
"""What the network's validity learns: whether the box shows enough of a face, by what covers the face's place."""

from __future__ import annotations

import torch
from torch import Tensor

from facedepth_edge.face_region import SEEN_HALF_AXES_MM

SEEN_TOO_LITTLE = 0.4  # at and below this share of the face's place the target is 0
SEEN_ENOUGH = 0.7  # at and above it is 1; between, it rises linearly: a soft target where people would disagree


def share_of_face_seen(x_mm: Tensor, y_mm: Tensor, head: Tensor, hidden: Tensor) -> Tensor:
    """Return which share of each face's place shows the head; what neither shows nor hides it is left out.

    A face's place is the ellipse of SEEN_HALF_AXES_MM about the head centre, the runtime's at the true distance. What
    is neither head nor hidden (the wall beside a profile's nose) does not count here; in the runtime's face_seen it
    counts as not seen.

    Args:
        x_mm: (B, S, S) or (1, S, S), each pixel's place to the right of the head centre, at the head's distance.
        y_mm: The same, down.
        head: (B, 1, S, S) bool, the pixel shows the head.
        hidden: (B, 1, S, S) bool, something before the head or the frame's edge hides what would be there.

    Returns:
        (B,) float32 in [0, 1]; 0 where nothing in that place shows or hides it.
    """
    across_mm, down_mm = SEEN_HALF_AXES_MM
    place = ((x_mm / across_mm) ** 2 + (y_mm / down_mm) ** 2 <= 1.0)[:, None]  # (B, 1, S, S)
    shown = (head & ~hidden & place).sum(dim=(1, 2, 3))
    covered = (hidden & place).sum(dim=(1, 2, 3))
    return shown / (shown + covered).clamp(min=1)


def validity_target(face: Tensor, seen: Tensor) -> Tensor:
    """Return how usable each face is.

    Ours: 0 without a face; else 0 up to SEEN_TOO_LITTLE, 1 from SEEN_ENOUGH, linear between. The head centre is always
    in the box: the augmentation shifts the box by far less than half its side.

    Args:
        face: (B,) bool, a head is in the box that looks towards the camera.
        seen: (B,) float32, the share of the face's place that is seen.

    Returns:
        (B, 1) float32 in [0, 1].
    """
    rise = ((seen - SEEN_TOO_LITTLE) / (SEEN_ENOUGH - SEEN_TOO_LITTLE)).clamp(0, 1)
    return torch.where(face, rise, torch.zeros_like(rise))[:, None]
