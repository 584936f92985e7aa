# SPDX-License-Identifier: Apache-2.0
"""Measuring over time: the lag of a known delay, the table, and a whole run on the stand-in head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facedepth_edge import Camera, ConfigError, DepthResult, EdgeDepth
from tests.train.synth.head_fixture import write_head
from train import stability
from train.stability import Stability, lag_frames, main, measure_subject, table
from train.synth.dataset import SetConfig, Studio


@pytest.mark.parametrize("lag", [0.0, 0.4, 1.0, 2.25])
def test_a_known_delay_is_found(lag: float) -> None:
    times = np.arange(60)
    phase = np.linspace(0, 1, 12).reshape(3, 4)

    def series(at: np.ndarray) -> np.ndarray:
        return np.sin(0.11 * at[:, None, None] + phase)

    where = np.ones((3, 4), bool)
    assert lag_frames(series(times - lag), series(times), where, 5) == pytest.approx(lag, abs=0.051)


def test_too_short_a_recording_is_told() -> None:
    maps, where = np.zeros((8, 2, 2)), np.ones((2, 2), bool)
    for first in (0, 2, 8):
        with pytest.raises(ConfigError, match=f"first: got {first}, expected 3 to below"):
            lag_frames(maps, maps, where, first)


def test_the_table_has_mean_and_worst() -> None:
    found = [Stability((2.0, 0.5), 0.25, (5.0, 5.5)), Stability((4.0, 1.5), 0.75, (7.0, 7.5))]
    lines = table(found).splitlines()
    assert lines[2].endswith("| 3.00 (4.00) | 1.00 (1.50) |")
    assert lines[3].endswith("| 6.00 (7.00) | 6.50 (7.50) |")
    assert lines[4].endswith("| 0.00 (0.00) | 0.50 (0.75) |")


class Perfect(EdgeDepth):
    """Knows the rendered depth and adds noise of its own to it."""

    def __init__(self, model: EdgeDepth, truth: list, noise_mm: float) -> None:
        self.__dict__.update(model.__dict__)
        self._truth, self._noise_mm, self._calls = truth, noise_mm, 0
        self._rng = np.random.default_rng(3)

    def predict(self, frame: np.ndarray, head_center: tuple[float, float], **located: float) -> DepthResult:
        result = super().predict(frame, head_center, **located)
        shot = self._truth[min(self._calls // 2, len(self._truth) - 1)]  # alone and through the stream
        self._calls += 1
        x, y = (np.floor(c).astype(int) for c in result.pixel_centers())
        height, width = shot.depth_mm.shape
        depth = shot.depth_mm[np.ix_(y.clip(0, height - 1), x.clip(0, width - 1))]
        result.depth_mm = (depth + self._rng.normal(0, self._noise_mm, depth.shape)).astype(np.float32)
        result.relative = (result.depth_mm - np.float32(result.distance_mm)) / np.float32(160)
        result.mask[:] = True
        result.valid = True
        return result


def test_a_model_that_knows_the_truth_has_the_noise_that_was_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stability, "STILL_FRAMES", 24)
    monkeypatch.setattr(stability, "TURN_FRAMES", 14)
    monkeypatch.setattr(stability, "SIZE_HW", (108, 144))
    monkeypatch.setattr(stability, "FOCAL_PX", 140.0)
    config = SetConfig(seed=3, train_subjects=1, val_subjects=0, test_subjects=1)
    studio = Studio(config, write_head(tmp_path / "head.npz"), None)
    shots: list = []
    record = stability._record

    def kept(*arguments: object) -> list:
        taken = record(*arguments)  # type: ignore[arg-type]
        shots.extend([taken[0]] * stability.STILL_FRAMES + taken[1:])
        return taken

    monkeypatch.setattr(stability, "_record", kept)
    with EdgeDepth(camera=Camera(140, 140)) as model:
        found = measure_subject(Perfect(model, shots, 2.0), studio, 2)
    assert found.still_mm[0] == pytest.approx(2.0 * 2**0.5, rel=0.1)  # the difference of two frames
    assert found.still_mm[1] < 0.6 * found.still_mm[0]
    assert found.error_mm[0] == pytest.approx(2.0 * (2 / np.pi) ** 0.5, rel=0.1)
    assert 0 <= found.lag_frames <= 3


def test_wrong_usage_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = write_head(tmp_path / "head.npz")
    assert main(["--head", str(head), "--subjects", "99"]) == 1
    assert "--subjects: got 99, expected 1 to 20" in capsys.readouterr().err
