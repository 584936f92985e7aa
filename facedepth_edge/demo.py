# SPDX-License-Identifier: Apache-2.0
"""Runs the bundled model on the bundled rendered frame, so that a fresh installation can show what it does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facedepth_edge.demo_frame import DEMO_FOLDER, DemoFrame, load_demo_frame
from facedepth_edge.errors import ConfigError
from facedepth_edge.image_files import write_picture

if TYPE_CHECKING:
    from facedepth_edge.result import DepthResult

__all__ = ["DEMO_FOLDER", "DemoFrame", "DemoRun", "load_demo_frame", "run_demo"]


@dataclass(frozen=True)
class DemoRun:
    """What one run of the demo found.

    Args:
        result: the prediction.
        info: which model, backend and precision ran, and why not the others, as `EdgeDepth.info` says it.
        picture: the picture that was written.
        latency_p50_ms: median time of one `predict()`, frame to result.
        runs: how many predictions that median is of.
    """

    result: DepthResult
    info: dict[str, Any]
    picture: Path
    latency_p50_ms: float
    runs: int


def run_demo(
    out: str | Path,
    *,
    model: str | Path = "edge",
    backend: str = "auto",
    precision: str = "auto",
    runs: int = 50,
    folder: str | Path = DEMO_FOLDER,
) -> DemoRun:
    """Predict the bundled frame, time it, and write the picture.

    Args:
        out: the picture to write, an image file that OpenCV can write.
        model: as `EdgeDepth` takes it.
        backend: likewise.
        precision: likewise.
        runs: predictions that are timed, after five that are not.
        folder: where frame.png and frame.json are.

    Returns:
        What was found.

    Raises:
        ConfigError: runs is below 1.
        InputError: the picture cannot be written.
        FaceDepthError: as `load_demo_frame`, `EdgeDepth` and `predict` raise it.
    """
    if runs < 1:
        raise ConfigError.of("runs", runs, "1 or more", "Leave it out for 50.")
    demo = load_demo_frame(folder)
    from facedepth_edge.api import EdgeDepth

    with EdgeDepth(model=model, backend=backend, precision=precision, camera=demo.camera) as edge:
        times_ms = []
        for run in range(5 + runs):
            start = time.perf_counter()
            result = demo.predict_with(edge)
            if run >= 5:
                times_ms.append((time.perf_counter() - start) * 1e3)
        info = edge.info
    picture = write_picture(result.picture(demo.frame), out)
    return DemoRun(result, info, picture, float(np.median(times_ms)), runs)
