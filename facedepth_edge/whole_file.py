# SPDX-License-Identifier: Apache-2.0
"""Writes a file so that it appears whole or not at all, whatever ends the process."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_IN_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.ENAMETOOLONG)
"""Errors of a place where nothing can be made beside a file, or put where it is: others' folders, mounted files."""


@contextmanager
def whole_file(path: Path, *, make_folders: bool = True, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`, and rename it when the block ends without an error; else remove it.

    The umask decides who may read it. Folders that are missing are made. What cannot write to an open file may write
    to the path `file.name`.

    Args:
        path: the file; one that exists is replaced in one step.
        make_folders: make the folders that are missing; else that is an error.
        sync: wait until the disk has it, so that it survives a power cut too; some milliseconds.

    Raises:
        OSError: it cannot be written.
    """
    if make_folders:
        path.parent.mkdir(parents=True, exist_ok=True)
    name = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        with name.open("xb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(name, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def _is_plain_and_ours(old: os.stat_result) -> bool:
    """Say whether a new file in its place would have its owner and group, and leave no other name behind."""
    ours = (old.st_uid, old.st_gid) == (os.geteuid(), os.getegid())
    return stat.S_ISREG(old.st_mode) and ours and old.st_nlink == 1


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that somebody has named, in a folder that exists; a write that fails leaves the old file as it is.

    Of a symbolic link the target is written. Permissions stay. What is no plain file, such as a device or a pipe, is
    somebody else's, has a second name, or lies where nothing can be made beside it, is written in place.

    Raises:
        OSError: it cannot be written.
        ValueError: no file can have such a name.
    """
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    if old is not None and not (_is_plain_and_ours(old) and os.access(path, os.W_OK)):
        path.write_bytes(content)
        return
    try:
        with whole_file(Path(os.path.realpath(path)), make_folders=False, sync=False) as file:
            if old is not None:
                os.chmod(file.name, stat.S_IMODE(old.st_mode))
            file.write(content)
    except OSError as error:
        if error.errno not in _IN_PLACE:
            raise
        path.write_bytes(content)
