# SPDX-License-Identifier: Apache-2.0
"""The native face crop, through its C interface, against the float64 oracle; its refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.oracles.face_crop import crop_levels
from tests.runtime.native_library import (
    CONFIG_ERROR,
    INPUT_ERROR,
    Box,
    Frame,
    NativeError,
    NativeLibrary,
    Normalisation,
    Tensor,
    frame_struct,
    tensor_struct,
)

SCALE, OFFSET = 1.0 / 127.5, -1.0


def random_frame(rng: np.random.Generator) -> tuple[NDArray[Any], float]:
    """Return a frame of any size, dtype, number of channels and row stride, and its max_value."""
    height, width = rng.integers(1, 130), rng.integers(1, 170)
    channels = rng.choice([1, 3])
    dtype, white = [(np.uint8, 255.0), (np.uint16, 65535.0), (np.uint16, 1023.0)][rng.integers(3)]
    pad = rng.integers(0, 20) * rng.integers(2)
    buffer = rng.integers(0, int(white) + 1, (height, width + pad, channels), dtype=dtype)
    frame = buffer[:, pad // 2 : pad // 2 + width]
    if rng.random() < 0.2:
        frame = frame[::-1]
    if rng.random() < 0.2:
        frame = frame[::2]
    return (frame[:, :, 0] if channels == 1 else frame), white


def random_box(rng: np.random.Generator, frame: NDArray[Any]) -> tuple[float, float, float, float]:
    """Return a box from a fraction of a pixel to three frames wide, inside, across or outside the frame."""
    size = np.exp(rng.uniform(np.log(0.4), np.log(3.0 * np.array(frame.shape[1::-1]))))
    center = rng.uniform(-0.4 * size, frame.shape[1::-1] + 0.4 * size)
    return (*(center - size / 2).tolist(), *(center + size / 2).tolist())


def native_levels(
    native: NativeLibrary, frame: NDArray[Any], box: tuple[float, float, float, float], out: NDArray[Any], white: float
) -> NDArray[np.float64]:
    """Crop natively and return gray levels instead of the network's scale."""
    native.crop_into(out, frame, box, native.workspace_for(frame, out), SCALE, OFFSET, white)
    return (out.astype(np.float64) - OFFSET) / SCALE


def test_agrees_with_float64_over_random_boxes(native: NativeLibrary) -> None:
    rng = np.random.default_rng(5)
    worst, spread = [], []
    for _ in range(1000):
        frame, white = random_frame(rng)
        box = random_box(rng, frame)
        height, width = rng.integers(1, 50, 2)
        out = np.full((height, width + 3), np.nan, np.float32)[:, :width]
        expected = crop_levels(frame, box, (height, width), white)
        worst.append(np.abs(native_levels(native, frame, box, out, white) - expected).max())
        spread.append(np.ptp(expected))
    assert np.max(worst) < 0.01  # NaN fails
    assert np.median(spread) > 50


