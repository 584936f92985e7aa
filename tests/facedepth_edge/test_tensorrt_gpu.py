# SPDX-License-Identifier: Apache-2.0
"""TensorRT on a real GPU, whole: an engine built where there is none, frames predicted, held against the CPU's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from facedepth_edge import DepthResult, EdgeDepth
from facedepth_edge.artifacts import open_artifact
from facedepth_edge.backends.tensorrt import import_tensorrt
from facedepth_edge.box import Box
from facedepth_edge.cli import main
from facedepth_edge.cuda import open_session
from facedepth_edge.demo import load_demo_frame
from facedepth_edge.engine import FILES
from facedepth_edge.errors import BackendUnavailable
from facedepth_edge.verify import LIMITS
from tests.oracles.face_crop import crop_levels

pytestmark = pytest.mark.gpu
MODEL = "edge"
HEADS = ((0.0, 0.0, 1.0), (60.0, -40.0, 0.8), (-80.0, 40.0, 1.5))
"""(right px, down px, times farther) than the demo's head."""
FRAMES_A_THREAD = 50


@pytest.fixture(scope="module", params=list(FILES))
def edge(request: pytest.FixtureRequest) -> Iterator[EdgeDepth]:
    """Give the backend with its engine, which takes minutes where the cache has none."""
    if not open_artifact(MODEL).has(FILES[request.param]):
        pytest.skip(f"{MODEL} has no {FILES[request.param]}")
    try:
        import_tensorrt()
        open_session()
    except BackendUnavailable as error:
        pytest.skip(str(error))
    with EdgeDepth(MODEL, "tensorrt", request.param, load_demo_frame().camera) as opened:
        yield opened


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[EdgeDepth]:
    """Give ONNX Runtime's CPU provider in float32, even where it has the CUDA provider."""
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with EdgeDepth(MODEL, "onnxruntime", "fp32", load_demo_frame().camera) as opened:
        assert opened.info["memory"] == "host"
        yield opened


def predict(edge: EdgeDepth, head: tuple[float, float, float]) -> DepthResult:
    demo = load_demo_frame()
    x, y = demo.head_center
    return edge.predict(demo.frame, (x + head[0], y + head[1]), distance_mm=demo.distance_mm * head[2])


def test_frames_are_those_of_the_cpu(edge: EdgeDepth, on_cpu: EdgeDepth) -> None:
    """EdgeDepth() has warmed up, so each of these is a replay of the graph."""
    assert (edge.info["memory"], edge.info["graph_why_not"]) == ("cuda", "")
    limits = LIMITS[edge.info["precision"]]
    for head in HEADS:
        ours, theirs = predict(edge, head), predict(on_cpu, head)
        assert theirs.depth_mm.std() > 20
        assert np.abs(ours.depth_mm - theirs.depth_mm).mean() <= limits.mean_mm
        assert (ours.mask & theirs.mask).sum() >= limits.mask_iou * (ours.mask | theirs.mask).sum() > 0
        assert ours.validity == pytest.approx(theirs.validity, abs=limits.validity)
        assert ours.valid == theirs.valid


def test_verify(edge: EdgeDepth) -> None:
    """The golden faces, and the demo frame's whole way against the CPU's crop."""
    command = ["verify", "--model", MODEL, "--backend", "tensorrt", "--precision", edge.info["precision"]]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "frame: replayed as one CUDA graph" in done.stdout


def test_batch_is_the_single_faces(edge: EdgeDepth) -> None:
    """Nine faces are two batches; a batch may run other kernels, so not the same bits."""
    demo = load_demo_frame()
    x, y = demo.head_center
    heads = [(5.0 * index, 0.0, 1.0) for index in range(9)]
    centers = [(x + right, y) for right, _, _ in heads]
    together = edge.predict_batch(demo.frame, centers, distances_mm=[demo.distance_mm] * 9)
    for head, result in zip(heads, together, strict=True):
        away_mm = np.abs(predict(edge, head).depth_mm - result.depth_mm).mean()
        assert away_mm <= LIMITS[edge.info["precision"]].mean_mm


def test_threads(edge: EdgeDepth) -> None:
    right = [predict(edge, head).depth_mm for head in HEADS]
    found: list[tuple[int, Any]] = []

    def work(index: int) -> None:
        found.extend((index, predict(edge, HEADS[index]).depth_mm) for _ in range(FRAMES_A_THREAD))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(HEADS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(found) == FRAMES_A_THREAD * len(HEADS)
    assert all(np.array_equal(right[index], depth_mm) for index, depth_mm in found)


def test_crop_is_that_of_the_oracle(edge: EdgeDepth) -> None:
    demo, box = load_demo_frame(), Box(300.3, 100.7, 800.1, 600.9)
    (output,), _, _ = edge._path.run(demo.frame, [box], None)
    assert output.contrast_levels == pytest.approx(crop_levels(demo.frame, tuple(box)).std(), abs=0.01)
