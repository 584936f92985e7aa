# SPDX-License-Identifier: Apache-2.0
"""Draws the paper's figures 1 and 4 as grids of faces, and a third one with all four systems.

Source: figures 1 and 4. Rows are the gray face, the true depth and generated depth; columns are frames chosen by
`choose_samples` of measure.py. Gray pictures show the 8-bit levels as they are: farther is brighter, holes are black.
Coloured ones stretch each column between the nearest and the farthest depth of its true head: near is red, far is blue.
All pictures are (rows, columns, 3) uint8 BGR.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facedepth_edge.errors import InputError
from facedepth_edge.image_files import write_picture
from facedepth_edge.picture import colour_from_depth
from train.paper_metrics import LEVELS_PER_Z
from train.report.measurement import SYSTEMS, FrameList, Measured, Samples
from train.report.paper_figures import SYSTEM_LABELS
from train.units import HALF_RANGE_MM

TILE_PX = 144
GAP_PX = 6
LABEL_PX = 150
TITLE_PX = 40
COLUMN_PX = 26
HEAD_PERCENTILES = (0.5, 99.0)
MIN_SPAN_MM = 20.0
PAGE = (222, 222, 222)  # neither the black of holes nor the white of far depth
INK = (30, 30, 30)
HOLE = (48, 45, 42)

# File stem -> title, and the systems below the gray face and the true depth.
FIGURES = {
    "figure1": ("Figure 1", ("paper",)),
    "figure4": ("Figure 4", ("autoencoder", "paper")),
    "systems": ("All systems", SYSTEMS),
}


def draw_figures(measured: Measured, folder: Path, data_label: str) -> dict[str, str]:
    """Draw every figure, in gray and in colour, and write them as PNG.

    Args:
        measured: The measurement, with its samples.
        folder: Where to; must exist.
        data_label: Names the data; stands in every picture's title.

    Returns:
        File name to caption, in the order in which a report shows them; empty where there are no samples.

    Raises:
        InputError: A file cannot be written.
    """
    if not len(measured.samples.rows):
        return {}
    captions = {}
    for stem, (title, systems) in FIGURES.items():
        for suffix, coloured in (("", False), ("_colour", True)):
            caption = f"{title}: {data_label}; {_rows_named(systems)}" + (", near is red" if coloured else "")
            grid = draw_grid(measured.samples, measured.frames, systems, f"{title}: {data_label}", coloured)
            name = f"{stem}{suffix}.png"
            write_picture(grid, folder / name)
            captions[name] = caption
    return captions


def draw_grid(samples: Samples, frames: FrameList, systems: tuple[str, ...], title: str, coloured: bool) -> np.ndarray:
    """Draw one grid.

    Args:
        samples: The frames.
        frames: Whose rows the samples name.
        systems: The rows below the gray face and the true depth.
        title: Stands above the grid.
        coloured: Depth in colour instead of gray levels.

    Returns:
        (rows, columns, 3) uint8 BGR, a fresh array.

    Raises:
        InputError: There is no sample to draw.
    """
    columns = len(samples.rows)
    if not columns:
        raise InputError.of("samples", "no frame", "at least one", "Measure a set with visible faces.")
    labels = ["gray face", "true depth", *(SYSTEM_LABELS[system] for system in systems)]
    width = LABEL_PX + columns * (TILE_PX + GAP_PX)
    title_scale = min(0.65, 0.65 * (width - 2 * GAP_PX) / max(1, _text_width(title, 0.65)))
    canvas = np.full((TITLE_PX + COLUMN_PX + len(labels) * (TILE_PX + GAP_PX), width, 3), PAGE, np.uint8)
    _write(canvas, title, (GAP_PX, 27), title_scale)
    for row, label in enumerate(labels):
        _write(canvas, label, (GAP_PX, _top(row) + TILE_PX // 2), 0.5)
    for column in range(columns):
        left = LABEL_PX + column * (TILE_PX + GAP_PX)
        subject = frames.subject[samples.rows[column]]
        subset = "A1" if samples.frontal[column] else "A2"
        _write(canvas, f"subject {subject}, {subset}", (left, TITLE_PX + 16), 0.42)
        for row, tile in enumerate(_column(samples, column, systems, coloured)):
            canvas[_top(row) : _top(row) + TILE_PX, left : left + TILE_PX] = tile
    return canvas


def _column(samples: Samples, column: int, systems: tuple[str, ...], coloured: bool) -> list[np.ndarray]:
    """Draw a frame's tiles from top to bottom."""
    truth, valid = samples.truth[column], samples.valid[column]
    near, far = _span_levels(truth[valid & samples.head[column]])
    everywhere = np.ones_like(valid)
    depths = [(truth, valid), *((samples.depth[SYSTEMS.index(system), column], everywhere) for system in systems)]
    tiles = [_enlarged(np.repeat(samples.gray[column][..., None], 3, axis=2), cv2.INTER_CUBIC)]
    for levels, known in depths:
        if coloured:
            tile = colour_from_depth(levels.astype(np.float64), near, far)
            tile[~known] = HOLE
        else:
            tile = np.repeat(np.where(known, levels, 0).astype(np.uint8)[..., None], 3, axis=2)
        tiles.append(_enlarged(tile, cv2.INTER_NEAREST))
    return tiles


def _span_levels(head: np.ndarray) -> tuple[float, float]:
    """Return the levels at the ends of the colour scale: the true head's own."""
    if not len(head):
        return 0.0, 2 * LEVELS_PER_Z
    near, far = np.percentile(head, HEAD_PERCENTILES)
    return float(near), float(max(far, near + MIN_SPAN_MM * LEVELS_PER_Z / HALF_RANGE_MM))


def _enlarged(tile: np.ndarray, interpolation: int) -> np.ndarray:
    return np.asarray(cv2.resize(tile, (TILE_PX, TILE_PX), interpolation=interpolation), np.uint8)


def _top(row: int) -> int:
    return TITLE_PX + COLUMN_PX + row * (TILE_PX + GAP_PX)


def _rows_named(systems: tuple[str, ...]) -> str:
    return ", ".join(["gray face", "true depth", *(SYSTEM_LABELS[system] for system in systems)])


def _text_width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0])


def _write(image: np.ndarray, text: str, at: tuple[int, int], scale: float) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, INK, 1, cv2.LINE_AA)
