# SPDX-License-Identifier: Apache-2.0
"""Decides whether a face's depth is usable and, if not, says why.

`train` measures by the same rule. runtime/src/pipeline.cc has it in C++.
"""

from __future__ import annotations

from typing import NamedTuple

from facedepth_edge.face_region import LEAST_SEEN, MOST_AT_BORDER

LEAST_CONTRAST_LEVELS = 2.5
"""Standard deviation of a crop, in gray levels of 255, below which there is nothing to see in it.

A covered lens or a failed flash gives a black crop with some noise, and the network has not learnt what that is. Faces,
rendered and real, in ordinary light have 20 and more; a face at 2 % of its exposure has about 1.
"""

LEAST_BOX_PX = 24.0
"""Side of the box, in pixels of the frame, below which a face has too few of them.

Over 500 rendered test faces the error over the head is 7.0 mm with 96 px, 7.3 with 48, 7.8 with 32, 8.7 with 24, 12.1
with 16 and 17.7 with 12 (`python -m train.box_scale --pixels`); without this limit 90 and 56 % of the last two were
called valid.
"""

_ROUNDING_PX = 1e-6  # of a box whose corners are far from the frame's


class Evidence(NamedTuple):
    """What is known of one face. None: not known, or not given by the model; it never makes a face invalid."""

    finite: bool
    """No pixel of the network's depth is NaN."""
    contrast_levels: float
    """Standard deviation of the crop in gray levels, 0..127.5."""
    side_px: float | None
    """The shorter side of the box in pixels of the frame."""
    validity: float | None
    """The network's probability of a usable face."""
    has_head: bool | None
    """The mask has a pixel."""
    at_border: float | None
    """Share of the box's outermost pixels that the model's own mask calls head."""
    face_seen: float | None
    """Share of the face's place that the model's own mask calls head."""


def why_not_valid(evidence: Evidence, validity_threshold: float | None) -> str:
    """Return why the depth should not be used, or an empty text.

    Args:
        evidence: what is known of the face.
        validity_threshold: the model's; None where it has no validity.
    """
    finite, contrast_levels, side_px, validity, has_head, at_border, face_seen = evidence
    if not finite:
        return "the network's depth is not finite"
    if not contrast_levels >= LEAST_CONTRAST_LEVELS:
        return (
            f"nothing to see in the box: its contrast of {contrast_levels:.1f} gray levels is below "
            f"{LEAST_CONTRAST_LEVELS:g} (too dark, covered, or the camera's max_value too large)"
        )
    if side_px is not None and side_px < LEAST_BOX_PX - _ROUNDING_PX:
        return f"too few pixels: the box about the head has {side_px:.1f} of them a side, below {LEAST_BOX_PX:g}"
    if validity is not None and validity_threshold is not None and not validity >= validity_threshold:
        head = face_seen is not None and face_seen >= LEAST_SEEN
        what = "a head turned away, or its face covered" if head else "no usable face in the box"
        return f"{what}: validity {validity:.2f} is below {validity_threshold:.2f}"
    if has_head is not None and not has_head:
        return "no head in the box: the mask is empty"
    if at_border is not None and at_border > MOST_AT_BORDER:
        return (
            f"the head fills its box, so it is nearer than said: {100 * at_border:.0f} % of the box's border is head, "
            f"above {100 * MOST_AT_BORDER:.0f} %"
        )
    if face_seen is not None and not face_seen >= LEAST_SEEN:
        return (
            f"the face is covered, outside the frame, not in the box's middle or farther away than said: "
            f"{100 * face_seen:.0f} % of its place is head, below {100 * LEAST_SEEN:.0f} %"
        )
    return ""
