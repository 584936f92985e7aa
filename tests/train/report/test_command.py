# SPDX-License-Identifier: Apache-2.0
"""`python -m train.report`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from facedepth_edge.errors import InputError
from tests.train.report.conftest import make_measured
from train.paper_metrics import PIXEL_METRICS
from train.report.command import COMMITTED_MEASURED, committed_measurement, main
from train.report.document import report_markdown
from train.report.measurement import SYSTEMS, Measured, write_measured
from train.report.summary import summarise

ALL_FILES = {"figure1.png", "figure1_colour.png", "figure4.png", "figure4_colour.png", "systems.png",
             "systems_colour.png", "report.md"}  # fmt: skip


@pytest.fixture
def arguments(inputs: tuple[Path, Path], measured_folder: Path) -> list[str]:
    models, pairs = inputs
    return ["--data", "synthetic", "--measured", str(measured_folder), "--models", str(models), "--pairs", str(pairs),
            "--resamples", "50"]  # fmt: skip


def test_it_prints_both_tables_and_writes_everything(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {name: tmp_path / "made" / name for name in ("figures.json", "csv", "out")}
    extra = ["--json", paths["figures.json"], "--csv-dir", paths["csv"], "--out", paths["out"]]
    assert main([*arguments, *map(str, extra)]) == 0
    printed = capsys.readouterr()
    assert "| L1 norm ↓ |" in printed.out
    assert "| face verification accuracy ↑ |" in printed.out
    assert "| {A1, A2} | S1-S5 | 8 |" in printed.out
    assert "mean error after the offset, mm" in printed.out
    assert "Of 66 comparisons" in printed.out
    assert "![" not in printed.out
    assert printed.err.strip().splitlines()[-1].startswith("PASS python -m train.report --data synthetic")
    plain = json.loads(paths["figures.json"].read_text())
    assert sum(len(plain["table_1"][region][metric]) for region in ("all", "head") for metric in PIXEL_METRICS) == 80
    assert sorted(plain["table_1"]["verification"]) == sorted(SYSTEMS)
    assert len(plain["table_2"]) == 9
    assert all(
        cell[kind]["value"] is not None for cell in plain["table_2"].values() for kind in ("original", "generated")
    )
    assert len(plain["order"]["by_metric"]) == 11
    assert plain["order"]["why"] is None
    assert {path.name for path in paths["csv"].iterdir()} == {"table1.csv", "table2.csv"}
    assert {path.name for path in paths["out"].iterdir()} == ALL_FILES
    report = (paths["out"] / "report.md").read_text()
    assert all(f"]({name})" in report for name in ALL_FILES - {"report.md"})
    assert report.startswith(printed.out.split("## What was measured")[0].rstrip())


def test_synthetic_figures_are_never_pandoras(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The set's folder is called `pandora`; every heading and column must still say what it is."""
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    report = (tmp_path / "report.md").read_text()
    assert "**Data: Rendered (synthetic) faces, set `pandora`. None of our figures is a figure on Pandora" in report
    for heading in re.findall(r"^## (?:Table|Figure).*$", report, re.M)[:3]:
        assert heading.endswith("on rendered faces (`pandora`)")
    headers = [line for line in report.splitlines() if line.startswith(("| metric |", "| angles |"))]
    assert len(headers) == 3
    for header in headers:
        for column in header.strip("|").split(" | ")[1:]:
            known = column.strip() in ("sequences", "pairs")
            assert known or "(synthetic)" in column or "(paper, Pandora)" in column
    for caption in re.findall(r"!\[(.*?)\]", report):
        assert "Rendered (synthetic) faces" in caption


@pytest.mark.parametrize(
    ("origin", "said", "column"),
    [
        ("pandora", "**Data: Pandora, set `pandora`.**", "cGAN (Pandora)"),
        ("biwi", "**Data: Biwi, set `pandora`.**", "cGAN (paper, Biwi)"),
        ("unknown", "**Data: The set `pandora`, of unknown origin.", "cGAN (data of unknown origin)"),
    ],
)
def test_other_data_is_named_too(origin: str, said: str, column: str, inputs: tuple[Path, Path]) -> None:
    summary = summarise(make_measured(*inputs, origin=origin), resamples=20)
    report = report_markdown(summary, None, {})
    assert said in report
    assert column in report
    assert "rendered" not in report.lower()


