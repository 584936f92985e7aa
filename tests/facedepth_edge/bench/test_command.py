# SPDX-License-Identifier: Apache-2.0
"""facedepth-edge bench: files, comparison, and options that fail before anything is timed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from facedepth_edge.bench import run as bench_run
from facedepth_edge.cli import main
from facedepth_edge.errors import FaceDepthError

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


def make_quiet(monkeypatch: pytest.MonkeyPatch, noisy: bool = False) -> None:
    """Let the machine seem quiet, or noisy, whatever else runs on it."""
    noise = {"control_p50_ms": 1.0, "control_spread": 0.4 if noisy else 0.0, "noisy": noisy}
    monkeypatch.setattr(bench_run, "judge_noise", lambda _: noise)
    monkeypatch.setattr(bench_run, "spread_of_blocks", lambda _: 0.0)


def fail_in_run(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Let the run of this number, from 0, end with an error."""
    real, calls = bench_run.run_bench, []

    def run_bench(*args: Any, **kwargs: Any) -> dict[str, Any]:
        calls.append(1)
        if len(calls) > number:
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(bench_run, "run_bench", run_bench)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), FaceDepthError("the lens fell off")])
def test_finished_runs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    fail_in_run(monkeypatch, 1, error)
    out, page = tmp_path / "bench.json", tmp_path / "bench.html"
    done = bench("--precision", "int8", "--precision", "fp32", "--json", str(out), "--report", str(page))
    assert done.exit_code == 1
    assert "FAIL facedepth-edge bench" in done.stderr
    assert ("the lens fell off" in done.stderr) is isinstance(error, FaceDepthError)
    assert [run["model"]["precision"] for run in json.loads(out.read_text())["runs"]] == ["int8"]
    assert done.stdout.count("Throughput: ") == 1
    assert done.stdout.split()[-3:] == [str(out), str(page), str(page.with_suffix(".png"))]
    assert page.is_file()


def test_nothing_is_written_where_the_first_run_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_in_run(monkeypatch, 0, FaceDepthError("the lens fell off"))
    done = bench("--json", str(tmp_path / "bench.json"), "--report", str(tmp_path / "bench.html"))
    assert (done.exit_code, done.stdout, list(tmp_path.iterdir())) == (1, "", [])


def test_a_run_is_printed_and_written_before_the_next_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, seen = tmp_path / "bench.json", []
    real, echo = bench_run.run_bench, click.echo

    def run_bench(*args: Any, **kwargs: Any) -> dict[str, Any]:
        seen.append(len(json.loads(out.read_text())["runs"]) if out.is_file() else 0)
        return real(*args, **kwargs)

    def print_and_see(text: Any = None, *args: Any, **kwargs: Any) -> None:
        seen.extend(["printed"] * str(text).count("Throughput: "))
        echo(text, *args, **kwargs)

    monkeypatch.setattr(bench_run, "run_bench", run_bench)
    monkeypatch.setattr(click, "echo", print_and_see)
    assert bench("--precision", "int8", "--precision", "fp32", "--json", str(out)).exit_code == 0
    assert seen == [0, "printed", 1, "printed"]


def test_a_picture_that_cannot_be_written_fails_before_anything_is_timed(tmp_path: Path) -> None:
    (tmp_path / "bench.png").mkdir()
    done = bench("--report", str(tmp_path / "bench.html"))
    assert done.exit_code == 2
    assert "bench.png: got a folder, expected a place for a file" in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_a_comparison_in_which_nothing_can_be_judged_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "bench.json"
    make_quiet(monkeypatch, noisy=True)
    assert bench("--precision", "int8", "--json", str(out)).exit_code == 0
    done = bench("--precision", "int8", "--compare", str(out))
    assert done.exit_code == 1
    assert done.stdout.count("cannot tell: noise of 40 %") == 3
    assert "--compare: got no run whose times can be judged, expected one with little noise" in done.stderr
    assert bench("--precision", "int8", "--compare", str(out), "--counts-only").exit_code == 0


def test_grown_counts_fail_and_slow_times_only_where_they_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_quiet(monkeypatch)
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
    assert "--compare: got edge int8 on onnxruntime, single-stream, 320x180, 1 streams, 1 threads: p50" in slower.stderr
    run["counts"]["peak_kib_per_frame"] //= 2
    fast.write_text(json.dumps(figures))
    assert bench("--precision", "int8", "--compare", str(fast), "--counts-only").exit_code == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fps", "0"], "expected a finite number above 0"),
        (["--resolution", "wide"], "expected WxH in pixels"),
        (["--resolution", "1x1"], "got '1x1', expected sides of 64 to 16384 px"),
        (["--resolution", "99999x64"], "got '99999x64', expected sides of 64 to 16384 px"),
        (["--resolution", f"{'9' * 5000}x64"], "expected sides of 64 to 16384 px"),
        (["--threads", "5000"], "5000 is not in the range 1<=x<=1024"),
        (["--report", "nowhere/bench.html"], "expected a file in a folder that exists"),
        (["--report", "bench.pdf"], "ends in .html"),
        (["--counts-only"], "got no --compare"),
        (["--streams", "2"], "without --mode throughput"),
        (["--mode", "throughput", "--streams", "257"], "257 is not in the range 1<=x<=256"),
        (["--mode", "fast"], "Invalid value for '--mode'"),
    ],
)
def test_wrong_options_end_with_usage(options: list[str], message: str) -> None:
    done = bench(*options)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize("options", [["--precision", "int8", "--backend", "torch"], ["--model", "none"]])
def test_what_cannot_run_fails_before_anything_is_timed(options: list[str]) -> None:
    began = time.perf_counter()
    done = CliRunner().invoke(main, ["bench", "--seconds", "30", *options])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert "FAIL facedepth-edge bench" in done.stderr
    assert time.perf_counter() - began < 20
