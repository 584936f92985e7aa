# SPDX-License-Identifier: Apache-2.0
"""Measures the head pose as the package gives it, against the true angles of frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from facedepth_edge.artifacts import open_artifact
from facedepth_edge.box import box_from_head
from facedepth_edge.camera import Camera
from facedepth_edge.errors import ArtifactError, InputError
from facedepth_edge.head_pose import CELLS, angles_from_rotation, estimate_head_pose
from facedepth_edge.result import DepthResult
from train.data.batches import make_batch
from train.data.geometry_augment import GeometryAugment, draw_placement
from train.data.packed import PackedSet
from train.data.subsets import is_frontal
from train.groups import ENOUGH_SEEN, called_valid
from train.predictors import Predictor, Thresholds, predictors_from_model, thresholds_of_model
from train.synth.motion import rotation_from_dataset_angles, turn_deg
from train.units import HALF_RANGE_MM, gray_from_face
from train.validation import chunks_of, spread_indices

FOCAL_PX = 1000.0
FRAME_HW = (4000, 4000)
WITHIN_DEG = 10.0
CUT = 0.3
CUT_SEED = 0
CUTS = GeometryAugment(shift_large=0.0, shift_small=0.0, scale_large=(1.0, 1.0), scale_small=(1.0, 1.0),
                       rotate_large_deg=0.0, rotate_small_deg=0.0, flip=0.0, frame_edge=1.0,
                       frame_edge_depth=CUT)  # fmt: skip


@dataclass(frozen=True)
class PoseRow:
    """The errors over some frames of a set.

    Args:
        data: The set's name.
        group: Which frames.
        frames: How many, all of them called valid.
        mean_deg: Mean absolute errors of yaw, pitch and roll.
        median_deg: Their medians.
        offset_deg: Medians of the errors with their signs: they show where a head model counts from another zero.
        guess_deg: Mean absolute yaw, pitch and roll: the errors of whoever says that all look into the camera.
        within: Share of the frames whose rotation is right to WITHIN_DEG.
    """

    data: str
    group: str
    frames: int
    mean_deg: tuple[float, float, float]
    median_deg: tuple[float, float, float]
    offset_deg: tuple[float, float, float]
    guess_deg: tuple[float, float, float]
    within: float


def result_of(depth: np.ndarray, mask: np.ndarray, ray_xy: tuple[float, float], distance_mm: float) -> DepthResult:
    """Return the result that a camera with this ray to the head centre would have given.

    Args:
        depth: (H, W) relative depth along the axis.
        mask: (H, W) bool.
        ray_xy: x / z and y / z of the head centre.
        distance_mm: D.
    """
    camera = Camera(FOCAL_PX, FOCAL_PX, FRAME_HW[1] / 2, FRAME_HW[0] / 2)
    x, y = (FOCAL_PX * slope + side / 2 for slope, side in zip(ray_xy, (FRAME_HW[1], FRAME_HW[0]), strict=True))
    box = box_from_head((x, y), distance_mm, (FOCAL_PX, FOCAL_PX))
    depth_mm = (distance_mm + HALF_RANGE_MM * depth).astype(np.float32)
    return DepthResult(depth_mm, depth, mask, "model", box, (x, y), distance_mm, "distance_mm",
                       None, True, "", camera, FRAME_HW)  # fmt: skip


def measure_set(model: Path, data: PackedSet, split: str, count: int | None = None) -> list[PoseRow]:
    """Measure on one set: all frames that are called valid, and groups of them.

    Args:
        model: The artifact's folder; its int8.onnx runs.
        data: The packed set.
        split: Whose frames.
        count: Most of them, spread over the split.

    Returns:
        A row each for all, for heads within 10 degrees of looking into the camera, for those turned by up to 40 degrees
        and by more, for faces of which less than ENOUGH_SEEN can be seen, and for all again, each cut by a side of the
        frame that comes up to CUT into its box; groups without frames are left out.

    Raises:
        ArtifactError: The model has no int8.onnx, no mask, or maps of sides that the pose cannot take.
        InputError: No frame is called valid, or the set's boxes are not the runtime's.
    """
    predictors = [each for name, each in predictors_from_model(model).items() if name.endswith(" int8")]
    if not predictors:
        raise ArtifactError.of(str(model), "no int8.onnx", "it", "Export the model again without --files.")
    spec = open_artifact(model).spec
    if spec.outputs.mask is None or any(side % CELLS for side in spec.output_hw):
        got = f"outputs {', '.join(spec.outputs.names)} of {spec.output_hw}"
        raise ArtifactError.of(str(model), got, f"a mask, and sides that {CELLS} divides", "Give another model.")
    data.require_runtimes_reach()
    indices = spread_indices(data, split, count, faces_only=True)
    thresholds = thresholds_of_model(model)
    meta, true, found = _poses(predictors[0], thresholds, data, indices, cut=False)
    turned = np.degrees(np.arccos(np.clip(true[:, 2, 2], -1, 1)))  # between the face's direction and the camera's axis
    groups = {
        "all": np.ones(len(meta), bool),
        "within 10 degrees (A1)": is_frontal(meta),
        "turned by up to 40": (turned <= 40) & ~is_frontal(meta),
        "by more": turned > 40,
        f"less than {ENOUGH_SEEN:.0%} seen": meta["visible"] < ENOUGH_SEEN,
    }
    rows = [_row(data.name, group, true[where], found[where]) for group, where in groups.items() if where.any()]
    _, true, found = _poses(predictors[0], thresholds, data, indices, cut=True)
    return [*rows, _row(data.name, "all, cut by the frame's edge", true, found)]


def _poses(
    predict: Predictor, thresholds: Thresholds, data: PackedSet, indices: np.ndarray, cut: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of the frames that are called valid: their meta, and true and estimated rotations (n, 3, 3)."""
    kept: list[int] = []
    found: list[np.ndarray] = []
    generator = torch.Generator().manual_seed(CUT_SEED)
    sizes = (data.crops.crop_px, data.crops.box_px)
    for chosen in chunks_of(indices):
        placement = draw_placement(len(chosen), *sizes, CUTS, generator) if cut else None
        batch = make_batch(data, chosen, placement=placement)
        outputs = predict(chosen, batch)
        outputs["mask"] = outputs["mask"] * batch.seen.numpy()
        levels = gray_from_face(batch.face[:, 0].numpy())
        for i, index in enumerate(chosen):
            if not called_valid({name: each[i] for name, each in outputs.items()}, levels[i], thresholds):
                continue
            mask = outputs["mask"][i, 0] > thresholds.mask
            ray_xy = (float(batch.ray_xy[i, 0]), float(batch.ray_xy[i, 1]))
            result = result_of(outputs["depth"][i, 0], mask, ray_xy, float(batch.distance_mm[i]))
            kept.append(int(index))
            pose = estimate_head_pose(result)
            assert pose is not None, "the result is valid, and the model was checked"
            found.append(pose.rotation)
    if not kept:
        raise InputError.of(data.name, "no frame that is called valid", "at least one", "Look at the set.")
    meta = data.meta[np.array(kept, dtype=np.int64)]
    true = np.stack([rotation_from_dataset_angles(*map(float, angles)) for angles in meta["roll_pitch_yaw_deg"]])
    return meta, true, np.stack(found)


