# SPDX-License-Identifier: Apache-2.0
"""The ten pixel-wise metrics of the paper's table 1, summed image by image and pooled over any set of images.

Source: section 4.2, table 1, which takes the metrics of Eigen et al. 2014. The paper gives no scale; its own numbers do
(L2 is 96 times the RMSE within a few percent): 8-bit levels, larger is farther.

Convention: level = (z + 1) * 127.5, not rounded, 0 at z = -1. Only measured pixels count: a hole is in no sum. L1, L2
and RMSE linear take the levels as they are. The other seven divide by a level or take its logarithm: they take both
maps raised to at least LOWEST_LEVEL, 1.25 mm beyond the nearest depth there is; the pixels that this changes are
counted. All metrics are pooled over the pixels of all images, as one long image, but L2, which is a norm per image and
then averaged. The sums are float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from facedepth_edge.errors import InputError
from train.units import HALF_RANGE_MM, MIN_HEAD_PIXELS

LEVELS_PER_Z = 127.5
LOWEST_LEVEL = 1.0
DELTA = 1.25


@dataclass(frozen=True)
class MetricName:
    """How a metric is printed and read.

    Args:
        label: Its name in the table.
        higher_is_better: Which way is better.
        places: Most digits after the point, as the paper prints it.
    """

    label: str
    higher_is_better: bool
    places: int


PIXEL_METRICS = {
    "l1": MetricName("L1 norm", False, 3),
    "l2": MetricName("L2 norm", False, 1),
    "absolute_difference": MetricName("absolute difference", False, 4),
    "squared_difference": MetricName("squared difference", False, 4),
    "rmse_linear": MetricName("RMSE linear", False, 3),
    "rmse_log": MetricName("RMSE log", False, 4),
    "rmse_scale_invariant": MetricName("RMSE scale-invariant", False, 4),
    "delta_1": MetricName("δ < 1.25", True, 4),
    "delta_2": MetricName("δ < 1.25²", True, 4),
    "delta_3": MetricName("δ < 1.25³", True, 4),
}
RATIO_METRICS = tuple(name for name in PIXEL_METRICS if name not in ("l1", "l2", "rmse_linear"))
"""Those that divide by a level or take its logarithm."""
MM_METRICS = {
    "offset_free_mm": MetricName("mean error after the offset, mm", False, 2),
    "absolute_mm": MetricName("mean error, mm", False, 2),
}
DEPTH_METRICS = {**PIXEL_METRICS, **MM_METRICS}
VERIFICATION = MetricName("face verification accuracy", True, 4)

# What one image gives; every metric follows from these. The last two are no sums but the image's own errors.
IMAGE_SUMS = (
    *("pixels", "absolute", "squared", "absolute_ratio", "squared_ratio", "log_squared", "log_free_squared"),
    *("delta_1", "delta_2", "delta_3", "raised_truth", "raised_depth", "offset_free_mm", "absolute_mm"),
)


def level_from_relative(z: np.ndarray) -> np.ndarray:
    """Return the 8-bit level of relative depth, float64, not rounded: 0 at z = -1, 255 at z = 1."""
    return (np.asarray(z, dtype=np.float64) + 1.0) * LEVELS_PER_Z


def sums_of_images(depth: np.ndarray, target: np.ndarray, where: np.ndarray) -> dict[str, np.ndarray]:
    """Sum up what the metrics need, for each image by itself.

    `log_free_squared` is the squared log error after removing the image's mean log error: Eigen's scale-invariant error
    lets every image have a scale of its own. (The factor 1/2 of one printed form is not in the paper's numbers: pix2pix
    has 1.0774 beside 1.0864 of the plain error.)

    Args:
        depth: (B, H, W) relative z, the estimate; anything where `where` is False.
        target: (B, H, W) relative z, the truth; anything where `where` is False.
        where: (B, H, W) bool, the pixels that count.

    Returns:
        Each name of IMAGE_SUMS, (B,) float64. The errors in mm are the image's means, NaN where fewer than
        MIN_HEAD_PIXELS pixels count; everything else is 0 where no pixel counts.

    Raises:
        InputError: A depth that counts is NaN or infinite.
    """
    if not np.isfinite(depth[where]).all() or not np.isfinite(target[where]).all():
        raise InputError.of("depth", "NaN or infinity", "finite depth", "Check the network and its input.")
    axes = (1, 2)
    estimate, truth = (level_from_relative(np.where(where, plane, 0.0)) for plane in (depth, target))
    error = np.where(where, estimate - truth, 0.0)
    pixels = where.sum(axis=axes).astype(np.float64)
    divisor = np.maximum(pixels, 1.0)
    mm = error * (HALF_RANGE_MM / LEVELS_PER_Z)
    centred_mm = np.where(where, mm - (mm.sum(axis=axes) / divisor)[:, None, None], 0.0)
    raised_depth, raised_truth = np.maximum(estimate, LOWEST_LEVEL), np.maximum(truth, LOWEST_LEVEL)
    difference = np.where(where, raised_depth - raised_truth, 0.0)
    log = np.where(where, np.log(raised_depth) - np.log(raised_truth), 0.0)
    log_free = np.where(where, log - (log.sum(axis=axes) / divisor)[:, None, None], 0.0)
    factor = np.maximum(raised_depth / raised_truth, raised_truth / raised_depth)
    enough = pixels >= MIN_HEAD_PIXELS
    return {
        "pixels": pixels,
        "absolute": np.abs(error).sum(axis=axes),
        "squared": (error**2).sum(axis=axes),
        "absolute_ratio": (np.abs(difference) / raised_truth).sum(axis=axes),
        "squared_ratio": (difference**2 / raised_truth).sum(axis=axes),
        "log_squared": (log**2).sum(axis=axes),
        "log_free_squared": (log_free**2).sum(axis=axes),
        **{
            f"delta_{power}": (where & (factor < DELTA**power)).sum(axis=axes).astype(np.float64) for power in (1, 2, 3)
        },
        "raised_truth": (where & (truth < LOWEST_LEVEL)).sum(axis=axes).astype(np.float64),
        "raised_depth": (where & (estimate < LOWEST_LEVEL)).sum(axis=axes).astype(np.float64),
        "offset_free_mm": np.where(enough, np.abs(centred_mm).sum(axis=axes) / divisor, np.nan),
        "absolute_mm": np.where(enough, np.abs(mm).sum(axis=axes) / divisor, np.nan),
    }


def totals_from_sums(sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turn images' sums into terms that add up over images, so that any set of images can be pooled.

    Args:
        sums: As `sums_of_images` returns them, arrays of any one shape.

    Returns:
        The same without NaN, and `norm` (the image's own L2), `images` (1 where the image has a pixel) and `mm_images`
        (1 where it has an error in mm).
    """
    totals = {name: np.asarray(sums[name], dtype=np.float64) for name in IMAGE_SUMS}
    totals["norm"] = np.sqrt(totals["squared"])
    totals["images"] = (totals["pixels"] > 0).astype(np.float64)
    totals["mm_images"] = np.isfinite(totals["absolute_mm"]).astype(np.float64)
    for name in MM_METRICS:
        totals[name] = np.nan_to_num(totals[name], nan=0.0)
    return totals


