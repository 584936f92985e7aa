# SPDX-License-Identifier: Apache-2.0
"""facedepth-edge bench: files, comparison, and options that fail before anything is timed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from facedepth_edge.cli import main

SHORT = ["--seconds", "0.05", "--queries", "5", "--resolution", "320x180", "--threads", "1", "--no-cold-start"]


def bench(*options: str) -> Result:
    return CliRunner().invoke(main, ["bench", *SHORT, *options])


def test_runs_are_printed_and_written(tmp_path: Path) -> None:
    out, page = tmp_path / "bench.json", tmp_path / "bench.html"
    done = bench("--precision", "int8", "--precision", "fp32", "--mode", "single-stream", "--mode", "throughput",
                 "--streams", "2", "--json", str(out), "--report", str(page))  # fmt: skip
    assert done.exit_code == 0, done.output
    figures = json.loads(out.read_text())
    assert [(run["model"]["precision"], run["mode"]) for run in figures["runs"]] == [
        (precision, mode) for precision in ("int8", "fp32") for mode in ("single-stream", "throughput")
    ]
    assert page.is_file()
    assert page.with_suffix(".png").is_file()
    assert done.stdout.count("Throughput: ") == 4
    assert done.stderr.rstrip().endswith("bench.html")
    assert "PASS facedepth-edge bench" in done.stderr
    again = bench("--precision", "int8", "--compare", str(out), "--counts-only")
    assert again.exit_code == 0, again.output
    assert "p50" in again.stdout
    other = bench("--precision", "int8", "--mode", "paced", "--compare", str(out))
    assert other.exit_code == 1
    assert "--compare: got runs in single-stream, throughput, expected one in paced" in other.stderr
    assert "p50" not in other.stdout  # nothing was timed


def test_grown_counts_fail_and_slow_times_only_where_they_count(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    assert bench("--precision", "int8", "--json", str(out)).exit_code == 0
    figures = json.loads(out.read_text())
    run = figures["runs"][0]
    run["block_spread"] = 0.0
    for name in ("p50", "p90", "p99"):
        run["latency_ms"][name] /= 50
    fast = tmp_path / "fast.json"
    fast.write_text(json.dumps(figures))
    assert bench("--precision", "int8", "--compare", str(fast), "--counts-only").exit_code == 0
    slower = bench("--precision", "int8", "--compare", str(fast))
    assert slower.exit_code == 1
    assert "--compare: got edge int8 on onnxruntime, single-stream, 320x180, 1 streams: p50" in slower.stderr
    run["counts"]["peak_kib_per_frame"] //= 2
    fast.write_text(json.dumps(figures))
    assert bench("--precision", "int8", "--compare", str(fast), "--counts-only").exit_code == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fps", "0"], "expected a finite number above 0"),
        (["--resolution", "wide"], "expected WxH in pixels"),
        (["--report", "nowhere/bench.html"], "expected a file in a folder that exists"),
        (["--report", "bench.pdf"], "ends in .html"),
        (["--counts-only"], "got no --compare"),
        (["--streams", "2"], "without --mode throughput"),
        (["--mode", "fast"], "Invalid value for '--mode'"),
    ],
)
def test_wrong_options_end_with_usage(options: list[str], message: str) -> None:
    done = bench(*options)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize("options", [["--precision", "int8", "--backend", "torch"], ["--model", "none"],
                                     ["--resolution", "8x8"]])  # fmt: skip
def test_what_cannot_run_fails_before_anything_is_timed(options: list[str]) -> None:
    began = time.perf_counter()
    done = CliRunner().invoke(main, ["bench", "--seconds", "30", *options])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert "FAIL facedepth-edge bench" in done.stderr
    assert time.perf_counter() - began < 20
