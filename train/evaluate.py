# SPDX-License-Identifier: Apache-2.0
"""Measures models beside the trivial answers: `python -m train.evaluate --model PATH --data DIR --split test`."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from facedepth_edge.errors import InputError
from train.command import Outcome, require_counts, run_command, write_json
from train.data.command_line import add_reading_arguments, open_set
from train.data.frame_source import SPLITS
from train.data.packed import PackedSet
from train.face_ellipse import face_ellipse
from train.metrics import METRICS, ScoreSheet
from train.predictors import Predictor, predictor_from_file, predictors_from_model, trivial_answers
from train.validation import batches_of, score_batch, spread_indices

COLUMNS = {
    "answered": "answered",
    "offset_free_mm": "after offset (mm)",
    "absolute_mm": "absolute (mm)",
    "correlation": "correlation",
    "mask_iou": "mask IoU",
    "validity_right": "validity right",
}
PLACES = {"offset_free_mm": 2, "absolute_mm": 2}


def evaluate(
    data: PackedSet,
    split: str,
    predictors: dict[str, Predictor],
    external: dict[str, Predictor] | None = None,
    count: int | None = None,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Measure predictors on a split.

    Args:
        data: The packed set.
        split: train, val or test.
        predictors: Name to predictor; answers for every pixel.
        external: Name to predictor that may lack pixels or frames. Each is measured on its own pixels, and each of
            `predictors` once more on the same pixels, so that the two can be compared.
        count: Most frames, spread over the split; all when None.
        progress: Show a progress bar on stderr.

    Returns:
        One row a predictor and region: `name`, `region`, `frames`, `answered` (the share of frames with a measured head
        that got an answer), and the means of METRICS over the frames that have them. The regions are the head, the
        face (what of it lies in the ellipse of face_ellipse.py), and the pixels of each of `external`.
    """
    data.require_runtimes_reach()
    external = external or {}
    indices = spread_indices(data, split, count)
    sheets: dict[tuple[str, str], ScoreSheet] = {}
    heads = 0
    with tqdm(total=len(indices), desc="measuring", unit="frame", disable=not progress) as bar:
        for chosen, batch in batches_of(data, indices):
            heads += int(((batch.valid & batch.head).sum(dim=(1, 2, 3)) > 0).sum())
            answers = {name: predict(chosen, batch) for name, predict in {**predictors, **external}.items()}
            ellipse = np.broadcast_to(face_ellipse(*batch.depth.shape[-2:]), tuple(batch.depth.shape))
            pixels = {"head": None, "face": ellipse}
            pixels |= {name: np.isfinite(answers[name]["depth"]) for name in external}
            for region, known in pixels.items():
                for name, outputs in answers.items():
                    if name in external and name != region:
                        continue
                    if known is not None:
                        outputs = {"depth": outputs["depth"]}
                    sheet = sheets.setdefault((name, region), ScoreSheet())
                    score_batch(sheet, outputs, batch, known)
            bar.update(len(chosen))
    rows = []
    for (name, region), sheet in sheets.items():
        answered = int(np.isfinite(sheet.column("absolute_mm")).sum()) / max(heads, 1)
        rows.append({"name": name, "region": region, "frames": len(indices), "answered": answered, **sheet.summary()})
    return rows


def table_from_rows(rows: list[dict[str, Any]]) -> str:
    """Return rows as a Markdown table."""
    lines = ["| predictor | over | " + " | ".join(COLUMNS.values()) + " |", "|---|---|" + "---|" * len(COLUMNS)]
    for row in rows:
        cells = [row["name"], row["region"]]
        for key in COLUMNS:
            value = row.get(key, math.nan)
            cells.append("-" if math.isnan(value) else f"{value:.{PLACES.get(key, 3)}f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m train.evaluate", description="Measure depth models on a data set.")
    parser.add_argument("--model", type=Path, action="append", default=[], help="checkpoint or artifact; repeatable")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--count", type=int, help="most frames, spread over the split (default: all)")
    parser.add_argument("--predictions", action="append", default=[], metavar="NAME=FILE",
                        help=".npz of another program's predictions; repeatable")  # fmt: skip
    parser.add_argument("--json", type=Path, help="write the rows there too")
    add_reading_arguments(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure as the command line says.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    args = parse_arguments(arguments)

    def work() -> Outcome:
        require_counts(args, "count")
        data = open_set(args.data, args)
        predictors: dict[str, Predictor] = {}
        if data.shows("train"):
            trivial = trivial_answers(data)
            predictors["constant plane"] = trivial.plane_predictor
            predictors["mean face of the training set"] = trivial.mean_face_predictor
        else:
            print("The set has no training frames: no mean face to compare with.", file=sys.stderr)
        for path in args.model:
            predictors.update(predictors_from_model(path))
        external = {}
        for text in args.predictions:
            name, separator, file = text.partition("=")
            if not separator or not name or name in predictors:
                fix = "For example mesh=mesh.npz."
                raise InputError.of("--predictions", text, "NAME=FILE, the name not taken", fix)
            external[name] = predictor_from_file(Path(file), data)
        rows = evaluate(data, args.split, predictors, external, args.count)
        about = {"data": args.data.resolve().name, "split": args.split, "key": data.key}
        write_json(args.json, {**about, "metrics": list(METRICS), "rows": rows})
        title = f"{about['data']}, split {args.split}, {rows[0]['frames']} frames; every frame counts the same"
        return Outcome(f"{title}\n\n{table_from_rows(rows)}")

    return run_command("python -m train.evaluate", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
