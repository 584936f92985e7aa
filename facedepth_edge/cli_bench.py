# SPDX-License-Identifier: Apache-2.0
"""The command bench: times predict() as a person or CI asks for it."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from facedepth_edge.api import MOST_THREADS, EdgeDepth
from facedepth_edge.backends.base import PRECISIONS
from facedepth_edge.bench.compare import Comparison, compare_runs, read_bench, require_common_mode
from facedepth_edge.bench.plan import (
    FULL_QUERIES,
    FULL_SECONDS,
    MAX_SIDE_PX,
    MIN_SIDE_PX,
    MODES,
    MOST_STREAMS,
    QUICK_QUERIES,
    QUICK_SECONDS,
    BenchPlan,
    default_streams,
)
from facedepth_edge.bench.record import Bench, BenchRun
from facedepth_edge.bench.run import describe_bench
from facedepth_edge.bench.text import lines_from_run
from facedepth_edge.cli_report import BACKEND_HELP, BACKEND_NAMES, MODEL_HELP, PRECISION_HELP, Report, reported
from facedepth_edge.cli_types import FrameSize, OutFile, PositiveNumber
from facedepth_edge.errors import InputError


@dataclass(frozen=True)
class _Asked:
    """The options that say what is timed, by click's names; each model, precision and mode is a run of its own."""

    models: tuple[str, ...]
    backend: str
    precisions: tuple[str, ...]
    modes: tuple[str, ...]
    fps: float
    resolution: tuple[int, int]
    threads: int | None
    streams: int | None
    seconds: float
    queries: int
    full: bool
    no_cold_start: bool

    def plan(self, mode: str, threads_used: int) -> BenchPlan:
        """Return the plan of a run in this mode, of a network that uses so many threads."""
        seconds, queries, streams = self.seconds, self.queries, 1
        if self.full:
            seconds, queries = max(seconds, FULL_SECONDS), max(queries, FULL_QUERIES)
        if mode == "throughput":
            streams = self.streams or default_streams(threads_used)
        return BenchPlan(mode, self.fps, self.resolution, seconds, queries, streams=streams)


@click.command()
@click.option("--model", "models", multiple=True, default=("edge",), show_default=True,
              help=f"{MODEL_HELP} Repeatable: each is a run of its own.")  # fmt: skip
@click.option("--backend", type=click.Choice(BACKEND_NAMES), default="auto", show_default=True, help=BACKEND_HELP)
@click.option("--precision", "precisions", multiple=True, type=click.Choice(PRECISIONS), default=("auto",),
              show_default=True, help=f"{PRECISION_HELP} Repeatable: each is a run of its own.")  # fmt: skip
@click.option("--mode", "modes", multiple=True, type=click.Choice(MODES), default=("single-stream",), show_default=True,
              help="single-stream: the next frame when the last is done; paced: a frame every 1 / --fps seconds, as "
              "from a camera; throughput: several streams at once. Repeatable: each is a run of its own.")  # fmt: skip
@click.option("--fps", type=PositiveNumber("frames a second"), default=30.0, show_default=True,
              help="The camera's pace in the paced mode, and in all modes the deadline, 1000 / fps ms a frame, of "
              "which the missed are counted.")  # fmt: skip
@click.option("--resolution", type=FrameSize(MIN_SIDE_PX, MAX_SIDE_PX), default="1280x720", show_default=True,
              help="Width x height of the frame in pixels; the bundled frame is scaled to it.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, MOST_THREADS),
              help="CPU threads that the network may use for one prediction.  [default: onnxruntime: as many as the "
              "process has CPUs, 4 at most; torch: PyTorch's own; on a GPU the number does nothing]")  # fmt: skip
@click.option("--streams", type=click.IntRange(1, MOST_STREAMS),
              help="Streams of the throughput mode, a thread that calls predict() each.  [default: the CPUs of the "
              "process divided by --threads]")  # fmt: skip
@click.option("--seconds", type=PositiveNumber("s"), default=QUICK_SECONDS, show_default=True,
              help="Each run measures at least this many seconds AND at least --queries predictions.")  # fmt: skip
@click.option("--queries", type=click.IntRange(min=1), default=QUICK_QUERIES, show_default=True,
              help="Each run measures at least this many predictions AND at least --seconds.")  # fmt: skip
@click.option("--full", is_flag=True,
              help=f"As MLPerf's single stream: at least {FULL_SECONDS:.0f} s AND {FULL_QUERIES} predictions a run, "
              "enough for the 99.9th percentile.")  # fmt: skip
@click.option("--no-cold-start", is_flag=True, help="Leave out the fresh processes that time import and load.")
@click.option("--json", "json_file", type=OutFile((".json",)), help="Write all figures to this .json file.")
@click.option("--report", "report_file", type=OutFile((".html",)),
              help="Write a page to look at to this .html file, and its charts to a .png beside it.")  # fmt: skip
