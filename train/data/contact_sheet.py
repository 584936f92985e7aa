# SPDX-License-Identifier: Apache-2.0
"""Draws a contact sheet of a packed set: gray, depth in colour, and depth edges over the gray, to see alignment."""

from __future__ import annotations

import cv2
import numpy as np

from facedepth_edge.picture import colour_from_depth
from train.data.frame_source import UNMEASURED_MM
from train.data.packed import PackedSet

EDGE_SHARE = 0.04
"""A step between neighbouring measured pixels that is drawn as an edge, as a share of the nearer one's depth."""
_COLUMNS = 2  # frames beside each other
_ZOOM = 2
_NEAR_FAR_MM = (-120.0, 200.0)  # of D, the ends of the colours
_EDGE_BGR = (40, 40, 255)
_HOLE_BGR = (0, 210, 230)
_BOX_BGR = (90, 220, 90)


def draw_sheet(data: PackedSet, frames: int = 12) -> np.ndarray:
    """Draw frames, spread evenly over a set.

    Args:
        data: The packed set.
        frames: How many; each takes three pictures: gray with eq. 6's box, depth (warm is near, black was not
            measured), gray with depth steps of more than EDGE_SHARE in red and borders to holes in yellow.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        InputError: The set has no pictures.
    """
    data.crops.require_pictures()
    usable = np.flatnonzero(data.meta["distance_mm"] > UNMEASURED_MM)
    if not len(usable):
        usable = np.arange(len(data.meta))
    chosen = usable[np.linspace(0, len(usable) - 1, min(frames, len(usable))).round().astype(np.int64)]
    cards = [_draw_frame(data, int(index)) for index in chosen]
    cards += [np.zeros_like(cards[0])] * (-len(cards) % _COLUMNS)
    return np.vstack([np.hstack(cards[first : first + _COLUMNS]) for first in range(0, len(cards), _COLUMNS)])


def depth_edges(depth_mm: np.ndarray) -> np.ndarray:
    """Return where neighbouring measured pixels lie more than EDGE_SHARE apart: (P, P) bool, the nearer of the two."""
    depth = depth_mm.astype(np.float32)
    edges = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        for shift in (1, -1):
            other = np.roll(depth, shift, axis)
            step = (other - depth > EDGE_SHARE * depth) & (depth > 0) & (other > 0)
            border = [slice(None), slice(None)]
            border[axis] = slice(0, 1) if shift == 1 else slice(-1, None)
            step[tuple(border)] = False  # roll came in from the other side
            edges |= step
    return edges


def hole_borders(depth_mm: np.ndarray) -> np.ndarray:
    """Return which measured pixels have an unmeasured one beside, above or below them: (P, P) bool."""
    holes = (depth_mm == 0).astype(np.uint8)
    return (cv2.dilate(holes, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))) > 0) & (depth_mm > 0)


def _draw_frame(data: PackedSet, index: int) -> np.ndarray:
    side = data.crops.crop_px * _ZOOM
    gray = cv2.cvtColor(np.asarray(data.gray[index]), cv2.COLOR_GRAY2BGR)
    depth = np.asarray(data.depth_mm[index])
    distance_mm = float(data.meta["distance_mm"][index])
    colours = colour_from_depth(depth.astype(np.float32), *(distance_mm + offset for offset in _NEAR_FAR_MM))
    colours[depth == 0] = 0
    overlaid = gray.copy()
    overlaid[hole_borders(depth)] = _HOLE_BGR
    overlaid[depth_edges(depth)] = _EDGE_BGR
    panels = [cv2.resize(image, (side, side), interpolation=cv2.INTER_NEAREST) for image in (gray, colours, overlaid)]
    border = (data.crops.crop_px - data.crops.box_px) // 2 * _ZOOM
    cv2.rectangle(panels[0], (border, border), (side - 1 - border, side - 1 - border), _BOX_BGR, 1)
    roll, pitch, yaw = data.meta["roll_pitch_yaw_deg"][index]
    text = f"{data.crops.frames[index].frame_id}  D {distance_mm:.0f}  r {roll:.0f} p {pitch:.0f} y {yaw:.0f}"
    for thickness, colour in ((3, (0, 0, 0)), (1, (255, 255, 255))):
        cv2.putText(panels[0], text, (6, side - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, thickness, cv2.LINE_AA)
    return np.hstack(panels)
