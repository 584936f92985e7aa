# SPDX-License-Identifier: Apache-2.0
"""The order of the systems beside the paper's: which two are the other way round, and whether by chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from train.report.bootstrap import estimate_from_draws
from train.report.measurement import SYSTEMS, Measured
from train.report.order import compare_orders, plain_from_orders, reversals_markdown, sentences_from_orders
from train.report.paper_figures import TABLE_1
from train.report.summary import WHOLE_CELL, Summary, summarise

NOISE = np.random.default_rng(0).normal(0, 1.0, 500)


@pytest.fixture(scope="module")
def summary(measured: Measured) -> Summary:
    """Figures that have the paper's own values, so its own order."""
    made = summarise(measured, resamples=50)
    depth = {metric: row_of(made.paper_table_1(metric)) for metric in made.depth["all"] if "mm" not in metric}
    cell = {**made.verification[WHOLE_CELL], **row_of(made.paper_table_1("verification"), scale=1e-4)}
    return replace(made, depth={**made.depth, "all": depth}, verification={**made.verification, WHOLE_CELL: cell})


def row_of(values: dict[str, float], scale: float = 1e-3) -> dict:
    """Return estimates whose draws scatter, the same for all: their differences hardly do."""
    shift = {system: 0.01 * scale * number for number, system in enumerate(SYSTEMS)}
    return {
        system: estimate_from_draws(value, value + scale * NOISE + shift[system] * NOISE[::-1], 6)
        for system, value in values.items()
    }


def with_l1(summary: Summary, **values: float) -> Summary:
    row = row_of({**summary.paper_table_1("l1"), **values})
    return replace(summary, depth={**summary.depth, "all": {**summary.depth["all"], "l1": row}})


def test_the_papers_own_values_have_its_order(summary: Summary) -> None:
    orders = compare_orders(summary)
    assert len(orders) == 11
    assert all(order.ours == order.paper and not order.reversals for order in orders)
    by_metric = {order.metric: order.paper for order in orders}
    assert by_metric["l1"] == ("paper", "autoencoder", "pix2pix", "cui")
    assert by_metric["delta_1"] == ("paper", "pix2pix", "autoencoder", "cui")  # higher is better
    assert by_metric["verification"] == ("paper", "autoencoder", "cui", "pix2pix")
    lines = sentences_from_orders(orders, summary)
    assert lines[0].startswith("Of 66 comparisons of two systems by one metric, 0 come out the other way round")
    assert lines[1].startswith("The order of the systems is the paper's by L1 norm, L2 norm, ")
    assert reversals_markdown(orders, summary) == ""


def test_a_clear_reversal(summary: Summary) -> None:
    changed = with_l1(summary, paper=17.0)  # between the autoencoder's 16.185 and pix2pix's 18.172
    order = compare_orders(changed)[0]
    assert order.ours == ("autoencoder", "paper", "pix2pix", "cui")
    (reversal,) = order.reversals
    assert (reversal.better, reversal.worse, reversal.clear) == ("autoencoder", "paper", True)
    assert reversal.difference.value == pytest.approx(16.185 - 17.0)
    lines = sentences_from_orders(compare_orders(changed), changed)
    assert len(lines) == 2
    assert "1 come out the other way round than in the paper; in 1 of these" in lines[0]
    header, _, row = reversals_markdown(compare_orders(changed), changed).splitlines()
    assert "the paper's on Pandora" in header
    assert row.startswith(
        "| L1 norm | autoencoder, cGAN, pix2pix, Cui et al. | cGAN, autoencoder, pix2pix, Cui et al. | "
        "autoencoder before cGAN: -0.815 [-0."
    )
    assert row.endswith("] |")
    plain = plain_from_orders(compare_orders(changed))["l1"]["reversed"]
    assert plain[0]["better_here"] == "autoencoder"
    assert plain[0]["interval_leaves_out_0"] is True


def test_a_reversal_that_may_be_chance(summary: Summary) -> None:
    changed = with_l1(summary, pix2pix=16.185 - 1e-6)
    (reversal,) = compare_orders(changed)[0].reversals
    assert (reversal.better, reversal.clear) == ("pix2pix", False)
    assert "], may be chance |" in reversals_markdown(compare_orders(changed), changed)


def test_ties_are_neither_agreement_nor_reversal(summary: Summary) -> None:
    changed = with_l1(summary, cui=11.792)  # as good as the cGAN, so better than the other two
    order = compare_orders(changed)[0]
    assert [(r.better, r.worse) for r in order.reversals] == [("cui", "autoencoder"), ("cui", "pix2pix")]
    assert order.ties == (("paper", "cui"),)
    lines = sentences_from_orders(compare_orders(changed), changed)
    assert lines[0].endswith(" 1 are ties, here or in the paper, and count for neither.")
    assert lines[-1] == "By L1 norm cGAN and Cui et al. are equal here: 11.792."
    table = reversals_markdown(compare_orders(changed), changed)
    assert "| cGAN = Cui et al., autoencoder, pix2pix | cGAN, autoencoder" in table
    assert "Cui et al. before autoencoder: " in table
    assert "<br>Cui et al. before pix2pix: " in table
    assert plain_from_orders(compare_orders(changed))["l1"]["equal"] == [["paper", "cui"]]


def test_systems_that_are_all_equal_have_not_the_papers_order(summary: Summary) -> None:
    tied = with_l1(summary, paper=1.0, autoencoder=1.0, pix2pix=1.0, cui=1.0)
    order = compare_orders(tied)[0]
    assert not order.reversals
    assert not order.agrees
    lines = sentences_from_orders(compare_orders(tied), tied)
    assert " 6 are ties" in lines[0]
    assert lines[1].startswith("The order of the systems is the paper's by L2 norm, ")
    assert lines[2] == "By L1 norm cGAN, autoencoder, pix2pix and Cui et al. are equal here: 1.000."


def test_a_tie_in_the_paper_is_no_reversal(summary: Summary, monkeypatch: pytest.MonkeyPatch) -> None:
    tied = {**summary.paper_table_1("l1"), "paper": 16.185}  # as the autoencoder's
    monkeypatch.setitem(TABLE_1["Pandora"], "l1", tied)
    changed = with_l1(summary, autoencoder=5.0)
    order = compare_orders(changed)[0]
    assert (order.reversals, order.ties, order.paper_ties) == ((), (), (("paper", "autoencoder"),))
    lines = sentences_from_orders(compare_orders(changed), changed)
    assert lines[2] == "By L1 norm cGAN and autoencoder are equal in the paper on Pandora: 16.185."


def test_metrics_without_a_figure_are_left_out(summary: Summary) -> None:
    assert compare_orders(with_l1(summary, cui=float("nan")))[0].metric == "l2"


def test_without_intervals_nothing_is_clear(summary: Summary) -> None:
    changed = replace(with_l1(summary, paper=17.0), subjects=1)
    (reversal,) = compare_orders(changed)[0].reversals
    assert not reversal.clear
    assert "too few subjects for an interval" in reversals_markdown(compare_orders(changed), changed)
    assert plain_from_orders(compare_orders(changed))["l1"]["reversed"][0]["low"] is None


def test_all_systems_reversed(summary: Summary) -> None:
    changed = with_l1(summary, paper=4.0, autoencoder=3.0, pix2pix=2.0, cui=1.0)
    assert len(compare_orders(changed)[0].reversals) == 6
