# SPDX-License-Identifier: Apache-2.0
"""How far a model and MediaPipe FaceMesh are apart on photographs of people, whose depth nobody measured.

    .venv-mp/bin/python benchmarks/face_mesh.py --photographs photos --out meshes.npz   # see there
    python -m benchmarks.photographs photos --meshes meshes.npz --model edge --sheet sheet.jpg

Neither of the two is the truth: FaceMesh is off by about 4 mm and a few degrees itself. But it learnt from photographs
and the model from rendered heads, so that a model that is worse on real faces shows here. Both take the head's place
from the mesh. A photograph's lens is unknown and mostly long: the camera is FOCAL_PER_SIDE frames long, so that depth
along the ray and along the axis are nearly the same.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.face_mesh import read_photograph
from facedepth_edge import Camera, DepthResult, EdgeDepth
from facedepth_edge.errors import InputError
from facedepth_edge.head import HEAD_WIDTH_MM
from facedepth_edge.picture import draw_result
from train.command import Outcome, run_command
from train.face_ellipse import beside_plane
from train.image_files import write_image
from train.units import HALF_RANGE_MM

FOCAL_PER_SIDE = 3.0
RIGHT_TRAGUS, LEFT_TRAGUS = 234, 454  # the mesh's points nearest to them
TRAGUS_BELOW = 0.06  # how far the tragi lie below those points, in head widths
LEAST_POINTS = 100
PANEL_PX = 760


@dataclass(frozen=True)
class Difference:
    """How far a result and a mesh are apart on one face.

    Args:
        mean_mm: mean absolute difference over the mesh's points, after the offset.
        correlation: Pearson's, of the two depths over the points.
        yaw_deg: how much further the model turns the face, as a plane through the differences.
        pitch_deg: the same about the horizontal axis; above 0 the model has the chin farther away.
        shape_mm: mean absolute difference beside that plane.
    """

    mean_mm: float
    correlation: float
    yaw_deg: float
    pitch_deg: float
    shape_mm: float


def head_from_mesh(points_px: np.ndarray) -> tuple[tuple[float, float], float]:
    """Return the head centre in pixels and the head's width in pixels of a mesh, (468, 3) px."""
    right, left = points_px[RIGHT_TRAGUS], points_px[LEFT_TRAGUS]
    width_px = float(np.linalg.norm(left - right))
    x, y = (right[:2] + left[:2]) / 2
    return (float(x), float(y) + TRAGUS_BELOW * width_px), width_px


def difference(result: DepthResult, points_px: np.ndarray) -> Difference | None:
    """Compare a result with a mesh.

    Args:
        result: of the frame that the mesh is of.
        points_px: (468, 3) x, y and z in pixels, z with its own origin, farther is larger.

    Returns:
        The difference; None where fewer than LEAST_POINTS of the mesh's points lie in the result's mask.
    """
    _, width_px = head_from_mesh(points_px)
    mm_per_px = HEAD_WIDTH_MM / width_px
    height, width = result.relative.shape
    column = np.floor((points_px[:, 0] - result.box.x0) / result.box.width * width).astype(int)
    row = np.floor((points_px[:, 1] - result.box.y0) / result.box.height * height).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    inside[inside] = result.mask[row[inside], column[inside]]
    if inside.sum() < LEAST_POINTS:
        return None
    model = result.relative[row[inside], column[inside]].astype(np.float64) * HALF_RANGE_MM
    mesh = points_px[inside, 2].astype(np.float64) * mm_per_px
    error = (model - model.mean()) - (mesh - mesh.mean())
    across, down = ((points_px[inside, axis] - points_px[inside, axis].mean()) * mm_per_px for axis in (0, 1))
    slopes, shape = beside_plane(error, np.stack([across, down], axis=1))
    yaw_deg, pitch_deg = np.degrees(np.arctan(slopes))
    return Difference(
        mean_mm=float(np.abs(error).mean()),
        correlation=float(np.corrcoef(model, mesh)[0, 1]),
        yaw_deg=float(yaw_deg),
        pitch_deg=float(pitch_deg),
        shape_mm=float(np.abs(shape).mean()),
    )


