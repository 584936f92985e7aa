# SPDX-License-Identifier: Apache-2.0
"""One picture of one head: surroundings are drawn, rays give depth and labels, the path tracer the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from train.crosscheck.camera import Placement, crop_view, develop, pixel_slopes
from train.crosscheck.depth_truth import Truth, head_distance
from train.crosscheck.parts import Part
from train.crosscheck.path_tracer import PathTracer
from train.crosscheck.surroundings import sample_background, sample_light
from train.data.crops_set import HEAD_LABELS
from train.data.crops_writer import CropFrame, frame_note

_BRIGHTEST = 12.0  # times the mean: paths that found a lamp by chance are cut off there


@dataclass(frozen=True)
class Film:
    """The crops of a set.

    Args:
        crop_px: Rows and columns of a crop.
        margin: A crop reaches over margin * 320 mm at the head's distance.
        samples: Paths a pixel.
    """

    crop_px: int
    margin: float
    samples: int


def shoot(
    tracer: PathTracer,
    film: Film,
    own: list[Part],
    body: list[Part],
    pose: Placement,
    frame: int,
    attributes: dict[str, Any],
    rng: np.random.Generator,
    *,
    infrared: bool = False,
) -> CropFrame:
    """Render a head in a pose, before walls and under lamps that are drawn.

    Args:
        tracer: Makes the picture.
        film: The crop.
        own: What belongs to the head, in its frame: mm, origin at the head centre, x left, y up, z in front.
        body: Neck and body, in the head's frame.
        pose: Where the head is.
        frame: The frame's number in its sequence.
        attributes: What is noted of the frame beside the kind of light.
        rng: Draws everything else.
        infrared: Gray, lit by a flash.

    Returns:
        The frame.
    """
    centre = pose.centre_mm
    own = [part.moved(pose.camera_from_head, centre) for part in own]
    body = [part.moved(pose.camera_from_head, centre) for part in body]
    behind = sample_background(rng, centre, infrared=infrared)
    light, kind = sample_light(rng, centre, infrared=infrared)
    distance = head_distance(own, centre)
    focal, principal = crop_view(centre, distance, film.crop_px, film.margin)
    slopes = pixel_slopes(focal, principal, film.crop_px)
    parts = [*own, *body, *behind]
    depth, label = Truth(parts).look(slopes)
    alone = np.isfinite(Truth(own).look(slopes)[0])
    head = np.isin(label, HEAD_LABELS)
    seed = int(rng.integers(2**31))
    radiance = tracer.render(parts, light, focal, principal, film.crop_px, film.samples, seed)
    if head.any():
        radiance = np.minimum(radiance, _BRIGHTEST * float(radiance[head].mean()))
    note = frame_note(
        frame=frame,
        distance_mm=distance,
        visible=float((alone & head).sum() / max(int(alone.sum()), 1)),
        face=pose.shows_face,
        focal_px=focal,
        principal_xy=principal,
        head_center_xy=(film.crop_px / 2, film.crop_px / 2),
        head_center_mm=centre,
        attributes={**attributes, "light": kind},
    )
    picture = develop(radiance, head, rng, infrared=infrared)
    return CropFrame(picture, depth_picture(depth), label, pose.angles_deg, note)


def depth_picture(depth_mm: np.ndarray) -> np.ndarray:
    """Round z to a 16-bit millimetre image; 0 where no ray hit anything."""
    return np.where(np.isfinite(depth_mm), np.clip(np.round(depth_mm), 1, 65535), 0).astype(np.uint16)
