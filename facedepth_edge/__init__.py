# SPDX-License-Identifier: Apache-2.0
"""Face depth in millimetres from one camera frame and a head centre."""

from facedepth_edge.api import EdgeDepth
from facedepth_edge.artifacts import list_models
from facedepth_edge.camera import Camera
from facedepth_edge.errors import (
    ArtifactError,
    BackendUnavailable,
    ConfigError,
    FaceDepthError,
    InputError,
    UnmeasuredHead,
)
from facedepth_edge.eyes import HeadPlace, head_from_eyes
from facedepth_edge.head import distance_from_head_point
from facedepth_edge.head_pose import HeadPose
from facedepth_edge.result import DepthResult
from facedepth_edge.spec import ModelSpec
from facedepth_edge.stream import DepthStream, StreamConfig

__all__ = [
    "ArtifactError",
    "BackendUnavailable",
    "Camera",
    "ConfigError",
    "DepthResult",
    "DepthStream",
    "EdgeDepth",
    "FaceDepthError",
    "HeadPlace",
    "HeadPose",
    "InputError",
    "ModelSpec",
    "StreamConfig",
    "UnmeasuredHead",
    "distance_from_head_point",
    "head_from_eyes",
    "list_models",
]
__version__ = "0.1.0"
