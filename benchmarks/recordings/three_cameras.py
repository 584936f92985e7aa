# SPDX-License-Identifier: Apache-2.0
"""Turns pictures of three people by three cameras into a folder that benchmarks.rgbd_frames measures.

    git clone https://github.com/anloro/IPCV-3D-Face-Reconstruction
    python -m benchmarks.recordings.three_cameras IPCV-3D-Face-Reconstruction recording

The repository's code/images has five pictures of each person (1, 2 and 4) by a left, a middle and a right camera,
1024 x 1024, 0.5 to 0.65 m away, and a checkerboard 40 times before all three. Each left picture gets its depth from the
middle one, each middle picture from the right one (in which the head is cut off).

Calibration: each camera from all boards, one radial coefficient; then each pair, intrinsics held, without the pairs
whose cameras did not see the board at once (MOST_ROW_PX). The board's squares are 10 mm wide: so say the repository's
.mat files, and the people's pupils are 58 to 70 mm apart. The two sessions' poses agree within 0.2 degrees.

Depth: rectified at half the resolution, where a pixel of disparity is 3 mm at 0.52 m, semi-global matching in both
directions, what both agree on within AGREE_PX, then turned back into the reference camera's picture. The people moved
between the cameras' shutters: rows lie up to 2 pixels apart, and SIFT matches say by how much. Depth outside NEAR_MM to
FAR_MM stays unknown.

Convention: pixel i of a picture covers [i, i + 1); OpenCV's principal points, which count from the first one's centre,
get half a pixel more in frames.json. Pictures are written without their lens's distortion, otherwise as they are.

The head centre, the point midway between the tragi: pupils, tip and wings of the nose are marked by hand in the middle
pictures (MARKS_XY, pixels of the written pictures, OpenCV's convention). With the depth there they lie as MEAN_HEAD_MM
has them on the mean of ICT-FaceKit, but for a turn, a place and a size, which tell where its origin is in both cameras.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.recordings.converter import run_converter, write_frames, write_pair
from benchmarks.recordings.similarity import origin_of
from facedepth_edge.errors import InputError
from train.data.strict_files import read_colour

FOLDER = Path("code/images")
CAMERAS = ("Left", "Middle", "Right")
PAIRS = (("Left", "Middle"), ("Middle", "Right"))
PEOPLE = (1, 2, 4)
SIDE_PX = 1024
BOARD, SQUARE_MM = (9, 6), 10.0
MOST_ROW_PX = 0.35
LEAST_BOARDS = 3
LENS = cv2.CALIB_FIX_K3 | cv2.CALIB_FIX_K2 | cv2.CALIB_ZERO_TANGENT_DIST
NEAR_MM, FAR_MM = 370.0, 780.0
REDUCTION = 0.5
BLUR_PX = 0.7  # before that
BLOCK_PX, AGREE_PX, SPECKLE_PX = 5, 1.0, 200
MOST_SHIFT_PX, CLOSE_PX = 3.0, 0.5  # of rows, at half the resolution
LEAST_MATCHES = 12
# For each person's pictures: pupil on the picture's left, on its right, tip of the nose, wing left, wing right.
MARKS_XY = {
    1: (
        ((468, 328), (634, 327), (557, 413), (502, 443), (609, 443)),
        ((465, 321), (633, 321), (560, 413), (504, 440), (609, 437)),
        ((453, 327), (624, 326), (547, 415), (491, 445), (599, 444)),
        ((460, 321), (630, 322), (552, 422), (503, 445), (591, 445)),
        ((461, 319), (632, 317), (556, 416), (507, 439), (596, 437)),
    ),
    2: (
        ((450, 489), (629, 493), (537, 588), (481, 597), (595, 597)),
        ((449, 473), (628, 478), (534, 588), (484, 601), (582, 601)),
        ((448, 473), (628, 478), (531, 584), (483, 597), (583, 597)),
        ((439, 478), (618, 483), (520, 591), (473, 606), (569, 606)),
        ((444, 471), (623, 478), (530, 582), (479, 593), (577, 597)),
    ),
    4: (
        ((463, 360), (673, 361), (566, 487), (512, 499), (620, 499)),
        ((452, 364), (661, 363), (556, 499), (503, 510), (609, 510)),
        ((452, 364), (662, 365), (555, 493), (501, 508), (615, 508)),
        ((451, 376), (661, 379), (557, 508), (504, 523), (611, 523)),
        ((442, 380), (656, 380), (544, 517), (489, 528), (605, 528)),
    ),
}
# mm to the picture's right, down, and away from the camera, from the point between the tragi
MEAN_HEAD_MM = np.array(
    [[-33.0, -32.0, -83.0], [33.0, -32.0, -83.0], [0.0, -1.0, -118.7], [-17.0, 10.0, -93.0], [17.0, 10.0, -93.0]]
)
WINDOW_PX = 9  # half of the square in which the depth at a mark is read
_FIX = "Clone the repository again; see the text of the converter."


@dataclass(frozen=True)
class Lens:
    """A camera: matrix (3, 3) in OpenCV's convention, distortion (1, 5)."""

    matrix: np.ndarray
    distortion: np.ndarray


