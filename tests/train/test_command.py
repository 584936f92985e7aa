# SPDX-License-Identifier: Apache-2.0
"""`python -m train`: wrong settings and data fail before any work, with a status and a message."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from train.__main__ import main, parse_arguments

CONFIG = """
network: {name: edge, widths: [4, 4, 4, 4], head_width: 4}
task: {name: depth}
loop: {steps: 2, batch_size: 2, accelerator: cpu, threads: 1}
"""


@pytest.fixture
def arguments(crops_root: Path, tmp_path: Path) -> list[str]:
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG)
    cache = f"data.cache_dir={tmp_path / 'cache'}"
    return ["--config", str(config), "--data", str(crops_root), "--out", str(tmp_path / "run"), "--set", cache]


def test_a_run(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    lines = dict(line.split("\t") for line in capsys.readouterr().out.splitlines() if "\t" in line)
    assert float(lines["offset_free_mm"]) > 0
    assert Path(lines["checkpoint"]).is_file()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--set", "loop.stepps=3"], "Did you mean steps?"),
        (["--set", "network.name=paper"], "unknown key 'widths'"),
        (["--max-minutes", "-1"], "loop.max_minutes: got -1.0, expected >= 0"),
        (["--config", "none.yaml"], "none.yaml: got"),
    ],
)
def test_wrong_settings_end_with_status_2(
    extra: list[str], message: str, arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*arguments, *extra]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.splitlines()[-1].startswith("FAIL python -m train --config ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("extra", [["--data", "none"], ["--out", "."]])
def test_what_fails_later_ends_with_status_1(
    extra: list[str],
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "last.pt").write_text("another run")
    assert main([*arguments, *extra]) == 1
    expected = "none: got no such folder" if "--data" in extra else "which holds a run"
    error = capsys.readouterr().err
    assert expected in error
    assert error.splitlines()[-1].startswith("FAIL python -m train --config ")


def test_an_interrupted_run_says_how_to_go_on(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("train.loop.make_batch", interrupt)
    assert main(arguments) == 1
    assert "add --resume to go on" in capsys.readouterr().err


def test_arguments() -> None:
    args = parse_arguments(["--config", "c", "--data", "d", "--out", "o", "--set", "a=1", "--set", "b=2", "--resume"])
    assert args.settings == ["a=1", "b=2"]
    assert args.resume
    with pytest.raises(SystemExit) as stop:
        parse_arguments(["--config", "c"])
    assert stop.value.code == 2


def test_a_set_of_depth_alone_is_named(
    arguments: list[str], crops_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "bare"
    shutil.copytree(crops_root, other, ignore=shutil.ignore_patterns("packed", "*_rgb.png"))
    note = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**note, "seed": 99, "pictures": False}))
    arguments.insert(arguments.index("--data") + 2, str(other))
    assert main(arguments) == 1
    assert f"{other}: got a set of depth alone, expected one with pictures" in capsys.readouterr().err


def test_too_few_people_for_pairs_end_a_verification_before_it_begins(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The set has one validation person."""
    (tmp_path / "tiny.yaml").write_text(
        "network: {name: siamese}\ntask: {name: verification}\naugment: {enabled: false}\n"
        "loop: {steps: 2, batch_size: 4, accelerator: cpu, threads: 1}\n"
    )
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "split val: random_pairs: got 1 people, the one with the fewest frames has" in error
    assert not (tmp_path / "run" / "last.pt").exists()
