# SPDX-License-Identifier: Apache-2.0
"""One shot: pose, light, background and occluder of a frame, rendered as a crop with a margin or as a full frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.data.crops_set import HEAD_LABELS
from train.synth import body
from train.synth.assemble import PosedHead, Wardrobe, surroundings
from train.synth.backdrop import background
from train.synth.headmodel import HeadModel
from train.synth.light import sample_driver_lighting, sample_lighting
from train.synth.materials import MATERIAL_NAMES, MATERIALS
from train.synth.motion import (
    is_turned_away,
    rotation_from_dataset_angles,
    sample_angles,
    sample_driver_angles,
    sample_driver_position,
    sample_portrait_angles,
    sample_portrait_position,
    sample_position,
    sample_torso,
    sample_turned_torso,
)
from train.synth.renderer import CAMERA_FROM_FACING, HeadPose, Rendering, View, render, surface_distance, trace
from train.synth.sensor import depth_picture, expose, expose_driver
from train.synth.subject import Outfit
from train.synth.tracer import TraceScene
from train.units import REACH_MM


@dataclass(frozen=True)
class Shot:
    """A rendered frame and what is known about it.

    Attributes:
        picture: (H, W, 3) uint8 BGR; black in a shot of depth alone.
        depth_mm: (H, W) uint16.
        label: (H, W) uint8, constants of train.synth.materials.
        distance_mm: D, the median z in a 40 mm window around the head centre.
        head_center_xy: projection of the head centre in this picture's pixels.
        focal_px, principal_xy: intrinsics of this picture.
        angles_deg: (roll, pitch, yaw).
        centre_mm: (3,) head centre in the camera frame.
        visible: share of the head's own silhouette that nothing else covers, 0..1.
    """

    picture: np.ndarray
    depth_mm: np.ndarray
    label: np.ndarray
    distance_mm: float
    head_center_xy: tuple[float, float]
    focal_px: float
    principal_xy: tuple[float, float]
    angles_deg: tuple[float, float, float]
    centre_mm: np.ndarray
    visible: float


@dataclass(frozen=True)
class FrameSize:
    """A full frame's intrinsics: focal length in pixels and size; the optical axis is in the middle."""

    focal_px: float
    size_hw: tuple[int, int]


