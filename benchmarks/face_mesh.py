# SPDX-License-Identifier: Apache-2.0
"""Depth from MediaPipe FaceMesh: on a set's crops, as predictions for `python -m train.evaluate`, on photographs, and
on recordings of depth cameras.

MediaPipe 0.10.21's wheel carries its face detector and mesh models and needs NumPy below 2, so this file runs in a
virtual environment of its own and imports nothing of this project:

    python3 -m venv .venv-mp && .venv-mp/bin/pip install mediapipe==0.10.21
    .venv-mp/bin/python benchmarks/face_mesh.py --data data/heads --split test --out face_mesh.npz
    python -m train.evaluate --model models/edge --data data/heads --split test --predictions FaceMesh=face_mesh.npz
    .venv-mp/bin/python benchmarks/face_mesh.py --photographs photos --out meshes.npz   # for benchmarks/photographs.py
    .venv-mp/bin/python benchmarks/face_mesh.py --recording recording --out meshes.npz  # for benchmarks/rgbd_meshes.py

Of a set FaceMesh sees the whole crop (480 mm at the head's distance), enlarged four times; of a recording's frame
CROP_MM about the head centre, CROP_PX pixels wide. Its z has x's scale, with its own origin: only depth after the
offset can be compared, and only inside its mesh, which ends at forehead, cheeks and chin. It knows nothing of where the
crop lay in a frame, so its depth is taken as along the ray to the head.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ENLARGE = 4
HALF_RANGE_MM = 160.0
SEQUENCES_PER_SUBJECT = 5
MESH_POINTS = 468
LONGEST_PX = 1600
PHOTOGRAPH_FACES = 2
CROP_MM, CROP_PX = 480.0, 384
PATCH_PX = 6
SETTINGS = {"static_image_mode": True, "min_detection_confidence": 0.3}


def triangles_from_edges(edges: set[tuple[int, int]]) -> np.ndarray:
    """Find the mesh's triangles, (T, 3) int64: the 3-cycles of its edges without those that go around others."""
    neighbours: dict[int, set[int]] = {}
    for a, b in edges:
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    found: set[tuple[int, int, int]] = set()
    for a, around in neighbours.items():
        for b, c in itertools.combinations(sorted(around), 2):
            if c in neighbours[b]:
                low, middle, high = sorted((a, b, c))
                found.add((low, middle, high))
    return np.array(sorted(found - _around_a_hole(found)))


def _around_a_hole(triangles: set[tuple[int, int, int]]) -> set[tuple[int, int, int]]:
    """Find the cycles that no face fills: each of their edges has two triangles beside them."""
    beside: dict[tuple[int, int], int] = {}
    for triangle in triangles:
        for edge in itertools.combinations(triangle, 2):
            beside[edge] = beside.get(edge, 0) + 1
    return {triangle for triangle in triangles if all(beside[edge] > 2 for edge in itertools.combinations(triangle, 2))}


def rasterised(points_px: np.ndarray, z_mm: np.ndarray, triangles: np.ndarray, size_px: int) -> np.ndarray:
    """Draw the mesh's nearest surface.

    Args:
        points_px: (P, 2) x and y in output pixels, pixel i covering [i, i + 1).
        z_mm: (P,) depth, farther is larger.
        triangles: (T, 3) indices.
        size_px: side of the output.

    Returns:
        (size, size) float32 mm at the pixels' centres, NaN beside the mesh.
    """
    out = np.full((size_px, size_px), np.inf, np.float32)
    for corners in triangles:
        (ax, ay), (bx, by), (cx, cy) = points_px[corners]
        twice_area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        left, right = int(max(min(ax, bx, cx) - 0.5, 0)), int(min(max(ax, bx, cx) + 0.5, size_px - 1))
        top, low = int(max(min(ay, by, cy) - 0.5, 0)), int(min(max(ay, by, cy) + 0.5, size_px - 1))
        if abs(twice_area) < 1e-9 or right < left or low < top:
            continue
        x, y = np.arange(left, right + 1) + 0.5, (np.arange(top, low + 1) + 0.5)[:, None]
        v = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / twice_area
        w = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / twice_area
        za, zb, zc = z_mm[corners]
        depth = za + v * (zb - za) + w * (zc - za)
        inside = (v >= 0) & (w >= 0) & (v + w <= 1)
        region = out[top : low + 1, left : right + 1]
        np.minimum(region, np.where(inside, depth, np.inf), out=region)
    out[np.isinf(out)] = np.nan
    return out


