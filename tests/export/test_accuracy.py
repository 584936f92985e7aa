# SPDX-License-Identifier: Apache-2.0
"""The accuracy report: one command writes every section, and fails without a half-written file."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from export.accuracy import main
from facedepth_edge.artifacts import BUNDLED_FOLDER
from tests.train.conftest import write_crops_set
from train.crosscheck import SCAN_GENERATOR


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_crops_set(tmp_path_factory.mktemp("sets") / "crops")


def test_one_command_writes_all(crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = shutil.copytree(crops, tmp_path / "scan")
    note = json.loads((scan / "dataset.json").read_text())
    everyone = [person for members in note["subjects"].values() for person in members]
    note |= {
        "subjects": {"train": [], "val": [], "test": everyone},
        "generator": {"name": SCAN_GENERATOR, "credit": "a head by A. N. Other, CC BY 3.0"},
    }
    (scan / "dataset.json").write_text(json.dumps(note))
    away = shutil.copytree(crops, tmp_path / "away")
    for path in away.glob("*/frames.json"):
        frames = json.loads(path.read_text())
        for frame in frames:
            if frame["face"]:
                frame |= {"face": False, "visible": 0.0, "attributes": {"turned_away": True}}
        path.write_text(json.dumps(frames))
    model, out = Path(BUNDLED_FOLDER) / "edge", tmp_path / "accuracy.md"
    sets = ["--data", str(crops), "--data", str(scan), "--turned", str(away)]
    arguments = ["--model", str(model), *sets, "--out", str(out), "--cache-dir", str(tmp_path / "cache")]
    assert main([*arguments, "--also", str(model)]) == 0
    text = out.read_text()
    assert len(re.findall(r"^### `edge` \d+\.\d+\.\d+$", text, re.MULTILINE)) == 1
    assert text.count("| int8-trt.onnx | all |") == 2
    for expected in (
        "# Accuracy",
        "## On `crops`: 4 frames",
        "| mean face | head |",
        "| edge int8 | face |",
        "| no face | 1 |",
        "(faces.jpg)",
        "## The exported files against PyTorch",
        "| int8-trt.onnx | all |",
    ):
        assert expected in text
    assert re.search(
        r"\n\| away \| no face \| 1 \| [01]\.000 \|\n\| away \| a head that is turned away \| 3 \| \d", text
    )
    assert "## On `away`" not in text
    before, after = text.split("## On `scan`")
    assert "a scan of a real one" in after
    assert "one expression. Scan: a head by A. N. Other, CC BY 3.0.\n" in after
    assert "a scan of a real one" not in before
    assert "| mean face | head |" not in after  # it has no training people
    assert "## Over time" not in text  # no head model was given
    assert (tmp_path / "faces.jpg").stat().st_size > 10_000
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("PASS python -m export.accuracy")


def test_failures_are_told(crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "accuracy.md"
    cache = ["--cache-dir", str(tmp_path / "cache")]
    assert main(["--model", str(tmp_path / "none"), "--data", str(crops), "--out", str(out), *cache]) == 1
    bare = tmp_path / "bare"
    shutil.copytree(Path(BUNDLED_FOLDER) / "edge", bare)
    (bare / "reference.pt2").unlink()
    assert main(["--model", str(bare), "--data", str(crops), "--out", str(out), *cache]) == 1
    assert main(["--model", str(bare), "--data", str(crops), "--subjects", "0", "--out", str(out), *cache]) == 1
    assert "--subjects: got 0" in capsys.readouterr().err
    (bare / "spec.json").write_text(
        json.dumps({**(spec := json.loads((bare / "spec.json").read_text())),
                    "files": {name: entry for name, entry in spec["files"].items() if name != "int8.onnx"}})
    )  # fmt: skip
    assert main(["--model", str(bare), "--data", str(tmp_path / "no set"), "--out", str(out), *cache]) == 1
    assert "got no int8.onnx, expected fp32.onnx and int8.onnx" in capsys.readouterr().err
    assert not out.exists()
