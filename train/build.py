# SPDX-License-Identifier: Apache-2.0
"""Builds what a config names."""

from __future__ import annotations

from train.config import TrainConfig
from train.networks import NETWORKS
from train.tasks import TASKS, Task


def build_task(config: TrainConfig) -> Task:
    """Build the network and the task that a config names."""
    network = NETWORKS[config.network.name](config.network.options)
    return TASKS[config.task.name](network, config.task.options)