@click.option("--compare", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="An older --json: say what got slower by more than the noise, and fail if it is so or if no "
              "run's times could be judged.")  # fmt: skip
@click.option("--counts-only", is_flag=True,
              help="With --compare: fail for grown counts alone, the KiB that a frame takes and leaves behind, "
              "not for times.")  # fmt: skip
def bench(
    json_file: Path | None, report_file: Path | None, compare: Path | None, counts_only: bool, **options: Any
) -> None:
    """Time predict(), frame to result, with its stages, percentiles, missed deadlines, memory and power."""
    asked = _Asked(**options)
    if counts_only and compare is None:
        raise click.UsageError("--counts-only: got no --compare, expected both. Give the older file.")
    if asked.streams is not None and "throughput" not in asked.modes:
        raise click.UsageError("--streams: got it without --mode throughput, expected both. Leave one out.")
    for file in (json_file, report_file, report_file and report_file.with_suffix(".png")):
        if file is not None:
            _require_writable(file)
    with reported("bench", False) as report:
        older = None if compare is None else read_bench(compare)
        if older is not None:
            require_common_mode(older, asked.modes)
        found = _time_and_write(asked, report, json_file, report_file)
        if older is not None:
            result = compare_runs(older, found)
            report.lines += result.lines
            _require_no_worse(result, str(compare), counts_only)


def _time_and_write(asked: _Asked, report: Report, json_file: Path | None, report_file: Path | None) -> Bench:
    """Time the runs; print and write each when it is done, so that an error or Ctrl-C later leaves what there is."""
    from facedepth_edge.bench.report import write_report, write_text

    runs: list[BenchRun] = []
    found: Bench | None = None
    saved: list[str] = []
    try:
        for run in _finished_runs(asked):
            runs.append(run)
            _print_now(report, lines_from_run(run))
            found = describe_bench(runs)
            if json_file is not None:
                write_text(json_file, json.dumps(found, indent=1, allow_nan=False) + "\n")
                saved = [str(json_file)]
    finally:  # also where a later run failed or was interrupted
        if saved:
            _print_now(report, saved)
        if found is not None and report_file is not None:
            _print_now(report, [str(path) for path in write_report(found, report_file)])
    assert found is not None  # click gives at least one model, precision and mode
    return found


def _finished_runs(asked: _Asked) -> Iterator[BenchRun]:
    """Time one run after the other. What cannot run fails before anything is timed.

    For that each model is opened and closed first: were all kept open, each would be timed beside the others' memory.
    """
    from facedepth_edge.bench.run import run_bench

    backend, threads = asked.backend, asked.threads
    variants = []
    for model, precision in itertools.product(asked.models, asked.precisions):
        with EdgeDepth(model, backend, precision, threads=threads) as edge:
            variants.append((model, precision, edge.info["threads"]))
    for model, precision, threads_used in variants:
        for mode in asked.modes:
            plan = asked.plan(mode, threads_used)
            cold = not asked.no_cold_start and mode == asked.modes[0]
            with _progress(f"{model} {precision} {mode}") as tick:
                run = run_bench(
                    plan, model=model, backend=backend, precision=precision, threads=threads, tick=tick, cold_start=cold
                )  # fmt: skip
            yield run


def _require_no_worse(result: Comparison, older_file: str, counts_only: bool) -> None:
    """Refuse what got slower or larger, and a comparison in which no time could be judged."""
    bad = result.grown + ([] if counts_only else result.slower)
    if bad:
        rule = f"nothing slower or larger than in {older_file}"
        raise InputError.of("--compare", "; ".join(bad), rule, "Look at what changed since.")
    if not result.judged and not counts_only:
        rule = f"one with little noise, on the machine of {older_file}"
        fix = "Repeat it on that machine when it is quiet, or use --counts-only."
        raise InputError.of("--compare", "no run whose times can be judged", rule, fix)


def _require_writable(file: Path) -> None:
    """Refuse a file that cannot be written, before anything is timed."""
    if file.is_dir():
        raise click.UsageError(f"{file}: got a folder, expected a place for a file. Choose another name.")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise click.UsageError(f"{file}: got a place without write permission, expected another. Choose one.")


def _print_now(report: Report, lines: list[str]) -> None:
    """Print lines at once; what stdout refuses is left for the report's end, which says what is wrong with it."""
    try:
        click.echo("\n".join(lines))
    except OSError:
        report.lines += lines


@contextmanager
def _progress(label: str) -> Iterator[Any]:
    """Show a progress bar on stderr; yields the function that moves it to a share of the whole."""
    with click.progressbar(length=1000, label=label, file=sys.stderr) as bar:
        done = 0

        def tick(share: float) -> None:
            nonlocal done
            here = round(1000 * share)
            bar.update(here - done)
            done = here

        yield tick
