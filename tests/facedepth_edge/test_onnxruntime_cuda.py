# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's CUDA provider on the GPU's frame path, on stand-ins that hold it to its documented rules."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from facedepth_edge import EdgeDepth
from facedepth_edge.artifacts import open_artifact
from facedepth_edge.backends.base import open_backend
from facedepth_edge.backends.onnxruntime_cuda import OWN_GRAPH, OnnxRuntimeCudaBackend
from facedepth_edge.backends.onnxruntime_network import CPU, CUDA
from facedepth_edge.backends.tensorrt import TensorRtBackend
from facedepth_edge.cli import main
from facedepth_edge.cuda_driver import CudaError
from facedepth_edge.errors import ArtifactError, ConfigError
from tests.fake_gpu.installed import Machine, forget, install_onnxruntime
from tests.fake_gpu.onnxruntime import FakeOnnxRuntime
from tests.oracles.face_crop import crop_levels
from tests.tiny_model import tiny_outputs

CENTER, DISTANCE_MM = (250.0, 170.0), 700.0
ONE_FRAME = [
    "cuMemcpyHtoDAsync_v2",
    "cuLaunchKernel",
    "fake_enqueue",  # the network
    "cuStreamSynchronize",  # ONNX Runtime's own, after a replay
    "cuMemcpyDtoHAsync_v2",
    "cuStreamSynchronize",
]


@pytest.fixture
def edge(ort: FakeOnnxRuntime, trt_artifact: Path) -> Iterator[EdgeDepth]:
    with EdgeDepth(trt_artifact, "onnxruntime") as opened:
        yield opened


def assert_right(result: Any, frame: np.ndarray) -> None:
    """Hold a result to the oracle's crop and the model's known answer: 0.01 gray level is 0.013 mm."""
    face = crop_levels(frame, tuple(result.box), (96, 96), None) / 127.5 - 1
    expected = tiny_outputs(face[None, None])["depth"][0, 0] * 160 + result.distance_mm
    assert expected.std() > 3
    np.testing.assert_allclose(result.depth_mm, expected, atol=0.02, rtol=0)


def without_contexts(log: list[str]) -> list[str]:
    return [name for name in log if not name.startswith("cuCtx")]


def memory_of(gpu: Machine) -> tuple[int, int, int]:
    return gpu.driver.fake_device_allocations(), gpu.driver.fake_host_allocations(), gpu.driver.fake_graphs()


def test_depth_against_the_oracle_and_what_info_says(edge: EdgeDepth, frame: np.ndarray) -> None:
    for x, y, distance_mm in [(250, 170, 700), (5, 350, 700), (250.4, 170.7, 2300)]:
        assert_right(edge.predict(frame, (x, y), distance_mm=distance_mm), frame)
    info = edge.info
    assert (info["backend"], info["provider"], info["precision"]) == ("onnxruntime", f"{CUDA} on Fake Orin", "fp16")
    assert (info["memory"], info["crop"], info["threads"], info["why_not"]) == ("cuda", "cuda", 1, [])
    assert info["graph_why_not"] == OWN_GRAPH
    json.dumps(info)


def test_auto_takes_it_where_no_engine_is_built(ort: FakeOnnxRuntime, trt_artifact: Path) -> None:
    with EdgeDepth(trt_artifact) as edge:
        assert (edge.info["backend"], edge.info["memory"], edge.info["precision"]) == ("onnxruntime", "cuda", "fp16")
        assert ["no engine of tiny yet" in line for line in edge.info["why_not"]] == [True]
    TensorRtBackend.open(open_artifact(trt_artifact), "fp16", None, report=lambda line: None).close()
    with EdgeDepth(trt_artifact) as edge:
        assert (edge.info["backend"], edge.info["graph_why_not"]) == ("tensorrt", "")


def test_one_upload_one_kernel_one_network_one_download(
    gpu: Machine, ort: FakeOnnxRuntime, edge: EdgeDepth, frame: np.ndarray
) -> None:
    """In this order on one stream; nothing is captured by us and nothing is allocated."""
    assert (ort.captures, ort.eager_runs) == (1, 0), "the graph is there before the first frame"
    assert "cuStreamBeginCapture_v2" not in gpu.log(), "not while EdgeDepth warmed up either"
    for turn in range(4):
        gpu.driver.fake_clear_log()
        edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
        assert without_contexts(gpu.log()) == ONE_FRAME
        assert ort.replays >= turn + 1
    assert ort.captures == 1


