# SPDX-License-Identifier: Apache-2.0
"""DepthStream: a still head becomes steadier, a moving one does not lag, jumps and gaps are not smeared."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from facedepth_edge import (
    Camera,
    ConfigError,
    DepthResult,
    DepthStream,
    EdgeDepth,
    InputError,
    StreamConfig,
    UnmeasuredHead,
)
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
        self.distances_mm: dict[int, float] = {}
        self.nominal: set[int] = set()  # frames without a distance
        self.holes: set[int] = set()  # frames whose depth image has only holes at the head

    @property
    def spec(self) -> Any:
        class Spec:
            output_hw = (SIZE, SIZE)

            class depth_scale:  # noqa: N801
                half_range_mm = HALF_RANGE_MM

        return Spec

    def predict(self, frame: Any, head_center: Any, distance_mm: float | None = None, **_: Any) -> DepthResult:
        if distance_mm is None and self.count in self.holes:
            raise UnmeasuredHead("all holes")
        z = self._relative(self.count).astype(np.float32)
        source = "nominal" if self.count in self.nominal and distance_mm is None else "distance_mm"
        if distance_mm is None:
            distance_mm = 700.0 if source == "nominal" else self.distances_mm.get(self.count, 700.0)
        self.count += 1
        mask = np.zeros(z.shape, bool)
        mask[4:-4, 4:-4] = True
        depth_mm = np.float32(distance_mm) + z * np.float32(HALF_RANGE_MM)
        return DepthResult(
            depth_mm=depth_mm, relative=z, mask=mask, mask_source="model", box=self.box, head_center=(60.0, 60.0),
            distance_mm=distance_mm, distance_source=source, validity=0.9,
            valid=self.valid, reason="" if self.valid else "hidden", camera=Camera(100, 100), frame_hw=(120, 120),
        )  # fmt: skip


def face() -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    return (x**2 + y**2) * 0.3


def run(model: Scripted, frames: int, config: StreamConfig | None = None) -> list[DepthResult]:
    stream = DepthStream(model, config)
    return [stream.predict(None, (60.0, 60.0), time_s=i / FPS, head_width_px=1.0) for i in range(frames)]


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


def test_times_in_another_unit_are_warned_of_once() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 0.02, (40, SIZE, SIZE))
    stream = DepthStream(Scripted(lambda i: face() + noise[i]))
    rule = r"got 5 frames in a row of which none was filtered, the last 33 s .*expected at most 0.5 s.*in seconds"
    with pytest.warns(RuntimeWarning, match=rule) as caught:
        results = [stream.predict(None, (60.0, 60.0), time_s=33.0 * i) for i in range(30)]
    assert len(caught) == 1
    assert caught[0].filename == __file__
    np.testing.assert_allclose(results[20].relative, face() + noise[20], atol=1e-6)  # nothing filtered, as it says


def test_recordings_of_few_frames_are_not_warned_of() -> None:
    """Late frames count within a recording, and not from reset() to reset()."""
    stream = DepthStream(Scripted(lambda _: face()))
    for _ in range(8):
        stream.reset()
        for i in range(3):
            stream.predict(None, (60.0, 60.0), time_s=0.6 * i)


def test_the_warning_comes_once_and_frames_that_are_not_valid_do_not_stop_it() -> None:
    model = Scripted(lambda _: face())
    stream = DepthStream(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(40):
            model.valid = i % 3 != 0
            stream.predict(None, (60.0, 60.0), time_s=33.0 * i)
        assert len(caught) == 1
        for i in range(40, 80):  # a frame in time between the late ones
            model.valid = True
            stream.predict(None, (60.0, 60.0), time_s=33.0 * i + (i % 7 == 0) * -32.9)
    assert len(caught) == 1


def test_single_pauses_are_not_warned_of() -> None:
    stream = DepthStream(Scripted(lambda _: face()))
    now = 0.0
    for i in range(40):
        now += 2.0 if i % 5 else 1 / FPS
        stream.predict(None, (60.0, 60.0), time_s=now)


def test_a_noisy_distance_is_steadied_and_an_approaching_head_followed() -> None:
    rng = np.random.default_rng(8)
    still = Scripted(lambda _: face())
    still.distances_mm = {i: 700 + rng.normal(0, 5) for i in range(120)}
    seen = [r.distance_mm for r in run(still, 120)]
    given = list(still.distances_mm.values())
    assert np.std(np.diff(seen[30:])) < 0.4 * np.std(np.diff(given[30:]))
    assert np.mean(seen[30:]) == pytest.approx(700, abs=2)
    coming = Scripted(lambda _: face())
    coming.distances_mm = {i: 900 - 300 * i / FPS for i in range(40)}  # 300 mm/s
    results = run(coming, 40)
    for i in range(20, 40):
        assert abs(results[i].distance_mm - coming.distances_mm[i]) <= 300 / FPS  # less than a frame behind
        expected = results[i].distance_mm + 160 * results[i].relative
        np.testing.assert_allclose(results[i].depth_mm, expected, rtol=1e-6)


def iou_box(share: float) -> Box:
    """Return a box whose overlap with (10, 10, 110, 110) has this intersection over union."""
    shift = 100 * (1 - share) / (1 + share)
    return Box(10.0 + shift, 10.0, 110.0 + shift, 110.0)


@pytest.mark.parametrize(("change", "goes_on"), [
    (0.35, True), (0.25, False), (("gap", 0.45), True), (("gap", 0.55), False),
])  # fmt: skip
def test_what_counts_as_the_same_head(change: float | tuple[str, float], goes_on: bool) -> None:
    model = Scripted(lambda i: face() + (0.02 if i >= 10 else 0.0))
    stream = DepthStream(model)
    for i in range(10):
        stream.predict(None, (60.0, 60.0), time_s=i / FPS)
    now = 10 / FPS
    if isinstance(change, tuple):
        now = 9 / FPS + change[1]
    else:
        model.box = iou_box(change)
    result = stream.predict(None, (60.0, 60.0), time_s=now)
    assert bool(np.allclose(result.relative, face() + 0.02, atol=1e-5)) is not goes_on


def test_only_the_head_moves_the_cutoff() -> None:
    """A background that jumps about, beside a still head, must not let the head's noise through."""
    rng = np.random.default_rng(9)
    noise = rng.normal(0, 1.5 / HALF_RANGE_MM, (60, SIZE, SIZE))
    restless = rng.uniform(-0.06, 0.06, 60)

    def depth(i: int, background: float) -> np.ndarray:
        z = face() + noise[i]
        z[:4] += background
        return z

    def trembling(moving: bool) -> float:
        results = run(Scripted(lambda i: depth(i, restless[i] if moving else 0.0)), 60)
        maps = np.array([r.relative for r in results[20:]])
        return float(np.diff(maps, axis=0)[:, results[0].mask].std())

    assert trembling(True) == pytest.approx(trembling(False), rel=1e-5)


