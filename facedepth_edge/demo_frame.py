# SPDX-License-Identifier: Apache-2.0
"""The bundled rendered frame with its head centre, distance and camera."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facedepth_edge.camera import Camera
from facedepth_edge.errors import ArtifactError, BackendUnavailable, FaceDepthError
from facedepth_edge.image_files import read_frame

if TYPE_CHECKING:
    from facedepth_edge.api import EdgeDepth
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

    def predict_with(self, edge: EdgeDepth) -> DepthResult:
        """Predict the driver's face with a model that was opened with this camera."""
        return edge.predict(self.frame, self.head_center, distance_mm=self.distance_mm)


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