@dataclass(frozen=True)
class Pair:
    """Two cameras, the depth being the first one's: X of the second = turn @ X of the first + place, in mm."""

    first: Lens
    second: Lens
    turn: np.ndarray
    place: np.ndarray


def numbered(folder: Path) -> dict[int, Path]:
    """Return a folder's pictures by the number at their names' ends, in order.

    Raises:
        InputError: there are none.
    """
    found = {int(match[1]): path for path in folder.glob("*.jpg") if (match := re.search(r"_(\d+)$", path.stem))}
    if not found:
        raise InputError.of(str(folder), "no pictures", "*_NUMBER.jpg", _FIX)
    return dict(sorted(found.items()))


def find_boards(root: Path) -> dict[tuple[int, int], dict[str, np.ndarray]]:
    """Return the board's corners (54, 2) float32 of each session and number, by camera, where it was found."""
    boards: dict[tuple[int, int], dict[str, np.ndarray]] = {}
    how = cv2.CALIB_CB_ACCURACY | cv2.CALIB_CB_EXHAUSTIVE
    for session, name in ((1, "calibration"), (2, "calibration2")):
        for camera in CAMERAS:
            for number, path in numbered(root / FOLDER / f"Calibratie {session}" / f"{name}{camera}").items():
                gray = cv2.cvtColor(read_colour(path, (SIDE_PX, SIDE_PX), _FIX), cv2.COLOR_BGR2GRAY)
                found, corners = cv2.findChessboardCornersSB(gray, BOARD, flags=how)
                if found:
                    corners = corners.reshape(-1, 2)
                    upright = corners if corners[0, 0] < corners[-1, 0] else corners[::-1]
                    boards.setdefault((session, number), {})[camera] = np.ascontiguousarray(upright, dtype=np.float32)
    return boards


def calibrate(boards: dict[tuple[int, int], dict[str, np.ndarray]]) -> dict[tuple[str, str], Pair]:
    """Return the calibrated PAIRS; see the file's text."""
    board = np.zeros((BOARD[0] * BOARD[1], 3), np.float32)
    board[:, :2] = np.mgrid[0 : BOARD[0], 0 : BOARD[1]].T.reshape(-1, 2) * SQUARE_MM
    size, lenses, pairs = (SIDE_PX, SIDE_PX), {}, {}
    for camera in CAMERAS:
        seen = [own[camera] for own in boards.values() if camera in own]
        if len(seen) < LEAST_BOARDS:
            raise InputError.of(f"camera {camera}", f"{len(seen)} boards", f"at least {LEAST_BOARDS}", _FIX)
        _, matrix, distortion, _, _ = cv2.calibrateCamera([board] * len(seen), seen, size, None, None, flags=LENS)
        lenses[camera] = Lens(matrix, distortion)
    for a, b in PAIRS:
        both = [own for own in boards.values() if a in own and b in own]
        for _ in range(4):
            if len(both) < LEAST_BOARDS:
                got = f"{len(both)} boards seen by both at once"
                raise InputError.of(f"cameras {a} and {b}", got, f"at least {LEAST_BOARDS}", _FIX)
            *_, turn, place, _, _, _, _, errors = cv2.stereoCalibrateExtended(
                [board] * len(both), [own[a] for own in both], [own[b] for own in both],
                lenses[a].matrix, lenses[a].distortion, lenses[b].matrix, lenses[b].distortion, size,
                np.eye(3), np.zeros((3, 1)), flags=cv2.CALIB_FIX_INTRINSIC,
            )  # fmt: skip
            both = [own for own, error in zip(both, errors.max(axis=1), strict=True) if error < MOST_ROW_PX]
        pairs[a, b] = Pair(lenses[a], lenses[b], turn, place[:, 0])
    return pairs


