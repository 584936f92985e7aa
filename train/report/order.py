# SPDX-License-Identifier: Apache-2.0
"""Compares the order of the systems with the paper's, metric by metric: what differs, and whether by chance."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

from train.measured import SYSTEMS
from train.paper_metrics import PIXEL_METRICS, VERIFICATION, MetricName
from train.report.bootstrap import Estimate, estimate_difference
from train.report.paper_figures import SYSTEM_LABELS
from train.report.summary import Summary
from train.report.tables import format_value

TABLE_1_METRICS: dict[str, MetricName] = {**PIXEL_METRICS, "verification": VERIFICATION}


@dataclass(frozen=True)
class Reversal:
    """Two systems whose order is not the paper's.

    Args:
        better: The system that is better here; in the paper it is the worse.
        worse: The other.
        difference: The first's figure less the second's.
    """

    better: str
    worse: str
    difference: Estimate

    @property
    def clear(self) -> bool:
        """Whether the interval of the difference leaves out 0."""
        return self.difference.low > 0 or self.difference.high < 0


@dataclass(frozen=True)
class MetricOrder:
    """The order by one metric, best first.

    Args:
        metric: A name of TABLE_1_METRICS.
        ours: The systems here.
        paper: The systems in the paper.
        reversals: Every two that stand the other way round.
    """

    metric: str
    ours: tuple[str, ...]
    paper: tuple[str, ...]
    reversals: tuple[Reversal, ...]


def compare_orders(summary: Summary) -> list[MetricOrder]:
    """Compare the order of the systems by every metric of table 1, over all valid pixels.

    Systems that are equal here stand as in the paper: a tie is no difference. Metrics without a figure are left out.
    """
    result = []
    for metric, name in TABLE_1_METRICS.items():
        row, printed = summary.table_1(metric), summary.paper_table_1(metric)
        if any(estimate.value != estimate.value for estimate in row.values()):
            continue
        paper = tuple(sorted(SYSTEMS, key=lambda system: _badness(name, printed[system])))
        ours = tuple(sorted(paper, key=lambda system: _badness(name, row[system].value)))
        reversals = [
            Reversal(worse, better, estimate_difference(row[worse], row[better], summary.subjects))
            for better, worse in combinations(paper, 2)
            if ours.index(better) > ours.index(worse)
        ]
        result.append(MetricOrder(metric, ours, paper, tuple(reversals)))
    return result


def sentences_from_orders(orders: list[MetricOrder], summary: Summary) -> list[str]:
    """Say in words where the order differs: facts only, no reasons."""
    same = [TABLE_1_METRICS[order.metric].label for order in orders if not order.reversals]
    lines = []
    if same:
        lines.append(f"The order of the systems is the paper's by {_listed(same)}.")
    for order in orders:
        if order.reversals:
            lines.append(_sentence(order, summary))
    compared = sum(1 for _ in combinations(SYSTEMS, 2)) * len(orders)
    reversals = [reversal for order in orders for reversal in order.reversals]
    clear = sum(reversal.clear for reversal in reversals)
    lines.append(
        f"Of {compared} comparisons of two systems by one metric, {len(reversals)} come out the other way round than "
        f"in the paper; in {clear} of these the 95 % interval of the difference leaves out 0."
    )
    return lines


def _sentence(order: MetricOrder, summary: Summary) -> str:
    name = TABLE_1_METRICS[order.metric]
    row = summary.table_1(order.metric)
    parts = []
    for reversal in order.reversals:
        figures = " against ".join(
            f"{SYSTEM_LABELS[system]} {format_value(row[system].value, name)}"
            for system in (reversal.better, reversal.worse)
        )
        difference = reversal.difference
        if difference.low != difference.low:
            verdict = "too few subjects for an interval"
        else:
            bounds = f"[{format_value(difference.low, name)}, {format_value(difference.high, name)}]"
            verdict = f"{bounds} leaves out 0" if reversal.clear else f"{bounds} holds 0, so it may be chance"
        parts.append(f"{figures}, difference {format_value(difference.value, name)} ({verdict})")
    ours, paper = (", ".join(SYSTEM_LABELS[system] for system in systems) for systems in (order.ours, order.paper))
    return (
        f"By {name.label} the order, best first, is {ours}; the paper's on {summary.paper_data} is {paper}; "
        f"the other way round: {'; '.join(parts)}."
    )


def _badness(name: MetricName, value: float) -> float:
    return -value if name.higher_is_better else value


def _listed(labels: list[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def plain_from_orders(orders: list[MetricOrder]) -> dict[str, Any]:
    """Return the comparison as JSON takes it."""
    return {
        order.metric: {
            "ours": list(order.ours),
            "paper": list(order.paper),
            "reversed": [
                {
                    "better_here": reversal.better,
                    "better_in_the_paper": reversal.worse,
                    "difference": reversal.difference.value,
                    "low": None if reversal.difference.low != reversal.difference.low else reversal.difference.low,
                    "high": None if reversal.difference.high != reversal.difference.high else reversal.difference.high,
                    "interval_leaves_out_0": reversal.clear,
                }
                for reversal in order.reversals
            ],
        }
        for order in orders
    }
