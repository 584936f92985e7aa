# SPDX-License-Identifier: Apache-2.0
"""A call that fails leaves nothing half-made on the GPU: the next frames are right, and the memory comes back."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facedepth_edge import EdgeDepth
from facedepth_edge.backends import onnxruntime_cuda
from facedepth_edge.backends.tensorrt import TensorRtBackend
from facedepth_edge.cuda import Session, open_session
from facedepth_edge.cuda_driver import CudaError, Kernel, cuda_error
from facedepth_edge.device_lane import FIRST_ROOM_BYTES
from tests.facedepth_edge.test_device_path import CENTER, DISTANCE_MM, assert_right
from tests.fake_gpu.installed import Machine
from tests.fake_gpu.onnxruntime import FakeOnnxRuntime

PAIR = [CENTER, (300.0, 120.0)]


@pytest.fixture(params=["tensorrt", "onnxruntime"])
def edge(request: pytest.FixtureRequest, ort: FakeOnnxRuntime, trt_artifact: Path) -> Iterator[EdgeDepth]:
    with EdgeDepth(trt_artifact, request.param, "fp16") as opened:
        assert opened.info["memory"] == "cuda"
        yield opened


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    def arrange(owner: Any, name: str, times: int = 1) -> list[str]:
        """Let the next calls of a method fail; return the list that tells of them."""
        real, failed = getattr(owner, name), []

        def method(*arguments: Any, **keywords: Any) -> Any:
            if len(failed) < times:
                failed.append(name)
                raise cuda_error(name, "failed once")
            return real(*arguments, **keywords)

        monkeypatch.setattr(owner, name, method)
        return failed

    return arrange


def device_memory(gpu: Machine) -> tuple[int, int]:
    gc.collect()
    return gpu.driver.fake_device_allocations(), gpu.driver.fake_host_allocations()


@pytest.mark.parametrize("what", ["host_buffer", "device_buffer"])
def test_a_frame_that_finds_no_room(
    gpu: Machine, edge: EdgeDepth, frame: np.ndarray, fail: Callable[..., list[str]], what: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    large = np.kron(frame[:, :, 0], np.ones((8, 8), np.uint8))  # a box of 1,600 pixels at this distance
    for _ in range(4):
        assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)
    before = device_memory(gpu)
    monkeypatch.setattr(edge, "_camera", None)
    failed = fail(Session, what)
    at = {"head_center": (2000.0, 1360.0), "distance_mm": 300.0}
    with pytest.raises(CudaError, match=f"{what}: got"):
        edge.predict(large, **at)
    assert failed == [what]
    assert device_memory(gpu) == before
    for _ in range(3):
        assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)
        assert_right(edge.predict(large, **at), large)


def test_a_batch_that_cannot_be_bound(
    gpu: Machine, edge: EdgeDepth, frame: np.ndarray, fail: Callable[..., list[str]]
) -> None:
    for _ in range(4):
        edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
    before = device_memory(gpu)
    on_tensorrt = edge.info["backend"] == "tensorrt"
    fail(*((TensorRtBackend, "_bind") if on_tensorrt else (onnxruntime_cuda._Bound, "bind")), times=2)
    for _ in range(2):
        with pytest.raises(CudaError, match="failed once"):
            edge.predict_batch(frame, PAIR, distances_mm=[DISTANCE_MM] * 2)
        assert device_memory(gpu) == before
        assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)
    for result in edge.predict_batch(frame, PAIR, distances_mm=[DISTANCE_MM] * 2):
        assert_right(result, frame)
    assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)


def test_a_thread_that_finds_no_room(
    gpu: Machine, edge: EdgeDepth, frame: np.ndarray, fail: Callable[..., list[str]]
) -> None:
    edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
    before = device_memory(gpu)
    fail(Session, "host_buffer", times=2)
    seen: list[BaseException | None] = []

    def predict() -> None:
        for _ in range(3):
            try:
                assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)
                seen.append(None)
            except CudaError as error:
                seen.append(error)
                assert device_memory(gpu) == before

    thread = threading.Thread(target=predict)
    thread.start()
    thread.join(60)
    assert [type(error) for error in seen] == [CudaError, CudaError, type(None)]
    edge.close()
    del seen[:]
    assert device_memory(gpu) == (0, 0)


@pytest.mark.parametrize("bytes_that_fail", ["statistics", "staging", "uploaded"])
def test_a_lane_that_cannot_be_made_leaves_nothing(
    gpu: Machine, edge: EdgeDepth, frame: np.ndarray, bytes_that_fail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of its buffers is not to be had: the kernel's module and the other buffers are let go at once."""

    def held() -> tuple[int, int, int]:
        modules = gpu.log().count("cuModuleLoadData") - gpu.log().count("cuModuleUnload")
        return modules, gpu.driver.fake_device_allocations(), gpu.driver.fake_host_allocations()

    host_buffer, device_buffer, seen = Session.host_buffer, Session.device_buffer, []

    def host(self: Session, size: int) -> Any:
        if bytes_that_fail == ("staging" if size == FIRST_ROOM_BYTES else "statistics"):
            raise cuda_error("cuMemHostAlloc", "out of memory")
        return host_buffer(self, size)

    def device(self: Session, shape: tuple[int, ...], dtype: Any) -> Any:
        if bytes_that_fail == "uploaded" and shape == (FIRST_ROOM_BYTES,):
            raise cuda_error("cuMemAlloc", "out of memory")
        return device_buffer(self, shape, dtype)

    def work() -> None:
        for _ in range(3):
            try:
                edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
            except CudaError as error:  # which keeps the half-made lane alive, but nothing on the GPU
                seen.append((str(error), held(), error))

    assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)
    before = held()
    monkeypatch.setattr(Session, "host_buffer", host)
    monkeypatch.setattr(Session, "device_buffer", device)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert ["out of memory" in text for text, _, _ in seen] == [True] * 3
    assert [now for _, now, _ in seen] == [before] * 3


def test_page_locked_memory_without_an_address_is_freed(gpu: Machine) -> None:
    session = open_session()
    gpu.driver.fake_fail(b"cuMemHostGetDevicePointer_v2", 1, 1)
    with session.current(), pytest.raises(CudaError, match="cuMemHostGetDevicePointer_v2") as caught:
        session.host_buffer(4096)
    assert caught.value.__traceback__ is not None  # and with it the array
    assert gpu.driver.fake_host_allocations() == 0


def test_module_without_the_kernel_is_unloaded(gpu: Machine) -> None:
    session = open_session()
    with session.current(), pytest.raises(CudaError, match="cuModuleGetFunction: got 500"):
        Kernel(session.driver, b"cubin", "another_kernel")
    assert gpu.log().count("cuModuleLoadData") == gpu.log().count("cuModuleUnload") == 1
