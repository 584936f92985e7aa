# SPDX-License-Identifier: Apache-2.0
"""Finds the head centre from points of a face that are seen: a similarity brings the mean head's onto them."""

from __future__ import annotations

import numpy as np


def origin_of(mean: np.ndarray, measured: np.ndarray, sizes: tuple[float, float] = (0.0, np.inf)) -> np.ndarray:
    """Return where the origin of `mean` (n, 3) goes, (3,), by the similarity that brings it onto `measured` best.

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991, eq. 40
    to 43.

    Args:
        mean: (n, 3) points from the wanted origin.
        measured: (n, 3) the same points as seen.
        sizes: within which the similarity's size stays.
    """
    middle, own = measured.mean(axis=0), mean.mean(axis=0)
    u, stretch, vt = np.linalg.svd((measured - middle).T @ (mean - own))
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    size = np.clip((stretch * flip).sum() / ((mean - own) ** 2).sum(), *sizes)
    return middle - size * (u * flip) @ vt @ own
