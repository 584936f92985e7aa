# SPDX-License-Identifier: Apache-2.0
"""Renders sequences in Biwi's layout: one scene seen by two cameras that lie apart, structured-light holes included."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedepth_edge.errors import ConfigError
from train.data.biwi import SAME_PERSON, frame_path, person_of
from train.data.biwi_files import Calibration, Pose, bytes_from_depth, text_from_calibration, text_from_pose
from train.data.registration import Intrinsics
from train.image_files import write_image
from train.synth.assemble import Wardrobe, dress, surroundings
from train.synth.backdrop import background
from train.synth.dataset import Studio
from train.synth.light import sample_lighting
from train.synth.motion import rotation_from_dataset_angles, sample_angles, sample_torso
from train.synth.renderer import CAMERA_FROM_FACING, HeadPose, View, render, trace
from train.synth.sensor import depth_picture, expose, structured_light_depth
from train.synth.streams import Stream
from train.synth.subject import Outfit, Subject, sample_expression, sample_outfit
from train.synth.tracer import TraceScene

# Kinect of the first kind: focal lengths and axes of Biwi's calibration files; the RGB camera lies 25 mm beside the
# depth camera and is turned against it by half a degree. Half a pixel: those files count from pixel centres.
KINECT_DEPTH = Calibration(Intrinsics((575.8, 575.8), (320.5, 240.5), (480, 640)), np.eye(3), np.zeros(3))
KINECT_RGB = Calibration(
    Intrinsics((517.7, 517.7), (320.5, 241.0), (480, 640)),
    rotation_from_dataset_angles(0.15, -0.4, 0.5),
    np.array([-25.0, 0.6, -2.0]),
)
KINECT = (KINECT_DEPTH, KINECT_RGB)
SEQUENCES = 24
_TURNING = 4  # of Pandora's sequences the one whose angles go free, as Biwi's do
_BAND_ROWS = 160


@dataclass(frozen=True)
class BiwiFrame:
    """One frame of both cameras.

    Attributes:
        colour: (H, W, 3) uint8 BGR of the RGB camera.
        exact_depth_mm: (H, W) float32 z of the depth camera before its sensor, inf where nothing is hit.
        depth_mm: (H, W) uint16 of the depth camera, with noise, steps and holes; 0 = no measurement.
        pose: the head in the depth camera's frame.
        angles_deg: (roll, pitch, yaw).
    """

    colour: np.ndarray
    exact_depth_mm: np.ndarray
    depth_mm: np.ndarray
    pose: Pose
    angles_deg: tuple[float, float, float]


class BiwiStage:
    """One sequence's person in everyday clothes before both cameras.

    Args:
        studio: the set whose people are rendered; person n of Biwi is its subject n.
        sequence: 1..24; whoever is recorded again wears something else.
        cameras: the depth and the RGB camera; X_rgb = rotation X_depth + translation of the RGB camera.
    """

    def __init__(self, studio: Studio, sequence: int, cameras: tuple[Calibration, Calibration] = KINECT) -> None:
        self.studio, self.sequence = studio, sequence
        self.depth_camera, self.rgb_camera = cameras
        self.subject, self.outfit, self.wardrobe = _cast(studio, sequence)

    def shoot(self, frame: int) -> BiwiFrame:
        """Render a frame; the same for the same seed, sequence and number."""
        studio, seed = self.studio, self.studio.config.seed
        rng = Stream.BIWI_FRAME.rng(seed, self.sequence, frame)
        angles = sample_angles(rng, _TURNING)
        position = np.array([rng.normal(0, 60), rng.normal(0, 40), rng.uniform(800, 1150)])
        rotation = rotation_from_dataset_angles(*angles)
        torso_rotation = sample_torso(rng, rotation)
        expression = sample_expression(rng, studio.model.expression_names)
        head = studio.head(self.subject, self.outfit, self.wardrobe, expression)
        facing = CAMERA_FROM_FACING
        torso_from_head = facing @ rotation.T @ torso_rotation @ facing
        scenes = [head.scene, surroundings(studio.model, head, self.wardrobe, torso_from_head, [])]
        in_depth = HeadPose(facing @ rotation @ facing, position, head.centre_mm.astype(float))
        exact = trace_depth(scenes, in_depth, _view(self.depth_camera))
        depth = depth_picture(exact, rng.uniform(1700, 2600))
        turn = self.rgb_camera.rotation
        in_rgb = HeadPose(
            facing @ turn @ rotation @ facing, turn @ position + self.rgb_camera.translation_mm, in_depth.head_centre_mm
        )
        view = _view(self.rgb_camera)
        backdrop = background(rng, view.size_hw, infrared=False)
        lighting = sample_lighting(rng, infrared=False)
        image = render(scenes, self.wardrobe.textures, view, in_rgb, lighting, backdrop, rng)
        colour = expose(image.radiance, image.label, rng, infrared=False, finer=1.0)
        return BiwiFrame(colour, exact, structured_light_depth(depth, rng), Pose(rotation, position), angles)


def write_biwi_sequence(
    studio: Studio, out: Path, sequence: int, frames: int, cameras: tuple[Calibration, Calibration] = KINECT
) -> Path:
    """Render and write one sequence; the folder appears under its name only when it is whole.

    Args:
        studio: the set whose people are rendered.
        out: the folder of the sequences.
        sequence: 1..24.
        frames: how many; numbered from 3, as Biwi's often are.
        cameras: the depth and the RGB camera.

    Returns:
        The sequence's folder; one that is there is left alone.

    Raises:
        ConfigError: There is no such sequence, or the folder cannot be written.
    """
    if not 1 <= sequence <= SEQUENCES:
        raise ConfigError.of("--sequences", sequence, f"1 to {SEQUENCES}", "Give numbers of Biwi's sequences.")
    folder, partial = out / f"{sequence:02d}", out / f".{sequence:02d}.partial"
    if folder.is_dir():
        return folder
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    stage = BiwiStage(studio, sequence, cameras)
    for frame in tqdm(range(3, 3 + frames), desc=f"biwi {sequence:02d}", unit="frame"):
        shot = stage.shoot(frame)
        write_image(frame_path(partial, frame, "rgb.png"), shot.colour)
        frame_path(partial, frame, "depth.bin").write_bytes(bytes_from_depth(shot.depth_mm))
        frame_path(partial, frame, "pose.txt").write_text(text_from_pose(shot.pose), encoding="utf-8")
    for name, calibration in (("depth", stage.depth_camera), ("rgb", stage.rgb_camera)):
        (partial / f"{name}.cal").write_text(text_from_calibration(calibration), encoding="utf-8")
    os.replace(partial, folder)
    return folder


def _cast(studio: Studio, sequence: int) -> tuple[Subject, Outfit, Wardrobe]:
    seed, cards = studio.config.seed, studio.cards
    subject = studio.subject(person_of(sequence))
    outfit = sample_outfit(seed, subject, 2 if sequence in SAME_PERSON else 1, list(cards))
    outfit = replace(outfit, infrared=False, seat=False)
    return subject, outfit, dress(studio.canvas, subject, outfit, cards)


def _view(calibration: Calibration) -> View:
    camera = calibration.camera
    assert camera.focal_xy_px[0] == camera.focal_xy_px[1], "the renderer's pixels are square"
    return View(camera.focal_xy_px[0], camera.center_xy_px, camera.size_hw)


def trace_depth(scenes: list[TraceScene], pose: HeadPose, view: View) -> np.ndarray:
    """Return z of the first surface at each pixel's centre: (H, W) float32, inf where nothing is hit.

    Args:
        scenes: in the head's frame.
        pose: the head's, in the camera's frame.
        view: the camera.
    """
    height, width = view.size_hw
    depth = np.empty((height, width), np.float32)
    for top in range(0, height, _BAND_ROWS):
        rows = slice(top, min(top + _BAND_ROWS, height))
        hits = trace(scenes, *pose.rays(view.directions(rows)))  # the rays' z is 1, so their length counts z
        depth[rows] = hits.distance.reshape(-1, width)
    return depth
