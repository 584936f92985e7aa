# SPDX-License-Identifier: Apache-2.0
"""Writes a file so that it appears whole or not at all, whatever ends the process."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`, and rename it when the block ends without an error; else remove it.

    The umask decides who may read it. Folders that are missing are made. What cannot write to an open file may write
    to the path `file.name`.

    Args:
        path: the file; one that exists is replaced in one step.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        with name.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)
