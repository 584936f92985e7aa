# SPDX-License-Identifier: Apache-2.0
"""The commands that look at a data set and draw pairs, with their exit statuses."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.train.data.raw_sets import write_biwi
from tests.train.data.test_pairs import make_set
from train.data.__main__ import main, reader_from_settings
from train.data.contact_sheet import depth_edges, draw_sheet, hole_borders
from train.data.packed import open_packed_set
from train.data.pairs import read_pairs
from train.data.summary import summarise


@pytest.fixture(scope="module")
def biwi_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_biwi(tmp_path_factory.mktemp("command") / "hpdb", sequences=(1, 3), frames=(3, 4))


def test_list_counts_what_is_there(crops_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--data", str(crops_root), "--cache-dir", str(tmp_path), "--processes", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "layout pandora-crops, 24 frames, 144 px crops, box 96 px, margin 1.5, key " in lines[0]
    rows = {line.split(" | ")[0]: line.split(" | ") for line in lines[2:8]}
    assert rows["| train"][1:5] == ["4", "16", "12", "0"]
    assert rows["| val"][1:5] == ["1", "4", "3", "0"]
    data = open_packed_set(crops_root, tmp_path, progress=False)
    holes = 100 * (data.depth_mm[:16, 24:120, 24:120] == 0).mean()
    assert rows["| train"][6] == f"{holes:.1f} % |"
    low, high = rows["| train"][5].split(" to ")
    assert 500 <= int(low) < int(high) <= 1000
    assert lines[-3] == "| train | 12 | 0 | 12 | 0 | 0 | 0 | 12 | 0 | 12 |"


def test_list_of_a_made_up_set() -> None:
    data = make_set(subjects=2, frames=2)
    lines = summarise(data).splitlines()
    assert "| val | 0 | 0 | 0 | 0 | - | - |" in lines
    assert "| test | 2 | 20 | 16 | 0 | 700 to 700 | 100.0 % |" in lines


def test_sheet_draws_the_frames(biwi_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.png"
    arguments = ["sheet", "--data", str(biwi_root), "--out", str(out), "--frames", "3", "--processes", "1"]
    assert main([*arguments, "--cache-dir", str(tmp_path / "cache"), "--set", "distance=median"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    picture = cv2.imread(str(out))
    assert picture.shape == (2 * 288, 6 * 288, 3)
    assert not picture[288:, 3 * 288 :].any()  # three frames in four places
    edges = (picture[:288, 2 * 288 : 3 * 288] == (40, 40, 255)).all(axis=2)
    assert 0.005 < edges.mean() < 0.1
    assert main([*arguments, "--frames", "0"]) == 1


def test_a_sheet_shows_frames_that_could_not_be_cropped_only_alone(biwi_root: Path, tmp_path: Path) -> None:
    data = open_packed_set(biwi_root, tmp_path, processes=1, progress=False)
    data.meta["distance_mm"][1:] = 0
    assert draw_sheet(data, 12).shape == (288, 6 * 288, 3)


def test_depth_edges_are_the_nearer_side_and_holes_have_borders() -> None:
    depth = np.full((6, 8), 1000, np.uint16)
    depth[2:5, 3:6] = 700
    depth[0] = 0
    expected = np.zeros((6, 8), bool)
    expected[2:5, 3:6] = True
    expected[3, 4] = False  # in the middle
    np.testing.assert_array_equal(depth_edges(depth), expected)
    border = np.zeros((6, 8), bool)
    border[1] = True
    np.testing.assert_array_equal(hole_borders(depth), border)
    ramp = np.tile(np.arange(500, 660, 20, dtype=np.uint16), (4, 1))
    assert not depth_edges(ramp).any()  # nor does the image close to a ring


def test_pairs_are_written_for_the_set(crops_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pairs.csv"
    arguments = ["pairs", "--data", str(crops_root), "--cache-dir", str(tmp_path / "cache"), "--processes", "1"]
    assert main([*arguments, "--split", "train", "--count", "8", "--seed", "5", "--out", str(out)]) == 0
    assert "A1|S123: 4 same, 4 different" in capsys.readouterr().out
    data = open_packed_set(crops_root, tmp_path / "cache", progress=False)
    pairs = read_pairs(out, data)
    assert len(pairs.of("all|all")) == 8
    assert data.meta["face"][pairs.first].all()
    assert main([*arguments, "--split", "train", "--count", "3", "--out", str(out)]) == 1


def test_failures_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--data", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "got an empty folder, expected pandora-crops: dataset.json in the folder; or biwi" in error
    assert error.splitlines()[-1].startswith("FAIL python -m train.data list")
    assert main(["list", "--data", str(tmp_path), "--set", "distanz=median"]) == 2
    assert "Did you mean distance?" in capsys.readouterr().err
    assert main(["list", "--data", str(tmp_path), "--set", "distance"]) == 2
    assert main(["list", "--data", str(tmp_path), "--set", "margin=[1"]) == 2


def test_settings_are_read_as_yaml() -> None:
    reader = reader_from_settings(["biwi_focal_xy_px=[370, 370]", "angle_order=[yaw, roll, pitch]", "margin=1.25"])
    assert reader.biwi_focal_xy_px == (370.0, 370.0)
    assert reader.angle_order == ("yaw", "roll", "pitch")
    assert reader.margin == 1.25
