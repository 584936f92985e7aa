# SPDX-License-Identifier: Apache-2.0
"""Tests the head detector on scikit-image's astronaut (public domain) and on what is no face."""

import sys

import cv2
import numpy as np
import pytest
import skimage.data

from facedepth_edge import head_detector
from facedepth_edge.errors import BackendUnavailable, InputError
from facedepth_edge.head_detector import HeadDetector
from facedepth_edge.opencv import find_cv2

# Tragi of the astronaut by eye: a little above the ear lobes (177, 125) and (272, 132).
HEAD_CENTER = (224.5, 111.0)
TRAGI_WIDTH_PX = 97.0
TOLERANCE = 0.15  # the boxes that the networks are trained on are off by as much


@pytest.fixture(scope="module")
def detector():
    return HeadDetector()


@pytest.fixture
def astronaut():
    return np.ascontiguousarray(skimage.data.astronaut()[..., ::-1])


def test_the_head_is_where_the_ears_say(detector, astronaut):
    (head,) = detector.detect(astronaut)
    assert head.view == "frontal"
    assert head.head_center == pytest.approx(HEAD_CENTER, abs=TOLERANCE * TRAGI_WIDTH_PX)
    assert head.head_width_px == pytest.approx(TRAGI_WIDTH_PX, rel=TOLERANCE)
    x0, y0, x1, y1 = head.face_box
    assert x0 < 194 < 258 < x1  # the eyes' outer corners
    assert y0 < 100 < 126 < y1  # eyes and nose


def test_a_mirrored_frame_gives_the_mirrored_head(detector, astronaut):
    (head,) = detector.detect(np.ascontiguousarray(astronaut[:, ::-1]))
    assert head.head_center == pytest.approx((512 - HEAD_CENTER[0], HEAD_CENTER[1]), abs=TOLERANCE * TRAGI_WIDTH_PX)


@pytest.mark.parametrize("degrees", [-12, 12])
def test_a_tilted_head_gives_the_tilted_center(detector, astronaut, degrees):
    turn = cv2.getRotationMatrix2D((226, 112), degrees, 1.0)
    frame = cv2.warpAffine(astronaut, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    expected = turn @ [*HEAD_CENTER, 1.0]
    assert detector.detect_largest(frame).head_center == pytest.approx(expected, abs=TOLERANCE * TRAGI_WIDTH_PX)


def test_without_eyes_the_box_alone_decides(detector, astronaut, monkeypatch):
    with_eyes = detector.detect_largest(astronaut)
    monkeypatch.setattr(detector, "_eyes", lambda gray, box: None)
    without = detector.detect_largest(astronaut)
    x0, y0, x1, y1 = without.face_box
    measure = head_detector.FRONTAL_BOX
    assert without.head_width_px == pytest.approx(measure.width * (x1 - x0))
    assert without.head_center == pytest.approx((x0 + measure.center_x * (x1 - x0), y0 + measure.center_y * (y1 - y0)))
    assert with_eyes.face_box == without.face_box
    assert abs(with_eyes.head_width_px - TRAGI_WIDTH_PX) < abs(without.head_width_px - TRAGI_WIDTH_PX)


@pytest.mark.parametrize("scale", [0.6, 3.0])
def test_lengths_are_in_pixels_of_the_frame(detector, astronaut, scale):
    frame = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    head = detector.detect_largest(frame)
    assert head.head_center == pytest.approx(np.multiply(HEAD_CENTER, scale), abs=TOLERANCE * TRAGI_WIDTH_PX * scale)
    assert head.head_width_px == pytest.approx(TRAGI_WIDTH_PX * scale, rel=TOLERANCE)


def test_gray_8_and_16_bits_find_the_same_head(detector, astronaut):
    gray = cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY)
    for frame in (gray, gray.astype(np.uint16) * 4, astronaut.astype(np.uint16) * 16, np.asfortranarray(gray)):
        assert detector.detect_largest(frame).head_center == pytest.approx(HEAD_CENTER, abs=TOLERANCE * TRAGI_WIDTH_PX)


def test_the_widest_of_two_heads_comes_first(detector, astronaut):
    small = cv2.resize(astronaut[:256, 96:352], (160, 160), interpolation=cv2.INTER_AREA)
    frame = np.full((512, 800, 3), 128, np.uint8)
    frame[:, :512] = astronaut
    frame[300:460, 600:760] = small
    first, second = detector.detect(frame)
    assert first.head_center[0] < 512 < second.head_center[0]
    assert first.head_width_px > 1.3 * second.head_width_px


def test_a_frame_without_a_face_is_an_error(detector):
    frame = np.full((240, 320, 3), 90, np.uint8)
    assert detector.detect(frame) == []
    with pytest.raises(InputError, match=r"car\.png: got no face, expected a face .+ Give the head centre instead"):
        detector.detect_largest(frame, where="car.png")


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10), np.float32),
        np.zeros(10, np.uint8),
        [[0, 1]],
    ],
)
def test_other_frames_are_refused(detector, frame):
    with pytest.raises(InputError, match=r"frame: got .+, expected \(H, W, 3\) BGR"):
        detector.detect(frame)


def test_an_opencv_without_the_classifier_says_what_to_install(monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(BackendUnavailable, match=r"without CascadeClassifier.+opencv-python>=4\.8,<5"):
        HeadDetector()


def test_an_opencv_without_the_cascades_says_where_it_looked(monkeypatch, tmp_path):
    monkeypatch.setattr(cv2.data, "haarcascades", str(tmp_path))
    monkeypatch.setattr(head_detector, "SYSTEM_CASCADE_FOLDERS", ())
    with pytest.raises(BackendUnavailable, match=rf"no haarcascade_\w+\.xml in {tmp_path}"):
        HeadDetector()


def test_a_system_opencv_is_served_by_its_own_folder(monkeypatch, astronaut):
    folder = cv2.data.haarcascades
    monkeypatch.delattr(cv2, "data")
    monkeypatch.setattr(head_detector, "SYSTEM_CASCADE_FOLDERS", ("/nowhere", folder))
    assert len(HeadDetector().detect(astronaut)) == 1


def test_a_missing_opencv_says_what_to_install(monkeypatch, request):
    request.addfinalizer(find_cv2.cache_clear)
    find_cv2.cache_clear()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(BackendUnavailable, match=r"opencv-python>=4\.8,<5"):
        HeadDetector()
