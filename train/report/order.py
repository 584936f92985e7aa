# SPDX-License-Identifier: Apache-2.0
"""Compares the order of the systems with the paper's, metric by metric: what differs, and whether by chance.

Two systems that are equal, here or in the paper, have no order: they agree with nothing and reverse nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, groupby, pairwise
from typing import Any

from train.paper_metrics import PIXEL_METRICS, VERIFICATION, MetricName
from train.report.bootstrap import Estimate, estimate_difference
from train.report.measurement import SYSTEMS
from train.report.paper_figures import SYSTEM_LABELS
from train.report.summary import Summary
from train.report.tables import format_value, markdown_table

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
        ours: The systems here; equal ones stand as in the paper.
        paper: The systems in the paper.
        reversals: Every two systems whose order is the other way round.
        ties: The systems that are equal here, group by group.
        paper_ties: Those that are equal in the paper.
    """

    metric: str
    ours: tuple[str, ...]
    paper: tuple[str, ...]
    reversals: tuple[Reversal, ...]
    ties: tuple[tuple[str, ...], ...] = ()
    paper_ties: tuple[tuple[str, ...], ...] = ()

    @property
    def without_order(self) -> int:
        """How many pairs of systems are equal, here or in the paper."""
        pairs = (frozenset(pair) for group in (*self.ties, *self.paper_ties) for pair in combinations(group, 2))
        return len(set(pairs))

    @property
    def agrees(self) -> bool:
        """Whether every two systems differ, here and in the paper, and stand as there."""
        return not self.reversals and not self.without_order


def compare_orders(summary: Summary) -> list[MetricOrder]:
    """Compare the order of the systems by every metric of table 1, over all valid pixels.

    Metrics without a figure are left out.
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
            if ours.index(better) > ours.index(worse) and printed[better] != printed[worse]
        ]
        ties = _equal_groups(ours, {system: row[system].value for system in ours})
        result.append(MetricOrder(metric, ours, paper, tuple(reversals), ties, _equal_groups(paper, printed)))
    return result


def sentences_from_orders(orders: list[MetricOrder], summary: Summary) -> list[str]:
    """Say in words how often the order differs, where it is the paper's and who is equal: facts only, no reasons."""
    compared = sum(1 for _ in combinations(SYSTEMS, 2)) * len(orders)
    reversals = [reversal for order in orders for reversal in order.reversals]
    clear = sum(reversal.clear for reversal in reversals)
    without_order = sum(order.without_order for order in orders)
    ties = f" {without_order} are ties, here or in the paper, and count for neither." if without_order else ""
    lines = [
        f"Of {compared} comparisons of two systems by one metric, {len(reversals)} come out the other way round than "
        f"in the paper; in {clear} of these the 95 % interval of the difference leaves out 0.{ties}"
    ]
    same = [TABLE_1_METRICS[order.metric].label for order in orders if order.agrees]
    if same:
        lines.append(f"The order of the systems is the paper's by {_listed(same)}.")
    for order in orders:
        lines += _tie_sentences(order, summary)
    return lines


def reversals_markdown(orders: list[MetricOrder], summary: Summary) -> str:
    """Return a table of the metrics by which the order is not the paper's; an empty text where there are none."""
    rows = []
    for order in orders:
        if order.reversals:
            name = TABLE_1_METRICS[order.metric]
            ours, paper = _order_in_words(order.ours, order.ties), _order_in_words(order.paper, order.paper_ties)
            rows.append([name.label, ours, paper, "<br>".join(_in_words(each, name) for each in order.reversals)])
    if not rows:
        return ""
    return markdown_table(
        [
            "by",
            "the order here, best first",
            f"the paper's on {summary.paper_data}",
            "the other way round: the better one here, its figure less the other's, 95 % interval",
        ],
        rows,
    )


def _equal_groups(order: tuple[str, ...], values: Mapping[str, float]) -> tuple[tuple[str, ...], ...]:
    """Return the systems of an order that have one value, two or more to a group."""
    groups = (tuple(group) for _, group in groupby(order, key=lambda system: values[system]))
    return tuple(group for group in groups if len(group) > 1)


def _tie_sentences(order: MetricOrder, summary: Summary) -> list[str]:
    name = TABLE_1_METRICS[order.metric]
    printed, row = summary.paper_table_1(order.metric), summary.table_1(order.metric)
    found = [(group, "here", row[group[0]].value) for group in order.ties]
    found += [(group, f"in the paper on {summary.paper_data}", printed[group[0]]) for group in order.paper_ties]
    return [
        f"By {name.label} {_listed([SYSTEM_LABELS[system] for system in group])} are equal {where}: "
        f"{format_value(value, name)}."
        for group, where, value in found
    ]


def _order_in_words(systems: tuple[str, ...], ties: tuple[tuple[str, ...], ...]) -> str:
    """Return the systems with commas, `=` between equal ones."""
    text = SYSTEM_LABELS[systems[0]]
    for before, system in pairwise(systems):
        equal = any(before in group and system in group for group in ties)
        text += (" = " if equal else ", ") + SYSTEM_LABELS[system]
    return text


def _in_words(reversal: Reversal, name: MetricName) -> str:
    difference = reversal.difference
    if difference.low != difference.low:
        interval = "too few subjects for an interval"
    else:
        interval = f"[{format_value(difference.low, name)}, {format_value(difference.high, name)}]"
        interval += "" if reversal.clear else ", may be chance"
    better, worse = SYSTEM_LABELS[reversal.better], SYSTEM_LABELS[reversal.worse]
    return f"{better} before {worse}: {format_value(difference.value, name)} {interval}"


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
            "equal": [list(group) for group in order.ties],
            "equal_in_the_paper": [list(group) for group in order.paper_ties],
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
