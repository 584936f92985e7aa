# SPDX-License-Identifier: Apache-2.0
"""Schema of the `bench --json` file, validation of runs read back, and their display names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypedDict

BENCH_FORMAT = 1


class BenchModel(TypedDict):
    """What ran: from `EdgeDepth.info`, and from the model's spec.json what identifies its build and its error."""

    model: str
    version: str
    backend: str
    provider: str
    precision: str
    threads: int
    crop: str | None
    memory: str | None
    graph_why_not: str  # older files have none
    files_sha256: str
    training_commit: str | None
    accuracy: dict[str, Any] | None  # of this precision, with the `data` and `split` that it was measured on


class Noise(TypedDict):
    """How quiet the machine was, by a fixed piece of work."""

    control_p50_ms: float
    control_spread: float
    noisy: bool


class Histogram(TypedDict):
    """How many queries took how long: n + 1 edges, n counts."""

    edges_ms: list[float]
    counts: list[int]


class Curve(TypedDict):
    """The latency at each percentile."""

    percent: list[float]
    ms: list[float]


class Timeline(TypedDict):
    """The latency of the queries that ended at a moment since the measurement began."""

    at_s: list[float]
    ms: list[float]


class _Measured(TypedDict):
    model: BenchModel
    valid: bool
    mode: str
    fps: float
    resolution: str  # WxH, in pixels
    streams: int
    queries: int
    full: bool
    host_walltime_s: float
    throughput_qps: float
    latency_ms: dict[str, float]
    service_ms: dict[str, float]
    stages_p50_ms: dict[str, float]
    outside_network_p50_ms: float
    deadline_ms: float
    missed_deadlines: int
    block_spread: float  # older files have no noise and no block_spread
    noise: Noise
    histogram: Histogram
    curve: Curve
    timeline: Timeline
    memory_mib: dict[str, float]
    power: dict[str, Any] | None
    counts: dict[str, int]  # in KiB; older files have none


class BenchRun(_Measured, total=False):
    """One finished run, an entry of the file's `runs`."""

    cold_start_ms: dict[str, float]  # where it was asked for


class Bench(TypedDict):
    """The whole file: the runs and what they ran on."""

    bench_format: int
    program: str
    commit: str | None
    when: str
    machine: dict[str, Any]
    clocks: dict[str, Any] | None
    versions: dict[str, str]
    runs: list[BenchRun]


def can_be_compared(run: Any, figures: Iterable[str]) -> bool:
    """Say whether an entry that was read has what is compared, each of its kind; the rest is not looked at.

    Args:
        run: an entry of the file's `runs`, whatever it is.
        figures: the names in `latency_ms` that are compared.
    """
    if not isinstance(run, dict) or not isinstance(run.get("model"), dict):
        return False
    latency, counts, noise = run.get("latency_ms"), run.get("counts", {}), run.get("noise", {})
    if not isinstance(latency, dict) or not isinstance(counts, dict) or not isinstance(noise, dict):
        return False
    times: list[Any] = [latency.get(name) for name in figures]
    numbers: list[Any] = [*times, *counts.values(), run.get("block_spread", 0.0), noise.get("control_spread", 0.0)]
    if run.get("mode") == "paced":
        numbers.append(run.get("fps"))
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in numbers):
        return False
    return all(0 <= value < math.inf for value in numbers) and min(times) > 0


def name_of_run(run: BenchRun) -> str:
    """Return what tells a run from the others of one file, whose fps, frame and threads are the same."""
    model = run["model"]
    text = f"{model['model']} {model['precision']}, {model['backend']}, {run['mode']}"
    return text + (f" x {run['streams']}" if run["streams"] > 1 else "")


def full_name_of_run(run: BenchRun) -> str:
    """Return what tells a run from those of other files too: only runs of one full name are compared."""
    model = run["model"]
    pace = f" at {run['fps']:g} fps" if run.get("mode") == "paced" else ""
    return (
        f"{model.get('model')} {model.get('precision')} on {model.get('backend')}, {run.get('mode')}{pace}, "
        f"{run.get('resolution')}, {run.get('streams', 1)} streams, {model.get('threads')} threads"
    )
