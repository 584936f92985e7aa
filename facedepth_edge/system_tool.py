# SPDX-License-Identifier: Apache-2.0
"""Runs programs of the system that may not be installed, for what they print."""

from __future__ import annotations

import shutil
import subprocess

_USUAL_S = 10.0


def run_tool(*command: str, timeout_s: float = _USUAL_S) -> str:
    """Return what a program prints, or an empty text where it is not there, fails or hangs.

    Args:
        *command: the program, a name on PATH or a file, and its arguments.
        timeout_s: after which it counts as hanging.
    """
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
