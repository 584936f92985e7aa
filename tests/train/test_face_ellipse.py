# SPDX-License-Identifier: Apache-2.0
"""Planes over the face: what of a depth is a plane and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from train.face_ellipse import beside_plane, face_ellipse, planes_over


def test_a_plane_is_taken_out_and_the_rest_kept() -> None:
    where = face_ellipse(48, 48)
    planes = planes_over(where)
    rng = np.random.default_rng(0)
    bumps = rng.normal(size=len(planes))
    bumps = bumps - planes @ np.linalg.solve(planes.T @ planes, planes.T @ bumps)
    both = np.stack([planes @ [0.5, -0.25, 3.0] + bumps, planes @ [0.0, 1.0, 0.0]], axis=1)
    coefficients, rest = beside_plane(both, planes)
    np.testing.assert_allclose(coefficients, [[0.5, 0.0], [-0.25, 1.0], [3.0, 0.0]], atol=1e-9)
    np.testing.assert_allclose(rest[:, 0], bumps, atol=1e-9)
    np.testing.assert_allclose(rest[:, 1], 0.0, atol=1e-9)
    alone, left = beside_plane(both[:, 0], planes)
    assert (alone.shape, left.shape) == ((3,), (len(planes),))
    assert np.abs(left).mean() == pytest.approx(np.abs(bumps).mean())
