# SPDX-License-Identifier: Apache-2.0
"""Frames that are on a GPU already: whose memory it is, and who must have written it before it is read."""

from __future__ import annotations

import ctypes
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
from facedepth_edge.backends.tensorrt import TensorRtBackend
from facedepth_edge.cuda import open_session
from facedepth_edge.cuda_driver import Graph
from facedepth_edge.device_frame import DeviceFrame
from facedepth_edge.errors import InputError
from tests.facedepth_edge.test_device_path import CENTER, DISTANCE_MM, assert_right
from tests.fake_gpu.installed import Machine

WORK = ctypes.CFUNCTYPE(None, ctypes.c_size_t)
OTHER_STREAM, SIDE_STREAM = 0x70, 0x80


@pytest.fixture
def edge(gpu: Machine, trt_artifact: Path) -> Iterator[EdgeDepth]:
    with EdgeDepth(trt_artifact, "tensorrt", "fp16") as opened:
        yield opened


class OnDevice:
    """An array in the GPU's memory; the stand-in's is the host's. Without a stream it is of version 2."""

    def __init__(self, array: np.ndarray, **stream: int | None) -> None:
        self.array = array
        self.device = "cuda:0"
        self.__cuda_array_interface__: dict[str, Any] = {
            "shape": array.shape, "typestr": array.dtype.str, "data": (array.ctypes.data, False),
            "strides": array.strides, "version": 3 if stream else 2, **stream,
        }  # fmt: skip


@pytest.fixture
def torch_stream(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Load a PyTorch whose tensors are OnDevice, and choose its current stream."""

    def choose(handle: int) -> None:
        torch = types.ModuleType("torch")
        stream = types.SimpleNamespace(cuda_stream=handle)
        cuda = types.SimpleNamespace(current_stream=lambda device: {"cuda:0": stream}[device])
        torch.Tensor, torch.cuda = OnDevice, cuda  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "torch", torch)

    return choose


@pytest.fixture
def written_late(gpu: Machine, frame: np.ndarray) -> Callable[[int], np.ndarray]:
    """Make an array that holds the frame only when a stream's work is done."""
    kept: list[Any] = []

    def make(stream: int) -> np.ndarray:
        array = gpu.place(np.zeros_like(frame))
        kept.append(WORK(lambda token: np.copyto(array, frame)))
        with open_session().current():
            assert gpu.driver.fake_enqueue(ctypes.c_void_p(stream), kept[-1], ctypes.c_size_t(0)) == 0
        return array

    return make


def predict(edge: EdgeDepth, frame: Any) -> Any:
    return edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)


