# SPDX-License-Identifier: Apache-2.0
"""A file appears whole or not at all, in one step, and leaves nothing beside it."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facedepth_edge import InputError
from facedepth_edge.bench.report import write_text
from facedepth_edge.image_files import write_picture
from facedepth_edge.whole_file import replace_file, whole_file
from tests.facedepth_edge.test_result import sphere_result

WRITERS: dict[str, Callable[[Path], object]] = {
    "depth.png": lambda path: sphere_result().save(path),
    "depth.npy": lambda path: sphere_result().save(path),
    "depth.ply": lambda path: sphere_result().save(path),
    "picture.png": lambda path: write_picture(sphere_result().picture(), path),
    "bench.json": lambda path: write_text(path, "x" * 5000),
}
posix_only = pytest.mark.skipif(os.name != "posix", reason="POSIX files")


@contextmanager
def full_disk() -> Iterator[None]:
    """Let every write beyond a file's first 500 bytes fail."""
    import resource  # posix

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


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


@posix_only
@pytest.mark.parametrize("name", WRITERS)
def test_a_failed_write_leaves_the_good_old_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"good and old")
    with full_disk(), pytest.raises(InputError, match="got File too large, expected a file that can be written"):
        WRITERS[name](path)
    assert path.read_bytes() == b"good and old"
    assert os.listdir(tmp_path) == [name]
    WRITERS[name](path)
    assert path.stat().st_size > 500
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_is_missing_is_not_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="got No such file or directory, expected a file that can be written"):
        WRITERS[name](tmp_path / "new" / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("bad", ["nul\0", "half\ud800"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_name_that_the_system_does_not_take_is_told(tmp_path: Path, name: str, bad: str) -> None:
    with pytest.raises(InputError, match="expected a file that can be written"):
        WRITERS[name](tmp_path / f"{bad}{name}")


@posix_only
def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    target, link, dangling, loop = (tmp_path / name for name in ("target", "link", "dangling", "loop"))
    target.write_bytes(b"old")
    link.symlink_to("target")
    dangling.symlink_to(tmp_path / "later")
    loop.symlink_to("loop")
    for path in (link, dangling):
        replace_file(path, b"new")
        assert path.is_symlink()
    assert target.read_bytes() == (tmp_path / "later").read_bytes() == b"new"
    with pytest.raises(OSError, match="symbolic link"):
        replace_file(loop, b"new")


@posix_only
def test_what_is_no_plain_file_is_written_in_place(tmp_path: Path) -> None:
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
    reader.start()
    replace_file(pipe, b"through the pipe")
    reader.join(5)
    assert found == [b"through the pipe"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path, b"new")


@posix_only
def test_permissions_stay(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o600)
    replace_file(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EBUSY])
def test_where_nothing_can_be_put_beside_it_a_file_is_written_in_place(
    tmp_path: Path, reason: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as another user's folder, or a single file that is mounted into a container."""

    def refuse(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "replace", refuse)
    (tmp_path / "file").write_bytes(b"old")
    replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


@posix_only
def test_a_name_as_long_as_the_system_takes(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    for content in (b"one", b"two"):
        replace_file(path, content)
        assert path.read_bytes() == content


def test_a_file_of_somebody_else_or_with_two_names_stays_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new file in its place would be the writer's, or leave the other name with the old content."""
    path, other = tmp_path / "a.npy", tmp_path / "b.npy"
    path.write_bytes(b"old")
    os.link(path, other)
    replace_file(path, b"new")
    assert other.read_bytes() == b"new"
    other.unlink()
    inode = path.stat().st_ino
    for name in ("geteuid", "getegid"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda real=real: real() + 1)
        replace_file(path, name.encode())
        assert path.read_bytes() == name.encode()
        assert path.stat().st_ino == inode
        monkeypatch.setattr(os, name, real)
    replace_file(path, b"mine")
    assert path.stat().st_ino != inode
