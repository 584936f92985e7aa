# SPDX-License-Identifier: Apache-2.0
"""DepthStream where single frames bring no distance: the last one is kept, and no head seems to fly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from facedepth_edge import DepthStream, InputError, StreamConfig, UnmeasuredHead
from facedepth_edge.box import Box
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


@pytest.mark.parametrize("every", [2, 3])
def test_a_distance_that_comes_at_half_the_rate_lags_as_one_of_that_rate(every: int) -> None:
    """Held frames are no measurements: where one comes, the filter answers as if there were no others."""

    def coming(i: int) -> float:
        return 900 - 600 * i / FPS

    def lags(only_measured: bool) -> list[float]:
        model = Scripted(lambda i: face())
        stream, found = DepthStream(model), []
        for i in range(45):
            measured = i % every == 0
            if measured or not only_measured:
                given = {"distance_mm": coming(i)} if measured else {}
                result = stream.predict(None, (60.0, 60.0), time_s=i / FPS, **given)
                assert result.distance_source == ("distance_mm" if measured else "held")
                if measured:
                    found.append(result.distance_mm - coming(i))
        return found

    assert lags(only_measured=False) == pytest.approx(lags(only_measured=True))


def test_another_head_does_not_get_the_last_one_s_distance() -> None:
    model = Scripted(lambda i: face())
    model.nominal = set(range(10))
    stream = DepthStream(model)
    stream.predict(None, (60.0, 60.0), time_s=0.0, distance_mm=400.0)
    model.box = Box(210.0, 10.0, 310.0, 110.0)
    assert stream.predict(None, (260.0, 60.0), time_s=0.03).distance_source == "nominal"
    stream.predict(None, (260.0, 60.0), time_s=0.06, distance_mm=400.0)
    model.box, model.holes = Box(10.0, 10.0, 110.0, 110.0), set(range(20))
    with pytest.raises(UnmeasuredHead):
        stream.predict(None, (60.0, 60.0), time_s=0.09, depth=np.zeros((120, 120), np.uint16))


def test_a_frame_that_is_not_valid_keeps_the_distance() -> None:
    model = Scripted(lambda i: face())
    model.nominal = set(range(10))
    stream = DepthStream(model)
    stream.predict(None, (60.0, 60.0), time_s=0.0, distance_mm=TRUE_MM)
    model.valid = False
    hidden = stream.predict(None, (60.0, 60.0), time_s=0.03)
    model.valid = True
    result = stream.predict(None, (60.0, 60.0), time_s=0.06)
    assert [(r.valid, r.distance_source, r.distance_mm) for r in (hidden, result)] == [
        (False, "held", TRUE_MM),
        (True, "held", TRUE_MM),
    ]
    stream.reset()
    assert stream.predict(None, (60.0, 60.0), time_s=0.09).distance_source == "nominal"


def test_what_was_held_is_no_result_to_filter_again() -> None:
    model = Scripted(lambda i: face())
    stream = DepthStream(model)
    stream.predict(None, (60.0, 60.0), time_s=0.0, distance_mm=TRUE_MM)
    held = stream.predict(None, (60.0, 60.0), time_s=0.03)
    with pytest.raises(InputError, match=r"result: got a map of \(24, 24\) with a distance from 'held'"):
        stream.update(held, time_s=0.06)


def test_a_distance_is_not_held_for_frames_before_it() -> None:
    """A time that jumps back after a frame that is not valid is refused, and does not keep the distance for good."""
    model = Scripted(lambda i: face())
    model.nominal = set(range(10))
    stream = DepthStream(model)
    stream.predict(None, (60.0, 60.0), time_s=1000.0, distance_mm=TRUE_MM)
    model.valid = False
    assert stream.predict(None, (60.0, 60.0), time_s=1000.1).distance_source == "held"
    model.valid = True
    with pytest.raises(InputError, match=r"time_s: got 0\.0, expected at least"):
        stream.predict(None, (60.0, 60.0), time_s=0.0)
    assert stream.predict(None, (60.0, 60.0), time_s=1000.6).distance_source == "nominal"
