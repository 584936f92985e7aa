# SPDX-License-Identifier: Apache-2.0
"""The charts of a benchmark's report: histogram, percentile curve, time line, stages, error beside latency."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from facedepth_edge.bench.drawing import BLACK, GRAY, LIGHT, Box, Dot, Drawing, Line, Word, nice_ticks
from facedepth_edge.bench.record import BenchRun, name_of_run

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 28, 44
COLORS = ("#3b6fb6", "#d98032", "#4e9a51", "#a24fa3", "#8a6d3b", "#c0504d")
MISSED = "#c0302c"

Scale = Callable[[float], float]


def draw_histogram(run: BenchRun) -> Drawing:
    """Draw how many queries took how long, with median and 99th percentile."""
    edges, counts = np.array(run["histogram"]["edges_ms"]), np.array(run["histogram"]["counts"])
    drawing, across, up = _axes(
        "Latency histogram", "ms", "queries", (edges[0], edges[-1]), (0.0, max(counts.max() * 1.08, 1.0))
    )
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        title = f"{low:.3f} to {high:.3f} ms: {count}"
        top = up(float(count))
        drawing.add(Box(across(low), top, across(high) - across(low) - 0.5, HEIGHT - BOTTOM - top, COLORS[0], title))
    for row, name in enumerate(("p50", "p99")):
        value = run["latency_ms"][name]
        if edges[0] <= value <= edges[-1]:
            x = across(value)
            drawing.add(Line(((x, TOP), (x, HEIGHT - BOTTOM)), COLORS[1], 1.5, dashed=True))
            anchor = "start" if x < WIDTH - 130 else "end"
            at = x + 4 if anchor == "start" else x - 4
            drawing.add(Word(at, TOP + 12 + 14 * row, f"{name} {value:.3f} ms", anchor, COLORS[1]))
    return drawing


def draw_curve(runs: list[BenchRun]) -> Drawing:
    """Draw the latency at each percentile, its end stretched: 90, 99 and 99.9 are one step apart."""
    tail = max(max(run["curve"]["percent"]) for run in runs)
    high = max(max(run["curve"]["ms"]) for run in runs) * 1.05
    end = _nines(tail)
    drawing, across, up = _axes("Percentile curve", "percentile", "ms", (0.0, end), (0.0, high), ticks_x=[])
    for percent in (0.0, 50.0, 90.0, 99.0, 99.9, 99.99):
        if _nines(percent) <= end + 1e-9:
            x = across(_nines(percent))
            drawing.add(Line(((x, TOP), (x, HEIGHT - BOTTOM)), LIGHT))
            drawing.add(Word(x, HEIGHT - BOTTOM + 16, f"{percent:g}", "middle"))
    for index, run in enumerate(runs):
        color = COLORS[index % len(COLORS)]
        points = [
            (across(_nines(q)), up(ms)) for q, ms in zip(run["curve"]["percent"], run["curve"]["ms"], strict=True)
        ]
        drawing.add(Line(tuple(points), color, 2.0))
        drawing.add(Word(LEFT + 8, TOP + 14 + 15 * index, name_of_run(run), color=color))
    return drawing


def draw_timeline(run: BenchRun) -> Drawing:
    """Draw every query's latency over time; those that missed the deadline in red."""
    at, ms = run["timeline"]["at_s"], run["timeline"]["ms"]
    deadline = run["deadline_ms"]
    high = max(ms) * 1.1
    drawing, across, up = _axes("Time line", "s", "ms", (0.0, max(at[-1], 1e-3)), (0.0, high))
    if deadline <= high:
        drawing.add(Line(((LEFT, up(deadline)), (WIDTH - RIGHT, up(deadline))), MISSED, 1.0, dashed=True))
        drawing.add(Word(WIDTH - RIGHT, up(deadline) - 4, f"deadline {deadline:.2f} ms", "end", MISSED))
    for second, latency in zip(at, ms, strict=True):
        late = latency > deadline
        drawing.add(Dot(across(second), up(latency), 2.5 if late else 1.3, MISSED if late else COLORS[0]))
    missed = f"{run['missed_deadlines']} of {run['queries']} missed the deadline of {deadline:.2f} ms"
    drawing.add(Word(LEFT + 8, TOP + 14, missed, color=MISSED if run["missed_deadlines"] else GRAY))
    return drawing


