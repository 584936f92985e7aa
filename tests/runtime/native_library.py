# SPDX-License-Identifier: Apache-2.0
"""Builds the native library with CMake and calls its C interface (facedepth.h) through ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]

OK, INPUT_ERROR, CONFIG_ERROR, INTERNAL_ERROR = range(4)
PIXEL_TYPES = {np.dtype(np.uint8): 0, np.dtype(np.uint16): 1}
ELEMENT_TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(np.int8): 2}


class Frame(ctypes.Structure):
    """fde_frame."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("channels", ctypes.c_int32),
        ("pixel_type", ctypes.c_int32),
        ("row_stride_bytes", ctypes.c_ssize_t),
        ("max_value", ctypes.c_double),
    )


class Tensor(ctypes.Structure):
    """fde_tensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("element_type", ctypes.c_int32),
        ("row_stride_bytes", ctypes.c_ssize_t),
    )


class Box(ctypes.Structure):
    """fde_box."""

    _fields_ = tuple((name, ctypes.c_double) for name in ("x0", "y0", "x1", "y1"))


class Normalisation(ctypes.Structure):
    """fde_normalisation."""

    _fields_ = tuple((name, ctypes.c_double) for name in ("scale", "offset", "int8_step"))


class Statistics(ctypes.Structure):
    """fde_statistics."""

    _fields_ = tuple((name, ctypes.c_double) for name in ("mean", "deviation", "smallest", "largest"))


class NativeError(Exception):
    """A call whose status is not OK: ``status``, and the library's message as the text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def find_tool(name: str) -> str:
    """Return the path of cmake or ninja, first beside this Python (pip puts them there), then on PATH."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    found = shutil.which(name, path=path)
    if found is None:
        raise FileNotFoundError(f"{name}: got nothing, expected it on PATH. Install it with pip install {name}.")
    return found


def run_tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run cmake or ctest; a failure raises with the tool's whole output."""
    command = [find_tool(name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: got exit status {done.returncode}.\n{done.stdout}{done.stderr}")
    return done


def configure(source: Path, build: Path, *options: str) -> None:
    """Configure a CMake project for Ninja, optimised, into a folder of its own."""
    ninja = f"-DCMAKE_MAKE_PROGRAM={find_tool('ninja')}"
    run_tool("cmake", "-S", source, "-B", build, "-G", "Ninja", ninja, "-DCMAKE_BUILD_TYPE=Release", *options)


def build_library(folder: Path) -> Path:
    """Build and install the native library.

    Args:
        folder: where to build (folder/build) and install (folder/installed); an earlier build there is used again.

    Returns:
        The installed shared library.
    """
    build, installed = folder / "build", folder / "installed"
    configure(ROOT, build, "-DFDE_WARNINGS_AS_ERRORS=ON", "-DCMAKE_INSTALL_LIBDIR=lib")
    run_tool("cmake", "--build", build)
    run_tool("cmake", "--install", build, "--prefix", installed)
    return installed / "lib" / "libfacedepth.so"


class NativeLibrary:
    """The C functions of one shared library, with NumPy arrays in place of their structs."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.fde_version.restype = ctypes.c_char_p
        text = (ctypes.c_char_p, ctypes.c_size_t)
        pointers = tuple(map(ctypes.POINTER, (Frame, Box, Normalisation, Tensor)))
        workspace = (ctypes.c_void_p, ctypes.c_size_t)
        self._library.fde_crop_face.argtypes = (*pointers, *workspace, ctypes.POINTER(Statistics), *text)
        sizes = (ctypes.c_int32, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(ctypes.c_size_t))
        self._library.fde_crop_face_workspace_bytes.argtypes = (*sizes, *text)

    def version(self) -> str:
        """Return the library's version."""
        return self._library.fde_version().decode()

    def workspace_for(self, frame: NDArray[Any], out: NDArray[Any]) -> NDArray[np.uint8]:
        """Allocate what crop_into needs for frames and outputs of these shapes."""
        size = ctypes.c_size_t()
        message = ctypes.create_string_buffer(512)
        channels = frame.shape[2] if frame.ndim == 3 else 1
        status = self._library.fde_crop_face_workspace_bytes(
            frame.shape[1], channels, out.shape[1], ctypes.byref(size), message, len(message)
        )
        if status != OK:
            raise NativeError(status, message.value.decode())
        return np.empty(size.value, np.uint8)

    def crop_into(
        self,
        out: NDArray[Any],
        frame: NDArray[Any],
        box: tuple[float, float, float, float],
        workspace: NDArray[np.uint8],
        scale: float,
        offset: float,
        max_value: float = 255.0,
        int8_step: float = 1.0,
    ) -> Statistics:
        """Write the face under a box into out.

        Args:
            out: (h, w) float32, float16 or int8, any row stride; overwritten.
            frame: (H, W) or (H, W, 3) BGR, uint8 or uint16, any row stride.
            box: (x0, y0, x1, y1) in pixels.
            workspace: from workspace_for.
            scale: out = scale * gray + offset.
            offset: see scale.
            max_value: the pixel value of white.
            int8_step: the quantisation scale of an int8 out.

        Returns:
            Mean, deviation, smallest and largest of what was written, before rounding.

        Raises:
            NativeError: the library refused.
        """
        return self.call(
            frame_struct(frame, max_value),
            Box(*box),
            Normalisation(scale, offset, int8_step),
            tensor_struct(out),
            workspace,
        )

    def call(
        self, frame: Frame, box: Box, normalisation: Normalisation, out: Tensor, workspace: NDArray[np.uint8]
    ) -> Statistics:
        """Call fde_crop_face with these structs; raises NativeError."""
        statistics = Statistics()
        message = ctypes.create_string_buffer(512)
        status = self._library.fde_crop_face(
            frame,
            box,
            normalisation,
            out,
            workspace.ctypes.data,
            workspace.nbytes,
            ctypes.byref(statistics),
            message,
            len(message),
        )
        if status != OK:
            raise NativeError(status, message.value.decode())
        return statistics


def frame_struct(frame: NDArray[Any], max_value: float = 255.0) -> Frame:
    """Describe a frame, which must outlive the struct."""
    channels = frame.shape[2] if frame.ndim == 3 else 1
    assert frame.strides[1] == channels * frame.itemsize, "pixels of a row lie side by side"
    return Frame(
        frame.ctypes.data,
        frame.shape[1],
        frame.shape[0],
        channels,
        PIXEL_TYPES[frame.dtype],
        frame.strides[0],
        max_value,
    )


def tensor_struct(out: NDArray[Any]) -> Tensor:
    """Describe a plane to write, which must outlive the struct."""
    assert out.strides[1] == out.itemsize, "elements of a row lie side by side"
    return Tensor(out.ctypes.data, out.shape[1], out.shape[0], ELEMENT_TYPES[out.dtype], out.strides[0])