def read_photograph(path: Path) -> np.ndarray | None:
    """Read a picture as both programs see it: (H, W, 3) uint8 BGR, no side above LONGEST_PX; None: not a picture."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        return None
    shrink = min(1.0, LONGEST_PX / max(image.shape[:2]))
    size = (round(image.shape[1] * shrink), round(image.shape[0] * shrink))
    return image if shrink == 1.0 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def photograph_meshes(folder: Path, out: Path) -> int:
    """Run FaceMesh over a folder of pictures and write `name` (n,) and `points_px` (n, 468, 3); returns the status."""
    import mediapipe

    names, meshes = [], []
    with mediapipe.solutions.face_mesh.FaceMesh(**SETTINGS, max_num_faces=PHOTOGRAPH_FACES) as mesh:
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            image = read_photograph(path)
            if image is None:
                continue
            height, width = image.shape[:2]
            found = mesh.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).multi_face_landmarks
            for face in found or []:
                marks = np.array([(m.x, m.y, m.z) for m in face.landmark])[:MESH_POINTS]
                names.append(path.name)
                meshes.append(marks * (width, height, width))
    if not names:
        print(f"{folder}: got no face, expected pictures of some. Check the folder.", file=sys.stderr)
        return 1
    np.savez_compressed(out, name=np.array(names), points_px=np.stack(meshes).astype(np.float32))
    print(f"{len(names)} faces in {len(set(names))} pictures, {out}")
    return 0


def measured_distance_mm(item: Mapping[str, Any], depth: np.ndarray) -> float:
    """Return how far a recording's head is in mm: what its entry says, else the median measured about its centre.

    Args:
        item: the frame's entry in `frames.json`.
        depth: (H, W) uint16 mm, 0 where nothing was measured.

    Returns:
        The distance, NaN where nothing is measured within PATCH_PX pixels of the centre.
    """
    if "distance_mm" in item:
        return float(item["distance_mm"])
    x, y = (int(value) for value in item["head_center_xy"])
    rows, columns = (slice(max(value - PATCH_PX, 0), max(value + PATCH_PX + 1, 0)) for value in (y, x))
    patch = depth[rows, columns]
    return float(np.median(patch[patch > 0])) if (patch > 0).any() else float("nan")


def crop_about(image: np.ndarray, center_xy: Sequence[float], side_px: float) -> tuple[np.ndarray, float]:
    """Cut a square out of a picture; pixel i covers [i, i + 1), as in this file's other inputs.

    Args:
        image: (H, W, 3).
        center_xy: of the square, in pixels.
        side_px: of the square, in the picture's pixels.

    Returns:
        (CROP_PX, CROP_PX, 3), black outside the picture, and the width of a pixel of the picture in pixels of the crop.
    """
    scale = CROP_PX / side_px
    shift = [CROP_PX / 2 - scale * value + (scale - 1) / 2 for value in center_xy]  # from pixels' centres to centres
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return cv2.warpAffine(image, matrix, (CROP_PX, CROP_PX), flags=cv2.INTER_CUBIC), scale


def recording_meshes(folder: Path, out: Path) -> int:
    """Run FaceMesh over a recording (benchmarks/rgbd_frames.py); writes meshes in its frames' pixels; the status."""
    import mediapipe

    triangles = triangles_from_edges(mediapipe.solutions.face_mesh_connections.FACEMESH_TESSELATION)
    names, meshes = [], []
    items, unmeasured = json.loads((folder / "frames.json").read_text(encoding="utf-8")), 0
    with mediapipe.solutions.face_mesh.FaceMesh(**SETTINGS, max_num_faces=1) as mesh:
        for item in items:
            image, depth = (
                cv2.imread(str(folder / item[key]), flag)
                for key, flag in (("image", cv2.IMREAD_COLOR), ("depth", cv2.IMREAD_UNCHANGED))
            )
            if image is None or depth is None:
                missing = item["image"] if image is None else item["depth"]
                print(f"{folder / missing}: got no picture, expected one. Check frames.json.", file=sys.stderr)
                return 1
            distance_mm = measured_distance_mm(item, depth)
            if not np.isfinite(distance_mm):
                unmeasured += 1
                continue
            center = item["head_center_xy"]
            crop, scale = crop_about(image, center, CROP_MM * item["fx"] / distance_mm)
            found = mesh.process(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)).multi_face_landmarks
            if not found:
                continue
            marks = np.array([(m.x, m.y, m.z) for m in found[0].landmark])[:MESH_POINTS] * CROP_PX
            names.append(item["image"])
            meshes.append((marks - [CROP_PX / 2, CROP_PX / 2, 0]) / scale + [*center, 0])
    if not names:
        got = f"no face in {len(items)} frames, {unmeasured} of them without a distance"
        print(f"{folder}: got {got}, expected some. Check the recording.", file=sys.stderr)
        return 1
    points = np.stack(meshes).astype(np.float32)
    np.savez_compressed(out, name=np.array(names), points_px=points, triangles=triangles)
    print(f"{len(names)} of {len(items)} frames answered, in {unmeasured} no distance is known, {out}")
    return 0


