# SPDX-License-Identifier: Apache-2.0
"""The box of eq. 6, and the crop against its float64 definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedepth_edge.box import Box, box_from_head
from facedepth_edge.errors import InputError
from facedepth_edge.face_crop import FaceSampler, check_frame, sample_depth
from facedepth_edge.spec import Preprocessing
from tests.oracles.face_crop import crop_levels, nearest_depth

MAX_VALUE = 1023
TOLERANCE_LEVELS = {  # by (dtype, color): cv2.cvtColor rounds colour to whole levels; one channel is exact
    ("uint8", False): 1e-4,
    ("uint16", False): 1e-4,
    ("uint8", True): 0.5001,
    ("uint16", True): 0.13,
}


def random_frame(rng: np.random.Generator, height: int, width: int, dtype: str, color: bool) -> np.ndarray:
    shape = (height, width, 3) if color else (height, width)
    return rng.integers(0, MAX_VALUE + 1 if dtype == "uint16" else 256, shape).astype(dtype)


def sampled_levels(
    frame: np.ndarray, box: Box, size_hw: tuple[int, int] = (96, 96), sampler: FaceSampler | None = None
) -> np.ndarray:
    """Return gray levels 0..255 as the sampler gives them."""
    out = np.full(size_hw, np.nan, np.float32)
    (sampler or FaceSampler()).sample_into(out, check_frame(frame, MAX_VALUE), box, Preprocessing(), MAX_VALUE)
    return (out.astype(np.float64) + 1) * 127.5


def assert_matches_oracle(frame: np.ndarray, box: Box, size_hw: tuple[int, int] = (96, 96)) -> None:
    expected = crop_levels(frame, box, size_hw, MAX_VALUE)
    error = np.abs(sampled_levels(frame, box, size_hw) - expected).max()
    assert error <= TOLERANCE_LEVELS[frame.dtype.name, frame.ndim == 3], (frame.shape, frame.dtype, box)


def test_box_follows_equation_6() -> None:
    box = box_from_head((640.25, 360.5), 700.0, (1100.0, 1050.0), (320.0, 320.0))
    width, height = 1100.0 * 320 / 700, 1050.0 * 320 / 700
    assert box == pytest.approx((640.25 - width / 2, 360.5 - height / 2, 640.25 + width / 2, 360.5 + height / 2))
    assert (box.width, box.height) == pytest.approx((width, height))
    assert all(value != round(value) for value in box)


def test_box_is_not_clipped() -> None:
    box = box_from_head((3.0, 4.0), 400.0, (1000.0, 1000.0))
    assert box == pytest.approx((-397, -396, 403, 404))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize(
    "box",
    [
        Box(40.0, 30.0, 136.0, 126.0),  # one pixel to one pixel
        Box(40.3, 30.7, 136.3, 126.7),  # the same, shifted by a part of one
        Box(10.37, 5.91, 251.08, 217.33),  # both shrink, fractional edges
        Box(100.2, 80.9, 141.7, 119.1),  # both grow
        Box(20.5, 90.1, 261.2, 131.9),  # x shrinks, y grows
        Box(120.1, 3.3, 170.6, 233.8),  # x grows, y shrinks
        Box(-80.4, -60.6, 120.5, 99.2),  # partly outside at the upper left
        Box(250.5, 180.5, 460.1, 370.2),  # mostly outside at the lower right
        Box(-30.2, -40.3, 30.9, 20.8),  # partly outside and growing
        Box(-500.5, -400.5, 800.25, 700.75),  # the frame is a small part of it
        Box(299.0, 239.0, 299.9, 239.9),  # inside the last pixel
        Box(96.0, 0.0, 192.0, 240.0),  # whole pixels
    ],
)
def test_crop_matches_oracle(box: Box, color: bool, dtype: str) -> None:
    frame = random_frame(np.random.default_rng(3), 240, 300, dtype, color)
    assert crop_levels(frame, box, max_value=MAX_VALUE).std() > 5 or box.width < 1  # the answer is not trivial
    assert_matches_oracle(frame, box)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (50, 1), (2, 3), (97, 95), (96, 96), (721, 1283)])
def test_crop_of_odd_frame_sizes(height: int, width: int) -> None:
    frame = random_frame(np.random.default_rng(height * width), height, width, "uint8", True)
    for box in (Box(-3.3, -2.2, width + 1.7, height + 4.1), Box(0.2, 0.3, 0.6, 0.9), Box(-300.1, -300.2, 300.3, 300.4)):
        assert_matches_oracle(frame, box)


@pytest.mark.parametrize("size_hw", [(96, 96), (64, 128), (1, 1), (112, 112)])
def test_crop_of_other_output_sizes(size_hw: tuple[int, int]) -> None:
    frame = random_frame(np.random.default_rng(5), 200, 260, "uint8", False)
    assert_matches_oracle(frame, Box(13.3, 21.8, 171.6, 168.1), size_hw)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    center=st.tuples(st.floats(-50, 250), st.floats(-50, 250)),
    size=st.tuples(st.floats(0.5, 300), st.floats(0.5, 300)),
    dtype=st.sampled_from(["uint8", "uint16"]),
    color=st.booleans(),
)
def test_crop_matches_oracle_anywhere(
    seed: int,
    height: int,
    width: int,
    center: tuple[float, float],
    size: tuple[float, float],
    dtype: str,
    color: bool,
) -> None:
    frame = random_frame(np.random.default_rng(seed), height, width, dtype, color)
    (x, y), (w, h) = center, size
    assert_matches_oracle(frame, Box(x - w / 2, y - h / 2, x + w / 2, y + h / 2))


@pytest.mark.parametrize("box", [Box(10.4, 12.3, 150.9, 141.2), Box(60.1, 55.5, 99.2, 93.3)])
def test_strided_frames_give_the_same(box: Box) -> None:
    frame = random_frame(np.random.default_rng(8), 180, 200, "uint8", True)
    views = {
        "rows of a wider buffer": np.zeros((180, 260, 3), np.uint8)[:, 30:230],
        "every second row": np.zeros((360, 200, 3), np.uint8)[::2],
        "every second column": np.zeros((180, 400, 3), np.uint8)[:, ::2],
        "the first three of four channels": np.zeros((180, 200, 4), np.uint8)[..., :3],
        "channels reversed": np.zeros((180, 200, 3), np.uint8)[..., ::-1],
        "upside down": np.zeros((180, 200, 3), np.uint8)[::-1],
        "transposed": np.zeros((200, 180, 3), np.uint8).transpose(1, 0, 2),
    }
    expected = sampled_levels(frame, box)
    for name, view in views.items():
        view[...] = frame
        assert not view.flags.c_contiguous
        np.testing.assert_array_equal(sampled_levels(view, box), expected, err_msg=name)


@pytest.mark.parametrize("crop", ["native", "opencv"])
@pytest.mark.parametrize("color", [True, False])
def test_rows_with_a_header_of_one_byte(color: bool, crop: str) -> None:
    frame = random_frame(np.random.default_rng(8), 180, 200, "uint16", color)
    row_bytes = frame[0].nbytes + 1
    view = np.ndarray(frame.shape, np.uint16, bytearray(180 * row_bytes), strides=(row_bytes, *frame.strides[1:]))
    view[...] = frame
    sampler = FaceSampler(crop)
    if sampler.crop != crop:
        pytest.skip("the native crop was not built")
    box = Box(10.4, 12.3, 150.9, 141.2)
    expected = sampled_levels(frame, box, sampler=sampler)
    np.testing.assert_array_equal(sampled_levels(view, box, sampler=sampler), expected)


def test_plane_of_a_colour_frame_and_single_channel_axis() -> None:
    frame = random_frame(np.random.default_rng(9), 180, 200, "uint8", True)
    box = Box(10.4, 12.3, 150.9, 141.2)
    plane = frame[:, :, 1]
    expected = sampled_levels(np.ascontiguousarray(plane), box)
    np.testing.assert_array_equal(sampled_levels(plane, box), expected)
    np.testing.assert_array_equal(sampled_levels(frame[:, :, 1:2], box), expected)
    assert_matches_oracle(plane, box)


def test_a_reused_sampler_forgets_the_last_frame() -> None:
    rng = np.random.default_rng(10)
    sampler = FaceSampler()
    jobs = [("uint8", True, 200.0), ("uint16", True, 150.0), ("uint8", False, 260.0), ("uint16", False, 40.0)] * 2
    for dtype, color, size in jobs:
        frame = random_frame(rng, 240, 300, dtype, color)
        box = Box(20.3, 10.2, 20.3 + size, 10.2 + size)
        np.testing.assert_array_equal(sampled_levels(frame, box, sampler=sampler), sampled_levels(frame, box))


def test_sums_beyond_32_bits() -> None:
    """A white box of more than 2^31 / 255 pixels overflows a 32-bit running sum."""
    frame = np.full((3000, 3000), 255, np.uint8)
    assert sampled_levels(frame, Box(0.5, 0.5, 2999.5, 2999.5)) == pytest.approx(255.0, abs=1e-4)


def test_frame_is_not_changed() -> None:
    frame = random_frame(np.random.default_rng(11), 100, 120, "uint8", True)
    before = frame.copy()
    frame.flags.writeable = False
    sampled_levels(frame, Box(-10.0, -10.0, 110.0, 105.0))
    np.testing.assert_array_equal(frame, before)


def test_pixel_above_max_value_is_told() -> None:
    frame = np.full((100, 100), 4000, np.uint16)
    with pytest.raises(
        InputError, match=r"gray up to 4000 in the face's crop, expected at most the camera's max_value 1023"
    ):
        sampled_levels(frame, Box(0.0, 0.0, 100.0, 100.0))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int16])
@pytest.mark.parametrize(
    "box",
    [Box(5.3, 4.1, 40.2, 38.8), Box(-20.5, -9.5, 79.9, 61.3), Box(10.0, 10.0, 13.0, 12.0), Box(90.0, 90.0, 99.0, 99.0)],
)
def test_depth_is_sampled_nearest(box: Box, dtype: type) -> None:
    depth = np.random.default_rng(12).integers(1, 2000, (50, 60)).astype(dtype)
    depth[20:24, 20:30] = 0  # a hole
    sampled = sample_depth(depth, box, (24, 32))
    np.testing.assert_array_equal(sampled, nearest_depth(depth, box, (24, 32)))
    assert sampled.dtype == dtype
    assert np.isin(sampled, np.append(depth, dtype(0))).all()


def test_depth_keeps_nan_holes() -> None:
    depth = np.full((40, 40), 700.0, np.float32)
    depth[10:20] = np.nan
    sampled = sample_depth(depth, Box(0.0, 0.0, 40.0, 40.0), (40, 40))
    np.testing.assert_array_equal(sampled, depth)
