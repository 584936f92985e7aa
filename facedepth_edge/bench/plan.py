# SPDX-License-Identifier: Apache-2.0
"""What a benchmark is asked to do."""

from __future__ import annotations

import math
from dataclasses import dataclass

from facedepth_edge.cpus import available_cpus
from facedepth_edge.errors import ConfigError

MODES = ("single-stream", "paced", "throughput")
FULL_SECONDS = 600.0  # as long as MLPerf's single stream runs
FULL_QUERIES = 10_000  # 99.9 % of fewer would rest on less than ten queries
QUICK_SECONDS = 10.0
QUICK_QUERIES = 200
MIN_SIDE_PX, MAX_SIDE_PX = 64, 16_384
MOST_STREAMS = 256


@dataclass(frozen=True)
class BenchPlan:
    """How a benchmark runs.

    Args:
        mode: single-stream (the next frame when the last is done), paced (a frame every 1 / fps, as a camera sends
            them; latency counts from the moment a frame was due), throughput (several streams at once).
        fps: frames a second: the pace of the paced mode, and in all modes what the deadline follows from.
        size_wh: width and height of the frame in pixels; the bundled frame is scaled to it.
        seconds: how long to measure at least.
        queries: how many queries to measure at least.
        warm_up_seconds: how long to run before measuring.
        streams: threads of the throughput mode, each with its own frames.
    """

    mode: str = "single-stream"
    fps: float = 30.0
    size_wh: tuple[int, int] = (1280, 720)
    seconds: float = QUICK_SECONDS
    queries: int = QUICK_QUERIES
    warm_up_seconds: float = 2.0
    streams: int = 1

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError.of("mode", self.mode, f"one of {', '.join(MODES)}", "Choose one of these.")
        for name, low in (("fps", 0.0), ("seconds", 0.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > low):
                raise ConfigError.of(name, value, "a finite number above 0", "Correct it.")
        if not (math.isfinite(self.warm_up_seconds) and self.warm_up_seconds >= 0):
            raise ConfigError.of("warm_up_seconds", self.warm_up_seconds, "a finite number, 0 or more", "Correct it.")
        if min(self.size_wh) < MIN_SIDE_PX or max(self.size_wh) > MAX_SIDE_PX:
            got = f"{self.size_wh[0]}x{self.size_wh[1]}"
            raise ConfigError.of(
                "resolution", got, f"sides of {MIN_SIDE_PX} to {MAX_SIDE_PX} px", "Use for example 1280x720."
            )
        if self.queries < 1:
            raise ConfigError.of("queries", self.queries, "1 or more", "Correct it.")
        if not 1 <= self.streams <= MOST_STREAMS or (self.streams > 1 and self.mode != "throughput"):
            rule = f"1 to {MOST_STREAMS}, and 1 outside the throughput mode"
            raise ConfigError.of("streams", self.streams, rule, "Use --mode throughput.")

    @property
    def period_ms(self) -> float:
        """Time between two frames: what a frame may take before it misses its deadline."""
        return 1000.0 / self.fps

    @property
    def full(self) -> bool:
        """Whether the run is long enough for the 99.9th percentile to mean something."""
        return self.queries >= FULL_QUERIES


def default_streams(threads: int) -> int:
    """Return how many streams of `threads` threads each fill this machine's processors."""
    return min(max(1, available_cpus() // max(1, threads)), MOST_STREAMS)