def shoot(
    model: HeadModel,
    head: PosedHead,
    outfit: Outfit,
    wardrobe: Wardrobe,
    sequence: int,
    rng: np.random.Generator,
    *,
    crop_px: int = 144,
    margin: float = 1.5,
    frame: FrameSize | None = None,
    position_mm: np.ndarray | None = None,
    angles_deg: tuple[float, float, float] | None = None,
    away_mm: np.ndarray | None = None,
    lit: bool = True,
) -> Shot:
    """Draw a pose, light and background, and render.

    Args:
        model, head, outfit, wardrobe: who.
        sequence: 1..5, decides the range of the angles.
        rng: source of randomness; the same state gives the same shot.
        crop_px: rows and columns of the crop.
        margin: the crop reaches over margin * 320 mm at distance D.
        frame: render this full frame instead of a crop.
        position_mm: head centre in the camera frame; drawn when None.
        angles_deg: (roll, pitch, yaw); drawn when None.
        away_mm: (2,) look this far beside the head (right, down): a crop with no face in its middle.
        lit: False for depth and labels alone, at about a third of the cost.

    Returns:
        The shot.
    """
    angles = _draw_angles(rng, outfit, sequence) if angles_deg is None else angles_deg
    position = _draw_position(rng, outfit) if position_mm is None else np.asarray(position_mm, float)
    camera_rotation = rotation_from_dataset_angles(*angles)
    away = angles_deg is not None and is_turned_away(angles)  # what sample_angles draws has sample_torso's torso always
    torso_rotation = sample_turned_torso(rng, angles) if away else sample_torso(rng, camera_rotation)
    facing = CAMERA_FROM_FACING
    pose = HeadPose(facing @ camera_rotation @ facing, position, head.centre_mm.astype(float))
    torso_from_head = facing @ camera_rotation.T @ torso_rotation @ facing
    occluders = _occluders(model, head, outfit, pose, rng)
    scenes = [head.scene, surroundings(model, head, wardrobe, torso_from_head, occluders)]
    # The box belongs to the head: something held before its centre does not move it.
    distance = surface_distance([head.scene], pose)
    x, y, z = position
    if frame is None:
        focal = crop_px * distance / (margin * REACH_MM)
        aside = np.zeros(2) if away_mm is None else np.asarray(away_mm)
        principal = (crop_px / 2 - focal * (x + aside[0]) / z, crop_px / 2 - focal * (y + aside[1]) / z)
        view = View(focal, principal, (crop_px, crop_px))
    else:
        view = View(frame.focal_px, (frame.size_hw[1] / 2, frame.size_hw[0] / 2), frame.size_hw)
    height, width = view.size_hw
    backdrop = background(rng, (height, width), infrared=outfit.infrared, driver=outfit.driver) if lit else None
    lighting = None
    if lit and outfit.driver:
        lighting = sample_driver_lighting(rng, position)
    elif lit:
        lighting = sample_lighting(rng, infrared=outfit.infrared)
    image = render(scenes, wardrobe.textures, view, pose, lighting, backdrop, rng)
    picture = np.zeros((height, width, 3), np.uint8)
    if lit and outfit.driver:
        picture = expose_driver(image.radiance, image.label, rng)
    elif lit:
        picture = expose(image.radiance, image.label, rng, infrared=outfit.infrared, clean=outfit.portrait)
    centre_px = (view.principal_xy[0] + view.focal_px * x / z, view.principal_xy[1] + view.focal_px * y / z)
    return Shot(
        picture=picture,
        depth_mm=depth_picture(image.depth_mm, distance + rng.uniform(250, 3000)),
        label=image.label,
        distance_mm=distance,
        head_center_xy=(float(centre_px[0]), float(centre_px[1])),
        focal_px=float(view.focal_px),
        principal_xy=(float(view.principal_xy[0]), float(view.principal_xy[1])),
        angles_deg=angles,
        centre_mm=position,
        visible=_visible_share(head.scene, view, pose, image),
    )


def _draw_angles(rng: np.random.Generator, outfit: Outfit, sequence: int) -> tuple[float, float, float]:
    if outfit.driver:
        return sample_driver_angles(rng)
    return sample_portrait_angles(rng) if outfit.portrait else sample_angles(rng, sequence)


def _draw_position(rng: np.random.Generator, outfit: Outfit) -> np.ndarray:
    if outfit.driver:
        return sample_driver_position(rng)
    return sample_portrait_position(rng) if outfit.portrait else sample_position(rng)


def _occluders(model: HeadModel, head: PosedHead, outfit: Outfit, pose: HeadPose, rng: np.random.Generator) -> list:
    if rng.uniform() >= outfit.occlusion_rate:
        return []
    marks = model.landmarks(head.vertices)
    target = marks[rng.integers(0, 68)] + rng.normal(0, 12, 3)
    # Occluders are built in front of a head that faces the camera: turn them so that they lie between both.
    towards_camera = pose.rotation.T
    meshes = body.occluder(rng, np.zeros(3))
    return [mesh.moved(towards_camera, target) for mesh in meshes]


def _visible_share(scene: TraceScene, view: View, pose: HeadPose, image: Rendering) -> float:
    """Compare the head's silhouette, traced alone, with what of it the picture shows."""
    height, width = view.size_hw
    step = max(1, round(min(height, width) / 48))
    coarse = View(
        view.focal_px / step,
        (view.principal_xy[0] / step, view.principal_xy[1] / step),
        (height // step, width // step),
    )
    hits = trace([scene], *pose.rays(coarse.directions()))
    own = np.isin([MATERIALS[name].label for name in MATERIAL_NAMES], HEAD_LABELS)  # a scarf's cape is with the head
    alone = ((hits.material >= 0) & own[hits.material]).reshape(coarse.size_hw)
    shown = np.isin(image.label[step // 2 :: step, step // 2 :: step], HEAD_LABELS)[: alone.shape[0], : alone.shape[1]]
    return float((alone & shown).sum() / max(int(alone.sum()), 1))