def draw_stages(runs: list[BenchRun]) -> Drawing:
    """Draw the stages of each run as a stacked bar, medians."""
    high = max(sum(run["stages_p50_ms"].values()) for run in runs) * 1.05
    names: list[str] = []
    for run in runs:
        names += [name for name in run["stages_p50_ms"] if name not in names]
    drawing, across, _ = _axes("Stages, medians", "ms", "", (0.0, high), (0.0, 1.0), ticks_y=[])
    step = (HEIGHT - TOP - BOTTOM - 22) / len(runs)
    for index, run in enumerate(runs):
        y = TOP + 20 + step * index
        drawing.add(Word(LEFT + 4, y + 11, name_of_run(run)))
        start = 0.0
        for name, value in run["stages_p50_ms"].items():
            color = COLORS[names.index(name) % len(COLORS)]
            left, right = across(start), across(start + value)
            drawing.add(Box(left, y + 16, right - left, min(step - 20, 26), color, f"{name} {value:.3f} ms"))
            start += value
    for index, name in enumerate(names):
        x = LEFT + 8 + 110 * index
        drawing.add(Box(x, TOP + 2, 10, 10, COLORS[index % len(COLORS)]), Word(x + 14, TOP + 12, name))
    return drawing


def draw_accuracy(runs: list[BenchRun]) -> Drawing | None:
    """Draw error beside latency, one dot a variant, with the front that no other variant beats in both.

    Returns:
        The drawing; None where no run's model says its error.
    """
    known = [run for run in runs if _accuracy_of(run).get("offset_free_mm") is not None]
    if not known:
        return None
    variants: dict[tuple[str, ...], BenchRun] = {}
    for run in known:  # one dot a variant: back to back where that was run
        model = run["model"]
        key = (model["model"], model["precision"], model["provider"])
        if key not in variants or variants[key]["mode"] != "single-stream":
            variants[key] = run
    runs = list(variants.values())
    points = [(run["latency_ms"]["p50"], float(_accuracy_of(run)["offset_free_mm"])) for run in runs]
    errors = [error for _, error in points]
    pad = max(0.15 * (max(errors) - min(errors)), 0.05 * max(errors))
    low, high = max(0.0, min(errors) - pad), max(errors) + pad
    data = _accuracy_of(runs[0]).get("data")
    title = f"Error beside latency: mm after the offset on {data}, as the model's spec says"
    drawing, across, up = _axes(title, "p50, ms", "", (0.0, max(ms for ms, _ in points) * 1.15), (low, high))
    front: list[tuple[float, float]] = []
    for ms, error in sorted(points):
        if not front or error < front[-1][1]:
            front.append((ms, error))
    drawing.add(Line(tuple((across(ms), up(error)) for ms, error in front), GRAY, 1.0, dashed=True))
    for index, (run, (ms, error)) in enumerate(zip(runs, points, strict=True)):
        color = COLORS[index % len(COLORS)]
        label = f"{name_of_run(run)}: {ms:.2f} ms, {error:.2f} mm"
        drawing.add(Dot(across(ms), up(error), 5, color, label))
        drawing.add(Word(LEFT + 8, TOP + 14 + 15 * index, label, color=color))
    return drawing


def _accuracy_of(run: BenchRun) -> dict[str, Any]:
    return run["model"].get("accuracy") or {}


def _nines(percent: float) -> float:
    """Return where a percentile lies on an axis on which 90, 99 and 99.9 are one step apart."""
    return float(-np.log10(max(1.0 - percent / 100.0, 1e-6)))


def _axes(
    title: str,
    label_x: str,
    label_y: str,
    range_x: tuple[float, float],
    range_y: tuple[float, float],
    *,
    ticks_x: list[float] | None = None,
    ticks_y: list[float] | None = None,
) -> tuple[Drawing, Scale, Scale]:
    """Start a chart: title, ticks, labels; returns it with the two functions from values to pixels."""
    drawing = Drawing(WIDTH, HEIGHT)
    (x0, x1), (y0, y1) = range_x, range_y
    x1, y1 = max(x1, x0 + 1e-9), max(y1, y0 + 1e-9)

    def across(value: float) -> float:
        return LEFT + (value - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - (value - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)

    for tick in nice_ticks(x0, x1, 8) if ticks_x is None else ticks_x:
        drawing.add(Line(((across(tick), TOP), (across(tick), HEIGHT - BOTTOM)), LIGHT))
        drawing.add(Word(across(tick), HEIGHT - BOTTOM + 16, f"{tick:g}", "middle"))
    for tick in nice_ticks(y0, y1) if ticks_y is None else ticks_y:
        drawing.add(Line(((LEFT, up(tick)), (WIDTH - RIGHT, up(tick))), LIGHT))
        drawing.add(Word(LEFT - 6, up(tick) + 4, f"{tick:g}", "end"))
    drawing.add(
        Line(((LEFT, TOP), (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM)), BLACK),
        Word(LEFT, 18, f"{title}: {label_y}" if label_y else title, bold=True),
        Word((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, label_x, "middle"),
    )
    return drawing, across, up
