# SPDX-License-Identifier: Apache-2.0
"""Imports OpenCV where it is first needed, and says how to mend one that does not load."""

from __future__ import annotations

import functools
from typing import Any

from facedepth_edge.errors import BackendUnavailable


def import_cv2() -> Any:
    """Return the module cv2.

    Raises:
        BackendUnavailable: it is missing, or does not load here.
    """
    module, error = find_cv2()
    if error is not None:
        raise BackendUnavailable.of("OpenCV", str(error), "a module cv2 that loads", how_to_mend()) from error
    return module


@functools.cache
def find_cv2() -> tuple[Any, ImportError | None]:
    """Import cv2, once in a process: a second try would fail by another error, and print the import path.

    Returns:
        (the module, None), or (None, why it cannot be imported).
    """
    try:
        import cv2
    except ImportError as error:
        return None, error
    return cv2, None


def how_to_mend() -> str:
    """Return the sentences that say what to do about a cv2 that is missing or does not load."""
    from facedepth_edge.installed import installed_version  # importlib.metadata is slow to import

    version = installed_version("opencv-python")
    headless = f"opencv-python-headless=={version}" if version else "opencv-python-headless>=4.8,<5"
    return (
        "Run: pip install 'opencv-python>=4.8,<5'. Where a system library is missing: apt-get install libgl1 "
        f"libglib2.0-0, or pip uninstall -y opencv-python && pip install '{headless}', which needs neither."
    )
