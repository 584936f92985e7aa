# SPDX-License-Identifier: Apache-2.0
"""The CUDA crop kernel's arithmetic, compiled for the host, against the float64 oracle; and nvcc's opinion of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.cuda_kernels import FLAGS, find_nvcc
from facedepth_edge.device_lane import HEADER, _needed
from tests.fake_gpu.build import KERNEL_SOURCE, host_kernel
from tests.oracles.face_crop import crop_levels

LEVELS = 0.01
SCALE, OFFSET = 1 / 127.5, -1.0
Boxes = list[tuple[float, float, float, float]]


def run_kernel(
    frame: np.ndarray, boxes: Boxes, size_hw: tuple[int, int], level: float = 1.0, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return (gray levels (faces, h, w) float64, statistics (faces, h, 4)) from the part that is needed."""
    top, bottom = _needed([(box[1], box[3]) for box in boxes], frame.shape[0])
    left, right = _needed([(box[0], box[2]) for box in boxes], frame.shape[1])
    pixels = np.ascontiguousarray(frame[top:bottom, left:right])
    header = np.zeros((), HEADER)
    header["pixels"], header["row_bytes"] = pixels.ctypes.data, pixels.strides[0]
    header["height"], header["width"] = pixels.shape[:2]
    header["channels"], header["bytes_a_value"] = (1 if frame.ndim == 2 else 3), frame.itemsize
    header["level"], header["scale"], header["offset"] = level, SCALE, OFFSET
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        header["box"][index] = (x0 - left, y0 - top, x1 - left, y1 - top)
    out = np.full((len(boxes), *size_hw), np.nan, np.float32)
    statistics = np.full((len(boxes), size_hw[0], 4), np.nan, np.float32)
    host_kernel().fake_launch(
        header.ctypes.data, out.ctypes.data, statistics.ctypes.data, size_hw[1], size_hw[0], len(boxes), threads
    )
    return (out.astype(np.float64) - OFFSET) / SCALE, statistics


