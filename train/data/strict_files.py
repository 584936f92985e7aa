# SPDX-License-Identifier: Apache-2.0
"""Reads a data set's images, JSON files, numbers and angle files, and names the file in every error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facedepth_edge.errors import InputError

ANGLE_TOLERANCE_DEG = 360.0
CHECK_DOWNLOAD = "Download or unpack the sequence again, or remove its folder."


def read_image(path: Path, dtype: type, size_hw: tuple[int, int] | None, fix: str) -> np.ndarray:
    """Read an image file.

    Args:
        path: The file.
        dtype: Type that its pixels must have.
        size_hw: Rows and columns that it must have; None for any.
        fix: The error's last sentence.

    Returns:
        (H, W) or (H, W, C) of dtype, BGR or BGRA where there are colours; a fresh array.

    Raises:
        InputError: It is missing, does not decode, or has another type or size.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if image is None:
        state = "a file that does not decode" if path.is_file() else "no such file"
        raise InputError.of(str(path), state, "a PNG image", fix)
    if image.dtype != dtype or (size_hw is not None and image.shape[:2] != size_hw):
        size = "an image of" if size_hw is None else f"{size_hw[1]} x {size_hw[0]}"
        got = f"{image.shape[1]} x {image.shape[0]} {image.dtype}"
        raise InputError.of(str(path), got, f"{size} {np.dtype(dtype).name}", fix)
    return image


def read_colour(path: Path, size_hw: tuple[int, int] | None, fix: str) -> np.ndarray:
    """Read an 8-bit gray, BGR or BGRA image: (H, W) or (H, W, 3) uint8 BGR, C-contiguous.

    Raises:
        InputError: As read_image, or another number of channels.
    """
    image = read_image(path, np.uint8, size_hw, fix)
    channels = image.shape[2] if image.ndim == 3 else 1
    if channels not in (1, 3, 4):
        raise InputError.of(str(path), f"{channels} channels", "1 (gray), 3 (BGR) or 4 (BGRA)", fix)
    if channels == 4:
        return cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
    return image


def read_plane(path: Path, dtype: type, size_hw: tuple[int, int] | None, fix: str) -> np.ndarray:
    """Read an image of one channel: (H, W) of dtype.

    Raises:
        InputError: As read_image, or it has several channels.
    """
    image = read_image(path, dtype, size_hw, fix)
    if image.ndim != 2:
        raise InputError.of(str(path), f"shape {image.shape}", "one channel", fix)
    return image


def read_text(path: Path, what: str, fix: str) -> str:
    """Read a text file in UTF-8.

    Raises:
        InputError: It cannot be read; `what` says what was expected.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError.of(str(path), "no such file", what, fix) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError.of(str(path), str(error), what, fix) from error


def read_json(path: Path, fix: str) -> Any:
    """Read a JSON file.

    Raises:
        InputError: It is missing or no JSON.
    """
    text = read_text(path, "a JSON file", fix)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # no JSON, a number of thousands of digits, brackets without end
        raise InputError.of(str(path), str(error), "valid JSON", fix) from error


def is_number(value: object) -> bool:
    """Say whether a JSON value is a finite number that a float can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def number_in(
    item: Mapping[str, Any], key: str, where: Path, low: float, high: float, fix: str, label: str = ""
) -> float:
    """Return item[key], a number from low to high.

    Raises:
        InputError: It is missing, no number or outside; the text names the file, `label` and the key.
    """
    value = item.get(key)
    if not is_number(value) or not low <= float(value) <= high:  # type: ignore[arg-type]
        rule = f"a number from {low:g} to {high:g}"
        raise InputError.of(f"{where}: {label}{key}", value, rule, fix)
    return float(value)  # type: ignore[arg-type]


def read_angles(path: Path, fix: str) -> dict[int, tuple[float, float, float]]:
    """Read an angle file: a line a frame, with the frame's number and three angles in degrees, tabs between.

    Returns:
        Frame number to its three angles, in the file's order of columns.

    Raises:
        InputError: A line has another form, an angle is not finite, or the frames do not ascend; the text names the
            file and the line.
    """
    angles: dict[int, tuple[float, float, float]] = {}
    last = -1
    for number, line in enumerate(read_text(path, "a text file of angles", fix).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            frame_text, *values = line.split()
            frame, (first, second, third) = int(frame_text), (float(value) for value in values)
        except ValueError as error:
            rule = "frame, roll, pitch and yaw with tabs between"
            raise InputError.of(where, line, rule, fix) from error
        if not all(abs(value) <= ANGLE_TOLERANCE_DEG for value in (first, second, third)):
            raise InputError.of(where, line, "finite angles in degrees", fix)
        if frame <= last:
            got = f"{line} after frame {last}" if last >= 0 else line
            raise InputError.of(where, got, "each frame once, from 0 up in ascending order", fix)
        angles[frame] = (first, second, third)
        last = frame
    return angles


def number_folders(root: Path) -> list[Path]:
    """Return a folder's sub-folders whose names are whole numbers above 0, in the numbers' order.

    Raises:
        InputError: Two names are the same number.
    """
    folders = sorted((p for p in root.iterdir() if p.name.isdecimal() and p.is_dir()), key=lambda p: int(p.name))
    for first, second in pairwise(folders):
        if int(first.name) == int(second.name):
            got = f"{first.name} and {second.name}"
            raise InputError.of(str(root), got, "each sequence once", "Remove one of the two folders.")
    return [folder for folder in folders if int(folder.name) > 0]
