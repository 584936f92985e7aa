# SPDX-License-Identifier: Apache-2.0
"""The native library, built once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.native_library import NativeLibrary, build_library


@pytest.fixture(scope="session")
def installed_native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefix that the library, its headers and its CMake package were installed to."""
    return build_library(tmp_path_factory.mktemp("native")).parents[1]


@pytest.fixture(scope="session")
def native(installed_native: Path) -> NativeLibrary:
    """Give the C functions of the built library."""
    return NativeLibrary(installed_native / "lib" / "libfacedepth.so")
