# SPDX-License-Identifier: Apache-2.0
"""Turns a Minolta VIVID laser scanner's frames of 11 people into a folder that benchmarks.rgbd_frames measures.

    git clone https://github.com/shrutikapoyrekar/Anthropometric-3D-Face-Recognition
    git clone https://github.com/liudavi1/FRGC_ABS_FileReader
    python -m benchmarks.recordings.minolta_vivid Anthropometric-3D-Face-Recognition FRGC_ABS_FileReader recording

Of a folder that is not there nothing is written, which the last line says.

The first has ten people of CASIA-3D FaceV1 (an eleventh, `Models/4.wrl`, was not at hand and is not marked), one
neutral frontal scan each: VRML with a colour for each vertex, in mm before the camera. A vertex is a pixel of the
scanner's 320 x 240: x / z and y / z lie on a lattice whose pitch makes the focal length CASIA_FOCAL_PX, and its phase
the axis to within whole pixels. Those are such that the lowest vertices of all ten are in the last row, and 160 columns
left; the second repository's camera, fitted, is within 0.2 pixels of that.

- A pixel that was not measured and has LEAST_KNOWN neighbours with a colour gets their mean, FILLS times over: pupils,
  nostrils, single ones. Its depth stays unknown.
- What was not measured otherwise has no colour: the background, and most hair, is BACKGROUND, a middle gray.
- Exposure is as published; that of casia_013 is very dark.

The second has one man of FRGC: a picture, and x, y and z of its pixels in mm; the scanner took them some two seconds
apart, and they fit to about a pixel. FRGC_CAMERA is the pinhole that x, y and z follow to 0.03 pixels.

Convention: pixel i of a picture covers [i, i + 1). Depth is rounded to whole millimetres.

minolta_vivid.csv has the head centres: midway between points 234 and 454 of MediaPipe FaceMesh 0.10.21 on the picture
enlarged four times, lowered by 0.06 of their distance, as benchmarks.photographs has it. All were looked at.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from benchmarks.recordings.converter import write_frames, write_pair
from benchmarks.recordings.marks import read_marks
from facedepth_edge.errors import InputError
from train.command import Outcome, run_command
from train.data.strict_files import read_colour, read_text

MARKS = Path(__file__).with_suffix(".csv")
SIZE_HW = (240, 320)
CASIA_FOLDER = Path("Anthropometric 3D Face Recognition")
CASIA_SCANS = {
    "casia_001": "Models/1.wrl", "casia_002": "Models/2.wrl", "casia_003": "New folder/003-001.wrl",
    "casia_005": "Models/3.wrl", "casia_008": "Models/5.wrl", "casia_009": "Models/6.wrl",
    "casia_011": "Models/7.wrl", "casia_012": "Models/8.wrl", "casia_013": "Models/9.wrl",
    "casia_014": "Models/10.wrl",
}  # fmt: skip
CASIA_FOCAL_PX, CASIA_AXIS_XY = 968.2, (160.135, 120.33)
CASIA_CAMERA = {"fx": CASIA_FOCAL_PX, "fy": CASIA_FOCAL_PX, "cx": CASIA_AXIS_XY[0], "cy": CASIA_AXIS_XY[1]}
FRGC_NAME, FRGC_FRAME = "frgc_0002", "0002_example"
FRGC_CAMERA = {"fx": 971.24, "fy": 971.16, "cx": 160.241, "cy": 120.132}
FRGC_HEADER = ["240 rows", "320 columns", "pixels (flag X Y Z):"]
BACKGROUND = 110
LEAST_KNOWN, FILLS = 5, 3
_FIX = "Clone the repository again; see the text of the converter."


def _numbers(text: str, where: str) -> np.ndarray:
    """Return a text's numbers, (n,) float64; commas count as space."""
    try:
        values = np.array(text.replace(",", " ").split(), np.float64)
    except ValueError as error:
        raise InputError.of(where, str(error), "numbers", _FIX) from error
    if not np.isfinite(values).all():
        raise InputError.of(where, "nan or inf", "finite numbers", _FIX)
    return values


def read_vertices(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the first mesh of a VRML 2 file.

    Returns:
        Its vertices (n, 3) float64 in mm, and their colours (n, 3) float64 RGB from 0 to 1.

    Raises:
        InputError: the file is missing, or has not three numbers of each kind for every vertex.
    """
    text, found = read_text(path, "VRML 2", _FIX), []
    for key in ("point", "color"):
        _, start, after = text.partition(f"{key} [")
        inside, end, _ = after.partition("]")
        if not start or not end:
            raise InputError.of(str(path), f"no list {key} [...]", "one", _FIX)
        found.append(_numbers(inside, f"{path}, {key}"))
    points, colours = found
    if len(points) != len(colours) or len(points) % 3 or not len(points):
        got = f"{len(points)} and {len(colours)} numbers of points and colours"
        raise InputError.of(str(path), got, "three of both for each vertex", _FIX)
    return points.reshape(-1, 3), colours.reshape(-1, 3)


def frame_from_vertices(points: np.ndarray, colours: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Put vertices into the scanner's pixels; of several in one pixel the nearest counts.

    Args:
        points: (n, 3) mm right, up, and towards the camera, from the camera.
        colours: (n, 3) RGB from 0 to 1.
        where: they come from, for errors.

    Returns:
        Picture (240, 320, 3) uint8 BGR, BACKGROUND where nothing is known, and depth (240, 320) uint16 mm, 0 there.

    Raises:
        InputError: a vertex is not before the camera or not in its frame.
    """
    far_first = np.argsort(points[:, 2])
    (x, y, z), colours = points[far_first].T * [[1.0], [-1.0], [-1.0]], colours[far_first]
    if (z <= 0).any():
        raise InputError.of(where, f"z of {-z.min():g} mm", "below 0, before the camera", _FIX)
    column = np.floor(x / z * CASIA_FOCAL_PX + CASIA_AXIS_XY[0]).astype(int)
    row = np.floor(y / z * CASIA_FOCAL_PX + CASIA_AXIS_XY[1]).astype(int)
    if ((column < 0) | (column >= SIZE_HW[1]) | (row < 0) | (row >= SIZE_HW[0])).any():
        got = f"columns {column.min()} to {column.max()}, rows {row.min()} to {row.max()}"
        raise InputError.of(where, got, f"all within {SIZE_HW[1]} x {SIZE_HW[0]}", _FIX)
    picture, depth = np.zeros((*SIZE_HW, 3)), np.zeros(SIZE_HW, np.uint16)
    picture[row, column] = colours[:, ::-1] * 255
    depth[row, column] = np.rint(z)
    known = depth > 0
    fill_gaps(picture, known)
    picture[~known] = BACKGROUND
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8), depth


