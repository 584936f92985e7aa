# SPDX-License-Identifier: Apache-2.0
"""The tables 1 and 2 as Markdown, CSV and JSON, the paper's figures beside ours and every column named by its data."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from train.paper_metrics import DEPTH_METRICS, PIXEL_METRICS, VERIFICATION, MetricName
from train.report.bootstrap import Estimate
from train.report.measurement import ORIGINS, SYSTEMS
from train.report.paper_figures import SYSTEM_LABELS, TABLE_1, TABLE_2
from train.report.summary import Summary

ANGLE_LABELS = {"A1": "A1", "A2": "A2", "all": "{A1, A2}"}
SEQUENCE_LABELS = {"S123": "S1-S3", "S45": "S4-S5", "all": "S1-S5"}
GENERATED = "paper"  # table 2 judges the cGAN's depth


def origin_label(summary: Summary) -> str:
    """Return the word that stands over our columns."""
    return ORIGINS[summary.about["data"]["origin"]].label


def table_1_markdown(summary: Summary) -> str:
    """Return table 1 over all valid pixels: the ten metrics and the verification, ours and the paper's columns."""
    ours = [f"{SYSTEM_LABELS[system]} ({origin_label(summary)})" for system in SYSTEMS]
    theirs = [f"{SYSTEM_LABELS[system]} (paper, {summary.paper_data})" for system in SYSTEMS]
    rows = []
    for metric, name in {**PIXEL_METRICS, "verification": VERIFICATION}.items():
        row, printed = summary.table_1(metric), summary.paper_table_1(metric)
        cells = [format_estimate(row[system], name) for system in SYSTEMS]
        rows.append([_metric_label(name), *cells, *(format_value(printed[system], name) for system in SYSTEMS)])
    return markdown_table(["metric", *ours, *theirs], rows)


def head_table_markdown(summary: Summary) -> str:
    """Return table 1 over the head, with the errors in mm; the paper has no such figures."""
    ours = [f"{SYSTEM_LABELS[system]} ({origin_label(summary)})" for system in SYSTEMS]
    rows = []
    for metric, name in DEPTH_METRICS.items():
        row = summary.depth["head"][metric]
        rows.append([_metric_label(name), *(format_estimate(row[system], name) for system in SYSTEMS)])
    return markdown_table(["metric", *ours], rows)


def table_2_markdown(summary: Summary) -> str:
    """Return table 2: accuracy on original and on the cGAN's depth in nine cells; the paper's is on Pandora."""
    here = origin_label(summary)
    header = ["angles", "sequences", "pairs", f"original ({here})", f"generated ({here})",
              "original (paper, Pandora)", "generated (paper, Pandora)"]  # fmt: skip
    rows = []
    for cell, printed in TABLE_2.items():
        row = summary.verification[cell]
        ours = [format_estimate(row[source], VERIFICATION) for source in ("original", GENERATED)]
        theirs = [format_value(printed[kind], VERIFICATION) for kind in ("original", "generated")]
        rows.append([*_cell_labels(cell), f"{summary.pairs[cell]:,}", *ours, *theirs])
    return markdown_table(header, rows)


def table_1_csv(summary: Summary) -> str:
    """Return table 1 as CSV, one row a region, metric and system; the paper's figure where it has one."""
    rows: list[list[object]] = []
    for metric in (*PIXEL_METRICS, "verification"):
        printed = summary.paper_table_1(metric)
        for system, estimate in summary.table_1(metric).items():
            rows.append(["all", metric, system, *_bounds(estimate), printed[system], summary.paper_data])
    for metric, row in summary.depth["head"].items():
        rows += [["head", metric, system, *_bounds(estimate), "", ""] for system, estimate in row.items()]
    return _csv(summary, ["region", "metric", "system", "value", "low", "high", "paper", "paper_data"], rows)


def table_2_csv(summary: Summary) -> str:
    """Return table 2 as CSV, one row a cell and source; the other systems' rows have no figure of the paper."""
    rows: list[list[object]] = []
    for cell, row in summary.verification.items():
        printed = {"original": TABLE_2[cell]["original"], GENERATED: TABLE_2[cell]["generated"]}
        for source, estimate in row.items():
            paper = [printed[source], "Pandora"] if source in printed else ["", ""]
            rows.append([cell, summary.pairs[cell], source, *_bounds(estimate), *paper])
    header = ["cell", "pairs", "source", "value", "low", "high", "paper", "paper_data"]
    return _csv(summary, header, rows)


def plain_from_summary(summary: Summary) -> dict[str, Any]:
    """Return all figures as JSON takes them: ours under `table_1` and `table_2`, the paper's under `paper` alone."""
    regions = {
        "all": {metric: _plain(summary.depth["all"][metric]) for metric in PIXEL_METRICS},
        "head": {metric: _plain(row) for metric, row in summary.depth["head"].items()},
    }
    cells = {}
    for cell, row in summary.verification.items():
        plain = _plain(row)
        cells[cell] = {
            "pairs": summary.pairs[cell],
            "original": plain["original"],
            "generated": plain[GENERATED],
            "generated_by_system": {system: plain[system] for system in SYSTEMS},
        }
    return {
        "measured_on": summary.about["data"],
        "intervals": {
            "percent": 95,
            "method": "percentile bootstrap over subjects",
            "subjects": summary.subjects,
            "resamples": summary.resamples,
            "seed": summary.seed,
        },
        "table_1": {**regions, "verification": _plain(summary.table_1("verification"))},
        "table_2": cells,
        "pixels": summary.pixels,
        "pixels_raised_to_level_1": summary.raised,
        "without_frames_of_raised_truth": {
            "frames_left_out": summary.raised_frames,
            **{
                metric: {system: None if value != value else value for system, value in row.items()}
                for metric, row in summary.without_raised.items()
            },
        },
        "paper": {"table_1": TABLE_1, "table_2": {"Pandora": TABLE_2}},
        "about": summary.about,
    }


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; the first column is set to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_estimate(estimate: Estimate, name: MetricName) -> str:
    """Print a figure and its interval; the interval is left out where there is none."""
    text = format_value(estimate.value, name)
    if estimate.low != estimate.low:
        return text
    return f"{text} [{format_value(estimate.low, name)}, {format_value(estimate.high, name)}]"


def format_value(value: float, name: MetricName) -> str:
    """Print a figure as the paper does: at most five significant digits, at most `places` of them after the point."""
    if value != value:
        return "-"
    whole_digits = len(str(int(abs(value))))
    return f"{value:,.{max(0, min(name.places, 5 - whole_digits))}f}"


def _cell_labels(cell: str) -> list[str]:
    angles, sequences = cell.split("|")
    return [ANGLE_LABELS[angles], SEQUENCE_LABELS[sequences]]


def _metric_label(name: MetricName) -> str:
    return f"{name.label} {'↑' if name.higher_is_better else '↓'}"


def _plain(row: Mapping[str, Estimate]) -> dict[str, dict[str, float | None]]:
    return {key: dict(zip(("value", "low", "high"), _bounds_or_none(e), strict=True)) for key, e in row.items()}


def _bounds_or_none(estimate: Estimate) -> list[float | None]:
    return [None if value != value else value for value in (estimate.value, estimate.low, estimate.high)]


def _bounds(estimate: Estimate) -> list[object]:
    return ["" if value is None else f"{value:.6g}" for value in _bounds_or_none(estimate)]


def _csv(summary: Summary, header: list[str], rows: list[list[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    data = summary.about["data"]
    writer.writerow([*header, "measured_on"])
    writer.writerows([*row, f"{data['origin']}: {data['name']}"] for row in rows)
    return text.getvalue()
