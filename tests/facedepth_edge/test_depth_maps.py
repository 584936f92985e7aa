# SPDX-License-Identifier: Apache-2.0
"""The depth maps: native and NumPy against float64, and the same bits from both."""

from __future__ import annotations

import numpy as np
import pytest

from facedepth_edge import ConfigError, InputError, _native
from facedepth_edge.depth_maps import write_depth_maps, write_with_numpy

WAYS = {"native": _native.write_depth_maps, "numpy": write_with_numpy, "chosen": write_depth_maps}


def planes(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.full(shape, -9, np.float32), np.full(shape, -9, np.float32), np.zeros(shape, np.bool_)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("with_mask", [True, False])
@pytest.mark.parametrize("shape", [(96, 96), (1, 1), (7, 13), (33, 65)])
def test_agrees_with_float64(way: str, with_mask: bool, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0])
    z = rng.normal(0, 0.8, shape).astype(np.float32)
    probability = rng.random(shape, np.float32) if with_mask else None
    depth_mm, relative, mask = planes(shape)
    finite, has_head = WAYS[way](depth_mm, relative, mask, z, probability, 712.5, 160.0, 0.4)
    expected = np.clip(z.astype(np.float64), -1, 1)
    np.testing.assert_array_equal(relative, expected)
    np.testing.assert_allclose(depth_mm, 712.5 + 160.0 * expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(mask, probability > np.float32(0.4) if with_mask else relative < np.float32(0.4))
    assert finite is True
    assert has_head is bool(mask.any())
    if z.size > 50:
        assert 0 < mask.sum() < mask.size
        assert (np.abs(expected) == 1).any()


def test_both_ways_give_the_same_bits() -> None:
    rng = np.random.default_rng(1)
    special = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.0, np.nextafter(np.float32(1), np.float32(2)), 1e-40]
    for _ in range(50):
        z = rng.normal(0, 0.7, (41, 53)).astype(np.float32)
        z[rng.integers(0, 41, 9), rng.integers(0, 53, 9)] = special
        probability = rng.random((41, 53), np.float32)
        probability[3, 4] = np.nan
        scale = (float(rng.uniform(100, 2000)), float(rng.uniform(10, 300)), float(rng.uniform(0.1, 0.9)))
        found, expected = planes(z.shape), planes(z.shape)
        for mask_probability in (probability, None):
            said = _native.write_depth_maps(*found, z, mask_probability, *scale)
            assert said == write_with_numpy(*expected, z, mask_probability, *scale)
            assert said[0] is False
            for native, numpy in zip(found, expected, strict=True):
                np.testing.assert_array_equal(native, numpy)


@pytest.mark.parametrize("way", WAYS)
def test_says_when_nothing_is_there(way: str) -> None:
    z = np.zeros((96, 96), np.float32)
    assert WAYS[way](*planes(z.shape), z, np.zeros_like(z), 700.0, 160.0, 0.5) == (True, False)
    z[95, 95] = np.nan
    assert WAYS[way](*planes(z.shape), z, np.ones_like(z), 700.0, 160.0, 0.5) == (False, True)


def test_strided_planes_of_the_caller_are_written() -> None:
    z = np.random.default_rng(2).normal(0, 0.5, (30, 40)).astype(np.float32)
    depth_mm = np.zeros((30, 80), np.float32)
    _, relative, mask = planes(z.shape)
    write_depth_maps(depth_mm[:, ::2], relative, mask, z, z, 700.0, 160.0, 0.5)
    np.testing.assert_allclose(depth_mm[:, ::2], 700 + 160 * np.clip(z, -1, 1), atol=1e-3)
    assert not depth_mm[:, 1::2].any()


def test_refuses_what_it_cannot_use() -> None:
    z = np.zeros((8, 9), np.float32)
    depth_mm, relative, mask = planes(z.shape)
    with pytest.raises(ConfigError, match=r"^mask: got shape \(9, 8\), expected the shape of depth \(8, 9\)\."):
        _native.write_depth_maps(depth_mm, relative, mask.reshape(9, 8), z, None, 700.0, 160.0, 0.5)
    with pytest.raises(ConfigError, match=r"^scale\.half_range_mm: got -1, expected a finite number above 0\."):
        _native.write_depth_maps(depth_mm, relative, mask, z, None, 700.0, -1.0, 0.5)
    with pytest.raises(InputError, match=r"^scale\.distance_mm: got nan, expected a finite number of millimetres\."):
        _native.write_depth_maps(depth_mm, relative, mask, z, None, float("nan"), 160.0, 0.5)
    with pytest.raises(TypeError, match="incompatible"):
        _native.write_depth_maps(depth_mm, relative, mask, z[:, ::3], None, 700.0, 160.0, 0.5)
    assert (depth_mm == -9).all()
