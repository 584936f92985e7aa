# SPDX-License-Identifier: Apache-2.0
"""Tells a person what a data set holds, so that they can check their download."""

from __future__ import annotations

import numpy as np

from train.data.frame_source import SPLITS, UNMEASURED_MM
from train.data.packed import PackedSet
from train.data.subsets import ANGLE_SETS, SEQUENCE_SETS, cells_of, in_cell

HOLES_FRAMES = 512
"""How many frames of a split are read for the share of holes, spread evenly over it."""


def summarise(data: PackedSet) -> str:
    """Return a set's summary.

    Args:
        data: The packed set.

    Returns:
        Lines: the layout and the crops; a Markdown table with a row a split (subjects, frames, faces, frames that could
        not be cropped, 1st and 99th percentile of D, share of unmeasured pixels in eq. 6's box); and one with the faces
        of every split in A1 and A2 by S123 and S45.
    """
    crops, meta = data.crops, data.meta
    box = f"{crops.crop_px} px crops, box {crops.box_px} px, margin {crops.margin:g}"
    only = "" if crops.pictures else ", depth alone, no pictures"
    lines = [f"{crops.root}: layout {crops.layout}, {len(meta)} frames, {box}, key {data.key}{only}", ""]
    lines.append("| split | subjects | frames | faces | not cropped | D in mm, 1 % to 99 % | holes |")
    lines.append("|---|---|---|---|---|---|---|")
    in_split = {name: np.isin(meta["subject"], np.array(crops.subjects[name], np.int32)) for name in SPLITS}
    for name in SPLITS:
        rows = meta[in_split[name]]
        usable = np.flatnonzero(in_split[name] & (meta["distance_mm"] > UNMEASURED_MM))
        near_far, holes = "-", "-"
        if len(usable):
            low, high = np.percentile(meta["distance_mm"][usable], (1, 99))
            near_far = f"{low:.0f} to {high:.0f}"
            holes = f"{100 * _hole_share(data, usable):.1f} %"
        people, missing = len(np.unique(rows["subject"])), len(rows) - len(usable)
        lines.append(
            f"| {name} | {people} | {len(rows)} | {int(rows['face'].sum())} | {missing} | {near_far} | {holes} |"
        )
    cells = cells_of(crops)
    sequences = [name for name in SEQUENCE_SETS if f"all|{name}" in cells]
    lines += ["", "| faces | " + " | ".join(f"{a} {s}" for a in ANGLE_SETS for s in sequences) + " |"]
    lines.append("|---" * (1 + len(ANGLE_SETS) * len(sequences)) + "|")
    for name in SPLITS:
        faces = meta[in_split[name] & meta["face"]]
        counts = [int(in_cell(faces, crops, f"{a}|{s}").sum()) for a in ANGLE_SETS for s in sequences]
        lines.append(f"| {name} | " + " | ".join(str(count) for count in counts) + " |")
    return "\n".join(lines)


def _hole_share(data: PackedSet, indices: np.ndarray) -> float:
    """Return the share of pixels without a measurement in eq. 6's box, over up to HOLES_FRAMES frames."""
    count = min(len(indices), HOLES_FRAMES)
    chosen = indices[np.linspace(0, len(indices) - 1, count).round().astype(np.int64)]
    border = (data.crops.crop_px - data.crops.box_px) // 2
    box = slice(border, border + data.crops.box_px)
    return float(np.mean([(data.depth_mm[index, box, box] == 0).mean() for index in chosen]))
