# SPDX-License-Identifier: Apache-2.0
"""Measures what the runtime takes for known of heads: `python -m benchmarks.head_distance --head ict_facekit.npz`.

The distance that `predict` stands on is the median depth in a 40 mm window around the head centre, as training has it.
A pose estimate gives the point between the ears instead, a detector the width of the head or the eyes: how far one
lies from the other is printed for random identities of the head model, by the yaw of the head.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedepth_edge.camera import MAX_DISTANCE_MM
from facedepth_edge.errors import InputError
from facedepth_edge.head import EARS_BEHIND_FACE_MM, HEAD_WIDTH_MM
from train.command import Outcome, require_counts, run_command
from train.synth.headmodel import PARTS, HeadModel
from train.synth.mesh import Mesh
from train.synth.motion import rotation_from_dataset_angles
from train.synth.renderer import CAMERA_FROM_FACING, HeadPose, surface_distance
from train.synth.tracer import TraceScene

WIDEST_DEG = 60.0  # turned by more, one eye and one tragus are hidden
YAWS_DEG = (0.0, 10.0, 20.0, 30.0, 40.0, 60.0, 90.0)
MATERIAL = "skin"
LEAST_MM = 250.0  # nearer, the camera is in the head


@dataclass(frozen=True)
class Measured:
    """One identity in one pose; what is read off the picture is NaN beyond WIDEST_DEG.

    Args:
        behind_mm: How far the point between the tragi lies behind the distance (the median of the window).
        width_mm: Between the tragi.
        by_width: The distance by the width between the tragi in the picture, over the true one.
        eyes_to_center: From the middle of the eyes down to the head centre, over the eyes' distance in the picture.
        eyes_aside: The same to the side, towards the side of the picture that the head looks to.
        eyes_to_width: The frontal width between the tragi in the picture, over the eyes' distance in it.
    """

    behind_mm: float
    width_mm: float
    by_width: float
    eyes_to_center: float
    eyes_aside: float
    eyes_to_width: float


def measure(model: HeadModel, scene: TraceScene, vertices: np.ndarray, yaw_deg: float, point_mm: float) -> Measured:
    """Measure one head.

    Args:
        model: The head model.
        scene: The head's triangles.
        vertices: (V, 3) the head's, mm.
        yaw_deg: How far it is turned.
        point_mm: z of the point between the tragi, on the optical axis.
    """
    facing = CAMERA_FROM_FACING
    center = model.head_center(vertices).astype(float)
    pose = HeadPose(
        facing @ rotation_from_dataset_angles(0.0, 0.0, yaw_deg) @ facing, np.array([0.0, 0.0, point_mm]), center
    )
    distance_mm = surface_distance([scene], pose)

    def seen(points: np.ndarray) -> np.ndarray:
        placed = (points - center) @ pose.camera_from_head.T + pose.centre_mm
        return placed[:, :2] / placed[:, 2:]  # in units of the focal length

    tragi = vertices[list(model.tragi)]
    width_mm = float(np.linalg.norm(tragi[0] - tragi[1]))
    frontal = width_mm / point_mm
    parts = (PARTS["eye_left"], PARTS["eye_right"])
    eyes = seen(np.stack([vertices[first : last + 1].mean(axis=0) for first, last in parts]))
    apart = float(np.hypot(*(eyes[0] - eyes[1])))
    middle = -eyes.mean(axis=0) / apart  # the head centre is seen at (0, 0)
    apparent = float(np.ptp(seen(tragi)[:, 0]))
    by_width = (HEAD_WIDTH_MM / apparent - EARS_BEHIND_FACE_MM) / distance_mm
    by_picture = np.array([by_width, middle[1], abs(middle[0]), frontal / apart])
    if yaw_deg > WIDEST_DEG:
        by_picture[:] = np.nan
    return Measured(point_mm - distance_mm, width_mm, *map(float, by_picture))


def measure_all(model: HeadModel, identities: int, point_mm: float) -> dict[float, list[Measured]]:
    """Measure random identities, weights ~ N(0, 1), at every yaw of YAWS_DEG."""
    rng = np.random.default_rng(0)
    found: dict[float, list[Measured]] = {yaw: [] for yaw in YAWS_DEG}
    for _ in range(identities):
        vertices = model.shape(rng.normal(size=len(model.identity)), {})
        uv = np.zeros((len(vertices), 2), np.float32)
        scene = TraceScene([Mesh(vertices, model.triangles, uv, MATERIAL)], [MATERIAL], {})
        for yaw, rows in found.items():
            rows.append(measure(model, scene, vertices, yaw, point_mm))
    return found


def table(found: dict[float, list[Measured]]) -> str:
    """Write means and standard deviations as a Markdown table."""
    names = ["yaw (degrees)", *Measured.__dataclass_fields__]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for yaw, rows in found.items():
        columns = np.array([list(vars(row).values()) for row in rows])
        means = zip(columns.mean(0), columns.std(0), strict=True)
        cells = ["-" if np.isnan(mean) else f"{mean:.2f} ({spread:.2f})" for mean, spread in means]
        lines.append(f"| {yaw:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.head_distance", description="Measure heads.")
    parser.add_argument("--head", type=Path, required=True, help="packed head model (.npz), see docs/training.md")
    parser.add_argument("--identities", type=int, default=300, help="random heads (%(default)s)")
    parser.add_argument("--point-mm", type=float, default=700.0, help="z of the point between the ears (%(default)s)")
    chosen = parser.parse_args(arguments)

    def work() -> Outcome:
        require_counts(chosen, "identities")
        if not LEAST_MM <= chosen.point_mm <= MAX_DISTANCE_MM:
            rule = f"{LEAST_MM:g} to {MAX_DISTANCE_MM:g} mm"
            raise InputError.of("--point-mm", chosen.point_mm, rule, "Leave it out for 700.")
        found = measure_all(HeadModel.load(chosen.head), chosen.identities, chosen.point_mm)
        return Outcome(f"{chosen.identities} heads, mean (standard deviation)\n\n{table(found)}")

    return run_command("python -m benchmarks.head_distance", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
