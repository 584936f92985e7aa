# SPDX-License-Identifier: Apache-2.0
"""The ten metrics against an oracle that loops over pixels in plain floats; holes, zero depth, trivial images."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facedepth_edge.errors import InputError
from train.metrics import score_depth
from train.paper_metrics import (
    DEPTH_METRICS,
    IMAGE_SUMS,
    PIXEL_METRICS,
    level_from_relative,
    metrics_from_totals,
    sums_of_images,
    totals_from_sums,
)


def oracle(depth: np.ndarray, target: np.ndarray, where: np.ndarray) -> dict[str, float]:
    """Compute table 1's metrics of a stack of images straight from their definitions."""
    sums = dict.fromkeys(("l1", "abs", "sq", "lin", "log", "free", "d1", "d2", "d3"), 0.0)
    count, norms, free_mm, plain_mm = 0, [], [], []
    for image in range(len(depth)):
        pairs = []
        for row in range(depth.shape[1]):
            for column in range(depth.shape[2]):
                if where[image, row, column]:
                    generated = (float(depth[image, row, column]) + 1) * 127.5
                    pairs.append((generated, (float(target[image, row, column]) + 1) * 127.5))
        count += len(pairs)
        logs = []
        for a, b in pairs:
            sums["l1"] += abs(a - b)
            sums["lin"] += (a - b) ** 2
            a, b = max(a, 1.0), max(b, 1.0)
            sums["abs"] += abs(a - b) / b
            sums["sq"] += (a - b) ** 2 / b
            logs.append(math.log(a / b))
            for power in (1, 2, 3):
                sums[f"d{power}"] += max(a / b, b / a) < 1.25**power
        if pairs:
            norms.append(math.sqrt(sum((a - b) ** 2 for a, b in pairs)))
            sums["log"] += sum(value**2 for value in logs)
            shift = sum(logs) / len(logs)
            sums["free"] += sum((value - shift) ** 2 for value in logs)
        if len(pairs) >= 64:
            errors = [(a - b) * 160 / 127.5 for a, b in pairs]
            offset = sum(errors) / len(errors)
            plain_mm.append(sum(map(abs, errors)) / len(errors))
            free_mm.append(sum(abs(error - offset) for error in errors) / len(errors))
    return {
        "l1": sums["l1"] / count,
        "l2": sum(norms) / len(norms),
        "absolute_difference": sums["abs"] / count,
        "squared_difference": sums["sq"] / count,
        "rmse_linear": math.sqrt(sums["lin"] / count),
        "rmse_log": math.sqrt(sums["log"] / count),
        "rmse_scale_invariant": math.sqrt(sums["free"] / count),
        "delta_1": sums["d1"] / count,
        "delta_2": sums["d2"] / count,
        "delta_3": sums["d3"] / count,
        "offset_free_mm": sum(free_mm) / len(free_mm) if free_mm else math.nan,
        "absolute_mm": sum(plain_mm) / len(plain_mm) if plain_mm else math.nan,
    }


