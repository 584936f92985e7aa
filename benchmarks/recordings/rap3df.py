# SPDX-License-Identifier: Apache-2.0
"""Turns a Kinect v2's frames of 62 people into a folder that benchmarks.rgbd_frames measures.

    git clone https://github.com/Piemontez/rap3df-database
    python -m benchmarks.recordings.rap3df rap3df-database recording

Taken is the half of 2017, `rap3df_data`: a folder a person, and of it the one frame beside `tests`, a box of 119 x 149
pixels of the depth camera's 512 x 424: `k1_box_xy.bmp` (the colour camera's picture in the depth camera's pixels, as
libfreenect2 registers it) and `k1_box_xyz_depth.data` (16 bits a pixel, what lies in a box of space).

- Where the box lay in the frame is not stored, and the operator could move it sideways: frames.json has no cx and cy,
  and only what benchmarks.rgbd_frames prints beside one plane a person means anything.
- The recorder kept byte 2 of each float32 millimetre value: its exponent's last bit and its mantissa's first seven.
  That tells the depth in steps of 4 mm from 512 to 1024 mm and of 8 mm from 1024 to 2048; written is the middle of the
  step. The faces are 690 to 940 mm away, at the head centre. What is behind 2048 mm comes back into the same numbers as
  specks: only what hangs together with the face is kept, by steps of less than STEP_MM from pixel to pixel.
- The pictures are as published: black where the colour camera did not see what the depth camera saw, or nothing was
  measured. The infra-red pictures are of the depth's own pixels: MediaPipe FaceMesh's eyes, nose and mouth lie 0.5
  pixels farther right and 0.3 lower in colour than there (median of 61 frames, standard deviation 0.5, at most 1.7).
  That is not corrected.
- All 62 frames are taken, though JO8E4N8 looks to the side and up.

rap3df.csv has the head centres: midway between points 234 and 454 of MediaPipe FaceMesh 0.10.21 on the picture enlarged
four times, lowered by 0.06 of their distance, as benchmarks.photographs has it. All were looked at. That of JO8E4N8 is
by hand, from the tragus that is seen and the line of the eyes, good to some 4 pixels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from benchmarks.recordings.converter import run_converter, write_frames, write_pair
from benchmarks.recordings.marks import read_marks
from facedepth_edge.errors import InputError
from train.data.strict_files import read_colour

FOLDER = Path("rap3df_data")
MARKS = Path(__file__).with_suffix(".csv")
SIZE_HW = (149, 119)
FOCAL_PX = 365.5  # of the Kinect v2's depth camera
STEP_MM = 40.0  # more than a cheek's slope makes of a pixel, which is 2.2 mm wide
_FIX = "Clone the repository again; see the text of the converter."


def depth_from_bytes(stored: np.ndarray) -> np.ndarray:
    """Undo what the recorder did; see the file's text.

    Args:
        stored: uint16, byte 2 of a float32 in mm; 0 where nothing was measured.

    Returns:
        uint16 mm of the same shape, the middle of what the byte may mean from 512 to 2048 mm; 0 stays 0.
    """
    number = stored.astype(np.int64)
    depth = np.where(number < 128, 512 + 4 * number + 2, 1024 + 8 * (number - 128) + 4)
    return np.where(number > 0, depth, 0).astype(np.uint16)


def read_depth(path: Path) -> np.ndarray:
    """Read a `.data` file: (149, 119) uint16 mm, 0 where nothing was measured.

    Raises:
        InputError: it is missing, of another size, or has a number that is no byte.
    """
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise InputError.of(str(path), error.strerror, "a file of depth", _FIX) from error
    if len(stored) != 2 * SIZE_HW[0] * SIZE_HW[1]:
        raise InputError.of(str(path), f"{len(stored)} bytes", f"{2 * SIZE_HW[0] * SIZE_HW[1]}", _FIX)
    numbers = np.frombuffer(stored, "<u2").reshape(SIZE_HW)
    if numbers.max() > 255:
        raise InputError.of(str(path), f"{numbers.max()}", "numbers up to 255", _FIX)
    return depth_from_bytes(numbers)


def connected_to(head_center_xy: tuple[float, float], depth: np.ndarray) -> np.ndarray:
    """Return a depth image without what does not hang together with the face.

    Args:
        head_center_xy: in pixels; the measured pixel nearest to it is the face's.
        depth: (H, W) uint16 mm, 0 where nothing was measured.

    Returns:
        A copy, 0 also where no way leads from the face by steps of less than STEP_MM between pixels side by side.
    """
    rows, columns = np.nonzero(depth)
    if not len(rows):
        return depth.copy()
    x, y = head_center_xy
    nearest = np.argmin((columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2)
    reached = np.zeros((depth.shape[0] + 2, depth.shape[1] + 2), np.uint8)
    step = np.nextafter(np.float32(STEP_MM), np.float32(0))
    relief = np.where(depth > 0, depth, -2 * STEP_MM).astype(np.float32)
    seed = int(columns[nearest]), int(rows[nearest])
    cv2.floodFill(relief, reached, seed, 0, float(step), float(step), 4 | cv2.FLOODFILL_MASK_ONLY | (1 << 8))
    return np.where(reached[1:-1, 1:-1] > 0, depth, 0).astype(np.uint16)


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
    for person, centre in read_marks(MARKS).items():
        folder = root / FOLDER / person
        picture = read_colour(folder / "k1_box_xy.bmp", SIZE_HW, _FIX)
        depth = connected_to(centre, read_depth(folder / "k1_box_xyz_depth.data"))
        items.append({
            **write_pair(out, person, picture, depth), "person": person,
            "head_center_xy": [*centre], "fx": FOCAL_PX, "fy": FOCAL_PX,
        })  # fmt: skip
    return write_frames(out, items)


def main(arguments: list[str] | None = None) -> int:
    """Convert as the command line says; returns the exit status."""
    return run_converter("rap3df", "Piemontez/rap3df-database", convert, arguments)


if __name__ == "__main__":
    sys.exit(main())
