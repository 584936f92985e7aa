# SPDX-License-Identifier: Apache-2.0
"""Reads and writes the files of the Biwi Kinect Head Pose Database: depth.bin, .cal and pose.txt.

- depth.bin, little-endian: int32 width, int32 height, then runs until all pixels are filled: int32 empty pixels, int32
  full pixels, and an int16 in millimetres for each full one. Empty pixels are 0: no measurement.
- .cal: lines 1-3 the camera matrix, line 5 distortion, lines 7-9 a rotation, line 11 a translation in mm, line 13 width
  and height. In rgb.cal, X_rgb = rotation X_depth + translation. Distortion is not used.
- pose.txt: lines 1-3 the head's rotation, line 5 the head centre in mm, both in the depth camera's frame.

Convention: camera frame x right, y down, z forward. A .cal file counts pixels from the centre of the first one, as
OpenCV does; `Calibration` does not: half a pixel is added and taken off here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedepth_edge.errors import InputError
from train.data.pandora_calibration import check_rotation
from train.data.registration import Intrinsics
from train.data.strict_files import CHECK_DOWNLOAD, read_text

MAX_SIDE_PX = 8192
MAX_DEPTH_MM = 32767
_HEADER = struct.Struct("<ii")


@dataclass(frozen=True)
class Calibration:
    """One .cal file.

    Args:
        camera: The intrinsics, pixel centres at half numbers.
        rotation: (3, 3) float64.
        translation_mm: (3,) float64.
    """

    camera: Intrinsics
    rotation: np.ndarray
    translation_mm: np.ndarray


@dataclass(frozen=True)
class Pose:
    """One pose.txt.

    Args:
        rotation: (3, 3) float64, of the head in the depth camera's frame.
        center_mm: (3,) float64, the head centre in the depth camera's frame.
    """

    rotation: np.ndarray
    center_mm: np.ndarray


def depth_from_bytes(data: bytes, where: str) -> np.ndarray:
    """Decode a depth.bin.

    Args:
        data: The file's bytes.
        where: The file's name, for errors.

    Returns:
        (H, W) uint16 mm, 0 = no measurement; a fresh array.

    Raises:
        InputError: The file ends early, a run is negative, empty or longer than the image, a depth is negative, or
            bytes follow the last pixel; the text names the file and the byte.
    """

    def fail(offset: int, got: str, rule: str) -> InputError:
        return InputError.of(f"{where}: byte {offset}", got, rule, CHECK_DOWNLOAD)

    if len(data) < _HEADER.size:
        raise fail(len(data), "the end of the file", "8 bytes with width and height")
    width, height = _HEADER.unpack_from(data)
    if not (1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX):
        raise fail(0, f"a size of {width} x {height}", f"sides of 1 to {MAX_SIDE_PX}")
    count = width * height
    depth = np.zeros(count, np.uint16)
    filled, offset = 0, _HEADER.size
    while filled < count:
        if len(data) < offset + _HEADER.size:
            rule = f"another run: {filled} of {count} pixels are filled"
            raise fail(offset, f"the end of the file after {len(data)} bytes", rule)
        empty, full = _HEADER.unpack_from(data, offset)
        if empty < 0 or full < 0 or empty + full == 0:
            raise fail(offset, f"a run of {empty} empty and {full} full pixels", "numbers of 0 and up, not both 0")
        if filled + empty + full > count:
            got = f"a run of {empty} empty and {full} full pixels"
            raise fail(offset, got, f"at most the {count - filled} pixels that are left")
        offset += _HEADER.size
        if len(data) < offset + 2 * full:
            raise fail(offset, f"the end of the file after {len(data)} bytes", f"{full} depths of 2 bytes")
        run = np.frombuffer(data, "<i2", full, offset)
        if full and run.min() < 0:
            first = int(np.argmax(run < 0))
            raise fail(offset + 2 * first, f"a depth of {run[first]} mm", "0 mm or more")
        depth[filled + empty : filled + empty + full] = run
        filled += empty + full
        offset += 2 * full
    if offset != len(data):
        raise fail(offset, f"{len(data) - offset} more bytes", "the end of the file after the last pixel")
    return depth.reshape(height, width)


def bytes_from_depth(depth_mm: np.ndarray) -> bytes:
    """Encode a depth image as depth.bin, with the fewest runs.

    Args:
        depth_mm: (H, W) uint16 mm, 0 = no measurement.

    Returns:
        The file's bytes; depth_from_bytes gives the same image back, bit by bit.

    Raises:
        InputError: The image has another type or shape, or a depth does not fit in 16 bits with sign.
    """
    fix = "Give a (H, W) uint16 image in millimetres."
    if depth_mm.ndim != 2 or depth_mm.dtype != np.uint16 or depth_mm.size == 0:
        raise InputError.of("depth", f"shape {depth_mm.shape}, {depth_mm.dtype}", "(H, W) uint16", fix)
    if depth_mm.max() > MAX_DEPTH_MM:
        raise InputError.of("depth", f"{depth_mm.max()} mm", f"at most {MAX_DEPTH_MM} mm", fix)
    height, width = depth_mm.shape
    flat = depth_mm.reshape(-1)
    full = np.concatenate(([False], flat > 0, [False]))
    edges = np.flatnonzero(full[1:] != full[:-1])
    starts, ends = edges[0::2], edges[1::2]  # of the full runs
    parts = [_HEADER.pack(width, height)]
    filled = 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        parts += [_HEADER.pack(start - filled, end - start), flat[start:end].astype("<i2").tobytes()]
        filled = end
    if filled < flat.size:
        parts.append(_HEADER.pack(flat.size - filled, 0))
    return b"".join(parts)


def read_depth_bin(path: Path) -> np.ndarray:
    """Read a depth.bin: (H, W) uint16 mm, 0 = no measurement.

    Raises:
        InputError: The file is missing or damaged; the text names it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        text = error.strerror or str(error)
        raise InputError.of(str(path), text, "a depth image that can be read", CHECK_DOWNLOAD) from error
    return depth_from_bytes(data, str(path))