def test_session_computes_on_the_stream_of_the_copies(gpu: Machine, ort: FakeOnnxRuntime, trt_artifact: Path) -> None:
    backend = OnnxRuntimeCudaBackend.open(open_artifact(trt_artifact), "auto")
    assert ort.opened == [
        {
            "device_id": "0",
            "user_compute_stream": str(backend.stream.handle),
            "enable_cuda_graph": "1",
            "cudnn_conv_algo_search": "HEURISTIC",
        }
    ]
    (session,) = ort.sessions
    batch, addresses = session.graphs["1"]
    assert batch == 1
    assert addresses == {"face": backend.input.address, **{name: at.address for name, at in backend.output.items()}}
    first = backend.output_block.address
    assert {name: first + offset for name, offset in backend.output_offsets.items()} == {
        name: view.address for name, view in backend.output.items()
    }
    backend.close()
    backend.close()
    assert memory_of(gpu) == (0, 0, 0)


def test_batch_and_back(ort: FakeOnnxRuntime, edge: EdgeDepth, frame: np.ndarray) -> None:
    """Eleven faces are two batches without a graph; then one face again, by its graph."""
    centers = [(40.0 + 40 * index, 60.0 + 20 * index) for index in range(11)]
    for _ in range(2):
        for center, result in zip(centers, edge.predict_batch(frame, centers), strict=True):
            assert result.head_center == center
            assert_right(result, frame)
        assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)
    assert (ort.captures, ort.eager_runs) == (1, 4)


def test_run_waits_for_its_own_answer(ort: FakeOnnxRuntime, trt_artifact: Path) -> None:
    backend: Any = open_backend("onnxruntime", open_artifact(trt_artifact), "fp16", None)
    for batch in (1, 3, 8, 1):
        faces = np.random.default_rng(batch).uniform(-1, 1, (batch, 1, 96, 96)).astype(np.float32)
        backend.reserve(batch)
        answer = np.empty(backend.output["depth"].shape, np.float32)
        with backend.session.current():
            backend.session.upload(backend.input.address, faces, backend.stream)
            backend.run()
            backend.session.download(answer, backend.output["depth"].address, backend.stream)
            backend.session.wait(backend.stream)
        np.testing.assert_allclose(answer, tiny_outputs(faces)["depth"], atol=1e-6)
    backend.close()


def test_each_thread_has_a_session_of_its_own(ort: FakeOnnxRuntime, edge: EdgeDepth, frame: np.ndarray) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for turn in range(3):
                center = (100.0 + 30 * seed, 100.0 + 10 * turn)
                assert_right(edge.predict(frame, center, distance_mm=DISTANCE_MM), frame)
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len({options["user_compute_stream"] for options in ort.opened}) == len(ort.opened) == 4
    assert ort.captures == 4


def test_capture_beside_another_thread_that_allocates(
    gpu: Machine, ort: FakeOnnxRuntime, edge: EdgeDepth, trt_artifact: Path
) -> None:
    """ONNX Runtime captures in the mode that forbids others to allocate; ours may all the same."""
    session = edge._path._root.session  # type: ignore[union-attr]
    found: list[Any] = []

    def allocate() -> None:
        try:
            with session.current():
                session.device_buffer((4,), np.uint8).close()
            found.append(gpu.driver.fake_capture_mode())
        except CudaError as error:
            found.append(error)

    def from_another_thread() -> None:
        thread = threading.Thread(target=allocate)
        thread.start()
        thread.join(10)

    ort.during_capture = from_another_thread
    with EdgeDepth(trt_artifact, "onnxruntime") as other:
        assert other.info["graph_why_not"] == OWN_GRAPH
    assert found == [0], "it worked, and the thread's mode is again what it was"


