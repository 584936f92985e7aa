# SPDX-License-Identifier: Apache-2.0
"""A frame's way on a GPU, on stand-ins for the driver, PyCUDA and TensorRT, with the real kernel run on the host."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facedepth_edge import Camera, EdgeDepth, device_lane
from facedepth_edge.cuda import Session, open_session
from facedepth_edge.cuda_driver import CudaError, Graph
from facedepth_edge.errors import BackendUnavailable, ConfigError, InputError
from facedepth_edge.frame_path import NetworkOutput
from facedepth_edge.result import DepthResult
from facedepth_edge.result_writer import ResultWriter
from tests.fake_gpu import onnxruntime as fake_onnxruntime
from tests.fake_gpu import tensorrt as fake_tensorrt
from tests.fake_gpu.installed import Machine
from tests.fake_gpu.onnxruntime import FakeOnnxRuntime
from tests.oracles.face_crop import crop_levels
from tests.tiny_model import tiny_outputs

HALF_RANGE_MM = 160.0
CENTER, DISTANCE_MM = (250.0, 170.0), 700.0


@pytest.fixture
def edge(gpu: Machine, trt_artifact: Path) -> Iterator[EdgeDepth]:
    with EdgeDepth(trt_artifact, "tensorrt", "fp16") as opened:
        yield opened


def expected_depth_mm(frame: np.ndarray, box: Any, distance_mm: float, max_value: float | None = None) -> np.ndarray:
    face = crop_levels(frame, tuple(box), (96, 96), max_value) / 127.5 - 1
    depth: np.ndarray = tiny_outputs(face[None, None])["depth"][0, 0] * HALF_RANGE_MM + distance_mm
    return depth


def assert_right(result: Any, frame: np.ndarray, max_value: float | None = None) -> None:
    """Hold a result to the oracle's crop and the model's known answer: 0.01 gray level is 0.013 mm."""
    expected = expected_depth_mm(frame, result.box, result.distance_mm, max_value)
    assert expected.std() > 3
    np.testing.assert_allclose(result.depth_mm, expected, atol=0.02, rtol=0)


def test_depth_against_the_oracle(edge: EdgeDepth, frame: np.ndarray) -> None:
    for x, y, distance_mm in [(250, 170, 700), (5, 350, 700), (470, 3, 500), (250.4, 170.7, 2300)]:
        assert_right(edge.predict(frame, (x, y), distance_mm=distance_mm), frame)


@pytest.mark.parametrize(
    "view",
    [
        lambda frame: frame[:, :, 0],
        lambda frame: frame[::-1, ::2],
        lambda frame: frame[:, ::-1, ::-1],
        lambda frame: np.asfortranarray(frame),
        lambda frame: frame[:, :, 1:2],
    ],
)
def test_frames_of_any_layout(edge: EdgeDepth, frame: np.ndarray, view: Any) -> None:
    seen = view(frame)
    oracle_frame = seen[:, :, 0] if seen.shape[-1] == 1 else seen
    result = edge.predict(seen, (seen.shape[1] / 2, seen.shape[0] / 2), distance_mm=DISTANCE_MM)
    assert_right(result, oracle_frame)


def test_uint16(gpu: Machine, trt_artifact: Path, frame: np.ndarray) -> None:
    wide = frame.astype(np.uint16) * 4
    with EdgeDepth(trt_artifact, "tensorrt", "fp16", Camera(400, 400, max_value=1023)) as edge:
        assert_right(edge.predict(wide, CENTER, distance_mm=DISTANCE_MM), wide, 1023)
        with pytest.raises(InputError, match=r"frame: got gray up to .*expected at most the camera's max_value 1023"):
            edge.predict(wide * 8, CENTER, distance_mm=DISTANCE_MM)
        bright = wide.copy()
        bright[:, 400:] = 4000
        centers = [(100.0, 100.0)] * 9 + [(470.0, 100.0)]  # the last one in a second run
        with pytest.raises(InputError, match=r"^face 9: frame: got gray up to 4000 in the face's crop") as caught:
            edge.predict_batch(bright, centers, distances_mm=[2000.0] * 10)
        assert caught.value.face_index == 9
        with pytest.raises(InputError, match=r"^frame: got gray up to 4000") as caught:
            edge.predict(bright, centers[-1], distance_mm=2000.0)
        assert caught.value.face_index is None


def test_contrast_is_that_of_the_crop(edge: EdgeDepth, frame: np.ndarray) -> None:
    request = edge._locate(frame, [], None)
    box = edge.predict(frame, CENTER, distance_mm=DISTANCE_MM).box
    (output,), _, _ = edge._path.run(request.frame, [box], None)
    assert output.contrast_levels == pytest.approx(crop_levels(frame, tuple(box)).std(), abs=0.01)
    flat = edge.predict(np.full_like(frame, 90), CENTER, distance_mm=DISTANCE_MM)
    assert not flat.valid
    assert "contrast of 0.0" in flat.reason


def test_batch_and_back(edge: EdgeDepth, frame: np.ndarray) -> None:
    """Eleven faces are two batches; then one face again, by its graph."""
    centers = [(40.0 + 40 * index, 60.0 + 20 * index) for index in range(11)]
    for center, result in zip(centers, edge.predict_batch(frame, centers), strict=True):
        assert result.head_center == center
        assert_right(result, frame)
    assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)
    assert edge.predict_batch(frame, []) == []


def test_one_upload_one_launch_one_download_one_wait(gpu: Machine, edge: EdgeDepth, frame: np.ndarray) -> None:
    edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
    for _ in range(4):
        gpu.driver.fake_clear_log()
        edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
        work = [name for name in gpu.log() if not name.startswith("cuCtx")]
        assert work == ["cuMemcpyHtoDAsync_v2", "cuGraphLaunch", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize"]


def test_graph_gives_the_eager_bits(gpu: Machine, trt_artifact: Path, frame: np.ndarray) -> None:
    with EdgeDepth(trt_artifact, "tensorrt", "fp16") as edge:
        replayed = edge.predict(frame, CENTER, distance_mm=DISTANCE_MM).depth_mm
        assert "cuGraphLaunch" in gpu.log()
        assert (edge.info["memory"], edge.info["graph_why_not"]) == ("cuda", "")
    gpu.driver.fake_clear_log()
    gpu.driver.fake_fail(b"cuGraphInstantiateWithFlags", 801, -1)
    with EdgeDepth(trt_artifact, "tensorrt", "fp16") as edge:
        eager = edge.predict(frame, CENTER, distance_mm=DISTANCE_MM).depth_mm
        assert "cuGraphLaunch" not in gpu.log()
        assert "cuGraphInstantiateWithFlags" in edge.info["graph_why_not"]
    assert np.array_equal(replayed, eager)


def test_frame_that_needs_more_room_is_captured_again(
    gpu: Machine, trt_artifact: Path, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_lane, "FIRST_ROOM_BYTES", 1024)
    large = np.kron(frame[:, :, 0], np.ones((4, 4), np.uint8))
    with EdgeDepth(trt_artifact, "tensorrt", "fp16") as edge:
        edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
        for _ in range(5):
            assert_right(edge.predict(large, (1000, 680), distance_mm=DISTANCE_MM), large)
        assert gpu.log().count("cuStreamBeginCapture_v2") >= 2
        gpu.driver.fake_clear_log()
        for each, center in ((frame, CENTER), (large, (1000, 680))):
            assert_right(edge.predict(each, center, distance_mm=DISTANCE_MM), each)
        assert gpu.log().count("cuGraphLaunch") == 2
        assert not {"cuMemAlloc_v2", "cuMemHostAlloc"} & set(gpu.log())


def test_usual_frame_needs_no_second_capture(gpu: Machine, edge: EdgeDepth, frame: np.ndarray) -> None:
    """What EdgeDepth() captured while it warmed up serves the camera's frames too."""
    gpu.driver.fake_clear_log()
    camera_frame = np.zeros((720, 1280, 3), np.uint8)
    edge.predict(camera_frame, (640, 360))
    assert gpu.log().count("cuGraphLaunch") == 1
    assert not {"cuMemAlloc_v2", "cuMemHostAlloc", "cuStreamBeginCapture_v2"} & set(gpu.log())


