# SPDX-License-Identifier: Apache-2.0
"""A result as the commands show it: as JSON values, and in one line for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from facedepth_edge.result import DepthResult


def json_from_result(result: DepthResult) -> dict[str, Any]:
    """Return what was measured as JSON values: pixels of the frame, millimetres, degrees, milliseconds."""
    head_mm = result.depth_mm[result.mask]
    span = None
    if head_mm.size and np.isfinite(head_mm).all():
        span = {"nearest": float(head_mm.min()), "median": float(np.median(head_mm)), "farthest": float(head_mm.max())}
    pose = result.head_pose()
    return {
        "head_center": list(result.head_center),
        "box": [float(value) for value in result.box],
        "distance_mm": result.distance_mm,
        "distance_source": result.distance_source,
        "valid": result.valid,
        "validity": None if result.validity is None or math.isnan(result.validity) else result.validity,
        "reason": result.reason,
        "face_seen": result.face_seen,
        "head_pose": None
        if pose is None
        else {
            "yaw_deg": pose.yaw_deg,
            "yaw_seen_deg": pose.yaw_seen_deg,
            "pitch_deg": pose.pitch_deg,
            "roll_deg": pose.roll_deg,
            "position_mm": list(pose.position_mm),
        },
        "mask_source": result.mask_source,
        "head_pixels": int(head_mm.size),
        "head_mm": span,
        "timings_ms": {name: round(value, 4) for name, value in result.timings_ms.items()},
    }


def words_from_result(result: DepthResult) -> str:
    """Say in one line what was measured."""
    x, y = result.head_center
    pose = result.head_pose()
    turn = f", yaw {pose.yaw_deg:.0f}, pitch {pose.pitch_deg:.0f}, roll {pose.roll_deg:.0f} degrees" if pose else ""
    head_mm = result.depth_mm[result.mask]
    span = f"head {head_mm.min():.0f} to {head_mm.max():.0f} mm" if head_mm.size else "no head pixel"
    state = "valid" if result.valid else f"not valid: {result.reason}"
    distance = f"distance {result.distance_mm:.0f} mm ({result.distance_source})"
    return f"{span}, {distance}, centre {x:.0f},{y:.0f}{turn}, {state}"
