# SPDX-License-Identifier: Apache-2.0
"""Writes full camera frames: single ones with their intrinsics, and sequences in the layout of Pandora's raw frames."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from train.data.crops_set import sequence_folder, sequence_of
from train.data.pandora_calibration import CALIBRATION_FILE, KinectCalibration
from train.data.registration import Intrinsics
from train.image_files import write_image
from train.synth.dataset import Studio
from train.synth.motion import sample_angles, sample_position
from train.synth.shot import FrameSize, Shot, shoot
from train.synth.streams import Stream
from train.synth.subject import sample_expression

# Kinect One: the depth camera's focal length is the paper's; the colour camera shares its optical centre here.
KINECT_DEPTH = FrameSize(focal_px=365.0, size_hw=(424, 512))
KINECT_COLOUR = FrameSize(focal_px=1060.0, size_hw=(1080, 1920))


def shoot_frame(
    studio: Studio,
    number: int,
    sequence: int,
    frame: FrameSize,
    seed: int,
    position_mm: np.ndarray,
    angles_deg: tuple[float, float, float],
    expression: dict[str, float] | None = None,
) -> Shot:
    """Render one full frame of a subject of the studio's set.

    Args:
        studio: the set.
        number, sequence: the subject (1-based) and which of its five outfits.
        frame: the camera.
        seed: light, background, sensor noise.
        position_mm: (3,) head centre in the camera frame.
        angles_deg: (roll, pitch, yaw).
        expression: weights by name; drawn when None.
    """
    subject, outfit, wardrobe = studio.cast(number, sequence)
    rng = Stream.FULL_FRAME.rng(studio.config.seed, number, sequence, seed)
    drawn = sample_expression(rng, studio.model.expression_names)
    head = studio.head(subject, outfit, wardrobe, drawn if expression is None else expression)
    return shoot(
        studio.model, head, outfit, wardrobe, sequence, rng, frame=frame, position_mm=position_mm, angles_deg=angles_deg
    )


def write_frame(shot: Shot, out: Path) -> None:
    """Write OUT (the picture), OUT's stem + _depth.png (16-bit mm), and + .json (head centre, distance, camera)."""
    stem = out.with_suffix("")
    note = {
        "head_center": [round(c, 3) for c in shot.head_center_xy],
        "distance_mm": round(shot.distance_mm, 2),
        "angles_deg": {k: round(v, 3) for k, v in zip(("roll", "pitch", "yaw"), shot.angles_deg, strict=True)},
        "camera": {
            "fx": shot.focal_px,
            "fy": shot.focal_px,
            "cx": shot.principal_xy[0],
            "cy": shot.principal_xy[1],
        },
    }
    write_image(out, shot.picture)
    write_image(Path(f"{stem}_depth.png"), shot.depth_mm)
    Path(f"{stem}.json").write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def write_raw_sequence(studio: Studio, out: Path, number: int, sequence: int, frames: int) -> Path:
    """Write a sequence as Pandora's raw frames: RGB/, DEPTH/ and data.json; it appears only when it is whole.

    Ours: both cameras share one optical centre and are free of distortion, so that depth and colour are registered by
    the ratio of their focal lengths; Pandora's own are not. calibration.json tells the loader so. joints are pixels
    of the depth image.
    """
    folder = sequence_folder(out, sequence_of(number, sequence))
    partial = out / f".{folder.name}.partial"
    if folder.is_dir():
        return folder
    shutil.rmtree(partial, ignore_errors=True)
    for name in ("RGB", "DEPTH"):
        (partial / name).mkdir(parents=True)
    notes = []
    for frame in tqdm(range(frames), desc=f"raw {folder.name}", unit="frame"):
        rng = Stream.RAW_POSE.rng(studio.config.seed, number, sequence, frame)
        angles, position = sample_angles(rng, sequence), sample_position(rng)
        colour, depth = (
            shoot_frame(studio, number, sequence, camera, frame, position, angles)
            for camera in (KINECT_COLOUR, KINECT_DEPTH)
        )
        write_image(partial / "RGB" / f"{frame:06d}_RGB.png", cv2.cvtColor(colour.picture, cv2.COLOR_BGR2BGRA))
        write_image(partial / "DEPTH" / f"{frame:06d}_DEPTH.png", depth.depth_mm)
        roll, pitch, yaw = angles
        notes.append(
            {
                "frame_num": frame,
                "joints": {"Head": [round(c, 3) for c in depth.head_center_xy]},
                "joints3D": {"Head": [round(float(c) / 1000, 6) for c in depth.centre_mm]},
                "orientation": {"euler": {"pitch": round(pitch, 4), "roll": round(roll, 4), "yaw": round(yaw, 4)}},
            }
        )
    (partial / "data.json").write_text(json.dumps(notes, indent=1), encoding="utf-8")
    cameras = KinectCalibration(_intrinsics(KINECT_DEPTH), _intrinsics(KINECT_COLOUR))
    (partial / CALIBRATION_FILE).write_text(cameras.as_json(), encoding="utf-8")
    os.replace(partial, folder)
    return folder


def _intrinsics(frame: FrameSize) -> Intrinsics:
    height, width = frame.size_hw
    return Intrinsics((frame.focal_px, frame.focal_px), (width / 2, height / 2), frame.size_hw)