@pytest.mark.parametrize("changed", [*SYSTEMS, "siamese", "pairs"])
def test_other_models_or_pairs_than_measured_are_refused(
    changed: str, inputs: tuple[Path, Path], measured_folder: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(inputs[0], models)
    pairs = models / "pairs.csv"
    committed_measurement(measured_folder, models, pairs)
    path = pairs if changed == "pairs" else models / f"{changed}.safetensors"
    path.write_text("another")
    with pytest.raises(InputError, match=r"which .* measured\. Measure again: python -m train\.report --data") as error:
        committed_measurement(measured_folder, models, pairs)
    assert str(error.value).startswith(str(path))
    path.unlink()
    with pytest.raises(InputError, match="got No such file"):
        committed_measurement(measured_folder, models, pairs)


def test_a_refusal_ends_with_status_1(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for extra, message in (
        (["--models", str(tmp_path)], "got No such file"),
        (["--measured", str(tmp_path)], "about.json: got FileNotFoundError"),
        (["--resamples", "0"], "expected resamples >= 1 and seed >= 0"),
        (["--why", str(tmp_path / "none.md")], "--why"),
        (["--json", str(tmp_path)], "expected a file that can be written"),
        (["--data", str(tmp_path)], "got an empty folder"),
    ):
        assert main([*arguments, *extra]) == 1
        printed = capsys.readouterr()
        assert message in printed.err
        assert printed.err.strip().splitlines()[-1].startswith("FAIL python -m train.report")
        assert printed.out == ""


def test_a_set_without_a_place_for_its_measurement_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(tmp_path)]) == 1
    assert "--measured: got nothing, expected a folder for the measurement" in capsys.readouterr().err


def test_why_is_told_where_somebody_wrote_it(
    measured: Measured, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "synthetic"
    write_measured(folder, measured)
    arguments[3] = str(folder)
    assert main(arguments) == 0
    assert "No reason is given" in capsys.readouterr().out  # random figures do not have the paper's order
    (tmp_path / "why.md").write_text("Because of the dice.\n")
    assert main([*arguments, "--json", str(tmp_path / "f.json")]) == 0
    assert "### Why\n\nBecause of the dice.\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "f.json").read_text())["order"]["why"] == "Because of the dice.\n"


def test_the_seed_and_nothing_else_moves_the_intervals(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for extra in ([], [], ["--seed", "5"]):
        assert main([*arguments, *extra]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    values = [re.sub(r" \[.*?\]", "", "\n".join(t for t in text.splitlines() if t.startswith("| L"))) for text in texts]
    assert values[0] == values[2]


def test_few_subjects_are_said_to_be_few(measured: Measured, inputs: tuple[Path, Path]) -> None:
    assert "With so few subjects they are rough" in report_markdown(summarise(measured, 10), None, {})
    one = summarise(make_measured(*inputs, subjects=1), 10)
    assert "No intervals: they need at least two subjects." in report_markdown(one, None, {})
    many = replace(summarise(measured, 10), subjects=20)
    assert "rough" not in report_markdown(many, None, {})


def test_the_default_folder_is_in_the_documentation() -> None:
    assert COMMITTED_MEASURED.parts[-3:] == ("docs", "reproduction", "synthetic")


def test_how_each_was_trained_is_told(measured: Measured) -> None:
    text = report_markdown(summarise(measured, 10), None, {})
    assert "| 4,000 samples in 2 steps, 34.62 M parameters, adam 0.0002, on `heads` |" in text
    assert "began with another one's weights" not in text
    narrow = {"parameters": 2_170_000, "samples": 48_000, "step": 3000, "optimizer": "muon", "lr": 1e-3}
    narrow["trained_on"] = "other"
    model = measured.about["models"]["paper"]
    models = {**measured.about["models"], "paper": {**model, "stages": [narrow, *model["stages"]]}}
    text = report_markdown(summarise(replace(measured, about={**measured.about, "models": models}), 10), None, {})
    first = "48,000 samples in 3,000 steps, 2.17 M parameters, muon 0.001, on `other`"
    assert f"| {first}; then 4,000 samples in 2 steps, 34.62 M parameters, adam 0.0002, on `heads` |" in text
    assert text.count(first) == 1
    assert "began with another one's weights, that one stands first" in text


def test_the_report_can_have_its_own_name(arguments: list[str], tmp_path: Path) -> None:
    assert main([*arguments, "--out", str(tmp_path / "docs" / "paper.md")]) == 0
    assert main([*arguments, "--out", str(tmp_path / "folder")]) == 0
    text = (tmp_path / "docs" / "paper.md").read_text()
    assert text.replace("](paper/", "](") == (tmp_path / "folder" / "report.md").read_text()
    assert "](paper/figure1.png)" in text
    assert {path.name for path in (tmp_path / "docs" / "paper").iterdir()} == ALL_FILES - {"report.md"}
    assert {path.name for path in (tmp_path / "docs").iterdir()} == {"paper.md", "paper"}
