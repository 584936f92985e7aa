# SPDX-License-Identifier: Apache-2.0
"""A file appears whole or not at all, in one step, and leaves nothing beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from facedepth_edge.whole_file import whole_file


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    with whole_file(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def half() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        half()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_it_can_be_written_by_its_name(tmp_path: Path) -> None:
    with whole_file(tmp_path / "file") as file:
        Path(file.name).write_bytes(b"by another library")
    assert (tmp_path / "file").read_bytes() == b"by another library"


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_the_umask_says_who_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole_file(tmp_path / "file"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