def make_frame(rng: np.random.Generator, shape: tuple[int, ...], dtype: type, top: int) -> np.ndarray:
    """Noise with bright and dark blocks, so that a pixel too far shows."""
    noise = rng.integers(0, top + 1, shape)
    blocks = rng.integers(0, 2, (shape[0] // 7 + 1, shape[1] // 7 + 1)).repeat(7, 0).repeat(7, 1) * top
    blocks = blocks[: shape[0], : shape[1]]
    return np.where(rng.random(shape) < 0.5, noise, blocks if len(shape) == 2 else blocks[..., None]).astype(dtype)


def test_header_is_the_kernels() -> None:
    assert host_kernel().fake_header_bytes() == HEADER.itemsize == 312


@pytest.mark.parametrize(("dtype", "max_value"), [(np.uint8, 255), (np.uint16, 1023), (np.uint16, 65535)])
@pytest.mark.parametrize("channels", [1, 3])
def test_random_boxes(dtype: type, max_value: int, channels: int) -> None:
    rng = np.random.default_rng(max_value + channels)
    level = 255 / max_value
    kinds: set[tuple[bool, bool]] = set()
    varied = 0
    for _ in range(40):
        hw = tuple(int(size) for size in rng.integers(1, 120, 2))
        frame = make_frame(rng, hw if channels == 1 else (*hw, 3), dtype, max_value)
        size_hw = tuple(int(size) for size in rng.integers(1, 24, 2))
        center, size = rng.uniform(-30, 150, 2), np.exp(rng.uniform(-1, 5, 2))
        box = (center[0] - size[0], center[1] - size[1], center[0] + size[0], center[1] + size[1])
        expected = crop_levels(frame, box, size_hw, max_value)
        levels, _ = run_kernel(frame, [box], size_hw, level)
        np.testing.assert_allclose(levels[0], expected, atol=LEVELS, rtol=0)
        kinds.add((bool(2 * size[0] > size_hw[1]), bool(2 * size[1] > size_hw[0])))
        varied += bool(expected.std() > 5)
    assert len(kinds) == 4, "each axis both shrinks and grows"
    assert varied >= 8


def test_boxes_that_end_on_pixels() -> None:
    rng = np.random.default_rng(3)
    frame = make_frame(rng, (97, 131, 3), np.uint8, 255)
    for box in [
        (0, 0, 131, 97),
        (10, 20, 34, 44),
        (10, 20, 22, 32),
        (-12, -12, 0, 0),
        (131, 97, 155, 121),
        (5, 5, 5.5, 6),
    ]:
        levels, _ = run_kernel(frame, [box], (12, 12))
        np.testing.assert_allclose(levels[0], crop_levels(frame, box, (12, 12)), atol=LEVELS, rtol=0)


def test_box_far_outside_and_very_large() -> None:
    frame = make_frame(np.random.default_rng(4), (61, 83), np.uint8, 255)
    for box in [(-4e4, -4e4, 4e4, 4e4), (5e4, -3e4, 6e4, -2e4), (-40.25, 3.5, 2e4, 50.125)]:
        levels, _ = run_kernel(frame, [box], (6, 9))
        np.testing.assert_allclose(levels[0], crop_levels(frame, box, (6, 9)), atol=LEVELS, rtol=0)


def test_several_faces_share_one_upload() -> None:
    frame = make_frame(np.random.default_rng(5), (120, 160, 3), np.uint8, 255)
    boxes: Boxes = [(10.3, 5.7, 80.1, 75.2), (100.5, 60.25, 170.75, 130.5), (60, 60, 66, 66)]
    levels, statistics = run_kernel(frame, boxes, (16, 20))
    for index, box in enumerate(boxes):
        np.testing.assert_allclose(levels[index], crop_levels(frame, box, (16, 20)), atol=LEVELS, rtol=0)
    assert len({float(part) for part in statistics[:, :, 0].mean(axis=1)}) == 3


@pytest.mark.parametrize("threads", [1, 3, 8, 32])
def test_statistics_of_each_row(threads: int) -> None:
    """With any number of threads in a block the same crop, and a fold that leaves nothing out."""
    frame = make_frame(np.random.default_rng(6), (90, 90), np.uint8, 255)
    box, size_hw = (3.3, 4.4, 77.7, 88.8), (5, 29)
    levels, statistics = run_kernel(frame, [box], size_hw, threads=threads)
    np.testing.assert_allclose(levels[0], crop_levels(frame, box, size_hw), atol=LEVELS, rtol=0)
    values = levels[0] * SCALE + OFFSET
    assert values.std() > 0.1
    np.testing.assert_allclose(statistics[0, :, 0], values.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(statistics[0, :, 1], values.var(axis=1) * size_hw[1], rtol=1e-4)
    np.testing.assert_allclose(statistics[0, :, 2], values.min(axis=1), atol=1e-6)
    np.testing.assert_allclose(statistics[0, :, 3], values.max(axis=1), atol=1e-6)


def test_wide_frame_keeps_its_precision() -> None:
    """At pixel 30,000 a float position would be off by 0.002 pixels."""
    frame = make_frame(np.random.default_rng(7), (9, 32768), np.uint8, 255)
    box = (30000.123, 1.5, 30480.789, 7.25)
    levels, _ = run_kernel(frame, [box], (4, 96))
    np.testing.assert_allclose(levels[0], crop_levels(frame, box, (4, 96)), atol=LEVELS, rtol=0)


@pytest.mark.toolchain
@pytest.mark.parametrize("architecture", ["sm_87", "sm_89"])
def test_nvcc_compiles_it(architecture: str, tmp_path: Path) -> None:
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("there is no nvcc")
    cubin = tmp_path / "face_crop.cubin"
    command = [nvcc, *FLAGS, f"-arch={architecture}", "-Werror", "all-warnings", "-o", str(cubin), str(KERNEL_SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"fde_face_crop" in cubin.read_bytes()
