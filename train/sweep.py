# SPDX-License-Identifier: Apache-2.0
"""Trains one config with several values of one setting, and keeps the curve of the validation scores.

`python -m train.sweep --config configs/paper.yaml --data DIR --out DIR --key task.lambda_mse --values 0.001 0.01 0.1`
trains one run a value, resumes those that were interrupted, and writes OUT/curve.csv and OUT/curve.png.
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
from pathlib import Path

import cv2
import numpy as np

from facedepth_edge.errors import ConfigError, InputError
from train.command import Outcome, reading_settings, run_command
from train.config import TrainConfig
from train.config_reader import dataclass_from_mapping, mapping_from_yaml

PLOT_HW = (360, 640)
MARGIN_PX = (24, 20, 56, 76)  # above, right, below, left of the curve
WHITE, BLACK, GRAY, BLUE = (255, 255, 255), (0, 0, 0), (210, 210, 210), (180, 90, 20)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.sweep", description="Train with several values of a setting."
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML file of settings")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and the curve")
    parser.add_argument("--key", required=True, help="the setting, e.g. task.lambda_mse")
    parser.add_argument("--values", nargs="+", required=True, help="its values")
    parser.add_argument("--score", default="offset_free_mm", help="the validation score that is drawn (%(default)s)")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
                        help="override another setting for all runs; repeatable")  # fmt: skip
    return parser.parse_args(arguments)


def curve_picture(values: list[float], scores: list[float], key: str, score: str) -> np.ndarray:
    """Draw a curve of scores over a setting; the setting's axis is logarithmic where all values are positive.

    Args:
        values: The setting's values, ascending.
        scores: One score each.
        key: The setting's name.
        score: The score's name.

    Returns:
        (360, 640, 3) uint8 BGR.
    """
    height, width = PLOT_HW
    above, right, below, left = MARGIN_PX
    image = np.full((height, width, 3), WHITE, np.uint8)
    x = np.log10(values) if min(values) > 0 else np.asarray(values, float)
    low, high = min(scores), max(scores)
    pad = max(0.1 * (high - low), 1e-6 * max(abs(high), 1.0))
    low, high = low - pad, high + pad
    across = (x - x.min()) / max(x.max() - x.min(), 1e-12)
    columns = np.round(left + across * (width - left - right)).astype(int)
    rows = np.round(above + (high - np.asarray(scores)) / (high - low) * (height - above - below)).astype(int)
    for tick in np.linspace(low, high, 5):
        row = round(above + (high - tick) / (high - low) * (height - above - below))
        cv2.line(image, (left, row), (width - right, row), GRAY, 1)
        _write(image, f"{tick:.4g}", (8, row + 4))
    points = list(zip(columns.tolist(), rows.tolist(), strict=True))
    cv2.polylines(image, [np.array(points, np.int32)], False, BLUE, 2, cv2.LINE_AA)
    for (column, row), value in zip(points, values, strict=True):
        cv2.circle(image, (column, row), 4, BLUE, -1, cv2.LINE_AA)
        _write(image, f"{value:g}", (max(column - 14, 2), height - below + 20))
    _write(image, key, (left, height - 10))
    _write(image, score, (8, 14))
    return image


def _write(image: np.ndarray, text: str, at: tuple[int, int]) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, BLACK, 1, cv2.LINE_AA)


def main(arguments: list[str] | None = None) -> int:
    """Train as the command line says.

    Returns:
        Exit status: 0 done, 1 failed, 2 wrong settings.
    """
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)

    def work() -> Outcome:
        from train.tasks import TASKS

        with reading_settings():
            values = _values(args.values)
            settings = [[*args.settings, f"{args.key}={value:.15g}"] for value in values]
            configs = [dataclass_from_mapping(TrainConfig, mapping_from_yaml(args.config, each)) for each in settings]
            scores = TASKS[configs[0].task.name].scores
            if args.score not in scores:
                raise ConfigError.of("--score", args.score, f"one of {', '.join(scores)}", "Choose one of these.")
        rows = _train_all(args, values, configs)
        with (args.out / "curve.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: f"{number:.6g}" for name, number in row.items()} for row in rows)
        heights = [row[args.score] for row in rows]
        cv2.imwrite(str(args.out / "curve.png"), curve_picture(values, heights, args.key, args.score))
        return Outcome("\n".join("\t".join(f"{name} {number:.4g}" for name, number in row.items()) for row in rows))

    return run_command("python -m train.sweep", arguments, work)


def _values(texts: list[str]) -> list[float]:
    try:
        return sorted({float(text) for text in texts})
    except ValueError as error:
        raise ConfigError.of("--values", " ".join(texts), "numbers", "Correct them.") from error


def _train_all(args: argparse.Namespace, values: list[float], configs: list[TrainConfig]) -> list[dict[str, float]]:
    from train.data.packed import open_packed_set  # after the config: a wrong one fails at once
    from train.loop import fit

    rows = []
    for value, config in zip(values, configs, strict=True):
        d = config.data
        data = open_packed_set(args.data, d.cache_dir, d.processes, reader=d.reader)
        result = fit(config, data, args.out / f"{args.key}={value:g}", resume=True)
        if args.score not in result.scores:
            rule = f"one that was measured: {', '.join(sorted(result.scores))}"
            raise InputError.of("--score", args.score, rule, "Choose one of these.")
        rows.append({args.key: value, **result.scores})
    return rows


if __name__ == "__main__":
    sys.exit(main())
