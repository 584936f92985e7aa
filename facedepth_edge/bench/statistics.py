# SPDX-License-Identifier: Apache-2.0
"""Turns measured times into the figures that are printed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facedepth_edge.bench.plan import FULL_QUERIES
from facedepth_edge.bench.record import Curve, Histogram, Noise

PERCENTILES = (50.0, 90.0, 99.0)
BLOCKS = 10
NOISY_CONTROL = 0.03
HISTOGRAM_BINS = 60


def percentile(times: NDArray[np.float64], q: float) -> float:
    """Return the smallest measured time that at least q percent of the times do not exceed (nearest rank)."""
    ordered = np.sort(times)
    rank = max(1, int(np.ceil(round(q / 100 * len(ordered), 9))))
    return float(ordered[rank - 1])


def summarise_times(times_ms: NDArray[np.float64]) -> dict[str, float]:
    """Return the latency figures of a run.

    Args:
        times_ms: (n,) milliseconds, in the order of measurement, n >= 1.

    Returns:
        min, mean, p50, p90, p99, max, `p99.9` from FULL_QUERIES queries on, and `jitter`: the standard deviation of the
        difference between successive times, divided by the square root of 2 (that of the times if they are
        independent).
    """
    found = {"min": float(times_ms.min()), "mean": float(times_ms.mean())}
    found |= {f"p{q:g}": percentile(times_ms, q) for q in PERCENTILES}
    if len(times_ms) >= FULL_QUERIES:
        found["p99.9"] = percentile(times_ms, 99.9)
    found["max"] = float(times_ms.max())
    found["jitter"] = float(np.diff(times_ms).std() / np.sqrt(2)) if len(times_ms) > 2 else 0.0
    return found


def spread_of_blocks(times_ms: NDArray[np.float64]) -> float:
    """Return how much the medians of successive blocks differ: their range over their median; 0 for too few times."""
    if len(times_ms) < 2 * BLOCKS:
        return 0.0
    medians = np.array([np.median(part) for part in np.array_split(times_ms, BLOCKS)])
    return float((medians.max() - medians.min()) / np.median(medians))


def judge_noise(control_ms: NDArray[np.float64]) -> Noise:
    """Say whether the machine was quiet, by a fixed piece of work that was timed in between.

    Args:
        control_ms: (n,) milliseconds that the same work took each time.

    Returns:
        `control_p50_ms`; `control_spread`, the range of the block medians over their median; `noisy`, whether that is
        above NOISY_CONTROL.
    """
    spread = spread_of_blocks(control_ms)
    return {"control_p50_ms": float(np.median(control_ms)), "control_spread": spread, "noisy": spread > NOISY_CONTROL}


def histogram_of(times_ms: NDArray[np.float64]) -> Histogram:
    """Return a histogram up to the 99.5th percentile; slower queries are in the last bin.

    Returns:
        `edges_ms` (n + 1) and `counts` (n).
    """
    high = percentile(times_ms, 99.5)
    low = float(times_ms.min())
    edges = np.linspace(low, max(high, low * 1.001 + 1e-9), HISTOGRAM_BINS + 1)
    counts, _ = np.histogram(np.minimum(times_ms, edges[-1]), edges)
    return {"edges_ms": edges.tolist(), "counts": counts.tolist()}


def curve_of(times_ms: NDArray[np.float64]) -> Curve:
    """Return the percentile curve, denser towards its end: `percent` and `ms`."""
    tail = 100 - 100 / np.geomspace(1, max(len(times_ms), 2), 60)
    percents = np.unique(np.concatenate([np.linspace(0, 90, 31), tail]))
    return {"percent": percents.tolist(), "ms": [percentile(times_ms, q) for q in percents]}
