# SPDX-License-Identifier: Apache-2.0
"""`python -m train.synth`: senseless numbers and folders of other settings are refused before anything is rendered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facedepth_edge.errors import ConfigError
from train.synth.__main__ import main
from train.synth.sources import NOTE_FILE, settle_note, source_digests


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("render --processes 0", "--processes: got 0, expected >= 1"),
        ("render --seed -1", "--seed: got -1, expected >= 0"),
        ("render --styles afro", "--styles: got afro, expected NAME=SHARE, each name once"),
        ("render --styles afro=0.1 afro=0.2", "--styles: got afro=0.2, expected NAME=SHARE, each name once"),
        ("render-frame --shot -1", "--shot: got -1, expected >= 0"),
        ("render-frame --size 0 48", "--size: got 0 48, expected 16 or more each"),
        ("render-frame --subject 0", "--subject: got 0, expected >= 1"),
        ("render-frame --outfit 7", "--outfit: got 7, expected 1 to 5"),
        ("render-frame --focal-px -5", "--focal-px: got -5.0, expected above 0"),
        ("render-frame --position-mm 0 0 -700", "expected x, y and z, z above 150"),
        ("render-frame --focal-px inf", "--focal-px: got inf, expected above 0"),
        ("render-frame --position-mm nan 0 700", "--position-mm: got [nan, 0.0, 700.0]"),
        ("render-frame --angles-deg 0 0 nan", "--angles-deg: got [0.0, 0.0, nan]"),
        ("render-biwi --sequences 1 25", "--sequences: got 25, expected 1 to 24"),
        ("render-raw --sequences 0", "--sequences: got 0, expected >= 1"),
        ("render-raw --sequences 1 --frames 0", "--frames: got 0, expected >= 1"),
        ("render-biwi --sequences 1 --frames 0", "--frames: got 0, expected >= 1"),
    ],
)
def test_senseless_numbers(command: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.png"
    assert main([*command.split(), "--head", "none.npz", "--out", str(out)]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_picture_of_an_unknown_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render-frame", "--head", "none.npz", "--out", str(tmp_path / "frame.xyz")]) == 1
    assert "expected .png or .jpg" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["render-raw", "render-biwi"])
def test_sequences_of_another_seed_are_not_mixed(
    command: str, tmp_path: Path, head_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither sequence is rendered: its folder is there, as after an earlier run."""
    (tmp_path / "seq" / ("001" if command == "render-raw" else "01")).mkdir(parents=True)
    arguments = [command, "--sequences", "1", "--frames", "2", "--head", str(head_file), "--out", str(tmp_path / "seq")]
    assert main(arguments) == 1
    assert f"sequences and no {NOTE_FILE}" in capsys.readouterr().err
    (tmp_path / "seq" / NOTE_FILE).write_text(json.dumps({"layout": command, "seed": 3}))
    assert main(arguments) == 1
    assert "seed 0" in (error := capsys.readouterr().err)
    assert "seed 3" in error


def test_a_started_folder_goes_on(tmp_path: Path, head_file: Path) -> None:
    out = tmp_path / "r"
    settle_note(out, {"layout": "render-raw", "seed": 0, "frames": 1, **source_digests(head_file, None)})
    (out / "001").mkdir()
    options = {"--sequences": "1", "--frames": "1", "--head": str(head_file), "--out": str(out)}
    assert main(["render-raw", *(text for pair in options.items() for text in pair)]) == 0  # nothing is left to do


@pytest.mark.parametrize("command", ["render-raw", "render-biwi"])
def test_a_head_that_cannot_be_read_leaves_no_note(command: str, tmp_path: Path) -> None:
    (tmp_path / "head.npz").write_text("no head")
    out = tmp_path / "seq"
    assert main([command, "--sequences", "1", "--head", str(tmp_path / "head.npz"), "--out", str(out)]) == 1
    assert not out.exists()


def test_a_note_without_sequences_binds_nobody(tmp_path: Path) -> None:
    settle_note(tmp_path, {"seed": 3})
    settle_note(tmp_path, {"seed": 4})
    assert json.loads((tmp_path / NOTE_FILE).read_text()) == {"seed": 4}
    (tmp_path / "001").mkdir()
    with pytest.raises(ConfigError, match=r"got seed 5, expected what its sequences have \(seed 4\)"):
        settle_note(tmp_path, {"seed": 5})
    (tmp_path / NOTE_FILE).write_text("[]")
    with pytest.raises(ConfigError, match=r"got a list, expected what was rendered there"):
        settle_note(tmp_path, {"seed": 4})
