# SPDX-License-Identifier: Apache-2.0
"""The demo frame's way on a GPU against the CPU's: a right stand-in passes, each kind of wrong one fails."""

from __future__ import annotations

import ctypes
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from facedepth_edge import EdgeDepth, verify_frame
from facedepth_edge.artifacts import open_artifact
from facedepth_edge.backends.base import open_backend
from facedepth_edge.backends.onnxruntime_cuda import OWN_GRAPH
from facedepth_edge.backends.tensorrt import TensorRtBackend
from facedepth_edge.box import Box
from facedepth_edge.cli import main
from facedepth_edge.cuda_driver import CudaError, Graph, Kernel
from facedepth_edge.demo import load_demo_frame
from facedepth_edge.device_path import DevicePath
from facedepth_edge.errors import BackendUnavailable
from facedepth_edge.face_crop import FaceSampler
from facedepth_edge.frame_path import NetworkOutput, locate_faces
from facedepth_edge.verify import LIMITS, check_golden_faces, run_faces
from facedepth_edge.verify_frame import HEADS, DevicePathCheck, check_device_path, request_of
from tests.fake_gpu.installed import Machine
from tests.fake_gpu.onnxruntime import FakeOnnxRuntime

WORK = ctypes.CFUNCTYPE(None, ctypes.c_size_t)


@pytest.fixture
def backend(gpu: Machine, trt_artifact: Path) -> Iterator[TensorRtBackend]:
    opened = TensorRtBackend.open(open_artifact(trt_artifact), "int8", None, report=lambda line: None)
    yield opened
    opened.close()


def checked(backend: Any, artifact: Path) -> DevicePathCheck:
    frame = check_device_path(open_artifact(artifact), backend)
    assert frame is not None
    assert len(frame.faces) == 13
    return frame


