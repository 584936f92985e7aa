# SPDX-License-Identifier: Apache-2.0
"""Describes a benchmark's runs in lines of text, in trtexec's words where it has the same figures."""

from __future__ import annotations

from facedepth_edge.bench.plan import FULL_QUERIES
from facedepth_edge.bench.record import BenchRun

KEPT_PACE = 0.99  # of the asked frames a second: fewer is a backlog, however few deadlines were missed
_BACKLOG = "the latency below is backlog"


def lines_from_run(run: BenchRun) -> list[str]:
    """Return a run as lines.

    Args:
        run: one entry of the JSON file's `runs`.
    """
    model, latency, service = run["model"], run["latency_ms"], run["service_ms"]
    reached = run["throughput_qps"]
    lines = [
        f"{model['model']} {model['version']}, {model['precision']} on {model['provider']}, {model['threads']} threads"
        f", crop {model['crop'] or 'host'}; {run['mode']}, {run['resolution']}"
        + (f", {run['streams']} streams" if run["streams"] > 1 else "")
        + (f", {run['fps']:g} frames a second" if run["mode"] == "paced" else ""),
        *([f"  cannot keep {run['fps']:g} fps, {reached:.4g} reached: {_BACKLOG}"] if _falls_behind(run) else []),
        *([f"  No single CUDA graph: {model['graph_why_not']}"] if model.get("graph_why_not") else []),
        f"  Throughput: {reached:.1f} qps",
        f"  Latency: {_figures(latency)}",
    ]
    if run["mode"] == "paced":
        lines.append(f"  predict() itself: {_figures(service)}")
    stages = ", ".join(f"{name} {value:.3f}" for name, value in run["stages_p50_ms"].items())
    lines += [
        f"  Stages, median: {stages} ms; outside the network {run['outside_network_p50_ms']:.3f} ms",
        f"  Missed deadlines of {run['deadline_ms']:.2f} ms: {run['missed_deadlines']} of {run['queries']}",
        f"  Total Host Walltime: {run['host_walltime_s']:.2f} s",
    ]
    memory = run["memory_mib"]
    if memory:
        lines.append("  Memory: " + ", ".join(f"{name} {value:.0f} MiB" for name, value in memory.items()))
    if run.get("cold_start_ms"):
        cold = ", ".join(f"{name.replace('_', ' ')} {value:.0f}" for name, value in run["cold_start_ms"].items())
        lines.append(f"  Cold start: {cold} ms")
    power = run["power"]
    if power:
        lines.append(
            f"  Power ({power['source']}): mean {power['mean_w']:.2f} W, max {power['max_w']:.2f} W, "
            f"{power['energy_per_frame_mj']:.1f} mJ a frame"
        )
    else:
        lines.append("  Power: neither tegrastats nor, for a GPU, nvidia-smi says it here")
    noise = run["noise"]
    if noise["noisy"]:
        lines.append(
            f"  The machine was noisy: a fixed piece of work varied by {100 * noise['control_spread']:.0f} %. "
            "Do not compare these times."
        )
    if run["queries"] < FULL_QUERIES:
        lines.append(f"  A short run of {run['queries']} queries: p99.9 needs {FULL_QUERIES}; --full runs 600 s.")
    if not run["valid"]:
        lines.append("  The frame's face was not found valid: the times are right, the depth is not to be trusted.")
    return lines


def _falls_behind(run: BenchRun) -> bool:
    """Say whether a paced run's frames queued up; a single late frame at the end is none."""
    if run["mode"] != "paced" or run["throughput_qps"] >= run["fps"]:
        return False
    return run["throughput_qps"] < KEPT_PACE * run["fps"] or 2 * run["missed_deadlines"] > run["queries"]


def _figures(figures: dict[str, float]) -> str:
    names = {"p50": "median", "p90": "percentile(90%)", "p99": "percentile(99%)", "p99.9": "percentile(99.9%)"}
    return ", ".join(f"{names.get(name, name)} = {value:.3f} ms" for name, value in figures.items())
