# SPDX-License-Identifier: Apache-2.0
"""Counts the CPUs that this process may use."""

from __future__ import annotations

import os


def available_cpus() -> int:
    """Return how many it may use, or if the system does not say, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
