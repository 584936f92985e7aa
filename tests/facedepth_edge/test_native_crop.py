# SPDX-License-Identifier: Apache-2.0
"""The native crop as Python calls it: the oracle, every layout of a frame, refusals, threads, limits."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from facedepth_edge import ConfigError, InputError, _native
from facedepth_edge.box import Box
from facedepth_edge.face_crop import FaceSampler
from facedepth_edge.native_crop import MAX_BOX_EDGE_PX, NativeCropper
from facedepth_edge.spec import Preprocessing
from tests.oracles.face_crop import crop_levels

WHITES = [("uint8", 255.0), ("uint16", 1023.0), ("uint16", 65535.0)]


def random_frame(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, white: float) -> NDArray[Any]:
    return rng.integers(0, int(white) + 1, shape).astype(dtype)


@pytest.mark.parametrize("way", ["native", "opencv"])
def test_both_ways_agree_with_one_oracle(way: str) -> None:
    """1,000 random boxes, sizes, dtypes and numbers of channels: native within 0.01 gray level, OpenCV within 1."""
    rng = np.random.default_rng(31)
    sampler = FaceSampler(way)
    worst, spreads, off = [], [], []
    for _ in range(1000):
        shape = (*rng.integers(1, 120, 2), 3)[: rng.integers(2, 4)]
        frame = random_frame(rng, shape, *WHITES[rng.integers(3)])
        white = 255.0 if frame.dtype == np.uint8 else max(1023.0, float(frame.max()))
        size = np.exp(rng.uniform(np.log(0.4), np.log(2.5 * np.array(shape[1::-1]))))
        corner = rng.uniform(-0.9 * size, np.array(shape[1::-1]) - 0.1 * size)
        box = Box(*corner.tolist(), *(corner + size).tolist())
        out = np.full(rng.integers(1, 40, 2), np.nan, np.float32)
        contrast = sampler.sample_into(out, frame, box, Preprocessing(), white)
        expected = crop_levels(frame, box, out.shape, white)
        worst.append(np.abs((out.astype(np.float64) + 1) * 127.5 - expected).max())
        off.append(abs(contrast - expected.std()))
        spreads.append(np.ptp(expected))
    limit = 0.01 if way == "native" else 1.0
    assert np.max(worst) < limit  # NaN fails
    assert np.max(off) < limit
    assert np.median(spreads) > 40


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    "box", [Box(10.4, 12.3, 150.9, 141.2), Box(60.1, 55.5, 99.2, 93.3), Box(-40.5, 90.2, 70.1, 260)]
)
def test_every_layout_is_taken_and_gives_the_same(box: Box, dtype: str) -> None:
    rng = np.random.default_rng(8)
    colour = rng.integers(0, 256, (180, 200, 3)).astype(dtype)
    views = {
        "rows of a wider buffer": np.zeros((180, 260, 3), dtype)[:, 30:230],
        "every second column": np.zeros((180, 400, 3), dtype)[:, ::2],
        "the first three of four channels": np.zeros((180, 200, 4), dtype)[..., :3],
        "channels reversed": np.zeros((180, 200, 3), dtype)[..., ::-1],
        "columns reversed": np.zeros((180, 200, 3), dtype)[:, ::-1],
        "upside down": np.zeros((180, 200, 3), dtype)[::-1],
        "transposed": np.zeros((200, 180, 3), dtype).transpose(1, 0, 2),
        "fortran": np.zeros((180, 200, 3), dtype, order="F"),
        "read only": np.zeros((180, 200, 3), dtype),
    }
    sampler = FaceSampler("native")
    found = {}
    for name, view in views.items():
        view[...] = colour
        view.flags.writeable = False
        found[name] = np.full((96, 96), np.nan, np.float32)
        sampler.sample_into(found[name], view, box, Preprocessing(), 255.0)
    expected = np.empty((96, 96), np.float32)
    sampler.sample_into(expected, colour, box, Preprocessing(), 255.0)
    assert np.ptp(expected) > 0.2
    for name, face in found.items():
        np.testing.assert_array_equal(face, expected, err_msg=name)


def test_a_row_that_is_repeated_is_taken() -> None:
    row = np.arange(90, dtype=np.uint8)
    frame = np.broadcast_to(row, (70, 90))
    out = np.empty((24, 24), np.float32)
    FaceSampler("native").sample_into(out, frame, Box(3.3, 4.4, 80.1, 60.2), Preprocessing())
    expected = crop_levels(np.ascontiguousarray(frame), (3.3, 4.4, 80.1, 60.2), (24, 24))
    assert np.abs((out + 1) * 127.5 - expected).max() < 0.01


def test_another_preprocessing_takes_effect() -> None:
    frame = np.random.default_rng(2).integers(0, 256, (80, 90, 3), dtype=np.uint8)
    sampler, box = FaceSampler("native"), Box(3.0, 4.0, 80.0, 70.0)
    levels, scaled = np.empty((2, 32, 32), np.float32)
    contrast = sampler.sample_into(levels, frame, box, Preprocessing(scale=1.0, offset=0.0))
    again = sampler.sample_into(scaled, frame, box, Preprocessing(scale=0.25, offset=3.0))
    np.testing.assert_allclose(scaled, levels * 0.25 + 3.0, atol=1e-5)
    assert contrast == pytest.approx(levels.std(dtype=np.float64), rel=1e-6)
    assert again == pytest.approx(contrast, rel=1e-6)


def test_what_is_beyond_the_native_limits_goes_through_opencv() -> None:
    frame = np.random.default_rng(3).integers(0, 256, (40, 50), dtype=np.uint8)
    box = Box(-2.0 * MAX_BOX_EDGE_PX, -10.0, 3.0 * MAX_BOX_EDGE_PX, 50.0)
    out = np.full((4, 4), np.nan, np.float32)
    assert not NativeCropper.takes(out, frame, box)
    FaceSampler("native").sample_into(out, frame, box, Preprocessing())
    assert np.isfinite(out).all()


@pytest.fixture
def cropper() -> _native.FaceCropper:
    return _native.FaceCropper(1 / 127.5, -1.0, 1 / 127.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_the_module_writes_each_element_type(cropper: _native.FaceCropper, dtype: type) -> None:
    frame = np.random.default_rng(4).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    box = (3.5, 2.5, 80.25, 66.0)
    buffer = np.zeros((20, 30), dtype)
    mean, deviation, smallest, largest = cropper.crop_into(buffer[:, :24], frame, *box, 255.0)
    expected = crop_levels(frame, box, (20, 24)) / 127.5 - 1.0
    step, tolerance = {np.float32: (1.0, 1e-5), np.float16: (1.0, 3e-4), np.int8: (1 / 127.0, 0.501 / 127.0)}[dtype]
    np.testing.assert_allclose(buffer[:, :24] * step, expected, atol=tolerance)
    assert not buffer[:, 24:].any()
    found = (mean, deviation, smallest, largest)
    np.testing.assert_allclose(found, (expected.mean(), expected.std(), expected.min(), expected.max()), atol=1e-5)


def test_its_errors_are_the_packages(cropper: _native.FaceCropper) -> None:
    frame, out = np.zeros((20, 30, 3), np.uint8), np.full((8, 8), 7, np.float32)
    with pytest.raises(InputError, match=r"^box\.x1: got nan, expected a finite number of pixels"):
        cropper.crop_into(out, frame, 0.0, 0.0, float("nan"), 4.0, 255.0)
    rule = re.escape("frame: got strides of (90, 6, 1) elements, expected elements of a row side by side. Copy it")
    with pytest.raises(InputError, match=rule):
        cropper.crop_into(out, frame[:, ::2], 0.0, 0.0, 9.0, 4.0, 255.0)
    with pytest.raises(ConfigError, match=r"^out: got strides of \(8, 2\) elements"):
        cropper.crop_into(out[:, ::2], frame, 0.0, 0.0, 9.0, 4.0, 255.0)
    with pytest.raises(ConfigError, match=r"^normalisation\.scale: got inf"):
        _native.FaceCropper(float("inf"), 0.0).crop_into(out, frame, 0.0, 0.0, 9.0, 4.0, 255.0)
    with pytest.raises(InputError, match=r"^frame\.width: got 40000, expected 1 to 32768 pixels"):
        cropper.crop_into(out, np.zeros((2, 40000), np.uint8), 0.0, 0.0, 9.0, 4.0, 255.0)
    assert (out == 7).all()


@pytest.mark.parametrize(
    ("out", "frame"),
    [
        (np.zeros((8, 8), np.float64), np.zeros((20, 30, 3), np.uint8)),
        (np.zeros((8, 8), np.float32), np.zeros((20, 30, 3), np.float32)),
        (np.zeros((8, 8), np.float32), np.zeros((20, 30, 4), np.uint8)),
        (np.zeros((8, 8), np.float32), np.zeros((20,), np.uint8)),
        (np.zeros((1, 8, 8), np.float32), np.zeros((20, 30), np.uint8)),
        (np.zeros((8, 8), np.float32), [[1, 2], [3, 4]]),
        (np.zeros((8, 8), np.float32), None),
    ],
)
def test_nothing_is_converted(cropper: _native.FaceCropper, out: Any, frame: Any) -> None:
    with pytest.raises(TypeError, match="incompatible function arguments"):
        cropper.crop_into(out, frame, 0.0, 0.0, 9.0, 4.0, 255.0)


def test_a_read_only_out_is_refused(cropper: _native.FaceCropper) -> None:
    out = np.zeros((8, 8), np.float32)
    out.flags.writeable = False
    with pytest.raises(TypeError, match="incompatible function arguments"):
        cropper.crop_into(out, np.zeros((20, 30), np.uint8), 0.0, 0.0, 9.0, 4.0, 255.0)


def test_the_interpreter_runs_on_during_a_crop(cropper: _native.FaceCropper) -> None:
    """Holding the lock, no other thread would run in the middle of a crop that takes a tenth of a second and more."""
    frame, out = np.zeros((6000, 4000, 3), np.uint8), np.zeros((4096, 4096), np.float32)
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.001):
            ticks.append(time.perf_counter())

    other = threading.Thread(target=tick, daemon=True)
    other.start()
    started = time.perf_counter()
    cropper.crop_into(out, frame, 0.0, 0.0, 4000.0, 6000.0, 255.0)
    took = time.perf_counter() - started
    stop.set()
    other.join(5)
    assert took > 0.02
    assert [at for at in ticks if 0.25 < (at - started) / took < 0.75]
