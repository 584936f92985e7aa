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

from facedepth_edge import EdgeDepth, doctor, self_test, verify_frame
from facedepth_edge.artifacts import open_artifact
from facedepth_edge.backends import tensorrt
from facedepth_edge.backends.base import open_backend
from facedepth_edge.backends.tensorrt import TensorRtBackend
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


def test_first_frame_of_a_thread_recovers(
    gpu: Machine, ort: FakeOnnxRuntime, edge: EdgeDepth, frame: np.ndarray
) -> None:
    """It finds the context lost before it has a stream; once more it is not made anew."""
    predict(edge, frame)
    gpu.driver.fake_lose()
    for _ in range(3):
        assert_right(in_thread(lambda: predict(edge, frame)), frame)
    assert_right(predict(edge, frame), frame)
    assert gpu.log().count("cuDevicePrimaryCtxReset_v2") == 1
    gpu.driver.fake_lose()
    errors = [in_thread(lambda: predict(edge, frame)) for _ in range(3)]
    assert [type(error) for error in errors] == [CudaError] * 3
    assert gpu.log().count("cuDevicePrimaryCtxReset_v2") == 1
    assert_closes(edge, frame, gpu, ort)


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime"])
def test_network_whose_thread_has_ended_is_never_destroyed(
    gpu: Machine, ort: FakeOnnxRuntime, trt_artifact: Path, frame: np.ndarray, backend: str
) -> None:
    """Nobody has a lane any more, but the path still has the engine."""
    edge = in_thread(lambda: EdgeDepth(trt_artifact, backend, "fp16"))
    gc.collect()
    gpu.driver.fake_lose()
    assert_right(in_thread(lambda: edge.predict_batch(frame, [CENTER], distances_mm=[DISTANCE_MM])[0]), frame)
    gc.collect()
    assert gpu.trt.destroyed_in_lost_context == ort.destroyed_in_lost_context == 0
    assert_closes(edge, frame, gpu, ort)


def test_many_first_frames_at_once(gpu: Machine, ort: FakeOnnxRuntime, edge: EdgeDepth, frame: np.ndarray) -> None:
    start = threading.Barrier(4)
    results: list[Any] = []

    def work() -> None:
        start.wait(ENOUGH_S)
        try:
            results.append(predict(edge, frame))
        except CudaError as error:
            results.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    gpu.driver.fake_lose()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ENOUGH_S)
    assert len(results) == 4
    for result in results:
        assert_right(result, frame)
    assert gpu.log().count("cuDevicePrimaryCtxReset_v2") == 1
    assert_closes(edge, frame, gpu, ort)


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime"])
def test_backend_closed_in_a_lost_context(gpu: Machine, ort: FakeOnnxRuntime, trt_artifact: Path, backend: str) -> None:
    """Its fork, and itself before and after its release; a fork that cannot be made any more."""
    opened: Any = open_backend(backend, open_artifact(trt_artifact), "fp16", None)
    released: Any = open_backend(backend, open_artifact(trt_artifact), "fp16", None)
    fork = opened.fork()
    released.release()
    gpu.driver.fake_lose()
    with pytest.raises(CudaError) as caught:
        opened.fork()
    assert caught.value.sticky
    for each in (fork, opened, released):
        each.close()
        each.close()
    session = opened.session
    del caught, each, fork, opened, released
    gc.collect()
    assert gpu.trt.destroyed_in_lost_context == ort.destroyed_in_lost_context == 0
    assert not session.users
    assert gpu.driver.fake_device_allocations() == 0


