# SPDX-License-Identifier: Apache-2.0
"""Compares what two networks say of the same faces: against each other in mm, and both against the truth.

Convention: differences of depth are over the measured head pixels, in mm; a file's error against the truth may grow by
less than MAX_MEAN_GROWTH in the mean and by at most MAX_FACE_WORSE_MM on one face.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from facedepth_edge.errors import ArtifactError
from train.data.batches import Batch
from train.metrics import ScoreSheet, correlation
from train.paper_metrics import PIXEL_METRICS, metrics_from_totals, sums_of_images, totals_from_sums
from train.units import HALF_RANGE_MM
from train.validation import score_batch

MAX_MEAN_GROWTH = 0.03  # DESIGN section 4: the mean depth error grows by less than 3 %
MAX_FACE_WORSE_MM = 3.0  # and no face is worse by more than 3 mm
MAX_MEAN_PROBABILITY = 0.02  # ours: mask and validity differ by less than this in the mean
OUTPUT_RANGE = {"depth": 2.0, "mask": 1.0, "validity": 1.0, "same": 1.0}  # depth is -1..1, the others 0..1

Outputs = dict[str, np.ndarray]
Runner = Callable[[np.ndarray], Outputs]
"""Takes (B, 1, H, W) float32 faces, returns the outputs by name."""


@dataclass(frozen=True)
class Parity:
    """How a file compares with the reference on the same faces, against the truth.

    Args:
        base: Means of the reference: offset_free_mm, absolute_mm, correlation and so on.
        other: The same of the compared file.
        mean_growth: Relative growth of the mean absolute error over the head; the larger of offset-free and absolute.
        worst_face_mm: Largest growth of one face's error, of both kinds.
        faces: Number of faces with a measured head.
    """

    base: dict[str, float]
    other: dict[str, float]
    mean_growth: float
    worst_face_mm: float
    faces: int

    @property
    def passed(self) -> bool:
        """Whether both limits hold; NaN fails."""
        return self.mean_growth < MAX_MEAN_GROWTH and self.worst_face_mm <= MAX_FACE_WORSE_MM


def compare_sheets(base: ScoreSheet, other: ScoreSheet, where: np.ndarray | None = None) -> Parity:
    """Compare two sheets of the same faces.

    Args:
        base: Of the reference.
        other: Of the file.
        where: (n,) bool, the faces that count; None for all.

    Raises:
        ArtifactError: No face has a head to measure.
    """
    measured = np.isfinite(base.column("absolute_mm"))
    if where is not None:
        measured &= where
        chosen = np.flatnonzero(where)
        base, other = (ScoreSheet([sheet.scores[place] for place in chosen]) for sheet in (base, other))
        measured = measured[chosen]
    if not measured.any():
        fix = "Give a data set with labelled heads."
        raise ArtifactError.of("parity", "no face with a measured head", "at least one", fix)
    growths, worst = [], []
    for name in ("offset_free_mm", "absolute_mm"):
        a, b = base.column(name)[measured], other.column(name)[measured]
        growths.append(_growth(float(a.mean()), float(b.mean())))
        worst.append(float((b - a).max()))
    # NumPy's max keeps a NaN, Python's may lose it
    return Parity(base.summary(), other.summary(), float(np.max(growths)), float(np.max(worst)), int(measured.sum()))


@dataclass
class Tally:
    """What one network said, and how far it is from the reference, face by face.

    Args:
        sheet: Scores against the truth.
        sums: The paper's metrics' sums over the measured pixels, one part a batch.
        differences_mm: |difference| of depth to the reference over the measured head pixels, one array a face.
        correlations: With the reference over the same pixels, one a face; NaN where one is constant.
        worst_of_range: By output, the largest difference over all pixels, as a fraction of its range.
        mean_of_range: By output, the mean difference as a fraction of its range, one value a face.
        bad: Outputs that held NaN or infinity, or had another shape.
    """

    sheet: ScoreSheet = field(default_factory=ScoreSheet)
    sums: list[dict[str, np.ndarray]] = field(default_factory=list)
    differences_mm: list[np.ndarray] = field(default_factory=list)
    correlations: list[float] = field(default_factory=list)
    worst_of_range: dict[str, float] = field(default_factory=dict)
    mean_of_range: dict[str, list[float]] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)

    def add(self, outputs: Outputs, reference: Outputs, batch: Batch) -> None:
        """Count a batch."""
        clean = {}
        for name, expected in reference.items():
            got = outputs.get(name)
            if got is None or got.shape != expected.shape or not np.isfinite(got).all():
                self.bad.add(name)
                got = expected if got is None or got.shape != expected.shape else np.nan_to_num(got)
            clean[name] = got
            error = np.abs(got.astype(np.float64) - expected) / OUTPUT_RANGE[name]
            self.worst_of_range[name] = max(self.worst_of_range.get(name, 0.0), float(error.max()))
            self.mean_of_range.setdefault(name, []).extend(error.reshape(len(error), -1).mean(axis=1).tolist())
        score_batch(self.sheet, clean, batch)
        depth, target = clean["depth"][:, 0], batch.depth.numpy()[:, 0]
        valid, head = batch.valid.numpy()[:, 0], batch.head.numpy()[:, 0]
        self.sums.append(sums_of_images(depth, target, valid))
        for image, expected, where in zip(depth, reference["depth"][:, 0], valid & head, strict=True):
            a, b = image[where].astype(np.float64), expected[where].astype(np.float64)
            self.differences_mm.append(np.abs(a - b) * HALF_RANGE_MM)
            self.correlations.append(correlation(a, b))

    def against_reference(self, where: np.ndarray) -> dict[str, float]:
        """Return mean, p99 and largest difference in mm and the mean correlation, over some of the faces."""
        chosen = np.flatnonzero(where)
        pixels = np.concatenate([self.differences_mm[place] for place in chosen])
        correlations = np.array([self.correlations[place] for place in chosen])
        known = correlations[np.isfinite(correlations)]
        return {
            "mean_mm": float(pixels.mean()),
            "p99_mm": float(np.percentile(pixels, 99)),
            "max_mm": float(pixels.max()),
            "correlation": float(known.mean()) if len(known) else float("nan"),
        }

    def paper_metrics(self, where: np.ndarray) -> dict[str, float]:
        """Return the ten metrics of the paper's table 1 over some of the faces."""
        names = self.sums[0]
        sums = {name: np.concatenate([part[name] for part in self.sums])[where] for name in names}
        totals = {name: value.sum() for name, value in totals_from_sums(sums).items()}
        metrics = metrics_from_totals(totals)
        return {name: float(metrics[name]) for name in PIXEL_METRICS}


def _growth(before: float, after: float) -> float:
    if before == 0:
        return 0.0 if after == 0 else float("inf")
    return after / before - 1
