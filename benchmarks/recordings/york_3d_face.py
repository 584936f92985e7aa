# SPDX-License-Identifier: Apache-2.0
"""Turns stereo scans of 243 people into a folder that benchmarks.rgbd_frames measures.

    git clone https://github.com/3D-face-recognition/3D-Face-Recongnition
    python -m benchmarks.recordings.york_3d_face 3D-Face-Recongnition recording

The repository's 3DFER/UoY has a copy of two captures each of the University of York's 3-D face database: `-08-`, most
of them smiling, and `-10-`, most of them frowning, 1.4 to 2.0 m away, nearly frontal. A `.bmp` is a gray photograph,
1024 x 1320; the `.obj` of the same name is the surface in mm, about 4 mm from vertex to vertex, smoothed; it has holes
at glasses, brows and hair, and loose false patches. Texture coordinates are the vertices' places in the photograph, so
they tell the camera: CAMERAS_PX has the two that all captures were taken with, fitted once to many captures each.

york_3d_face.csv has the head centres, 0.06 head widths below the midpoint of MediaPipe FaceMesh's two points nearest
to the tragi, as in benchmarks/photographs.py, of the 396 captures whose largest patch has LEAST_VERTICES and lies where
the camera sees it (RESIDUAL_PX). Taken are those in which something was measured about the head centre: 395 of 218
people. frames.json has the groups that a capture's name tells: 00024-08-mww28nnngy is person 24, a man whose origin
the database codes as ww, 28 years old, without a beard, without glasses. Pictures and depth are half as large as
published.

Convention: pixel i of a picture covers [i, i + 1).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import cv2
import numpy as np

from benchmarks.recordings.converter import run_converter, write_frames, write_pair
from benchmarks.recordings.marks import read_marks
from facedepth_edge.errors import InputError
from train.data.strict_files import read_plane, read_text

FOLDER = Path("3DFER/UoY")
SIZE_HW = (1320, 1024)
SHRINK = 2
# Pixels times depth, and depth in mm, of a place (x, y, z, 1) in mm: y up, z towards the camera.
CAMERAS_PX = (
    (  # people up to 101
        (5262.3838, -10.4722, -512.0068, 472259.396),
        (3.2986, -5269.0672, -659.6473, 1783706.304),
        (0.00758721, -0.02113339, -0.99974788, 1591.2128),
    ),
    (  # from 103
        (5870.9009, -4.0882, -512.3399, 364485.434),
        (6.1697, -5869.1864, -660.2396, 1782036.463),
        (0.00926619, -0.00814394, -0.9999239, 1701.3341),
    ),
)
LAST_OF_FIRST_CAMERA = 101
LEAST_VERTICES = 1500
RESIDUAL_PX = 0.6  # median; of another camera it would be tens of pixels
WINDOW_PX = 34  # half of the square about the head centre: 20 mm
LEAST_COSINE = 0.2  # of the angle between a triangle's normal and its ray: steeper ones bridge gaps
MARKS = Path(__file__).with_suffix(".csv")
_FIX = "Clone the repository again; see the text of the converter."


def read_surface(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a capture's surface.

    Returns:
        Vertices (V, 3) float64 mm; their places in the photograph (V, 2) float64 pixels, NaN where no triangle uses
        them; triangles (T, 3) int64.

    Raises:
        InputError: the file is missing, or a line of it is not as it should be.
    """
    points: list[list[float]] = []
    places: list[list[float]] = []
    corners: list[list[str]] = []
    for number, line in enumerate(read_text(path, "a surface", _FIX).splitlines(), 1):
        kind, *values = line.split() or ["#"]
        try:
            if kind == "v":
                points.append([float(value) for value in values[:3]])
            elif kind == "vt":
                places.append([float(value) for value in values[:2]])
            elif kind == "f":
                corners.append(values)
        except ValueError as error:
            raise InputError.of(f"{path}, line {number}", str(error), "numbers", _FIX) from error
    pairs = [re.fullmatch(r"(\d+)/(\d+)(?:/\d*)?", corner) for face in corners for corner in face]
    if not points or any(len(face) != 3 for face in corners) or not all(pairs):
        raise InputError.of(str(path), "another kind of file", "triangles with texture coordinates", _FIX)
    indices = np.array([[int(pair[1]), int(pair[2])] for pair in pairs if pair]).reshape(-1, 3, 2) - 1
    vertices, uv = np.array(points), np.array(places).reshape(-1, 2)
    if (indices.max(axis=(0, 1), initial=-1) >= (len(vertices), len(uv))).any() or (indices < 0).any():
        raise InputError.of(str(path), "a triangle of points that are not there", "indices of its own points", _FIX)
    seen = np.full((len(vertices), 2), np.nan)
    seen[indices[..., 0]] = (uv * [1, -1] + [0, 1])[indices[..., 1]] * SIZE_HW[::-1]
    return vertices, seen, indices[..., 0]


def largest_patch(triangles: np.ndarray, vertices: int) -> np.ndarray:
    """Return which vertices (V,) bool belong to the patch of connected triangles with the most of them."""
    patch = np.arange(vertices)
    while True:
        lowest = patch.copy()
        np.minimum.at(lowest, triangles.ravel(), patch[triangles].min(axis=1).repeat(3))
        lowest = lowest[lowest]
        if np.array_equal(lowest, patch):
            return patch == np.bincount(patch).argmax()
        patch = lowest


