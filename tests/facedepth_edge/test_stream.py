# SPDX-License-Identifier: Apache-2.0
"""DepthStream: a still head becomes steadier, a moving one does not lag, jumps and gaps are not smeared."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from facedepth_edge import Camera, ConfigError, DepthResult, DepthStream, EdgeDepth, InputError, StreamConfig
from facedepth_edge.box import Box
from facedepth_edge.demo import load_demo_frame

FPS = 30.0
HALF_RANGE_MM = 160.0
SIZE = 24


class Scripted(EdgeDepth):
    """A model whose relative depth is a function of the frame's number; the head fills the middle of the box."""

    def __init__(self, relative: Callable[[int], np.ndarray]) -> None:
        self._relative, self.count = relative, 0
        self.box, self.valid = Box(10.0, 10.0, 110.0, 110.0), True

    @property
    def spec(self) -> Any:
        class Spec:
            class depth_scale:  # noqa: N801
                half_range_mm = HALF_RANGE_MM

        return Spec

    def predict(self, frame: Any, head_center: Any, **_: Any) -> DepthResult:
        z = self._relative(self.count).astype(np.float32)
        self.count += 1
        mask = np.zeros(z.shape, bool)
        mask[4:-4, 4:-4] = True
        return DepthResult(
            depth_mm=np.float32(700) + z * np.float32(HALF_RANGE_MM), relative=z, mask=mask, mask_source="model",
            box=self.box, head_center=(60.0, 60.0), distance_mm=700.0, distance_source="distance_mm", validity=0.9,
            valid=self.valid, reason="" if self.valid else "hidden", camera=Camera(100, 100), frame_hw=(120, 120),
        )  # fmt: skip


def face() -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    return (x**2 + y**2) * 0.3


def run(model: Scripted, frames: int, config: StreamConfig | None = None) -> list[DepthResult]:
    stream = DepthStream(model, config)
    return [stream.predict(None, (60.0, 60.0), time_s=i / FPS) for i in range(frames)]


def test_noise_of_a_still_head_falls_below_half() -> None:
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 1.5 / HALF_RANGE_MM, (90, SIZE, SIZE))
    results = run(Scripted(lambda i: face() + noise[i]), 90)
    raw = np.diff(noise[30:], axis=0) * HALF_RANGE_MM
    steady = np.diff([r.relative for r in results[30:]], axis=0) * HALF_RANGE_MM
    head = results[0].mask
    assert np.sqrt((steady[:, head] ** 2).mean()) < 0.5 * np.sqrt((raw[:, head] ** 2).mean())
    average = np.mean([r.relative for r in results[30:]], axis=0)
    assert np.abs(average - face()).max() * HALF_RANGE_MM < 1.5  # steadier, not moved


def test_a_moving_head_lags_by_less_than_a_frame() -> None:
    """A nod: every pixel's depth changes by up to 60 mm/s; the lag is the shift in time that fits best."""
    ramp = np.linspace(-1, 1, SIZE)[:, None] * np.ones(SIZE)

    def depth(time: float) -> np.ndarray:
        return face() + ramp * 0.3 * math.sin(2 * math.pi * 0.4 * time)

    results = run(Scripted(lambda i: depth(i / FPS)), 150)
    head = results[0].mask
    seen = np.array([r.relative[head] for r in results[30:]])
    lags = np.linspace(0, 3, 61)
    errors = [np.abs(seen - [depth((i - lag) / FPS)[head] for i in range(30, 150)]).mean() for lag in lags]
    assert lags[int(np.argmin(errors))] <= 1.0


def test_depth_in_mm_is_that_of_the_filtered_map_and_results_are_fresh() -> None:
    rng = np.random.default_rng(6)
    results = run(Scripted(lambda i: face() + rng.normal(0, 0.01, (SIZE, SIZE))), 3)
    for result in results:
        np.testing.assert_allclose(result.depth_mm, 700 + 160 * result.relative, rtol=1e-6)
        assert result.depth_mm.dtype == np.float32
    kept = results[1].relative.copy()
    results[2].relative[:] = 9
    np.testing.assert_array_equal(results[1].relative, kept)


