# SPDX-License-Identifier: Apache-2.0
"""The gate: every ONNX file of an artifact against PyTorch on held-out faces, over every subset.

`python -m export.parity DIR --data DATA [--json FILE]` prints a table and ends with status 1 when a file is past its
limits; every export runs the same gate before its files get their names. fp32.onnx and int8.onnx run in ONNX Runtime;
fp16.onnx and int8-trt.onnx run in export.graph_runner, which rounds every FP16 tensor, and must fit TensorRT's rules.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from export.comparison import (
    MAX_FACE_WORSE_MM,
    MAX_MEAN_GROWTH,
    MAX_MEAN_PROBABILITY,
    Parity,
    Runner,
    Tally,
    compare_sheets,
)
from export.face_subsets import subsets_of
from export.graph_files import EMULATED, FILES, graph_faults
from export.graph_runner import GraphRunner
from export.half import MAX_ACTIVATION
from export.int8_cpu import count_fused
from export.int8_tensorrt import quantised_convolutions
from export.onnx_from_torch import INPUT, MAX_ERROR_OF_RANGE, open_session, run_session
from facedepth_edge.artifacts import REFERENCE_FILE, open_artifact
from facedepth_edge.errors import ArtifactError, InputError
from facedepth_edge.json_values import finite_or_none
from facedepth_edge.spec import ModelSpec
from train.command import Outcome, require_counts, require_writable, run_command, write_json
from train.data.packed import PackedSet
from train.paper_metrics import PIXEL_METRICS
from train.validation import batches_of, spread_indices

REFERENCE = "pytorch"
MIN_SUBSET_FACES = 16  # a smaller subset is shown, and its faces count in `all`, but its mean has no limit of its own


@dataclass(frozen=True)
class FileReport:
    """What the gate found about one file.

    Args:
        subsets: By subset: `faces`, the differences to PyTorch, `mean_growth` and `worst_face_mm`, the ten metrics.
        summary: Means over all frames against the truth: offset_free_mm, absolute_mm, correlation and so on.
        largest_activation: Of the FP16 tensors; None for a file without.
        faults: Why it fails; empty when it passes.
    """

    subsets: dict[str, dict[str, float]]
    summary: dict[str, float]
    largest_activation: float | None
    faults: tuple[str, ...]


@dataclass(frozen=True)
class GateReport:
    """What the gate found about an artifact.

    Args:
        faces: Number of held-out faces with a measured head.
        data: The data set's name.
        reference: By subset, the ten metrics of PyTorch.
        files: By file name.
    """

    faces: int
    data: str
    reference: dict[str, dict[str, float]]
    files: dict[str, FileReport] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        """All faults, each with its file's name."""
        return [f"{name}: {fault}" for name, report in self.files.items() for fault in report.faults]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values; what has no value is null."""
        files = {
            name: {
                "passed": not report.faults,
                "faults": list(report.faults),
                "largest_activation": _plain(report.largest_activation),
                "subsets": {key: {k: _plain(v) for k, v in row.items()} for key, row in report.subsets.items()},
            }
            for name, report in self.files.items()
        }
        reference = {key: {k: _plain(v) for k, v in row.items()} for key, row in self.reference.items()}
        limits = {"mean_growth": MAX_MEAN_GROWTH, "worst_face_mm": MAX_FACE_WORSE_MM, "fp32": MAX_ERROR_OF_RANGE}
        return {"data": self.data, "faces": self.faces, "limits": limits, REFERENCE: reference, "files": files}

    def table(self) -> str:
        """Return the report as two Markdown tables: differences by subset, and the ten metrics over all faces."""
        lines = [f"{self.faces} held-out faces of {self.data}; differences to PyTorch over the head", ""]
        lines += ["| file | subset | faces | mean mm | p99 mm | max mm | correlation | error grows % | worst face mm |"]
        lines += ["|---|---|---|---|---|---|---|---|---|"]
        for name, report in self.files.items():
            for subset, row in report.subsets.items():
                cells = [name, subset, f"{row['faces']:.0f}"]
                cells += [f"{row[key]:.3f}" for key in ("mean_mm", "p99_mm", "max_mm")] + [f"{row['correlation']:.5f}"]
                cells += [f"{100 * row['mean_growth']:+.2f}", f"{row['worst_face_mm']:+.2f}"]
                lines.append("| " + " | ".join(cells) + " |")
        lines += ["", f"| metric, all faces | {REFERENCE} | " + " | ".join(self.files) + " |"]
        lines += ["|---|---|" + "---|" * len(self.files)]
        for key, metric in PIXEL_METRICS.items():
            values = [self.reference["all"][key], *(report.subsets["all"][key] for report in self.files.values())]
            lines.append(f"| {metric.label} | " + " | ".join(f"{value:.{metric.places}f}" for value in values) + " |")
        lines.append("")
        for name, report in self.files.items():
            if report.largest_activation is not None:
                largest = f"{report.largest_activation:.1f} (limit {MAX_ACTIVATION:g})"
                lines.append(f"{name}: largest activation {largest}")
            lines += [f"{name}: FAIL {fault}" for fault in report.faults]
        return "\n".join(lines)


def run_gate(files: Mapping[str, bytes], reference: Runner, data: PackedSet, indices: np.ndarray) -> GateReport:
    """Compare every ONNX file with PyTorch.

    Args:
        files: Content by name; those of FILES are measured, others ignored.
        reference: PyTorch, unfused.
        data: The packed set.
        indices: Held-out frames; those without a head count for mask and validity alone.

    Raises:
        InputError: No held-out frame shows a measured head.
    """
    models = {name: onnx.load_from_string(files[name]) for name in FILES if name in files}
    emulated = {name: GraphRunner(models[name]) for name in EMULATED if name in models}
    runners: dict[str, Runner] = {
        name: partial(run_emulated, emulated[name])
        if name in emulated
        else partial(run_session, open_session(model, 2))
        for name, model in models.items()
    }
    tallies = {name: Tally() for name in (REFERENCE, *models)}
    for _, batch in batches_of(data, indices):
        face = batch.face.numpy()
        expected = reference(face)
        tallies[REFERENCE].add(expected, expected, batch)
        for name, run in runners.items():
            tallies[name].add(run(face), expected, batch)
    # A frame that looks beside a head may show a part of it: that is no face, and no answer to it is used.
    measured = np.isfinite(tallies[REFERENCE].sheet.column("absolute_mm")) & data.meta["face"][indices]
    if not measured.any():
        rule = "held-out faces with a measured head"
        raise InputError.of(str(data.crops.root), "none", rule, "Give a data set with labelled heads.")
    groups = {name: chosen & measured for name, chosen in subsets_of(data, indices).items()}
    groups = {name: chosen for name, chosen in groups.items() if chosen.any()}
    metrics = {name: tallies[REFERENCE].paper_metrics(chosen) for name, chosen in groups.items()}
    report = GateReport(int(measured.sum()), data.crops.root.resolve().name, metrics)
    for name, model in models.items():
        largest = emulated[name].largest if name in emulated else None
        report.files[name] = _file_report(name, model, tallies[name], tallies[REFERENCE], groups, largest)
    return report


def _file_report(
    name: str,
    model: onnx.ModelProto,
    tally: Tally,
    base: Tally,
    groups: Mapping[str, np.ndarray],
    largest: Mapping[str, float] | None,
) -> FileReport:
    faults = [f"{output} holds NaN or infinity, or has another shape" for output in sorted(tally.bad)]
    subsets = {}
    for subset, chosen in groups.items():
        parity = compare_sheets(base.sheet, tally.sheet, chosen)
        subsets[subset] = {
            "faces": float(parity.faces),
            **tally.against_reference(chosen),
            "mean_growth": parity.mean_growth,
            "worst_face_mm": parity.worst_face_mm,
            **tally.paper_metrics(chosen),
        }
        if subset == "all" or parity.faces >= MIN_SUBSET_FACES:
            faults += growth_faults(parity, subset)
    if name == "fp32.onnx":
        for output, error in tally.worst_of_range.items():
            if not error <= MAX_ERROR_OF_RANGE:
                faults.append(f"{output} is {error:g} of its range away from PyTorch, limit {MAX_ERROR_OF_RANGE:g}")
    for output, errors in tally.mean_of_range.items():
        mean = float(np.mean(errors))
        if output != "depth" and not mean < MAX_MEAN_PROBABILITY:
            faults.append(f"{output} differs by {mean:.3f} in the mean, limit {MAX_MEAN_PROBABILITY:g}")
    if name == "int8.onnx":
        wanted, fused = quantised_convolutions(model), count_fused(model)["QLinearConv"]
        if fused != wanted or not fused:
            faults.append(f"{fused} QLinearConv after optimisation, expected {wanted}, at least one")
    of_graph, most = graph_faults(name, model, largest)
    return FileReport(subsets, tally.sheet.summary(), most, (*faults, *of_graph))


def growth_faults(parity: Parity, subset: str) -> list[str]:
    """Return which of DESIGN section 4's limits a file misses on some faces."""
    if parity.passed:
        return []
    got = f"mean error grows by {100 * parity.mean_growth:.2f} %, one face by {parity.worst_face_mm:.2f} mm"
    return [f"{subset}: {got}; limits {100 * MAX_MEAN_GROWTH:g} % and {MAX_FACE_WORSE_MM:g} mm"]


