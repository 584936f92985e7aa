# SPDX-License-Identifier: Apache-2.0
"""Exports the face verification network: two inputs, one answer, and a gate of its own.

Its artifact is no model of `EdgeDepth`: spec.json is of another kind ("pair-verification"), which the runtime refuses.
Inputs are depth maps, equalised and standardised by train.verification.verification_input.
"""

from __future__ import annotations

import copy
import hashlib
import json
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from export.artifact_writer import (
    LICENCE,
    MAX_REFERENCE_BATCH,
    PARITY_FILE,
    npz_bytes,
    program_bytes,
    write_folder,
)
from export.graph_files import EMULATED, graph_faults, graphs_from_fp32
from export.graph_runner import GraphRunner
from export.notes import export_notes, training_notes
from export.onnx_from_torch import MAX_ERROR_OF_RANGE, OPSET, open_session, quiet_exporter, without_traces
from export.options import ExportOptions, require_fitting
from facedepth_edge.artifacts import GOLDEN_FILE, REFERENCE_FILE
from facedepth_edge.errors import ArtifactError, InputError
from facedepth_edge.json_values import finite_or_none
from facedepth_edge.spec import SPEC_FILE
from train.data.batches import make_batch
from train.data.packed import PackedSet
from train.restore import TrainedNetwork
from train.validation import MEASURE_BATCH, spread_indices
from train.verification import random_pairs, verification_input

KIND = "pair-verification"
INPUTS = ("first", "second")
OUTPUT = "same"
GOLDEN_PAIRS = 8
MAX_MEAN_DIFFERENCE = 0.02  # ours, of the similarity 0..1
MAX_FLIPPED = 0.01  # ours: of the pairs whose similarity is not within CLOSE of 0.5
CLOSE = 0.05
SEED = 0

