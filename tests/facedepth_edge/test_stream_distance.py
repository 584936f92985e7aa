# SPDX-License-Identifier: Apache-2.0
"""DepthStream where single frames bring no distance: the last one is kept, and no head seems to fly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from facedepth_edge import DepthStream, StreamConfig, UnmeasuredHead
from tests.facedepth_edge.test_stream import FPS, Scripted, face

TRUE_MM = 562.0


def stream_of(missing: range, frames: int = 40, **located: Any) -> list[Any]:
    """Run frames of a head at TRUE_MM of which some have no distance."""
    model = Scripted(lambda i: face())
    model.distances_mm = dict.fromkeys(range(frames), TRUE_MM)
    model.nominal = set(missing)
    stream = DepthStream(model)
    results = []
    for i in range(frames):
        given = {} if i in missing else {"distance_mm": TRUE_MM}
        results.append(stream.predict(None, (60.0, 60.0), time_s=i / FPS, **given, **located))
    return results


def test_a_frame_without_distance_keeps_the_last_one() -> None:
    results = stream_of(range(10, 20))
    assert [r.distance_source for r in results[9:21]] == ["distance_mm", *["held"] * 10, "distance_mm"]
    assert np.ptp([r.distance_mm for r in results]) < 1e-6


def test_after_longest_gap_the_distance_is_nominal_at_once() -> None:
    results = stream_of(range(10, 35))
    sources = [r.distance_source for r in results]
    held = StreamConfig().longest_gap_s * FPS
    assert sources.count("held") == held
    after = next(i for i, source in enumerate(sources) if source == "nominal")
    assert results[after - 1].distance_mm == pytest.approx(TRUE_MM)
    assert results[after].distance_mm == 700.0
    assert results[35].distance_mm == TRUE_MM  # and back at once: no head moved


def test_a_stream_without_any_distance_stays_nominal() -> None:
    results = stream_of(range(40))
    assert {r.distance_source for r in results} == {"nominal"}
    assert {r.distance_mm for r in results} == {700.0}


def test_holes_at_the_head_keep_the_last_distance_too() -> None:
    model = Scripted(lambda i: face())
    model.distances_mm, model.holes = {0: TRUE_MM}, {1}
    stream = DepthStream(model)
    depth = np.zeros((120, 120), np.uint16)
    first, second = (stream.predict(None, (60.0, 60.0), time_s=i / FPS, depth=depth) for i in range(2))
    assert (first.distance_source, second.distance_source) == ("distance_mm", "held")
    assert second.distance_mm == pytest.approx(TRUE_MM)


def test_holes_in_the_first_frame_are_an_error() -> None:
    model = Scripted(lambda i: face())
    model.holes = {0}
    with pytest.raises(UnmeasuredHead):
        DepthStream(model).predict(None, (60.0, 60.0), time_s=0.0, depth=np.zeros((120, 120), np.uint16))
