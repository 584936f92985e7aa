# SPDX-License-Identifier: Apache-2.0
"""The tasks by the names that configs use."""

from __future__ import annotations

from train.tasks.base import Task
from train.tasks.cui import CuiTask
from train.tasks.depth import DepthTask
from train.tasks.paper import AutoencoderTask, CGanTask
from train.tasks.pix2pix import Pix2PixTask
from train.tasks.validity import ValidityTask
from train.tasks.verification import VerificationTask

TASKS: dict[str, type[Task]] = {
    "depth": DepthTask,
    "validity": ValidityTask,
    "cgan": CGanTask,
    "autoencoder": AutoencoderTask,
    "pix2pix": Pix2PixTask,
    "cui": CuiTask,
    "verification": VerificationTask,
}
