# SPDX-License-Identifier: Apache-2.0
"""How a head is turned, by its depth map: a small network of its own, which sees no picture.

Ours. The depth along the ray to the head and the mask, each averaged over 12 x 12 cells, go through three dense layers,
which tell the head's rotation as a camera that is turned towards the head would see it; the ray turns that into the
camera's own axes. `python -m train.head_pose` made the weights, from the depth that `edge` gives of rendered heads.

Convention: the camera's axes, x right, y down, z forward.
"""

from __future__ import annotations

import functools
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from facedepth_edge.errors import ArtifactError, InputError
from facedepth_edge.head import point_behind_face_mm
from facedepth_edge.ray_depth import ray_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facedepth_edge.result import DepthResult

CELLS = 12
"""The maps are averaged over CELLS x CELLS squares."""
SCALE_MM = 40.0
"""Depth in the network's input is in this unit."""
WEIGHTS_FILE = os.path.join(os.path.dirname(__file__), "models", "head_pose.safetensors")
LAYERS = ("first", "second", "last")
"""Of the network, in order."""
WEIGHTS = ("mean", *(f"{layer}_{part}" for layer in LAYERS for part in ("weight", "bias")))
"""Of the weights' file: what is taken off the input, then (inputs, outputs) and (outputs,) of each layer."""


@dataclass(frozen=True, eq=False)
class HeadPose:
    """How a head is turned, and where it is.

    Attributes:
        yaw_deg: in the camera's axes; above 0 the face looks to the right. 0 faces against the optical axis; for a head
            off the axis that is past the camera.
        pitch_deg: likewise; above 0 the face looks down.
        roll_deg: above 0 the head's top leans to the right of the picture.
        rotation: (3, 3) float64, the head's own axes in the camera's: R = Rz(roll) Ry(-yaw) Rx(pitch). The identity
            looks against the optical axis, upright.
        rotation_seen: (3, 3) float64, the same in the axes of a camera that is turned towards the head: how the picture
            shows it. The identity looks into the camera.
        position_mm: (x, y, z) of the point midway between the ears in the camera's axes, by the result's distance,
            which distance_from_head_point(z, yaw_deg=yaw_seen_deg, ray_xy=(x / z, y / z)) gives back.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    rotation: NDArray[np.float64]
    rotation_seen: NDArray[np.float64]
    position_mm: tuple[float, float, float]

    @property
    def yaw_seen_deg(self) -> float:
        """How far the face is turned to the right of the picture, from looking into the camera.

        This is what `head_from_eyes` and `distance_from_head_point` take.
        """
        return angles_from_rotation(self.rotation_seen)[2]


def estimate_head_pose(result: DepthResult) -> HeadPose | None:
    """Estimate the pose of a result's head; see DepthResult.head_pose.

    Returns:
        None where the result is not valid, where its model has no mask of its own, so that nobody knows what a head's
        outline looks like, where CELLS does not divide the sides of its maps, and where its depth is not finite.

    Raises:
        ArtifactError: the weights that come with the package are missing or damaged.
    """
    if not result.valid or result.mask_source != "model" or any(side % CELLS for side in result.mask.shape):
        return None
    ray_xy = ray_of(result.head_center, result.camera, result.frame_hw)
    seen = rotation_from_maps(_depth_along_ray_mm(result, ray_xy), result.mask)
    if not np.isfinite(seen).all():
        return None
    rotation = rotation_along_ray(ray_xy) @ seen
    roll_deg, pitch_deg, yaw_deg = angles_from_rotation(rotation)
    behind_mm = point_behind_face_mm(angles_from_rotation(seen)[2])  # along the ray
    z_mm = float(result.distance_mm) + behind_mm / math.hypot(1.0, *ray_xy)
    position_mm = (ray_xy[0] * z_mm, ray_xy[1] * z_mm, z_mm)
    return HeadPose(yaw_deg, pitch_deg, roll_deg, rotation, seen, position_mm)


def rotation_from_maps(depth_mm: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Estimate how a head is turned, in the axes of a camera that is turned towards it.

    Args:
        depth_mm: (h, w) along the ray to the head centre, less the distance along it; CELLS divides both sides.
        mask: (h, w) bool, the head.

    Returns:
        (3, 3) float64 rotation.

    Raises:
        InputError: CELLS does not divide a side.
        ArtifactError: the weights are missing or damaged.
    """
    x = features_from_maps(depth_mm, mask)
    weights = _weights(WEIGHTS_FILE)
    x = x - weights["mean"]
    for name in LAYERS:
        x = x @ weights[f"{name}_weight"] + weights[f"{name}_bias"]
        if name != LAYERS[-1]:
            x = np.maximum(x, np.float32(0))
    return rotation_from_columns(x.astype(np.float64))


