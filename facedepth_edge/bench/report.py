# SPDX-License-Identifier: Apache-2.0
"""Writes a benchmark as one HTML file that needs nothing else, and as one PNG."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedepth_edge.bench.charts import (
    draw_accuracy,
    draw_curve,
    draw_histogram,
    draw_stages,
    draw_timeline,
)
from facedepth_edge.bench.drawing import Drawing, Word, picture_from_drawing, svg_from_drawing
from facedepth_edge.bench.record import Bench, name_of_run
from facedepth_edge.bench.text import lines_from_run
from facedepth_edge.errors import InputError
from facedepth_edge.image_files import write_picture
from facedepth_edge.whole_file import replace_file

_STYLE = """
body { font: 15px/1.45 sans-serif; color: #222; max-width: 1500px; margin: 24px auto; padding: 0 16px; }
h1 { font-size: 22px; } h2 { font-size: 17px; margin-top: 32px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(560px, 1fr)); gap: 12px; }
table { border-collapse: collapse; } td, th { border: 1px solid #ccc; padding: 3px 9px; text-align: right; }
td:first-child, th:first-child { text-align: left; }
pre { background: #f5f5f5; padding: 10px; overflow-x: auto; }
.noisy { color: #c0302c; font-weight: bold; }
"""
_COLUMNS = ("p50", "p90", "p99", "p99.9", "max", "jitter")


def charts_of_bench(bench: Bench) -> list[tuple[str, list[tuple[str, Drawing]]]]:
    """Return the charts of a benchmark in groups: a heading, and charts with their labels."""
    runs = bench["runs"]
    together = [("Percentile curve of all runs", draw_curve(runs)), ("Stages of all runs", draw_stages(runs))]
    accuracy = draw_accuracy(runs)
    if accuracy is not None:
        together.append(("Error beside latency", accuracy))
    groups = [("All runs", together)]
    for run in runs:
        name = name_of_run(run)
        charts = [(f"Latency histogram, {name}", draw_histogram(run)), (f"Time line, {name}", draw_timeline(run))]
        groups.append((name, charts))
    return groups


def html_from_bench(bench: Bench) -> str:
    """Return a benchmark as a page of HTML without scripts and without anything from elsewhere."""
    runs = bench["runs"]
    head = "".join(f"<th>{name}</th>" for name in ("run", *_COLUMNS, "qps", "missed"))
    rows = []
    for run in runs:
        cells = [name_of_run(run)]
        cells += [f"{run['latency_ms'][name]:.3f}" if name in run["latency_ms"] else "-" for name in _COLUMNS]
        cells += [f"{run['throughput_qps']:.1f}", f"{run['missed_deadlines']} of {run['queries']}"]
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    noisy = [name_of_run(run) for run in runs if run["noise"]["noisy"]]
    warning = ""
    if noisy:
        warning = (
            f'<p class="noisy">The machine was noisy during: {escape("; ".join(noisy))}. Do not compare times.</p>'
        )
    facts = {"commit": bench["commit"], **bench["machine"], "clocks": bench["clocks"], **bench["versions"]}
    table = "".join(
        f"<tr><td>{escape(str(name))}</td><td>{escape(_plain(value))}</td></tr>"
        for name, value in facts.items()
        if value
    )
    figures = "\n".join(
        f'<h2>{escape(heading)}</h2>\n<div class="charts">\n'
        + "\n".join(f"<div>{svg_from_drawing(drawing, label)}</div>" for label, drawing in charts)
        + "\n</div>"
        for heading, charts in charts_of_bench(bench)
    )
    details = "\n".join("\n".join(lines_from_run(run)) for run in runs)
    title = f"{bench['program']}: latency on {bench['machine'].get('device') or bench['machine'].get('cpu', 'unknown')}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{escape(bench["when"])}. Latencies in milliseconds; percentiles by nearest rank; jitter: standard deviation of the
difference between successive frames over the square root of 2. In the paced mode latency counts from the moment that a
frame was due.</p>
{warning}
<table><tr>{head}</tr>
{"".join(rows)}
</table>
{figures}
<h2>Details</h2>
<pre>{escape(details)}</pre>
<h2>Machine and versions</h2>
<table>{table}</table>
</body>
</html>
"""


def picture_from_bench(bench: Bench) -> NDArray[np.uint8]:
    """Return all charts of a benchmark in one picture, two in a row, (H, W, 3) uint8 BGR."""
    rows: list[NDArray[np.uint8]] = []
    for heading, charts in charts_of_bench(bench):
        pictures = [picture_from_drawing(drawing) for _, drawing in charts]
        band = Drawing(2 * charts[0][1].width, 30, [Word(12, 22, heading, bold=True)])
        rows.append(picture_from_drawing(band))
        if len(pictures) % 2:
            pictures.append(np.full_like(pictures[0], 255))
        rows += [np.hstack(pictures[i : i + 2]) for i in range(0, len(pictures), 2)]
    return np.vstack(rows)


def write_report(bench: Bench, path: str | Path) -> tuple[Path, Path]:
    """Write the page, and the picture beside it with the suffix .png.

    Args:
        bench: what `describe_bench` or `read_bench` returned.
        path: the HTML file.

    Returns:
        The two files.

    Raises:
        InputError: a file cannot be written.
    """
    path = Path(path)
    write_text(path, html_from_bench(bench))
    return path, write_picture(picture_from_bench(bench), path.with_suffix(".png"))


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8.

    Raises:
        InputError: it cannot be written.
    """
    try:
        replace_file(path, text.encode())
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise InputError.of(str(path), got, "a file that can be written", "Give another path.") from error


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