def run_cli(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize("machine", ["gpu", "jetson"])
def test_right_one_passes(machine: str, trt_artifact: Path, request: pytest.FixtureRequest) -> None:
    there: Machine = request.getfixturevalue(machine)
    backend = TensorRtBackend.open(open_artifact(trt_artifact), "fp16", None, report=lambda line: None)
    before = there.driver.fake_device_allocations(), there.driver.fake_host_allocations(), there.driver.fake_graphs()
    there.driver.fake_clear_log()
    frame = checked(backend, trt_artifact)
    assert frame.ok, frame.lines()
    assert max(face.mean_mm for face in frame.faces) < 0.02
    assert 0 < max(face.crop_levels for face in frame.faces) < 0.05
    assert there.log().count("cuStreamBeginCapture_v2") == 1
    assert there.log().count("cuGraphLaunch") == 8
    assert (frame.crop, frame.why_no_graph) == ("native", "")
    assert frame.lines()[0].endswith("  ok")
    assert "frame: replayed as one CUDA graph" in frame.lines()
    after = there.driver.fake_device_allocations(), there.driver.fake_host_allocations(), there.driver.fake_graphs()
    assert before == after
    assert all(check.ok for check in check_golden_faces(open_artifact(trt_artifact), backend)), "it stays open"
    backend.close()


def test_every_form_and_a_batch_are_run(backend: TensorRtBackend, trt_artifact: Path) -> None:
    whats = [face.what for face in checked(backend, trt_artifact).faces]
    assert whats.count("colour, batch of 3") == 3
    assert set(whats) == {"colour", "colour, batch of 3", "gray", "gray uint16", "colour uint16", "small"}
    assert whats[:5] == ["colour"] * 5, "two step by step, a capture and two replays of other faces"


def test_onnxruntime_passes_with_its_own_graph(ort: FakeOnnxRuntime, trt_artifact: Path) -> None:
    backend: Any = open_backend("onnxruntime", open_artifact(trt_artifact), "auto", None)
    assert backend.memory == "cuda"
    frame = checked(backend, trt_artifact)
    assert frame.ok, frame.lines()
    assert frame.why_no_graph == OWN_GRAPH
    backend.close()


def test_opencv_crop_passes_within_its_own_limit(
    backend: TensorRtBackend, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_frame, "FaceSampler", lambda: FaceSampler("opencv"))
    frame = checked(backend, trt_artifact)
    assert frame.ok, frame.lines()
    assert frame.as_json()["crop_limit_levels"] == 1.05
    assert max(face.crop_levels for face in frame.faces) > 0.05, "OpenCV rounds each pixel's gray"


def test_without_a_gpu_there_is_nothing_to_compare(tiny_artifact: Path) -> None:
    artifact = open_artifact(tiny_artifact)
    backend = open_backend("onnxruntime", artifact, "fp32", 1)
    assert check_device_path(artifact, backend) is None
    backend.close()
    done = run_cli("verify", "--model", str(tiny_artifact), "--backend", "onnxruntime")
    assert "frame" not in done.stdout


def kernel_that_shifts(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the kernel, in the same stream, the crop is moved by one of its pixels."""
    real, kept = Kernel.launch, []

    def launch(self: Kernel, grid: Any, threads: int, stream: int, *arguments: Any) -> None:
        real(self, grid, threads, stream, *arguments)
        address, (height, faces) = arguments[1].value, grid

        def shift(_: int) -> None:
            pointer = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
            crops = np.ctypeslib.as_array(pointer, (faces, height, arguments[3].value))
            crops[...] = np.roll(crops, 1, axis=2)

        kept.append(WORK(shift))
        enqueue = gpu.driver.fake_enqueue
        assert enqueue(ctypes.c_void_p(stream), kept[-1], ctypes.c_size_t(0)) == 0

    monkeypatch.setattr(Kernel, "launch", launch)


def graph_that_replays_nothing(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer of the frame before it stays."""
    monkeypatch.setattr(Graph, "launch", lambda self, stream: None)


Way = Callable[[Any, Any, Any, Any], tuple[list[NetworkOutput], float, float]]


def change_the_way(monkeypatch: pytest.MonkeyPatch, change: Callable[..., Any]) -> None:
    """Put change(real run, path, frame, boxes, max_value) in the place of DevicePath.run."""
    real: Way = DevicePath.run
    monkeypatch.setattr(DevicePath, "run", lambda *given: change(real, *given))


def header_that_is_wrong(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes lie two pixels of the frame too far right: within what INT8 may differ in depth."""

    def run(real: Way, path: DevicePath, frame: Any, boxes: Any, max_value: Any) -> Any:
        return real(path, frame, [Box(x0 + 2, y0, x1 + 2, y1) for x0, y0, x1, y1 in boxes], max_value)

    change_the_way(monkeypatch, run)


def batch_that_repeats_a_face(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(real: Way, path: DevicePath, frame: Any, boxes: Any, max_value: Any) -> Any:
        return real(path, frame, [boxes[0]] * len(boxes), max_value)

    change_the_way(monkeypatch, run)


def uint16_that_is_too_bright(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(real: Way, path: DevicePath, frame: Any, boxes: Any, max_value: Any) -> Any:
        return real(path, frame, boxes, max_value / 1.1)

    change_the_way(monkeypatch, run)


def change_the_answers(monkeypatch: pytest.MonkeyPatch, change: Callable[[NetworkOutput], dict[str, Any]]) -> None:
    def run(real: Way, *given: Any) -> Any:
        outputs, stage_ms, network_ms = real(*given)
        return [output._replace(**change(output)) for output in outputs], stage_ms, network_ms

    change_the_way(monkeypatch, run)


def statistics_that_never_arrive(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the mapped memory that the kernel writes is not the one that the CPU reads."""
    change_the_answers(monkeypatch, lambda output: {"contrast_levels": float("nan")})


def answers_that_are_no_numbers(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    change_the_answers(monkeypatch, lambda output: {"relative_z": np.full_like(output.relative_z, np.nan)})


def answers_of_the_first_frame(gpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The crop is right, the network's answers are old."""
    kept: list[dict[str, Any]] = []

    def first(output: NetworkOutput) -> dict[str, Any]:
        kept.append({"relative_z": np.array(output.relative_z), "mask": np.array(output.mask)})
        return kept[0]

    change_the_answers(monkeypatch, first)


WRONG = {
    answers_of_the_first_frame: [1, 2, 4, 6, 7, 8, 9, 10, 11, 12],
    kernel_that_shifts: range(13),
    graph_that_replays_nothing: [2, 3, 8, 9, 10, 11, 12],
    header_that_is_wrong: range(13),
    batch_that_repeats_a_face: [6, 7],
    uint16_that_is_too_bright: [10, 11],
    statistics_that_never_arrive: range(13),
    answers_that_are_no_numbers: range(13),
}


@pytest.mark.parametrize("breaking", WRONG, ids=lambda breaking: breaking.__name__)
def test_wrong_one_fails(
    breaking: Callable[[Machine, pytest.MonkeyPatch], None],
    gpu: Machine,
    backend: TensorRtBackend,
    trt_artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    breaking(gpu, monkeypatch)
    frame = checked(backend, trt_artifact)
    assert [face.face for face in frame.bad] == list(WRONG[breaking])
    assert not frame.ok
    json.dumps(frame.as_json(), allow_nan=False)
    lines = frame.lines()
    assert re.fullmatch(r"frame: 13 faces cropped on the GPU .*gray levels, mean .* mm, .*  FAIL", lines[0])
    assert [line.startswith("frame: face") and line.endswith("FAIL") for line in lines].count(True) == len(frame.bad)
    assert all(check.ok for check in check_golden_faces(open_artifact(trt_artifact), backend)), "they do not tell"


def test_uint16_that_is_far_too_bright(
    gpu: Machine, backend: TensorRtBackend, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path refuses it as the caller's fault, which it is not."""
    change_the_way(monkeypatch, lambda real, path, frame, boxes, _: real(path, frame, boxes, 255.0))
    rule = r"demo frame, gray uint16: got frame: got gray up to .* expected a crop as the CPU's\. Do not use"
    with pytest.raises(BackendUnavailable, match=rule):
        check_device_path(open_artifact(trt_artifact), backend)


def test_shift_that_depth_alone_would_pass(
    gpu: Machine, backend: TensorRtBackend, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header_that_is_wrong(gpu, monkeypatch)
    faces = checked(backend, trt_artifact).faces
    assert any(face.mean_mm < LIMITS["int8"].mean_mm and face.crop_levels > 5 for face in faces)


def test_heads_are_told_apart_by_the_bundled_model(edge_artifact: Path) -> None:
    """An answer that belongs to another head is far past the widest limit, and the boxes are of each kind."""
    artifact, demo = open_artifact(edge_artifact), load_demo_frame()

    def boxes_of(step: int) -> list[Box]:
        frame, requests = demo.frame[::step, ::step], [request_of(demo, head, step) for head in HEADS]
        asked: Any = {"camera": demo.camera, "depth": None, "average": "median", "spec": artifact.spec}
        return [face.box for face in locate_faces(frame, requests, **asked).faces]

    crops, sampler = np.empty((len(HEADS), 1, 96, 96), np.float32), FaceSampler()
    for crop, box in zip(crops, boxes_of(1), strict=True):
        sampler.sample_into(crop[0], demo.frame, box, artifact.spec.preprocessing)
    backend = open_backend("onnxruntime", artifact, "int8", 1)
    depth_mm = run_faces(backend, crops)["depth"] * artifact.spec.depth_scale.half_range_mm
    backend.close()
    away_mm = [np.abs(one - other).mean() for index, one in enumerate(depth_mm) for other in depth_mm[:index]]
    assert min(away_mm) > 8 * LIMITS["int8"].mean_mm
    assert boxes_of(1)[1].y0 < 0, "one leaves the frame"
    assert boxes_of(8)[0].width < 96, "one is enlarged"


def test_lost_context_is_an_error_and_not_torn_down(
    gpu: Machine, backend: TensorRtBackend, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Kernel.launch

    def launch(self: Kernel, *arguments: Any) -> None:
        gpu.driver.fake_lose()
        real(self, *arguments)

    monkeypatch.setattr(Kernel, "launch", launch)
    with pytest.raises(CudaError, match="an illegal memory access"):
        check_device_path(open_artifact(trt_artifact), backend)
    assert "cuDevicePrimaryCtxReset_v2" not in gpu.log(), "the backend still has its engine in it"
    assert backend in backend.session.users, "it is still open"


def test_self_test(gpu: Machine, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    EdgeDepth(trt_artifact, "tensorrt", "fp16", self_test=True).close()
    header_that_is_wrong(gpu, monkeypatch)
    rule = (
        r"got 13 of 13 faces of the demo frame past .*, first colour: crop .*expected the CPU's crop within 0\.05 gray"
    )
    with pytest.raises(BackendUnavailable, match=rule):
        EdgeDepth(trt_artifact, "tensorrt", "fp16", self_test=True)
    EdgeDepth(trt_artifact, "tensorrt", "fp16").close()
    assert (gpu.driver.fake_device_allocations(), gpu.driver.fake_host_allocations()) == (0, 0)


def test_verify_command(gpu: Machine, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("verify", "--model", str(trt_artifact), "--backend", "tensorrt")
    done = run_cli(*command)
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if line.startswith("frame")]
    assert [line.endswith("  ok") for line in lines] == [True, False, False]
    assert lines[2] == "frame limits: crop and contrast 0.05 gray levels, the others as above"
    frame = json.loads(run_cli(*command, "--json").stdout)["frame"]
    assert (frame["ok"], frame["crop"], frame["graph_why_not"], len(frame["faces"])) == (True, "native", "", 13)
    graph_that_replays_nothing(gpu, monkeypatch)
    done = run_cli(*command)
    assert done.exit_code == 1
    assert re.search(r"frame: face 3, colour: crop \d+\.\d+ and .* mean \d+\.\d+ mm, .*  FAIL", done.stdout)
    assert done.stderr.splitlines()[-1].startswith("FAIL facedepth-edge verify")
    data = json.loads(run_cli(*command, "--json").stdout)
    assert (data["ok"], data["frame"]["ok"]) == (False, False)
    assert all(face["ok"] for face in data["faces"]), "the golden faces know of no frame"


def test_doctor(gpu: Machine, trt_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("doctor", "--model", str(trt_artifact), "--json")
    TensorRtBackend.open(open_artifact(trt_artifact), "int8", None, report=lambda line: None).close()
    data = json.loads(run_cli(*command).stdout)
    assert data["ok"] is True
    assert re.search(
        r"demo frame against the CPU's crop: crop 0\.0\d\d and .* mean 0\.00", data["backends"]["tensorrt"]
    )
    with monkeypatch.context() as patch:
        kernel_that_shifts(gpu, patch)
        data = json.loads(run_cli(*command).stdout)
    assert data["ok"] is False
    assert data["backends"]["tensorrt"].startswith("wrong answers: int8 on TensorRT")
    gpu.driver.fake_fail(b"cuLaunchKernel", 701, -1)
    data = json.loads(run_cli(*command).stdout)
    assert data["ok"] is False
    assert data["backends"]["tensorrt"].startswith("fails: cuLaunchKernel: got ")


def test_doctor_says_why_there_is_no_graph(gpu: Machine, trt_artifact: Path) -> None:
    TensorRtBackend.open(open_artifact(trt_artifact), "int8", None, report=lambda line: None).close()
    gpu.driver.fake_fail(b"cuGraphInstantiateWithFlags", 801, -1)
    data = json.loads(run_cli("doctor", "--model", str(trt_artifact), "--json").stdout)
    assert data["ok"] is True
    assert any("cuGraphInstantiateWithFlags" in finding["text"] for finding in data["findings"])
