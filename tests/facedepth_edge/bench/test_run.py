# SPDX-License-Identifier: Apache-2.0
"""A benchmark's run: what each mode counts, the frame it is given, what it finds of allocations and cold starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facedepth_edge import EdgeDepth
from facedepth_edge.bench import BenchPlan, run_bench
from facedepth_edge.bench.run import describe_bench, scaled_demo
from facedepth_edge.bench.text import lines_from_run
from facedepth_edge.demo import load_demo_frame
from facedepth_edge.errors import ConfigError, FaceDepthError

SHORT = {"seconds": 0.05, "queries": 6, "warm_up_seconds": 0.0, "size_wh": (320, 180)}


def short_run(cold_start: bool = False, **plan: Any) -> dict[str, Any]:
    return run_bench(BenchPlan(**{**SHORT, **plan}), threads=1, cold_start=cold_start)


def test_single_stream_times_frame_to_result() -> None:
    run = short_run()
    assert run["queries"] >= 6
    assert run["mode"] == "single-stream"
    assert run["latency_ms"] == run["service_ms"]
    assert 0 < sum(run["stages_p50_ms"].values()) <= run["latency_ms"]["max"] * 1.01
    assert set(run["stages_p50_ms"]) == {"check", "crop", "network", "result"}
    assert 0 < run["outside_network_p50_ms"] < run["latency_ms"]["max"]
    assert run["throughput_qps"] == pytest.approx(run["queries"] / run["host_walltime_s"])
    assert sum(run["histogram"]["counts"]) == run["queries"]
    assert not run["full"]
    assert len(run["model"]["files_sha256"]) == 64
    assert run["model"]["accuracy"]["offset_free_mm"] > 0
    json.dumps(run, allow_nan=False)


def test_paced_latency_counts_from_the_moment_a_frame_was_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames come every 10 ms and take 25 ms: each is later than the one before, though predict() stays the same."""
    real = EdgeDepth.predict

    def slow(self: EdgeDepth, *args: Any, **kwargs: Any) -> Any:
        time.sleep(0.025)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(EdgeDepth, "predict", slow)
    run = short_run(mode="paced", fps=100.0, queries=8)
    latency = run["timeline"]["ms"]
    assert run["deadline_ms"] == pytest.approx(10)
    assert run["missed_deadlines"] == run["queries"]
    assert np.all(np.diff(latency) > 5)
    assert latency[-1] > 100
    assert run["service_ms"]["p50"] < 60


def test_paced_frames_keep_the_pace_when_there_is_time() -> None:
    began = time.perf_counter()
    run = short_run(mode="paced", fps=50.0, queries=10)
    assert time.perf_counter() - began > 0.18  # nine gaps of 20 ms
    assert run["throughput_qps"] < 60


def test_throughput_runs_streams_side_by_side() -> None:
    run = short_run(mode="throughput", streams=2, queries=10)
    assert run["queries"] >= 10
    assert run["timeline"]["at_s"] == sorted(run["timeline"]["at_s"])


def test_an_error_in_a_stream_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = EdgeDepth.predict, []

    def failing(self: EdgeDepth, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) > 12:
            raise FaceDepthError("the lens fell off")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(EdgeDepth, "predict", failing)
    with pytest.raises(FaceDepthError, match="the lens fell off"):
        short_run(mode="throughput", streams=2, queries=500)


@pytest.mark.skipif(os.name != "posix", reason="signals to a thread")
def test_ctrl_c_ends_all_streams_at_once() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        _press_ctrl_c_in_a_run()
    finally:
        signal.signal(signal.SIGINT, before)


def _press_ctrl_c_in_a_run() -> None:
    began = time.perf_counter()
    pressed: list[float] = []

    def press(share: float) -> None:
        if not pressed:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        pressed.append(share)

    plan = BenchPlan(**{**SHORT, "mode": "throughput", "streams": 2, "seconds": 20.0})
    with pytest.raises(KeyboardInterrupt):
        run_bench(plan, threads=1, tick=press, cold_start=False)
    assert time.perf_counter() - began < 10
    assert 1.0 not in pressed
    assert not any(thread.name.startswith("stream") for thread in threading.enumerate())


def test_progress_comes_to_its_end() -> None:
    seen: list[float] = []
    run_bench(BenchPlan(**{**SHORT, "seconds": 0.35}), threads=1, tick=seen.append, cold_start=False)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) >= 3


def test_nothing_is_kept_between_frames() -> None:
    counts = short_run()["counts"]
    assert counts["kept_kib_per_frame"] == 0
    assert 0 < counts["peak_kib_per_frame"] < 4000


@pytest.mark.slow
def test_cold_start_is_that_of_fresh_processes() -> None:
    run = short_run(cold_start=True)
    assert set(run["cold_start_ms"]) == {"import", "load", "first_result"}
    assert all(value > 0 for value in run["cold_start_ms"].values())


