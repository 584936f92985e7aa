# SPDX-License-Identifier: Apache-2.0
"""How heads move: Pandora's five sequences, head position in front of the camera, and the paper's angle convention."""

from __future__ import annotations

import numpy as np


def rotation_from_dataset_angles(roll_deg: float, pitch_deg: float, yaw_deg: float) -> np.ndarray:
    """Return a head's rotation (3, 3); yaw has the opposite sign to facedepth_edge.HeadPose.yaw_deg.

    Convention: camera axes (x right, y down, z forward); the identity looks into the camera. R = Rz(roll) Ry(yaw)
    Rx(pitch), so that roll = atan2(R10, R00), pitch = atan2(R21, R22) and yaw = asin(-R20), as the Biwi data set
    defines them.
    """
    r, p, y = np.deg2rad([roll_deg, pitch_deg, yaw_deg])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    return about_z @ about_y @ about_x


def dataset_angles_from_rotation(rotation: np.ndarray) -> tuple[float, float, float]:
    """Return a head rotation's angles; yaw has the opposite sign to facedepth_edge.HeadPose.yaw_deg.

    Args:
        rotation: (3, 3), in camera axes, as `rotation_from_dataset_angles` makes it.

    Returns:
        (roll, pitch, yaw) in degrees.
    """
    roll = np.arctan2(rotation[1, 0], rotation[0, 0])
    pitch = np.arctan2(rotation[2, 1], rotation[2, 2])
    yaw = np.arcsin(np.clip(-rotation[2, 0], -1, 1))
    return tuple(float(np.rad2deg(a)) for a in (roll, pitch, yaw))


def turn_deg(rotation: np.ndarray) -> np.ndarray:
    """Return by how many degrees rotations (..., 3, 3) turn, about whatever axis: (...), 0 to 180."""
    cosine = (np.trace(rotation, axis1=-2, axis2=-1) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def sample_angles(rng: np.random.Generator, sequence: int) -> tuple[float, float, float]:
    """Draw (roll, pitch, yaw) in degrees: S1 yaw, S2 pitch, S3 roll alone, S4 and S5 all together."""
    small = rng.normal(0, 3, 3)

    def wide(limit: float) -> float:
        return (
            float(np.clip(rng.normal(0, limit / 2), -limit, limit))
            if rng.uniform() < 0.6
            else float(rng.uniform(-limit, limit))
        )

    roll, pitch, yaw = small
    if sequence == 1:
        yaw += wide(80)
    elif sequence == 2:
        pitch += wide(48)
    elif sequence == 3:
        roll += wide(42)
    else:
        roll, pitch, yaw = wide(32), wide(36), wide(70)
    return float(roll), float(pitch), float(yaw)


def sample_portrait_angles(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw (roll, pitch, yaw) in degrees of a head that looks roughly into the camera, or half of the time anywhere.

    If the only clear pictures were of heads that look into the camera, a network would take any clear picture for one.
    """
    roll, pitch, yaw = rng.normal(0, [7, 8, 18])
    if rng.uniform() < 0.5:
        pitch, yaw = np.clip(1.6 * pitch, -40, 40), rng.uniform(-72, 72)
    return float(roll), float(pitch), float(yaw)


def sample_portrait_position(rng: np.random.Generator) -> np.ndarray:
    """Draw the head centre (3,) in mm in the camera frame: 600 to 3000 mm away, up to 10 degrees off the axis."""
    distance = float(np.exp(rng.uniform(np.log(600), np.log(3000))))
    across, down = np.tan(np.deg2rad(np.clip(rng.normal(0, 4, 2), -10, 10)))
    return np.array([across * distance, down * distance, distance])


def sample_driver_angles(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw (roll, pitch, yaw) in degrees of a driver before a camera on the steering column: seen from below."""
    roll, pitch = rng.normal(0, 7), np.clip(rng.normal(-8, 14), -48, 40)
    yaw = rng.normal(0, 20) if rng.uniform() < 0.65 else rng.uniform(-75, 75)
    return float(roll), float(pitch), float(yaw)


def sample_driver_position(rng: np.random.Generator) -> np.ndarray:
    """Draw the head centre (3,) in mm in the camera frame: 400 to 1200 mm away, up to 22 degrees off each way."""
    distance = float(np.exp(rng.uniform(np.log(400), np.log(1200))))
    across, down = np.tan(np.deg2rad(np.clip(rng.normal(0, [8, 7]), -22, 22)))
    return np.array([across * distance, down * distance, distance])


def sample_turned_angles(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw (roll, pitch, yaw) in degrees of a head that shows its side from behind, its back, its top or its throat."""
    roll, pitch, yaw = rng.normal(0, 10, 3)
    side = 1 if rng.uniform() < 0.5 else -1
    if rng.uniform() < 0.8:
        yaw = side * rng.uniform(105, 180)
    else:
        pitch = side * rng.uniform(72, 95)
    return float(roll), float(pitch), float(yaw)


def is_turned_away(angles_deg: tuple[float, float, float]) -> bool:
    """Tell whether a head with these (roll, pitch, yaw) in degrees looks past the camera by more than a profile."""
    _, pitch, yaw = angles_deg
    return abs(yaw) > 90 or abs(pitch) > 65


def sample_turned_torso(rng: np.random.Generator, angles_deg: tuple[float, float, float]) -> np.ndarray:
    """Draw the torso's rotation (3, 3) in camera axes for a head turned away: up to 70 degrees less, as necks allow.

    Args:
        rng: source of randomness.
        angles_deg: (roll, pitch, yaw) of the head.
    """
    roll, pitch, yaw = angles_deg
    less = np.sign(yaw) * min(abs(yaw), rng.uniform(-10, 70))
    follow = 0.5 if pitch > 0 else 0.1  # who bows, bends; who looks up, sits straight
    return rotation_from_dataset_angles(0.25 * roll + rng.normal(0, 4), follow * pitch + rng.normal(0, 6), yaw - less)


def sample_torso(rng: np.random.Generator, head_rotation: np.ndarray) -> np.ndarray:
    """Draw the torso's rotation (3, 3) in camera axes: it follows the head a little."""
    roll, pitch, yaw = dataset_angles_from_rotation(head_rotation)
    follow = rng.uniform(0.1, 0.6)
    return rotation_from_dataset_angles(
        0.25 * roll + rng.normal(0, 4), 0.15 * pitch + rng.normal(0, 6), follow * yaw + rng.normal(0, 14)
    )


def sample_position(rng: np.random.Generator) -> np.ndarray:
    """Draw the head centre (3,) in mm in the camera frame: 420 to 1500 mm away, up to 22 degrees off the axis."""
    distance = float(np.exp(rng.uniform(np.log(420), np.log(1500))))
    across, down = np.tan(np.deg2rad(np.clip(rng.normal(0, [9, 6]), -22, 22)))
    return np.array([across * distance, down * distance, distance])
