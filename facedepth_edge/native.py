# SPDX-License-Identifier: Apache-2.0
"""Finds the compiled module, which an installation has where there was a C++17 compiler."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any


@functools.cache
def find_native() -> tuple[Any, str]:
    """Look for the compiled module, once in a process.

    Returns:
        (the module facedepth_edge._native, ""), or (None, why it is not used).
    """
    from facedepth_edge import __version__

    try:
        module: Any = importlib.import_module("facedepth_edge._native")
    except ImportError as error:
        folder = Path(__file__).resolve().parent
        if (folder.parent / "pyproject.toml").is_file():  # it hides what pip may have installed
            fix = "run from another folder, or pip install -e . in it, which needs a C++17 compiler"
            return None, f"{error}: {folder.parent} is a source folder; {fix}"
        return None, f"{error}; pip install builds it where there is a C++17 compiler"
    if module.version != __version__:
        return None, f"{module.__file__} is of version {module.version}, not {__version__}; install the package again"
    return module, ""
