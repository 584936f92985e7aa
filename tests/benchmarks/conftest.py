# SPDX-License-Identifier: Apache-2.0
"""A recording of a depth camera whose measured depth is a model's own, moved."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from facedepth_edge import Camera, EdgeDepth
from tests.benchmarks.recording_scenes import CAMERA, DISTANCE_MM, HEAD
from tests.tiny_model import write_tiny_artifact


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_artifact(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def recording(model: Path, tmp_path: Path) -> Path:
    """Two frames of one person and one of another, measured 7 mm nearer than the model's mean says."""
    items = []
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (360, 480)).astype(np.uint8)
        frame = cv2.GaussianBlur(noise, (0, 0), 9)
        with EdgeDepth(model, camera=Camera(*CAMERA.values())) as edge:
            result = edge.predict(frame, HEAD, distance_mm=DISTANCE_MM)
        rows, columns = (np.arange(n) + 0.5 for n in frame.shape)
        box, (height, width) = result.box, result.depth_mm.shape
        row = np.clip((rows - box.y0) / box.height * height, 0, height - 1).astype(int)
        column = np.clip((columns - box.x0) / box.width * width, 0, width - 1).astype(int)
        depth = np.round(result.depth_mm[row[:, None], column] - 7).astype(np.uint16)
        depth[100:110] = 0
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame)
        cv2.imwrite(str(tmp_path / f"{number}_depth.png"), depth)
        items.append({"image": f"{number}.png", "depth": f"{number}_depth.png", "person": f"{number // 2}",
                      "head_center_xy": list(HEAD), **CAMERA, "distance_mm": DISTANCE_MM})  # fmt: skip
    (tmp_path / "frames.json").write_text(json.dumps(items))
    return tmp_path
