# SPDX-License-Identifier: Apache-2.0
"""The rule of what is valid: every reason, which of several is told, and what is not known."""

from __future__ import annotations

import math
from typing import Any

import pytest

from facedepth_edge.validity import Evidence, why_not_valid

FACE = Evidence(
    finite=True, contrast_levels=30.0, side_px=96.0, validity=0.9, has_head=True, at_border=0.1, face_seen=0.8
)
REASONS: list[tuple[dict[str, Any], str]] = [
    ({"face_seen": 0.31}, "the face is covered, outside the frame, not in the box's middle or farther away than said: "
     "31 % of its place is head, below 60 %"),
    ({"at_border": 0.41}, "the head fills its box, so it is nearer than said: 41 % of the box's border is head, above "
     "25 %"),
    ({"has_head": False}, "no head in the box: the mask is empty"),
    ({"validity": 0.25}, "no usable face in the box: validity 0.25 is below 0.50"),
    ({"side_px": 23.7}, "too few pixels: the box about the head has 23.7 of them a side, below 24"),
    ({"contrast_levels": 1.04}, "nothing to see in the box: its contrast of 1.0 gray levels is below 2.5 (too dark, "
     "covered, or the camera's max_value too large)"),
    ({"finite": False}, "the network's depth is not finite"),
]  # fmt: skip


def test_the_first_reason_of_several_is_told() -> None:
    """Each is told where it holds beside all that come after it."""
    evidence = FACE
    assert why_not_valid(evidence, 0.5) == ""
    for change, reason in REASONS:
        evidence = evidence._replace(**change)
        assert why_not_valid(evidence, 0.5) == reason


def test_a_head_without_validity_is_turned_away() -> None:
    reason = "a head turned away, or its face covered: validity 0.25 is below 0.50"
    assert why_not_valid(FACE._replace(validity=0.25), 0.5) == reason


def test_limits_are_valid_and_nan_is_not() -> None:
    limits = {"contrast_levels": 2.5, "side_px": 24.0 - 1e-9, "validity": 0.5, "at_border": 0.25, "face_seen": 0.6}
    assert why_not_valid(FACE._replace(**limits), 0.5) == ""
    for name in ("contrast_levels", "validity"):
        assert why_not_valid(FACE._replace(**{name: math.nan}), 0.5)


@pytest.mark.parametrize("threshold", [0.5, None])
def test_what_is_not_known_speaks_against_nothing(threshold: float | None) -> None:
    unknown = dict.fromkeys(("side_px", "validity", "has_head", "at_border", "face_seen"))
    assert why_not_valid(FACE._replace(**unknown), threshold) == ""
