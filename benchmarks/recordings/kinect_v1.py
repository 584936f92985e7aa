# SPDX-License-Identifier: Apache-2.0
"""Turns a Kinect v1's recording of one man who turns into a folder that benchmarks.rgbd_frames measures.

    git clone https://github.com/vincentwen1995/Computer-Vision-2
    python -m benchmarks.recordings.kinect_v1 Computer-Vision-2 recording

The repository's Assignment1/Data/data has 100 frames of 640 x 480: `%010d.jpg`, `_depth.png` (16-bit mm, registered to
the colour picture by the driver) and `_camera.xml` (intrinsics, and the camera's pose from his own surface: it is
he who turned). Taken are the 41 frames in which he is turned by up to MOST_YAW_DEG.

Convention: pixel i of a picture covers [i, i + 1), so the published axis, 320 and 240, is half a pixel larger here.

Two things are marked by hand, once, and the poses carry them to all frames:

- The head centre: the point midway between the tragi, which hair hides but for the ears' lower halves. TRAGUS_XY has
  where each lies in four frames; with the depth there that gives four points in the first frame's space, and their
  median. The two are 171 mm apart: it is the hair before the ears that was measured, on both sides alike.
- DEPTH_SHIFT_XY: the driver's registration is off. Wings and ridge of the nose lie 2.3 pixels farther left, and 1 to
  1.5 higher, in the depth images than in the pictures (looked up in frames 0 and 98).
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from benchmarks.recordings.converter import run_converter, write_frames, write_pair
from facedepth_edge.errors import InputError
from train.data.strict_files import read_colour, read_plane

FOLDER = Path("Assignment1/Data/data")
FRAMES = 100
SIZE_HW = (480, 640)
MOST_YAW_DEG = 76.0
DEPTH_SHIFT_XY = (2, 1)
# (frame, x, y), in pixels of the pictures; "right" is the man's own, seen when he turns to the picture's right.
TRAGUS_XY = {
    "right": ((10, 300, 158), (12, 306, 158), (14, 312, 158), (16, 321, 157)),
    "left": ((82, 315, 157), (84, 320, 157), (86, 327, 157), (88, 331, 157)),
}
APART_MM = (150.0, 180.0)
WINDOW_PX = 2  # half of the square in which the depth at a mark is read
FARTHEST_MM = 1300.0  # behind him
_FIX = "Clone the repository again; see the text of the converter."


class Recording:
    """The frames as published.

    Args:
        root: the repository's work tree.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER

    def colour(self, frame: int) -> np.ndarray:
        """Return a picture, (480, 640, 3) uint8 BGR."""
        return read_colour(self.folder / f"{frame:010d}.jpg", SIZE_HW, _FIX)

    def depth(self, frame: int) -> np.ndarray:
        """Return the depth in the picture's pixels, (480, 640) uint16 mm, 0 where unknown, shifted."""
        raw = read_plane(self.folder / f"{frame:010d}_depth.png", np.uint16, SIZE_HW, _FIX)
        right, down = DEPTH_SHIFT_XY
        shifted = np.zeros_like(raw)
        shifted[down:, right:] = raw[: SIZE_HW[0] - down, : SIZE_HW[1] - right]
        return shifted

    def camera(self, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return intrinsics (3, 3) with this project's pixel centres, and the pose: rotation (3, 3), place (3,) in mm.

        Raises:
            InputError: the file is missing or lacks one of them.
        """
        path = self.folder / f"{frame:010d}_camera.xml"
        nodes = cv2.FileStorage()
        try:
            opened = path.is_file() and nodes.open(str(path), cv2.FILE_STORAGE_READ)
            found = [nodes.getNode(name).mat() if opened else None for name in ("intrinsic", "R", "t")]
        except cv2.error as error:
            raise InputError.of(str(path), str(error).strip(), "intrinsic, R and t", _FIX) from error
        if any(matrix is None for matrix in found):
            raise InputError.of(str(path), "no or only some matrices", "intrinsic, R and t", _FIX)
        intrinsics, turn, place_m = (matrix.astype(np.float64) for matrix in found)
        intrinsics[:2, 2] += 0.5
        return intrinsics, turn, place_m[:, 0] * 1000.0

    def yaw_deg(self, frame: int) -> float:
        """Return how far he is turned from the first frame."""
        return float(np.degrees(cv2.Rodrigues(self.camera(frame)[1])[0][1, 0]))


def tragus_mm(recording: Recording, marks: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """Return a tragus (3,) in the space of the poses, mm, the median over its marks.

    Raises:
        InputError: no depth is known at a mark.
    """
    points = []
    for frame, x, y in marks:
        around = slice(y - WINDOW_PX, y + WINDOW_PX + 1), slice(x - WINDOW_PX, x + WINDOW_PX + 1)
        depth = recording.depth(frame)[around]
        depth = depth[(depth > 0) & (depth < FARTHEST_MM)]
        if not len(depth):
            raise InputError.of(f"frame {frame}, pixel {x}, {y}", "no depth", "the depth of an ear", _FIX)
        intrinsics, turn, place = recording.camera(frame)
        ray = np.linalg.solve(intrinsics, [x + 0.5, y + 0.5, 1.0])
        points.append(turn @ (ray * np.median(depth)) + place)
    return np.median(points, axis=0)


def head_center_mm(recording: Recording) -> np.ndarray:
    """Return the point midway between the tragi (3,) in the space of the poses, mm.

    Raises:
        InputError: the tragi are not as far apart as those of a head.
    """
    right, left = (tragus_mm(recording, TRAGUS_XY[side]) for side in ("right", "left"))
    apart, (least, most) = float(np.linalg.norm(right - left)), APART_MM
    if not least <= apart <= most:
        raise InputError.of("TRAGUS_XY", f"{apart:.0f} mm between the tragi", f"{least:g} to {most:g}", _FIX)
    return (right + left) / 2.0


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
    recording = Recording(root)
    centre, items = head_center_mm(recording), []
    for frame in range(FRAMES):
        if abs(recording.yaw_deg(frame)) > MOST_YAW_DEG:
            continue
        intrinsics, turn, place = recording.camera(frame)
        x, y, z = intrinsics @ (turn.T @ (centre - place))
        items.append({
            **write_pair(out, f"{frame:03d}", recording.colour(frame), recording.depth(frame)), "person": "1",
            "head_center_xy": [round(x / z, 2), round(y / z, 2)],
            "fx": intrinsics[0, 0], "fy": intrinsics[1, 1], "cx": intrinsics[0, 2], "cy": intrinsics[1, 2],
        })  # fmt: skip
    return write_frames(out, items)


def main(arguments: list[str] | None = None) -> int:
    """Convert as the command line says; returns the exit status."""
    return run_converter("kinect_v1", "vincentwen1995/Computer-Vision-2", convert, arguments)


if __name__ == "__main__":
    sys.exit(main())