def table(found: list[Difference], faces: int, valid: int) -> str:
    """Return the figures over all faces as a table in Markdown."""
    mean, correlation, yaw, pitch, shape = np.array([list(vars(one).values()) for one in found]).T
    rows = {
        "faces; compared; called valid": f"{faces}; {len(found)}; {valid}",
        "mean difference after the offset, mm: mean, median, 90th percentile": f"{mean.mean():.2f}, "
        f"{np.median(mean):.2f}, {np.percentile(mean, 90):.2f}",
        "correlation: mean, median": f"{correlation.mean():.3f}, {np.median(correlation):.3f}",
        "yaw, degrees: mean, standard deviation": f"{yaw.mean():+.1f}, {yaw.std():.1f}",
        "pitch, degrees: mean, standard deviation": f"{pitch.mean():+.1f}, {pitch.std():.1f}",
        "mean difference beside yaw and pitch, mm": f"{shape.mean():.2f}",
    }
    return "\n".join(["| model and FaceMesh apart by | |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())])


def compare(folder: Path, meshes: Path, model: str, sheet: Path | None, focal_per_side: float = FOCAL_PER_SIDE) -> str:
    """Run a model over the faces of a file of meshes.

    Args:
        folder: of the pictures.
        meshes: what benchmarks/face_mesh.py wrote for it.
        model: name or folder of an artifact.
        sheet: a picture of all results to write, or None.
        focal_per_side: the cameras' focal length over the longer side of their pictures.

    Returns:
        The table.

    Raises:
        InputError: a picture is missing, or no face can be compared.
    """
    if not meshes.is_file():
        fix = "Write it by benchmarks/face_mesh.py --photographs."
        raise InputError.of(str(meshes), "no such file", "the .npz of the meshes", fix)
    with np.load(meshes) as file:
        names, points_px = file["name"], file["points_px"].astype(np.float64)
    found, valid, panels = [], 0, []
    for name, points in zip(names.tolist(), points_px, strict=True):
        frame = read_photograph(folder / name)
        if frame is None:
            raise InputError.of(str(folder / name), "no picture", "the one of the mesh", "Give the folder of --meshes.")
        focal_px = focal_per_side * max(frame.shape[:2])
        head_center, width_px = head_from_mesh(points)
        with EdgeDepth(model, camera=Camera(focal_px, focal_px)) as edge:
            result = edge.predict(frame, head_center, head_width_px=width_px)
        valid += result.valid
        apart = difference(result, points)
        if apart is not None:
            found.append(apart)
        if sheet is not None:
            drawn = draw_result(result, frame)
            size = (PANEL_PX, round(drawn.shape[0] * PANEL_PX / drawn.shape[1]))
            panels.append(cv2.resize(drawn, size, interpolation=cv2.INTER_AREA))
    if not found:
        raise InputError.of(str(meshes), f"{len(names)} faces, none to compare", "some", "Look at the pictures.")
    if sheet is not None:
        tall = max(panel.shape[0] for panel in panels)
        panels = [np.pad(panel, ((0, tall - panel.shape[0]), (0, 0), (0, 0))) for panel in panels]
        panels += [np.zeros_like(panels[0])] * (len(panels) % 2)
        write_image(sheet, np.vstack([np.hstack(panels[i : i + 2]) for i in range(0, len(panels), 2)]))
    return table(found, len(names), valid)


def main(arguments: list[str] | None = None) -> int:
    """Compare as the command line says.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.photographs", description="A model and MediaPipe FaceMesh on photographs of people"
    )
    parser.add_argument("folder", type=Path, help="of the pictures")
    parser.add_argument("--meshes", type=Path, required=True, help="from benchmarks/face_mesh.py --photographs")
    parser.add_argument("--model", default="edge", help="name or folder of an artifact")
    parser.add_argument("--sheet", type=Path, default=None, help="write a picture of all results, to look at")
    parser.add_argument("--focal-per-side", type=float, default=FOCAL_PER_SIDE,
                        help=f"focal length over the picture's longer side (default {FOCAL_PER_SIDE:g})")  # fmt: skip
    chosen = parser.parse_args(arguments)

    def work() -> Outcome:
        return Outcome(compare(chosen.folder, chosen.meshes, chosen.model, chosen.sheet, chosen.focal_per_side))

    return run_command("python -m benchmarks.photographs", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
