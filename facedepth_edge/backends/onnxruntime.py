# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on host buffers: its CPU provider, or its CUDA provider where the GPU's own way is not there.

With the CUDA provider and PyCUDA it is backends/onnxruntime_cuda.py that runs; OnnxRuntimeBackend.open() decides.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
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
from facedepth_edge.errors import BackendUnavailable, ConfigError
from facedepth_edge.spec import ModelSpec

MAX_DEFAULT_THREADS = 4


def default_threads() -> int:
    """Return the number of CPUs that this process may use, at most MAX_DEFAULT_THREADS."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, MAX_DEFAULT_THREADS)


class OnnxRuntimeBackend:
    """Run an artifact's ONNX file; the input and the outputs are bound to NumPy buffers, so a run copies nothing.

    With the CUDA provider ONNX Runtime copies them to the GPU and back.
    """

    name = NAME
    memory = "host"
    max_batch = MAX_BATCH

    def __init__(self, artifact: Artifact, precision: str, threads: int | None) -> None:
        ort = self._ort = import_onnxruntime()
        self._spec = artifact.spec
        self.threads = default_threads() if threads is None else threads
        self.notes: tuple[str, ...] = ()
        self._session: Any = None
        for provider in (CUDA, CPU) if CUDA in ort.get_available_providers() else (CPU,):
            chosen = choose_precision(artifact, precision, provider)
            if chosen is None:
                self.notes += (f"{provider}: the model has no file for it in precision {precision}",)
                continue
            where = str(artifact.folder / FILES[chosen])
            content = artifact.read(FILES[chosen])
            session, reason = open_network(ort, content, where, provider, self.threads)
            if session is not None:
                self._session, self.precision, self.provider = session, chosen, provider
                break
            self.notes += (f"{provider}: {reason}",)
        if self._session is None:
            raise no_file_error(artifact, precision)
        self._shapes = checked_outputs(self._session, self._spec, str(artifact.folder / FILES[self.precision]))
        self._bindings: dict[int, _Binding] = {}
        self.reserve(1)

    @classmethod
    def open(cls, artifact: Artifact, precision: str, threads: int | None, *, may_build: bool = True) -> Backend:
        """Open what fits the machine: in the GPU's memory where provider, PyCUDA and the crop's kernel are there.

        Nothing has to be built for minutes.

        Raises:
            As the constructor.
        """
        ort = import_onnxruntime()
        reason = ""
        if CUDA in ort.get_available_providers() and choose_precision(artifact, precision, CUDA) is not None:
            from facedepth_edge.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend

            try:
                return OnnxRuntimeCudaBackend(artifact, precision, threads)
            except (BackendUnavailable, ConfigError) as error:  # ConfigError: the kernel's cache cannot be written
                reason = str(error)
        backend = cls(artifact, precision, threads)
        if reason and backend.provider == CUDA:
            lost = "frames go through the host's memory and are cropped by the CPU, with copies and waits more"
            backend.notes += (f"{CUDA}: {lost}: {reason}",)
        return backend

    def reserve(self, batch: int) -> None:
        """Make input and output hold this many faces."""
        if batch not in self._bindings:
            self._bindings[batch] = _Binding(self._ort, self._session, self._spec, self._shapes, batch)
        self._binding = self._bindings[batch]
        self.input: NDArray[np.float32] = self._binding.input
        self.output: Mapping[str, NDArray[np.float32]] = self._binding.output

    def run(self) -> None:
        """Compute output from input."""
        self._session.run_with_iobinding(self._binding.io)

    def fork(self) -> OnnxRuntimeBackend:
        """Return another backend on the same session, with buffers of its own."""
        other = object.__new__(OnnxRuntimeBackend)
        other.__dict__.update(self.__dict__)
        other._bindings = {}
        other.reserve(1)
        return other

    def close(self) -> None:
        """Let the session and the buffers go."""
        self._session = self._binding = None  # type: ignore[assignment]
        self._bindings = {}
        self.output = {}
        self.input = np.empty((0, self._spec.input.channels, *self._spec.input_hw), np.float32)


class _Binding:
    """Host buffers for one batch size, bound to a session's input and outputs by address."""

    def __init__(
        self, ort: Any, session: Any, spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]], batch: int
    ) -> None:
        self.input = np.zeros((batch, spec.input.channels, *spec.input_hw), np.float32)
        self.output = {name: np.zeros((batch, *shapes[name]), np.float32) for name in spec.outputs.names}
        self.io = session.io_binding()
        self.io.bind_ortvalue_input(spec.input.name, ort.OrtValue.ortvalue_from_numpy(self.input))
        for name, array in self.output.items():
            self.io.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))
