# SPDX-License-Identifier: Apache-2.0
"""The curve over a setting: one run a value, resumed where it stopped, scores in a table, points where they belong."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.sweep import BLUE, curve_picture, main


def test_a_curve_of_two_values(crops_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "network: {name: paper, encoder_widths: [4, 6], decoder_widths: [6, 4]}\n"
        "task: {name: cgan, discriminator: {widths: [4, 6]}}\n"
        f"data: {{cache_dir: {tmp_path / 'cache'}, processes: 1, validation_frames: 2}}\n"
        "augment: {enabled: false}\noptimizer: {lr: 0.05, warmup_steps: 0}\n"
        "loop: {steps: 2, batch_size: 2, accelerator: cpu, threads: 1}\n"
    )
    out = tmp_path / "curve"
    command = ["--config", str(config), "--data", str(crops_root), "--out", str(out), "--key", "task.lambda_mse"]
    assert main([*command, "--values", "0.1", "0.001"]) == 0
    with (out / "curve.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["task.lambda_mse"]) for row in rows] == [0.001, 0.1]
    assert len({row["offset_free_mm"] for row in rows}) == 2
    assert cv2.imread(str(out / "curve.png")).shape == (360, 640, 3)
    first = (out / "task.lambda_mse=0.1" / "last.pt").stat().st_mtime_ns
    assert main([*command, "--values", "0.1", "0.001", "0.01", "--score", "absolute_mm"]) == 0
    assert (out / "task.lambda_mse=0.1" / "last.pt").stat().st_mtime_ns == first  # done before: not trained again
    assert len(capsys.readouterr().out.strip().splitlines()) == 5


def test_whole_numbers_stay_whole(crops_root: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "network: {name: paper, encoder_widths: [4, 6], decoder_widths: [6, 4]}\ntask: {name: autoencoder}\n"
        f"data: {{cache_dir: {tmp_path / 'cache'}, processes: 1, validation_frames: 2}}\n"
        "augment: {enabled: false}\nloop: {steps: 1, batch_size: 2, accelerator: cpu, threads: 1}\n"
    )
    command = ["--config", str(config), "--data", str(crops_root), "--out", str(tmp_path / "o")]
    assert main([*command, "--key", "loop.batch_size", "--values", "1", "2"]) == 0
    assert main([*command, "--key", "optimizer.lr", "--values", "3e-05"]) == 0


def test_wrong_settings_end_before_the_data_is_opened(tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text("network: {name: paper}\ntask: {name: cgan}\n")
    command = ["--config", str(config), "--data", "nowhere", "--out", str(tmp_path / "o"), "--key", "task.lambda_mse"]
    assert main([*command, "--values", "much"]) == 2
    assert main([*command, "--values", "-1"]) == 2
    assert main([*command, "--values", "1", "--score", "beauty"]) == 2
    assert main([*command[:-1], "task.lambda", "--values", "1"]) == 2
    assert not (tmp_path / "o").exists()


def test_points_of_the_curve_lie_where_their_scores_are() -> None:
    picture = curve_picture([0.001, 0.01, 0.1], [3.0, 1.0, 2.0], "task.lambda_mse", "error")
    blue = np.argwhere((picture == BLUE).all(axis=2))
    lowest = blue[blue[:, 0].argmax()]
    highest = blue[blue[:, 0].argmin()]
    assert highest[1] < lowest[1]
    left, right = blue[:, 1].min(), blue[:, 1].max()
    assert lowest[1] == pytest.approx((left + right) / 2, abs=6)  # the axis is logarithmic
