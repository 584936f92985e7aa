# SPDX-License-Identifier: Apache-2.0
"""TensorRT: an engine built on this device, with its input and outputs on the GPU."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from facedepth_edge.artifacts import Artifact
from facedepth_edge.backends.base import missing_library
from facedepth_edge.backends.device_buffers import DeviceBuffers, no_input
from facedepth_edge.cuda import DeviceView, Session, open_session
from facedepth_edge.cuda_driver import cuda_error
from facedepth_edge.cuda_kernels import CROP_SOURCE, compiled_kernel
from facedepth_edge.engine import (
    BATCHES,
    FILES,
    LoadedEngine,
    Say,
    check_version,
    load_engine,
    logger_of,
    report_on_stderr,
)
from facedepth_edge.engine_cache import built_plans
from facedepth_edge.errors import ArtifactError, BackendUnavailable, ConfigError
from facedepth_edge.installed import TENSORRT, installed_version
from facedepth_edge.spec import ModelSpec

_EXPORT = "Export the model again with python -m export, then run facedepth-edge build-engine."


class TensorRtBackend:
    """Run a model's engine on the GPU's primary context.

    An object is for one thread; fork() makes those of the other threads, with a context each. ``input`` and ``output``
    are in the GPU's memory; the outputs lie in one block, ``output_block``, at ``output_offsets``.

    open() and fork() make the objects. They share the engine, ``loaded``, which goes with the last of them.

    Args:
        artifact: the model.
        precision: "int8" or "fp16".
    """

    name = "tensorrt"
    memory = "cuda"
    max_batch = BATCHES[2]
    threads = 1
    why_no_capture = ""
    loaded: LoadedEngine = None  # type: ignore[assignment]  # before it is loaded, and after close()
    stream: Any = None
    _output_shapes: Mapping[str, tuple[int, ...]]

    def __init__(self, artifact: Artifact, precision: str) -> None:
        self.precision = precision
        self._artifact = artifact
        self._spec = artifact.spec
        self.notes: tuple[str, ...] = ()
        self.session: Session = open_session()
        self.session.join(self)  # or another's recovery would tear the context down under what is loaded here

    @classmethod
    def open(
        cls,
        artifact: Artifact,
        precision: str,
        threads: int | None,
        *,
        may_build: bool = True,
        workspace_mib: int | None = None,
        report: Say = report_on_stderr,
        force: bool = False,
    ) -> TensorRtBackend:
        """Load the engine, which is built first where the cache has none that fits and that is allowed.

        Args:
            artifact: the model.
            precision: "int8", "fp16" or "auto": the first of these that the model has.
            threads: not used; the host only enqueues.
            may_build: build it, which takes minutes.
            workspace_mib: as for load_engine().
            report: takes the progress of a build, line by line.
            force: build even if the cache has it.

        Raises:
            BackendUnavailable: TensorRT, PyCUDA, the driver or the GPU is missing, the build failed, or the engine
                would have to be built and may_build is false.
            ConfigError: the model has no such precision, or workspace_mib breaks its rule.
            ArtifactError: the model's file is missing, altered, or not what its spec says.
        """
        if not may_build:
            return cls._open_built(artifact, precision)
        return cls._open_one(
            artifact, precision, may_build=True, workspace_mib=workspace_mib, report=report, force=force
        )

    @classmethod
    def _open_one(
        cls,
        artifact: Artifact,
        precision: str,
        *,
        may_build: bool,
        workspace_mib: int | None = None,
        report: Say = report_on_stderr,
        force: bool = False,
    ) -> TensorRtBackend:
        """Load the engine of the best precision that the model has."""
        trt = import_tensorrt()
        backend = cls(artifact, choose_precisions(artifact, precision)[0])
        gpu = backend.session.gpu
        try:
            compiled_kernel(CROP_SOURCE, gpu.architecture)  # without it frames cannot go this way
            with backend.session.current():
                backend.loaded = load_engine(
                    trt, artifact, backend.precision, gpu, workspace_mib, report, may_build=may_build, force=force
                )
            backend._output_shapes = _checked_outputs(backend.loaded, artifact.spec)
            backend._start()
        except BaseException:
            backend.close()
            raise
        return backend

    @classmethod
    def _open_built(cls, artifact: Artifact, precision: str) -> TensorRtBackend:
        """Open the backend only if its engine lies in the cache.

        Of several the first that fits; its notes say why not those before it. Nothing large is imported before a file
        of that name was found.
        """
        if importlib.util.find_spec("tensorrt") is None:
            raise missing_library(cls.name, ModuleNotFoundError("No module named 'tensorrt'"))
        installed = installed_version(*TENSORRT)
        if installed is not None:  # as far as can be known without importing it
            with suppress(ValueError):
                check_version(installed)
        spec = artifact.spec
        wanted = choose_precisions(artifact, precision)
        found = [name for name in wanted if built_plans(spec.name, spec.files[FILES[name]].sha256, name)]
        if not found:
            rule = "an engine that was built on this device"
            fix = f"Run facedepth-edge build-engine --precision {wanted[0]}, which takes some minutes once."
            raise BackendUnavailable.of(f"backend {cls.name!r}", f"no engine of {spec.name} yet", rule, fix)
        refusals: list[str] = []  # texts: an error would keep what its frames hold on the GPU alive
        for name in found:
            try:
                backend = cls._open_one(artifact, name, may_build=False)
            except BackendUnavailable as error:
                refusals.append(str(error))
                continue
            backend.notes = tuple(refusals)
            return backend
        raise BackendUnavailable(refusals[0])

    def reopen(self) -> TensorRtBackend:
        """Return another backend with the same engine loaded anew, after the context was lost."""
        return TensorRtBackend._open_one(self._artifact, self.precision, may_build=False)

    def fork(self) -> TensorRtBackend:
        """Return another backend on the same engine, with a context and buffers of its own."""
        other = TensorRtBackend(self._artifact, self.precision)
        other.loaded, other._output_shapes = self.loaded, self._output_shapes
        other._start()
        return other

    def _start(self) -> None:
        self.provider = f"TensorRT {self.loaded.trt.__version__} on {self.session.gpu.name}"
        self._contexts: dict[bool, Any] = {}
        self._buffers: dict[int, DeviceBuffers] = {}
        self._batch = 0
        try:
            with self.session.current():
                self.stream = self.session.stream()
                self.reserve(1)
        except BaseException:
            self.release()
            raise

    def reserve(self, batch: int) -> None:
        """Make input and output hold this many faces.

        One face has a context of its own, whose shapes and addresses never change, so what was captured of it stays
        good whatever else runs.
        """
        if batch == self._batch:
            return
        self._batch = 0  # should something fail below
        with self.session.current():
            known = batch in self._buffers
            if not known:
                self._buffers[batch] = DeviceBuffers(self.session, self._spec, self._output_shapes, batch)
            buffers = self._buffers[batch]
            self.input: DeviceView = buffers.input
            self.output: Mapping[str, DeviceView] = buffers.output
            self.output_block, self.output_offsets = buffers.output_block, buffers.output_offsets
            if batch > 1 or not known:
                try:
                    self._bind(batch == 1)
                except BaseException:
                    self._buffers.pop(batch).close()
                    raise
        self._batch = batch

    def _bind(self, single: bool) -> None:
        """Tell the context the batch's shape and addresses."""
        context = self._contexts.get(single)
        if context is None:
            context = self.loaded.engine.create_execution_context()
            if context is None:
                raise cuda_error("create_execution_context", logger_of(self.loaded.trt).told())
            self._contexts[single] = context
        tensors = {self._spec.input.name: self.input, **self.output}
        done = [context.set_input_shape(self._spec.input.name, self.input.shape)]
        done += [context.set_tensor_address(name, view.address) for name, view in tensors.items()]
        if not all(done):
            raise cuda_error("set_tensor_address", logger_of(self.loaded.trt).told())

    def enqueue(self, stream: Any) -> None:
        """Start computing output from input on a stream, and return; may be captured into a CUDA graph.

        Raises:
            CudaError: TensorRT could not start it.
        """
        context = self._contexts[self._batch == 1]
        if not context.execute_async_v3(stream.handle):
            lost = self.session.context_is_lost()
            raise cuda_error("execute_async_v3", logger_of(self.loaded.trt).told(), sticky=lost)

    def run(self) -> None:
        """Compute output from input; the other threads of Python run meanwhile."""
        with self.session.current():
            self.enqueue(self.stream)
            self.session.wait(self.stream)

    def release(self) -> None:
        """Let the context, the buffers and the stream go, but keep the engine for fork(); again does nothing."""
        self._let_go()
        self.session.leave(self)

    def _let_go(self) -> None:
        """Let go what release() promises; TensorRT's objects are kept for ever where the context is lost."""
        if self.stream is None:
            return
        with self.session.current():
            self.session.settle(self.stream)
        with self.session.letting_go(dict(vars(self))):
            self._contexts = {}
            for buffers in self._buffers.values():
                buffers.close()
            self._buffers, self._batch = {}, 0
            self.stream = None
        self.output = {}
        self.input = no_input(self._spec)

    def close(self) -> None:
        """Let everything go, the engine as soon as no fork has it; a second call does nothing."""
        self._let_go()
        if self.loaded is not None:
            with self.session.letting_go(self.loaded):
                self.loaded = None  # type: ignore[assignment]
        self.session.leave(self)


