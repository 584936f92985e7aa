# SPDX-License-Identifier: Apache-2.0
"""Compiles the CUDA kernels on the device that runs them, for its own architecture, and caches them like the engine.

A cubin of a newer CUDA does not load on an older driver, so none is shipped.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from facedepth_edge.engine_cache import FIRST_DIGITS, cache_folder, read_if_there, write_whole
from facedepth_edge.errors import BackendUnavailable, ConfigError
from facedepth_edge.system_tool import run_tool

CROP_SOURCE = "face_crop.cu"
CROP_KERNEL = "fde_face_crop"
FLAGS = ("-cubin", "-std=c++17", "-O3")
TOOLKIT_FOLDER = "/usr/local/cuda"  # where JetPack and NVIDIA's own packages put it, often not on PATH
TIMEOUT_S = 300

_SOURCE_FOLDERS = (
    Path(__file__).resolve().parent / "kernels",  # in the wheel
    Path(__file__).resolve().parents[1] / "runtime" / "cuda",  # in a checkout
)


def kernel_source(name: str) -> bytes:
    """Read a kernel's source.

    Raises:
        BackendUnavailable: this installation has no such file.
    """
    for folder in _SOURCE_FOLDERS:
        content = read_if_there(folder / name)
        if content:
            return content
    fix = "Install facedepth-edge again."
    raise BackendUnavailable.of("CUDA kernels", f"no {name}", f"the file in {_SOURCE_FOLDERS[0]}", fix)


def find_nvcc() -> str | None:
    """Return the path of CUDA's compiler: in $CUDA_HOME, on PATH, or in /usr/local/cuda; None where it is missing."""
    home = os.environ.get("CUDA_HOME")
    asked = shutil.which("nvcc", path=str(Path(home, "bin"))) if home else None
    return asked or shutil.which("nvcc") or shutil.which("nvcc", path=str(Path(TOOLKIT_FOLDER, "bin")))


def nvcc_version(nvcc: str) -> tuple[int, int] | None:
    """Return the CUDA version of a compiler as it says it, for example (12, 6); None where it does not."""
    found = re.search(r"release (\d+)\.(\d+)", run_tool(nvcc, "--version"))
    return (int(found[1]), int(found[2])) if found else None


def cubin_file(name: str, source: bytes, architecture: str) -> Path:
    """Return where the compiled form of a source lies; it depends on the source, the flags and the architecture."""
    digest = hashlib.sha256(source + "\0".join(FLAGS).encode()).hexdigest()[:FIRST_DIGITS]
    return cache_folder() / "kernels" / f"{Path(name).stem}-{architecture}-{digest}.cubin"


def compiled_kernel(name: str, architecture: str, *, anew: bool = False) -> bytes:
    """Return a kernel's binary for a GPU, from the cache or compiled now (some seconds).

    Args:
        name: the source's file name.
        architecture: for example "sm_87".
        anew: compile even if the cache has it.

    Returns:
        The cubin.

    Raises:
        BackendUnavailable: there is no compiler, or it failed; its own lines are in the text.
    """
    source = kernel_source(name)
    file = cubin_file(name, source, architecture)
    cubin = b"" if anew else read_if_there(file)
    if not cubin:
        cubin = _compile(name, source, architecture)
        with suppress(ConfigError):  # it is compiled again next time, in some seconds
            write_whole(file, cubin)
    return cubin


def _compile(name: str, source: bytes, architecture: str) -> bytes:
    nvcc = find_nvcc()
    if nvcc is None:
        rule = f"nvcc in $CUDA_HOME/bin, on PATH or in {TOOLKIT_FOLDER}/bin"
        fix = "Install the CUDA toolkit: on a Jetson sudo apt install nvidia-jetpack."
        raise BackendUnavailable.of("CUDA compiler", "none", rule, fix)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path, result = Path(folder, name), Path(folder, "kernel.cubin")
            path.write_bytes(source)
            command = [nvcc, *FLAGS, f"-arch={architecture}", "-o", str(result), str(path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
            reason = done.stdout + done.stderr or f"exit status {done.returncode}"
            cubin = read_if_there(result)
    except (OSError, subprocess.TimeoutExpired) as error:  # OSError also where no temporary file can be written
        cubin, reason = b"", str(error)
    if not cubin:
        fix = "Check that the CUDA toolkit fits this GPU, that a C++ compiler is there, and that $TMPDIR has room."
        raise BackendUnavailable.of("nvcc", reason, f"a kernel compiled for {architecture}", fix)
    return cubin
