# SPDX-License-Identifier: Apache-2.0
"""Cuts a face out of a frame and the depth image that is registered to it: eq. 6 in both, the project's own sampling.

Gray is sampled by `facedepth_edge.face_crop` (area average where it shrinks, bilinear where it grows, the border
repeated outside the frame), depth by the nearest pixel, 0 outside the frame.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from facedepth_edge.box import Box, box_from_head
from facedepth_edge.camera import Camera
from facedepth_edge.errors import ConfigError, InputError
from facedepth_edge.face_crop import FaceSampler, sample_depth
from facedepth_edge.head import distance_from_depth
from facedepth_edge.spec import Preprocessing
from train.data.frame_source import UNMEASURED_MM, CropSample
from train.data.reader_config import ReaderConfig
from train.data.registration import Intrinsics
from train.units import REACH_MM

CROP_FORMAT = 2
"""Part of the cache's key: raised whenever the same files and settings give other crops."""

FOCAL_SLACK = 0.02
"""How much the shares may differ: 370 and 370 pixels, as in the paper, on a camera of 517.7 and 519 differ by 0.003."""
_GRAY_LEVELS = Preprocessing(scale=1.0, offset=0.0)


def measure_distance(
    depth_mm: np.ndarray, head_center_xy: tuple[float, float], view: Intrinsics, average: str
) -> float:
    """Return D in mm, or UNMEASURED_MM where the head centre is outside the image or no pixel around it is measured."""
    if not view.sees(head_center_xy):
        return UNMEASURED_MM
    try:
        return distance_from_depth(depth_mm, head_center_xy, Camera(*view.focal_xy_px), average)
    except InputError:  # all holes, or what is measured there is nearer than any head
        return UNMEASURED_MM


def reach_of_focal(chosen: tuple[float, float] | None, cameras: Iterable[Intrinsics], setting: str) -> float:
    """Return what eq. 6's box covers at the head's distance: Rx, where its focal length is the camera's own.

    Args:
        chosen: fx and fy of eq. 6; None: the camera's own.
        cameras: Of the depth images.
        setting: Where `chosen` comes from, for errors.

    Returns:
        In mm.

    Raises:
        ConfigError: The box covers another height than width, or not the same of all cameras, by more than FOCAL_SLACK.
    """
    if chosen is None:
        return REACH_MM
    ratios = [ratio for one in cameras for ratio in (chosen[0] / one.focal_xy_px[0], chosen[1] / one.focal_xy_px[1])]
    if max(ratios) > (1 + FOCAL_SLACK) * min(ratios):
        shown = ", ".join(f"{ratio:.3f}" for ratio in sorted({*ratios}))
        rule = "the same share of every camera's fx and fy"
        raise ConfigError.of(setting, f"{shown} of them", rule, "Give fx and fy in the cameras' own proportion.")
    return REACH_MM * ratios[0]


def crop_raw_frame(
    colour: np.ndarray,
    colour_camera: Intrinsics,
    depth_mm: np.ndarray,
    view: Intrinsics,
    head_center_xy: tuple[float, float],
    focal_xy_px: tuple[float, float],
    config: ReaderConfig,
) -> CropSample:
    """Cut the same box out of a depth image and a colour frame of the same viewpoint.

    Args:
        colour: (H, W) or (H, W, 3) uint8 BGR.
        colour_camera: Of the colour frame; it looks from the same point in the same direction as `view`.
        depth_mm: (h, w) uint16, 0 = no measurement.
        view: Of the depth image.
        head_center_xy: (x, y) in pixels of the depth image.
        focal_xy_px: fx and fy of eq. 6, in pixels of the depth image.
        config: Size, margin and the rule for D.

    Returns:
        The sample; its arrays are fresh.
    """
    side = config.crop_px
    distance_mm = measure_distance(depth_mm, head_center_xy, view, config.distance)
    if distance_mm == UNMEASURED_MM:
        return empty_sample(side)
    reach_mm = REACH_MM * config.margin
    box = box_from_head(head_center_xy, distance_mm, focal_xy_px, (reach_mm, reach_mm))
    gray = sample_gray(colour, box_in(colour_camera, view, box), side)
    depth = sample_depth(depth_mm, box, (side, side))
    label = label_from_depth(depth, distance_mm, config.head_range_mm)
    ray = view.lift(head_center_xy, 1.0)
    return CropSample(gray, depth, label, distance_mm, (float(ray[0]), float(ray[1])))


def box_in(target: Intrinsics, source: Intrinsics, box: Box) -> Box:
    """Carry a box from one camera's pixels to those of another at the same point with the same direction."""
    scale_x, scale_y = (a / b for a, b in zip(target.focal_xy_px, source.focal_xy_px, strict=True))
    (from_x, from_y), (to_x, to_y) = source.center_xy_px, target.center_xy_px
    return Box(
        (box.x0 - from_x) * scale_x + to_x,
        (box.y0 - from_y) * scale_y + to_y,
        (box.x1 - from_x) * scale_x + to_x,
        (box.y1 - from_y) * scale_y + to_y,
    )


def sample_gray(colour: np.ndarray, box: Box, side_px: int) -> np.ndarray:
    """Sample a frame under a box into (side, side) uint8 gray, rounded; the frame's border repeats outside it."""
    gray = np.empty((side_px, side_px), np.float32)
    FaceSampler().sample_into(gray, colour, box, _GRAY_LEVELS)
    return np.clip(np.round(gray), 0, 255).astype(np.uint8)


def label_from_depth(depth_mm: np.ndarray, distance_mm: float, head_range_mm: tuple[float, float]) -> np.ndarray:
    """Return the label that stands in for a real set's: 1 where depth is measured and within a range of D, else 0.

    Ours: a threshold, not a segmentation.

    Args:
        depth_mm: (P, P) uint16, 0 = no measurement.
        distance_mm: D.
        head_range_mm: First and last depth that counts, from D.

    Returns:
        (P, P) uint8.
    """
    offset = depth_mm.astype(np.float64) - distance_mm
    return ((depth_mm > 0) & (offset >= head_range_mm[0]) & (offset <= head_range_mm[1])).astype(np.uint8)


def empty_sample(side_px: int) -> CropSample:
    """Return what stands for a frame that cannot be cropped."""
    shape = (side_px, side_px)
    return CropSample(np.zeros(shape, np.uint8), np.zeros(shape, np.uint16), np.zeros(shape, np.uint8), UNMEASURED_MM)
