# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on host buffers: its CPU provider, or its CUDA provider where frames cannot be cropped on the GPU.

With the CUDA provider and PyCUDA it is backends/onnxruntime_cuda.py that runs; OnnxRuntimeBackend.open() decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedepth_edge.artifacts import Artifact
from facedepth_edge.backends.base import Backend
from facedepth_edge.backends.onnxruntime_network import (
    CPU,
    CUDA,
    FILES,
    MAX_BATCH,
    NAME,
    checked_outputs,
    choose_precision,
    import_onnxruntime,
    no_file_error,
    open_network,
)
from facedepth_edge.cpus import available_cpus
from facedepth_edge.errors import BackendUnavailable, ConfigError
from facedepth_edge.spec import ModelSpec

MAX_DEFAULT_THREADS = 4


def default_threads() -> int:
    """Return the number of CPUs that this process may use, at most MAX_DEFAULT_THREADS."""
    return min(available_cpus(), MAX_DEFAULT_THREADS)


@dataclass(frozen=True)
class _Loaded:
    """What a backend and its forks share."""

    ort: Any
    session: Any
    spec: ModelSpec
    output_shapes: Mapping[str, tuple[int, ...]]
    precision: str
    provider: str
    threads: int
    notes: tuple[str, ...]


class OnnxRuntimeBackend:
    """Run an artifact's ONNX file; the input and the outputs are bound to NumPy buffers, so a run copies nothing.

    With the CUDA provider ONNX Runtime copies them to the GPU and back. open() and fork() make the objects.
    """

    name = NAME
    memory = "host"
    max_batch = MAX_BATCH

    def __init__(self, loaded: _Loaded) -> None:
        self._loaded = loaded
        self._session: Any = loaded.session
        self._spec = loaded.spec
        self.precision, self.provider = loaded.precision, loaded.provider
        self.threads, self.notes = loaded.threads, loaded.notes
        self._bindings: dict[int, _Binding] = {}
        self.reserve(1)

    @classmethod
    def open(cls, artifact: Artifact, precision: str, threads: int | None, *, may_build: bool = True) -> Backend:
        """Open what fits the machine: in the GPU's memory where provider, PyCUDA and the crop's kernel are there.

        `may_build` changes nothing: nothing here takes minutes to build.

        Raises:
            As open_backend().
        """
        ort = import_onnxruntime()
        reason = ""
        if CUDA in ort.get_available_providers() and choose_precision(artifact, precision, CUDA) is not None:
            from facedepth_edge.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend

            try:
                return OnnxRuntimeCudaBackend.open(artifact, precision)
            except (BackendUnavailable, ConfigError) as error:  # ConfigError: the kernel's cache cannot be written
                reason = str(error)
        backend = cls(_load(ort, artifact, precision, default_threads() if threads is None else threads))
        if reason and backend.provider == CUDA:
            lost = "frames go through the host's memory and are cropped by the CPU, with copies and waits more"
            backend.notes += (f"{CUDA}: {lost}: {reason}",)
        return backend

    def reserve(self, batch: int) -> None:
        """Make input and output hold this many faces."""
        if batch not in self._bindings:
            self._bindings[batch] = _Binding(self._loaded, batch)
        self._binding = self._bindings[batch]
        self.input: NDArray[np.float32] = self._binding.input
        self.output: Mapping[str, NDArray[np.float32]] = self._binding.output

    def run(self) -> None:
        """Compute output from input."""
        self._session.run_with_iobinding(self._binding.io)

    def fork(self) -> OnnxRuntimeBackend:
        """Return another backend on the same session, with buffers of its own."""
        return OnnxRuntimeBackend(self._loaded)

    def close(self) -> None:
        """Let the session and the buffers go."""
        self._loaded = self._session = self._binding = None  # type: ignore[assignment]
        self._bindings = {}
        self.output = {}
        self.input = np.empty((0, self._spec.input.channels, *self._spec.input_hw), np.float32)


def _load(ort: Any, artifact: Artifact, precision: str, threads: int) -> _Loaded:
    """Load the file of the first provider that is there, has one and starts."""
    notes: tuple[str, ...] = ()
    for provider in (CUDA, CPU) if CUDA in ort.get_available_providers() else (CPU,):
        chosen = choose_precision(artifact, precision, provider)
        if chosen is None:
            notes += (f"{provider}: the model has no file for it in precision {precision}",)
            continue
        where = str(artifact.folder / FILES[chosen])
        session, reason = open_network(ort, artifact.read(FILES[chosen]), where, provider, threads)
        if session is not None:
            shapes = checked_outputs(session, artifact.spec, where)
            return _Loaded(ort, session, artifact.spec, shapes, chosen, provider, threads, notes)
        notes += (f"{provider}: {reason}",)
    raise no_file_error(artifact, precision)


class _Binding:
    """Host buffers for one batch size, bound to a session's input and outputs by address."""

    def __init__(self, loaded: _Loaded, batch: int) -> None:
        ort, session, spec, shapes = loaded.ort, loaded.session, loaded.spec, loaded.output_shapes
        self.input = np.zeros((batch, spec.input.channels, *spec.input_hw), np.float32)
        self.output = {name: np.zeros((batch, *shapes[name]), np.float32) for name in spec.outputs.names}
        self.io = session.io_binding()
        self.io.bind_ortvalue_input(spec.input.name, ort.OrtValue.ortvalue_from_numpy(self.input))
        for name, array in self.output.items():
            self.io.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))