PairRunner = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""Takes the two inputs by name, returns the (B, 1) similarities."""


class PairModule(nn.Module):
    """The network with its sigmoid, for export: two images in, the similarity out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return (B, 1) similarities in [0, 1] of (B, 1, H, W) images."""
        joined = torch.cat([self.network.embed(first), self.network.embed(second)], dim=1)  # type: ignore[operator]
        return torch.sigmoid(self.network.decision(joined))  # type: ignore[operator]


def fold_batch_norms(layers: nn.Sequential) -> nn.Sequential:
    """Return a stack of layers in inference mode with each batch norm folded into the convolution before it.

    Args:
        layers: In inference mode; not changed. Folded in float64, so that the rounding is of the weights only.
    """
    folded: list[nn.Module] = []
    for layer in copy.deepcopy(layers).eval():
        if isinstance(layer, nn.BatchNorm2d) and folded and isinstance(folded[-1], nn.Conv2d):
            dtype = folded[-1].weight.dtype
            folded[-1] = fuse_conv_bn_eval(folded[-1].double(), layer.double()).to(dtype)
        else:
            folded.append(layer)
    return nn.Sequential(*folded)


def onnx_from_siamese(network: nn.Module, input_px: int) -> onnx.ModelProto:
    """Export the network: inputs `first` and `second` (batch, 1, H, W), output `same` (batch, 1).

    Args:
        network: Trained; not changed.
        input_px: Side of the images.
    """
    folded = copy.deepcopy(network).eval()
    folded.trunk = fold_batch_norms(folded.trunk)  # type: ignore[arg-type]
    example = torch.linspace(-1, 1, 2 * input_px**2).reshape(2, 1, input_px, input_px)
    batch = torch.export.Dim("batch")
    with quiet_exporter(), torch.no_grad():
        warnings.filterwarnings("ignore", "# The axis name: batch", UserWarning)  # both inputs share it, as they must
        program = torch.onnx.export(
            PairModule(folded).eval(),
            (example, -example),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamic_shapes={name: {0: batch} for name in INPUTS},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = without_traces(program.model_proto)
    onnx.checker.check_model(model, full_check=True)
    return model


def siamese_reference(network: nn.Module, input_px: int) -> bytes:
    """Return the unfused network as a torch.export program without source positions."""
    example = torch.linspace(-1, 1, 2 * input_px**2).reshape(2, 1, input_px, input_px)
    batch = torch.export.Dim("batch", min=1, max=MAX_REFERENCE_BATCH)
    shapes = {name: {0: batch} for name in INPUTS}
    return program_bytes(PairModule(network).eval(), (example, -example), shapes)


def pairs_of(data: PackedSet, split: str, count: int) -> dict[str, np.ndarray]:
    """Return pairs of measured depth maps as the network takes them, half of them of one person.

    Args:
        data: The packed set.
        split: train, val or test.
        count: How many pairs.

    Returns:
        `first` and `second`, each (count, 1, H, W) float32; always the same.

    Raises:
        InputError: The split has too few people (two with two frames are needed), or no depth.
    """
    faces = spread_indices(data, split, None, faces_only=True)
    if not any(data.depth_mm[index].any() for index in faces[:8]):
        rule = "a data set with depth in that split"
        fix = "Give a data set as --calibration, not a faces file."
        raise InputError.of(f"{data.crops.root}: split {split}", "no depth", rule, fix)
    places = random_pairs(data.meta["subject"][faces], count, np.random.default_rng(SEED))
    result = {}
    for name, chosen in zip(INPUTS, places, strict=True):
        batch = make_batch(data, faces[chosen])
        result[name] = verification_input(batch.depth, batch.valid).numpy()
    return result


def run_pairs(model: onnx.ModelProto, emulated: bool) -> tuple[PairRunner, GraphRunner | None]:
    """Return what runs a graph on pairs, and the emulation where it is one."""
    if emulated:
        runner = GraphRunner(model)
        return lambda pairs: runner.run(pairs)[OUTPUT], runner
    session = open_session(model, 2)
    return lambda pairs: np.asarray(session.run([OUTPUT], dict(pairs))[0]), None


def siamese_gate(
    models: Mapping[str, onnx.ModelProto], reference: PairRunner, pairs: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Compare every file with PyTorch on held-out pairs.

    Args:
        models: Graph by file name.
        reference: PyTorch, unfused.
        pairs: The held-out pairs.

    Returns:
        By file: `mean`, `p99` and `max` of |difference| of the similarity, `flipped` (share of decisions),
        `largest_activation`, and `faults`, empty where it passes.
    """
    count = len(pairs[INPUTS[0]])
    parts = [{name: pairs[name][at : at + MEASURE_BATCH] for name in INPUTS} for at in range(0, count, MEASURE_BATCH)]
    expected = np.concatenate([reference(part) for part in parts]).astype(np.float64)
    report: dict[str, Any] = {}
    for name, model in models.items():
        run, emulation = run_pairs(model, name in EMULATED)
        got = np.concatenate([run(part) for part in parts]).astype(np.float64)
        error = np.abs(got - expected)
        clear = np.abs(expected - 0.5) > CLOSE
        flipped = float(((got > 0.5) != (expected > 0.5))[clear].mean()) if clear.any() else 0.0
        faults = []
        if name == "fp32.onnx" and not error.max() <= MAX_ERROR_OF_RANGE:  # NaN fails
            faults.append(f"{error.max():g} away from PyTorch, limit {MAX_ERROR_OF_RANGE:g}")
        if not error.mean() < MAX_MEAN_DIFFERENCE or not flipped <= MAX_FLIPPED:
            got_text = f"{error.mean():.4f} in the mean, {100 * flipped:.2f} % decided otherwise"
            faults.append(f"{got_text}; limits {MAX_MEAN_DIFFERENCE:g} and {100 * MAX_FLIPPED:g} %")
        of_graph, most = graph_faults(name, model, None if emulation is None else emulation.largest)
        row = {"mean": float(error.mean()), "p99": float(np.percentile(error, 99)), "max": float(error.max())}
        plain = {key: finite_or_none(value) for key, value in row.items()}
        report[name] = {**plain, "flipped": flipped, "largest_activation": most, "faults": faults + of_graph}
    return report