def test_shared_memory_is_not_uploaded(jetson: Machine, trt_artifact: Path, frame: np.ndarray) -> None:
    with EdgeDepth(trt_artifact, "tensorrt", "fp16") as edge:
        edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
        jetson.driver.fake_clear_log()
        for _ in range(3):
            assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)
    assert "cuMemcpyHtoDAsync_v2" not in jetson.log()
    assert jetson.log().count("cuMemcpyDtoHAsync_v2") == 3


def test_each_thread_has_its_own(gpu: Machine, edge: EdgeDepth, frame: np.ndarray) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for turn in range(5):
                result = edge.predict(frame, (100.0 + 30 * seed, 100.0 + 10 * turn), distance_mm=DISTANCE_MM)
                assert_right(result, frame)
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert gpu.log().count("cuStreamCreate") == 6  # a thread's each, and the session's own


def test_close_frees_everything(gpu: Machine, edge: EdgeDepth, frame: np.ndarray) -> None:
    edge.predict_batch(frame, [CENTER, (100.0, 100.0)])
    thread = threading.Thread(target=edge.predict, args=(frame, CENTER))
    thread.start()
    thread.join(10)
    edge.close()
    edge.close()
    driver = gpu.driver
    assert (driver.fake_device_allocations(), driver.fake_host_allocations(), driver.fake_graphs()) == (0, 0, 0)
    with pytest.raises(ConfigError, match="a call after close"):
        edge.predict(frame, CENTER)


