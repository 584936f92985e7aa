# SPDX-License-Identifier: Apache-2.0
"""Times predict() end to end beside the paper's generator: `python -m benchmarks.latency [--json FILE]`.

Both take turns in blocks, so that whatever else the machine does meets both; the ratio is the median of the blocks'
ratios, each of the mean times of a run (see `ratio_of_block`). The paper's generator is exported as it is (ONNX, FP32,
weights at random: timing does not depend on them) and timed without any crop; predict() is timed whole, from a (720,
1280, 3) uint8 BGR frame with a box of BOX_PX to its result, and what it does outside the network besides. Both use the
same number of threads. Import time and resident memory are those of fresh processes without torch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from export.onnx_from_torch import onnx_from_network, open_session
from facedepth_edge import EdgeDepth
from facedepth_edge.bench.machine import describe_machine
from facedepth_edge.demo import load_demo_frame
from train.command import Outcome, require_counts, require_writable, run_command, write_json
from train.networks import NETWORKS

BOX_PX = 509
"""Side of the box: a head at 690 mm before a 60 degree camera of 1280 pixels. The distance that gives it is passed."""
PREDICTIONS_A_RUN = 20
"""How many times predict() runs for each run of the paper's generator, so that a turn of either meets many preemptions.
"""

_RESIDENT = """
import resource, sys
from facedepth_edge import EdgeDepth
from facedepth_edge.demo import load_demo_frame
demo = load_demo_frame()
edge = EdgeDepth(sys.argv[1], camera=demo.camera)
for _ in range(20):
    edge.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm)
pages = int(open("/proc/self/statm").read().split()[1])
print(pages * resource.getpagesize() / 2**20)
"""
_IMPORT = "import time; t = time.perf_counter(); import facedepth_edge; print((time.perf_counter() - t) * 1e3)"


def times_ms(call: Callable[[], Any], runs: int) -> list[float]:
    """Time calls one by one, in milliseconds."""
    out = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        out.append((time.perf_counter() - start) * 1e3)
    return out


def ratio_of_block(theirs_ms: list[float], ours_ms: list[float]) -> float:
    """Return how many times as long a run of the one takes as of the other, in one block: the ratio of their means.

    Other processes on the core stretch means alike: whoever gets half of a core takes twice as long on average,
    however short a run is. Medians and minima do not compare short runs with long ones: many a run of 1.5 ms fits
    between two preemptions and shows no delay, while one of 90 ms meets them all, so their ratio is too large. A rare
    long stall does move a mean; the median over blocks takes care of that.

    Args:
        theirs_ms: Times of consecutive runs.
        ours_ms: Likewise; together they must last for many preemptions, as the other's do.
    """
    return statistics.fmean(theirs_ms) / statistics.fmean(ours_ms)


def fresh_process(code: str, *arguments: str, repeats: int = 5) -> float:
    """Run code that prints one number in fresh interpreters; return the median, without the first (it compiles)."""
    command = [sys.executable, "-c", code, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found = [
        float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
        for _ in range(repeats + 1)
    ]
    return statistics.median(found[1:])


def open_generator(threads: int) -> Callable[[], object]:
    """Return what runs the paper's generator once, exported as it is, with random weights."""
    with torch.no_grad():
        session = open_session(onnx_from_network(NETWORKS["paper"]().eval(), (96, 96)), threads=threads)
    face = np.zeros((1, 1, 96, 96), np.float32)
    return lambda: session.run(None, {"face": face})


def measure(model: str, threads: int, blocks: int, runs: int) -> dict[str, Any]:
    """Take all measurements.

    Args:
        model: A bundled model or an artifact's folder.
        threads: Of one run.
        blocks: How many turns.
        runs: Runs of the paper's generator in a turn; predict() runs PREDICTIONS_A_RUN times as often.

    Returns:
        What is printed and written.

    Raises:
        ArtifactError: The model cannot be used.
    """
    demo = load_demo_frame()
    parts: dict[str, list[float]] = {"check": [], "crop": [], "network": [], "result": []}
    distance_mm = demo.camera.fx * 320.0 / BOX_PX
    outside_ms: list[float] = []
    ours_ms: list[float] = []
    paper_ms: list[float] = []
    ratios: list[float] = []
    with EdgeDepth(model, camera=demo.camera, threads=threads) as edge:  # first: a wrong model is told at once
        paper = open_generator(threads)

        def predict() -> None:
            started = time.perf_counter()
            timings = edge.predict(demo.frame, demo.head_center, distance_mm=distance_mm).timings_ms
            outside_ms.append((time.perf_counter() - started) * 1e3 - timings["network"])
            for name, values in parts.items():
                values.append(timings[name])

        times_ms(predict, 50)
        times_ms(paper, 3)
        for values in (*parts.values(), outside_ms):
            values.clear()
        for _ in range(blocks):
            ours, theirs = times_ms(predict, runs * PREDICTIONS_A_RUN), times_ms(paper, runs)
            ours_ms += ours
            paper_ms += theirs
            ratios.append(ratio_of_block(theirs, ours))
        info = edge.info
    return {
        "model": f"{info['model']} {info['version']} {info['precision']} on {info['provider']}",
        "threads": threads,
        "crop": info["crop"],
        "box_px": BOX_PX,
        "predict_p50_ms": statistics.median(ours_ms),
        "predict_p99_ms": float(np.percentile(ours_ms, 99)),
        "predict_parts_p50_ms": {name: statistics.median(values) for name, values in parts.items()},
        "outside_network_p50_ms": statistics.median(outside_ms),
        "outside_network_p10_p90_ms": np.percentile(outside_ms, [10, 90]).tolist(),
        "paper_fp32_p50_ms": statistics.median(paper_ms),
        "ratio_median_of_blocks": statistics.median(ratios),
        "ratio_min_max": [min(ratios), max(ratios)],
        "resident_mib": fresh_process(_RESIDENT, model, repeats=3),
        "import_ms": fresh_process(_IMPORT, repeats=9),
        "machine": describe_machine(),
        "versions": {
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
        },
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="edge", help="a bundled model or an artifact's folder (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of a run (%(default)s)")
    parser.add_argument("--blocks", type=int, default=10, help="alternating blocks (%(default)s)")
    parser.add_argument(
        "--runs", type=int, default=10,
        help=f"runs of the paper's generator in a block; predict(): {PREDICTIONS_A_RUN} times as many (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args(arguments)

    def work() -> Outcome:
        require_counts(args, "threads", "blocks", "runs")
        require_writable(args.json)
        figures = measure(args.model, args.threads, args.blocks, args.runs)
        write_json(args.json, figures)
        return Outcome(json.dumps(figures, indent=1))

    return run_command("python -m benchmarks.latency", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
