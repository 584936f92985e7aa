# SPDX-License-Identifier: Apache-2.0
"""What a backend is, and the table of those that exist.

A backend runs the network and nothing else. The shared checks and the meaning of the numbers are its caller's.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

from facedepth_edge.artifacts import Artifact
from facedepth_edge.errors import BackendUnavailable, ConfigError, FaceDepthError

BACKENDS: dict[str, tuple[str, str]] = {
    "tensorrt": (
        "facedepth_edge.backends.tensorrt:TensorRtBackend",
        "pip install 'tensorrt>=10.3,<12' pycuda, and on a Jetson, where TensorRT comes with JetPack, "
        "pip install pycuda in an environment made by python3 -m venv --system-site-packages",
    ),
    "onnxruntime": ("facedepth_edge.backends.onnxruntime:OnnxRuntimeBackend", "pip install onnxruntime"),
    "torch": ("facedepth_edge.backends.torch:TorchBackend", "pip install torch"),
}
"""Name -> ("module:Class", how to install what it needs), in the order in which `auto` tries them."""

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
        """Make input and output hold this many faces, 1 to max_batch; free where it was so before."""
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

    ``input`` and the values of ``output`` have ``address``, ``shape``, ``dtype`` and ``bytes``. A backend that has to
    build something for minutes also has a class method ``open_built`` with the constructor's arguments, which never
    builds; `auto` calls that.
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


def open_backend(name: str, artifact: Artifact, precision: str, threads: int | None) -> Backend:
    """Open one backend by its name; never another one.

    Args:
        name: a key of BACKENDS.
        artifact: the model.
        precision: one of PRECISIONS.
        threads: host threads, or None for the backend's own default.

    Returns:
        The backend, its network loaded.

    Raises:
        ConfigError: no backend has this name, or the model has no such precision.
        BackendUnavailable: the backend cannot run here.
        ArtifactError: the model's file is missing, altered, or not what its spec says.
    """
    if not isinstance(name, str) or name not in BACKENDS:
        raise ConfigError.of("backend", name, f"auto, {', '.join(BACKENDS)}", 'Use backend="auto".')
    backend_class = _backend_class(name)
    backend: Backend = getattr(backend_class, "open", backend_class)(artifact, precision, threads)
    return backend


def _backend_class(name: str) -> Any:
    """Return the class that the table names; its class method ``open``, if it has one, takes what fits the machine."""
    module, _, class_name = BACKENDS[name][0].partition(":")
    return getattr(importlib.import_module(module), class_name)


def open_without_building(name: str, artifact: Artifact, precision: str, threads: int | None) -> Backend:
    """Open one backend as open_backend() does, but never build for minutes: what `auto` may do unasked.

    Args:
        name: a key of BACKENDS.
        artifact: the model.
        precision: one of PRECISIONS.
        threads: host threads, or None for the backend's own default.

    Returns:
        The backend, its network loaded.

    Raises:
        As open_backend(); BackendUnavailable also where something would have to be built first.
    """
    backend_class = _backend_class(name)
    if not hasattr(backend_class, "open_built"):
        return open_backend(name, artifact, precision, threads)
    backend: Backend = backend_class.open_built(artifact, precision, threads)
    return backend


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
    for name in BACKENDS:
        try:
            backend = open_without_building(name, artifact, precision, threads)
        except (BackendUnavailable, ConfigError) as error:
            if not hasattr(_backend_class(name), "open_built"):  # that one is an extra which few machines have
                failures.append(error)
            passed_over.append(str(error))
            continue
        backend.notes = (*passed_over, *backend.notes)
        return backend
    if isinstance(failures[0], ConfigError):  # of the backend that would have been taken: it says it best
        raise failures[0]
    hints = "; ".join(hint for _, hint in BACKENDS.values())
    where = "backend 'auto'"
    raise BackendUnavailable.of(
        where, "; ".join(passed_over), "one backend that works", f"Try: {hints}."
    ) from failures[0]


def missing_library(name: str, error: ImportError | OSError) -> BackendUnavailable:
    """Build the error for a backend whose library cannot be imported."""
    rule = "its library installed"
    return BackendUnavailable.of(f"backend {name!r}", str(error), rule, f"Try: {BACKENDS[name][1]}.")
