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
from facedepth_edge.backends.base import Backend, missing_library
from facedepth_edge.errors import ArtifactError, BackendUnavailable, ConfigError
from facedepth_edge.spec import ModelSpec

NAME = "onnxruntime"
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
FILES = {"fp32": "fp32.onnx", "fp16": "fp16.onnx", "int8": "int8.onnx"}
AUTO_PRECISIONS = {CPU: ("int8", "fp32", "fp16"), CUDA: ("fp16", "fp32")}  # CUDA has no INT8 convolutions
MAX_BATCH = 8
NOT_STARTED = "did not start; ONNX Runtime's own lines on stderr say why"

MAX_DEFAULT_THREADS = 4
SPIN_US = 0
"""How long a pool thread waits actively for its next piece of work: not at all.

Measured with `edge` INT8 on two x86-64 cores, predict() every 20 ms, p50 and CPU seconds a second: no spinning 4.2 to
4.6 ms and 0.18; 1 ms of it 5.3 to 6.3 ms and 0.30; ONNX Runtime's own default 3.4 to 3.7 ms, but 1.14: it keeps a core
busy between the frames of a camera. Back to back all three lie between 2.5 and 3.2 ms.
"""

_EXPORT = "Export the model again with python -m export."


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
    def open(cls, artifact: Artifact, precision: str, threads: int | None) -> Backend:
        """Open what fits the machine: in the GPU's memory where provider, PyCUDA and the crop's kernel are there.

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


def import_onnxruntime() -> Any:
    """Import ONNX Runtime.

    Returns:
        The module onnxruntime.

    Raises:
        BackendUnavailable: it is missing.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_library(NAME, error) from error
    return onnxruntime


def choose_precision(artifact: Artifact, precision: str, provider: str) -> str | None:
    """Return the precision to run on a provider, or None where the model has no file for it."""
    if precision != "auto":
        runs = precision in AUTO_PRECISIONS[provider] and artifact.has(FILES[precision])
        return precision if runs else None
    return next((name for name in AUTO_PRECISIONS[provider] if artifact.has(FILES[name])), None)


def no_file_error(artifact: Artifact, precision: str) -> ConfigError:
    """Build the error for a precision that the model has no file for."""
    files = ", ".join(name for name in FILES.values() if artifact.has(name)) or "none of these"
    rule = f"a precision whose file the model has ({files})"
    return ConfigError.of("precision", precision, rule, 'Use precision="auto".')


def failures(ort: Any) -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises where it cannot do something; those of plain C++ come as RuntimeError."""
    state = ort.capi.onnxruntime_pybind11_state
    own = (state.Fail, state.NotImplemented, state.RuntimeException, state.EPFail, state.InvalidArgument)
    return (*own, RuntimeError, ValueError)


def open_network(
    ort: Any, content: bytes, where: str, provider: str, threads: int, options: Mapping[str, str] | None = None
) -> tuple[Any, str]:
    """Load a network into ONNX Runtime.

    Args:
        ort: the module onnxruntime.
        content: the ONNX file.
        where: its name, for the error's text.
        provider: CPU, or CUDA with the CPU for what it cannot do.
        threads: of the CPU.
        options: the provider's, as texts.

    Returns:
        (an InferenceSession, ""), or where the CUDA provider does not start, (None, the reason).

    Raises:
        ArtifactError: the file is no valid graph.
        BackendUnavailable: the CPU provider cannot run it.
    """
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3  # errors only
    settings.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
    state = ort.capi.onnxruntime_pybind11_state
    wrong_file = (state.InvalidProtobuf, state.InvalidGraph, state.InvalidArgument, state.NoModel)
    providers = [CPU] if provider == CPU else [(provider, dict(options or {})), CPU]
    try:
        # enable_fallback=0: otherwise ONNX Runtime prints on stdout and goes on with another provider by itself
        network = ort.InferenceSession(content, settings, providers=providers, enable_fallback=0)
    except wrong_file as error:
        raise ArtifactError.of(where, str(error), "a valid ONNX graph", _EXPORT) from error
    except failures(ort) as error:
        if provider != CPU:
            return None, f"did not start: {error}"
        rule = f"an ONNX Runtime that can load {where}"
        fix = "Try: pip install --upgrade onnxruntime."
        raise BackendUnavailable.of(f"backend {NAME!r}", str(error), rule, fix) from error
    return (network, "") if network.get_providers()[0] == provider else (None, NOT_STARTED)


def checked_outputs(network: Any, spec: ModelSpec, where: str) -> dict[str, tuple[int, ...]]:
    """Compare a network's names and shapes with the spec's.

    Args:
        network: what open_network() returned.
        spec: the model's.
        where: the file's name, for the error's text.

    Returns:
        Each output's shape without the batch.

    Raises:
        ArtifactError: they differ.
    """
    inputs = [(value.name, tuple(value.shape[1:]), value.type) for value in network.get_inputs()]
    expected = [(spec.input.name, (spec.input.channels, *spec.input_hw), "tensor(float)")]
    if inputs != expected:
        raise ArtifactError.of(where, f"the inputs {inputs}", f"{expected} as in spec.json", _EXPORT)
    found = {value.name: (tuple(value.shape[1:]), value.type) for value in network.get_outputs()}
    maps = {spec.outputs.depth.name, *([spec.outputs.mask.name] if spec.outputs.mask else [])}
    for name in spec.outputs.names:
        shapes = [(1, *spec.output_hw)] if name in maps else [(), (1,)]
        if name not in found or found[name] not in [(shape, "tensor(float)") for shape in shapes]:
            rule = f"the output {name} of float32 and shape (batch, ...) with {shapes[-1]} as in spec.json"
            raise ArtifactError.of(where, f"the outputs {found}", rule, _EXPORT)
    return {name: found[name][0] for name in spec.outputs.names}
