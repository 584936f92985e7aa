# SPDX-License-Identifier: Apache-2.0
"""A context that is lost: made anew once, or a clear error at once for every later frame of every thread."""

from __future__ import annotations

import gc
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facedepth_edge import EdgeDepth
from facedepth_edge.cuda import Session, open_session
from facedepth_edge.cuda_driver import CudaError, Driver
from facedepth_edge.device_path import DevicePath
from facedepth_edge.errors import ArtifactError, BackendUnavailable, ConfigError
from tests.facedepth_edge.test_device_path import CENTER, DISTANCE_MM, assert_right
from tests.fake_gpu.installed import Machine
from tests.fake_gpu.onnxruntime import FakeOnnxRuntime

ENOUGH_S = 60  # for a few frames on a machine that is busy


@pytest.fixture(params=["tensorrt", "onnxruntime"])
def edge(request: pytest.FixtureRequest, ort: FakeOnnxRuntime, trt_artifact: Path) -> Iterator[EdgeDepth]:
    with EdgeDepth(trt_artifact, request.param, "fp16") as opened:
        assert opened.info["memory"] == "cuda"
        yield opened


def predict(edge: EdgeDepth, frame: np.ndarray) -> Any:
    return edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)


def in_thread(work: Callable[[], Any]) -> Any:
    """Return what a thread's work returns or raises; fail where it does neither in time."""
    seen: list[Any] = []

    def run() -> None:
        try:
            seen.append(work())
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
            seen.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(ENOUGH_S)
    assert seen, "it neither returned nor raised"
    return seen[0]


def errors_of(edge: EdgeDepth, frame: np.ndarray, times: int) -> list[CudaError]:
    errors = []
    for _ in range(times):
        with pytest.raises(CudaError) as caught:
            predict(edge, frame)
        errors.append(caught.value)
    return errors


def lose_and_predict(gpu: Machine, edge: EdgeDepth, frame: np.ndarray) -> list[CudaError]:
    """Lose the context in the middle; return what three frames of one thread and one of another get."""

    def work() -> list[CudaError]:
        assert_right(predict(edge, frame), frame)
        gpu.driver.fake_lose()
        return errors_of(edge, frame, 3)

    errors = in_thread(work)
    assert isinstance(errors, list), errors
    others = in_thread(lambda: errors_of(edge, frame, 1))
    assert isinstance(others, list), others
    return [*errors, *others]


def assert_closes(edge: EdgeDepth, frame: np.ndarray, gpu: Machine, ort: FakeOnnxRuntime) -> None:
    assert in_thread(edge.close) is None
    assert in_thread(edge.close) is None
    assert isinstance(in_thread(lambda: predict(edge, frame)), ConfigError)
    gc.collect()
    assert gpu.trt.destroyed_in_lost_context == ort.destroyed_in_lost_context == 0


def test_lost_context_is_made_anew_once(gpu: Machine, ort: FakeOnnxRuntime, edge: EdgeDepth, frame: np.ndarray) -> None:
    right = predict(edge, frame).depth_mm
    in_thread(lambda: predict(edge, frame))
    gpu.driver.fake_clear_log()
    gpu.driver.fake_lose()
    assert np.array_equal(right, predict(edge, frame).depth_mm)
    assert gpu.log().count("cuDevicePrimaryCtxReset_v2") == 1
    assert gpu.driver.fake_live_at_reset() == 0, "what is freed later may be somebody else's by then"
    assert gpu.trt.builds == (edge.info["backend"] == "tensorrt")
    for _ in range(4):
        assert np.array_equal(right, predict(edge, frame).depth_mm)
    gpu.driver.fake_lose()
    with pytest.raises(CudaError, match=r"an illegal memory access was encountered.*Restart the process") as caught:
        predict(edge, frame)
    assert caught.value.sticky
    assert isinstance(caught.value, BackendUnavailable)
    assert len(errors_of(edge, frame, 2)) == 2
    assert gpu.log().count("cuDevicePrimaryCtxReset_v2") == 1
    assert_closes(edge, frame, gpu, ort)


def test_old_network_is_never_destroyed(gpu: Machine, ort: FakeOnnxRuntime, edge: EdgeDepth, frame: np.ndarray) -> None:
    """Its destructors free addresses, and after the reset these may be somebody else's; batches have contexts too."""
    edge.predict_batch(frame, [CENTER, (300.0, 120.0)])
    in_thread(lambda: predict(edge, frame))
    gpu.driver.fake_lose()
    assert_right(predict(edge, frame), frame)
    gc.collect()
    assert gpu.trt.destroyed_in_lost_context == ort.destroyed_in_lost_context == 0
    assert_closes(edge, frame, gpu, ort)


@pytest.mark.parametrize("library", ["torch", "cupy", "jaxlib"])
def test_beside_another_library(
    gpu: Machine, ort: FakeOnnxRuntime, edge: EdgeDepth, frame: np.ndarray, library: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, library, types.ModuleType(library))
    errors = lose_and_predict(gpu, edge, frame)
    assert all(error.sticky for error in errors)
    assert all(f"The context is shared with {library}" in str(error) for error in errors[:3])
    assert "cuDevicePrimaryCtxReset_v2" not in gpu.log()
    assert_closes(edge, frame, gpu, ort)