@pytest.mark.parametrize("view", [lambda frame: frame, lambda frame: frame[::-2, 20:-3], lambda frame: frame[:, :, :1]])
def test_frame_is_taken_without_a_copy(gpu: Machine, edge: EdgeDepth, frame: np.ndarray, view: Any) -> None:
    seen = np.ascontiguousarray(view(frame)) if view(frame).shape[2] == 1 else view(frame)
    center = (seen.shape[1] / 2, seen.shape[0] / 2)
    host = edge.predict(np.ascontiguousarray(seen), center, distance_mm=DISTANCE_MM)
    assert "cuPointerGetAttribute" not in gpu.log()
    gpu.driver.fake_clear_log()
    on_device: Any = OnDevice(gpu.place(seen), stream=1)
    device = edge.predict(on_device, center, distance_mm=DISTANCE_MM)
    assert np.array_equal(host.depth_mm, device.depth_mm)
    assert host.frame_hw == device.frame_hw
    assert gpu.log().count("cuStreamSynchronize") == 2, "the producer's stream, and ours"
    assert gpu.log().count("cuPointerGetAttribute") == 1


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (OnDevice(np.zeros((4, 4), np.float32)), "frame: got dtype float32, expected uint8 or uint16"),
        (OnDevice(np.zeros((4, 8, 3), np.uint8)[:, ::2]), r"frame: got strides \(24, 6, 1\), expected pixels of a row"),
        (OnDevice(np.zeros((4, 4, 4), np.uint8)), r"frame: got shape \(4, 4, 4\)"),
        ("a text", "frame: got a str, expected a NumPy array, or an object with __cuda_array_interface__"),
    ],
)
def test_frame_that_cannot_be_read(edge: EdgeDepth, given: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        edge.predict(given, (2, 2))


def test_frame_on_another_gpu(gpu: Machine, edge: EdgeDepth, frame: np.ndarray) -> None:
    gpu.driver.fake_add_gpu()
    elsewhere = OnDevice(gpu.place(frame.copy(), 1), stream=1)
    rule = r"expected memory of GPU 0 \(Fake Orin\), where the network runs\. Copy .*CUDA_VISIBLE_DEVICES"
    for _ in range(2):
        gpu.driver.fake_clear_log()
        with pytest.raises(InputError, match=rf"frame: got memory of GPU 1 \(Fake Thor\), {rule}"):
            predict(edge, elsewhere)
        assert not {"cuLaunchKernel", "cuGraphLaunch", "cuStreamSynchronize"} & set(gpu.log())
        assert_right(predict(edge, frame), frame)
    gpu.place(elsewhere.array, 7)  # of which the driver has no name
    with pytest.raises(InputError, match=r"frame: got memory of GPU 7, expected memory of GPU 0"):
        predict(edge, elsewhere)


def test_address_that_cuda_does_not_know(gpu: Machine, edge: EdgeDepth, frame: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"frame: got an address that CUDA does not know, expected memory of GPU 0"):
        predict(edge, OnDevice(frame.copy(), stream=1))
    assert_right(predict(edge, frame), frame)


def test_context_that_was_lost_before_is_no_fault_of_the_frame(
    gpu: Machine, edge: EdgeDepth, frame: np.ndarray
) -> None:
    on_device = OnDevice(gpu.place(frame), stream=1)
    gpu.driver.fake_lose()
    assert_right(predict(edge, on_device), frame)
    assert gpu.log().count("cuDevicePrimaryCtxReset_v2") == 1


@pytest.mark.parametrize("stream", [1, SIDE_STREAM])
def test_stream_that_is_named_is_waited_for(
    gpu: Machine, edge: EdgeDepth, frame: np.ndarray, written_late: Callable[[int], np.ndarray], stream: int
) -> None:
    gpu.driver.fake_clear_log()
    assert_right(predict(edge, OnDevice(written_late(stream), stream=stream)), frame)
    assert "cuCtxSynchronize" not in gpu.log()


def test_producer_that_has_finished_is_not_waited_for(gpu: Machine, edge: EdgeDepth, frame: np.ndarray) -> None:
    gpu.driver.fake_clear_log()
    assert_right(predict(edge, OnDevice(gpu.place(frame), stream=None)), frame)
    assert gpu.log().count("cuStreamSynchronize") == 1
    assert "cuCtxSynchronize" not in gpu.log()


def test_stream_that_nobody_names(
    gpu: Machine, edge: EdgeDepth, frame: np.ndarray, written_late: Callable[[int], np.ndarray]
) -> None:
    """Version 2 of the interface: any stream may be writing still, so all are waited for."""
    gpu.driver.fake_clear_log()
    assert_right(predict(edge, OnDevice(written_late(SIDE_STREAM))), frame)
    assert gpu.log().count("cuCtxSynchronize") == 1


@pytest.mark.parametrize(("handle", "stream"), [(SIDE_STREAM, SIDE_STREAM), (0, 1)])
def test_tensor_of_torch_waits_for_its_current_stream(
    gpu: Machine, edge: EdgeDepth, frame: np.ndarray, written_late: Callable[[int], np.ndarray],
    torch_stream: Callable[[int], None], handle: int, stream: int,
) -> None:  # fmt: skip
    """PyTorch names no stream, and its own do not wait for the default one. Its default stream is CUDA's legacy one."""
    torch_stream(handle)
    other = written_late(OTHER_STREAM)
    gpu.driver.fake_clear_log()
    assert_right(predict(edge, OnDevice(written_late(stream))), frame)
    assert "cuCtxSynchronize" not in gpu.log()
    assert not other.any(), "another stream's work is not waited for"


def test_array_of_others_beside_torch(
    edge: EdgeDepth, frame: np.ndarray, written_late: Callable[[int], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))  # as while another thread imports it
    assert_right(predict(edge, OnDevice(written_late(SIDE_STREAM))), frame)


def test_capture_and_waiting_for_everything_take_turns(gpu: Machine, edge: EdgeDepth, frame: np.ndarray) -> None:
    """CUDA forbids to wait for a context in which a stream is captured, and the capture would be lost too."""
    session = open_session()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            assert_right(predict(edge, OnDevice(gpu.place(frame))), frame)
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)

    thread = threading.Thread(target=work)
    with session.current():
        stream = session.stream()
        graph = Graph(session.driver)
        with session.capturing, graph.capture(stream.handle):
            thread.start()
            time.sleep(0.3)
            assert thread.is_alive()
        graph.close()
    thread.join(30)
    assert not thread.is_alive()
    assert failures == []