def _row(data: str, group: str, true: np.ndarray, found: np.ndarray) -> PoseRow:
    angles = np.array([[angles_from_rotation(one)[::-1] for one in each] for each in (true, found)])  # yaw, pitch, roll
    signed = (angles[1] - angles[0] + 180) % 360 - 180
    errors = np.abs(signed)
    within = float((turn_deg(found @ true.transpose(0, 2, 1)) <= WITHIN_DEG).mean())
    middle, offset = np.median(errors, axis=0), np.median(signed, axis=0)
    found_deg = (errors.mean(axis=0), middle, offset, np.abs(angles[0]).mean(axis=0))
    return PoseRow(data, group, len(true), *(tuple(map(float, each)) for each in found_deg), within)  # type: ignore[arg-type]


def table_of(rows: list[PoseRow]) -> str:
    """Return the rows as a Markdown table."""
    header = ["set", "heads", "frames", "yaw", "pitch", "roll", f"right to {WITHIN_DEG:g} degrees",
              "median with sign", "all look into the camera"]  # fmt: skip
    lines = ["| " + " | ".join(header) + " |", "|---|---|" + "---|" * (len(header) - 2)]
    for row in rows:
        cells = [f"{mean:.1f} ({median:.1f})" for mean, median in zip(row.mean_deg, row.median_deg, strict=True)]
        offset = ", ".join(f"{value:+.1f}" for value in row.offset_deg)
        guess = ", ".join(f"{value:.1f}" for value in row.guess_deg)
        cells += [f"{row.within:.2f}", offset, guess]
        lines.append(f"| {row.data} | {row.group} | {row.frames} | {' | '.join(cells)} |")
    return "\n".join(["Mean absolute error in degrees, in brackets the median:", "", *lines])
