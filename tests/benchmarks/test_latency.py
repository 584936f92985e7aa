# SPDX-License-Identifier: Apache-2.0
"""The latency benchmark: wrong options end before any timing, and a shared core does not move the ratio."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import latency, peers


@pytest.fixture(params=[latency, peers])
def benchmark(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """A benchmark that must not come to its timing."""

    def started(*arguments: object) -> None:
        raise AssertionError("timing began")

    monkeypatch.setattr(latency, "open_generator", started)
    monkeypatch.setattr(latency, "times_ms", started)
    monkeypatch.setattr(peers, "open_peers", started)
    return request.param


@pytest.mark.parametrize("option", ["--threads", "--blocks", "--runs"])
def test_counts_are_at_least_1(option: str, benchmark: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main([option, "0"]) == 1
    error = capsys.readouterr().err
    assert f"{option}: got 0, expected >= 1" in error
    assert error.splitlines()[-1] == f"FAIL python -m {benchmark.__name__} {option} 0"


def test_the_json_path_is_checked_first(benchmark: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--json", str(tmp_path / "none" / "a.json")]) == 1
    assert "whose folder does not exist, expected a file that can be written" in capsys.readouterr().err
    assert benchmark.main(["--json", str(tmp_path)]) == 1
    assert f"--json: got the folder {tmp_path}" in capsys.readouterr().err


@pytest.mark.usefixtures("benchmark")
def test_an_unknown_model_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert latency.main(["--model", "nope"]) == 1
    error = capsys.readouterr().err
    assert "nope" in error
    assert error.splitlines()[-1] == "FAIL python -m benchmarks.latency --model nope"


def time_on_half_a_core(work_ms: float, runs: int) -> list[float]:
    """Time runs on a core that another process has for every second slice of 3 ms."""
    slice_ms = 3.0
    done = [number * work_ms for number in range(runs + 1)]
    at = [2 * slice_ms * (work // slice_ms) + work % slice_ms for work in done]
    return [after - before for before, after in itertools.pairwise(at)]


def test_other_processes_on_the_core_do_not_move_the_ratio() -> None:
    """Medians and minima say 120 here."""
    theirs, ours = time_on_half_a_core(90.0, 10), time_on_half_a_core(1.4, 640)
    assert latency.ratio_of_block(theirs, ours) == pytest.approx(90.0 / 1.4, rel=0.02)
    assert min(theirs) / min(ours) > 1.9 * 90.0 / 1.4


def test_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(latency, "open_generator", lambda threads: lambda: None)
    monkeypatch.setattr(latency, "fresh_process", lambda *arguments, **settings: 1.0)
    out = tmp_path / "latency.json"
    assert latency.main(["--threads", "1", "--blocks", "2", "--runs", "1", "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert figures == json.loads(capsys.readouterr().out)
    assert figures["machine"]["cpus"] >= 1
    low, high = figures["ratio_min_max"]
    assert low <= figures["ratio_median_of_blocks"] <= high


def test_the_counting_of_graphs_is_no_command() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.graph_cost"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Use python -m benchmarks.roofline." in done.stderr
