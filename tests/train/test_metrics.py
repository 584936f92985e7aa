# SPDX-License-Identifier: Apache-2.0
"""The metrics against direct float64 formulas, and on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from facedepth_edge.errors import InputError
from train.metrics import ScoreSheet, correlation, score_depth, score_mask


@pytest.fixture
def maps() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    target = rng.uniform(-0.5, 0.5, (20, 20)).astype(np.float32)
    depth = (0.8 * target + rng.normal(0.1, 0.05, target.shape)).astype(np.float32)
    return depth, target, rng.random(target.shape) > 0.3


def test_depth_scores(maps: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    depth, target, where = maps
    shape_mm, absolute_mm, correlation = score_depth(depth, target, where)
    error = [160 * (float(a) - float(b)) for a, b in zip(depth[where], target[where], strict=True)]
    mean = sum(error) / len(error)
    assert absolute_mm == pytest.approx(sum(map(abs, error)) / len(error), rel=1e-12)
    assert shape_mm == pytest.approx(sum(abs(e - mean) for e in error) / len(error), rel=1e-12)
    assert correlation == pytest.approx(np.corrcoef(depth[where].astype(float), target[where].astype(float))[0, 1])
    assert 0.5 < correlation < 1
    assert shape_mm < absolute_mm


def test_a_pure_offset_is_free_and_correlates_fully(maps: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    _, target, where = maps
    shape_mm, absolute_mm, correlation = score_depth(target.astype(np.float64) + 0.25, target, where)
    assert (shape_mm, absolute_mm) == (pytest.approx(0, abs=1e-9), pytest.approx(40.0))
    assert correlation == pytest.approx(1.0)


def test_pixels_outside_the_mask_do_not_count(maps: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    depth, target, where = maps
    wild = np.where(where, depth, np.nan)
    assert score_depth(wild, target, where) == score_depth(depth, target, where)


def test_nan_that_counts_is_an_error(maps: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    depth, target, where = maps
    depth[tuple(np.argwhere(where)[0])] = np.nan
    with pytest.raises(InputError, match="got NaN or infinity, expected finite depth"):
        score_depth(depth, target, where)


def test_too_little_head_is_not_measured(maps: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    depth, target, where = maps
    where[:] = False
    where[0, :10] = True
    assert np.isnan(score_depth(depth, target, where)).all()
    plane = score_depth(np.zeros((20, 20)), target, np.ones((20, 20), bool))
    assert np.isfinite(plane[:2]).all()
    assert np.isnan(plane[2])


def test_mask_overlap() -> None:
    a, b, seen = np.zeros((4, 4), bool), np.zeros((4, 4), bool), np.ones((4, 4), bool)
    a[:2], b[1:3] = True, True
    assert score_mask(a, b, seen) == pytest.approx(4 / 12)
    seen[0] = False
    assert score_mask(a, b, seen) == pytest.approx(4 / 8)
    assert np.isnan(score_mask(a & False, b & False, seen))


def test_the_sheet_averages_over_the_images_that_have_a_figure() -> None:
    sheet = ScoreSheet()
    target = np.linspace(-0.5, 0.5, 400).reshape(20, 20)
    everywhere, nowhere = np.ones((20, 20), bool), np.zeros((20, 20), bool)
    sheet.add(target + 0.1, target, everywhere, everywhere, everywhere, everywhere, (0.9, 1.0))
    sheet.add(target + 0.3, target, everywhere, everywhere, everywhere, nowhere, (0.9, 0.0))
    sheet.add(target, target, everywhere, nowhere, everywhere, nowhere, (0.2, 0.1))
    summary = sheet.summary()
    assert summary["absolute_mm"] == pytest.approx(160 * 0.2)
    assert summary["mask_iou"] == pytest.approx(0.5)
    assert summary["validity_right"] == pytest.approx(2 / 3)
    assert np.isnan(sheet.column("absolute_mm")[2])


def test_correlation_has_no_value_where_nothing_varies() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50))
    assert correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)
    assert np.isnan([correlation(a, np.ones(50)), correlation(a[:1], b[:1]), correlation(a[:0], b[:0])]).all()
