# SPDX-License-Identifier: Apache-2.0
"""A model beside MediaPipe FaceMesh on frames of a depth camera, inside FaceMesh's mesh.

    .venv-mp/bin/python benchmarks/face_mesh.py --recording recording --out meshes.npz   # see there
    python -m benchmarks.rgbd_meshes recording --meshes meshes.npz --model edge

The frames are those of benchmarks/rgbd_frames.py, and so are the measured pixels, of which only those count that the
mesh covers: forehead, eyes, nose, mouth, cheeks and chin. FaceMesh's z has its own origin and x's scale, taken at the
head's distance, and is depth along the ray to the head: both results are compared after the offset, along the axis.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.face_mesh import rasterised
from benchmarks.rgbd_frames import LEAST_PIXELS, Comparison, compare_all, read_frames
from facedepth_edge.errors import InputError
from facedepth_edge.ray_depth import along_axis, ray_of
from train.command import Outcome, run_command
from train.face_ellipse import beside_plane, planes_over
from train.units import HALF_RANGE_MM

_FIX = "Write it with benchmarks/face_mesh.py --recording, see there."


@dataclass(frozen=True)
class Beside:
    """A model's and FaceMesh's scores on one frame; each pair has the model first.

    Args:
        person: whom the frame shows.
        covered: the share of the measured face that the mesh covers.
        correlation: Pearson's, with the measured depth.
        error_mm: mean absolute, after the offset.
        shape_error_mm: the same beside the plane through each one's own errors.
    """

    person: str
    covered: float
    correlation: tuple[float, float]
    error_mm: tuple[float, float]
    shape_error_mm: tuple[float, float]


def read_meshes(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read what benchmarks/face_mesh.py wrote for a recording.

    Returns:
        By the image, as frames.json names it, (468, 3) float64 x, y and z in the frame's pixels, z farther is larger;
        (T, 3) triangles.

    Raises:
        InputError: the file is missing, no such archive, or its arrays do not fit each other.
    """
    try:
        with path.open("rb") as opened, np.load(opened) as file:  # which NumPy leaves open where it is no archive
            names, points, triangles = file["name"], file["points_px"].astype(np.float64), file["triangles"]
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        needed = "an archive of name, points_px and triangles"
        raise InputError.of(str(path), f"{type(error).__name__}: {error}", needed, _FIX) from error
    fits = points.ndim == 3 and points.shape[0] == len(names) and points.shape[2] == 3
    fits = fits and len(set(names.tolist())) == len(names)
    fits = fits and triangles.ndim == 2 and triangles.shape[1] == 3 and len(triangles) > 0
    fits = fits and 0 <= int(triangles.min()) <= int(triangles.max()) < points.shape[1]
    if not fits:
        got = f"{len(names)} names, points_px {points.shape}, triangles {triangles.shape}"
        raise InputError.of(str(path), got, "n different names, (n, points, 3) and (T, 3)", _FIX)
    return dict(zip(names.tolist(), points, strict=True)), triangles


