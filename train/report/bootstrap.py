# SPDX-License-Identifier: Apache-2.0
"""95 % intervals by bootstrap over subjects: people are drawn anew, not frames, which are not independent.

Ours; the paper gives no intervals. A resample draws as many subjects as there are, with replacement; the interval runs
between the 2.5th and 97.5th percentile of the resampled figures. All figures of a report come from the same resamples,
so that two systems can be compared draw by draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from train.paper_metrics import metrics_from_totals, totals_from_sums

RESAMPLES = 2000
SEED = 0
PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval; NaN bounds where fewer than two subjects allow none.

    Args:
        value: On the data as it is.
        low: Lower end of the 95 % interval.
        high: Upper end.
        draws: (R,) float64, the figure of each resample, NaN where it had nothing to measure.
    """

    value: float
    low: float
    high: float
    draws: np.ndarray


def draw_weights(subjects: int, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Return (R, S) float64: how often each resample has each subject; every row sums to S."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(subjects, np.full(subjects, 1.0 / subjects), size=resamples).astype(np.float64)


def estimate_from_draws(value: float, draws: np.ndarray, subjects: int) -> Estimate:
    """Put a figure and its resamples together; resamples without a figure do not count."""
    known = draws[np.isfinite(draws)]
    if subjects < 2 or not len(known):
        return Estimate(value, float("nan"), float("nan"), draws)
    low, high = np.percentile(known, PERCENTILES)
    return Estimate(value, float(low), float(high), draws)


def estimate_metrics(sums: Mapping[str, np.ndarray], person: np.ndarray, weights: np.ndarray) -> dict[str, Estimate]:
    """Pool images into metrics, with intervals.

    Args:
        sums: Name of IMAGE_SUMS to (n,) float64, one system's.
        person: (n,) int64 below S, whom each image shows.
        weights: (R, S) of `draw_weights`.

    Returns:
        Each name of DEPTH_METRICS.
    """
    subjects = weights.shape[1]
    totals = totals_from_sums(sums)
    by_person = {name: np.bincount(person, weights=values, minlength=subjects) for name, values in totals.items()}
    values = metrics_from_totals({name: terms.sum() for name, terms in by_person.items()})
    draws = metrics_from_totals({name: weights @ terms for name, terms in by_person.items()})
    return {name: estimate_from_draws(float(values[name]), draws[name], subjects) for name in values}


def estimate_accuracy(
    right: np.ndarray, same: np.ndarray, person_a: np.ndarray, person_b: np.ndarray, weights: np.ndarray
) -> Estimate:
    """Compute the share of pairs judged rightly, with an interval over subjects.

    A pair of one person counts as often as the resample has that person; a pair of two people counts the product of
    how often it has each. That alone would thin out the pairs of two people, since a resample has
    fewer different people than the data, so the two kinds keep the shares that the pair list gives them.

    Args:
        right: (m,) bool, judged rightly.
        same: (m,) bool, one person.
        person_a: (m,) int64 below S.
        person_b: (m,) int64 below S; equal to person_a where, and only where, `same`.
        weights: (R, S) of `draw_weights`.

    Returns:
        The accuracy; NaN without pairs. A resample that has no pair of a kind that the list has gives no figure.
    """
    subjects = weights.shape[1]
    if not len(right):
        return estimate_from_draws(float("nan"), np.full(len(weights), np.nan), subjects)
    draws = np.zeros(len(weights))
    for kind in (same, ~same):
        if not kind.any():
            continue
        shape = (subjects, subjects)
        all_pairs, right_pairs = np.zeros(shape), np.zeros(shape)
        np.add.at(all_pairs, (person_a[kind], person_b[kind]), 1.0)
        np.add.at(right_pairs, (person_a[kind], person_b[kind]), right[kind].astype(np.float64))
        if kind is same:
            counts = [weights @ np.diagonal(pairs) for pairs in (right_pairs, all_pairs)]
        else:
            counts = [((weights @ pairs) * weights).sum(axis=1) for pairs in (right_pairs, all_pairs)]
        share = np.divide(counts[0], counts[1], out=np.full(len(weights), np.nan), where=counts[1] > 0)
        draws += kind.mean() * share
    return estimate_from_draws(float(right.mean()), draws, subjects)


def estimate_difference(first: Estimate, second: Estimate, subjects: int) -> Estimate:
    """Return first - second, compared resample by resample."""
    return estimate_from_draws(first.value - second.value, first.draws - second.draws, subjects)