@pytest.mark.parametrize("why", ["nodes of the CPU", "capture", "old"])
def test_network_that_cannot_have_a_graph_runs_without(
    why: str, gpu: Machine, trt_artifact: Path, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    ort = install_onnxruntime(monkeypatch, gpu, "1.17.3" if why == "old" else "1.23.0")
    ort.has_cpu_nodes = why == "nodes of the CPU"
    said = {"nodes of the CPU": "InferenceSession: got", "capture": "run_with_iobinding: got", "old": "1.17.3 has one"}

    def fail() -> None:
        raise ort.state.Fail("an operation is not permitted when the stream is capturing")

    if why == "capture":
        ort.during_capture = fail
    with EdgeDepth(trt_artifact, "onnxruntime") as edge:
        text = edge.info["graph_why_not"]
        assert text.startswith("ONNX Runtime runs the network kernel by kernel: ")
        assert said[why] in text
        assert ort.opened[-1]["enable_cuda_graph"] == "0"
        assert len({options["user_compute_stream"] for options in ort.opened}) == len(ort.opened), "a broken stream"
        for centers in ([CENTER], [CENTER, (100.0, 100.0)], [CENTER]):
            for result in edge.predict_batch(frame, centers):
                assert_right(result, frame)
        gpu.driver.fake_clear_log()
        edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
        assert without_contexts(gpu.log()) == [*ONE_FRAME[:3], *ONE_FRAME[4:]], "one wait, and it is ours"
    assert ort.captures == ort.replays == 0
    assert memory_of(gpu) == (0, 0, 0)


def test_a_capture_that_somebody_disturbed_is_tried_again(
    gpu: Machine, ort: FakeOnnxRuntime, trt_artifact: Path, frame: np.ndarray
) -> None:
    def fail_once() -> None:
        ort.during_capture = lambda: None
        raise ort.state.Fail("CUDA failure 900: operation not permitted when stream is capturing")

    ort.during_capture = fail_once
    with EdgeDepth(trt_artifact, "onnxruntime") as edge:
        assert edge.info["graph_why_not"] == OWN_GRAPH
        assert [options["enable_cuda_graph"] for options in ort.opened] == ["1", "1"]
        assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)
    assert memory_of(gpu) == (0, 0, 0)


