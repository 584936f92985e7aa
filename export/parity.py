# SPDX-License-Identifier: Apache-2.0
"""Compares the files of an artifact on held-out faces, in mm, and says whether the difference is within the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from facedepth_edge.errors import ArtifactError
from train.data.packed import PackedSet
from train.metrics import ScoreSheet
from train.validation import batches_of, score_batch

MAX_MEAN_GROWTH = 0.03  # DESIGN section 4: the mean depth error grows by less than 3 %
MAX_FACE_WORSE_MM = 3.0  # and no face is worse by more than 3 mm


@dataclass(frozen=True)
class Parity:
    """How a file compares with the FP32 one on the same faces.

    Args:
        base: Means of the FP32 file: offset_free_mm, absolute_mm, correlation and so on.
        other: The same of the compared file.
        mean_growth: Relative growth of the mean absolute error over the head; the larger of offset-free and absolute.
        worst_face_mm: Largest growth of one face's error, of both kinds.
        faces: Number of faces with a head.
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

    def table(self, name: str) -> str:
        """Return the comparison as lines of text."""
        lines = [f"{'':18s}{'fp32':>12s}{name:>12s}   on {self.faces} held-out faces"]
        for key, value in self.base.items():
            lines.append(f"{key:18s}{value:12.4f}{self.other[key]:12.4f}")
        lines.append(f"mean error grows by {100 * self.mean_growth:.2f} % (limit {100 * MAX_MEAN_GROWTH:g} %)")
        lines.append(f"worst face grows by {self.worst_face_mm:.2f} mm (limit {MAX_FACE_WORSE_MM:g} mm)")
        return "\n".join(lines)


Runner = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Takes (B, 1, H, W) float32 faces, returns the outputs by name."""


def score_runner(run: Runner, data: PackedSet, indices: np.ndarray) -> ScoreSheet:
    """Score whatever takes faces and returns an artifact's outputs, on frames of a set."""
    sheet = ScoreSheet()
    for _, batch in batches_of(data, indices):
        score_batch(sheet, run(batch.face.numpy()), batch)
    return sheet


def compare_sheets(base: ScoreSheet, other: ScoreSheet) -> Parity:
    """Compare two sheets of the same faces.

    Raises:
        ArtifactError: No face has a head to measure.
    """
    growths, worst = [], []
    measured = np.isfinite(base.column("absolute_mm"))
    if not measured.any():
        fix = "Give a data set with labelled heads."
        raise ArtifactError.of("parity", "no face with a measured head", "at least one", fix)
    for name in ("offset_free_mm", "absolute_mm"):
        a, b = base.column(name)[measured], other.column(name)[measured]
        growths.append(float(b.mean() / a.mean() - 1))
        worst.append(float((b - a).max()))
    return Parity(base.summary(), other.summary(), max(growths), max(worst), int(measured.sum()))