def read_calibration(path: Path) -> Calibration:
    """Read a .cal file.

    Raises:
        InputError: The file is missing or breaks a rule; the text names the file and the line.
    """
    lines = read_text(path, "a calibration file", CHECK_DOWNLOAD).splitlines()
    matrix = _rows(lines, (0, 1, 2), path)
    (width, height) = _numbers(lines, 12, 2, path)
    skewed = np.abs(matrix[[0, 1, 2, 2], [1, 0, 0, 1]]).max() > 0 or matrix[2, 2] != 1
    if skewed or min(matrix[0, 0], matrix[1, 1]) <= 0:
        rows = "; ".join(" ".join(f"{value:g}" for value in row) for row in matrix)
        rule = "fx 0 cx; 0 fy cy; 0 0 1 with focal lengths above 0"
        raise InputError.of(f"{path}: lines 1-3", rows, rule, CHECK_DOWNLOAD)
    if min(width, height) < 1 or width != int(width) or height != int(height):
        raise InputError.of(f"{path}: line 13", f"{width:g} {height:g}", "whole width and height", CHECK_DOWNLOAD)
    rotation = _rows(lines, (6, 7, 8), path)
    check_rotation(rotation, f"{path}: lines 7-9", CHECK_DOWNLOAD)
    camera = Intrinsics(
        (float(matrix[0, 0]), float(matrix[1, 1])),
        (float(matrix[0, 2]) + 0.5, float(matrix[1, 2]) + 0.5),
        (int(height), int(width)),
    )
    return Calibration(camera, rotation, np.array(_numbers(lines, 10, 3, path)))


def text_from_calibration(calibration: Calibration) -> str:
    """Return the text of a .cal file; read_calibration gives the same numbers back."""
    camera = calibration.camera
    (fx, fy), (cx, cy), (height, width) = camera.focal_xy_px, camera.center_xy_px, camera.size_hw
    matrix = np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])
    blocks = (_text(matrix), "0 0 0 0 0", _text(calibration.rotation), _text(calibration.translation_mm[None]))
    return "\n\n".join((*blocks, f"{width} {height}")) + "\n"


def read_pose(path: Path) -> Pose:
    """Read a pose.txt.

    Raises:
        InputError: The file is missing or breaks a rule; the text names the file and the line.
    """
    lines = read_text(path, "a pose file", CHECK_DOWNLOAD).splitlines()
    rotation = _rows(lines, (0, 1, 2), path)
    check_rotation(rotation, f"{path}: lines 1-3", CHECK_DOWNLOAD)
    center_mm = np.array(_numbers(lines, 4, 3, path))
    if center_mm[2] <= 0:
        raise InputError.of(f"{path}: line 5", f"a head centre {center_mm[2]:g} mm deep", "above 0", CHECK_DOWNLOAD)
    return Pose(rotation, center_mm)


def text_from_pose(pose: Pose) -> str:
    """Return the text of a pose.txt; read_pose gives the same numbers back."""
    return f"{_text(pose.rotation)}\n\n{_text(pose.center_mm[None])}\n"


def angles_from_pose(rotation: np.ndarray) -> tuple[float, float, float]:
    """Return (roll, pitch, yaw) in degrees: atan2(R10, R00), atan2(R21, R22), asin(-R20)."""
    roll = np.arctan2(rotation[1, 0], rotation[0, 0])
    pitch = np.arctan2(rotation[2, 1], rotation[2, 2])
    yaw = np.arcsin(np.clip(-rotation[2, 0], -1, 1))
    return float(np.rad2deg(roll)), float(np.rad2deg(pitch)), float(np.rad2deg(yaw))


def _text(rows: np.ndarray) -> str:
    return "\n".join(" ".join(repr(float(value)) for value in row) for row in rows)


def _rows(lines: list[str], numbers: tuple[int, ...], path: Path) -> np.ndarray:
    return np.array([_numbers(lines, number, 3, path) for number in numbers])


def _numbers(lines: list[str], index: int, count: int, path: Path) -> list[float]:
    where = f"{path}: line {index + 1}"
    if index >= len(lines):
        raise InputError.of(where, "the end of the file", f"{count} numbers", CHECK_DOWNLOAD)
    try:
        values = [float(word) for word in lines[index].split()]
    except ValueError as error:
        raise InputError.of(where, lines[index], f"{count} numbers", CHECK_DOWNLOAD) from error
    if len(values) != count or not np.isfinite(values).all():
        raise InputError.of(where, lines[index], f"{count} finite numbers", CHECK_DOWNLOAD)
    return values
