# SPDX-License-Identifier: Apache-2.0
"""The driver's calls by ctypes: names and arguments against cuda.h, graphs and their failures on a stand-in."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge import cuda
from facedepth_edge.cuda_driver import _SIGNATURES, STICKY_CODES, CudaError, Driver, Graph, open_driver
from facedepth_edge.cuda_kernels import find_nvcc
from facedepth_edge.errors import BackendUnavailable
from tests.fake_gpu.installed import Machine

OF_FOUR_BYTES = ("unsigned int", "int", "CUdevice", "CUresult", "CUstreamCaptureMode", "CUpointer_attribute")


def header() -> str:
    """Return cuda.h with its macros done, so that the names are the exported ones."""
    nvcc = find_nvcc()
    for folder in (Path(nvcc).resolve().parents[1] if nvcc else Path("/usr/local/cuda"), Path("/usr/local/cuda")):
        for place in (folder / "include", folder / "targets" / "x86_64-linux" / "include"):
            if (place / "cuda.h").is_file():
                command = [os.environ.get("CXX", "g++"), "-E", "-P", "-x", "c++", str(place / "cuda.h")]
                return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pytest.skip("there is no cuda.h")


@pytest.mark.toolchain
def test_names_and_arguments_are_those_of_cuda_h() -> None:
    """A pointer or a handle is 8 bytes, an int, an enum and a CUdevice 4."""
    text = header()
    prototypes = dict(re.findall(r"CUresult\s+(cu\w+)\s*\(([^)]*)\)\s*;", text))
    for name, types in _SIGNATURES.items():
        parameters = [part.strip() for part in prototypes[name].split(",") if part.strip() not in ("", "void")]
        sizes = []
        for part in parameters:
            kind = re.sub(r"\bconst\b|\s+\w+$", "", part).strip()
            sizes.append(4 if "*" not in part and kind in OF_FOUR_BYTES else 8)
        assert sizes == [ctypes.sizeof(each) for each in types], f"{name}({prototypes[name]})"
    for code in STICKY_CODES:
        assert re.search(rf"CUDA_ERROR_\w+\s*=\s*{code}\b", text)
    assert re.search(r"CU_STREAM_CAPTURE_MODE_THREAD_LOCAL\s*=\s*1\b", text)
    assert re.search(r"CU_STREAM_NON_BLOCKING\s*=\s*0x1\b", text)
    assert re.search(r"CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL\s*=\s*9\b", text)
    assert re.search(r"CUDA_ERROR_INVALID_VALUE\s*=\s*1\b", text)


def test_driver_that_lacks_a_function(tmp_path: Path) -> None:
    source = tmp_path / "old.cc"
    source.write_text('extern "C" int cuInit(unsigned) { return 0; }\n')
    library = tmp_path / "old.so"
    command = [os.environ.get("CXX", "g++"), "-shared", "-fPIC", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    with pytest.raises(BackendUnavailable, match=r"CUDA driver: got .*expected a driver of CUDA 12 or later, with cu"):
        Driver(str(library))


def test_error_names_call_code_and_the_drivers_words(gpu: Machine) -> None:
    driver = open_driver()
    gpu.driver.fake_fail(b"cuDeviceGetCount", 700, 1)
    with pytest.raises(CudaError, match=r"cuDeviceGetCount: got 700 CUDA_ERROR_ILLEGAL_ADDRESS: an illegal") as caught:
        driver.device_names()
    assert caught.value.sticky
    gpu.driver.fake_fail(b"cuDeviceGetCount", 999, 1)
    with pytest.raises(CudaError, match=r"cuDeviceGetCount: got 999") as passing:
        driver.device_names()
    assert not passing.value.sticky
    assert driver.device_names() == ["Fake Orin"]
    assert driver.version() == (12, 6)


def test_capture_that_fails_leaves_a_usable_stream(gpu: Machine) -> None:
    session = cuda.open_session()
    with session.current():
        stream = session.stream()
        graph = Graph(session.driver)
        with pytest.raises(ZeroDivisionError), graph.capture(stream.handle):
            raise ZeroDivisionError
        assert gpu.driver.fake_is_capturing(ctypes.c_void_p(stream.handle)) == 0
        assert gpu.driver.fake_graphs() == 0
        with graph.capture(stream.handle):
            pass
        assert gpu.driver.fake_graphs() == 2
        graph.launch(stream.handle)
        session.wait(stream)
        graph.close()
        graph.close()
        assert gpu.driver.fake_graphs() == 0


@pytest.mark.parametrize("call", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_each_step_of_a_capture_may_fail(gpu: Machine, call: str) -> None:
    session = cuda.open_session()
    with session.current():
        stream = session.stream()
        graph = Graph(session.driver)
        gpu.driver.fake_fail(call.encode(), 901, 1)
        with pytest.raises(CudaError, match=call), graph.capture(stream.handle):
            pass
        graph.close()
        assert gpu.driver.fake_graphs() == 0
        session.wait(stream)


def test_one_session_for_all_threads(gpu: Machine) -> None:
    sessions: list[cuda.Session] = []
    threads = [threading.Thread(target=lambda: sessions.append(cuda.open_session())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(sessions) == 4
    assert len(set(map(id, sessions))) == 1
    assert gpu.log().count("cuDevicePrimaryCtxRetain") == 1


def test_context_of_somebody_else_is_never_reset(gpu: Machine) -> None:
    gpu.driver.fake_activate()
    session = cuda.open_session()
    with pytest.raises(CudaError, match="shared with another user of the GPU in this process"):
        session.recover([object()], CudaError("lost"))
    assert "cuDevicePrimaryCtxReset_v2" not in gpu.log()


def test_gpu_of_an_address(gpu: Machine) -> None:
    """Ours, anywhere in it; another GPU's; the host's, which CUDA does not know; and an error that is none of these."""
    session = cuda.open_session()
    with session.current():
        buffer, page_locked = session.device_buffer((64,), np.uint8), session.host_buffer(64)
        assert session.driver.gpu_of(buffer.address) == session.driver.gpu_of(buffer.address + 63) == 0
        assert session.driver.gpu_of(page_locked.address) == 0
        other, plain = gpu.place(np.zeros(64, np.uint8), 1), np.zeros(64, np.uint8)
        assert session.driver.gpu_of(other.ctypes.data + 63) == 1
        assert session.driver.gpu_of(plain.ctypes.data) is None
        gpu.driver.fake_fail(b"cuPointerGetAttribute", 700, 1)
        with pytest.raises(CudaError, match="cuPointerGetAttribute: got 700") as caught:
            session.driver.gpu_of(buffer.address)
        assert caught.value.sticky
        buffer.close()
        page_locked.close()