def mesh_depth_mm(one: Comparison, points_px: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Draw a mesh in a result's pixels.

    Args:
        one: of the mesh's frame.
        points_px: (P, 3) in the frame's pixels.
        triangles: (T, 3) indices.

    Returns:
        (h, w) float64 mm along the optical axis, with its mean at the head's distance, NaN beside the mesh.
    """
    box, (height, width) = one.result.box, one.result.depth_mm.shape
    distance_mm, camera = one.result.distance_mm, one.frame.camera
    across = (points_px[:, 0] - box.x0) / box.width * width
    down = (points_px[:, 1] - box.y0) / box.height * height
    z_mm = (points_px[:, 2] - points_px[:, 2].mean()) * distance_mm / camera.fx
    drawn = rasterised(np.stack([across, down], axis=1), z_mm, triangles, max(height, width))[:height, :width]
    ray = ray_of(one.frame.head_center_xy, camera, one.result.frame_hw)
    reach = (box.width / camera.fx * distance_mm, box.height / camera.fy * distance_mm)
    relative = along_axis((drawn / HALF_RANGE_MM).astype(np.float32), ray, distance_mm, HALF_RANGE_MM, reach)
    return relative.astype(np.float64) * HALF_RANGE_MM + distance_mm


def beside(one: Comparison, points_px: np.ndarray, triangles: np.ndarray) -> Beside | None:
    """Score a result and a mesh on the measured pixels of the face that the mesh covers.

    Args:
        one: the result beside what was measured.
        points_px: (P, 3) in the frame's pixels.
        triangles: (T, 3) indices.

    Returns:
        The scores; None where fewer than LEAST_PIXELS of those pixels are left, or a depth is the same in all.
    """
    mesh = mesh_depth_mm(one, points_px, triangles)
    both = one.face & np.isfinite(mesh)
    measured, model = one.measured_mm[both], one.result.depth_mm[both].astype(np.float64)
    if both.sum() < LEAST_PIXELS or min(np.ptp(measured), np.ptp(model), np.ptp(mesh[both])) == 0:
        return None
    planes, scored = planes_over(both), []
    for depth in (model, mesh[both]):
        error = depth - measured
        error -= error.mean()
        _, shape = beside_plane(error, planes)
        scored.append((float(np.corrcoef(depth, measured)[0, 1]), np.abs(error).mean(), np.abs(shape).mean()))
    correlation, error_mm, shape_error_mm = ((float(a), float(b)) for a, b in zip(*scored, strict=True))
    return Beside(one.frame.person, float(both.sum() / one.face.sum()), correlation, error_mm, shape_error_mm)


def table(found: Sequence[Beside], frames: int, answered: int) -> str:
    """Write the means over each person's frames and over all frames as a table in Markdown.

    Args:
        found: the scores, at least one.
        frames: how many frames there were.
        answered: in how many of them FaceMesh found a face.
    """
    heads = ("", "frames", "covered", "model: r", "error (mm)", "beside a plane (mm)", "FaceMesh: r", "error (mm)",
             "beside a plane (mm)")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    people = sorted({one.person for one in found})
    groups = [(person, [one for one in found if one.person == person]) for person in people]
    for name, own in [*groups, ("all frames", list(found))]:
        covered = np.mean([one.covered for one in own])
        scored = np.mean([(one.correlation, one.error_mm, one.shape_error_mm) for one in own], axis=0).T
        both = " | ".join(f"{r:.3f} | {error:.2f} | {shape:.2f}" for r, error, shape in scored)
        lines.append(f"| {name} | {len(own)} | {covered:.0%} | {both} |")
    lines.append(f"\n{frames} frames; FaceMesh found a face in {answered}; {len(found)} compared.")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Compare as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rgbd_meshes",
                                     description="A model and FaceMesh on measured depth")  # fmt: skip
    parser.add_argument("folder", type=Path, help="of the recording, with frames.json")
    parser.add_argument("--meshes", type=Path, required=True, help="from benchmarks/face_mesh.py --recording")
    parser.add_argument("--model", default="edge", help="name or folder of an artifact (%(default)s)")
    parser.add_argument("--precision", default="auto", help="of the network (%(default)s)")
    chosen = parser.parse_args(arguments)

    def work() -> Outcome:
        frames = read_frames(chosen.folder)
        meshes, triangles = read_meshes(chosen.meshes)
        answered = [frame for frame in frames if frame.name in meshes]
        compared = compare_all(answered, chosen.model, chosen.precision)
        scored = (beside(one, meshes[one.frame.name], triangles) for one in compared)
        found = [one for one in scored if one is not None]
        if not found:
            got = f"{len(frames)} frames, {len(answered)} of them in {chosen.meshes}, none to compare"
            raise InputError.of(str(chosen.folder), got, "some", "Give the meshes of this recording.")
        return Outcome(table(found, len(frames), len(answered)))

    return run_command("python -m benchmarks.rgbd_meshes", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