@pytest.mark.parametrize(
    "box",
    [
        (385.5, 105.5, 894.5, 614.5),
        (-200.3, -100.7, 308.7, 408.3),
        (900.2, 500.9, 1409.2, 1009.9),
        (600.0, 300.0, 660.0, 360.0),
    ],
    ids=["inside", "top left", "bottom right", "magnified"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_agrees_with_float64_on_a_camera_frame(
    native: NativeLibrary, box: tuple[float, float, float, float], channels: int
) -> None:
    shape = (720, 1280, 3)[: 2 if channels == 1 else 3]
    frame = np.random.default_rng(6).integers(0, 256, shape, dtype=np.uint8)
    expected = crop_levels(frame, box)
    assert np.abs(native_levels(native, frame, box, np.empty((96, 96), np.float32), 255.0) - expected).max() < 0.01
    assert np.ptp(expected) > 50


def test_writes_float16_and_int8(native: NativeLibrary) -> None:
    frame = np.random.default_rng(7).integers(0, 256, (90, 80, 3), dtype=np.uint8)
    box = (10.2, 11.3, 71.9, 80.4)
    expected = crop_levels(frame, box, (24, 20)) * SCALE + OFFSET
    assert np.ptp(expected) > 0.5
    half = np.empty((24, 20), np.float16)
    native.crop_into(half, frame, box, native.workspace_for(frame, half), SCALE, OFFSET)
    assert np.abs(half - expected).max() <= 2.0**-12 + 1e-6  # half the spacing of float16 below 1
    whole = np.empty((24, 20), np.int8)
    step = 1.0 / 127.0
    native.crop_into(whole, frame, box, native.workspace_for(frame, whole), SCALE, OFFSET, int8_step=step)
    assert np.abs(whole * step - expected).max() <= 0.5 * step + 1e-6


def test_gives_the_statistics_of_the_crop(native: NativeLibrary) -> None:
    frame = np.random.default_rng(9).integers(0, 256, (90, 80, 3), dtype=np.uint8)
    box = (10.2, 11.3, 71.9, 80.4)
    out = np.empty((24, 20), np.float32)
    found = native.crop_into(out, frame, box, native.workspace_for(frame, out), SCALE, OFFSET)
    expected = crop_levels(frame, box, (24, 20)) * SCALE + OFFSET
    assert expected.std() > 0.05
    statistics = (found.mean, found.deviation, found.smallest, found.largest)
    np.testing.assert_allclose(
        statistics, (expected.mean(), expected.std(), expected.min(), expected.max()), rtol=0, atol=1e-5
    )


def test_threads_with_their_own_workspaces_do_not_disturb_each_other(native: NativeLibrary) -> None:
    frame = np.random.default_rng(8).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    boxes = [(x, 0.7 * x, x + 150.5, 0.7 * x + 160.5) for x in np.linspace(-20, 200, 40)]

    def crop_all(_: int) -> NDArray[np.float32]:
        faces = np.empty((len(boxes), 64, 64), np.float32)
        workspace = native.workspace_for(frame, faces[0])
        for face, box in zip(faces, boxes, strict=True):
            native.crop_into(face, frame, box, workspace, SCALE, OFFSET)
        return faces

    alone = crop_all(0)
    with ThreadPoolExecutor(4) as pool:
        for together in pool.map(crop_all, range(8)):
            np.testing.assert_array_equal(together, alone)


def set_field(name: str, value: object) -> Callable[..., None]:
    """Return a function that spoils one field of a call: "frame.width" and the like."""
    struct, field = name.split(".")

    def spoil(**structs: Any) -> None:
        setattr(structs[struct], field, value)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "status", "start"),
    [
        (set_field("frame.data", None), INPUT_ERROR, "frame.data: got null, expected the address of row 0."),
        (set_field("frame.width", 0), INPUT_ERROR, "frame.width: got 0, expected 1 to 32768 pixels."),
        (set_field("frame.height", 40000), INPUT_ERROR, "frame.height: got 40000, expected 1 to 32768 pixels."),
        (set_field("frame.channels", 4), INPUT_ERROR, "frame.channels: got 4, expected 3 (B, G, R) or 1 (gray)."),
        (set_field("frame.pixel_type", 2), INPUT_ERROR, "frame.pixel_type: got 2, expected 0 (uint8) or 1 (uint16)."),
        (
            set_field("frame.row_stride_bytes", 50),
            INPUT_ERROR,
            "frame.row_stride_bytes: got 50, expected at least one row (150 bytes) up or down.",
        ),
        (
            set_field("frame.max_value", math.nan),
            INPUT_ERROR,
            "frame.max_value: got nan, expected 1e-6 to 255 for uint8.",
        ),
        (
            set_field("box.x0", -math.inf),
            INPUT_ERROR,
            "box.x0: got -inf, expected a finite number of pixels, -1e6 to 1e6.",
        ),
        (set_field("box.y1", 2.0), INPUT_ERROR, "box.y1: got 2, expected more than box.y0 (3)."),
        (set_field("out.data", None), CONFIG_ERROR, "out.data: got null, expected the address of row 0."),
        (set_field("out.width", 5000), CONFIG_ERROR, "out.width: got 5000, expected 1 to 4096 elements."),
        (
            set_field("out.element_type", 3),
            CONFIG_ERROR,
            "out.element_type: got 3, expected 0 (float32), 1 (float16) or 2 (int8).",
        ),
        (
            set_field("out.row_stride_bytes", 20),
            CONFIG_ERROR,
            "out.row_stride_bytes: got 20, expected at least one row (32 bytes).",
        ),
        (
            set_field("normalisation.scale", math.inf),
            CONFIG_ERROR,
            "normalisation.scale: got inf, expected a finite number, -1e6 to 1e6.",
        ),
    ],
)
def test_bad_input_gives_a_status_and_says_why(
    native: NativeLibrary, spoil: Callable[..., None], status: int, start: str
) -> None:
    pixels = np.full((40, 50, 3), 9, np.uint8)
    face = np.full((8, 8), -7.0, np.float32)
    structs: dict[str, Frame | Box | Normalisation | Tensor] = {
        "frame": frame_struct(pixels),
        "box": Box(2.0, 3.0, 40.0, 30.0),
        "normalisation": Normalisation(SCALE, OFFSET, 1.0),
        "out": tensor_struct(face),
    }
    workspace = native.workspace_for(pixels, face)
    native.call(**structs, workspace=workspace)  # right as it is
    face[:] = -7.0
    spoil(**structs)
    with pytest.raises(NativeError) as caught:
        native.call(**structs, workspace=workspace)
    assert caught.value.status == status
    assert str(caught.value).startswith(start)
    assert len(str(caught.value)) > len(start) + 10  # how to fix it
    assert (face == -7.0).all()


def test_a_workspace_that_is_too_small_is_refused(native: NativeLibrary) -> None:
    pixels, face = np.zeros((40, 50), np.uint8), np.zeros((8, 8), np.float32)
    workspace = native.workspace_for(pixels, face)
    with pytest.raises(NativeError, match=rf"^workspace: got {workspace.size - 1} bytes, expected at least") as caught:
        native.crop_into(face, pixels, (0.0, 0.0, 9.0, 9.0), workspace[:-1], SCALE, OFFSET)
    assert caught.value.status == CONFIG_ERROR
