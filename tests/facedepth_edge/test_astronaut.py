# SPDX-License-Identifier: Apache-2.0
"""Tests the bundled model on a real photograph: scikit-image's astronaut, public domain, shipped in its wheel."""

import numpy as np
import pytest
import skimage.data

from facedepth_edge import EdgeDepth
from facedepth_edge.head_detector import HeadDetector

# (x, y) in pixels of the photograph, by eye.
NOSE_TIP = (223, 126)
EYE_CORNERS = ((194, 100), (258, 102))
EAR_LOBES = ((177, 125), (272, 132))
CHEEKS = ((200, 132), (247, 134))
HEAD = (NOSE_TIP, (225, 75), (225, 160), (225, 40), (190, 45), (262, 45), *EYE_CORNERS)
BACKGROUND = ((130, 40), (128, 100), (322, 60), (322, 100), (300, 150))
BELOW_THE_HEAD = ((225, 205), (180, 205), (270, 205))
HEAD_CENTER = (224.5, 111.0)  # midway between the tragi, a little above the ear lobes


@pytest.fixture(scope="module")
def photo():
    return np.ascontiguousarray(skimage.data.astronaut()[..., ::-1])


@pytest.fixture(scope="module")
def edge():
    with EdgeDepth() as opened:
        yield opened


@pytest.fixture(scope="module", params=["nominal distance", "detected", "head 20 % too near", "1.08 times as wide"])
def result(request, photo, edge):
    """The face, with what a user may know about its place and distance."""
    if request.param == "nominal distance":
        return edge.predict(photo, HEAD_CENTER)
    head = HeadDetector().detect_largest(photo)
    if request.param == "detected":
        return edge.predict(photo, head.head_center, head_width_px=head.head_width_px)
    if request.param == "head 20 % too near":
        return edge.predict(photo, HEAD_CENTER, distance_mm=0.8 * 700)
    return edge.predict(photo, HEAD_CENTER, head_width_px=1.08 * head.head_width_px)


def depth_at(result, *points):
    """Return the depth in mm at points of the photograph, in or out of the mask."""
    on_frame = result.on_frame(head_only=False)
    depth = np.array([on_frame[y, x] for x, y in points])
    assert (depth > 0).all(), "every point lies in the box"
    return depth


def is_head(result, *points):
    on_frame = result.on_frame()
    return [bool(on_frame[y, x] > 0) for x, y in points]


def test_the_nose_is_nearest_then_the_eyes_then_the_ears(result):
    nose, eyes, lobes = depth_at(result, NOSE_TIP), depth_at(result, *EYE_CORNERS), depth_at(result, *EAR_LOBES)
    assert nose.max() < eyes.min()
    assert eyes.max() < lobes.min()
    # A real head: nose tip to outer eye corner about 40 mm, eye corner to ear lobe about 60 mm.
    assert 15 < eyes.mean() - nose.mean() < 70
    assert 20 < lobes.mean() - eyes.mean() < 110


def test_the_nose_stands_out_of_the_cheeks(result):
    """A smooth bowl would have them level: they lie side by side."""
    assert depth_at(result, *CHEEKS).min() - depth_at(result, NOSE_TIP)[0] > 6


def test_the_mask_is_the_head(result):
    assert all(is_head(result, *HEAD))
    assert not any(is_head(result, *BACKGROUND))
    assert not any(is_head(result, *BELOW_THE_HEAD))
    assert 0.10 < result.mask.mean() < 0.55


def test_the_face_is_valid(result):
    assert result.valid, result.reason
    assert result.validity is None or result.validity > 0.5


def test_a_mirrored_photo_gives_the_mirrored_face(photo, edge):
    straight = edge.predict(photo, HEAD_CENTER)
    x, y = HEAD_CENTER
    mirrored = edge.predict(photo[:, ::-1], (photo.shape[1] - x, y))
    both = straight.mask & mirrored.mask[:, ::-1]
    assert both.mean() > 0.08
    difference = np.abs(straight.depth_mm - mirrored.depth_mm[:, ::-1])[both]
    assert difference.mean() < 6
    assert np.corrcoef(straight.depth_mm[both], mirrored.depth_mm[:, ::-1][both])[0, 1] > 0.95


def test_gray_gives_nearly_the_same_as_colour(photo, edge):
    gray = np.rint(photo @ np.array([0.114, 0.587, 0.299])).astype(np.uint8)
    colour, plain = edge.predict(photo, HEAD_CENTER), edge.predict(gray, HEAD_CENTER)
    assert np.abs(colour.depth_mm - plain.depth_mm)[colour.mask].mean() < 1.5


def test_a_wall_is_no_face(photo, edge):
    """The upper right corner, where there is nobody."""
    result = edge.predict(np.ascontiguousarray(photo[:200, 330:]), (45.0, 80.0), distance_mm=700)
    assert not result.valid
    assert result.reason
