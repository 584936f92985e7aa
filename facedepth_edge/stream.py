# SPDX-License-Identifier: Apache-2.0
"""DepthStream: the frames of one camera and one person in, a depth that does not tremble out.

The filter is the 1 Euro filter (G. Casiez, N. Roussel, D. Vogel, CHI 2012), on the network's relative depth, which lies
in the box and so moves with the head, and on the head's distance. It smooths much while the head is still and little
while it moves. Ours: one speed, the head's mean, sets the cutoff for all pixels; a pixel that jumps, as at the
silhouette, is taken as it is.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from facedepth_edge.api import EdgeDepth
from facedepth_edge.box import Box
from facedepth_edge.errors import ConfigError, InputError, UnmeasuredHead
from facedepth_edge.head import HELD, NOMINAL
from facedepth_edge.result import DepthResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facedepth_edge.argument_types import Frame, Number, Point

SPEED_CUTOFF_HZ = 1.0  # of the low-pass on the speed, as in the paper of the filter
LEAST_OVERLAP = 0.3  # of two boxes, intersection over union: below it is another head, or one that was lost
WARN_AFTER = 5  # frames in a row, each too late after the one before to be filtered
LEAST_GAP_S = 1e-4  # between two frames; nearer ones are the same frame twice, or stamps in another unit
MOST = 1e6  # of a setting
MOST_SECONDS = 1e11  # of a time stamp: beyond it doubles do not tell frames apart


@dataclass(frozen=True)
class StreamConfig:
    """How a stream is filtered.

    Args:
        still_cutoff_hz: cutoff frequency for a head at rest: lower is steadier.
        cutoff_per_speed: Hz that the cutoff rises for each mm/s of the head's mean change of depth: higher lags less.
        distance_cutoff_per_speed: the same of the distance's filter, for each mm/s that the head comes or goes. Lower,
            because a distance that is measured anew for each frame is noisier.
        jump_mm: a pixel that changes by more from what was filtered is taken as it is.
        longest_gap_s: after a longer pause between two frames the filter starts anew: with the default nothing is
            filtered at less than 2 frames a second. A distance is held for as long, for frames that bring none.

    Raises:
        ConfigError: a value is not a finite number above 0.
    """

    still_cutoff_hz: float = 0.8
    cutoff_per_speed: float = 0.25
    distance_cutoff_per_speed: float = 0.02
    jump_mm: float = 12.0
    longest_gap_s: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            number = isinstance(value, Real) and not isinstance(value, (bool, np.timedelta64))
            if not number or not 0 < value <= MOST:
                rule = f"a number above 0, up to {MOST:g}"
                raise ConfigError.of(f"StreamConfig.{name}", value, rule, "Leave it out for the default.")


@dataclass(frozen=True)
class _Track:
    """A signal so far, a number or a map; no array of it is changed in place."""

    measured: Any  # of the last frame
    filtered: Any
    speed: Any  # per second, low-passed

    def speed_at(self, measured: Any, gap_s: float) -> Any:
        """Return the speed with a new sample of the signal."""
        return _towards(self.speed, (measured - self.measured) / gap_s, _amount(SPEED_CUTOFF_HZ, gap_s))


@dataclass(frozen=True)
class _State:
    time_s: float
    box: Box
    relative: _Track
    distance_mm: _Track
    distance_s: float  # when the distance's track had its last sample; a frame that brought none adds none
    nominal: bool  # the distance's track is of the camera's nominal one


@dataclass(frozen=True)
class _Clock:
    """Of the last frame, whether it was valid or not."""

    time_s: float
    own: bool  # the time is this machine's, not the caller's


@dataclass(frozen=True)
class _Known:
    """The last distance that a frame brought, for frames that bring none."""

    distance_mm: float
    time_s: float
    box: Box  # of the last frame with it


class DepthStream:
    """Filter the depth of one head over time.

    Not for several threads at once, and one stream a person. Frames may come at any rate: the filter goes by their
    times.

    Args:
        model: the model that predicts; it stays the caller's, who closes it.
        config: the filter's settings.
    """

    def __init__(self, model: EdgeDepth, config: StreamConfig | None = None) -> None:
        if not isinstance(model, EdgeDepth):
            raise ConfigError.of("model", f"a {type(model).__name__}", "an EdgeDepth", "Give EdgeDepth().")
        self._model = model
        if config is not None and not isinstance(config, StreamConfig):
            fix = "Give StreamConfig() or leave it out."
            raise ConfigError.of("config", f"a {type(config).__name__}", "a StreamConfig", fix)
        self._config = StreamConfig() if config is None else config
        self._state: _State | None = None
        self._clock: _Clock | None = None
        self._known: _Known | None = None
        self._late_frames = 0  # in a row, of one recording
        self._warned = False

    def predict(
        self,
        frame: Frame,
        head_center: Point,
        *,
        distance_mm: Number | None = None,
        depth: NDArray[Any] | None = None,
        head_width_px: Number | None = None,
        time_s: float | None = None,
    ) -> DepthResult:
        """Estimate the depth of the next frame's face.

        A frame without distance_mm, depth and head_width_px, or with a depth image that has only holes at the head,
        keeps the stream's distance where a frame at most the configuration's longest_gap_s before brought one; the
        result's distance_source is then "held".

        Args:
            frame: as for EdgeDepth.predict().
            head_center: as for EdgeDepth.predict().
            distance_mm: as for EdgeDepth.predict().
            depth: as for EdgeDepth.predict().
            head_width_px: as for EdgeDepth.predict().
            time_s: when the frame was taken, in seconds from any start (a camera's milliseconds over 1000; of a video
                file cv2.CAP_PROP_POS_MSEC over 1000); LEAST_GAP_S or more after the one before. None: now, for all
                frames of the stream or none. Only a live camera may leave it out: a recording is read faster than it
                was taken.

        Returns:
            The result, with `relative`, `distance_mm` and so `depth_mm` filtered; mask, box and validity are the
            frame's own. A result that is not valid is not filtered, and the next one starts anew.

        Warns:
            RuntimeWarning: once, where WARN_AFTER frames in a row came later than the configuration's longest_gap_s, so
                that nothing was filtered: mostly times in another unit.

        Raises:
            InputError: an argument breaks a rule; time_s is not later than the last frame's, or one frame has a time
                and another has not.
            ConfigError: the model is closed.
        """
        distances = {"distance_mm": distance_mm, "depth": depth, "head_width_px": head_width_px}
        now = self._time(time_s)
        return self._take(self._predict(frame, head_center, distances, now), now, time_s is None)

    def update(self, result: DepthResult, *, time_s: float | None = None) -> DepthResult:
        """Filter a result that was predicted elsewhere, such as this person's of predict_batch().

        Args:
            result: of the next frame, by the stream's model; it stays as it is, and may be overwritten afterwards.
            time_s: as for predict().

        Returns:
            As predict() returns it; a distance that the frame did not bring is not held.

        Warns:
            RuntimeWarning: as predict().

        Raises:
            InputError: it is no result of the model's size, or a stream has filtered it; or the time breaks a rule.
        """
        size_hw = self._model.spec.output_hw
        if not isinstance(result, DepthResult) or result.relative.shape != size_hw or result.distance_source == HELD:
            got = f"a {type(result).__name__}"
            if isinstance(result, DepthResult):
                got = f"a map of {result.relative.shape} with a distance from {result.distance_source!r}"
            rule = f"a DepthResult of {size_hw} as predict_batch() returns it"
            raise InputError.of("result", got, rule, "Give a result of the stream's model.")
        if result.filtered:
            rule = "a DepthResult as predict_batch() returns it"
            raise InputError.of("result", "a result of a stream's", rule, "It is filtered already: use it as it is.")
        now = self._time(time_s)
        own = replace(
            result,
            depth_mm=result.depth_mm.copy(),
            relative=result.relative.copy(),
            mask=result.mask.copy(),
            timings_ms=dict(result.timings_ms),
        )
        return self._take(own, now, time_s is None)

    def reset(self) -> None:
        """Forget the frames so far: the next is taken as it is."""
        self._state, self._clock, self._known, self._late_frames = None, None, None, 0

    def _predict(self, frame: Frame, head_center: Point, distances: dict[str, Any], now: float) -> DepthResult:
        """Predict; a frame that brings no distance takes the last one, as long as it is fresh and of the same head."""
        known, unmeasured = self._known, None
        if known is None or not 0 <= now - known.time_s <= self._config.longest_gap_s:
            return self._model.predict(frame, head_center, **distances)
        if any(value is not None for value in distances.values()):
            try:
                return self._model.predict(frame, head_center, **distances)
            except UnmeasuredHead as error:
                unmeasured = error
        with_known = {**distances, "depth": None, "distance_mm": known.distance_mm}
        result = self._model.predict(frame, head_center, **with_known)
        if known.box.overlap(result.box) >= LEAST_OVERLAP:
            return replace(result, distance_source=HELD)
        if unmeasured is not None:  # another head, of whose distance nothing is known
            raise unmeasured
        return self._model.predict(frame, head_center, **distances)

    def _take(self, result: DepthResult, now: float, own_clock: bool) -> DepthResult:
        """Return a frame's result with its depth filtered, and keep what the next frame is filtered with."""
        if self._state is not None and result.valid:
            self._count_late(now - self._state.time_s)
        self._state, result = self._filter(self._state, result, now)
        self._clock = _Clock(now, own_clock)
        if result.distance_source == HELD:
            assert self._known is not None, "what was held is known"
            self._known = replace(self._known, box=result.box)
        elif result.distance_source == NOMINAL:
            self._known = None
        else:
            self._known = _Known(float(result.distance_mm), now, result.box)
        return result

    def _filter(self, state: _State | None, result: DepthResult, now: float) -> tuple[_State | None, DepthResult]:
        """Return the state after a frame, and its result with the depth filtered; one that is not valid as it is."""
        if not result.valid:
            return None, result
        config, scale = self._config, self._model.spec.depth_scale.half_range_mm
        measured, distance_mm = result.relative, float(result.distance_mm)
        if state is None or now - state.time_s > config.longest_gap_s or state.box.overlap(result.box) < LEAST_OVERLAP:
            relative = _Track(measured, measured, np.zeros_like(measured))
            distance, distance_s = _Track(distance_mm, distance_mm, 0.0), now
        else:
            gap = now - state.time_s
            speed = state.relative.speed_at(measured, gap)
            moving_mm = float(np.abs(speed[result.mask]).mean()) * scale if result.mask.any() else 0.0
            amount = _amount(config.still_cutoff_hz + config.cutoff_per_speed * moving_mm, gap)
            old = state.relative.filtered
            jumps = np.abs(measured - old) > np.float32(config.jump_mm / scale)
            relative = _Track(measured, np.where(jumps, measured, _towards(old, measured, amount)), speed)
            distance, distance_s = self._filter_distance(state, result, now)
        nominal = result.distance_source == NOMINAL
        after = _State(now, result.box, relative, distance, distance_s, nominal)
        filtered = relative.filtered.copy()  # the caller's; the track's own stays
        depth_mm = np.float32(distance.filtered) + filtered * np.float32(scale)
        distance_mm = distance.filtered
        return after, replace(result, relative=filtered, depth_mm=depth_mm, distance_mm=distance_mm, filtered=True)

    def _filter_distance(self, state: _State, result: DepthResult, now: float) -> tuple[_Track, float]:
        """Return the distance's track with a frame's own distance, and the time of its last sample."""
        config, distance_mm = self._config, float(result.distance_mm)
        if result.distance_source == HELD:
            return state.distance_mm, state.distance_s
        if state.nominal != (result.distance_source == NOMINAL):  # no head moved: one of the two is a guess
            return _Track(distance_mm, distance_mm, 0.0), now
        gap = now - state.distance_s
        coming = state.distance_mm.speed_at(distance_mm, gap)
        amount = _amount(config.still_cutoff_hz + config.distance_cutoff_per_speed * abs(coming), gap)
        return _Track(distance_mm, _towards(state.distance_mm.filtered, distance_mm, amount), coming), now

    def _count_late(self, gap_s: float) -> None:
        longest = self._config.longest_gap_s
        self._late_frames = self._late_frames + 1 if gap_s > longest else 0
        if self._late_frames == WARN_AFTER and not self._warned:
            self._warned = True
            text = (
                f"DepthStream: got {WARN_AFTER} frames in a row of which none was filtered, the last {gap_s:g} s after "
                f"the one before, expected at most {longest:g} s. Give time_s in seconds, or for so few frames "
                "StreamConfig(longest_gap_s=...)."
            )
            warnings.warn(text, RuntimeWarning, stacklevel=4)

    def _time(self, time_s: float | None) -> float:
        """Return the frame's time in seconds, checked against the last one's."""
        last = self._clock
        fix = "Give every frame its time stamp in seconds, or none; call reset() between two recordings."
        if last is not None and last.own != (time_s is None):
            raise InputError.of("time_s", time_s, "a time for all frames of a stream or for none", fix)
        if time_s is None:
            now = time.monotonic()
            return now if last is None else max(now, last.time_s + LEAST_GAP_S)
        seconds = _seconds(time_s)
        if not -MOST_SECONDS < seconds < MOST_SECONDS:
            raise InputError.of("time_s", time_s, "a number of seconds", fix)
        if last is not None and seconds < last.time_s + LEAST_GAP_S:
            rule = f"at least {LEAST_GAP_S:g} s later than the frame before ({last.time_s!r} s)"
            raise InputError.of("time_s", time_s, rule, fix)
        return seconds


def _seconds(value: Any) -> float:
    """Return a real number as a float, and NaN for anything else."""
    if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _amount(cutoff_hz: float, gap_s: float) -> float:
    """Return the weight of a new sample in a low-pass of the first order."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff_hz * gap_s))


def _towards(old: Any, new: Any, amount: float) -> Any:
    """Return a low-pass's next value; a float32 map stays float32."""
    return old + amount * (new - old)