def require_weights() -> None:
    """Make sure that the weights are there and whole.

    Raises:
        ArtifactError: they are missing or damaged.
    """
    _weights(WEIGHTS_FILE)


def features_from_maps(depth_mm: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return what the network sees: the head's depth in SCALE_MM, 0 beside it, and the mask, averaged over the cells.

    Args:
        depth_mm: (h, w), as for rotation_from_maps.
        mask: (h, w) bool.

    Returns:
        (2 * CELLS * CELLS,) float32, the depth's cells row by row, then the mask's.

    Raises:
        InputError: CELLS does not divide a side.
    """
    height, width = mask.shape
    if height % CELLS or width % CELLS:
        rule = f"sides that {CELLS} divides"
        raise InputError.of("head_pose", f"maps of {width} x {height}", rule, "Use a model of 96 x 96, as edge.")
    planes = np.stack([np.where(mask, depth_mm, 0) / SCALE_MM, mask]).astype(np.float32)
    cells = planes.reshape(2, CELLS, height // CELLS, CELLS, width // CELLS)
    return cells.mean(axis=(2, 4)).ravel()


def rotation_from_columns(six: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation whose first two columns are nearest to six numbers, by Gram and Schmidt.

    Source: Zhou et al., "On the continuity of rotation representations in neural networks", CVPR 2019, section 4.2.
    """
    first = six[:3] / np.linalg.norm(six[:3])
    second = six[3:] - (first @ six[3:]) * first
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)], axis=1)


def rotation_along_ray(ray_xy: tuple[float, float]) -> NDArray[np.float64]:
    """Return the smallest rotation that takes the optical axis to a ray.

    Args:
        ray_xy: x / z and y / z of the ray.
    """
    x, y = ray_xy
    norm = math.hypot(1.0, x, y)
    x, y, z = x / norm, y / norm, 1 / norm
    share = 1 / (1 + z)
    return np.array([[1 - x * x * share, -x * y * share, x], [-x * y * share, 1 - y * y * share, y], [-x, -y, z]])


def angles_from_rotation(rotation: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return (roll, pitch, yaw) in degrees of a head's rotation, counted as HeadPose says."""
    roll = math.atan2(rotation[1, 0], rotation[0, 0])
    pitch = math.atan2(rotation[2, 1], rotation[2, 2])
    yaw = math.asin(min(1.0, max(-1.0, float(rotation[2, 0]))))
    return math.degrees(roll), math.degrees(pitch), math.degrees(yaw)


def _depth_along_ray_mm(result: DepthResult, ray_xy: tuple[float, float]) -> NDArray[np.float32]:
    """Return (h, w): how far each pixel's point lies behind the head's distance, along the ray to the head centre."""
    points = result.point_cloud(head_only=False).reshape(*result.depth_mm.shape, 3)
    norm = math.hypot(1.0, *ray_xy)
    along: NDArray[np.float64] = points @ (np.array([*ray_xy, 1.0]) / norm)
    return (along - norm * float(result.distance_mm)).astype(np.float32)


@functools.cache
def _weights(path: str) -> dict[str, NDArray[np.float32]]:
    import hashlib
    import json

    from facedepth_edge.tensor_file import NOTES, split_tensor_file, tensors_of

    fix = "Install the package again, or make the file by python -m train.head_pose."
    try:
        with open(path, "rb") as file:
            header, data = split_tensor_file(file.read())
        sha256 = json.loads(header[NOTES]["about"])["sha256"]
        weights = tensors_of(header, data)
        shapes = {name: weights[name].shape for name in WEIGHTS}
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ArtifactError.of(path, f"{type(error).__name__}: {error}", "the head pose's weights", fix) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ArtifactError.of(path, f"weights of SHA-256 {found}", f"{sha256} as it says itself", fix)
    inputs, first, second = 2 * CELLS * CELLS, shapes["first_bias"][-1:], shapes["second_bias"][-1:]
    sides = [(inputs,), (inputs, *first), first, (*first, *second), second, (*second, 6), (6,)]
    expected = dict(zip(WEIGHTS, sides, strict=True))
    if shapes != expected or not all(np.isfinite(weights[name]).all() for name in WEIGHTS):
        raise ArtifactError.of(path, f"arrays of {shapes}", f"finite ones of {expected}", fix)
    return weights