def test_writing_into_a_result_does_not_change_the_stream() -> None:
    spoiled = DepthStream(Scripted(lambda i: face() + 0.001 * i))
    clean = DepthStream(Scripted(lambda i: face() + 0.001 * i))
    for i in range(4):
        a = spoiled.predict(None, (60.0, 60.0), time_s=i / FPS)
        b = clean.predict(None, (60.0, 60.0), time_s=i / FPS)
        np.testing.assert_array_equal(a.relative, b.relative)
        a.relative[:] = 5.0


def test_a_pixel_that_jumps_is_taken_as_it_is() -> None:
    def depth(i: int) -> np.ndarray:
        z = face()
        if i >= 5:
            z[:6] += 0.3  # 48 mm: the silhouette moved
        return z

    results = run(Scripted(depth), 6)
    np.testing.assert_allclose(results[5].relative[:6], depth(5)[:6], atol=1e-6)


@pytest.mark.parametrize("event", ["another head", "a pause", "not valid"])
def test_the_filter_starts_anew_after(event: str) -> None:
    model = Scripted(lambda i: face() + (0.02 if i >= 10 else 0.0))
    stream = DepthStream(model)
    for i in range(10):
        stream.predict(None, (60.0, 60.0), time_s=i / FPS)
    now = 10 / FPS
    if event == "another head":
        model.box = Box(300.0, 10.0, 400.0, 110.0)
    elif event == "a pause":
        now += 5.0
    else:
        model.valid = False
        lost = stream.predict(None, (60.0, 60.0), time_s=now)
        assert not lost.valid
        model.valid, now = True, now + 1 / FPS
    result = stream.predict(None, (60.0, 60.0), time_s=now)
    np.testing.assert_allclose(result.relative, face() + 0.02, atol=1e-6)


def test_what_breaks_a_rule_is_named() -> None:
    stream = DepthStream(Scripted(lambda _: face()))
    stream.predict(None, (60.0, 60.0), time_s=1.0)
    with pytest.raises(InputError, match=r"time_s: got 1.0, expected later than the frame before \(1 s\)"):
        stream.predict(None, (60.0, 60.0), time_s=1.0)
    with pytest.raises(InputError, match="time_s: got nan"):
        stream.predict(None, (60.0, 60.0), time_s=math.nan)
    with pytest.raises(ConfigError, match="out"):
        stream.predict(None, (60.0, 60.0), time_s=2.0, out=np.empty((SIZE, SIZE), np.float32))
    with pytest.raises(ConfigError, match=r"StreamConfig.jump_mm: got 0, expected a finite number above 0"):
        StreamConfig(jump_mm=0)
    with pytest.raises(ConfigError, match="model: got a str"):
        DepthStream("edge")  # type: ignore[arg-type]


def test_with_the_default_model() -> None:
    """The demo's still face under noise: the stream starts as predict() does, and is steadier from frame to frame."""
    rng = np.random.default_rng(7)
    demo = load_demo_frame()
    with EdgeDepth(camera=demo.camera) as model:
        stream = DepthStream(model)
        raw, steady = [], []
        for i in range(12):
            frame = np.clip(demo.frame + rng.normal(0, 12, demo.frame.shape), 0, 255).astype(np.uint8)
            single = model.predict(frame, demo.head_center, distance_mm=demo.distance_mm)
            result = stream.predict(frame, demo.head_center, distance_mm=demo.distance_mm, time_s=i / FPS)
            assert result.valid
            if i == 0:
                np.testing.assert_array_equal(result.depth_mm, single.depth_mm)
            raw.append(np.where(single.mask, single.depth_mm, np.nan))
            steady.append(np.where(single.mask, result.depth_mm, np.nan))
    assert np.nanstd(np.diff(steady[4:], axis=0)) < 0.6 * np.nanstd(np.diff(raw[4:], axis=0))