@pytest.mark.parametrize("missing", ["PyCUDA", "nvcc"])
def test_host_buffers_where_the_gpus_way_is_not_there(
    missing: str, gpu: Machine, ort: FakeOnnxRuntime, trt_artifact: Path, frame: np.ndarray,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    if missing == "PyCUDA":
        monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    else:
        (tmp_path / "tools" / "nvcc").write_text("#!/bin/sh\necho 'nvcc fatal: no host compiler' >&2\nexit 1\n")
    with EdgeDepth(trt_artifact, "onnxruntime") as edge:
        info = edge.info
        assert (info["memory"], info["provider"], info["precision"]) == ("host", CUDA, "fp16")
        (note,) = info["why_not"]
        assert note.startswith(f"{CUDA}: frames go through the host's memory")
        assert ("pip install pycuda" if missing == "PyCUDA" else "no host compiler") in note
        depth_mm = edge.predict(frame, CENTER, distance_mm=DISTANCE_MM).depth_mm
    assert depth_mm.std() > 3


def test_provider_that_does_not_start(ort: FakeOnnxRuntime, trt_artifact: Path) -> None:
    ort.starts = False
    with EdgeDepth(trt_artifact, "onnxruntime") as edge:
        assert (edge.info["memory"], edge.info["provider"], edge.info["precision"]) == ("host", CPU, "fp32")
        assert any(line.startswith(f"{CUDA}: did not start") for line in edge.info["why_not"])


def test_precisions(ort: FakeOnnxRuntime, trt_artifact: Path) -> None:
    with EdgeDepth(trt_artifact, "onnxruntime", "fp32") as edge:
        assert (edge.info["memory"], edge.info["precision"]) == ("cuda", "fp32")
    with pytest.raises(ConfigError, match=r"precision: got int8, expected a precision whose file the model has"):
        EdgeDepth(trt_artifact, "onnxruntime", "int8")


def test_network_with_other_outputs(
    gpu: Machine, ort: FakeOnnxRuntime, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.fake_gpu import onnxruntime

    monkeypatch.setitem(onnxruntime.SHAPES, "depth", (1, 48, 48))
    with pytest.raises(ArtifactError, match=r"fp16\.onnx: got the outputs .*48, 48.*expected the output depth"):
        EdgeDepth(trt_artifact, "onnxruntime")
    assert memory_of(gpu) == (0, 0, 0)


def test_close_frees_everything(gpu: Machine, ort: FakeOnnxRuntime, edge: EdgeDepth, frame: np.ndarray) -> None:
    edge.predict_batch(frame, [CENTER, (100.0, 100.0)])
    thread = threading.Thread(target=edge.predict, args=(frame, CENTER))
    thread.start()
    thread.join(30)
    edge.close()
    edge.close()
    assert memory_of(gpu) == (0, 0, 0)
    assert len(ort.sessions) == 0
    with pytest.raises(ConfigError, match="a call after close"):
        edge.predict(frame, CENTER)
    assert edge.info["graph_why_not"] == OWN_GRAPH


def test_nothing_grows_with_the_frames(gpu: Machine, ort: FakeOnnxRuntime, edge: EdgeDepth, frame: np.ndarray) -> None:
    edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
    before = memory_of(gpu)
    gpu.driver.fake_clear_log()
    for _ in range(20):
        edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
    assert memory_of(gpu) == before
    assert not {"cuMemAlloc_v2", "cuMemHostAlloc", "cuStreamCreate", "cuModuleLoadData"} & set(gpu.log())
    assert len(ort.sessions) == 1


def test_lost_context_is_made_anew_once(gpu: Machine, ort: FakeOnnxRuntime, edge: EdgeDepth, frame: np.ndarray) -> None:
    right = edge.predict(frame, CENTER, distance_mm=DISTANCE_MM).depth_mm
    gpu.driver.fake_clear_log()

    def lose() -> None:
        ort.before_run = lambda: None
        gpu.driver.fake_lose()

    ort.before_run = lose  # so that ONNX Runtime is the first to meet it
    again = edge.predict(frame, CENTER, distance_mm=DISTANCE_MM).depth_mm
    assert np.array_equal(right, again)
    assert gpu.log().count("cuDevicePrimaryCtxReset_v2") == 1
    assert gpu.driver.fake_live_at_reset() == 0
    assert ort.destroyed_in_lost_context == 0, "its destructors would end the process"
    assert ort.captures == 2
    assert edge.info["graph_why_not"] == OWN_GRAPH
    ort.before_run = lose
    with pytest.raises(CudaError, match=r"run_with_iobinding: got CUDA failure 700.*Restart the process") as caught:
        edge.predict(frame, CENTER, distance_mm=DISTANCE_MM)
    assert caught.value.sticky
    edge.close()
    assert ort.destroyed_in_lost_context == 0


@pytest.mark.parametrize("kind", ["Fail", "EPFail", "RuntimeException", "InvalidArgument", "RuntimeError"])
def test_error_that_passes_names_the_call(ort: FakeOnnxRuntime, edge: EdgeDepth, frame: np.ndarray, kind: str) -> None:
    def fail() -> None:
        ort.before_run = lambda: None
        raise getattr(ort.state, kind, RuntimeError)("CUBLAS failure 3: the resource allocation failed")

    ort.before_run = fail
    with pytest.raises(CudaError, match=r"run_with_iobinding: got CUBLAS failure 3.*Free memory on the GPU") as caught:
        edge.predict(frame, CENTER)
    assert not caught.value.sticky
    assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)


def test_memory_that_is_not_to_be_had(gpu: Machine, ort: FakeOnnxRuntime, trt_artifact: Path) -> None:
    """The GPU's own way is not there then; ONNX Runtime itself may still find room."""
    gpu.driver.fake_fail(b"cuMemAlloc_v2", 2, -1)
    with EdgeDepth(trt_artifact, "onnxruntime") as edge:
        assert edge.info["memory"] == "host"
        assert "cuMemAlloc: got" in edge.info["why_not"][0]


def test_frame_on_a_jetson_is_not_uploaded(
    jetson: Machine, trt_artifact: Path, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_onnxruntime(monkeypatch, jetson)
    with EdgeDepth(trt_artifact, "onnxruntime") as edge:
        jetson.driver.fake_clear_log()
        assert_right(edge.predict(frame, CENTER, distance_mm=DISTANCE_MM), frame)
        assert without_contexts(jetson.log()) == ONE_FRAME[1:]


def run_cli(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments))


def test_verify_and_doctor_say_which_way(
    gpu: Machine, ort: FakeOnnxRuntime, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run_cli("verify", "--model", str(trt_artifact), "--backend", "onnxruntime", "--json")
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert (data["memory"], data["provider"], data["precision"]) == ("cuda", f"{CUDA} on Fake Orin", "fp16")
    assert all(face["ok"] and face["mean_mm"] < 1e-3 for face in data["faces"])
    data = json.loads(run_cli("doctor", "--model", str(trt_artifact), "--json").stdout)
    assert data["auto"] == "onnxruntime"
    assert data["backends"]["onnxruntime"].startswith(f"works: fp16 on {CUDA} on Fake Orin, golden faces within 0.00")
    assert data["backends"]["onnxruntime"].endswith("frames cropped on the GPU")
    assert OWN_GRAPH in [finding["text"] for finding in data["findings"]]
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    forget()
    data = json.loads(run_cli("doctor", "--model", str(trt_artifact), "--json").stdout)
    assert data["backends"]["onnxruntime"].endswith("frames cropped by the CPU")
    assert any("frames go through the host's memory" in finding["text"] for finding in data["findings"])
