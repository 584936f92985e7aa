# SPDX-License-Identifier: Apache-2.0
"""Times `predict()` beside other ways to a face's depth, in one run: `python -m benchmarks.peers [--threads 2]`.

All take turns in blocks, so that whatever else the machine does meets all; a ratio is the median of the blocks' ratios,
each of the mean times of a run (see benchmarks.latency.ratio_of_block). The paper's generator runs without any crop, at
batch 1, with random weights (timing does not depend on them), as plain ONNX in ONNX Runtime and OpenVINO, and in
PyTorch, eager and compiled. MediaPipe FaceMesh tracks its face in the same frame; it needs an environment of its own,
see benchmarks/face_mesh.py. A peer that is not here is a line that says so.

`--errors FILE` adds the error in mm on a data set, from `python -m train.evaluate ... --json FILE`, where a row of that
name is in it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch

from benchmarks.latency import ratio_of_block, times_ms
from export.onnx_from_torch import onnx_from_network, open_session
from export.timing import require_openvino, run_in_openvino
from facedepth_edge import EdgeDepth
from facedepth_edge.bench.machine import describe_machine, describe_versions
from facedepth_edge.demo import load_demo_frame
from facedepth_edge.errors import BackendUnavailable, InputError
from train.command import Outcome, require_counts, require_writable, run_command, write_json
from train.networks import NETWORKS

SIDE_PX = 96
FIRST = "edge, predict()"
Timer = Callable[[int], list[float]]
"""Runs a peer so many times and returns the milliseconds of each."""


def open_peers(stack: ExitStack, threads: int, mediapipe_python: Path | None) -> tuple[dict[str, Timer], list[str]]:
    """Open every peer that is here.

    Args:
        stack: Closes them.
        threads: Of one run.
        mediapipe_python: The interpreter of the environment with MediaPipe, or None.

    Returns:
        Name to timer, FIRST first; and one line for each peer that is not here.
    """
    demo = load_demo_frame()
    edge = stack.enter_context(EdgeDepth(camera=demo.camera, threads=threads))
    face = np.zeros((1, 1, SIDE_PX, SIDE_PX), np.float32)
    torch.set_num_threads(threads)
    network = NETWORKS["paper"]().eval().requires_grad_(False)
    graph = onnx_from_network(network, (SIDE_PX, SIDE_PX))
    session = open_session(graph, threads=threads)
    picture = torch.from_numpy(face)
    missing: list[str] = []

    def predict() -> None:
        edge.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm)

    peers: dict[str, Timer] = {
        FIRST: lambda runs: times_ms(predict, runs),
        f"paper's generator, ONNX Runtime {onnxruntime.__version__} FP32": lambda runs: times_ms(
            lambda: session.run(None, {"face": face}), runs
        ),
        "paper's generator, PyTorch eager": lambda runs: times_ms(lambda: network(picture), runs),
    }
    try:
        compiled = torch.compile(network)
        compiled(picture)
        peers["paper's generator, PyTorch compiled"] = lambda runs: times_ms(lambda: compiled(picture), runs)
    except (RuntimeError, OSError) as error:  # no C++ compiler, or one that torch cannot use
        missing.append(f"PyTorch compiled: {str(error).splitlines()[0]}")
    try:
        openvino = require_openvino()
    except BackendUnavailable as error:
        missing.append(f"OpenVINO: {error.__cause__} (pip install openvino)")
    else:
        infer = run_in_openvino(graph.SerializeToString(), threads, face)
        title = f"paper's generator, OpenVINO {openvino.__version__.split('-')[0]}"
        peers[title] = lambda runs: times_ms(infer, runs)
    if mediapipe_python is None:
        missing.append("MediaPipe FaceMesh: no --mediapipe-python")
    else:
        peers["MediaPipe FaceMesh, tracking"] = stack.enter_context(face_mesh_timer(mediapipe_python, demo.frame))
    return peers, missing


@contextmanager
def face_mesh_timer(python: Path, frame: np.ndarray) -> Iterator[Timer]:
    """Start FaceMesh in its own environment; yields its timer.

    Args:
        python: The environment's interpreter.
        frame: (H, W, 3) uint8 BGR.

    Raises:
        InputError: It does not start, or finds no face in the frame.
    """
    server = Path(__file__).with_name("face_mesh_server.py")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "frame.png"
        cv2.imwrite(str(picture), frame)
        try:
            process = subprocess.Popen(
                [str(python), str(server), str(picture)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1,
            )  # fmt: skip
        except OSError as error:
            rule = "a Python with mediapipe 0.10.21"
            raise InputError.of("--mediapipe-python", str(error), rule, "See benchmarks/face_mesh.py.") from error
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            answer = process.stdout.readline().strip()
            if answer != "ready":
                got = answer or "no answer"
                raise InputError.of("FaceMesh", got, "ready", "Run benchmarks/face_mesh_server.py by hand to see why.")

            def timer(runs: int) -> list[float]:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(f"{runs}\n")
                process.stdin.flush()
                return [float(value) for value in process.stdout.readline().split()]

            yield timer
        finally:
            process.stdin.close()
            process.wait(timeout=30)
            process.stdout.close()


def measure(peers: dict[str, Timer], blocks: int, runs: int) -> list[dict[str, Any]]:
    """Time all peers in turns.

    Args:
        peers: Name to timer; the first is what the others are compared with.
        blocks: How many turns.
        runs: Runs of each in a turn, after two that are not counted.

    Returns:
        A row a peer: `name`, `p50_ms`, `p90_ms`, `ratio` (to the first, median of blocks), `runs`.
    """
    taken: dict[str, list[list[float]]] = {name: [] for name in peers}
    for timer in peers.values():
        timer(3)
    for _ in range(blocks):
        for name, timer in peers.items():
            timer(2)
            taken[name].append(timer(runs))
    first = taken[next(iter(peers))]
    rows = []
    for name, parts in taken.items():
        every = [value for block in parts for value in block]
        ratios = [ratio_of_block(block, base) for block, base in zip(parts, first, strict=True)]
        row = {"name": name, "p50_ms": statistics.median(every), "p90_ms": float(np.percentile(every, 90))}
        rows.append({**row, "ratio": statistics.median(ratios), "runs": len(every)})
    return rows


def errors_from_file(path: Path) -> list[dict[str, Any]]:
    """Read the rows of `python -m train.evaluate --json`.

    Raises:
        InputError: It is no such file.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return [{name: row[name] for name in ("name", "region", "offset_free_mm")} for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        rule = "a file of python -m train.evaluate --json"
        raise InputError.of(str(path), f"{type(error).__name__}: {error}", rule, "Write it again.") from error


def table_from_rows(rows: list[dict[str, Any]], missing: list[str], errors: list[dict[str, Any]]) -> str:
    """Return the rows of `measure` and of `errors_from_file` as Markdown tables, and a line for each missing peer."""
    lines = ["| what | p50 (ms) | p90 (ms) | times predict() |", "|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row['name']} | {row['p50_ms']:.2f} | {row['p90_ms']:.2f} | {row['ratio']:.1f} |")
    for line in missing:
        lines += ["", f"not here: {line}"]
    if errors:
        lines += ["", "| error | over | mm after offset |", "|---|---|---|"]
        for entry in errors:
            lines.append(f"| {entry['name']} | {entry['region']} | {entry['offset_free_mm']:.2f} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Time all peers and print the table.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--runs", type=int, default=10, help="runs of each peer in a block")
    parser.add_argument("--mediapipe-python", type=Path, help="interpreter of an environment with mediapipe==0.10.21")
    parser.add_argument("--errors", type=Path, help="JSON of python -m train.evaluate: error in mm beside the times")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args(arguments)

    def work() -> Outcome:
        require_counts(args, "threads", "blocks", "runs")
        require_writable(args.json)
        errors = [] if args.errors is None else errors_from_file(args.errors)
        with ExitStack() as stack:
            peers, missing = open_peers(stack, args.threads, args.mediapipe_python)
            rows = measure(peers, args.blocks, args.runs)
        figures = {"machine": describe_machine(), "versions": describe_versions(), "threads": args.threads}
        write_json(args.json, {**figures, "rows": rows, "missing": missing, "errors": errors})
        title = f"{args.threads} threads, batch 1, {args.blocks} alternating blocks of {args.runs} runs"
        return Outcome(f"{title}\n\n{table_from_rows(rows, missing, errors)}")

    return run_command("python -m benchmarks.peers", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
