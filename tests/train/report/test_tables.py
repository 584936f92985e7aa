# SPDX-License-Identifier: Apache-2.0
"""The tables: the paper's numbers, Markdown and CSV read back, JSON complete, and no column without its data's name."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.errors import InputError
from tests.train.report.conftest import make_measured
from train.paper_metrics import (
    DEPTH_METRICS,
    PIXEL_METRICS,
    VERIFICATION,
    metrics_from_totals,
    totals_from_sums,
)
from train.report.bootstrap import Estimate
from train.report.document import report_markdown
from train.report.measurement import SOURCES, SYSTEMS, Measured
from train.report.paper_figures import TABLE_1, TABLE_2
from train.report.summary import Summary, summarise
from train.report.tables import (
    format_value,
    head_table_markdown,
    plain_from_summary,
    table_1_csv,
    table_1_markdown,
    table_2_csv,
    table_2_markdown,
)

# The paper's tables as printed there, typed a second time.
PRINTED_1 = """
11.792 16.185 18.172 34.635 10.503 10.444 47.191 16.507
1,678.2 2,224.8 3,109.0 4,749.2 2,368.5 2,342.5 6,661.3 2,319.8
0.1019 0.1441 0.1512 1.2020 0.1838 0.1936 0.9062 0.2836
2.9974 5.3891 8.6444 102.26 8.7122 9.0332 100.89 9.3032
18.677 25.213 33.526 49.973 24.865 24.699 72.084 24.521
0.1744 0.2752 1.0864 0.8330 0.2932 0.2970 1.2240 0.3390
0.1345 0.2018 1.0774 0.7009 0.2687 0.2642 1.1759 0.2867
0.8529 0.6854 0.7802 0.4848 0.7393 0.7230 0.4149 0.6395
0.9642 0.8728 0.8978 0.6332 0.9224 0.9064 0.5298 0.7943
0.9915 0.9651 0.9638 0.7225 0.9609 0.9557 0.6360 0.9311
0.7247 0.6570 0.5315 0.6442 0.6251 0.6043 0.5422 0.5966
"""
PRINTED_2 = """
0.8184 0.8614 0.7685 0.7155 0.7917 0.7950
0.7928 0.7499 0.7216 0.6586 0.7576 0.7007
0.8034 0.7851 0.7271 0.6696 0.7664 0.7247
"""


@pytest.fixture(scope="module")
def summary(measured: Measured) -> Summary:
    return summarise(measured, resamples=200)


def read_markdown(text: str) -> list[dict[str, str]]:
    """Parse a Markdown table into rows by column; every row must have as many cells as the header."""
    lines = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in text.splitlines()]
    header, rule, *rows = lines
    assert all(set(cell) <= set("-: ") for cell in rule)
    assert len({len(line) for line in lines}) == 1
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_the_papers_numbers_print_as_in_the_paper() -> None:
    for (metric, name), line in zip(
        {**PIXEL_METRICS, "verification": VERIFICATION}.items(), PRINTED_1.split("\n")[1:], strict=False
    ):
        mine = [format_value(TABLE_1[data][metric][system], name) for data in ("Pandora", "Biwi") for system in SYSTEMS]
        assert mine == line.split(), metric
    for angles, line in zip(("A1", "A2", "all"), PRINTED_2.split("\n")[1:], strict=False):
        row = [TABLE_2[f"{angles}|{sequences}"] for sequences in ("S123", "S45", "all")]
        assert [value for cell in row for value in cell.values()] == [float(text) for text in line.split()]
    for data in TABLE_1:
        assert len(TABLE_1[data]) == 11
    assert TABLE_2["all|all"]["generated"] == TABLE_1["Pandora"]["verification"]["paper"]


def test_figures_are_those_of_the_measurement(measured: Measured, summary: Summary) -> None:
    for region in ("all", "head"):
        for number, system in enumerate(SYSTEMS):
            totals = totals_from_sums({name: values[number] for name, values in measured.sums[region].items()})
            expected = metrics_from_totals({name: values.sum() for name, values in totals.items()})
            for metric in DEPTH_METRICS:
                assert summary.depth[region][metric][system].value == pytest.approx(float(expected[metric]))
    pairs = measured.pairs
    here = pairs.cell == "A2|S45"
    for number, source in enumerate(SOURCES):
        right = (pairs.similarity[number, here] > 0.5) == pairs.same[here]
        assert summary.verification["A2|S45"][source].value == right.mean()
    assert 0 < right.mean() < 1


def test_table_1_reads_back(summary: Summary) -> None:
    rows = read_markdown(table_1_markdown(summary))
    assert len(rows) == 11
    for row, (metric, name) in zip(rows, {**PIXEL_METRICS, "verification": VERIFICATION}.items(), strict=True):
        assert row["metric"].split(" ")[-1] == ("↑" if name.higher_is_better else "↓")
        assert row["metric"].startswith(name.label)
        for system, label in zip(SYSTEMS, ("cGAN", "autoencoder", "pix2pix", "Cui et al."), strict=True):
            estimate = summary.table_1(metric)[system]
            value, low, high = (
                float(text.replace(",", "").strip("[]")) for text in row[f"{label} (synthetic)"].split(" ")
            )
            for printed, exact in zip((value, low, high), (estimate.value, estimate.low, estimate.high), strict=True):
                assert printed == pytest.approx(exact, abs=0.51 * 10.0**-name.places, rel=1e-4)
            printed = float(row[f"{label} (paper, Pandora)"].replace(",", ""))
            assert printed == TABLE_1["Pandora"][metric][system]


def test_table_2_reads_back(summary: Summary) -> None:
    rows = read_markdown(table_2_markdown(summary))
    assert len(rows) == 9
    for row, (cell, printed) in zip(rows, TABLE_2.items(), strict=True):
        angles, sequences = cell.split("|")
        assert row["angles"] == {"all": "{A1, A2}"}.get(angles, angles)
        assert row["sequences"] == {"S123": "S1-S3", "S45": "S4-S5", "all": "S1-S5"}[sequences]
        assert row["pairs"] == "8"
        for kind, source in (("original", "original"), ("generated", "paper")):
            estimate = summary.verification[cell][source]
            assert float(row[f"{kind} (synthetic)"].split(" ")[0]) == pytest.approx(estimate.value, abs=6e-5)
            assert float(row[f"{kind} (paper, Pandora)"]) == printed[kind]


def test_the_head_table_has_the_mm_and_no_figure_of_the_paper(summary: Summary) -> None:
    rows = read_markdown(head_table_markdown(summary))
    assert len(rows) == 12
    assert sum("mm" in row["metric"] for row in rows) == 2
    assert all("paper" not in column for row in rows for column in row)


def test_json_is_complete(summary: Summary) -> None:
    plain = json.loads(json.dumps(plain_from_summary(summary), allow_nan=False))
    for region in ("all", "head"):
        assert set(PIXEL_METRICS) <= set(plain["table_1"][region])
        for metric in PIXEL_METRICS:
            assert sorted(plain["table_1"][region][metric]) == sorted(SYSTEMS)
            for estimate in plain["table_1"][region][metric].values():
                assert estimate["low"] <= estimate["value"] * 1.2
                assert all(math.isfinite(estimate[part]) for part in ("value", "low", "high"))
    assert sorted(plain["table_1"]["verification"]) == sorted(SYSTEMS)
    assert len(plain["table_2"]) == 9
    for key, cell in plain["table_2"].items():
        assert 0 <= cell["original"]["value"] <= 1
        assert 0 <= cell["generated"]["value"] <= 1
        assert cell["generated"] == cell["generated_by_system"]["paper"]
        assert plain["paper"]["table_2"]["Pandora"][key]["original"] > 0.7
    assert plain["measured_on"]["origin"] == "synthetic"
    assert plain["paper"]["table_1"]["Pandora"]["l1"]["paper"] == 11.792


def test_csv_is_complete(summary: Summary) -> None:
    rows = list(csv.DictReader(io.StringIO(table_1_csv(summary))))
    assert len(rows) == 4 * 11 + 4 * 12
    assert {row["measured_on"] for row in rows} == {"synthetic: pandora"}
    assert {row["paper_data"] for row in rows} == {"Pandora", ""}
    assert all((row["paper"] == "") == (row["region"] == "head") for row in rows)
    l2 = next(row for row in rows if (row["metric"], row["system"], row["region"]) == ("l2", "cui", "all"))
    assert float(l2["value"]) == pytest.approx(summary.depth["all"]["l2"]["cui"].value, rel=1e-5)
    assert float(l2["paper"]) == 4749.2
    rows = list(csv.DictReader(io.StringIO(table_2_csv(summary))))
    assert len(rows) == 9 * 5
    assert sum(row["paper"] != "" for row in rows) == 18


def test_a_cell_without_pairs_is_empty_and_an_unknown_one_is_told(measured: Measured) -> None:
    pairs = measured.pairs
    kept = pairs.cell != "A2|S45"
    few = replace(pairs, cell=pairs.cell[kept], a=pairs.a[kept], b=pairs.b[kept], same=pairs.same[kept],
                  similarity=pairs.similarity[:, kept])  # fmt: skip
    got = summarise(replace(measured, pairs=few), resamples=20)
    row = next(r for r in read_markdown(table_2_markdown(got)) if (r["angles"], r["sequences"]) == ("A2", "S4-S5"))
    assert (row["pairs"], row["original (synthetic)"]) == ("0", "-")
    assert plain_from_summary(got)["table_2"]["A2|S45"]["original"]["value"] is None
    odd = np.where(kept, pairs.cell, "A3|S9")
    with pytest.raises(InputError, match=r"pair list: got the cell A3\|S9, expected a cell of table 2: A1\|S123"):
        summarise(replace(measured, pairs=replace(pairs, cell=odd)))


def test_one_subject_prints_no_intervals(inputs: tuple[Path, Path]) -> None:
    one = make_measured(*inputs, subjects=1)
    got = summarise(one, resamples=10)
    rows = read_markdown(table_1_markdown(got))
    assert all("[" not in cell for row in rows for cell in row.values())
    assert plain_from_summary(got)["table_1"]["all"]["l1"]["paper"]["low"] is None


@pytest.mark.parametrize(
    ("value", "text"), [(float("nan"), "-"), (12345.67, "12,346"), (0.5, "0.500"), (-2.5, "-2.500")]
)
def test_numbers(value: float, text: str) -> None:
    assert format_value(value, PIXEL_METRICS["l1"]) == text


def test_biwi_stands_beside_biwi(measured: Measured, summary: Summary) -> None:
    about = {**measured.about, "data": {**measured.about["data"], "origin": "biwi"}}
    row = read_markdown(table_1_markdown(replace(summary, about=about)))[0]
    assert row["cGAN (paper, Biwi)"] == "10.503"
    assert "cGAN (Biwi)" in row
    assert isinstance(summary.table_1("l1")["paper"], Estimate)


def test_frames_with_depth_before_the_scale_are_told_apart(measured: Measured) -> None:
    """A ratio to level 1 is huge: what few such pixels cost is said beside the table."""
    assert summarise(measured, 20).raised_frames == 0
    raised = np.zeros_like(measured.sums["all"]["raised_truth"])
    raised[:, [3, 7]] = 5
    ratios = measured.sums["all"]["absolute_ratio"] + 1000 * (raised > 0)
    sums = {**measured.sums, "all": {**measured.sums["all"], "raised_truth": raised, "absolute_ratio": ratios}}
    summary = summarise(replace(measured, sums=sums), 20)
    others = np.setdiff1d(np.arange(raised.shape[1]), [3, 7])
    pixels = measured.sums["all"]["pixels"][:, others].sum(axis=1)
    expected = measured.sums["all"]["absolute_ratio"][:, others].sum(axis=1) / pixels
    assert summary.raised_frames == 2
    found = summary.without_raised["absolute_difference"]
    assert [found[system] for system in SYSTEMS] == pytest.approx(expected)
    assert summary.depth["all"]["absolute_difference"][SYSTEMS[0]].value > 2 * found[SYSTEMS[0]]
    assert "l1" not in summary.without_raised
    plain = plain_from_summary(summary)["without_frames_of_raised_truth"]
    assert (plain["frames_left_out"], plain["delta_1"]) == (2, summary.without_raised["delta_1"])
    every = {**sums, "all": {**sums["all"], "raised_truth": raised + 1}}
    nothing = plain_from_summary(summarise(replace(measured, sums=every), 20))["without_frames_of_raised_truth"]
    assert nothing["delta_1"] == dict.fromkeys(SYSTEMS)
    json.dumps(nothing, allow_nan=False)
    text = report_markdown(summary, None, {})
    assert "True depth was raised in 2 frames" in text
    assert f"| absolute difference | {expected[0]:.4f} | {expected[1]:.4f} |" in text
