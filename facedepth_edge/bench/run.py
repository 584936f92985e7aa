# SPDX-License-Identifier: Apache-2.0
"""Times `predict()`: warm-up, queries in one of three modes, a control loop between them, cold start and memory."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facedepth_edge import __version__
from facedepth_edge.bench.machine import checkout_commit, describe_machine, describe_versions, memory_mib
from facedepth_edge.bench.plan import BenchPlan
from facedepth_edge.bench.power import PowerMeter
from facedepth_edge.bench.record import BENCH_FORMAT, Bench, BenchModel, BenchRun, Timeline
from facedepth_edge.bench.statistics import curve_of, histogram_of, judge_noise, spread_of_blocks, summarise_times
from facedepth_edge.camera import Camera
from facedepth_edge.demo import DemoFrame, load_demo_frame
from facedepth_edge.errors import ArtifactError
from facedepth_edge.opencv import import_cv2

if TYPE_CHECKING:
    from facedepth_edge.api import EdgeDepth

CONTROL_EVERY_MS = 50.0
CONTROL_SIDE = 96
TIMELINE_POINTS = 2000
ALLOCATION_FRAMES = 20
COLD_STARTS = 3
_COLD_START = """
import json, sys, time
t0 = time.perf_counter()
from facedepth_edge import EdgeDepth
t1 = time.perf_counter()
from facedepth_edge.bench.run import scaled_demo
model, backend, precision, threads, width, height = json.loads(sys.argv[1])
demo = scaled_demo((width, height))
t2 = time.perf_counter()
edge = EdgeDepth(model, backend, precision, demo.camera, threads)
t3 = time.perf_counter()
edge.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm)
t4 = time.perf_counter()
print(json.dumps({"import": (t1 - t0) * 1e3, "load": (t3 - t2) * 1e3, "first_result": (t4 - t3) * 1e3}))
"""


@dataclass
class Times:
    """What was measured, one entry a query in every list.

    Args:
        latency_ms: From the moment that a frame was there (paced: was due) to its result.
        service_ms: What `predict()` itself took.
        at_s: When the query ended, since the measurement began.
        stages_ms: The stages that `predict()` reports.
        control_ms: What the fixed control work took, now and then.
    """

    latency_ms: list[float] = field(default_factory=list)
    service_ms: list[float] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    control_ms: list[float] = field(default_factory=list)


def scaled_demo(size_wh: tuple[int, int]) -> DemoFrame:
    """Return the bundled frame scaled to a size; its head covers the same share of it.

    Args:
        size_wh: Width and height in pixels; another shape than 16:9 cuts or widens the frame around the head.
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
        plan: Mode, frame, length.
        model: As `EdgeDepth` takes it.
        backend: Likewise.
        precision: Likewise.
        threads: Likewise.
        tick: Called now and then with the share of the run that is done, 0..1.
        cold_start: Also time import, load and first result in fresh processes.

    Returns:
        The run, fit for JSON: one entry of the file's `runs`.

    Raises:
        FaceDepthError: As `EdgeDepth` and `predict` raise it.
    """
    from facedepth_edge.api import EdgeDepth

    demo = scaled_demo(plan.size_wh)
    with EdgeDepth(model, backend, precision, demo.camera, threads) as edge:
        result = edge.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm)
        described = _describe_model(edge)
        _warm_up(edge, demo, plan.warm_up_seconds)
        with PowerMeter(gpu_of(edge)) as meter:
            began = time.perf_counter()
            times = _measure(edge, demo, plan, tick)
            wall_s = time.perf_counter() - began
        counts = _count_allocations(edge, demo)
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
        run["cold_start_ms"] = _cold_start(model, backend, precision, threads, plan.size_wh)
    return run


def gpu_of(edge: EdgeDepth) -> str | None:
    """Return the PCI bus id of the GPU that a model runs on; None where it runs in host memory."""
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


def _warm_up(edge: EdgeDepth, demo: DemoFrame, seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        edge.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm)


def _measure(edge: EdgeDepth, demo: DemoFrame, plan: BenchPlan, tick: Callable[[float], None] | None) -> Times:
    if plan.streams == 1:
        return _measure_stream(edge, demo, plan, time.perf_counter(), tick)
    began, stop = time.perf_counter(), threading.Event()
    with ThreadPoolExecutor(plan.streams, thread_name_prefix="stream") as pool:
        try:
            jobs = [
                pool.submit(_measure_stream, edge, demo, plan, began, tick if index == 0 else None, stop)
                for index in range(plan.streams)
            ]
            parts = [job.result() for job in jobs]
        except BaseException:  # such as Ctrl-C: the pool's end waits for the streams
            stop.set()
            raise
    order = np.argsort(np.concatenate([part.at_s for part in parts]), kind="stable")

    def merged(lists: list[list[float]]) -> list[float]:
        return np.concatenate(lists)[order].tolist()

    return Times(
        merged([part.latency_ms for part in parts]),
        merged([part.service_ms for part in parts]),
        merged([part.at_s for part in parts]),
        {name: merged([part.stages_ms[name] for part in parts]) for name in parts[0].stages_ms},
        parts[0].control_ms,
    )


def _measure_stream(
    edge: EdgeDepth,
    demo: DemoFrame,
    plan: BenchPlan,
    began: float,
    tick: Callable[[float], None] | None,
    stop: threading.Event | None = None,
) -> Times:
    times = Times()
    work = np.linspace(0.0, 1.0, CONTROL_SIDE * CONTROL_SIDE, dtype=np.float32).reshape(CONTROL_SIDE, CONTROL_SIDE)
    wanted = -(-plan.queries // plan.streams)
    since_control, last_tick, query = CONTROL_EVERY_MS, 0.0, 0
    paced = plan.mode == "paced"
    start = time.perf_counter()
    while True:
        elapsed = time.perf_counter() - start
        if query >= wanted and elapsed >= plan.seconds:
            break
        if stop is not None and stop.is_set():
            return times
        if tick is not None and elapsed - last_tick >= 0.1:
            last_tick = elapsed
            tick(min(query / wanted, elapsed / plan.seconds, 1.0))
        if since_control >= CONTROL_EVERY_MS:
            times.control_ms.append(_time_control(work))
            since_control = 0.0
        due = start + query * plan.period_ms / 1e3
        if paced:
            _wait_until(due)
        before = time.perf_counter()
        result = edge.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm)
        after = time.perf_counter()
        service = (after - before) * 1e3
        times.latency_ms.append((after - due) * 1e3 if paced else service)
        times.service_ms.append(service)
        times.at_s.append(after - began)
        for name, value in result.timings_ms.items():
            if name != "total":
                times.stages_ms.setdefault(name, []).append(value)
        since_control += plan.period_ms if paced else service
        query += 1
    if tick is not None:
        tick(1.0)
    return times


def _wait_until(due: float) -> None:
    """Sleep until a moment, as a program sleeps that waits for its camera."""
    left = due - time.perf_counter()
    if left > 0:
        time.sleep(left)


def _time_control(work: NDArray[np.float32]) -> float:
    """Time a fixed piece of work that no other thread takes part in, in milliseconds; once before, to be awake."""
    for _ in range(2):
        start = time.perf_counter()
        total = work
        for _ in range(12):
            total = np.sqrt(total * total + 1.0)
    return (time.perf_counter() - start) * 1e3


def _count_allocations(edge: EdgeDepth, demo: DemoFrame) -> dict[str, int]:
    """Count what a predict() allocates through Python and NumPy, with its result let go each time.

    `peak_kib_per_frame` is the most that one frame holds at a time beyond what was held before, `kept_kib_per_frame`
    what a frame leaves behind, averaged over several: a leak if it is not 0. Whole KiB, so that equal builds agree.
    """

    def predict() -> None:
        edge.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm)

    tracemalloc.start()
    try:
        predict()
        before = tracemalloc.get_traced_memory()[0]
        peaks = []
        for _ in range(ALLOCATION_FRAMES):
            tracemalloc.reset_peak()
            held = tracemalloc.get_traced_memory()[0]
            predict()
            peaks.append(tracemalloc.get_traced_memory()[1] - held)
        kept = (tracemalloc.get_traced_memory()[0] - before) // ALLOCATION_FRAMES
    finally:
        tracemalloc.stop()
    return {
        "peak_kib_per_frame": round(float(np.median(peaks)) / 1024),
        "kept_kib_per_frame": max(0, round(kept / 1024)),
    }


def _cold_start(
    model: str, backend: str, precision: str, threads: int | None, size_wh: tuple[int, int]
) -> dict[str, float]:
    """Time import, load and first result in fresh processes, in milliseconds; medians, the first process left out."""
    arguments = json.dumps([model, backend, precision, threads, *size_wh])
    found = []
    for _ in range(COLD_STARTS + 1):
        done = subprocess.run(
            [sys.executable, "-c", _COLD_START, arguments],
            capture_output=True,
            text=True,
            check=False,
            env=_plain_env(),
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
            rule = "a process that loads the model"
            raise ArtifactError.of("cold start", last, rule, "Run facedepth-edge doctor.")
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return {name: float(np.median([one[name] for one in found[1:]])) for name in found[0]}


def _plain_env() -> dict[str, str]:
    """Return the environment in which a fresh process finds this package and may keep its compiled files."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    here = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [environment.get("PYTHONPATH")])])
    return environment


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
