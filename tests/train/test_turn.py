# SPDX-License-Identifier: Apache-2.0
"""How far faces are turned by a model: exact on planes, over both sides, printed as a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from train.data.batches import Batch
from train.data.packed import PackedSet, open_packed_set
from train.turn import LEAST_PIXELS, Turn, main, table_of, turn_of, turns

SHAPE = (96, 96)


@pytest.fixture(scope="module")
def data(crops_root: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    return open_packed_set(crops_root, tmp_path_factory.mktemp("packed"), processes=1, progress=False)


def plane(across_deg: float, down_deg: float = 0.0) -> np.ndarray:
    """Depth of a plane in mm, on pixels 320 / 96 mm apart."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] * (320 / 96)
    return np.tan(np.radians(across_deg)) * x + np.tan(np.radians(down_deg)) * y


def test_a_plane_s_turn_is_its_slope_across() -> None:
    bump = 5.0 * np.random.default_rng(0).standard_normal(SHAPE)
    where = np.zeros(SHAPE, bool)
    where[20:70, 25:75] = True
    bump[where] -= bump[where].mean()
    found = turn_of(plane(20.0, 8.0) + bump, plane(14.0, 3.0) + bump + 30.0, where, 33.0)
    assert found.yaw_deg == 33.0
    assert found.measured_deg - found.found_deg == pytest.approx(6.0, abs=0.4)
    assert found.measured_deg == pytest.approx(20.0, abs=0.5)
    assert found.shape_error_mm == pytest.approx(0.0, abs=1e-9)  # the offset and the plane are all that differ
    assert found.error_mm > 3


def test_the_table_counts_both_sides_in_the_yaw_s_direction() -> None:
    found = [Turn(20.0, 10.0, 8.0, 4.0, 3.0), Turn(-20.0, -10.0, -8.0, 6.0, 3.0), Turn(40.0, 16.0, 16.0, 2.0, 1.0),
             Turn(2.0, 90.0, 0.0, 1.0, 1.0), Turn(-80.0, 90.0, 0.0, 1.0, 1.0)]  # fmt: skip
    text = table_of(found)
    assert "| 15 to 25 | 2 | 10.0 | 8.0 | 5.00 | 3.00 |" in text
    assert "| 35 to 45 | 1 | 16.0 | 16.0 | 2.00 | 1.00 |" in text
    share = (2 * 80 + 256) / (2 * 100 + 256)
    assert f"turns faces {100 * share:.0f} % as far" in text
    assert text.count("\n") == 5  # no rows of yaws that do not occur, of frontal heads or profiles


def test_frames_of_a_set(data: PackedSet) -> None:
    indices = data.indices("test", faces_only=True)

    def tilted(chosen: np.ndarray, batch: Batch) -> dict[str, np.ndarray]:
        return {"depth": batch.depth.numpy() + (plane(3.0) / 160).astype(np.float32)}

    def right(chosen: np.ndarray, batch: Batch) -> dict[str, np.ndarray]:
        return {"depth": batch.depth.numpy()}

    exact, off = (turns(data, indices, one) for one in (right, tilted))
    assert 0 < len(exact) <= len(indices)
    assert max(one.error_mm for one in exact) < 1e-4
    assert [one.found_deg for one in exact] == pytest.approx([one.measured_deg for one in exact])
    slopes = [np.tan(np.radians([one.found_deg, one.measured_deg])) for one in off]
    assert [a - b for a, b in slopes] == pytest.approx([np.tan(np.radians(3.0))] * len(off), rel=1e-3)
    assert LEAST_PIXELS > 100


def test_the_command(crops_root: Path, edge_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--model", str(edge_artifact), "--data", str(crops_root), "--cache-dir", str(tmp_path)]
    assert main([*asked, "--count", "3"]) == 0
    assert "| frames | measured | model's |" in capsys.readouterr().out