def test_own_capture_takes_its_turn(
    gpu: Machine, trt_artifact: Path, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bool]] = []
    real = TensorRtBackend.enqueue

    def enqueue(self: TensorRtBackend, stream: Any) -> None:
        capturing = bool(gpu.driver.fake_is_capturing(ctypes.c_void_p(stream.handle)))
        seen.append((capturing, self.session.captures))
        real(self, stream)

    monkeypatch.setattr(TensorRtBackend, "enqueue", enqueue)
    with EdgeDepth(trt_artifact, "tensorrt", "fp16") as edge:
        for _ in range(3):
            assert_right(predict(edge, frame), frame)
    assert set(seen) == {(False, False), (True, True)}


def odd(**changes: Any) -> Any:
    """An object whose interface is changed; None removes an entry."""
    frame = OnDevice(np.zeros((480, 640, 3), np.uint8))
    for name, value in changes.items():
        frame.__cuda_array_interface__[name] = value
        if value is KeyError:
            del frame.__cuda_array_interface__[name]
    return frame


class NeedsGradient:
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad")


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (odd(shape=KeyError), "KeyError: 'shape'"),
        (odd(typestr=KeyError), "KeyError: 'typestr'"),
        (odd(data=KeyError), "KeyError: 'data'"),
        (odd(typestr="garbage"), "data type 'garbage' not understood"),
        (odd(typestr=None), "typestr None"),
        (odd(shape=None), "TypeError"),
        (odd(shape=(2**40, 2**40)), "sizes of 0 to 32768"),
        (odd(typestr="<u2", shape=(480, 320), data=(2**40 + 1, False), strides=None), "both multiples of 2 bytes"),
        (odd(typestr="<u2", shape=(480, 320), data=(2**40, False), strides=(1281, 2)), "rows of 1281 bytes"),
        (odd(shape=(480.5, 640, 3)), "TypeError"),
        (odd(shape=(-1, 640, 3)), r"shape \(-1, 640, 3\)"),
        (odd(shape="480"), "TypeError"),
        (odd(strides=5), "TypeError"),
        (odd(strides=(2**70, 3, 1)), "strides"),
        (odd(data=()), "IndexError"),
        (odd(data=None), "TypeError"),
        (odd(stream="x"), "ValueError"),
        (odd(mask=np.zeros(3)), "an array with a mask"),
        (NeedsGradient(), "requires grad"),
    ],
)
def test_an_interface_that_cannot_be_read_is_told(frame: Any, told: str) -> None:
    with pytest.raises(InputError, match=rf"frame: got .*{told}"):
        DeviceFrame(frame)


def test_an_empty_array_may_have_no_address() -> None:
    frame = DeviceFrame(odd(shape=(0, 640, 3), data=(None, False), strides=None))
    assert (frame.shape, frame.address) == ((0, 640, 3), 0)