def main() -> int:
    """Run FaceMesh over a split or a folder and write what it found; returns the exit status."""
    parser = argparse.ArgumentParser(description="FaceMesh's depth on a set's crops, or its meshes")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path)
    source.add_argument("--photographs", type=Path, help="folder of pictures")
    source.add_argument("--recording", type=Path, help="folder with frames.json, see benchmarks/rgbd_frames.py")
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    if chosen.photographs is not None:
        return photograph_meshes(chosen.photographs, chosen.out)
    if chosen.recording is not None:
        return recording_meshes(chosen.recording, chosen.out)
    import mediapipe

    info = json.loads((chosen.data / "dataset.json").read_text(encoding="utf-8"))
    side_px, margin, reach_mm = info["crop_px"], info["margin"], info["reach_mm"]
    box_px = round(side_px / margin)
    triangles = triangles_from_edges(mediapipe.solutions.face_mesh_connections.FACEMESH_TESSELATION)
    frames, depths, asked = [], [], 0
    with mediapipe.solutions.face_mesh.FaceMesh(**SETTINGS, max_num_faces=1) as mesh:
        for subject in info["subjects"][chosen.split]:
            for sequence in range((subject - 1) * SEQUENCES_PER_SUBJECT + 1, subject * SEQUENCES_PER_SUBJECT + 1):
                for path in sorted((chosen.data / f"{sequence:03d}").glob("frame_*_face_rgb.png")):
                    asked += 1
                    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
                    large = cv2.resize(image, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
                    found = mesh.process(cv2.cvtColor(large, cv2.COLOR_BGR2RGB)).multi_face_landmarks
                    if not found:
                        continue
                    marks = np.array([(m.x, m.y, m.z) for m in found[0].landmark])[:MESH_POINTS]
                    points_px = marks[:, :2] * side_px - (side_px - box_px) / 2
                    depth_mm = rasterised(points_px, marks[:, 2] * margin * reach_mm, triangles, box_px)
                    frames.append(f"{sequence:03d}/{path.name.split('_')[1]}")
                    depths.append(depth_mm / HALF_RANGE_MM)
    if not frames:
        print(f"{chosen.data}: got no face in {asked} frames, expected some. Check the set.", file=sys.stderr)
        return 1
    depth = np.stack(depths).astype(np.float32)
    np.savez_compressed(chosen.out, frame=np.array(frames), depth=depth, along="ray")
    print(f"{len(frames)} of {asked} frames answered, {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