def import_tensorrt() -> Any:
    """Import TensorRT.

    Returns:
        The module tensorrt.

    Raises:
        BackendUnavailable: it is missing, cannot be loaded, or is of a version that this package does not know.
    """
    try:
        tensorrt: Any = importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:  # OSError: one of its shared libraries is missing
        raise missing_library(TensorRtBackend.name, error) from error
    check_version(tensorrt.__version__)
    return tensorrt


def choose_precisions(artifact: Artifact, precision: str) -> list[str]:
    """Return the precisions that can run: the one that is asked for, or with "auto" all that the model has, best first.

    Raises:
        ConfigError: there is none.
    """
    has = [name for name, file in FILES.items() if artifact.has(file)]
    chosen = [name for name in has if precision in ("auto", name)]
    if not chosen:
        files = ", ".join(FILES[name] for name in has) or "none of these"
        rule = f"with TensorRT a precision whose file the model has ({files})"
        fix = "Use another backend, or export the model again with python -m export, which writes fp16.onnx."
        raise ConfigError.of("precision", precision, rule, fix)
    return chosen


def _checked_outputs(loaded: LoadedEngine, spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Compare the engine's tensors with the spec; return each output's shape without the batch."""
    trt, engine = loaded.trt, loaded.engine
    found: dict[str, tuple[bool, tuple[int, ...]]] = {}
    where = str(loaded.files.plan)
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        if engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
            got = f"{name} of {engine.get_tensor_dtype(name)}"
            raise ArtifactError.of(where, got, "inputs and outputs of float32", _EXPORT)
        found[name] = (is_input, tuple(engine.get_tensor_shape(name))[1:])
    expected: dict[str, list[tuple[bool, tuple[int, ...]]]] = {}
    expected[spec.input.name] = [(True, (spec.input.channels, *spec.input_hw))]
    for name in spec.outputs.names:
        expected[name] = [(False, shape) for shape in spec.output_shapes(name)]
    missing = [name for name, forms in expected.items() if found.get(name) not in forms]
    unknown_inputs = [name for name, (is_input, _) in found.items() if is_input and name != spec.input.name]
    if missing or unknown_inputs:
        rule = f"the tensors {', '.join(expected)} with the shapes of spec.json"
        raise ArtifactError.of(where, f"the tensors {found}", rule, _EXPORT)
    return {name: found[name][1] for name in spec.outputs.names}