def fill_gaps(picture: np.ndarray, known: np.ndarray) -> None:
    """Give pixels that are nearly surrounded by known ones their mean, FILLS times over.

    Args:
        picture: (H, W, 3) float64, 0 where unknown; changed.
        known: (H, W) bool; changed.
    """
    for _ in range(FILLS):
        count, total = (
            cv2.boxFilter(v, cv2.CV_64F, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
            for v in (known.astype(np.float64), picture)
        )
        gap = ~known & (count > LEAST_KNOWN - 0.5)
        picture[gap] = total[gap] / count[gap][:, None]
        known |= gap


def read_range_image(path: Path) -> np.ndarray:
    """Read the depth of an FRGC `.abs` file, (240, 320) uint16 mm, 0 where nothing was measured.

    Raises:
        InputError: the file is missing or not laid out so; the text names the line.
    """
    lines = read_text(path, "a range image", _FIX).splitlines()
    if [line.strip() for line in lines[:3]] != FRGC_HEADER or len(lines) < 7:
        got = f"{len(lines)} lines that begin with {lines[:3]}"
        raise InputError.of(str(path), got, f"{FRGC_HEADER}, then flags, x, y and z", _FIX)
    flags, depth = (_numbers(lines[index], f"{path}, line {index + 1}") for index in (3, 6))
    if not len(flags) == len(depth) == SIZE_HW[0] * SIZE_HW[1]:
        got = f"{len(flags)} flags and {len(depth)} depths"
        raise InputError.of(str(path), got, f"{SIZE_HW[0] * SIZE_HW[1]} of both", _FIX)
    measured = np.where(flags > 0, -depth, 0.0)
    if not 0.0 <= measured.min() <= measured.max() < 65_535.0:
        raise InputError.of(str(path), f"z to {measured.min():g} mm behind", "all before the camera", _FIX)
    return np.rint(measured).reshape(SIZE_HW).astype(np.uint16)


def convert(casia: Path, frgc: Path, out: Path) -> list[str]:
    """Write the folder.

    Args:
        casia: work tree of Anthropometric-3D-Face-Recognition; left out where there is no such folder.
        frgc: work tree of FRGC_ABS_FileReader; left out where there is no such folder.
        out: where the pictures, the depth images and frames.json go; files of the same names are replaced.

    Returns:
        Lines that say how many frames were written and what was left out.

    Raises:
        InputError: neither is there, or a file is missing or not as published.
        ConfigError: the folder cannot be written.
    """
    missing = [root for root in (casia, frgc) if not root.is_dir()]
    if len(missing) == 2:
        raise InputError.of(f"{casia} and {frgc}", "no such folders", "one at least", _FIX)
    marks, items = read_marks(MARKS), []

    def add(name: str, picture: np.ndarray, depth: np.ndarray, camera: dict[str, float]) -> None:
        pair = write_pair(out, name, picture, depth)
        items.append({**pair, "person": name, "head_center_xy": [*marks[name]], **camera})

    if casia not in missing:
        for name, file in CASIA_SCANS.items():
            path = casia / CASIA_FOLDER / file
            picture, depth = frame_from_vertices(*read_vertices(path), str(path))
            add(name, picture, depth, CASIA_CAMERA)
    if frgc not in missing:
        picture = read_colour(frgc / f"{FRGC_FRAME}.ppm", SIZE_HW, _FIX)
        add(FRGC_NAME, picture, read_range_image(frgc / f"{FRGC_FRAME}.abs"), FRGC_CAMERA)
    return [f"{write_frames(out, items)} frames", *(f"{root}: no such folder, left out" for root in missing)]


def main(arguments: list[str] | None = None) -> int:
    """Convert as the command line says; returns the exit status."""
    command = "python -m benchmarks.recordings.minolta_vivid"
    parser = argparse.ArgumentParser(
        prog=command, description="Makes a folder for benchmarks.rgbd_frames of a laser scanner's frames"
    )
    parser.add_argument("casia", type=Path, help="work tree of shrutikapoyrekar/Anthropometric-3D-Face-Recognition")
    parser.add_argument("frgc", type=Path, help="work tree of liudavi1/FRGC_ABS_FileReader")
    parser.add_argument("out", type=Path, help="folder to write")
    chosen = parser.parse_args(arguments)
    return run_command(command, arguments, lambda: Outcome("\n".join(convert(chosen.casia, chosen.frgc, chosen.out))))


if __name__ == "__main__":
    sys.exit(main())
