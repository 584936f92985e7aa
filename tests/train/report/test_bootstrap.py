# SPDX-License-Identifier: Apache-2.0
"""The intervals: against what theory says, against resamples drawn out in full, and where there are too few people."""

from __future__ import annotations

import math

import numpy as np
import pytest

from train.paper_metrics import IMAGE_SUMS, metrics_from_totals, sums_of_images, totals_from_sums
from train.report.bootstrap import (
    draw_weights,
    estimate_accuracy,
    estimate_difference,
    estimate_from_draws,
    estimate_metrics,
)


def sums_with_l1(l1: np.ndarray, pixels: float = 100.0) -> dict[str, np.ndarray]:
    """Return images whose L1 is given and of which nothing else is known."""
    sums = {name: np.zeros(len(l1)) for name in IMAGE_SUMS}
    sums["pixels"] = np.full(len(l1), pixels)
    sums["absolute"] = l1 * pixels
    return sums


def test_the_interval_of_a_mean_is_the_normal_ones() -> None:
    rng = np.random.default_rng(0)
    subjects = 400
    level = rng.normal(20, 3, subjects)
    person = np.repeat(np.arange(subjects), 3)
    got = estimate_metrics(sums_with_l1(level[person]), person, draw_weights(subjects, 4000, seed=1))["l1"]
    error = level.std() / math.sqrt(subjects)
    assert got.value == pytest.approx(level.mean())
    assert got.draws.std() == pytest.approx(error, rel=0.05)
    assert got.low == pytest.approx(level.mean() - 1.96 * error, abs=0.15 * error)
    assert got.high == pytest.approx(level.mean() + 1.96 * error, abs=0.15 * error)


def test_more_frames_of_the_same_people_do_not_narrow_it() -> None:
    level = np.random.default_rng(2).normal(20, 3, 30)
    weights = draw_weights(30, 500)
    few, many = (
        estimate_metrics(sums_with_l1(np.repeat(level, n)), np.repeat(np.arange(30), n), weights)["l1"] for n in (2, 50)
    )
    assert (few.low, few.high) == pytest.approx((many.low, many.high))
    assert few.high - few.low > 1


def test_every_draw_is_the_pooled_metric_of_its_people() -> None:
    rng = np.random.default_rng(3)
    truth = rng.uniform(-0.9, 0.9, (12, 9, 9))
    sums = sums_of_images(truth + rng.normal(0, 0.2, truth.shape), truth, rng.random(truth.shape) > 0.2)
    person = rng.integers(0, 4, 12)
    weights = draw_weights(4, 20, seed=5)
    got = estimate_metrics(sums, person, weights)
    for number, counts in enumerate(weights.astype(int)):
        rows = np.concatenate([np.flatnonzero(person == p) for p in range(4) for _ in range(counts[p])])
        totals = totals_from_sums({name: values[rows] for name, values in sums.items()})
        expected = metrics_from_totals({name: values.sum() for name, values in totals.items()})
        for name, value in expected.items():
            assert got[name].draws[number] == pytest.approx(float(value), rel=1e-9, nan_ok=True), name


def test_draws_repeat_and_are_of_the_right_size() -> None:
    weights = draw_weights(7, 50, seed=3)
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert np.array_equal(weights, draw_weights(7, 50, seed=3))
    assert not np.array_equal(weights, draw_weights(7, 50, seed=4))


def pairs_of(subjects: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `each` pairs of every person with himself and as many with others."""
    rng = np.random.default_rng(6)
    a = np.repeat(np.arange(subjects), 2 * each)
    b = a.copy()
    b[1::2] = (a[1::2] + rng.integers(1, subjects, len(a) // 2)) % subjects
    return a, b


def test_accuracy_draws_are_those_of_the_pairs_written_out() -> None:
    a, b = pairs_of(5, 6)
    right = np.random.default_rng(7).random(len(a)) < 0.7
    weights = draw_weights(5, 30, seed=2)
    got = estimate_accuracy(right, a == b, a, b, weights)
    assert got.value == right.mean()
    for number, counts in enumerate(weights):
        shares = []
        for kind in (a == b, a != b):
            weight = [counts[i] if i == j else counts[i] * counts[j] for i, j in zip(a[kind], b[kind], strict=True)]
            if sum(weight):
                shares.append(sum(w for w, ok in zip(weight, right[kind], strict=True) if ok) / sum(weight))
        expected = sum(shares) / 2 if len(shares) == 2 else math.nan
        assert got.draws[number] == pytest.approx(expected, nan_ok=True)
    assert got.low < got.value < got.high


def test_the_mix_of_pairs_stays_that_of_the_list() -> None:
    a, b = pairs_of(4, 10)
    got = estimate_accuracy(a == b, a == b, a, b, draw_weights(4, 200))  # says "same" of all: half are right
    known = got.draws[np.isfinite(got.draws)]
    assert len(known) > 150
    assert known == pytest.approx(0.5)


def test_the_interval_of_accuracy_is_the_binomial_one_where_people_do_not_differ() -> None:
    subjects, rng = 300, np.random.default_rng(1)
    a = np.arange(subjects)
    right = rng.random(subjects) < 0.8
    got = estimate_accuracy(right, np.ones(subjects, bool), a, a, draw_weights(subjects, 4000))
    error = math.sqrt(right.mean() * (1 - right.mean()) / subjects)
    assert got.draws.std() == pytest.approx(error, rel=0.05)
    assert (got.high - got.low) == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_too_few_people_give_no_interval() -> None:
    got = estimate_metrics(sums_with_l1(np.array([3.0, 5.0])), np.zeros(2, np.int64), draw_weights(1, 10))["l1"]
    assert got.value == 4.0
    assert math.isnan(got.low)
    assert math.isnan(got.high)
    nothing = np.zeros(0, np.int64)
    empty = estimate_accuracy(nothing > 0, nothing > 0, nothing, nothing, draw_weights(3, 10))
    assert math.isnan(empty.value)
    assert math.isnan(empty.low)


def test_differences_are_compared_draw_by_draw() -> None:
    noise = np.random.default_rng(0).normal(0, 5, 1000)
    first, second = (estimate_from_draws(value, value + noise, 9) for value in (10.0, 9.0))
    assert first.low < second.high  # the two intervals overlap
    got = estimate_difference(first, second, 9)
    assert (got.value, got.low, got.high) == pytest.approx((1.0, 1.0, 1.0))
