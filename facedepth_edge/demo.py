# SPDX-License-Identifier: Apache-2.0
"""Runs the bundled model on the bundled rendered frame, so that a fresh installation can show what it does."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facedepth_edge.camera import Camera
from facedepth_edge.errors import ArtifactError, BackendUnavailable, ConfigError, FaceDepthError
from facedepth_edge.image_files import read_frame, write_picture

if TYPE_CHECKING:
    from facedepth_edge.result import DepthResult

DEMO_FOLDER = Path(__file__).parent / "demo"
_FIX = "Install facedepth-edge again: its demo frame is damaged."


@dataclass(frozen=True)
class DemoFrame:
    """A rendered driver; nobody's likeness.

    Args:
        frame: (H, W, 3) uint8 BGR, host, C-contiguous; the caller owns it.
        head_center: (x, y) in pixels of the frame.
        distance_mm: z of the visible surface at the head centre, known from the renderer.
        camera: the renderer's camera.
    """

    frame: np.ndarray
    head_center: tuple[float, float]
    distance_mm: float
    camera: Camera


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


def load_demo_frame(folder: str | Path = DEMO_FOLDER) -> DemoFrame:
    """Read the bundled frame with its head centre, distance and camera.

    Args:
        folder: where frame.png and frame.json are.

    Returns:
        The frame; the caller owns its array.

    Raises:
        ArtifactError: a file is missing or damaged.
        BackendUnavailable: OpenCV does not load here.
    """
    folder = Path(folder)
    where = folder / "frame.json"
    try:
        data = json.loads(where.read_text(encoding="utf-8"))
        x, y = (float(value) for value in data["head_center"])
        camera = Camera(**data["camera"])
        distance_mm = float(data["distance_mm"])
        frame = read_frame(folder / "frame.png")
    except BackendUnavailable:  # the frame is whole
        raise
    except (OSError, ValueError, KeyError, TypeError, FaceDepthError) as error:
        raise ArtifactError.of(str(where), f"{type(error).__name__}: {error}", "the bundled frame", _FIX) from error
    return DemoFrame(frame, (x, y), distance_mm, camera)


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
            result = edge.predict(demo.frame, demo.head_center, distance_mm=demo.distance_mm)
            if run >= 5:
                times_ms.append((time.perf_counter() - start) * 1e3)
        info = edge.info
    picture = write_picture(result.picture(demo.frame), out)
    return DemoRun(result, info, picture, float(np.median(times_ms)), runs)
