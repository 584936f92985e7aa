# SPDX-License-Identifier: Apache-2.0
"""The picture grids: the right tile in the right place, holes dark, the same colour scale down a column."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from facedepth_edge.errors import InputError
from train.report.measurement import SYSTEMS, Measured, Samples
from train.report.pictures import (
    COLUMN_PX,
    GAP_PX,
    HOLE,
    LABEL_PX,
    TILE_PX,
    TITLE_PX,
    draw_figures,
    draw_grid,
)


def tile(grid: np.ndarray, row: int, column: int) -> np.ndarray:
    top = TITLE_PX + COLUMN_PX + row * (TILE_PX + GAP_PX)
    left = LABEL_PX + column * (TILE_PX + GAP_PX)
    return grid[top : top + TILE_PX, left : left + TILE_PX]


def small(picture: np.ndarray, side: int) -> np.ndarray:
    """Return the middle of every enlarged pixel."""
    step = TILE_PX // side
    return picture[step // 2 :: step, step // 2 :: step]


def test_gray_tiles_are_the_levels(measured: Measured) -> None:
    samples = measured.samples
    grid = draw_grid(samples, measured.frames, ("autoencoder", "paper"), "a title", coloured=False)
    assert grid.shape == (TITLE_PX + COLUMN_PX + 4 * (TILE_PX + GAP_PX), LABEL_PX + 3 * (TILE_PX + GAP_PX), 3)
    side = samples.gray.shape[-1]
    for column in range(3):
        truth = small(tile(grid, 1, column), side)
        assert np.array_equal(truth[..., 0], np.where(samples.valid[column], samples.truth[column], 0))
        for row, system in ((2, "autoencoder"), (3, "paper")):
            assert np.array_equal(
                small(tile(grid, row, column), side)[..., 1], samples.depth[SYSTEMS.index(system), column]
            )
        gray = cv2.resize(tile(grid, 0, column), (side, side), interpolation=cv2.INTER_AREA)[..., 0]
        assert np.corrcoef(gray.ravel(), samples.gray[column].ravel())[0, 1] > 0.9
    assert (tile(grid, 0, 0) != tile(grid, 0, 1)).any()
    assert (grid[:TITLE_PX] < 100).any()
    assert (grid[TITLE_PX:, :LABEL_PX] < 100).any()


def test_coloured_tiles_share_a_scale_and_show_holes(measured: Measured) -> None:
    samples = measured.samples
    copied = replace(samples, depth=np.repeat(samples.truth[None], 4, axis=0))
    grid = draw_grid(copied, measured.frames, ("paper",), "a title", coloured=True)
    side = samples.gray.shape[-1]
    for column in range(3):
        truth, generated = (small(tile(grid, row, column), side) for row in (1, 2))
        valid = samples.valid[column]
        assert np.array_equal(truth[valid], generated[valid])
        assert (truth[~valid] == HOLE).all()
        assert not (generated[~valid] == HOLE).all()
        assert len(np.unique(truth[valid], axis=0)) > 10


def test_files_and_captions_name_the_data(measured: Measured, tmp_path: Path) -> None:
    captions = draw_figures(measured, tmp_path, "Rendered (synthetic) faces, set pandora")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(captions)
    assert list(captions)[:3] == ["figure1.png", "figure1_colour.png", "figure4.png"]
    assert all("Rendered (synthetic) faces, set pandora" in caption for caption in captions.values())
    assert captions["figure4.png"].endswith("; gray face, true depth, autoencoder, cGAN")
    heights = {name: cv2.imread(str(tmp_path / name)).shape[0] for name in captions}
    assert heights["systems.png"] - heights["figure1.png"] == 3 * (TILE_PX + GAP_PX)


def test_no_samples(measured: Measured, tmp_path: Path) -> None:
    none = Samples(**{name: value[..., :0, :, :] if value.ndim > 1 else value[:0]
                      for name, value in vars(measured.samples).items()})  # fmt: skip
    assert draw_figures(replace(measured, samples=none), tmp_path, "x") == {}
    with pytest.raises(InputError, match="got no frame, expected at least one"):
        draw_grid(none, measured.frames, ("paper",), "x", coloured=False)


def test_a_folder_that_is_not_there_is_told(measured: Measured, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"figure1\.png: got No such file"):
        draw_figures(measured, tmp_path / "none", "x")
