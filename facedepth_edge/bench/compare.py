# SPDX-License-Identifier: Apache-2.0
"""Compares a benchmark with an older one: what got slower by more than the noise, and which counts grew."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facedepth_edge.bench.record import BENCH_FORMAT, Bench, BenchRun, can_be_compared, full_name_of_run
from facedepth_edge.errors import InputError

# Two runs of one build agree within these on a quiet machine; the further out, the fewer queries a figure rests on.
LEAST_CHANGE = {"p50": 0.05, "p90": 0.10, "p99": 0.20}
MOST_NOISE = 0.25  # a tolerance above this would let any slow-down pass


@dataclass(frozen=True)
class Comparison:
    """How a benchmark compares with an older one.

    Args:
        lines: one sentence for each figure, for people.
        slower: the figures that got slower by more than the noise, as `run: figure`.
        grown: the counts that grew; counts have no noise.
        judged: the runs whose times could be judged: taken on one machine, with little noise.
    """

    lines: list[str]
    slower: list[str]
    grown: list[str]
    judged: list[str]


def read_bench(path: str | Path) -> Bench:
    """Read a file that `facedepth-edge bench --json` wrote.

    Raises:
        InputError: the file cannot be read or is no such file.
    """
    where, rule = str(path), "a file of facedepth-edge bench --json"
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError.of(where, f"{type(error).__name__}: {error}", rule, "Check the path.") from error
    runs = data.get("runs") if isinstance(data, dict) else None
    if not isinstance(runs, list) or data.get("bench_format") != BENCH_FORMAT:
        raise InputError.of(where, "another content", rule, "Run the benchmark again with this version.")
    for run in runs:
        if not can_be_compared(run, LEAST_CHANGE):
            raise InputError.of(where, "a run without its figures", rule, "Run the benchmark again.")
    return data


def require_common_mode(old: Bench, modes: Sequence[str]) -> None:
    """Refuse an older file that has nothing to compare with, before anything is timed.

    Args:
        old: what `read_bench` returned.
        modes: those that will be timed.

    Raises:
        InputError: it has a run in none of them.
    """
    there = dict.fromkeys(str(run.get("mode")) for run in old["runs"])
    if not set(there) & set(modes):
        rule = f"one in {' or '.join(modes)}"
        raise InputError.of("--compare", f"runs in {', '.join(there)}", rule, "Give the same --mode as then.")


def compare_runs(old: Bench, new: Bench) -> Comparison:
    """Compare the runs that both have in common: those with the same `full_name_of_run`.

    A latency counts as changed where it differs by more than its LEAST_CHANGE and by more than twice the larger spread
    of the block medians of the two runs. Nothing is said of times where that is above MOST_NOISE or the machine was
    noisy. Times taken on different machines are shown, but never called slower.

    Args:
        old: what `read_bench` returned.
        new: the new one.

    Raises:
        InputError: they have no run in common.
    """
    before = {full_name_of_run(run): run for run in old["runs"]}
    names = [full_name_of_run(run) for run in new["runs"]]
    if not set(before) & set(names):
        got = f"{', '.join(before)} and {', '.join(names)}"
        rule = "one run with the same model, backend, precision, mode, fps, frame, streams and threads in both"
        raise InputError.of("--compare", got, rule, "Run the benchmark with the same options.")
    same_machine = _identity(old.get("machine")) == _identity(new.get("machine"))
    result = Comparison([], [], [], [])
    if not same_machine:
        result.lines.append("The two runs were taken on different machines or power modes: times cannot be compared.")
    for name, run in zip(names, new["runs"], strict=True):
        if name in before:
            _compare_times(result, name, before[name], run, same_machine)
            _compare_counts(result, name, before[name], run)
        else:
            result.lines.append(f"{name}: not compared, the older file has no such run")
    missing = [name for name in before if name not in names]
    result.lines.extend(f"{name}: not compared, only the older file has it" for name in missing)
    return result


def _compare_times(result: Comparison, name: str, past: BenchRun, run: BenchRun, same_machine: bool) -> None:
    spread = max(one.get("block_spread", 0.0) for one in (past, run))
    controls = [one["noise"].get("control_spread", 0.0) for one in (past, run) if one.get("noise", {}).get("noisy")]
    unclear = bool(controls) or 2 * spread > MOST_NOISE
    if same_machine and not unclear:
        result.judged.append(name)
    for figure, least in LEAST_CHANGE.items():
        noise = max(2 * spread, least, *controls)
        ratio = run["latency_ms"][figure] / past["latency_ms"][figure]
        verdict = f"same within the noise ({100 * noise:.0f} %)"
        if unclear:
            verdict = f"cannot tell: noise of {100 * noise:.0f} %"
        elif ratio > 1 + noise:
            verdict = f"slower ({100 * noise:.0f} %)"
            if same_machine:
                result.slower.append(f"{name}: {figure}")
        elif ratio < 1 / (1 + noise):
            verdict = f"faster ({100 * noise:.0f} %)"
        change = f"{past['latency_ms'][figure]:.3f} -> {run['latency_ms'][figure]:.3f} ms"
        result.lines.append(f"{name}: {figure} {change}, {ratio:.2f} times, {verdict}")


def _compare_counts(result: Comparison, name: str, past: BenchRun, run: BenchRun) -> None:
    for count, value in sorted(run.get("counts", {}).items()):
        earlier = past.get("counts", {}).get(count)
        if earlier is not None and value != earlier:
            result.lines.append(f"{name}: {count} {earlier:g} -> {value:g}")
            if value > earlier:
                result.grown.append(f"{name}: {count}")


def _identity(machine: Any) -> Any:
    """Return a machine without its GPUs' clocks, which older files have between driver and power limit."""
    if not isinstance(machine, dict) or not isinstance(machine.get("gpus"), list):
        return machine
    rows = [str(gpu).split(", ") for gpu in machine["gpus"]]
    return {**machine, "gpus": [[*row[:2], row[4]] if len(row) == 5 else row for row in rows]}
