# SPDX-License-Identifier: Apache-2.0
"""The comparison of two benchmarks: which machines are the same, which runs are a pair, and what noise hides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from facedepth_edge.bench.compare import compare_runs, read_bench
from facedepth_edge.errors import InputError

MACHINE = {"cpu": "one", "gpus": ["NVIDIA H200, 570.1, 700.00 W"]}


def run_of(ms: float = 2.0, *, threads: int = 1, mode: str = "single-stream", **other: Any) -> dict[str, Any]:
    model = {"model": "edge", "precision": "int8", "backend": "onnxruntime", "threads": threads}
    noise = {"control_p50_ms": 1.0, "control_spread": 0.01, "noisy": False}
    run = {"model": model, "mode": mode, "fps": 30.0, "resolution": "1280x720", "streams": 1, "noise": noise}
    return {**run, "block_spread": 0.01, "latency_ms": {"p50": ms, "p90": ms, "p99": ms}, **other}


def bench_of(*runs: dict[str, Any], machine: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"bench_format": 1, "machine": machine or MACHINE, "runs": list(runs)}


@pytest.mark.parametrize(
    ("gpu", "same"),
    [
        ("NVIDIA H200, 570.1, 345 MHz, 2619 MHz, 700.00 W", True),  # as older files have it, with clocks
        ("NVIDIA H200, 570.1, 345 MHz, 2619 MHz, 300.00 W", False),
        ("NVIDIA H200, 570.2, 700.00 W", False),
        ("NVIDIA A100, 570.1, 700.00 W", False),
    ],
)
def test_a_gpu_is_the_same_whatever_its_clocks(gpu: str, same: bool) -> None:
    found = compare_runs(bench_of(run_of(2.0), machine={**MACHINE, "gpus": [gpu]}), bench_of(run_of(3.0)))
    assert bool(found.slower) is bool(found.judged) is same
    assert ("different machines" in found.lines[0]) is not same


@pytest.mark.parametrize("other", [{"threads": 2}, {"mode": "paced", "fps": 600.0}, {"streams": 2}])
def test_only_like_runs_are_a_pair(other: dict[str, Any]) -> None:
    first = run_of(mode=other.get("mode", "single-stream"))
    second = run_of(**other)
    with pytest.raises(InputError, match=r"--compare: got .*mode, fps, frame, streams and threads in both"):
        compare_runs(bench_of(first), bench_of(second))
    common = run_of(mode="throughput")
    found = compare_runs(bench_of(first, common), bench_of(second, common))
    assert len(found.judged) == 1
    assert sum(line.endswith("not compared, the older file has no such run") for line in found.lines) == 1
    assert sum(line.endswith("not compared, only the older file has it") for line in found.lines) == 1


def test_the_deadline_tells_runs_apart_only_where_it_is_the_pace() -> None:
    assert compare_runs(bench_of(run_of(fps=30.0)), bench_of(run_of(fps=60.0))).judged


@pytest.mark.parametrize("ms", [2.0, 3.0, 300.0])
@pytest.mark.parametrize(
    ("other", "percent"),
    [({"block_spread": 0.945}, 189), ({"noise": {"control_spread": 0.4, "noisy": True}}, 40)],
)
def test_noise_hides_a_change(ms: float, other: dict[str, Any], percent: int) -> None:
    quiet, loud = run_of(2.0), run_of(ms, **other)
    for found in (compare_runs(bench_of(quiet), bench_of(loud)), compare_runs(bench_of(loud), bench_of(quiet))):
        assert (found.slower, found.judged) == ([], [])
        assert all(line.endswith(f"cannot tell: noise of {percent} %") for line in found.lines)
    both = compare_runs(bench_of(quiet, run_of(threads=2)), bench_of(loud, run_of(threads=2)))
    assert len(both.judged) == 1


def test_a_tolerance_that_is_not_too_wide_is_judged() -> None:
    old = bench_of(run_of(2.0))
    found = compare_runs(old, bench_of(run_of(2.6, block_spread=0.12)))
    assert len(found.slower) == 3
    same = compare_runs(old, bench_of(run_of(2.4, block_spread=0.12)))
    assert (same.slower, len(same.judged)) == ([], 1)
    assert all(line.endswith("same within the noise (24 %)") for line in same.lines)


def test_files_without_noise_are_read_and_wrong_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    older = run_of()
    del older["noise"]
    path.write_text(json.dumps(bench_of(older)))
    assert compare_runs(read_bench(path), bench_of(run_of())).judged
    for wrong in ({"noise": 3}, {"noise": {"control_spread": "much"}}, {"mode": "paced", "fps": None}):
        path.write_text(json.dumps(bench_of({**run_of(), **wrong})))
        with pytest.raises(InputError, match="a run without its figures"):
            read_bench(path)
