# SPDX-License-Identifier: Apache-2.0
"""Face depth in millimetres from one camera frame and a head centre."""

from facedepth_edge.api import EdgeDepth
from facedepth_edge.artifacts import list_models
from facedepth_edge.camera import Camera
from facedepth_edge.errors import ArtifactError, BackendUnavailable, ConfigError, FaceDepthError, InputError
from facedepth_edge.result import DepthResult
from facedepth_edge.spec import ModelSpec

__all__ = [
    "ArtifactError",
    "BackendUnavailable",
    "Camera",
    "ConfigError",
    "DepthResult",
    "EdgeDepth",
    "FaceDepthError",
    "InputError",
    "ModelSpec",
    "list_models",
]
__version__ = "0.1.0"