def test_beside_another_edge_depth(
    gpu: Machine, ort: FakeOnnxRuntime, edge: EdgeDepth, trt_artifact: Path, frame: np.ndarray
) -> None:
    """Nothing was closed, so what was refused is done as soon as the other is gone."""
    second = EdgeDepth(trt_artifact, "tensorrt", "fp16")
    predict(second, frame)
    errors = lose_and_predict(gpu, edge, frame)
    assert all("The context is shared with another EdgeDepth" in str(error) for error in errors[:3])
    assert "cuDevicePrimaryCtxReset_v2" not in gpu.log()
    with pytest.raises(CudaError, match="The context is shared with another EdgeDepth"):
        predict(second, frame)
    assert in_thread(second.close) is None
    assert_right(predict(edge, frame), frame)
    assert gpu.log().count("cuDevicePrimaryCtxReset_v2") == 1
    assert_closes(edge, frame, gpu, ort)


def test_in_a_context_that_was_there_before(
    gpu: Machine, ort: FakeOnnxRuntime, trt_artifact: Path, frame: np.ndarray
) -> None:
    gpu.driver.fake_activate()
    with EdgeDepth(trt_artifact, "tensorrt", "fp16") as edge:
        errors = lose_and_predict(gpu, edge, frame)
        assert all("shared with another user of the GPU in this process" in str(error) for error in errors[:3])
        assert "cuDevicePrimaryCtxReset_v2" not in gpu.log()
        assert_closes(edge, frame, gpu, ort)


@pytest.mark.parametrize(
    "call", ["cuDevicePrimaryCtxReset_v2", "cuDevicePrimaryCtxRetain", "cuStreamCreate", "cuModuleLoadData", "reopen"]
)
def test_recovery_that_fails(
    gpu: Machine, ort: FakeOnnxRuntime, edge: EdgeDepth, frame: np.ndarray, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the reset, at the new context, while the network is loaded again, and while the kernel is."""
    real = Driver.reset_primary_context

    def reset(self: Driver, device: int) -> None:
        gpu.driver.fake_fail(call.encode(), 46, -1)
        real(self, device)

    def reopen(self: Any) -> Any:
        raise ArtifactError.of("fp16.onnx", "no file", "the file", "Restore it.")

    monkeypatch.setattr(Driver, "reset_primary_context", reset)
    if call == "reopen":
        root: Any = edge._path._root  # type: ignore[union-attr]
        monkeypatch.setattr(type(root), call, reopen)
    errors = lose_and_predict(gpu, edge, frame)
    gpu.driver.fake_fail(call.encode(), 46, 0)
    reason = {"reopen": "fp16.onnx: got no file"}.get(call, call.removesuffix("_v2"))
    for error in errors:
        assert error.sticky
        assert "an illegal memory access was encountered" in str(error)
        assert f"Nothing could be made anew: {reason}" in str(error)
        assert "Restart the process" in str(error)
    assert len({id(error) for error in errors}) == len(errors)
    assert all(error.__cause__ is errors[0] for error in errors[1:])
    assert gpu.log().count("cuDevicePrimaryCtxReset_v2") == 1
    assert_closes(edge, frame, gpu, ort)
    assert (gpu.driver.fake_device_allocations(), gpu.driver.fake_host_allocations()) == (0, 0)


def test_error_of_anothers_kind_is_told_once(
    gpu: Machine, ort: FakeOnnxRuntime, edge: EdgeDepth, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of it is the caller's; the frames after it must not wait for what will never be."""

    def recover(self: Session, user: object, error: CudaError) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "recover", recover)
    predict(edge, frame)
    gpu.driver.fake_lose()
    assert isinstance(in_thread(lambda: predict(edge, frame)), CudaError)  # a new thread's, which finds it lost
    with pytest.raises(KeyboardInterrupt):
        predict(edge, frame)
    for _ in range(2):
        error = in_thread(lambda: predict(edge, frame))
        assert isinstance(error, CudaError)
        assert "an illegal memory access was encountered" in str(error)
    assert_closes(edge, frame, gpu, ort)


def test_session_without_a_context(gpu: Machine, edge: EdgeDepth, trt_artifact: Path, frame: np.ndarray) -> None:
    gpu.driver.fake_fail(b"cuDevicePrimaryCtxRetain", 46, -1)
    lose_and_predict(gpu, edge, frame)
    gpu.driver.fake_fail(b"cuDevicePrimaryCtxRetain", 46, 0)
    edge.close()
    with pytest.raises(CudaError, match="a lost context that could not be made anew"):
        EdgeDepth(trt_artifact, "tensorrt", "fp16")
    open_session()._finish()  # as at the end of the process: there is nothing to let go


def test_other_threads_wait_for_the_recovery(
    gpu: Machine, edge: EdgeDepth, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stand still meanwhile, and then their frames are right."""
    turns: list[None] = []
    inside, outside = threading.Event(), threading.Event()
    results: list[Any] = []
    real_lane, real_recover = DevicePath._lane, Session.recover

    def lane(self: DevicePath) -> Any:
        turns.append(None)
        return real_lane(self)

    def recover(self: Session, user: object, error: CudaError) -> None:
        inside.set()
        time.sleep(0.3)
        real_recover(self, user, error)

    def work() -> None:
        assert_right(predict(edge, frame), frame)
        outside.set()
        assert inside.wait(ENOUGH_S)
        results.append(predict(edge, frame))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert outside.wait(ENOUGH_S)
    monkeypatch.setattr(DevicePath, "_lane", lane)
    monkeypatch.setattr(Session, "recover", recover)
    gpu.driver.fake_lose()
    assert_right(predict(edge, frame), frame)
    thread.join(ENOUGH_S)
    assert_right(results[0], frame)
    assert len(turns) < 12
