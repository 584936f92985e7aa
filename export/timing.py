# SPDX-License-Identifier: Apache-2.0
"""Times the forms of a network's INT8 file beside its plain FP32 export: `python -m export.timing --model paper`.

All take turns in blocks, so that whatever else the machine does meets all; a form's ratio is the median of the blocks'
ratios. Batch 1, weights at random: timing does not depend on them. The network has the settings of the bundled model of
its name, where one is bundled. With --artifact the files of a folder are timed, with --openvino the form of int8.onnx
is timed in OpenVINO too.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from export.calibration import PERCENTILES
from export.deconvolutions import (
    deconvolutions_as_convolutions,
    form_for_cpu_int8,
    form_for_few_weights,
    weight_count,
)
from export.graph_files import FILES
from export.int8_cpu import int8_from_fp32
from export.onnx_from_torch import INPUT, onnx_from_network, open_session
from export.random_network import random_network, settings_of
from facedepth_edge.artifacts import open_artifact
from facedepth_edge.errors import BackendUnavailable, InputError
from train.command import Outcome, require_counts, require_writable, run_command, write_json

PLAIN = "fp32 as exported"
FORMS: dict[str, Callable[[int, int], str]] = {
    "phases": lambda channels, outputs: "phases",
    "rows": lambda channels, outputs: "rows",
    "single": lambda channels, outputs: "single",
    "phases/single": form_for_few_weights,
    "phases/rows": lambda channels, outputs: "phases" if channels >= 1024 else "rows",
}
SIDE_PX = 96
CALIBRATION = 16
RUNS_A_BLOCK = 10


def smooth_pictures(count: int, size_hw: tuple[int, int] = (SIDE_PX, SIDE_PX)) -> np.ndarray:
    """Return (count, 1, H, W) float32 random pictures of 8 px squares, always the same."""
    height, width = size_hw
    coarse = np.random.default_rng(0).uniform(-1, 1, (count, 1, -(-height // 8), -(-width // 8)))
    return np.kron(coarse, np.ones((8, 8)))[:, :, :height, :width].astype(np.float32)


def forms_of_network(name: str) -> dict[str, tuple[onnx.ModelProto, int]]:
    """Return the graphs to compare, by name, each with the bytes of its convolutions' weights."""
    faces = smooth_pictures(CALIBRATION)
    plain = onnx_from_network(random_network(name, faces).network, (SIDE_PX, SIDE_PX))
    graphs = {PLAIN: (plain, 4 * weight_count(plain))}
    for form, form_of in FORMS.items():
        rewritten = deconvolutions_as_convolutions(plain, form_of)
        weights = weight_count(rewritten)
        graphs[f"fp32 {form}"] = (rewritten, 4 * weights)
        graphs[f"int8 {form}"] = (int8_from_fp32(rewritten, {INPUT: faces}, percentiles=PERCENTILES[-1:]), weights)
    return graphs


def run_in_onnxruntime(graph: bytes, threads: int, face: np.ndarray) -> Callable[[], object]:
    """Open a graph in ONNX Runtime.

    Args:
        graph: The ONNX file.
        threads: Of one run.
        face: (B, 1, 96, 96) float32, what it runs on.

    Returns:
        What runs it once, on the CPU.
    """
    session = open_session(graph, threads)
    return lambda: session.run(None, {INPUT: face})


def require_openvino() -> Any:
    """Return the package.

    Raises:
        BackendUnavailable: It is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        fix = "pip install openvino, or leave --openvino out."
        raise BackendUnavailable.of("export.timing", str(error), "OpenVINO", fix) from error
    return openvino


def run_in_openvino(graph: bytes, threads: int, face: np.ndarray) -> Callable[[], object]:
    """Open a graph in OpenVINO, set for latency; floats are of the type that it chooses itself.

    Args:
        graph: The ONNX file.
        threads: Of one run.
        face: (B, 1, 96, 96) float32, what it runs on.

    Returns:
        What runs it once, on the CPU.

    Raises:
        BackendUnavailable: OpenVINO is not installed.
    """
    openvino = require_openvino()
    settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    core = openvino.Core()
    request = core.compile_model(core.read_model(graph), "CPU", settings).create_infer_request()
    return lambda: request.infer([face])


def time_blocks(
    runners: dict[str, Callable[[], object]], blocks: int, runs: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Time graphs in turns.

    Args:
        runners: By name, what runs a graph once; the first is what the others are compared with.
        blocks: How many turns.
        runs: Runs of each in a turn; two more before them are not counted.

    Returns:
        By name, the median time of a run in ms, and how many times faster than the first it is (median over blocks).
    """
    times: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(blocks):
        for name, run in runners.items():
            for _ in range(2):
                run()
            started = time.perf_counter()
            for _ in range(runs):
                run()
            times[name].append((time.perf_counter() - started) / runs * 1e3)
    first = times[next(iter(times))]
    ratios = {name: statistics.median(a / b for a, b in zip(first, own, strict=True)) for name, own in times.items()}
    return {name: statistics.median(own) for name, own in times.items()}, ratios


