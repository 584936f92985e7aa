# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's CUDA provider on a real GPU: right, with its graph, from several threads, with flat memory."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from facedepth_edge import EdgeDepth
from facedepth_edge.backends import onnxruntime_cuda
from facedepth_edge.backends.onnxruntime_cuda import OWN_GRAPH
from facedepth_edge.backends.onnxruntime_network import CUDA
from facedepth_edge.box import Box
from facedepth_edge.cuda import open_session
from facedepth_edge.demo import load_demo_frame
from facedepth_edge.errors import BackendUnavailable

pytestmark = pytest.mark.gpu
FRAMES = 2000


@pytest.fixture
def edge() -> Iterator[EdgeDepth]:
    import onnxruntime

    if CUDA not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDA provider")
    try:
        open_session()
    except BackendUnavailable as error:
        pytest.skip(str(error))
    with EdgeDepth(backend="onnxruntime", camera=load_demo_frame().camera, self_test=True) as opened:
        assert opened.info["memory"] == "cuda", opened.info["why_not"]
        yield opened


def depth_of(edge: EdgeDepth) -> np.ndarray:
    demo = load_demo_frame()
    return edge.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm).depth_mm


def test_golden_faces_and_graph(edge: EdgeDepth) -> None:
    """self_test=True has compared the golden faces and the demo frame already."""
    assert edge.info["precision"] == "fp16"
    assert edge.info["graph_why_not"] == OWN_GRAPH
    with EdgeDepth(backend="onnxruntime", precision="fp32", camera=load_demo_frame().camera) as exact:
        assert np.abs(depth_of(edge) - depth_of(exact)).mean() < 0.5


def test_graph_gives_the_eager_bits(edge: EdgeDepth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_cuda, "GRAPH_VERSION", (999, 0))
    with EdgeDepth(backend="onnxruntime", camera=load_demo_frame().camera) as eager:
        assert "kernel by kernel" in eager.info["graph_why_not"]
        assert np.array_equal(depth_of(eager), depth_of(edge))


def test_batch_is_the_single_faces(edge: EdgeDepth) -> None:
    demo = load_demo_frame()
    x, y = demo.head_center
    centers = [(x + 5.0 * index, y) for index in range(9)]
    together = edge.predict_batch(demo.frame, centers, distances_mm=[demo.distance_mm] * 9)
    for center, result in zip(centers, together, strict=True):
        alone = edge.predict(demo.frame, center, distance_mm=demo.distance_mm)
        assert np.abs(alone.depth_mm - result.depth_mm).max() < 2.0


def test_threads(edge: EdgeDepth) -> None:
    right = depth_of(edge)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.extend(depth_of(edge) for _ in range(50))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(found) == 150
    assert all(np.array_equal(right, depth_mm) for depth_mm in found)


@pytest.mark.slow
def test_memory_stays_flat(edge: EdgeDepth) -> None:
    def used_mib() -> int:
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])

    depth_of(edge)
    before = used_mib()
    for _ in range(FRAMES):
        depth_of(edge)
    assert used_mib() - before <= 2


def test_crop_is_that_of_the_oracle(edge: EdgeDepth) -> None:
    from tests.oracles.face_crop import crop_levels

    demo = load_demo_frame()
    box = Box(300.3, 100.7, 800.1, 600.9)
    (output,), _, _ = edge._path.run(demo.frame, [box], None)
    assert output.contrast_levels == pytest.approx(crop_levels(demo.frame, tuple(box)).std(), abs=0.01)
