# SPDX-License-Identifier: Apache-2.0
"""What the tests of the recordings' converters share: turns, the pixels of a file, and a table of marks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

HEAD = (240.0, 180.0)
CAMERA = {"fx": 420.0, "fy": 420.0, "cx": 250.0, "cy": 170.0}
DISTANCE_MM = 650.0


def turn_by(right_deg: float = 0.0, up_deg: float = 0.0, roll_deg: float = 0.0) -> np.ndarray:
    return cv2.Rodrigues(np.radians([up_deg, right_deg, roll_deg]))[0]


def pixels_in(path: Path) -> np.ndarray:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))


def write_marks(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["name,x,y", *lines]) + "\n")
    return path