def test_thread_that_ends_frees_its_own(gpu: Machine, edge: EdgeDepth, frame: np.ndarray) -> None:
    before = gpu.driver.fake_device_allocations(), gpu.driver.fake_host_allocations(), gpu.driver.fake_graphs()
    for _ in range(3):
        thread = threading.Thread(target=lambda: [edge.predict(frame[:64], (9, 9)) for _ in range(4)])
        thread.start()
        thread.join(10)
    after = gpu.driver.fake_device_allocations(), gpu.driver.fake_host_allocations(), gpu.driver.fake_graphs()
    assert before == after


def test_thread_that_opened_it_may_end(gpu: Machine, trt_artifact: Path, frame: np.ndarray) -> None:
    opened: list[EdgeDepth] = []
    thread = threading.Thread(target=lambda: opened.append(EdgeDepth(trt_artifact, "tensorrt", "fp16")))
    thread.start()
    thread.join(10)
    with opened[0] as edge:
        assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)
    assert (gpu.driver.fake_device_allocations(), gpu.driver.fake_host_allocations()) == (0, 0)


def test_path_that_is_forgotten_frees_its_own(gpu: Machine, trt_artifact: Path) -> None:
    EdgeDepth(trt_artifact, "tensorrt", "fp16")
    gc.collect()
    assert (gpu.driver.fake_device_allocations(), gpu.driver.fake_host_allocations()) == (0, 0)


def test_nothing_grows_with_the_frames(gpu: Machine, edge: EdgeDepth, frame: np.ndarray) -> None:
    for _ in range(3):
        edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
    before = gpu.driver.fake_device_allocations(), gpu.driver.fake_host_allocations(), gpu.driver.fake_graphs()
    for _ in range(30):
        edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
    after = gpu.driver.fake_device_allocations(), gpu.driver.fake_host_allocations(), gpu.driver.fake_graphs()
    assert before == after


@pytest.mark.parametrize(
    "call", ["cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize", "cuGraphLaunch"]
)
def test_error_that_passes_names_the_call(gpu: Machine, edge: EdgeDepth, frame: np.ndarray, call: str) -> None:
    edge.predict(frame, CENTER)
    gpu.driver.fake_fail(call.encode(), 304, 1)
    with pytest.raises(CudaError, match=call.removesuffix("_v2")) as caught:
        edge.predict(frame, CENTER)
    assert not caught.value.sticky
    assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)


def test_out_of_memory_is_told(gpu: Machine, trt_artifact: Path) -> None:
    gpu.driver.fake_fail(b"cuMemAlloc_v2", 2, -1)
    with pytest.raises(CudaError, match=r"cuMemAlloc: got .*Free memory on the GPU"):
        EdgeDepth(trt_artifact, "tensorrt", "fp16")


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime"])
@pytest.mark.parametrize("what", ["out of memory", "a thread that ends"])
def test_capture_beside_a_thread_that_asks_for_the_context(
    gpu: Machine, ort: FakeOnnxRuntime, trt_artifact: Path, frame: np.ndarray, what: str, backend: str
) -> None:
    """A library may wait for the whole device when its objects go, which would break the capture."""
    ready, go = threading.Event(), threading.Event()

    def work() -> None:
        edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
        ready.set()
        assert go.wait(60)
        if what == "out of memory":
            gpu.driver.fake_fail(b"cuMemAlloc_v2", 2, 1)
            with pytest.raises(CudaError, match="error 2"):
                edge.predict_batch(frame, [CENTER, CENTER])

    with EdgeDepth(trt_artifact, backend, "fp16") as edge:
        session = open_session()
        thread = threading.Thread(target=work)
        thread.start()
        assert ready.wait(60)
        with session.current():
            stream, graph = session.stream(), Graph(session.driver)
            with session.capture(), graph.capture(stream.handle):
                gpu.driver.fake_clear_log()
                go.set()
                thread.join(0.3)
                assert thread.is_alive(), "it waits for its turn"
            graph.close()
        thread.join(60)
        assert not thread.is_alive()
        assert "cuCtxSynchronize" not in gpu.log(), "which would break the captures of others, and wait for their work"


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime"])
def test_a_librarys_objects_go_in_their_context_and_beside_no_capture(
    gpu: Machine, ort: FakeOnnxRuntime, trt_artifact: Path, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch,
    backend: str,
) -> None:  # fmt: skip
    gone: list[tuple[bool, bool]] = []
    kind: Any = fake_tensorrt._OnGpu if backend == "tensorrt" else fake_onnxruntime._Session
    real = kind.__del__

    def delete(self: Any) -> None:
        gone.append((open_session().capturing._is_owned(), len(gpu.pycuda._contexts()) > 0))  # type: ignore[attr-defined]
        real(self)

    with EdgeDepth(trt_artifact, backend, "fp16") as edge:
        thread = threading.Thread(target=edge.predict_batch, args=(frame, [CENTER, CENTER]))
        thread.start()
        thread.join(60)
        gc.collect()
        monkeypatch.setattr(kind, "__del__", delete)
    assert len(gone) >= 1
    assert set(gone) == {(True, True)}