def test_the_edge_of_a_jump() -> None:
    config = StreamConfig(jump_mm=10.0)
    for step_mm, taken in ((9.0, False), (11.0, True)):
        results = run(Scripted(lambda i, s=step_mm: face() + (s / 160 if i >= 5 else 0.0)), 6, config)
        assert bool(np.allclose(results[5].relative, face() + step_mm / 160, atol=1e-6)) is taken


def test_settings_take_any_real_number() -> None:
    for value in (np.float32(1.5), np.int64(2), 3):
        assert StreamConfig(still_cutoff_hz=value).still_cutoff_hz == value


def test_a_lower_cutoff_is_steadier() -> None:
    rng = np.random.default_rng(10)
    noise = rng.normal(0, 0.01, (60, SIZE, SIZE))

    def trembling(cutoff_hz: float) -> float:
        results = run(Scripted(lambda i: face() + noise[i]), 60, StreamConfig(still_cutoff_hz=cutoff_hz))
        return float(np.diff([r.relative for r in results[20:]], axis=0).std())

    assert trembling(0.4) < trembling(0.8) < trembling(1.6)


WRONG_TIMES = {
    "nan": math.nan, "inf": math.inf, "bool": True, "text": "1", "huge": 10**400, "span": np.timedelta64(1, "s"),
    "complex": np.complex64(1),
}  # fmt: skip