def export_siamese(
    trained: TrainedNetwork, data: PackedSet, folder: Path, options: ExportOptions, say: Callable[[str], None]
) -> None:
    """Make an artifact out of the verification network.

    Args:
        trained: The network.
        data: The packed set; its training split calibrates, its test split measures.
        folder: The artifact's folder.
        options: What to make.
        say: Takes lines for a person.

    Raises:
        ArtifactError: A file is past the limits, or `folder` is taken.
        InputError: The data set is too small or has no depth.
    """
    require_fitting(data, trained)
    along = trained.config.data.depth_along
    data = data.with_depth_along(along)
    network, side = trained.network, trained.input_px
    plain = onnx_from_siamese(network, side)
    calibration = pairs_of(data, "train", options.calibration_faces)
    models = graphs_from_fp32(plain, lambda: plain, calibration, options.files)
    held_out = pairs_of(data, "test", options.held_out_faces)
    reference = partial(_run_torch, PairModule(network))
    report = siamese_gate(models, reference, held_out)
    for name, row in report.items():
        say(f"{name}: similarity differs by {row['mean']} in the mean, {row['max']} at most; flipped {row['flipped']}")
    faults = [f"{name}: {fault}" for name, row in report.items() for fault in row["faults"]]
    if faults:
        fix = "Calibrate on more faces, or leave that file out by --files."
        raise ArtifactError.of(str(folder), "; ".join(faults[:4]), "files within the gate's limits", fix)
    golden = {name: held_out[name][:GOLDEN_PAIRS] for name in INPUTS}
    files = {name: model.SerializeToString(deterministic=True) for name, model in models.items()}
    files[GOLDEN_FILE] = npz_bytes({**golden, OUTPUT: reference(golden)})
    files[REFERENCE_FILE] = siamese_reference(network, side)
    files[PARITY_FILE] = (json.dumps(report, indent=2, allow_nan=False) + "\n").encode()
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    spec = {
        "kind": KIND,
        "format": 1,
        "name": options.name,
        "version": options.version,
        "architecture": trained.architecture,
        "licence": LICENCE,
        "opset": OPSET,
        "inputs": {name: [1, side, side] for name in INPUTS},
        "output": {"name": OUTPUT, "threshold": 0.5},
        "depth_along": along,
        "preprocessing": "depth as gray levels (z + 1) * 127.5, equalised over valid pixels, standardised; holes 0",
        "files": {name: {"sha256": digest, "bytes": len(files[name])} for name, digest in hashes.items()},
        "accuracy": {"data": data.crops.root.resolve().name, "pairs": len(held_out[INPUTS[0]])},
        "training": {
            **training_notes(trained),
            "export": export_notes(plain, data, len(calibration[INPUTS[0]]), models),
        },
    }
    content = (json.dumps(spec, indent=2, allow_nan=False) + "\n").encode()
    check = partial(_check_files, hashes)
    write_folder(folder, {**files, SPEC_FILE: content}, replace=options.replace, check=check)


def _check_files(hashes: Mapping[str, str], folder: Path) -> None:
    """Raise an ArtifactError where a written file is not what was to be written."""
    for name, expected in hashes.items():
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if found != expected:
            raise ArtifactError.of(str(folder / name), f"sha256 {found}", expected, "Check the disk.")


def _run_torch(module: nn.Module, pairs: Mapping[str, np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        return module(*(torch.from_numpy(pairs[name]) for name in INPUTS)).numpy()


if __name__ == "__main__":
    print("export.siamese is no command. Use python -m export --model siamese.", file=sys.stderr)
    sys.exit(2)