def test_fork_that_loses_the_context(
    gpu: Machine, trt_artifact: Path, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it has a context of TensorRT's already."""
    real = TensorRtBackend._bind

    def bind(self: TensorRtBackend, single: bool) -> None:
        real(self, single)
        gpu.driver.fake_lose()
        raise CudaError("set_tensor_address")

    opened: Any = open_backend("tensorrt", open_artifact(trt_artifact), "fp16", None)
    monkeypatch.setattr(TensorRtBackend, "_bind", bind)
    with pytest.raises(CudaError, match="set_tensor_address"):
        opened.fork()
    gc.collect()
    assert gpu.trt.destroyed_in_lost_context == 0
    opened.close()
    del opened
    gc.collect()
    assert gpu.trt.destroyed_in_lost_context == 0


def test_constructor_that_loses_the_context(gpu: Machine, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it has a stream, with the engine loaded."""
    open_session()  # which makes a stream of its own
    real = Session.stream

    def stream(self: Session) -> Any:
        gpu.driver.fake_lose()
        return real(self)

    monkeypatch.setattr(Session, "stream", stream)
    with pytest.raises(CudaError, match="an illegal memory access"):
        open_backend("tensorrt", open_artifact(trt_artifact), "fp16", None)
    gc.collect()
    assert gpu.trt.destroyed_in_lost_context == 0
    assert not open_session().users


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime"])
def test_self_test_and_doctor_that_lose_the_context(
    gpu: Machine, ort: FakeOnnxRuntime, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """At the demo frame, when the golden faces were right."""
    EdgeDepth(trt_artifact, "tensorrt", "fp16").close()
    real = verify_frame.check_device_path

    def check(artifact: Any, opened: Any) -> Any:
        if opened.name == backend and opened.memory == "cuda":
            gpu.driver.fake_lose()
        return real(artifact, opened)

    monkeypatch.setattr(self_test, "check_device_path", check)
    monkeypatch.setattr(doctor, "check_device_path", check)
    with pytest.raises(CudaError, match="an illegal memory access"):
        EdgeDepth(trt_artifact, backend, "fp16", self_test=True)
    gc.collect()
    assert gpu.trt.destroyed_in_lost_context == ort.destroyed_in_lost_context == 0
    open_session().driver.reset_primary_context(0)  # as in a new process
    found = doctor.diagnose(str(trt_artifact))
    assert "fails: cu" in found.backends[backend]
    gc.collect()
    assert gpu.trt.destroyed_in_lost_context == ort.destroyed_in_lost_context == 0


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


def test_beside_an_edge_depth_that_is_being_built(
    gpu: Machine, ort: FakeOnnxRuntime, edge: EdgeDepth, trt_artifact: Path, frame: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Its engine is in the context already; it fails, and then the first one's is made anew."""
    inside, go = threading.Event(), threading.Event()
    real = tensorrt._checked_outputs

    def checked_outputs(*arguments: Any) -> Any:
        inside.set()
        assert go.wait(ENOUGH_S)
        return real(*arguments)

    results: list[Any] = []

    def build() -> None:
        try:
            results.append(EdgeDepth(trt_artifact, "tensorrt", "fp16"))
        except CudaError as error:
            results.append(str(error))

    monkeypatch.setattr(tensorrt, "_checked_outputs", checked_outputs)
    thread = threading.Thread(target=build, daemon=True)
    thread.start()
    assert inside.wait(ENOUGH_S)
    gpu.driver.fake_lose()
    with pytest.raises(CudaError, match="The context is shared with another EdgeDepth"):
        predict(edge, frame)
    go.set()
    thread.join(ENOUGH_S)
    assert "an illegal memory access" in results[0]
    assert "cuDevicePrimaryCtxReset_v2" not in gpu.log()
    monkeypatch.setattr(tensorrt, "_checked_outputs", real)
    assert_right(predict(edge, frame), frame)
    assert_closes(edge, frame, gpu, ort)


def test_edge_depth_that_is_built_during_the_recovery(
    gpu: Machine, ort: FakeOnnxRuntime, edge: EdgeDepth, trt_artifact: Path, frame: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It waits for the new context."""
    EdgeDepth(trt_artifact, "tensorrt", "fp16").close()  # so that the engine is there
    real = Driver.reset_primary_context
    second: list[Any] = []
    thread = threading.Thread(target=lambda: second.append(EdgeDepth(trt_artifact, "tensorrt", "fp16")), daemon=True)

    def reset(self: Driver, device: int) -> None:
        thread.start()
        thread.join(0.3)
        assert not second, "it did not wait"
        real(self, device)

    monkeypatch.setattr(Driver, "reset_primary_context", reset)
    gpu.driver.fake_lose()
    assert_right(predict(edge, frame), frame)
    thread.join(ENOUGH_S)
    assert_right(predict(second[0], frame), frame)
    second[0].close()
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
    told = {"reopen": "fp16.onnx: got no file", "cuModuleLoadData": "crop kernel: got cuModuleLoadData"}
    reason = told.get(call, call.removesuffix("_v2"))
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