def projected(camera: np.ndarray, points_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where a camera (3, 4) sees points (P, 3), in pixels (P, 2), and their depth (P,) in mm."""
    seen = points_mm @ camera[:, :3].T + camera[:, 3]
    return seen[:, :2] / seen[:, 2:], seen[:, 2]


def depth_image(places_px: np.ndarray, z_mm: np.ndarray, triangles: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Draw the nearest surface.

    Args:
        places_px: (V, 2) of the vertices.
        z_mm: (V,) their depth.
        triangles: (T, 3).
        size_hw: of the image.

    Returns:
        (H, W) uint16 mm at the pixels' centres, 0 beside the surface.
    """
    nearest = np.full(size_hw, np.inf)
    low = np.maximum(np.floor(places_px[triangles].min(axis=1) - 0.5).astype(int) + 1, 0)
    high = np.minimum(np.floor(places_px[triangles].max(axis=1) - 0.5).astype(int), np.array(size_hw[::-1]) - 1)
    for corners, (left, top), (right, bottom) in zip(triangles, low, high, strict=True):
        if left > right or top > bottom:
            continue
        origin, across, along = places_px[corners[0]], *(places_px[corners[1:]] - places_px[corners[0]])
        area = across[0] * along[1] - across[1] * along[0]
        if area == 0:
            continue
        x = np.arange(left, right + 1) + 0.5 - origin[0]
        y = (np.arange(top, bottom + 1) + 0.5 - origin[1])[:, None]
        v, w = (x * along[1] - y * along[0]) / area, (y * across[0] - x * across[1]) / area
        first, second, third = 1 / z_mm[corners]  # what is linear in a picture
        z = 1 / (first + v * (second - first) + w * (third - first))
        region = nearest[top : bottom + 1, left : right + 1]
        np.minimum(region, np.where((v >= 0) & (w >= 0) & (v + w <= 1), z, np.inf), out=region)
    return np.where(np.isinf(nearest), 0, np.rint(nearest)).astype(np.uint16)


def facing(points_mm: np.ndarray, triangles: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Return the triangles (T', 3) that the camera does not see all but edge-on."""
    corners = points_mm[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    rays = corners.mean(axis=1) + np.linalg.solve(camera[:, :3], camera[:, 3])
    lengths = np.linalg.norm(normals, axis=1) * np.linalg.norm(rays, axis=1)
    return triangles[np.abs((normals * rays).sum(axis=1)) > LEAST_COSINE * lengths]


def groups_of(capture: str) -> dict[str, str]:
    """Return what a capture's name says of whom it shows, by kind.

    Raises:
        InputError: it is no name of the database's form.
    """
    found = re.fullmatch(r"\d{5}-(08|10)-([mf])([a-z]{2})(\d\d)([bn])([gn])[a-z]{3}", capture)
    if found is None:
        raise InputError.of(str(MARKS), capture, "a name such as 00024-08-mww28nnngy", "Restore the file.")
    kind, sex, origin, age, beard, glasses = found.groups()
    groups = {
        "capture": {"08": "mostly smiling", "10": "mostly frowning"}[kind],
        "sex": {"m": "man", "f": "woman"}[sex],
        "origin as coded": "ww" if origin == "ww" else "another",
        "beard": {"b": "yes", "n": "no"}[beard],
        "glasses": {"g": "yes", "n": "no"}[glasses],
    }
    if age != "00":
        groups["age"] = "up to 24" if int(age) < 25 else "25 to 39" if int(age) < 40 else "40 and more"
    return groups


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
    size_hw = (SIZE_HW[0] // SHRINK, SIZE_HW[1] // SHRINK)
    for capture, head_center_xy in read_marks(MARKS).items():
        person = int(capture[:5])
        camera = np.array(CAMERAS_PX[int(person > LAST_OF_FIRST_CAMERA)])
        points_mm, seen_px, triangles = read_surface(root / FOLDER / f"{capture}.obj")
        belongs = largest_patch(triangles, len(points_mm))
        places_px, z_mm = projected(camera, points_mm)
        residual_px = float(np.nanmedian(np.linalg.norm(places_px - seen_px, axis=1)[belongs]))
        if belongs.sum() < LEAST_VERTICES or not residual_px < RESIDUAL_PX:
            got = f"a patch of {belongs.sum()} vertices, {residual_px:.1f} pixels off"
            raise InputError.of(str(root / FOLDER / f"{capture}.obj"), got, "the surface as published", _FIX)
        triangles = facing(points_mm, triangles[belongs[triangles[:, 0]]], camera)
        picture = read_plane(root / FOLDER / f"{capture}.bmp", np.uint8, SIZE_HW, _FIX)
        depth = depth_image(places_px / SHRINK, z_mm, triangles, size_hw)
        x, y = (round(place) for place in head_center_xy)
        if not depth[y - WINDOW_PX : y + WINDOW_PX, x - WINDOW_PX : x + WINDOW_PX].any():
            continue
        pair = write_pair(out, capture, cv2.resize(picture, size_hw[::-1], interpolation=cv2.INTER_AREA), depth)
        intrinsics = cv2.decomposeProjectionMatrix(camera)[0]
        fx, fy, cx, cy = (abs(float(intrinsics[i])) / SHRINK for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
        items.append({
            **pair, "person": str(person), "head_center_xy": list(head_center_xy),
            "fx": round(fx, 2), "fy": round(fy, 2), "cx": round(cx, 2), "cy": round(cy, 2),
            "groups": groups_of(capture),
        })  # fmt: skip
    return write_frames(out, items)


def main(arguments: list[str] | None = None) -> int:
    """Convert as the command line says; returns the exit status."""
    return run_converter("york_3d_face", "3D-face-recognition/3D-Face-Recongnition", convert, arguments)


if __name__ == "__main__":
    sys.exit(main())
