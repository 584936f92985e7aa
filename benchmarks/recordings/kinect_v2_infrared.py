# SPDX-License-Identifier: Apache-2.0
"""Turns a Kinect v2's infra-red faces into a folder that benchmarks.rgbd_frames measures.

    git clone https://github.com/delphifirst/Intensity-Depth-Face-Alignment
    python -m benchmarks.recordings.kinect_v2_infrared Intensity-Depth-Face-Alignment recording

The repository has 17 people of 54 frames each, cut out about the head: `%d_long_exposure_infrared.png` and
`%d_depth.png` (mm), both 16 bits and of one camera, and in `labels.txt` 15 points of each face. Taken is every third
frame: 306. Where in the camera's frame they were cut out is not published: frames.json has no cx and cy, and only what
benchmarks.rgbd_frames prints beside one plane a person means anything.

Convention: pixel i of a picture covers [i, i + 1); a labelled point is a pixel, so half a pixel is added to it.

The head centre, the point midway between the tragi, comes from the labels: seven of the points, with the depth measured
there, lie as MEAN_HEAD_MM has them on the mean of ICT-FaceKit, but for a turn, a place and a size, which tell where its
origin is. The mouth says nothing: it is open in half of the frames, and with the upper lip the centre would be 23 mm
too high there. Beside 16 ears marked by hand (8 people, mouth open and shut) the nearer tragus comes out 2 mm too high
(standard deviation 3 mm with an open mouth, 6 with a shut one).

The picture becomes 8-bit and stays linear, as a driver camera's: WHITE is what WHITE_PERCENT of the face reaches.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

from benchmarks.recordings.converter import run_converter, write_frames, write_pair
from benchmarks.recordings.similarity import origin_of
from facedepth_edge.errors import InputError
from train.data.strict_files import read_plane, read_text

PARTS = (Path("FaceX-Train/train"), Path("FaceX/test"))
EVERY = 3
FOCAL_PX = 365.0  # of the Kinect v2's depth camera, see docs/real_faces.md
WHITE, WHITE_PERCENT = 220.0, 98.0
# A label's points follow the box (x least, x most, y least, y most) of them all.
BOX_NUMBERS, POINTS = 4, 15
# (which of the 15, mm to the picture's right, down, and away from the camera, from the point between the tragi)
MEAN_HEAD_MM = (
    (0, -44.6, -31.2, -74.0),  # outer and inner corner of the eye on the picture's left
    (2, -18.4, -29.4, -80.0),
    (4, 18.4, -29.4, -80.0),
    (6, 44.6, -31.2, -74.0),
    (8, 0.0, -1.0, -112.0),  # tip of the nose, as the camera sees it: 7 mm flatter than the mean's
    (9, -17.0, 10.0, -93.0),  # wings of the nose
    (10, 17.0, 10.0, -93.0),
)
LEAST_POINTS = 4
APART_MM = 80.0  # a depth farther from the points' median is not the face's
SIZES = (0.9, 1.15)
_FIX = "Clone the repository again; see the text of the converter."


def read_labels(part: Path) -> dict[str, np.ndarray]:
    """Read a part's labels.

    Returns:
        For each frame, "person/number", its points (15, 2) float64 in pixels.

    Raises:
        InputError: the file is missing or a line of it has not the name and the numbers that it should.
    """
    where, labels = part / "labels.txt", {}
    for line, text in enumerate(read_text(where, "labels", _FIX).splitlines(), 1):
        name, *numbers = text.split() or [""]
        if not name:
            continue
        if not re.fullmatch(r"[^/]+/[0-9]+", name):
            raise InputError.of(f"{where}, line {line}", name, "PERSON/NUMBER", _FIX)
        try:
            values = np.array([float(number) for number in numbers])
        except ValueError as error:
            raise InputError.of(f"{where}, line {line}", str(error), "numbers", _FIX) from error
        if not np.isfinite(values).all():
            raise InputError.of(f"{where}, line {line}", "nan or inf", "finite numbers", _FIX)
        if len(values) != BOX_NUMBERS + 2 * POINTS:
            raise InputError.of(f"{where}, line {line}", f"{len(values)} numbers", f"{BOX_NUMBERS + 2 * POINTS}", _FIX)
        labels[name] = values[BOX_NUMBERS:].reshape(POINTS, 2) + 0.5
    return labels


def head_center_xy(points: np.ndarray, depth: np.ndarray) -> tuple[float, float] | None:
    """Return where the point midway between the tragi is seen.

    Args:
        points: (15, 2) the labelled ones, in pixels.
        depth: (h, w) uint16 mm.

    Returns:
        x and y in pixels; None where the depth of too few points is known.
    """
    axis = np.array([depth.shape[1], depth.shape[0]]) / 2.0  # unknown; it turns the points and the centre alike
    there, head = [], []
    for index, *place in MEAN_HEAD_MM:
        x, y = points[index]
        around = depth[max(int(y) - 1, 0) : max(int(y) + 2, 0), max(int(x) - 1, 0) : max(int(x) + 2, 0)]
        if (around > 0).any():
            z = float(np.median(around[around > 0]))
            there.append([*((points[index] - axis) / FOCAL_PX * z), z])
            head.append(place)
    if len(there) < LEAST_POINTS:
        return None
    measured, mean = np.array(there), np.array(head)
    near = np.abs(measured[:, 2] - np.median(measured[:, 2])) < APART_MM
    if near.sum() < LEAST_POINTS:
        return None
    x, y, z = origin_of(mean[near], measured[near], SIZES)
    return float(x / z * FOCAL_PX + axis[0]), float(y / z * FOCAL_PX + axis[1])


def picture_from(infrared: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the picture (h, w) uint8 of an infra-red one (h, w) uint16, linear; see the file's text."""
    (left, top), (right, bottom) = points.min(axis=0).astype(int), points.max(axis=0).astype(int) + 1
    white = np.percentile(infrared[max(top, 0) : bottom, max(left, 0) : right], WHITE_PERCENT)
    return np.clip(np.rint(infrared * (WHITE / max(white, 1.0))), 0, 255).astype(np.uint8)


def convert(root: Path, out: Path) -> int:
    """Write the folder.

    Args:
        root: the repository's work tree.
        out: where the pictures, the depth images and frames.json go; files of the same names are replaced.

    Returns:
        How many frames were written.

    Raises:
        InputError: a file is missing or not as published.
        ConfigError: the folder cannot be written.
    """
    items = []
    for part in (root / name for name in PARTS):
        for name, points in read_labels(part).items():
            person, number = name.split("/")
            if int(number) % EVERY:
                continue
            infrared = read_plane(part / f"{name}_long_exposure_infrared.png", np.uint16, None, _FIX)
            depth = read_plane(part / f"{name}_depth.png", np.uint16, infrared.shape, _FIX)
            centre = head_center_xy(points, depth)
            if centre is None:
                continue
            pair = write_pair(out, f"{person}_{int(number):02d}", picture_from(infrared, points), depth)
            items.append({
                **pair, "person": person,
                "head_center_xy": [round(c, 2) for c in centre], "fx": FOCAL_PX, "fy": FOCAL_PX,
            })  # fmt: skip
    return write_frames(out, items)


def main(arguments: list[str] | None = None) -> int:
    """Convert as the command line says; returns the exit status."""
    return run_converter("kinect_v2_infrared", "delphifirst/Intensity-Depth-Face-Alignment", convert, arguments)


if __name__ == "__main__":
    sys.exit(main())
