# SPDX-License-Identifier: Apache-2.0
"""The peers' table: turns, ratios, a stand-in for FaceMesh's process, and files that are not what they should be."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import peers
from facedepth_edge.errors import InputError


def test_all_take_turns_and_ratios_are_of_blocks() -> None:
    calls: list[str] = []
    drift = iter(range(1, 100))

    def timer(name: str, factor: float) -> peers.Timer:
        def run(runs: int) -> list[float]:
            calls.append(name)
            return [factor * next(drift)] * runs

        return run

    rows = peers.measure({"a": timer("a", 1.0), "b": timer("b", 10.0)}, blocks=3, runs=2)
    assert calls == ["a", "b", *["a", "a", "b", "b"] * 3]
    assert [row["name"] for row in rows] == ["a", "b"]
    assert rows[0]["ratio"] == 1
    # Timed at 4, 8, 12 (a) and 6, 10, 14 (b) of the drift.
    assert rows[1]["ratio"] == pytest.approx(np.median([60 / 4, 100 / 8, 140 / 12]))
    assert rows[1]["p50_ms"] == 100
    assert rows[0]["runs"] == 6


def test_delayed_runs_count_in_the_ratio() -> None:
    """A median would leave out the two delayed ones of a short peer's runs, where a long peer's all are delayed."""
    timers = {"short": lambda runs: [1.0, 1.0, 1.0, 4.0, 3.0][:runs], "long": lambda runs: [20.0] * runs}
    assert peers.measure(timers, blocks=2, runs=5)[1]["ratio"] == pytest.approx(10.0)


def test_face_mesh_answers_through_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "face_mesh_server.py"
    server.write_text(
        "import sys\nprint('ready', flush=True)\nfor line in sys.stdin:\n    print(*[1.5] * int(line), flush=True)\n"
    )
    monkeypatch.setattr(peers, "__file__", str(tmp_path / "peers.py"))
    with peers.face_mesh_timer(Path(sys.executable), np.zeros((8, 8, 3), np.uint8)) as timer:
        assert timer(3) == [1.5, 1.5, 1.5]
        assert timer(1) == [1.5]


def test_face_mesh_that_does_not_start_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"FaceMesh: got no answer, expected ready"),
        peers.face_mesh_timer(Path("/bin/false"), np.zeros((8, 8, 3), np.uint8)),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"--mediapipe-python: got"),
        peers.face_mesh_timer(tmp_path / "none", np.zeros((8, 8, 3), np.uint8)),
    ):
        pass


def test_errors_are_read_from_an_evaluation(tmp_path: Path) -> None:
    path = tmp_path / "errors.json"
    row = {"name": "edge int8", "region": "head", "offset_free_mm": 10.5, "frames": 3}
    path.write_text(json.dumps({"rows": [row]}))
    assert peers.errors_from_file(path) == [{"name": "edge int8", "region": "head", "offset_free_mm": 10.5}]
    path.write_text("{}")
    with pytest.raises(InputError, match=r"errors\.json: got KeyError"):
        peers.errors_from_file(path)


def test_the_table_and_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    timers = {"a": lambda runs: [2.0] * runs, "b": lambda runs: [9.0] * runs}
    monkeypatch.setattr(peers, "open_peers", lambda *arguments: (timers, ["c: not installed"]))
    out = tmp_path / "peers.json"
    assert peers.main(["--blocks", "2", "--runs", "3", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("2 threads, batch 1, 2 alternating blocks of 3 runs\n\n| what |")
    assert "| b | 9.00 | 9.00 | 4.5 |\n\nnot here: c: not installed\n" in printed
    assert [row["ratio"] for row in json.loads(out.read_text())["rows"]] == [1.0, 4.5]
