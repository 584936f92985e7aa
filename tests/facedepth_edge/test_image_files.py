# SPDX-License-Identifier: Apache-2.0
"""Tests how frames and depth images are read from files."""

import cv2
import numpy as np
import pytest

from facedepth_edge.errors import InputError
from facedepth_edge.image_files import read_depth, read_frame


def gradient(shape, dtype):
    """Return an array in which no two neighbours are equal."""
    return (np.arange(np.prod(shape)).reshape(shape) * 7 % (np.iinfo(dtype).max + 1)).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "dtype", "suffix"),
    [((5, 7, 3), np.uint8, "png"), ((5, 7), np.uint8, "png"), ((5, 7), np.uint16, "png"), ((5, 7, 3), np.uint8, "bmp")],
)
def test_a_lossless_frame_comes_back_as_it_was_written(tmp_path, shape, dtype, suffix):
    frame = gradient(shape, dtype)
    path = tmp_path / f"frame.{suffix}"
    assert cv2.imwrite(str(path), frame)
    read = read_frame(path)
    assert read.dtype == dtype
    assert read.flags.c_contiguous
    np.testing.assert_array_equal(read, frame)


def test_an_alpha_channel_is_dropped(tmp_path):
    frame = gradient((6, 5, 4), np.uint8)
    path = tmp_path / "frame.png"
    assert cv2.imwrite(str(path), frame)
    np.testing.assert_array_equal(read_frame(path), frame[..., :3])


def test_a_path_with_other_letters_is_read(tmp_path):
    path = tmp_path / "fahrer ü 顔.png"
    path.write_bytes(cv2.imencode(".png", gradient((4, 4, 3), np.uint8))[1].tobytes())
    assert read_frame(path).shape == (4, 4, 3)


def test_what_is_no_image_is_named(tmp_path):
    text, empty, cut = tmp_path / "text.png", tmp_path / "empty.png", tmp_path / "cut.png"
    text.write_text("not an image")
    empty.write_bytes(b"")
    data = cv2.imencode(".png", gradient((64, 64, 3), np.uint8))[1].tobytes()
    cut.write_bytes(data[: len(data) // 2])
    for path in (text, empty, cut, tmp_path / "missing.png", tmp_path):
        with pytest.raises(InputError, match=r"got .+, expected an image file") as caught:
            read_frame(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["nul\0.png", "half\ud800.png"])
def test_a_name_that_the_system_does_not_take_is_told(tmp_path, name):
    for read in (read_frame, read_depth):
        with pytest.raises(InputError, match=r"expected a"):
            read(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.int16, np.int32])
def test_pixels_of_another_kind_are_refused(tmp_path, dtype):
    path = tmp_path / "frame.tiff"
    assert cv2.imwrite(str(path), np.ones((5, 7), dtype))
    told = rf"frame\.tiff: got {np.dtype(dtype)} pixels, expected uint8 or uint16 ones\. Convert it to 8 bits"
    with pytest.raises(InputError, match=told):
        read_frame(path)


ODD_HEADERS = {
    "keys": "{'descr': '<f8', 'fortran_order': False, 3: (2, 2)}",
    "dtype": "{'descr': ('<f8',), 'fortran_order': False, 'shape': (2, 2)}",
    "shape": "{'descr': '<f8', 'fortran_order': False, 'shape': (2.5, 2)}",
    "deep": "-" * 5000 + "1",
}


@pytest.mark.parametrize("header", ODD_HEADERS.values(), ids=ODD_HEADERS)
def test_an_npy_with_an_odd_header_is_refused(tmp_path, header):
    length = len(header).to_bytes(4, "little")
    (tmp_path / "depth.npy").write_bytes(b"\x93NUMPY\x02\x00" + length + header.encode() + bytes(64))
    with pytest.raises(InputError, match=r"depth\.npy: got .+, expected a 16-bit gray PNG"):
        read_depth(tmp_path / "depth.npy")


def test_depth_is_read_from_png_and_npy(tmp_path):
    depth = gradient((5, 7), np.uint16)
    assert cv2.imwrite(str(tmp_path / "depth.png"), depth)
    np.save(tmp_path / "depth.npy", depth.astype(np.float32))
    for name, dtype in (("depth.png", np.uint16), ("depth.npy", np.float32)):
        read = read_depth(tmp_path / name)
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, depth)


def test_depth_of_another_kind_is_refused(tmp_path):
    assert cv2.imwrite(str(tmp_path / "gray8.png"), gradient((5, 7), np.uint8))
    assert cv2.imwrite(str(tmp_path / "colour16.png"), gradient((5, 7, 3), np.uint16))
    np.save(tmp_path / "planes.npy", np.ones((2, 5, 7)))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "archive.npz", depth=np.ones((5, 7)))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.png").write_text("not an image")
    for name in ("gray8.png", "colour16.png", "planes.npy", "objects.npy", "archive.npy", "empty.npy", "text.png",
                 "missing.npy", "missing.png"):  # fmt: skip
        with pytest.raises(InputError, match=r"got .+, expected a 16-bit gray PNG") as caught:
            read_depth(tmp_path / name)
        assert name in str(caught.value)
