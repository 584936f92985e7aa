# SPDX-License-Identifier: Apache-2.0
"""Benchmarks one variant of a model on the bundled frame, and describes what runs and on which machine."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facedepth_edge import __version__
from facedepth_edge.bench.cold_start import time_cold_start
from facedepth_edge.bench.machine import checkout_commit, describe_machine, describe_versions, memory_mib
from facedepth_edge.bench.measure import count_allocations, measure, warm_up
from facedepth_edge.bench.plan import BenchPlan
from facedepth_edge.bench.power import PowerMeter
from facedepth_edge.bench.record import BENCH_FORMAT, Bench, BenchModel, BenchRun, Timeline
from facedepth_edge.bench.statistics import curve_of, histogram_of, judge_noise, spread_of_blocks, summarise_times
from facedepth_edge.camera import Camera
from facedepth_edge.demo_frame import DemoFrame, load_demo_frame
from facedepth_edge.opencv import import_cv2

if TYPE_CHECKING:
    from facedepth_edge.api import EdgeDepth

TIMELINE_POINTS = 2000


def scaled_demo(size_wh: tuple[int, int]) -> DemoFrame:
    """Return the bundled frame scaled to a size; its head covers the same share of it.

    Args:
        size_wh: width and height in pixels; another shape than 16:9 cuts or widens the frame around the head.
    """
    cv2 = import_cv2()
    demo = load_demo_frame()
    height, width = demo.frame.shape[:2]
    factor = max(size_wh[0] / width, size_wh[1] / height)
    x, y = (value * factor for value in demo.head_center)
    left = min(max(x - size_wh[0] / 2, 0.0), width * factor - size_wh[0])
    top = min(max(y - size_wh[1] / 2, 0.0), height * factor - size_wh[1])
    matrix = np.array([[factor, 0, -left], [0, factor, -top]], np.float64)
    frame = cv2.warpAffine(demo.frame, matrix, size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    old = demo.camera
    cx, cy = (old.cx or width / 2) * factor - left, (old.cy or height / 2) * factor - top
    camera = Camera(old.fx * factor, old.fy * factor, cx, cy, old.nominal_distance_mm)
    return DemoFrame(np.ascontiguousarray(frame), (x - left, y - top), demo.distance_mm, camera)


def run_bench(
    plan: BenchPlan,
    *,
    model: str = "edge",
    backend: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    tick: Callable[[float], None] | None = None,
    cold_start: bool = True,
) -> BenchRun:
    """Benchmark one variant of a model.

    Args:
        plan: mode, frame, length.
        model: as `EdgeDepth` takes it.
        backend: likewise.
        precision: likewise.
        threads: likewise.
        tick: called now and then with the share of the run that is done, 0..1.
        cold_start: also time import, load and first result in fresh processes.

    Returns:
        The run, fit for JSON: one entry of the file's `runs`.

    Raises:
        FaceDepthError: as `EdgeDepth` and `predict` raise it.
    """
    from facedepth_edge.api import EdgeDepth

    demo = scaled_demo(plan.size_wh)
    with EdgeDepth(model, backend, precision, demo.camera, threads) as edge:
        result = demo.predict_with(edge)
        described = _describe_model(edge)
        warm_up(edge, demo, plan.warm_up_seconds)
        with PowerMeter(gpu_of(edge)) as meter:
            began = time.perf_counter()
            times = measure(edge, demo, plan, tick)
            wall_s = time.perf_counter() - began
        counts = count_allocations(edge, demo)
        memory = memory_mib()
    power = meter.summary()
    if power:
        power["energy_per_frame_mj"] = 1e3 * power["mean_w"] * wall_s / len(times.latency_ms)
    latency, service = np.array(times.latency_ms), np.array(times.service_ms)
    run: BenchRun = {
        "model": described,
        "valid": bool(result.valid),
        "mode": plan.mode,
        "fps": plan.fps,
        "resolution": f"{plan.size_wh[0]}x{plan.size_wh[1]}",
        "streams": plan.streams,
        "queries": len(latency),
        "full": plan.full,
        "host_walltime_s": wall_s,
        "throughput_qps": len(latency) / wall_s,
        "latency_ms": summarise_times(latency),
        "service_ms": summarise_times(service),
        "stages_p50_ms": {name: float(np.median(values)) for name, values in times.stages_ms.items()},
        "outside_network_p50_ms": float(np.median(service - np.array(times.stages_ms["network"]))),
        "deadline_ms": plan.period_ms,
        "missed_deadlines": int((latency > plan.period_ms).sum()),
        "block_spread": spread_of_blocks(service),
        "noise": judge_noise(np.array(times.control_ms)),
        "histogram": histogram_of(latency),
        "curve": curve_of(latency),
        "timeline": _thinned(np.array(times.at_s), latency),
        "memory_mib": memory,
        "power": power,
        "counts": counts,
    }
    if cold_start:
        run["cold_start_ms"] = time_cold_start(model, backend, precision, threads, plan.size_wh)
    return run


def gpu_of(edge: EdgeDepth) -> str | None:
    """Return the PCI bus id of the GPU that a model runs on; None if it runs in host memory."""
    if edge.info["memory"] != "cuda":
        return None
    from facedepth_edge.cuda import open_session

    return open_session().gpu.pci_bus_id


def describe_bench(runs: list[BenchRun]) -> Bench:
    """Return runs with what they ran on, as the JSON file has it; `machine` is without the clocks of the moment."""
    machine = describe_machine()
    clocks = machine.pop("cpu_clocks", {})
    gpu_clocks = machine.pop("gpu_clocks", [])
    if gpu_clocks:
        clocks["gpu"] = "; ".join(gpu_clocks)
    return {
        "bench_format": BENCH_FORMAT,
        "program": f"facedepth-edge {__version__}",
        "commit": checkout_commit(),
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": machine,
        "clocks": clocks or None,
        "versions": describe_versions(),
        "runs": runs,
    }


def _describe_model(edge: EdgeDepth) -> BenchModel:
    info, spec = edge.info, edge.spec
    files = {name: entry.sha256 for name, entry in spec.files.items()}
    return {
        "model": info["model"],
        "version": info["version"],
        "backend": info["backend"],
        "provider": info["provider"],
        "precision": info["precision"],
        "threads": info["threads"],
        "crop": info["crop"],
        "memory": info["memory"],
        "graph_why_not": info["graph_why_not"],
        "files_sha256": hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest(),
        "training_commit": dict(spec.training).get("commit"),
        "accuracy": _accuracy_of(spec.accuracy, info["precision"]),
    }


def _accuracy_of(accuracy: Any, precision: str) -> dict[str, Any] | None:
    """Return what spec.json says of a precision's error, with the data that it was measured on."""
    table = dict(accuracy) if accuracy else {}
    figures = table.get(precision)
    if not isinstance(figures, dict):
        return None
    return {"data": table.get("data"), "split": table.get("split"), **figures}


def _thinned(at_s: NDArray[np.float64], latency_ms: NDArray[np.float64]) -> Timeline:
    """Return the time line with at most TIMELINE_POINTS points: of each stretch its slowest query."""
    if len(at_s) > TIMELINE_POINTS:
        parts = np.array_split(np.arange(len(at_s)), TIMELINE_POINTS)
        chosen = np.array([part[latency_ms[part].argmax()] for part in parts])
        at_s, latency_ms = at_s[chosen], latency_ms[chosen]
    return {"at_s": np.round(at_s, 4).tolist(), "ms": np.round(latency_ms, 4).tolist()}