def pooled(depth: np.ndarray, target: np.ndarray, where: np.ndarray) -> dict[str, float]:
    totals = totals_from_sums(sums_of_images(depth, target, where))
    return {name: float(value) for name, value in metrics_from_totals({k: v.sum() for k, v in totals.items()}).items()}


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Five 11 x 13 pairs with many and with few holes, of unlike quality; zero depth in some pixels of both."""
    rng = np.random.default_rng(4)
    target = rng.uniform(-1, 1, (5, 11, 13)).astype(np.float32)
    noise = np.array([0.02, 0.1, 0.3, 0.6, 0.1], np.float32)[:, None, None]
    depth = np.clip(target + noise * rng.normal(size=target.shape), -1, 1).astype(np.float32)
    target[rng.random(target.shape) < 0.05] = -1.0
    depth[rng.random(target.shape) < 0.05] = -1.0
    where = rng.random(target.shape) < np.array([0.99, 0.7, 0.8, 0.9, 0.1])[:, None, None]
    return depth, target, where


def test_every_metric_is_the_oracles(images: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    expected, got = oracle(*images), pooled(*images)
    assert list(got) == list(DEPTH_METRICS) == list(expected)
    for name, value in expected.items():
        assert math.isfinite(value)
        assert got[name] == pytest.approx(value, rel=1e-10), name
    assert 0 < expected["delta_1"] < expected["delta_2"] < expected["delta_3"] < 1
    assert expected["rmse_scale_invariant"] < expected["rmse_log"]


@pytest.mark.parametrize("image", range(5))
def test_every_single_image_is_the_oracles(image: int, images: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    one = tuple(plane[image : image + 1] for plane in images)
    assert pooled(*one) == pytest.approx(oracle(*one), rel=1e-10, nan_ok=True)


def test_pooling_is_over_pixels_and_l2_over_images(images: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    single = [pooled(*(plane[i : i + 1] for plane in images)) for i in range(5)]
    whole = pooled(*images)
    pixels = images[2].sum(axis=(1, 2))
    assert whole["l2"] == pytest.approx(np.mean([one["l2"] for one in single]))
    assert whole["l1"] == pytest.approx(np.average([one["l1"] for one in single], weights=pixels))
    assert whole["rmse_linear"] ** 2 == pytest.approx(
        np.average([one["rmse_linear"] ** 2 for one in single], weights=pixels)
    )
    for name in ("l1", "rmse_linear", "rmse_log", "rmse_scale_invariant", "delta_1"):
        assert abs(whole[name] - np.mean([one[name] for one in single])) > 1e-3 * whole[name], name


def test_l2_is_rmse_times_the_side_without_holes() -> None:
    rng = np.random.default_rng(0)
    target = rng.uniform(-0.5, 0.5, (1, 96, 96))
    got = pooled(target + rng.normal(0, 0.1, target.shape), target, np.ones(target.shape, bool))
    assert got["l2"] == pytest.approx(96 * got["rmse_linear"])


def test_holes_do_not_count_whatever_they_hold(images: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    depth, target, where = images
    wild = np.where(where, depth, np.nan)
    wild_target = np.where(where, target, np.inf)
    assert pooled(wild, wild_target, where) == pooled(depth, target, where)


def test_nan_that_counts_is_an_error(images: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    for spoilt in (0, 1):
        planes = [plane.copy() for plane in images]
        planes[spoilt][tuple(np.argwhere(planes[2])[0])] = np.nan
        with pytest.raises(InputError, match="got NaN or infinity, expected finite depth"):
            sums_of_images(*planes)


def test_a_perfect_answer() -> None:
    target = np.linspace(-1, 1, 400).reshape(1, 20, 20)
    got = pooled(target, target, np.ones(target.shape, bool))
    assert got == {name: 1.0 if name.startswith("delta") else 0.0 for name in DEPTH_METRICS}


def test_constant_images() -> None:
    target, everywhere = np.full((2, 20, 20), -0.2), np.ones((2, 20, 20), bool)
    got = pooled(np.full((2, 20, 20), 0.4), target, everywhere)
    a, b = 1.4 * 127.5, 0.8 * 127.5
    expected = {
        "l1": a - b, "l2": 20 * (a - b), "absolute_difference": (a - b) / b, "squared_difference": (a - b) ** 2 / b,
        "rmse_linear": a - b, "rmse_log": math.log(a / b), "rmse_scale_invariant": 0.0,
        "delta_1": 0.0, "delta_2": 0.0, "delta_3": 1.0, "offset_free_mm": 0.0, "absolute_mm": 0.6 * 160,
    }  # fmt: skip
    assert got == pytest.approx(expected, abs=1e-12)


def test_zero_depth_stays_finite_and_is_counted() -> None:
    target = np.zeros((1, 10, 10))
    depth = target.copy()
    target[0, 0, :4], depth[0, 0, 2:] = -1.0, -1.0
    where = np.ones(target.shape, bool)
    where[0, 0, 3] = False
    sums = sums_of_images(depth, target, where)
    assert (sums["raised_truth"], sums["raised_depth"]) == (3, 7)
    got = pooled(depth, target, where)
    assert all(math.isfinite(value) for value in got.values())
    assert got == pytest.approx(oracle(depth, target, where), rel=1e-12)
    assert got["l1"] == pytest.approx(127.5 * 8 / 99)  # the levels themselves are not raised for L1
    assert got["absolute_difference"] == pytest.approx((2 * 126.5 / 1 + 6 * 126.5 / 127.5) / 99)
    assert got["delta_3"] == pytest.approx(91 / 99)


def test_a_level_on_the_threshold_does_not_pass() -> None:
    level = 80.0
    target = np.full((1, 8, 8), level / 127.5 - 1)
    for power in (1, 2, 3):
        for factor, passes in ((1.25**power * (1 + 1e-9), 0.0), (1.25**power * (1 - 1e-9), 1.0)):
            for inverse in (False, True):
                other = level / factor if inverse else level * factor
                got = pooled(np.full((1, 8, 8), other / 127.5 - 1), target, np.ones((1, 8, 8), bool))
                assert got[f"delta_{power}"] == passes


def test_a_scale_of_its_own_is_free_for_every_image() -> None:
    rng = np.random.default_rng(1)
    target = rng.uniform(-0.5, 0.0, (2, 9, 9))
    factors = np.array([1.3, 0.7])[:, None, None]
    depth = (target + 1) * factors - 1
    got = pooled(depth, target, np.ones(target.shape, bool))
    assert got["rmse_scale_invariant"] == pytest.approx(0, abs=1e-12)
    assert got["rmse_log"] == pytest.approx(math.sqrt((math.log(1.3) ** 2 + math.log(0.7) ** 2) / 2))


def test_errors_in_mm_are_those_of_the_other_metrics_file(
    images: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    sums = sums_of_images(*images)
    for i in range(5):
        free_mm, plain_mm, _ = score_depth(*(plane[i] for plane in images))
        assert sums["offset_free_mm"][i] == pytest.approx(free_mm, rel=1e-6, nan_ok=True)
        assert sums["absolute_mm"][i] == pytest.approx(plain_mm, rel=1e-6, nan_ok=True)
    assert np.isnan(sums["absolute_mm"]).tolist() == [False, False, False, False, True]


def test_images_without_a_pixel_count_for_nothing(images: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    depth, target, where = (np.concatenate([plane, plane[:1]]) for plane in images)
    where[-1] = False
    assert pooled(depth, target, where) == pooled(*images)
    nothing = pooled(depth[-1:], target[-1:], where[-1:])
    assert all(math.isnan(value) for value in nothing.values())
    assert sorted(sums_of_images(depth, target, where)) == sorted(IMAGE_SUMS)


def test_levels_and_names() -> None:
    assert level_from_relative(np.array([-1.0, 0.0, 1.0], np.float32)).tolist() == [0.0, 127.5, 255.0]
    assert len(PIXEL_METRICS) == 10
