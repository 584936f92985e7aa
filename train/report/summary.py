# SPDX-License-Identifier: Apache-2.0
"""Turns a measurement into the figures of the tables: metrics by region and system, accuracy by cell and source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from facedepth_edge.errors import InputError
from train.data.subsets import CELLS
from train.paper_metrics import RATIO_METRICS, metrics_from_totals, totals_from_sums
from train.report.bootstrap import (
    RESAMPLES,
    SEED,
    Estimate,
    draw_weights,
    estimate_accuracy,
    estimate_metrics,
)
from train.report.measurement import REGIONS, SOURCES, SYSTEMS, Measured
from train.report.paper_figures import TABLE_1

SAME_ABOVE = 0.5  # section 4.3
WHOLE_CELL = "all|all"  # table 1 prints this cell of table 2


@dataclass(frozen=True)
class Summary:
    """All figures of the report.

    Args:
        about: What was measured.
        subjects: How many people the intervals draw from.
        resamples: How often they were drawn.
        seed: Of the draws.
        depth: Region, then name of DEPTH_METRICS, then system.
        verification: Cell of table 2, then source of SOURCES; all nine cells, NaN where the pair list has no pair.
        pairs: Cell to its number of pairs.
        pixels: Region to the number of pixels that count.
        raised: Region, then `truth` or a system, to the number of pixels below the lowest level that is divided by.
        raised_frames: In how many frames a true depth over all pixels is below it.
        without_raised: Name of RATIO_METRICS, then system: over all pixels of the other frames.
    """

    about: dict[str, Any]
    subjects: int
    resamples: int
    seed: int
    depth: dict[str, dict[str, dict[str, Estimate]]]
    verification: dict[str, dict[str, Estimate]]
    pairs: dict[str, int]
    pixels: dict[str, int]
    raised: dict[str, dict[str, int]]
    raised_frames: int
    without_raised: dict[str, dict[str, float]]

    @property
    def paper_data(self) -> str:
        """The paper's data set to compare with: Biwi for a Biwi set, else Pandora."""
        return "Biwi" if self.about["data"]["origin"] == "biwi" else "Pandora"

    def table_1(self, metric: str) -> dict[str, Estimate]:
        """Return a row of table 1 over all valid pixels: a name of PIXEL_METRICS, or `verification`."""
        if metric == "verification":
            return {system: self.verification[WHOLE_CELL][system] for system in SYSTEMS}
        return self.depth["all"][metric]

    def paper_table_1(self, metric: str) -> dict[str, float]:
        """Return the paper's row beside it."""
        return TABLE_1[self.paper_data][metric]


def summarise(measured: Measured, resamples: int = RESAMPLES, seed: int = SEED) -> Summary:
    """Pool a measurement into figures with intervals.

    Args:
        measured: The measurement.
        resamples: How often the subjects are drawn.
        seed: Of the draws.

    Raises:
        InputError: A pair is of a cell that table 2 does not have.
    """
    people, person = np.unique(measured.frames.subject, return_inverse=True)
    weights = draw_weights(len(people), resamples, seed)
    depth: dict[str, dict[str, dict[str, Estimate]]] = {}
    for region in REGIONS:
        columns = {}
        for number, system in enumerate(SYSTEMS):
            sums = {name: values[number] for name, values in measured.sums[region].items()}
            columns[system] = estimate_metrics(sums, person, weights)
        depth[region] = {metric: {s: columns[s][metric] for s in SYSTEMS} for metric in columns[SYSTEMS[0]]}
    pairs = measured.pairs
    unknown = sorted(set(pairs.cell.tolist()) - set(CELLS))
    if unknown:
        rule = f"a cell of table 2: {', '.join(CELLS)}"
        raise InputError.of("pair list", f"the cell {unknown[0]}", rule, "Write the pair list again and measure again.")
    verification: dict[str, dict[str, Estimate]] = {}
    for cell in CELLS:
        here = pairs.cell == cell
        a, b, same = person[pairs.a[here]], person[pairs.b[here]], pairs.same[here]
        verification[cell] = {
            source: estimate_accuracy((pairs.similarity[number, here] > SAME_ABOVE) == same, same, a, b, weights)
            for number, source in enumerate(SOURCES)
        }
    return Summary(
        about=measured.about,
        subjects=len(people),
        resamples=resamples,
        seed=seed,
        depth=depth,
        verification=verification,
        pairs={cell: int((pairs.cell == cell).sum()) for cell in CELLS},
        pixels={region: int(measured.sums[region]["pixels"][0].sum()) for region in REGIONS},
        raised={region: _raised(measured.sums[region]) for region in REGIONS},
        raised_frames=int((measured.sums["all"]["raised_truth"][0] > 0).sum()),
        without_raised=_without_raised(measured.sums["all"]),
    )


def _without_raised(sums: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return the metrics that divide or take logarithms over the frames whose true depth needs no raising for it."""
    others = sums["raised_truth"][0] == 0
    totals = totals_from_sums({name: values[:, others] for name, values in sums.items()})
    found = metrics_from_totals({name: values.sum(axis=1) for name, values in totals.items()})
    return {name: dict(zip(SYSTEMS, map(float, found[name]), strict=True)) for name in RATIO_METRICS}


def _raised(sums: dict[str, np.ndarray]) -> dict[str, int]:
    systems = {system: int(sums["raised_depth"][number].sum()) for number, system in enumerate(SYSTEMS)}
    return {"truth": int(sums["raised_truth"][0].sum()), **systems}
