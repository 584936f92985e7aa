# SPDX-License-Identifier: Apache-2.0
"""The picture of a result: what its title says."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest

from facedepth_edge import DepthStream
from facedepth_edge.api import EdgeDepth
from facedepth_edge.demo import load_demo_frame
from facedepth_edge.picture import CAPTION_PX, GAP_PX, PANEL_PX
from facedepth_edge.result import DepthResult

CENTER_XY = (250.0, 170.0)


@pytest.fixture
def title_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Draw a result and return the title of its picture."""
    written: list[str] = []
    put_text = cv2.putText

    def note(image: np.ndarray, text: str, *others: Any) -> Any:
        written.append(text)
        return put_text(image, text, *others)

    monkeypatch.setattr(cv2, "putText", note)

    def title(result: DepthResult) -> str:
        written.clear()
        result.picture()
        (found,) = (text for text in written if text.startswith("distance "))
        return found

    return title


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("distance_mm", "given"),
        ("depth", "from the depth image"),
        ("head_width_px", "from the head's width"),
        ("nominal", "nominal"),
        ("held", "held from an earlier frame"),
        ("radar", "radar"),
    ],
)
def test_the_title_says_where_the_distance_comes_from(
    source: str, said: str, tiny_edge: EdgeDepth, frame: np.ndarray, title_of: Any
) -> None:
    result = tiny_edge.predict(frame, CENTER_XY, distance_mm=650.0)
    title = title_of(dataclasses.replace(result, distance_source=source))
    assert title.split("   ")[0] == f"distance 650 mm ({said})"


def test_a_distance_that_a_stream_held_is_not_said_to_be_measured(
    tiny_edge: EdgeDepth, frame: np.ndarray, title_of: Any
) -> None:
    stream = DepthStream(tiny_edge)
    given = stream.predict(frame, CENTER_XY, distance_mm=650.0, time_s=0.0)
    held = stream.predict(frame, CENTER_XY, time_s=0.033)
    assert "(given)" in title_of(given)
    assert "(held from an earlier frame)" in title_of(held)


def test_the_picture_shows_how_the_head_is_turned(title_of: Any) -> None:
    demo = load_demo_frame()
    with EdgeDepth(camera=demo.camera) as model:
        result = model.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm)
    pose = result.head_pose()
    assert pose is not None
    said = f"yaw {pose.yaw_deg:.0f}, pitch {pose.pitch_deg:.0f}, roll {pose.roll_deg:.0f} degrees"
    assert title_of(result).split("   ")[-1] == said
    of_another_model = dataclasses.replace(result, mask_source="relative depth below 0.75")
    assert "yaw" not in title_of(of_another_model)
    drawn, plain = result.picture(demo.frame), of_another_model.picture(demo.frame)
    rows, columns = np.nonzero((drawn != plain).any(axis=2))
    inside = rows > CAPTION_PX * 2  # below the title
    assert inside.sum() > 200
    scale = PANEL_PX / demo.frame.shape[0]
    x, y = (value * scale + offset for value, offset in zip(demo.head_center, (GAP_PX, 2 * CAPTION_PX), strict=True))
    reach = 0.3 * result.box.width * scale + 3
    assert np.hypot(columns[inside] - x, rows[inside] - y).max() < reach
    red = (drawn[..., 2].astype(int) - drawn[..., 1] > 120) & (drawn != plain).any(axis=2)
    assert np.nonzero(red)[1].max() > x + 0.8 * reach  # the head's own right side is the picture's
