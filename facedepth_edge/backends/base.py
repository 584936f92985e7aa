# SPDX-License-Identifier: Apache-2.0
"""What a backend is, and the table of those that exist.

A backend runs the network and nothing else. The shared checks and the meaning of the numbers are its caller's.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from facedepth_edge.artifacts import Artifact
from facedepth_edge.errors import BackendUnavailable, ConfigError, FaceDepthError


@dataclass(frozen=True)
class BackendEntry:
    """One line of the table.

    Args:
        target: "module:Class" of a BackendClass.
        install: how to install what it needs.
        extra: true for a backend that few machines have: if no backend works, `auto` raises another one's error.
    """

    target: str
    install: str
    extra: bool = False


BACKENDS: dict[str, BackendEntry] = {
    "tensorrt": BackendEntry(
        "facedepth_edge.backends.tensorrt:TensorRtBackend",
        "pip install 'tensorrt>=10.3,<12' pycuda, and on a Jetson, where TensorRT comes with JetPack, "
        "pip install pycuda in an environment made by python3 -m venv --system-site-packages",
        extra=True,
    ),
    "onnxruntime": BackendEntry("facedepth_edge.backends.onnxruntime:OnnxRuntimeBackend", "pip install onnxruntime"),
    "torch": BackendEntry("facedepth_edge.backends.torch:TorchBackend", "pip install torch"),
}
"""By name, in the order in which `auto` tries them."""

PRECISIONS = ("auto", "fp32", "fp16", "int8")


class Backend(Protocol):
    """Run one loaded network from one thread.

    The caller writes into ``input``, calls ``run()`` and reads ``output``. Both are buffers of the backend: ``output``
    is overwritten by the next ``run()``, and both are replaced by ``reserve()`` with another batch.
    """

    name: str
    memory: str
    """Where input and output live: "host" or "cuda"."""
    precision: str
    """The precision that runs: "fp32", "fp16" or "int8"."""
    provider: str
    """What computes, in the library's own word."""
    threads: int
    """Host threads that one run() may use."""
    notes: tuple[str, ...]
    """Why something better was not taken, one sentence each."""
    max_batch: int
    """The most faces that one run() takes."""
    input: Any
    """(batch, 1, height, width) float32, C-contiguous, in ``memory``."""
    output: Mapping[str, Any]
    """The spec's output names -> (batch, 1, height, width), or (batch, 1) for validity; float32, in ``memory``."""

    def reserve(self, batch: int) -> None:
        """Size input and output for `batch` faces, 1 to max_batch; costs nothing if they already have that size."""
        ...

    def run(self) -> None:
        """Compute output from input; return when output is complete."""
        ...

    def fork(self) -> Backend:
        """Return another backend on the same loaded network, with buffers of its own, for another thread."""
        ...

    def close(self) -> None:
        """Let the buffers and the network go; a second call does nothing."""
        ...


class DeviceBackend(Backend, Protocol):
    """A backend whose memory is "cuda": DevicePath crops into its input and downloads its outputs in one piece.

    ``input`` and the values of ``output`` have ``address``, ``shape``, ``dtype`` and ``bytes``.
    """

    session: Any
    """The cuda.Session that everything lives in."""
    stream: Any
    """The stream that run() uses, free for the caller's own work before and after."""
    output_block: Any
    """The device memory that holds all outputs of the reserved batch."""
    output_offsets: Mapping[str, int]
    """Where each output begins in the block, in bytes."""
    why_no_capture: str
    """Why enqueue() must not be captured into a caller's CUDA graph; empty where it may be."""

    def enqueue(self, stream: Any) -> None:
        """Start computing output from input on a stream, and return."""
        ...

    def fork(self) -> DeviceBackend:
        """As Backend.fork()."""
        ...

    def release(self) -> None:
        """Let the buffers go, but keep the network for fork(); a second call does nothing."""
        ...

    def reopen(self) -> DeviceBackend:
        """Return another backend with the same network loaded anew, after the context was lost."""
        ...


class BackendClass(Protocol):
    """The class that a line of the table names."""

    def open(self, artifact: Artifact, precision: str, threads: int | None, *, may_build: bool) -> Backend:
        """Load the network: a class method, with the arguments and errors of open_backend().

        Returns:
            A backend of this class, or of another that fits the machine better.
        """
        ...


def open_backend(
    name: str, artifact: Artifact, precision: str, threads: int | None, *, may_build: bool = True
) -> Backend:
    """Open one backend by its name; never another one.

    Args:
        name: a key of BACKENDS.
        artifact: the model.
        precision: one of PRECISIONS.
        threads: host threads, or None for the backend's own default.
        may_build: build first, which may take minutes, what it needs to be built on this device. `auto` never does.

    Returns:
        The backend, its network loaded.

    Raises:
        ConfigError: no backend has this name, or the model has no such precision.
        BackendUnavailable: the backend cannot run here, or something would have to be built and may_build is false.
        ArtifactError: the model's file is missing, altered, or not what its spec says.
    """
    if not isinstance(name, str) or name not in BACKENDS:
        raise ConfigError.of("backend", name, f"auto, {', '.join(BACKENDS)}", 'Use backend="auto".')
    module, _, class_name = BACKENDS[name].target.partition(":")
    backend_class = cast(BackendClass, getattr(importlib.import_module(module), class_name))
    return backend_class.open(artifact, precision, threads, may_build=may_build)


def choose_backend(artifact: Artifact, precision: str, threads: int | None) -> Backend:
    """Open the first backend that works, in the table's order, and note why not the ones before it.

    Args:
        artifact: the model.
        precision: one of PRECISIONS.
        threads: host threads, or None for the backend's own default.

    Returns:
        The backend; its notes begin with the backends that were passed over.

    Raises:
        BackendUnavailable, ConfigError: none works, or none has this precision; the reasons are listed.
        ArtifactError: the model is damaged; that is never a reason to take another backend.
    """
    passed_over: list[str] = []
    failures: list[FaceDepthError] = []
    for name, entry in BACKENDS.items():
        try:
            backend = open_backend(name, artifact, precision, threads, may_build=False)
        except (BackendUnavailable, ConfigError) as error:
            if not entry.extra:
                failures.append(error)
            passed_over.append(str(error))
            continue
        backend.notes = (*passed_over, *backend.notes)
        return backend
    if isinstance(failures[0], ConfigError):  # of the backend that would have been taken: it says it best
        raise failures[0]
    hints = "; ".join(entry.install for entry in BACKENDS.values())
    where = "backend 'auto'"
    raise BackendUnavailable.of(
        where, "; ".join(passed_over), "one backend that works", f"Try: {hints}."
    ) from failures[0]


def missing_library(name: str, error: ImportError | OSError) -> BackendUnavailable:
    """Build the error for a backend whose library cannot be imported."""
    rule = "its library installed"
    return BackendUnavailable.of(f"backend {name!r}", str(error), rule, f"Try: {BACKENDS[name].install}.")