def main(arguments: list[str] | None = None) -> int:
    """Time as the command line says.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    parser = argparse.ArgumentParser(prog="python -m export.timing", description="Time a network's forms.")
    parser.add_argument("--model", default="paper", choices=("edge", "paper"), help="the network (%(default)s)")
    parser.add_argument("--artifact", type=Path, help="time this artifact's files beside the plain FP32 export")
    parser.add_argument("--blocks", type=int, default=10, help="alternating blocks (%(default)s)")
    parser.add_argument("--runs", type=int, default=RUNS_A_BLOCK, help="runs a block (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of a run (%(default)s)")
    parser.add_argument("--openvino", action="store_true", help="time the form of int8.onnx in OpenVINO too")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    args = parser.parse_args(arguments)

    def work() -> Outcome:
        require_counts(args, "blocks", "runs", "threads")
        require_writable(args.json)
        versions = {"onnxruntime": onnxruntime.__version__}
        if args.openvino:
            versions["openvino"] = str(require_openvino().__version__)
        sizes: dict[str, int] = {}
        graphs: dict[str, bytes] = {}
        face = smooth_pictures(1)
        if args.artifact is None:
            for name, (model, weight_bytes) in forms_of_network(args.model).items():
                graphs[name], sizes[name] = model.SerializeToString(), weight_bytes
        else:
            artifact = open_artifact(args.artifact)
            face = smooth_pictures(1, artifact.spec.input_hw)
            faces = smooth_pictures(CALIBRATION, artifact.spec.input_hw)
            network = random_network(artifact.spec.architecture, faces, settings_of(artifact))
            plain = onnx_from_network(network.network, artifact.spec.input_hw)
            graphs[PLAIN], sizes[PLAIN] = plain.SerializeToString(), 4 * weight_count(plain)
            for name in FILES:
                if artifact.has(name) and name != "int8-trt.onnx":  # the CPU does not fuse its dialect
                    graphs[name], sizes[name] = artifact.read(name), artifact.spec.files[name].bytes
        runners = {name: run_in_onnxruntime(graph, args.threads, face) for name, graph in graphs.items()}
        if args.openvino:
            int8 = "int8.onnx" if args.artifact else f"int8 {form_for_cpu_int8(1024, 512)}"
            if int8 not in graphs:
                raise InputError.of("--openvino", f"no {int8} in {args.artifact}", "one", "Leave --openvino out.")
            runners[f"{int8}, OpenVINO"] = run_in_openvino(graphs[int8], args.threads, face)
            sizes[f"{int8}, OpenVINO"] = sizes[int8]
        medians, ratios = time_blocks(runners, args.blocks, args.runs)
        figures: dict[str, Any] = {
            "machine": platform.processor() or platform.machine(), **versions,
            "threads": args.threads, "blocks": args.blocks, "runs": args.runs, "form_for_cpu_int8":
            form_for_cpu_int8(1024, 512), "weight_bytes": sizes, "median_ms": medians, "times_faster": ratios,
        }  # fmt: skip
        write_json(args.json, figures)
        lines = ["| graph | weights MB | median ms | times faster |", "|---|---|---|---|"]
        for name, median in medians.items():
            lines.append(f"| {name} | {sizes[name] / 1e6:.1f} | {median:.2f} | {ratios[name]:.2f} |")
        return Outcome("\n".join(lines))

    return run_command("python -m export.timing", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