def metrics_from_totals(totals: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Compute the metrics of pooled images.

    Args:
        totals: Terms of `totals_from_sums`, added up over the images; arrays of any one shape.

    Returns:
        Each name of DEPTH_METRICS, float64 of that shape; NaN where nothing was measured.
    """

    def mean(name: str, count: str = "pixels") -> np.ndarray:
        top, bottom = np.asarray(totals[name], dtype=np.float64), np.asarray(totals[count], dtype=np.float64)
        result = np.full(np.broadcast_shapes(top.shape, bottom.shape), np.nan)
        return np.divide(top, bottom, out=result, where=bottom > 0)

    return {
        "l1": mean("absolute"),
        "l2": mean("norm", "images"),
        "absolute_difference": mean("absolute_ratio"),
        "squared_difference": mean("squared_ratio"),
        "rmse_linear": np.sqrt(mean("squared")),
        "rmse_log": np.sqrt(mean("log_squared")),
        "rmse_scale_invariant": np.sqrt(mean("log_free_squared")),
        "delta_1": mean("delta_1"),
        "delta_2": mean("delta_2"),
        "delta_3": mean("delta_3"),
        "offset_free_mm": mean("offset_free_mm", "mm_images"),
        "absolute_mm": mean("absolute_mm", "mm_images"),
    }
