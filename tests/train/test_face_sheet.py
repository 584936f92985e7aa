# SPDX-License-Identifier: Apache-2.0
"""The sheet of faces: a card's panels, and the command on a small set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from facedepth_edge import Camera, EdgeDepth
from train.data.packed import open_packed_set
from train.face_sheet import _FOCAL_PX, COLUMNS, PANEL_PX, card, cards_of_set, main

FACES_CAMERA = Camera(_FOCAL_PX, _FOCAL_PX)


def test_a_card_shows_face_truth_model_and_side() -> None:
    y, x = np.mgrid[-1 : 1 : 96 * 1j, -1 : 1 : 96 * 1j]
    inside = x**2 + y**2 < 0.5
    depth = 80 * (x**2 + y**2) - 20
    face = np.where(inside, 200, 30).astype(np.uint8)
    with_truth = card(face, depth, inside, depth + 60, inside, "text")
    without = card(face, depth, inside, None, None, "text")
    assert with_truth.shape == (PANEL_PX + 18, 4 * PANEL_PX, 3)
    gray, truth, model, side = np.split(with_truth[:PANEL_PX], 4, axis=1)
    assert gray[PANEL_PX // 2, PANEL_PX // 2].tolist() == [200, 200, 200]
    middle = (PANEL_PX // 2, PANEL_PX // 2)
    assert model[middle].argmax() == 1  # in the middle of the scale green
    assert truth[middle][0] > model[middle][0]  # 60 mm farther: bluer
    assert (side == (255, 255, 255)).all(axis=2).any()
    white = np.nonzero((side == (255, 255, 255)).all(axis=2))[1].mean()
    orange = np.nonzero((side == (60, 150, 255)).all(axis=2))[1].mean()
    assert white > orange  # farther is to the right
    assert not (np.split(without[:PANEL_PX], 4, axis=1)[3] == (255, 255, 255)).all(axis=2).any()


def test_truth_is_along_what_the_model_answers(crops_root: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    """A model without an error has cards without an error, whether it answers along the axis or along the ray."""
    data = open_packed_set(crops_root, tmp_path / "cache", processes=1, progress=False)
    truths = []
    for along in ("axis", "ray"):
        folder = Path(shutil.copytree(tiny_artifact, tmp_path / along))
        spec = json.loads((folder / "spec.json").read_text())
        spec["depth_scale"]["along"] = along
        (folder / "spec.json").write_text(json.dumps(spec))
        with EdgeDepth(folder, camera=FACES_CAMERA) as model:
            truths.append(np.vstack(cards_of_set(model, data, "test", 2, "set")))
    gray, truth, *_ = np.split(truths[0] != truths[1], 4, axis=1)
    assert not gray[:PANEL_PX].any()
    assert truth[:PANEL_PX].any()  # the same model and crop, another truth


def test_command(crops_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.png"
    arguments = ["--data", str(crops_root), "--count", "2", "--out", str(out), "--cache-dir", str(tmp_path / "cache")]
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == str(out)
    sheet = cv2.imread(str(out))
    assert sheet.shape == (2 * (PANEL_PX + 18), COLUMNS * 4 * PANEL_PX, 3)  # the photograph, two faces, an empty card
    arguments[arguments.index("--count") + 1] = "0"
    assert main(arguments) == 1
    assert "--count: got 0" in capsys.readouterr().err
    arguments[arguments.index("--count") + 1] = "1"
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "sheet.xyz", tmp_path / "file" / "sheet.png"):
        arguments[arguments.index("--out") + 1] = str(wrong)
        assert main(arguments) == 1
        assert f"{wrong}: got" in capsys.readouterr().err
