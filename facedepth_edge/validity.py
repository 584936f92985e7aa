# SPDX-License-Identifier: Apache-2.0
"""Says whether a result can be used, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facedepth_edge.face_region import LEAST_SEEN, MOST_AT_BORDER

if TYPE_CHECKING:
    from facedepth_edge.frame_path import NetworkOutput
    from facedepth_edge.spec import ModelSpec

LEAST_CONTRAST_LEVELS = 2.5
"""Standard deviation of a crop, in gray levels of 255, below which there is nothing to see in it.

A covered lens or a failed flash gives a black crop with some noise, and the network has not learnt what that is. Faces,
rendered and real, in ordinary light have 20 and more; a face at 2 % of its exposure has about 1.
"""


def why_not_valid(
    spec: ModelSpec,
    finite: bool,
    has_head: bool,
    face_seen: float | None,
    at_border: float | None,
    output: NetworkOutput,
) -> str:
    """Return why the depth should not be used, or an empty text.

    Args:
        spec: the model's; its thresholds count.
        finite: whether the network's depth is.
        has_head: whether the mask has a pixel.
        face_seen: share of the face's place that the mask calls head; None where the model has no mask of its own.
        at_border: share of the box's outermost pixels that the mask calls head; None as for face_seen.
        output: the network's.
    """
    validity = output.validity
    if not finite:
        return "the network's depth is not finite"
    if not output.contrast >= LEAST_CONTRAST_LEVELS:
        return (
            f"nothing to see in the box: its contrast of {output.contrast:.1f} gray levels is below "
            f"{LEAST_CONTRAST_LEVELS:g} (too dark, covered, or the camera's max_value too large)"
        )
    if validity is not None and spec.outputs.validity is not None:
        threshold = spec.outputs.validity.threshold
        if not validity >= threshold:
            head = face_seen is not None and face_seen >= LEAST_SEEN
            what = "a head turned away, or its face covered" if head else "no usable face in the box"
            return f"{what}: validity {validity:.2f} is below {threshold:.2f}"
    if not has_head:
        return "no head in the box: the mask is empty"
    if at_border is not None and at_border > MOST_AT_BORDER:
        return (
            f"the head fills its box, so it is nearer than said: {100 * at_border:.0f} % of the box's border is head, "
            f"above {100 * MOST_AT_BORDER:.0f} %"
        )
    if face_seen is not None and not face_seen >= LEAST_SEEN:
        return (
            f"the face is covered, not in the box's middle or farther away than said: {100 * face_seen:.0f} % of its "
            f"place is head, below {100 * LEAST_SEEN:.0f} %"
        )
    return ""
