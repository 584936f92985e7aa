# SPDX-License-Identifier: Apache-2.0
"""The cache of what was built on this device: TensorRT plans with their metadata, timing caches, cubins.

A plan is a plain file that `trtexec --loadEngine` reads; NAME.json beside it says what it was built from and for. All
files are written whole or not at all, and a lock keeps two processes from building the same one twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facedepth_edge.errors import ConfigError
from facedepth_edge.whole_file import whole_file

CACHE_VARIABLE = "FACEDEPTH_EDGE_CACHE"
FORMAT = 1
FIRST_DIGITS = 12  # of a SHA-256, in a file's name
WORKSPACE = "workspace_mib"  # what a build was limited to, in its metadata
MIN_WORKSPACE_MIB, MAX_WORKSPACE_MIB = 16, 65536

_FIX = f"Free space, or set {CACHE_VARIABLE} to a folder that may be written."


def cache_folder() -> Path:
    """Return the folder of everything that is built on this device; it may not exist yet.

    It is $FACEDEPTH_EDGE_CACHE, else facedepth-edge in $XDG_CACHE_HOME, else in ~/.cache.

    Raises:
        ConfigError: there is no home folder to put it in.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        home = Path(base) if base else Path.home() / ".cache"
    except RuntimeError as error:
        raise ConfigError.of(CACHE_VARIABLE, str(error), "a folder for what is built here", _FIX) from error
    return home / "facedepth-edge"


@dataclass(frozen=True)
class EngineKey:
    """Everything that decides whether a plan fits; it is built again as soon as one of these differs."""

    model_sha256: str
    precision: str
    tensorrt: str
    gpu: str
    compute_capability: str
    multiprocessors: int
    platform: str
    options: Mapping[str, Any]

    def difference_from(self, stored: Mapping[str, Any]) -> str:
        """Say in one line which entry of a stored key differs, or return an empty text."""
        for name, value in asdict(self).items():
            if stored.get(name) != value:
                return f"{name.replace('_', ' ')} was {stored.get(name)!r} and is {value!r}"
        return ""


def file_safe(text: str) -> str:
    """Return a text with everything but letters, digits, dots and hyphens replaced, for a file's name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-")


@dataclass(frozen=True)
class PlanFiles:
    """The files of one plan.

    Args:
        plan: the plan; the others are named after it.
    """

    plan: Path

    @classmethod
    def named(cls, model: str, model_sha256: str, precision: str, gpu: str) -> PlanFiles:
        """Name the files for a model on a GPU.

        The TensorRT version and the options are not in the name: a plan that they make useless is replaced.
        """
        parts = (file_safe(model), precision, model_sha256[:FIRST_DIGITS], file_safe(gpu))
        return cls(cache_folder() / "engines" / f"{'-'.join(parts)}.plan")

    @property
    def metadata(self) -> Path:
        """The JSON file beside the plan."""
        return self.plan.with_suffix(".json")

    @property
    def lock(self) -> Path:
        """The file that is locked while the plan is built; empty."""
        return self.plan.with_suffix(".lock")

    def read(self, key: EngineKey, workspace_mib: int | None = None) -> tuple[bytes | None, str]:
        """Read the plan if it is whole and fits.

        Args:
            key: what it must have been built from and for.
            workspace_mib: the limit that its build must have had; None: any.

        Returns:
            (the plan, "") or (None, why it must be built, in one line).
        """
        try:
            stored = json.loads(self.metadata.read_bytes())
            content = self.plan.read_bytes()
        except FileNotFoundError:
            return None, "none was built yet"
        except (OSError, ValueError, RecursionError) as error:
            return None, f"its files cannot be read ({' '.join(str(error).split())})"
        if not isinstance(stored, dict) or stored.get("format") != FORMAT or not isinstance(stored.get("key"), dict):
            return None, "its metadata is of another version"
        difference = key.difference_from(stored["key"])
        if difference:
            return None, difference
        limit = _workspace_of(stored)
        if workspace_mib is not None and limit != workspace_mib:
            return None, f"workspace was {limit} MiB and is to be {workspace_mib}"
        if stored.get("sha256") != hashlib.sha256(content).hexdigest():
            return None, "the plan is damaged (wrong SHA-256)"
        return content, ""

    def workspace_mib(self) -> int | None:
        """Return the limit of the cached plan's build, whether the plan fits or not; None: unknown."""
        try:
            return _workspace_of(json.loads(self.metadata.read_bytes()))
        except (OSError, ValueError, RecursionError):
            return None

    def write(self, plan: bytes, key: EngineKey, built: Mapping[str, Any]) -> None:
        """Write the plan and its metadata, each whole or not at all.

        Args:
            plan: what TensorRT gave.
            key: what it was built from and for.
            built: more for people to read, JSON values.

        Raises:
            ConfigError: the folder cannot be written.
        """
        digest = hashlib.sha256(plan).hexdigest()
        data = {"format": FORMAT, "sha256": digest, "bytes": len(plan), "key": asdict(key), "built": dict(built)}
        write_whole(self.plan, plan)
        write_whole(self.metadata, (json.dumps(data, indent=2, allow_nan=False) + "\n").encode())


def is_workspace(value: Any) -> bool:
    """Tell whether a value can be a build's limit: a whole number of MiB within the bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and MIN_WORKSPACE_MIB <= value <= MAX_WORKSPACE_MIB


def _workspace_of(stored: Any) -> int | None:
    built = stored.get("built") if isinstance(stored, dict) else None
    value = built.get(WORKSPACE) if isinstance(built, dict) else None
    return value if is_workspace(value) else None


def built_plans(model: str, model_sha256: str, precision: str) -> list[Path]:
    """Return the plans of a model that lie in the cache for any GPU, looking at file names only."""
    pattern = f"{file_safe(model)}-{precision}-{model_sha256[:FIRST_DIGITS]}-*.plan"
    return sorted((cache_folder() / "engines").glob(pattern))


def read_if_there(path: Path) -> bytes:
    """Return a file's content, or nothing where it cannot be read: a cache may be lost at any time."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary file beside it, then rename. The umask decides who may read it.

    Args:
        path: the file; one that exists is replaced in one step.
        content: its bytes.

    Raises:
        ConfigError: it cannot be written.
    """
    with _writable(path), whole_file(path) as file:
        file.write(content)


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock between processes and threads for the block; the system lets it go when the process ends.

    Args:
        path: the file to lock; made where it is missing, and left there.
        waiting: called once if somebody else holds it.

    Raises:
        ConfigError: the file cannot be made.
    """
    with _writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another user's lock may be open for reading alone, and that is enough to hold it.
        handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def remove_leftovers(path: Path) -> None:
    """Remove what interrupted writes of a file have left; only for the holder of its lock."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        with suppress(OSError):
            leftover.unlink()


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError.of(str(path), error.strerror or str(error), "a file that can be written", _FIX) from error