@pytest.mark.parametrize("what", ["cuStreamEndCapture", "cuStreamBeginCapture_v2"])
def test_a_capture_that_somebody_disturbed_is_tried_again(
    gpu: Machine, trt_artifact: Path, frame: np.ndarray, what: str
) -> None:
    gpu.driver.fake_fail(what.encode(), 901, 2)
    with EdgeDepth(trt_artifact, "tensorrt", "fp16") as edge:
        assert what in edge.info["graph_why_not"]
        for _ in range(2 * device_lane._RUNS_BETWEEN_CAPTURES + 2):
            assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)
        assert edge.info["graph_why_not"] == ""
        gpu.driver.fake_clear_log()
        assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)
        assert "cuGraphLaunch" in gpu.log()
    gpu.driver.fake_fail(what.encode(), 901, -1)
    with EdgeDepth(trt_artifact, "tensorrt", "fp16") as edge:
        gpu.driver.fake_clear_log()
        for _ in range(4 * device_lane._RUNS_BETWEEN_CAPTURES):
            edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
        assert gpu.log().count("cuStreamBeginCapture_v2") == 2, "three tries with the warm-up's"
        assert what in edge.info["graph_why_not"]


def test_a_result_does_not_read_what_close_lets_go(
    gpu: Machine, trt_artifact: Path, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread closes the model between the frame's way on the GPU and its result."""
    real_write = ResultWriter.write
    with EdgeDepth(trt_artifact, "tensorrt", "fp16") as edge:

        def write(self: ResultWriter, output: NetworkOutput, *rest: Any) -> DepthResult:
            base: Any = output.relative_z
            while isinstance(base, np.ndarray) and base.base is not None:
                base = base.base
            assert isinstance(base, np.ndarray), "memory that NumPy's references keep"
            thread = threading.Thread(target=edge.close)
            thread.start()
            thread.join(30)
            assert gpu.driver.fake_host_allocations() == 0
            return real_write(self, output, *rest)

        monkeypatch.setattr(ResultWriter, "write", write)
        assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)
        with pytest.raises(ConfigError, match="close"):
            edge.predict(frame, CENTER)


def test_a_forked_process_is_told(gpu: Machine, edge: EdgeDepth, trt_artifact: Path, frame: np.ndarray) -> None:
    """CUDA that was initialised before a fork works in the parent alone."""
    session = open_session()
    session._pid += 1  # as the child finds it
    gpu.driver.fake_clear_log()
    told = r"CUDA: got a fork of a process that has used it, .*multiprocessing.get_context\(\"spawn\"\)"
    for attempt in (lambda: edge.predict(frame, CENTER), lambda: EdgeDepth(trt_artifact, "tensorrt", "fp16")):
        with pytest.raises(BackendUnavailable, match=told):
            attempt()
    edge.close()
    session._finish()  # at the child's end
    assert gpu.log() == []
    session._pid -= 1


def test_failure_in_a_capture_asks_nothing(
    gpu: Machine, trt_artifact: Path, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The capture is given up; the frame goes without a graph."""
    seen: list[list[str]] = []

    def refuse(self: Session) -> bool:
        gpu.driver.fake_clear_log()
        lost = real_is_lost(self)
        seen.append(gpu.log())
        return lost

    def execute(self: Any, handle: int) -> bool:
        return not gpu.driver.fake_is_capturing(ctypes.c_void_p(handle)) and real_execute(self, handle)

    real_is_lost, real_execute = Session.context_is_lost, fake_tensorrt._Context.execute_async_v3
    monkeypatch.setattr(Session, "context_is_lost", refuse)
    monkeypatch.setattr(fake_tensorrt._Context, "execute_async_v3", execute)
    with EdgeDepth(trt_artifact, "tensorrt", "fp16") as edge:
        for _ in range(4):
            assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)
        assert "execute_async_v3" in edge.info["graph_why_not"]
        assert seen == [[]]
