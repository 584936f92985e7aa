# SPDX-License-Identifier: Apache-2.0
"""Compiles the stand-ins with the C++ compiler that the tests need anyway."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
KERNEL_SOURCE = FOLDER.parents[1] / "runtime" / "cuda" / "face_crop.cu"


def compile_library(sources: Sequence[Path], library: Path, *options: str) -> Path:
    """Compile C++ sources into a shared library."""
    made = library.with_name(f"{library.name}.{os.getpid()}")
    command = [os.environ.get("CXX", "g++"), "-shared", "-fPIC", "-O2", "-std=c++17", "-Wall", "-Wextra", "-Werror"]
    command += [f'-DKERNEL_SOURCE="{KERNEL_SOURCE}"', *options, *map(str, sources), "-o", str(made), "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made.replace(library)


@functools.cache
def shared_library(name: str) -> Path:
    """Compile name.cc beside this file and return the library; compiled once for each state of the sources."""
    sources = [FOLDER / f"{name}.cc", FOLDER / "kernel_host.cc", KERNEL_SOURCE]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir(), f"facedepth-fake-gpu-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"{name}-{digest}.so"
    return library if library.is_file() else compile_library([sources[0]], library)


def whole_driver(folder: Path, extension: Path) -> Path:
    """Make folder/libcuda.so.1: the stand-in, and every other function that a compiled extension asks of a driver.

    Those others return 100, CUDA_ERROR_NO_DEVICE.
    """
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", str(extension)], capture_output=True, text=True, check=True
    )
    wanted = set(re.findall(r"\b(cu[A-Z]\w*)", listed.stdout))
    known = set(re.findall(r"^int (cu[A-Z]\w*)\(", (FOLDER / "libcuda.cc").read_text(), re.MULTILINE))
    rest = folder / "rest.cc"
    rest.write_text("".join(f'extern "C" int {name}() {{ return 100; }}\n' for name in sorted(wanted - known)))
    return compile_library([FOLDER / "libcuda.cc", rest], folder / "libcuda.so.1", "-Wl,-soname,libcuda.so.1")


@functools.cache
def host_kernel() -> ctypes.CDLL:
    """Return the crop kernel, compiled for the host."""
    library = ctypes.CDLL(str(shared_library("kernel_host")))
    pointer, number = ctypes.c_void_p, ctypes.c_uint
    library.fake_launch.argtypes = [pointer, pointer, pointer, ctypes.c_int, number, number, number]
    library.fake_launch.restype = None
    library.fake_header_bytes.restype = ctypes.c_ulonglong
    return library
