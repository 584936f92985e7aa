# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to an artifact, step by step: graph, comparison with PyTorch, INT8, golden faces, folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from export.artifact_writer import (
    GOLDEN_FILE,
    REFERENCE_FILE,
    make_spec,
    npz_bytes,
    reference_bytes,
    require_free,
    write_artifact,
)
from export.int8_cpu import int8_from_fp32
from export.onnx_from_torch import (
    onnx_from_network,
    open_session,
    require_equal_outputs,
    run_reference,
    run_session,
)
from export.parity import Parity, compare_sheets, score_runner
from facedepth_edge.artifacts import open_artifact
from facedepth_edge.errors import ArtifactError, InputError
from train.data.batches import make_batch
from train.data.packed import PackedSet
from train.restore import network_from_checkpoint
from train.validation import spread_indices

GOLDEN_FACES = 6
EQUALITY_FACES = 16
DEPTH_MASK_THRESHOLD = 0.75  # a head lies within 120 mm behind its centre's surface; for networks without a mask


@dataclass(frozen=True)
class ExportOptions:
    """What is asked of an export.

    Args:
        name: The model's name.
        version: The model's version.
        int8: Write int8.onnx too.
        replace: Replace an artifact that is there.
        calibration_faces: Faces of the training split that set the INT8 ranges.
        held_out_faces: Most faces of the test split that accuracy is measured on.
    """

    name: str
    version: str = "0.1.0"
    int8: bool = False
    replace: bool = False
    calibration_faces: int = 320
    held_out_faces: int = 1000


def faces_of(data: PackedSet, indices: np.ndarray) -> np.ndarray:
    """Return frames as (N, 1, H, W) float32 in [-1, 1], without augmentation."""
    return make_batch(data, indices).face.numpy()


def golden_indices(data: PackedSet, indices: np.ndarray) -> np.ndarray:
    """Choose GOLDEN_FACES frames with well visible faces, spread over the given ones.

    Raises:
        InputError: There are too few.
    """
    good = indices[data.meta["face"][indices] & (data.meta["visible"][indices] >= 0.8)]
    if len(good) < GOLDEN_FACES:
        rule = f"at least {GOLDEN_FACES} frames with a visible face in the test split"
        raise InputError.of(str(data.crops.root), f"{len(good)} such frames", rule, "Give a larger data set.")
    return good[np.linspace(0, len(good) - 1, GOLDEN_FACES).round().astype(np.int64)]


def export_checkpoint(
    checkpoint: Path,
    data: PackedSet,
    folder: Path,
    options: ExportOptions,
    say: Callable[[str], None],
) -> None:
    """Make an artifact out of a checkpoint.

    Args:
        checkpoint: A last.pt or best.pt.
        data: The packed set; its training split calibrates, its test split measures and gives the golden faces.
        folder: The artifact's folder.
        options: What to make.
        say: Takes lines for a person.

    Raises:
        ArtifactError: The checkpoint is unusable, a file differs from PyTorch beyond its limit, or `folder` is taken.
        InputError: The data set is too small or of another size.
    """
    require_free(folder, options.replace)
    trained = network_from_checkpoint(checkpoint)
    if trained.input_px != data.crops.box_px:
        rule = f"{trained.input_px} px, as the checkpoint was trained"
        raise InputError.of(str(data.crops.root), f"boxes of {data.crops.box_px} px", rule, "Give its data set.")
    input_hw = (trained.input_px, trained.input_px)
    held_out = spread_indices(data, "test", options.held_out_faces)
    golden_faces = faces_of(data, golden_indices(data, held_out))
    golden = {"face": golden_faces, **run_reference(trained.network, golden_faces)}

    fp32 = onnx_from_network(trained.network, input_hw)
    session = open_session(fp32)
    for faces in (golden_faces, golden_faces[:1], faces_of(data, spread_indices(data, "train", EQUALITY_FACES))):
        errors = require_equal_outputs(run_reference(trained.network, faces), run_session(session, faces), "fp32.onnx")
    say(
        "fp32.onnx against PyTorch, largest error of the range: " + ", ".join(f"{k} {v:.1e}" for k, v in errors.items())
    )
    base = score_runner(partial(run_session, session), data, held_out)
    accuracy: dict[str, Any] = {"data": data.crops.root.resolve().name, "split": "test", "faces": len(held_out)}
    accuracy["fp32"] = _rounded(base.summary())

    files = {
        "fp32.onnx": fp32.SerializeToString(deterministic=True),
        GOLDEN_FILE: npz_bytes(golden),
        REFERENCE_FILE: reference_bytes(trained.network, input_hw),
    }
    if options.int8:
        faces = faces_of(data, spread_indices(data, "train", options.calibration_faces))
        int8 = int8_from_fp32(fp32, faces)
        parity = compare_sheets(base, score_runner(partial(run_session, open_session(int8)), data, held_out))
        say(parity.table("int8"))
        require_parity(parity, "int8.onnx")
        accuracy["int8"] = _rounded(parity.other)
        accuracy["int8_mean_growth"] = round(parity.mean_growth, 5)
        accuracy["int8_worst_face_mm"] = round(parity.worst_face_mm, 3)
        files["int8.onnx"] = int8.SerializeToString(deterministic=True)
    spec = make_spec(
        name=options.name,
        version=options.version,
        architecture=trained.architecture,
        input_hw=input_hw,
        output_names=tuple(golden)[1:],
        files=files,
        accuracy=accuracy,
        training={
            "commit": trained.commit,
            "data": trained.data["name"],
            "frames": trained.data["train_frames"],
            "subjects": trained.data["train_subjects"],
            "samples": trained.samples,
            "steps": trained.step,
            "task": trained.config.task.name,
            "network": _plain(asdict(trained.config.network.options)),
        },
        depth_mask_threshold=DEPTH_MASK_THRESHOLD,
    )
    write_artifact(folder, spec, files, replace=options.replace, check=check_artifact)


def check_artifact(folder: Path) -> None:
    """Open a written artifact as a user's program would, and check every file's hash.

    Raises:
        ArtifactError: It does not open.
    """
    artifact = open_artifact(folder)
    for name in artifact.spec.files:
        artifact.read(name)


def require_parity(parity: Parity, file: str) -> None:
    """Refuse a file that is not as good as the FP32 one.

    Raises:
        ArtifactError: A limit of DESIGN section 4 is missed.
    """
    if not parity.passed:
        got = f"a mean error {100 * parity.mean_growth:.2f} % larger, one face {parity.worst_face_mm:.2f} mm worse"
        fix = "Leave out --int8, calibrate on more faces, or train with quantisation."
        raise ArtifactError.of(file, got, "less than 3 %, and at most 3 mm", fix)


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
