# SPDX-License-Identifier: Apache-2.0
"""From a network to an artifact, step by step: graph, rewrites, FP16 and INT8 files, gate, golden faces, folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from export.artifact_writer import (
    PARITY_FILE,
    make_spec,
    npz_bytes,
    reference_bytes,
    write_artifact,
)
from export.calibration import PERCENTILES
from export.deconvolutions import deconvolutions_as_convolutions, form_for_cpu_int8, form_for_few_weights
from export.graph_files import graphs_from_fp32
from export.notes import chosen_percentiles, export_notes, training_notes
from export.onnx_from_torch import (
    INPUT,
    onnx_from_network,
    open_session,
    require_equal_outputs,
    run_reference,
    run_session,
)
from export.options import ExportOptions, require_fitting
from export.parity import GateReport, require_gate, run_gate
from facedepth_edge.artifacts import GOLDEN_FILE, REFERENCE_FILE, open_artifact
from facedepth_edge.errors import ArtifactError, InputError
from train.data.batches import make_batch
from train.data.packed import PackedSet
from train.restore import TrainedNetwork
from train.validation import spread_indices

GOLDEN_FACES = 6
EQUALITY_FACES = 16
DEPTH_MASK_THRESHOLD = 0.75  # a head lies within 120 mm behind its centre's surface; for networks without a mask
LARGE_BYTES = 64 << 20  # of a graph that is calibrated once: the paper's generator takes minutes each time
DEPTH_NETWORKS = ("edge", "paper")


def faces_of(data: PackedSet, indices: np.ndarray) -> np.ndarray:
    """Return frames as (N, 1, H, W) float32 in [-1, 1], without augmentation; InputError for a set of depth alone."""
    data.crops.require_pictures()
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


def onnx_files(plain: onnx.ModelProto, faces: np.ndarray, names: tuple[str, ...]) -> dict[str, onnx.ModelProto]:
    """Make a depth network's graphs, its transposed convolutions rewritten for each runtime.

    Args:
        plain: The network's graph as exported.
        faces: (N, 1, H, W) float32, calibration.
        names: Which of FILES.

    Returns:
        Graph by file name, in the order of FILES.
    """
    few_weights = deconvolutions_as_convolutions(plain, form_for_few_weights)
    tried = PERCENTILES if plain.ByteSize() < LARGE_BYTES else PERCENTILES[-1:]
    for_cpu = partial(deconvolutions_as_convolutions, plain, form_for_cpu_int8)
    return graphs_from_fp32(few_weights, for_cpu, {INPUT: faces}, names, tried)


def export_network(
    trained: TrainedNetwork, data: PackedSet, folder: Path, options: ExportOptions, say: Callable[[str], None]
) -> None:
    """Make an artifact out of a network.

    Args:
        trained: The network.
        data: The packed set; its training split calibrates, its test split measures and gives the golden faces.
        folder: The artifact's folder.
        options: What to make.
        say: Takes lines for a person.

    Raises:
        ArtifactError: The network is of no exportable kind, a file is past the gate's limits, or `folder` is taken.
        InputError: The data set is too small or of another size.
    """
    if trained.architecture not in DEPTH_NETWORKS:
        rule = f"one of {', '.join(DEPTH_NETWORKS)}"
        raise ArtifactError.of("export", f"a network {trained.architecture}", rule, "Give its checkpoint.")
    require_fitting(data, trained)
    data.require_runtimes_reach()  # spec.json says the runtime's, and the network learnt what its set has
    along = trained.config.data.depth_along
    data = data.with_depth_along(along)
    input_hw = (trained.input_px, trained.input_px)
    held_out = spread_indices(data, "test", options.held_out_faces)
    golden_faces = faces_of(data, golden_indices(data, held_out))
    reference = run_reference(trained.network, golden_faces)

    plain = onnx_from_network(trained.network, input_hw)
    calibration = faces_of(data, spread_indices(data, "train", options.calibration_faces))
    models = onnx_files(plain, calibration, options.files)
    session = open_session(models["fp32.onnx"])
    worst = dict.fromkeys(reference, 0.0)
    for faces in (golden_faces, golden_faces[:1], faces_of(data, spread_indices(data, "train", EQUALITY_FACES))):
        errors = require_equal_outputs(run_reference(trained.network, faces), run_session(session, faces), "fp32.onnx")
        worst = {name: max(error, errors[name]) for name, error in worst.items()}
    say("fp32.onnx against PyTorch, largest error of the range: " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items()))
    files = {name: model.SerializeToString(deterministic=True) for name, model in models.items()}
    report = run_gate(files, partial(run_reference, trained.network), data, held_out)
    say(report.table())
    percentiles = chosen_percentiles(models)
    if percentiles:
        say("activation ranges, percentile: " + ", ".join(f"{name} {value:g}" for name, value in percentiles.items()))
    require_gate(report, str(folder))
    files[GOLDEN_FILE] = npz_bytes({INPUT: golden_faces, **reference})
    files[REFERENCE_FILE] = reference_bytes(trained.network, input_hw)
    files[PARITY_FILE] = (json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n").encode()
    spec = make_spec(
        name=options.name,
        version=options.version,
        architecture=trained.architecture,
        input_hw=input_hw,
        output_names=tuple(reference),
        files=files,
        accuracy={**accuracy_notes(report, len(held_out)), "depth_along": along},
        training={**training_notes(trained), "export": export_notes(plain, data, len(calibration), models)},
        depth_mask_threshold=DEPTH_MASK_THRESHOLD,
        depth_along=along,
    )
    write_artifact(folder, spec, files, replace=options.replace, check=check_artifact)


def accuracy_notes(report: GateReport, frames: int) -> dict[str, Any]:
    """Return what spec.json says of the accuracy; parity.json has the rest."""
    notes: dict[str, Any] = {"data": report.data, "split": "test", "faces": frames}
    for file, found in report.files.items():
        name, whole = file.removesuffix(".onnx"), found.subsets["all"]
        notes[name] = {key: round(value, 4) for key, value in found.summary.items()}
        if file != "fp32.onnx":
            notes[f"{name}_mean_growth"] = round(whole["mean_growth"], 5) + 0.0  # no -0.0
            notes[f"{name}_worst_face_mm"] = round(whole["worst_face_mm"], 3)
    return notes


def check_artifact(folder: Path) -> None:
    """Open a written artifact as a user's program would, and check every file's hash.

    Raises:
        ArtifactError: It does not open.
    """
    artifact = open_artifact(folder)
    for name in artifact.spec.files:
        artifact.read(name)
