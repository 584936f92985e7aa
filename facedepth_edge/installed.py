# SPDX-License-Identifier: Apache-2.0
"""Which version of a library pip has installed here, without importing it."""

from __future__ import annotations

from importlib import metadata

TENSORRT = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13")
"""Distributions that bring the module tensorrt: the first asks for one of the others, which can be installed alone."""


def installed_version(*names: str) -> str | None:
    """Return the version of the first of these distributions that is installed; None without one.

    A library that came with the system, as TensorRT does with JetPack, may be there all the same.
    """
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None
