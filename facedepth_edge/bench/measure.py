# SPDX-License-Identifier: Apache-2.0
"""Measures `predict()`: queries in one of three modes with a control loop between them, and what one allocates."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facedepth_edge.bench.plan import BenchPlan
from facedepth_edge.demo_frame import DemoFrame

if TYPE_CHECKING:
    from facedepth_edge.api import EdgeDepth

CONTROL_EVERY_MS = 50.0
CONTROL_SIDE = 96
ALLOCATION_FRAMES = 20


@dataclass
class Times:
    """What was measured: one entry for each query in every list but `control_ms`.

    Args:
        latency_ms: from the moment that a frame was there (paced: was due) to its result.
        service_ms: what `predict()` itself took.
        at_s: when the query ended, since the measurement began.
        stages_ms: the stages that `predict()` reports.
        control_ms: what the fixed control work took, now and then.
    """

    latency_ms: list[float] = field(default_factory=list)
    service_ms: list[float] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    control_ms: list[float] = field(default_factory=list)


def warm_up(edge: EdgeDepth, demo: DemoFrame, seconds: float) -> None:
    """Run `predict()` for some seconds without measuring it."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        demo.predict_with(edge)


def measure(edge: EdgeDepth, demo: DemoFrame, plan: BenchPlan, tick: Callable[[float], None] | None) -> Times:
    """Measure a plan's queries, in the throughput mode from several threads at once.

    Args:
        edge: the opened model.
        demo: the frame to predict.
        plan: mode and length.
        tick: as for run_bench().

    Returns:
        The times of all streams, in the order in which the queries ended; the control work's are the first stream's.
    """
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
        result = demo.predict_with(edge)
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
    """Time a fixed piece of work of this thread alone, in milliseconds: the second run, as the first wakes the core."""
    for _ in range(2):
        start = time.perf_counter()
        total = work
        for _ in range(12):
            total = np.sqrt(total * total + 1.0)
    return (time.perf_counter() - start) * 1e3


def count_allocations(edge: EdgeDepth, demo: DemoFrame) -> dict[str, int]:
    """Count what a predict() allocates through Python and NumPy, with its result let go each time.

    `peak_kib_per_frame` is the most that one frame holds at a time beyond what was held before, `kept_kib_per_frame`
    what a frame leaves behind, averaged over several: a leak if it is not 0. Whole KiB, so that equal builds agree.
    """

    def predict() -> None:
        demo.predict_with(edge)

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