@pytest.mark.parametrize("size", [(1280, 720), (640, 480), (1920, 1200), (300, 900)])
def test_the_frame_is_scaled_with_its_head_and_camera(size: tuple[int, int]) -> None:
    demo, original = scaled_demo(size), load_demo_frame()
    assert demo.frame.shape == (size[1], size[0], 3)
    assert demo.frame.flags.c_contiguous
    x, y = demo.head_center
    assert 0 <= x < size[0]
    assert 0 <= y < size[1]
    factor = demo.camera.fx / original.camera.fx
    assert factor == pytest.approx(max(size[0] / 1280, size[1] / 720))
    assert demo.distance_mm == original.distance_mm
    # The same ray through the head centre: the principal point moved with the picture.
    old = (original.head_center[0] - (original.camera.cx or 640)) / original.camera.fx
    assert (x - (demo.camera.cx or 0)) / demo.camera.fx == pytest.approx(old, abs=1e-9)
    if size == (1280, 720):
        np.testing.assert_array_equal(demo.frame, original.frame)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "fast"}, r"mode: got fast, expected one of single-stream, paced, throughput"),
        ({"fps": 0.0}, r"fps: got 0\.0, expected a finite number above 0"),
        ({"seconds": float("nan")}, r"seconds: got nan"),
        ({"size_wh": (32, 720)}, r"resolution: got 32x720"),
        ({"queries": 0}, r"queries: got 0, expected 1 or more"),
        ({"streams": 257, "mode": "throughput"}, r"streams: got 257, expected 1 to 256, and 1 outside"),
        ({"streams": 2}, r"streams: got 2, expected 1 to 256, and 1 outside the throughput mode"),
        ({"warm_up_seconds": -1.0}, r"warm_up_seconds: got -1\.0"),
    ],
)
def test_wrong_plans_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BenchPlan(**settings)


def test_lines_say_what_a_person_must_know() -> None:
    run = short_run(mode="paced", fps=100.0)
    run["noise"] = {"control_p50_ms": 1.0, "control_spread": 0.2, "noisy": True}
    run["power"] = {"source": "tegrastats", "samples": 3, "mean_w": 5.0, "max_w": 6.0, "energy_per_frame_mj": 50.0}
    text = "\n".join(lines_from_run(run))
    for part in ("Throughput: ", "percentile(99%) = ", "predict() itself: ", "varied by 20 %", "mean 5.00 W", "--full"):
        assert part in text
    run["noise"]["noisy"] = False
    run["power"] = None
    text = "\n".join(lines_from_run(run))
    assert "noisy" not in text
    assert "neither tegrastats nor, for a GPU, nvidia-smi" in text
    assert (run["model"]["memory"], run["model"]["graph_why_not"]) == ("host", "")
    assert "CUDA graph" not in text
    run["model"]["graph_why_not"] = "cuStreamBeginCapture: got 901"
    assert "  No single CUDA graph: cuStreamBeginCapture: got 901" in lines_from_run(run)


def test_the_number_of_measured_queries_says_whether_a_run_is_short() -> None:
    run = short_run()
    run["queries"], run["latency_ms"]["p99.9"] = 23731, 9.0  # as --seconds 60 measures, though 200 were planned
    assert not run["full"]
    assert "short run" not in "\n".join(lines_from_run(run))
    run["queries"] = 9999
    assert "A short run of 9999 queries: p99.9 needs 10000" in "\n".join(lines_from_run(run))


@pytest.mark.parametrize(
    ("mode", "reached", "missed", "behind"),
    [
        ("paced", 231.4, 9, True),
        ("paced", 599.0, 6, True),  # slowly, but most frames were late
        ("paced", 599.0, 1, False),  # the last frame alone
        ("paced", 600.2, 9, False),
        ("single-stream", 231.4, 9, False),
    ],
)
def test_a_pace_that_is_not_kept_is_said_first(mode: str, reached: float, missed: int, behind: bool) -> None:
    run = {**short_run(), "mode": mode, "fps": 600.0, "queries": 10}
    lines = lines_from_run({**run, "throughput_qps": reached, "missed_deadlines": missed})
    said = [index for index, line in enumerate(lines) if "cannot keep" in line]
    assert said == ([1] if behind else [])
    if behind:
        assert lines[1] == f"  cannot keep 600 fps, {reached:g} reached: the latency below is backlog"


def test_a_bench_names_machine_and_versions() -> None:
    bench = describe_bench([])
    assert bench["machine"]["cpus"] >= 1
    assert bench["versions"]["numpy"] == np.__version__
    assert bench["program"].startswith("facedepth-edge ")
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    )
    if head.returncode == 0:  # not so in an unpacked source archive
        assert bench["commit"].startswith(head.stdout.strip())