@pytest.mark.parametrize("time_s", WRONG_TIMES.values(), ids=WRONG_TIMES)
def test_wrong_times_are_named(time_s: object) -> None:
    stream = DepthStream(Scripted(lambda _: face()))
    with pytest.raises(InputError, match="time_s: got"):
        stream.predict(None, (60.0, 60.0), time_s=time_s)  # type: ignore[arg-type]


def test_what_breaks_a_rule_is_named() -> None:
    stream = DepthStream(Scripted(lambda _: face()))
    stream.predict(None, (60.0, 60.0), time_s=1763824000.25)
    for again in (1763824000.25, 1763824000.25 + 5e-5, 5.0):
        rule = r"expected at least 0.0001 s later than the frame before \(1763824000.25 s\)"
        with pytest.raises(InputError, match=rule):
            stream.predict(None, (60.0, 60.0), time_s=again)
    with pytest.raises(InputError, match="a time for all frames of a stream or for none"):
        stream.predict(None, (60.0, 60.0))
    stream.reset()
    assert stream.predict(None, (60.0, 60.0)).valid  # now by this machine's clock
    for value in (0, -1.0, math.nan, math.inf, True, "3", 10**400, np.timedelta64(3, "ns")):
        with pytest.raises(ConfigError, match=r"StreamConfig.jump_mm: got .*, expected a number above 0"):
            StreamConfig(jump_mm=value)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="config: got a dict, expected a StreamConfig"):
        DepthStream(Scripted(lambda _: face()), {"jump_mm": 3})  # type: ignore[arg-type]
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


def test_results_of_a_batch_are_filtered_as_the_stream_s_own() -> None:
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 2 / HALF_RANGE_MM, (20, SIZE, SIZE))
    own = run(Scripted(lambda i: face() + noise[i]), 20)
    elsewhere, stream = Scripted(lambda i: face() + noise[i]), DepthStream(Scripted(lambda _: face()))
    for i, expected in enumerate(own):
        result = elsewhere.predict(None, (60.0, 60.0))
        before = result.depth_mm.copy()
        found = stream.update(result, time_s=i / FPS)
        np.testing.assert_array_equal(found.depth_mm, expected.depth_mm)
        np.testing.assert_array_equal(result.depth_mm, before)
        result.relative.fill(9)  # as predict(out=result) overwrites it
    with pytest.raises(InputError, match=r"time_s: got 0\.0"):
        stream.update(result, time_s=0.0)


def test_only_results_of_the_model_are_filtered() -> None:
    stream = DepthStream(Scripted(lambda _: face()))
    with pytest.raises(InputError, match=r"result: got a ndarray, expected a DepthResult of \(24, 24\)"):
        stream.update(face(), time_s=0.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"result: got a map of \(12, 24\)"):
        stream.update(Scripted(lambda _: face()[:12]).predict(None, (60.0, 60.0)), time_s=0.0)


@pytest.mark.parametrize("again", [7.0, 3.0, 7.00005])
def test_time_runs_on_over_a_frame_that_is_not_valid(again: float) -> None:
    model = Scripted(lambda _: face())
    stream = DepthStream(model)
    model.valid = False
    stream.predict(None, (60.0, 60.0), time_s=7.0)
    model.valid = True
    with pytest.raises(InputError, match=r"time_s: got .*, expected at least 0.0001 s later .* \(7.0 s\)"):
        stream.predict(None, (60.0, 60.0), time_s=again)
    with pytest.raises(InputError, match="a time for all frames of a stream or for none"):
        stream.predict(None, (60.0, 60.0))
    stream.reset()
    assert stream.predict(None, (60.0, 60.0), time_s=again).valid