def run_emulated(runner: GraphRunner, faces: np.ndarray) -> dict[str, np.ndarray]:
    """Run (N, 1, H, W) float32 faces through a graph in PyTorch."""
    return runner.run({INPUT: faces})


def runner_from_program(content: bytes, spec: ModelSpec) -> Runner:
    """Return the PyTorch reference that an artifact carries (reference.pt2)."""
    program = torch.export.load(io.BytesIO(content)).module()

    def run(faces: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            return dict(
                zip(spec.outputs.names, (value.numpy() for value in program(torch.from_numpy(faces))), strict=True)
            )

    return run


def require_gate(report: GateReport, where: str) -> None:
    """Refuse an artifact that the gate found faults in.

    Raises:
        ArtifactError: The first faults are named.
    """
    if report.faults:
        fix = "Calibrate on more faces, leave that file out by --files, or train with quantisation."
        raise ArtifactError.of(where, "; ".join(report.faults[:4]), "files within the gate's limits", fix)


def _plain(value: float | None) -> float | None:
    finite = finite_or_none(value)
    return None if finite is None else round(finite, 6)


def gate_of_artifact(folder: Path, data: PackedSet, count: int | None = None) -> GateReport:
    """Run the gate on an artifact that was written before.

    Args:
        folder: The artifact, with reference.pt2.
        data: The packed set.
        count: Most frames of its test split, spread over it; all when None.

    Raises:
        ArtifactError: The artifact is damaged, or has no reference.pt2 or no ONNX file.
        InputError: The set's boxes are not of the model's size, or no held-out frame shows a measured head.
    """
    artifact = open_artifact(folder)
    files = {name: artifact.read(name) for name in FILES if artifact.has(name)}
    if not artifact.has(REFERENCE_FILE) or not files:
        rule = f"{REFERENCE_FILE} and at least one ONNX file"
        fix = f"Export the model from a checkout: the installed package leaves {REFERENCE_FILE} out."
        raise ArtifactError.of(str(folder), sorted(artifact.spec.files), rule, fix)
    if artifact.spec.input_hw != (data.crops.box_px, data.crops.box_px):
        rule = f"{artifact.spec.input_hw[1]} px, as the model takes"
        raise InputError.of(str(data.crops.root), f"boxes of {data.crops.box_px} px", rule, "Give its data set.")
    run = runner_from_program(artifact.read(REFERENCE_FILE), artifact.spec)
    data = data.with_depth_along(artifact.spec.depth_scale.along)
    return run_gate(files, run, data, spread_indices(data, "test", count))


def main(arguments: list[str] | None = None) -> int:
    """Measure an artifact as the command line says.

    Returns:
        Exit status: 0 within the limits, 1 past them or failed.
    """
    from export.faces import open_faces_or_set

    parser = argparse.ArgumentParser(prog="python -m export.parity", description="Compare an artifact with PyTorch.")
    parser.add_argument("artifact", type=Path, help="the artifact's folder, with reference.pt2")
    parser.add_argument("--data", type=Path, required=True, help="a data set, or a faces file (export.faces)")
    parser.add_argument("--count", type=int, help="most faces of the test split, spread over it (default: all)")
    parser.add_argument("--json", type=Path, help="write the report there too")
    parser.add_argument("--cache-dir", type=Path, help="where packed data sets lie (default: in the set's folder)")
    args = parser.parse_args(arguments)

    def work() -> Outcome:
        require_counts(args, "count")
        require_writable(args.json)
        report = gate_of_artifact(args.artifact, open_faces_or_set(args.data, args.cache_dir), args.count)
        write_json(args.json, report.to_json())
        return Outcome(report.table(), passed=not report.faults)

    return run_command("python -m export.parity", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
