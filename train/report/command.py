# SPDX-License-Identifier: Apache-2.0
"""The report's command: measures where it must, then prints tables 1 and 2 and writes JSON, CSV and pictures.

`--data synthetic` reports the measurement that is committed beside the models; it measures nothing, but refuses if the
models or the pair list are not those that were measured. `--data DIR` measures a data set first, once.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from facedepth_edge.errors import BackendUnavailable, InputError
from train.command import Outcome, run_command
from train.data.command_line import add_reading_arguments, open_set
from train.report.bootstrap import RESAMPLES, SEED
from train.report.document import describe_origin, report_markdown
from train.report.measurement import (
    ORIGINS,
    UNKNOWN,
    Measured,
    hashes_of_about,
    hashes_of_files,
    read_about,
    read_measured,
    write_measured,
)
from train.report.order import compare_orders, plain_from_orders, sentences_from_orders
from train.report.pictures import draw_figures
from train.report.summary import Summary, summarise
from train.report.tables import plain_from_summary, table_1_csv, table_2_csv

if TYPE_CHECKING:
    from train.data.packed import PackedSet

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = "synthetic"
COMMITTED_MEASURED = ROOT / "docs" / "reproduction" / "synthetic"
COMMITTED_MODELS = ROOT / "models" / "weights"
COMMITTED_PAIRS = ROOT / "configs" / "pairs" / "synthetic_test.csv"


@dataclass(frozen=True)
class Outputs:
    """Where the report goes besides standard output.

    Args:
        json: File of all figures, or None.
        csv_dir: Folder for table1.csv and table2.csv, or None.
        out: Folder for report.md and the pictures, or the report's own path, NAME.md, or None.
    """

    json: Path | None
    csv_dir: Path | None
    out: Path | None


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.report", description="Print tables 1 and 2 of the paper, ours beside the paper's."
    )
    parser.add_argument("--data", required=True, metavar="synthetic|DIR",
                        help="'synthetic': the committed measurement, once it is there; else a folder")  # fmt: skip
    origins = [name for name in ORIGINS if name != UNKNOWN]
    parser.add_argument("--origin", choices=origins, help="where a set's pictures come from: no set is called "
                        "Pandora or Biwi unless you say that it is (default: synthetic where the renderer's note is in "
                        "it, else unknown)")  # fmt: skip
    parser.add_argument("--measured", type=Path, help="folder of the measurement; needed with a data set's folder")
    parser.add_argument("--models", type=Path, default=COMMITTED_MODELS, help="folder of the five .safetensors files")
    parser.add_argument("--pairs", type=Path, help="pair list of the data set (default: the committed synthetic one)")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--csv-dir", type=Path, help="write table1.csv and table2.csv into this folder")
    parser.add_argument("--out", type=Path, help="write report.md and the pictures into this folder; or, NAME.md, the "
                        "report there and the pictures into the folder NAME beside it")  # fmt: skip
    parser.add_argument("--why", type=Path, help="Markdown with the reasons why the order differs from the paper's"
                        " (default with 'synthetic': why.md beside the measurement's folder, where it is)")  # fmt: skip
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="resamples of the bootstrap")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the bootstrap")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where networks run when measuring")
    add_reading_arguments(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Report as the command line says.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    args = parse_arguments(arguments)

    def work() -> Outcome:
        if args.resamples < 1 or args.seed < 0:
            got = f"--resamples {args.resamples} --seed {args.seed}"
            raise InputError.of("arguments", got, "resamples >= 1 and seed >= 0", "Leave both out.")
        if args.data == COMMITTED:
            folder = args.measured or COMMITTED_MEASURED
            measured = committed_measurement(folder, args.models, args.pairs or COMMITTED_PAIRS)
            default_why = folder.parent / "why.md"
            why_path = args.why or (default_why if default_why.is_file() else None)
        else:
            measured = measurement_of_set(args)
            why_path = args.why
        summary = summarise(measured, args.resamples, args.seed)
        text = write_report(measured, summary, _read_text(why_path), Outputs(args.json, args.csv_dir, args.out))
        return Outcome(text.rstrip("\n"))

    return run_command("python -m train.report", arguments, work)


def committed_measurement(folder: Path, models: Path, pairs: Path) -> Measured:
    """Read a measurement and make sure that it is of these models and this pair list.

    Args:
        folder: The measurement.
        models: Folder of the models.
        pairs: The pair list.

    Raises:
        InputError: The measurement is missing or damaged, or a model or the pair list is another than was measured.
    """
    about = read_about(folder)
    noted, here = hashes_of_about(about), hashes_of_files(models, pairs)
    changed = [name for name in noted if noted[name] != here[name]]
    if changed:
        path = pairs if changed[0] == "pairs" else models / f"{changed[0]}.safetensors"
        name = about["data"]["name"]
        fix = (
            f"Measure again: python -m train.report --data <folder of the set {name}, key {about['data']['key']}> "
            f"--models {models} --pairs {pairs} --measured {folder}."
        )
        rule = f"{noted[changed[0]][:12]}..., which {folder} measured"
        raise InputError.of(str(path), f"sha256 {here[changed[0]][:12]}...", rule, fix)
    return read_measured(folder)


def measurement_of_set(args: argparse.Namespace) -> Measured:
    """Measure a data set, or read its measurement where data, models and pair list are still the same.

    Args:
        args: `data`, `origin`, `measured`, `models`, `pairs`, `device`, `cache_dir`, `settings` of the command line.

    Raises:
        InputError: An argument is missing, or the data or the pair list break a rule.
        ArtifactError: A model cannot be used.
        BackendUnavailable: `device` is cuda and there is none.
    """
    import torch

    from train.report.measure import describe_data, measure_files

    if args.measured is None:
        fix = f"Add --measured DIR, or report the committed measurement with --data {COMMITTED}."
        raise InputError.of("--measured", "nothing", "a folder for the measurement", fix)
    data: PackedSet = open_set(args.data, args)
    described = describe_data(data, args.origin)
    if args.pairs is None and described["origin"] != "synthetic":
        fix = "Make one: python -m train.data pairs --help."
        raise InputError.of("--pairs", "nothing", f"the pair list of {described['name']}", fix)
    pairs = args.pairs or COMMITTED_PAIRS
    here = hashes_of_files(args.models, pairs)
    if (args.measured / "about.json").is_file():
        about = read_about(args.measured)
        if hashes_of_about(about) == here and about["data"] == described:
            return read_measured(args.measured)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise BackendUnavailable.of("--device", "cuda", "a GPU that PyTorch can use", "Leave --device out.")
    write_measured(args.measured, measure_files(data, args.models, pairs, args.origin, args.device))
    return read_measured(args.measured)


def write_report(measured: Measured, summary: Summary, why: str | None, outputs: Outputs) -> str:
    """Write the report's files.

    Args:
        measured: The measurement.
        summary: Its figures.
        why: Why the order differs from the paper's, or None.
        outputs: Where to.

    Returns:
        The report as Markdown, without the pictures: they lie beside report.md alone.

    Raises:
        InputError: A file cannot be written.
    """
    orders = compare_orders(summary)
    if outputs.json is not None:
        plain = plain_from_summary(summary)
        plain["order"] = {
            "sentences": sentences_from_orders(orders, summary),
            "by_metric": plain_from_orders(orders),
            "why": why,
        }
        _write_text(outputs.json, json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    if outputs.csv_dir is not None:
        _write_text(outputs.csv_dir / "table1.csv", table_1_csv(summary))
        _write_text(outputs.csv_dir / "table2.csv", table_2_csv(summary))
    if outputs.out is not None:
        named = outputs.out.suffix == ".md"
        folder, file = (outputs.out.with_suffix(""), outputs.out) if named else (outputs.out, outputs.out / "report.md")
        _make_folder(folder)
        pictures = draw_figures(measured, folder, describe_origin(summary).split(".")[0].replace("`", ""))
        linked = {
            quote((folder / name).relative_to(file.parent).as_posix()): caption for name, caption in pictures.items()
        }
        _write_text(file, report_markdown(summary, why, linked))
    return report_markdown(summary, why, {})


def _read_text(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError.of(f"--why {path}", str(error), "a text file", "Check the path.") from error


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        rule = "a folder that can be made"
        raise InputError.of(str(path), error.strerror or str(error), rule, "Give another path.") from error


def _write_text(path: Path, text: str) -> None:
    _make_folder(path.parent)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        rule = "a file that can be written"
        raise InputError.of(str(path), error.strerror or str(error), rule, "Give another path.") from error
