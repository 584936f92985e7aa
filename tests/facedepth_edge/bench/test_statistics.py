# SPDX-License-Identifier: Apache-2.0
"""The figures of a benchmark against plain definitions."""

from __future__ import annotations

import numpy as np
import pytest

from facedepth_edge.bench.statistics import (
    curve_of,
    histogram_of,
    judge_noise,
    percentile,
    spread_of_blocks,
    summarise_times,
)


def test_percentiles_are_nearest_ranks() -> None:
    times = np.arange(1.0, 101.0)
    np.random.default_rng(0).shuffle(times)
    assert [percentile(times, q) for q in (0, 1, 50, 90, 99, 99.9, 100)] == [1, 1, 50, 90, 99, 100, 100]
    assert percentile(np.array([7.0]), 50) == 7
    for count in (3, 10, 999):
        values = np.random.default_rng(count).random(count)
        for q in (10, 50, 90, 99):
            found = percentile(values, q)
            assert (values <= found).sum() >= q / 100 * count - 1e-9
            assert (values < found).sum() < q / 100 * count


def test_the_999th_needs_ten_thousand_queries() -> None:
    assert "p99.9" not in summarise_times(np.ones(9_999))
    times = np.arange(10_000.0)
    assert summarise_times(times)["p99.9"] == 9_989


def test_summary_of_known_times() -> None:
    found = summarise_times(np.array([2.0, 4.0, 2.0, 4.0, 3.0]))
    assert found["min"] == 2
    assert found["max"] == 4
    assert found["mean"] == pytest.approx(3)
    assert found["p50"] == 3
    assert found["jitter"] == pytest.approx(np.std([2, -2, 2, -1]) / np.sqrt(2))
    assert summarise_times(np.array([5.0]))["jitter"] == 0


def test_jitter_is_the_deviation_of_independent_times_but_not_of_a_drift() -> None:
    rng = np.random.default_rng(1)
    assert summarise_times(10 + rng.normal(0, 0.5, 20_000))["jitter"] == pytest.approx(0.5, rel=0.03)
    assert summarise_times(np.linspace(1, 5, 1000))["jitter"] == pytest.approx(0, abs=1e-9)


def test_noise_is_judged_by_the_control_work() -> None:
    steady = 1 + np.random.default_rng(2).normal(0, 0.01, 400)
    assert not judge_noise(steady)["noisy"]
    slowed = steady.copy()
    slowed[200:] *= 1.08  # a clock that came down half-way
    verdict = judge_noise(slowed)
    assert verdict["noisy"]
    assert verdict["control_spread"] == pytest.approx(0.08, abs=0.02)
    assert spread_of_blocks(np.ones(19)) == 0
    steady[::20] *= 5  # single late ones are the tail's business
    assert not judge_noise(steady)["noisy"]


def test_histogram_holds_every_query() -> None:
    times = np.random.default_rng(3).gamma(3, 1, 1000)
    times[7] = 500.0
    found = histogram_of(times)
    assert sum(found["counts"]) == 1000
    assert len(found["edges_ms"]) == len(found["counts"]) + 1
    assert found["edges_ms"][-1] < 50
    assert sum(histogram_of(np.full(5, 2.0))["counts"]) == 5


def test_curve_rises_to_the_largest_time() -> None:
    times = np.random.default_rng(4).random(5000)
    found = curve_of(times)
    assert found["percent"] == sorted(found["percent"])
    assert found["ms"] == sorted(found["ms"])
    assert found["percent"][0] == 0
    assert found["ms"][-1] == pytest.approx(times.max(), abs=1e-3)
