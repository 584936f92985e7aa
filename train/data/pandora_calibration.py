# SPDX-License-Identifier: Apache-2.0
"""The two cameras of a Kinect One: a calibration file beside Pandora's raw frames, or the nominal device.

Pandora itself brings no calibration. NOMINAL has the depth camera's focal length from the paper (365 px), the colour
camera's from its stated view of 84.1 degrees (960 / tan 42.05 degrees = 1064 px), both optical axes in the middle of
their frames, no distortion, no rotation, and 52 mm between the cameras along x. The sign of these 52 mm is that of
frames mirrored by the vendor's SDK. None of it has been checked against real files: look at
`python -m train.data sheet` and, where depth edges lie beside the face, write a calibration.json.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facedepth_edge.errors import InputError
from train.data.registration import Intrinsics
from train.data.strict_files import is_number, read_json

CALIBRATION_FILE = "calibration.json"
ROTATION_TOLERANCE = 1e-3
_CAMERAS = ("depth", "colour")
_FIX = "Write it as `python -m train.synth render-raw` does, or remove it to take the nominal Kinect One."


@dataclass(frozen=True)
class KinectCalibration:
    """Both cameras, and X_colour = rotation X_depth + translation.

    Args:
        depth: The depth camera.
        colour: The colour camera.
        rotation: Nine numbers, row by row.
        translation_mm: Three numbers in mm.
    """

    depth: Intrinsics
    colour: Intrinsics
    rotation: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    translation_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def rotation_matrix(self) -> np.ndarray:
        """(3, 3) float64."""
        return np.array(self.rotation, np.float64).reshape(3, 3)

    def as_json(self) -> str:
        """Return the text of a calibration file."""
        cameras = {
            name: {
                "focal_xy_px": list(camera.focal_xy_px),
                "center_xy_px": list(camera.center_xy_px),
                "size_px": [camera.size_hw[1], camera.size_hw[0]],
            }
            for name, camera in (("depth", self.depth), ("colour", self.colour))
        }
        rows = [list(self.rotation[row : row + 3]) for row in (0, 3, 6)]
        note = {**cameras, "colour_from_depth": {"rotation": rows, "translation_mm": list(self.translation_mm)}}
        return json.dumps(note, indent=1) + "\n"


NOMINAL = KinectCalibration(
    Intrinsics((365.0, 365.0), (256.0, 212.0), (424, 512)),
    Intrinsics((1064.0, 1064.0), (960.0, 540.0), (1080, 1920)),
    translation_mm=(52.0, 0.0, 0.0),
)


def read_calibration(path: Path) -> KinectCalibration:
    """Read a calibration file.

    Args:
        path: JSON with `depth` and `colour`, each `focal_xy_px`, `center_xy_px` (pixel centres at half numbers) and
            `size_px` (width, height), and `colour_from_depth` with `rotation` (three rows) and `translation_mm`.

    Returns:
        The calibration.

    Raises:
        InputError: The file is missing or breaks a rule; the text names it.
    """
    note = read_json(path, _FIX)
    if not isinstance(note, dict) or sorted(note) != sorted((*_CAMERAS, "colour_from_depth")):
        got = f"the keys {', '.join(sorted(note)) or 'none'}" if isinstance(note, dict) else f"a {type(note).__name__}"
        raise InputError.of(str(path), got, "an object with depth, colour and colour_from_depth", _FIX)
    cameras = [_camera_from(note[name], f"{path}: {name}") for name in _CAMERAS]
    pose = note["colour_from_depth"]
    rows = pose.get("rotation") if isinstance(pose, dict) else None
    where = f"{path}: colour_from_depth"
    if not isinstance(rows, list) or len(rows) != 3:
        raise InputError.of(f"{where}.rotation", rows, "three rows of three numbers", _FIX)
    flat = [value for row in rows for value in _numbers(row, 3, f"{where}.rotation")]
    check_rotation(np.array(flat).reshape(3, 3), f"{where}.rotation", _FIX)
    first, second, third = _numbers(pose.get("translation_mm"), 3, f"{where}.translation_mm")
    return KinectCalibration(cameras[0], cameras[1], tuple(flat), (first, second, third))


def check_rotation(rotation: np.ndarray, where: str, fix: str) -> None:
    """Check that a matrix (3, 3) is a rotation, within the digits that such files have.

    Raises:
        InputError: It is not.
    """
    off = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if not (off < ROTATION_TOLERANCE and np.linalg.det(rotation) > 0):
        rows = "; ".join(" ".join(f"{value:g}" for value in row) for row in rotation)
        raise InputError.of(where, rows, "a rotation matrix", fix)


def _camera_from(note: Any, where: str) -> Intrinsics:
    if not isinstance(note, dict):
        raise InputError.of(where, note, "an object with focal_xy_px, center_xy_px and size_px", _FIX)
    fx, fy = _numbers(note.get("focal_xy_px"), 2, f"{where}.focal_xy_px")
    cx, cy = _numbers(note.get("center_xy_px"), 2, f"{where}.center_xy_px")
    width, height = _numbers(note.get("size_px"), 2, f"{where}.size_px")
    if min(fx, fy) <= 0 or min(width, height) < 1 or width != int(width) or height != int(height):
        got = f"focal_xy_px ({fx:g}, {fy:g}), size_px ({width:g}, {height:g})"
        raise InputError.of(where, got, "focal lengths above 0 and a whole size", _FIX)
    return Intrinsics((fx, fy), (cx, cy), (int(height), int(width)))


def _numbers(values: Any, count: int, where: str) -> list[float]:
    if not isinstance(values, list) or len(values) != count or not all(is_number(value) for value in values):
        raise InputError.of(where, values, f"a list of {count} numbers", _FIX)
    return [float(value) for value in values]
