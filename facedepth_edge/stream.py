# SPDX-License-Identifier: Apache-2.0
"""DepthStream: the frames of one camera and one person in, a depth that does not tremble out.

The filter is the 1 Euro filter (G. Casiez, N. Roussel, D. Vogel, CHI 2012) on the network's relative depth, which lies
in the box and so moves with the head. It smooths much while the head is still and little while it moves. Ours: one
speed, the head's mean, sets the cutoff for all pixels; a pixel that jumps, as at the silhouette, is taken as it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from facedepth_edge.api import EdgeDepth
from facedepth_edge.box import Box
from facedepth_edge.errors import ConfigError, InputError
from facedepth_edge.result import DepthResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPEED_CUTOFF_HZ = 1.0  # of the low-pass on the speed, as in the paper of the filter
LEAST_OVERLAP = 0.3  # of two boxes, intersection over union: below it is another head, or one that was lost


@dataclass(frozen=True)
class StreamConfig:
    """How a stream is filtered.

    Args:
        still_cutoff_hz: Cutoff frequency for a head at rest: lower is steadier.
        cutoff_per_speed: Hz that the cutoff rises for each mm/s of the head's mean change of depth: higher lags less.
        jump_mm: A pixel that changes by more from what was filtered is taken as it is.
        longest_gap_s: After a longer pause the filter starts anew.

    Raises:
        ConfigError: A value is not a finite number above 0.
    """

    still_cutoff_hz: float = 0.8
    cutoff_per_speed: float = 0.25
    jump_mm: float = 12.0
    longest_gap_s: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                fix = "Leave it out for the default."
                raise ConfigError.of(f"StreamConfig.{name}", value, "a finite number above 0", fix)


@dataclass
class _State:
    time_s: float
    box: Box
    measured: NDArray[np.float32]  # the last frame's relative depth as the network gave it
    filtered: NDArray[np.float32]
    speed: NDArray[np.float32]  # of relative depth, per second, low-passed


class DepthStream:
    """Filter the depth of one head over time.

    Not for several threads at once, and one stream a person. Frames may come at any rate: the filter goes by their
    times.

    Args:
        model: The model that predicts; it stays the caller's, who closes it.
        config: The filter's settings.
    """

    def __init__(self, model: EdgeDepth, config: StreamConfig | None = None) -> None:
        if not isinstance(model, EdgeDepth):
            raise ConfigError.of("model", f"a {type(model).__name__}", "an EdgeDepth", "Give EdgeDepth().")
        self._model = model
        self._config = StreamConfig() if config is None else config
        self._state: _State | None = None

    def predict(
        self, frame: NDArray[Any], head_center: Sequence[float], *, time_s: float | None = None, **located: Any
    ) -> DepthResult:
        """Estimate the depth of the next frame's face.

        Args:
            frame: As for EdgeDepth.predict().
            head_center: As for EdgeDepth.predict().
            time_s: When the frame was taken, in seconds from any start; later than the one before. None: now.
            located: distance_mm, depth or head_width_px, as for EdgeDepth.predict().

        Returns:
            The result, with `relative` and `depth_mm` filtered; mask, box, distance and validity are the frame's own. A
            result that is not valid is not filtered, and the next one starts anew.

        Raises:
            InputError: An argument breaks a rule; time_s is not later than the last frame's.
            ConfigError: The model is closed, or `out` was given.
        """
        if "out" in located:
            raise ConfigError.of("out", "an output", "none", "A stream's results are fresh; leave it out.")
        now = time.monotonic() if time_s is None else _checked_time(time_s, self._state)
        result = self._model.predict(frame, head_center, **located)
        if not result.valid:
            self.reset()
            return result
        scale = self._model.spec.depth_scale.half_range_mm
        filtered = self._filter(result, now, scale)
        depth_mm = np.float32(result.distance_mm) + filtered * np.float32(scale)
        return replace(result, relative=filtered, depth_mm=depth_mm)

    def reset(self) -> None:
        """Forget the frames so far: the next is taken as it is."""
        self._state = None

    def _filter(self, result: DepthResult, now: float, scale: float) -> NDArray[np.float32]:
        config, state, measured = self._config, self._state, result.relative
        gap = math.inf if state is None else now - state.time_s
        if state is None or not 0 < gap <= config.longest_gap_s or state.box.overlap(result.box) < LEAST_OVERLAP:
            self._state = _State(now, result.box, measured, measured.copy(), np.zeros_like(measured))
            return measured.copy()
        speed = (measured - state.measured) / np.float32(gap)
        state.speed += np.float32(_amount(SPEED_CUTOFF_HZ, gap)) * (speed - state.speed)
        moving_mm = float(np.abs(state.speed[result.mask]).mean()) * scale if result.mask.any() else 0.0
        amount = np.float32(_amount(config.still_cutoff_hz + config.cutoff_per_speed * moving_mm, gap))
        change = measured - state.filtered
        jumps = np.abs(change) > np.float32(config.jump_mm / scale)
        filtered = np.where(jumps, measured, state.filtered + amount * change)
        self._state = _State(now, result.box, measured, filtered, state.speed)
        return filtered.copy()


def _amount(cutoff_hz: float, gap_s: float) -> float:
    """Return the weight of a new sample in a low-pass of the first order."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff_hz * gap_s))


def _checked_time(time_s: Any, state: _State | None) -> float:
    if isinstance(time_s, bool) or not isinstance(time_s, (int, float, np.number)) or not math.isfinite(time_s):
        raise InputError.of("time_s", time_s, "a finite number of seconds", "Give the frame's time stamp in seconds.")
    if state is not None and time_s <= state.time_s:
        rule = f"later than the frame before ({state.time_s:g} s)"
        raise InputError.of("time_s", time_s, rule, "Give frames in order, or call reset() between two recordings.")
    return float(time_s)
