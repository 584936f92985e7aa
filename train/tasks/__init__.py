# SPDX-License-Identifier: Apache-2.0
"""What is trained: each task owns its networks and turns a batch into losses."""

from train.tasks.base import AdversarialTask, Task
from train.tasks.depth import DepthTask, DepthTaskConfig
from train.tasks.paper import AutoencoderTask, AutoencoderTaskConfig, CGanTask, CGanTaskConfig
from train.tasks.table import TASKS

__all__ = [
    "TASKS",
    "AdversarialTask",
    "AutoencoderTask",
    "AutoencoderTaskConfig",
    "CGanTask",
    "CGanTaskConfig",
    "DepthTask",
    "DepthTaskConfig",
    "Task",
]