class Stereo:
    """Measures depth with a pair.

    Args:
        pair: the cameras.
    """

    def __init__(self, pair: Pair) -> None:
        size = (SIDE_PX, SIDE_PX)
        one, two = pair.first, pair.second
        self.turn, other, *_ = cv2.stereoRectify(one.matrix, one.distortion, two.matrix, two.distortion, size,
                                                 pair.turn, pair.place)  # fmt: skip
        self.pair, self.focal = pair, float(one.matrix[0, 0]) * REDUCTION
        self.scale = self.focal * float(np.linalg.norm(pair.place))  # disparity = scale / depth
        self.least = self.scale / FAR_MM
        self.steps = int(np.ceil((self.scale / NEAR_MM - self.least) / 16)) * 16
        corners = np.array([[[0, 0]], [[SIDE_PX, 0]], [[0, SIDE_PX]], [[SIDE_PX, SIDE_PX]]], np.float32)
        bounds = cv2.undistortPoints(corners, one.matrix, one.distortion, R=self.turn)[:, 0] * self.focal
        low, high = bounds.min(axis=0), bounds.max(axis=0)
        # the first `steps` columns cannot be matched; a disparity of `least` becomes 0
        self.axis = (self.steps - float(low[0]), -float(low[1]))
        self.canvas = (int(high[0] - low[0]) + self.steps, int(high[1] - low[1]))
        self.maps = []
        for lens, turn, shift in ((one, self.turn, 0.0), (two, other, self.least)):
            matrix = np.array([[self.focal, 0, self.axis[0] + shift], [0, self.focal, self.axis[1]], [0, 0, 1.0]])
            self.maps.append(
                cv2.initUndistortRectifyMap(lens.matrix, lens.distortion, turn, matrix, self.canvas, cv2.CV_32FC1)
            )

    def depth(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the depth (1024, 1024) uint16 mm in the first camera's picture without distortion, 0 where unknown."""
        grays = (cv2.GaussianBlur(cv2.cvtColor(i, cv2.COLOR_BGR2GRAY), (0, 0), BLUR_PX) for i in (first, second))
        a, b = (cv2.remap(gray, *maps, cv2.INTER_CUBIC) for gray, maps in zip(grays, self.maps, strict=True))
        rows, columns = np.mgrid[0 : self.canvas[1], 0 : self.canvas[0]].astype(np.float32)
        offset, slope = self.row_shift(a, b)
        b = cv2.remap(b, columns, (rows + offset + slope * rows).astype(np.float32), cv2.INTER_CUBIC)
        disparity = self.match(a, b)
        intrinsics = self.pair.first.matrix
        y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(np.float64)
        rays = np.stack([(x - intrinsics[0, 2]) / intrinsics[0, 0], (y - intrinsics[1, 2]) / intrinsics[1, 1],
                         np.ones_like(x)], axis=-1) @ self.turn.T  # fmt: skip
        places = rays[..., :2] / rays[..., 2:] * self.focal + self.axis
        sampled = cv2.remap(disparity, *places.astype(np.float32).transpose(2, 0, 1), cv2.INTER_NEAREST, borderValue=-1)
        known = sampled >= 0
        depth = self.scale / (np.where(known, sampled, 0) + self.least) / rays[..., 2]
        return np.where(known, np.rint(depth), 0).astype(np.uint16)

    def row_shift(self, a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
        """Return offset and slope, over a's row, of the rows in b less those in a."""
        sift = cv2.SIFT_create(contrastThreshold=0.01)
        (points_a, what_a), (points_b, what_b) = (sift.detectAndCompute(image, None) for image in (a, b))
        near = [m for m, n in cv2.BFMatcher().knnMatch(what_a, what_b, k=2) if m.distance < 0.8 * n.distance]
        at, to = (np.array([p[i].pt for i in which]).reshape(-1, 2) for p, which in (
            (points_a, [m.queryIdx for m in near]), (points_b, [m.trainIdx for m in near])))  # fmt: skip
        right, down = at[:, 0] - to[:, 0], to[:, 1] - at[:, 1]
        kept = (right > 0) & (right < self.steps) & (np.abs(down) < MOST_SHIFT_PX)
        if kept.sum() < LEAST_MATCHES:
            return (float(np.median(down[kept])), 0.0) if kept.any() else (0.0, 0.0)
        kept &= np.abs(down - np.median(down[kept])) < 2 * CLOSE_PX
        for _ in range(3):
            slope, offset = np.polyfit(at[kept, 1], down[kept], 1)
            kept &= np.abs(down - offset - slope * at[:, 1]) < CLOSE_PX
            if kept.sum() < LEAST_MATCHES:
                break
        return float(offset), float(slope)

    def match(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the disparity (H, W) float32 in a, less `least`; -1 where unknown."""
        matcher = cv2.StereoSGBM_create(
            0, self.steps, BLOCK_PX, P1=8 * BLOCK_PX**2, P2=32 * BLOCK_PX**2, uniquenessRatio=5, preFilterCap=31,
            mode=cv2.STEREO_SGBM_MODE_SGBM,
        )  # fmt: skip
        there = matcher.compute(a, b)
        back = matcher.compute(np.ascontiguousarray(b[:, ::-1]), np.ascontiguousarray(a[:, ::-1]))[:, ::-1]
        rows, columns = np.mgrid[0 : a.shape[0], 0 : a.shape[1]]
        target = np.clip(columns - np.rint(there / 16.0).astype(int), 0, a.shape[1] - 1)
        agreed = (there >= 0) & (np.abs(there - back[rows, target]) <= AGREE_PX * 16)
        kept = np.where(agreed, there, -16).astype(np.int16)
        cv2.filterSpeckles(kept, -16, SPECKLE_PX, 16)
        return np.where(kept >= 0, kept / 16.0, -1.0).astype(np.float32)


def head_center_mm(marks: tuple[tuple[int, int], ...], depth: np.ndarray, lens: Lens) -> np.ndarray:
    """Return the point midway between the tragi (3,) in the camera's frame, mm, from MARKS_XY and the depth.

    Raises:
        InputError: no depth is known about a mark.
    """
    points = []
    for x, y in marks:
        around = depth[y - WINDOW_PX : y + WINDOW_PX + 1, x - WINDOW_PX : x + WINDOW_PX + 1]
        if not (around > 0).any():
            raise InputError.of(f"MARKS_XY {x}, {y}", "no depth", "the depth of a face", _FIX)
        points.append(np.linalg.solve(lens.matrix, [x, y, 1.0]) * np.median(around[around > 0]))
    return origin_of(MEAN_HEAD_MM, np.array(points))


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
    pairs, items = calibrate(find_boards(root)), []
    stereo = {names: Stereo(pair) for names, pair in pairs.items()}
    left, middle = PAIRS
    for person in PEOPLE:
        folder = root / FOLDER / f"subject{person}"
        between = "" if person == 1 else "_"
        paths = {c: [*numbered(folder / f"subject{person}{between}{c}").values()] for c in CAMERAS}
        least = min(map(len, paths.values()))
        if least < len(MARKS_XY[person]):
            raise InputError.of(str(folder), f"{least} pictures", f"{len(MARKS_XY[person])} of each camera", _FIX)
        for number, marks in enumerate(MARKS_XY[person]):
            images = {c: read_colour(paths[c][number], (SIDE_PX, SIDE_PX), _FIX) for c in CAMERAS}
            depths = {names: stereo[names].depth(*(images[c] for c in names)) for names in PAIRS}
            centre = head_center_mm(marks, depths[middle], pairs[middle].first)
            link = pairs[left]
            centres = {left: link.turn.T @ (centre - link.place), middle: centre}
            for names in PAIRS:
                lens = pairs[names].first
                x, y, z = lens.matrix @ centres[names]
                picture = cv2.undistort(images[names[0]], lens.matrix, lens.distortion)
                items.append({
                    **write_pair(out, f"{person}_{number}_{names[0].lower()}", picture, depths[names]),
                    "person": str(person),
                    "head_center_xy": [round(x / z + 0.5, 2), round(y / z + 0.5, 2)],
                    "fx": round(lens.matrix[0, 0], 3), "fy": round(lens.matrix[1, 1], 3),
                    "cx": round(lens.matrix[0, 2] + 0.5, 3), "cy": round(lens.matrix[1, 2] + 0.5, 3),
                })  # fmt: skip
    return write_frames(out, items)


def main(arguments: list[str] | None = None) -> int:
    """Convert as the command line says; returns the exit status."""
    cv2.setNumThreads(1)
    return run_converter("three_cameras", "anloro/IPCV-3D-Face-Reconstruction", convert, arguments)


if __name__ == "__main__":
    sys.exit(main())
