# SPDX-License-Identifier: Apache-2.0
"""How good depth is: errors over the head in mm, correlation, and mask overlap, summed up over images.

Convention: depth in relative z, (H, W) arrays; every image counts the same, whatever the size of its head; sums are
float64. Pixels without measurement never count.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from facedepth_edge.errors import InputError
from train.units import HALF_RANGE_MM, MIN_HEAD_PIXELS


@dataclass(frozen=True)
class ImageScore:
    """One image's figures; NaN where there is nothing to measure.

    Args:
        offset_free_mm: Mean absolute error over the head after removing the mean error.
        absolute_mm: Mean absolute error over the head.
        correlation: Pearson's, between depth and target over the head.
        mask_iou: Intersection over union of the head masks.
        validity_right: 1 where the validity is on the target's side of 0.5, else 0.
    """

    offset_free_mm: float
    absolute_mm: float
    correlation: float
    mask_iou: float
    validity_right: float


METRICS = ("offset_free_mm", "absolute_mm", "correlation", "mask_iou", "validity_right")


def score_depth(depth: np.ndarray, target: np.ndarray, where: np.ndarray) -> tuple[float, float, float]:
    """Compare two depth maps over a mask.

    Args:
        depth: (H, W) relative z.
        target: (H, W) relative z.
        where: (H, W) bool, measured head pixels.

    Returns:
        Mean absolute error in mm after removing the mean error; the same without; Pearson's correlation. All NaN where
        the mask has fewer than MIN_HEAD_PIXELS pixels; the correlation is NaN where one of the two is constant.

    Raises:
        InputError: A depth that counts is NaN or infinite.
    """
    if int(where.sum()) < MIN_HEAD_PIXELS:
        return float("nan"), float("nan"), float("nan")
    a, b = depth[where].astype(np.float64), target[where].astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError.of("depth", "NaN or infinity", "finite depth", "Check the predictor.")
    error = (a - b) * HALF_RANGE_MM
    return float(np.abs(error - error.mean()).mean()), float(np.abs(error).mean()), correlation(a, b)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation; NaN where one of the two is constant or there are fewer than two values.

    Args:
        a: (n,) float64.
        b: (n,) float64.
    """
    if len(a) < 2:
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / spread if spread > 1e-12 else float("nan")


def score_mask(mask: np.ndarray, head: np.ndarray, seen: np.ndarray) -> float:
    """Return intersection over union of two masks over the pixels seen; NaN where both are empty.

    Args:
        mask: (H, W) bool, predicted.
        head: (H, W) bool, true.
        seen: (H, W) bool.
    """
    union = int(((mask | head) & seen).sum())
    return int((mask & head & seen).sum()) / union if union else float("nan")


@dataclass
class ScoreSheet:
    """Collects the scores of images."""

    scores: list[ImageScore] = field(default_factory=list)

    def add(
        self,
        depth: np.ndarray,
        target: np.ndarray,
        valid: np.ndarray,
        head: np.ndarray,
        seen: np.ndarray,
        mask: np.ndarray | None = None,
        validity: tuple[float, float] | None = None,
    ) -> ImageScore:
        """Score one image.

        Args:
            depth: (H, W) relative z, predicted.
            target: (H, W) relative z.
            valid: (H, W) bool, measured.
            head: (H, W) bool.
            seen: (H, W) bool, where `head` is known.
            mask: (H, W) bool, predicted; None where the predictor has none.
            validity: Predicted and true; None where the predictor has none.

        Returns:
            The image's score, which is also kept.
        """
        shape_mm, absolute_mm, likeness = score_depth(depth, target, valid & head)
        iou = score_mask(mask, head, seen) if mask is not None else float("nan")
        right = float((validity[0] >= 0.5) == (validity[1] >= 0.5)) if validity is not None else float("nan")
        score = ImageScore(shape_mm, absolute_mm, likeness, iou, right)
        self.scores.append(score)
        return score

    def column(self, name: str) -> np.ndarray:
        """Return one metric of all images, (n,) float64 with NaN where there was nothing to measure."""
        return np.array([getattr(score, name) for score in self.scores], dtype=np.float64)

    def summary(self) -> dict[str, float]:
        """Return each metric's mean over the images that have it; metrics that no image has are left out."""
        result = {}
        for name in METRICS:
            column = self.column(name)
            if np.isfinite(column).any():
                result[name] = float(np.nanmean(column))
        return result
