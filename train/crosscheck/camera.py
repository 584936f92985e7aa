# SPDX-License-Identifier: Apache-2.0
"""The camera: pose and lens of a frame, and what its sensor and its JPEG file do to the radiance."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from train.synth.motion import is_turned_away, rotation_from_dataset_angles, sample_turned_angles, sample_turned_torso
from train.units import REACH_MM

CAMERA_FROM_FACING = np.diag([1.0, -1.0, -1.0])  # a head that faces the camera: x stays, y and z turn round


@dataclass(frozen=True)
class Placement:
    """Where the head is.

    Attributes:
        angles_deg: (roll, pitch, yaw), the convention of train/synth/motion.py.
        centre_mm: (3,) the head centre in the camera's frame.
        torso_from_head: (3, 3) the torso's rotation seen from the head, in the head's axes.
    """

    angles_deg: tuple[float, float, float]
    centre_mm: np.ndarray
    torso_from_head: np.ndarray

    @property
    def camera_from_head(self) -> np.ndarray:
        """(3, 3) rotation from the head's axes (x left, y up, z in front) to the camera's."""
        return rotation_from_dataset_angles(*self.angles_deg) @ CAMERA_FROM_FACING

    @property
    def shows_face(self) -> bool:
        """False where the head is turned away from the camera."""
        return not is_turned_away(self.angles_deg)


def sample_place(rng: np.random.Generator) -> np.ndarray:
    """Draw the head centre (3,) in mm in the camera's frame: 400 to 1300 mm away, up to 18 degrees off the axis."""
    distance = float(np.exp(rng.uniform(np.log(400), np.log(1300))))
    across, down = np.tan(np.deg2rad(np.clip(rng.normal(0, [8, 5]), -18, 18)))
    return np.array([across * distance, down * distance, distance])


def sample_placement(rng: np.random.Generator) -> Placement:
    """Draw a pose: yaw +-55, pitch +-25, roll +-20 degrees, 400 to 1300 mm away, up to 18 degrees off the axis."""
    limit = np.array([20.0, 25.0, 55.0])
    wide = rng.uniform(size=3) < 0.5
    roll, pitch, yaw = np.where(wide, rng.uniform(-limit, limit), np.clip(rng.normal(0, limit / 4), -limit, limit))
    place = sample_place(rng)
    follow = rng.uniform(0.2, 0.7)
    torso = rotation_from_dataset_angles(rng.normal(0, 3), rng.normal(0, 4), follow * yaw + rng.normal(0, 6))
    return _placed((float(roll), float(pitch), float(yaw)), place, torso)


def sample_turned_placement(rng: np.random.Generator) -> Placement:
    """Draw a pose that shows no face, as `sample_turned_angles` has it; the place as `sample_placement`."""
    angles = sample_turned_angles(rng)
    return _placed(angles, sample_place(rng), sample_turned_torso(rng, angles))


def _placed(angles_deg: tuple[float, float, float], place: np.ndarray, torso: np.ndarray) -> Placement:
    head = rotation_from_dataset_angles(*angles_deg)
    return Placement(angles_deg, place, CAMERA_FROM_FACING @ head.T @ torso @ CAMERA_FROM_FACING)


def crop_view(
    centre_mm: np.ndarray, distance_mm: float, crop_px: int, margin: float
) -> tuple[float, tuple[float, float]]:
    """Return the focal length and the principal point (x, y), px, of the crop around a head centre.

    Convention: the crop reaches over margin * 320 mm at `distance_mm`, and the head centre falls on its middle.
    """
    focal = crop_px * distance_mm / (margin * REACH_MM)
    x, y = crop_px / 2 - focal * centre_mm[:2] / centre_mm[2]
    return focal, (float(x), float(y))


def pixel_slopes(focal_px: float, principal_xy: tuple[float, float], side_px: int) -> np.ndarray:
    """Return x / z and y / z (side, side, 2) of the rays through the pixels' centres."""
    at = np.arange(side_px) + 0.5
    x, y = np.meshgrid((at - principal_xy[0]) / focal_px, (at - principal_xy[1]) / focal_px)
    return np.stack([x, y], axis=-1)


def develop(radiance: np.ndarray, head: np.ndarray, rng: np.random.Generator, *, infrared: bool) -> np.ndarray:
    """Turn radiance into the picture of a camera of limited resolution.

    Args:
        radiance: (H, W, 3) float32 linear RGB.
        head: (H, W) bool, what the exposure is set by.
        rng: exposure, resolution, blur, noise, tone curve, JPEG quality.
        infrared: make it gray.

    Returns:
        (H, W, 3) uint8 BGR; gray pictures have three equal channels.
    """
    height, width = radiance.shape[:2]
    level = float(radiance[head].mean()) if head.any() else float(radiance.mean())
    image = radiance * np.float32(0.21 * np.exp(rng.normal(0, 0.35)) / max(level, 1e-6))
    if infrared:
        image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    native = max(48, min(height, round(height * np.exp(rng.uniform(np.log(0.45), np.log(2.0))))))
    if rng.uniform() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.0))
    small = cv2.resize(image, (native, native), interpolation=cv2.INTER_AREA)
    strength = np.exp(rng.uniform(np.log(0.003), np.log(0.03)))
    channels = 1 if infrared else 3
    grain = rng.standard_normal((native, native, channels), np.float32)
    small = small + grain * np.float32(strength) * np.sqrt(np.clip(small, 0.01, None))
    encoded = np.clip(small, 0, 1) ** (1 / rng.uniform(1.8, 2.5))
    picture = np.round(encoded[..., ::-1] * 255).astype(np.uint8)
    quality = int(rng.integers(55, 98))
    ok, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if ok and rng.uniform() < 0.7:
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.repeat(picture[..., 1:2], 3, axis=2) if infrared else picture