def test_a_refused_frame_leaves_the_clock_as_it_was() -> None:
    model = Scripted(lambda _: face())
    model.holes = {1}
    stream = DepthStream(model)
    stream.update(model.predict(None, (60.0, 60.0)), time_s=1.0)
    with pytest.raises(UnmeasuredHead):
        stream.predict(None, (60.0, 60.0), time_s=2.0)
    assert stream.predict(None, (60.0, 60.0), time_s=2.0, distance_mm=700.0).valid


def test_own_times_rise_over_frames_that_are_not_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facedepth_edge.stream.time.monotonic", lambda: 5.0)  # a clock with coarse ticks
    model = Scripted(lambda _: face())
    stream = DepthStream(model)
    for valid in (True, True, False):
        model.valid = valid
        stream.predict(None, (60.0, 60.0))
    with pytest.raises(InputError, match="a time for all frames"):
        stream.predict(None, (60.0, 60.0), time_s=9.0)


@pytest.mark.parametrize("valid", [True, False])
def test_what_update_returns_shares_nothing_with_what_it_was_given(valid: bool) -> None:
    model = Scripted(lambda _: face())
    model.valid = valid
    given = model.predict(None, (60.0, 60.0))
    given.timings_ms = {"total": 1.0}
    found = DepthStream(model).update(given, time_s=0.0)
    expected = {name: np.array(getattr(found, name)) for name in ("depth_mm", "relative", "mask")}
    for name in expected:
        getattr(given, name).fill(9)  # as predict(out=given) overwrites it
    given.timings_ms["total"] = 2.0
    for name, values in expected.items():
        np.testing.assert_array_equal(getattr(found, name), values)
    assert found.timings_ms == {"total": 1.0}


def test_what_a_stream_has_filtered_is_not_filtered_again() -> None:
    model = Scripted(lambda _: face())
    stream, other = DepthStream(model), DepthStream(model)
    predicted = stream.predict(None, (60.0, 60.0), time_s=0.0)
    updated = stream.update(model.predict(None, (60.0, 60.0)), time_s=0.1)
    for own in (predicted, updated, copy.copy(updated)):
        assert own.filtered
        for one in (stream, other):
            with pytest.raises(InputError, match=r"^result: got a result of a stream's, expected a DepthResult as"):
                one.update(own, time_s=0.2)
    model.valid = False
    unfiltered = stream.update(model.predict(None, (60.0, 60.0)), time_s=0.3)
    assert not unfiltered.filtered
    assert not stream.update(unfiltered, time_s=0.4).valid


def test_a_filtered_result_that_a_new_frame_overwrites_is_filtered_anew() -> None:
    demo = load_demo_frame()
    with EdgeDepth(camera=demo.camera) as edge:
        stream = DepthStream(edge)
        result = stream.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm, time_s=0.0)
        again = edge.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm, out=result)
        assert again is result
        assert not result.filtered
        assert stream.update(result, time_s=0.1).filtered


def test_a_copied_stream_goes_on_as_the_first_one() -> None:
    demo = load_demo_frame()
    given_mm = demo.distance_mm + 20
    with EdgeDepth(camera=demo.camera) as edge:
        stream = DepthStream(edge)
        stream.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm, time_s=0.0)
        copies = [copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))]
        expected = stream.predict(demo.frame, demo.head_center, distance_mm=given_mm, time_s=0.1)
        for other in copies:
            found = other.predict(demo.frame, demo.head_center, distance_mm=given_mm, time_s=0.1)
            assert found.distance_mm == expected.distance_mm != given_mm
            with pytest.raises(InputError, match="a result of a stream's"):
                other.update(found, time_s=0.2)
