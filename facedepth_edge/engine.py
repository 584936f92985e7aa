# SPDX-License-Identifier: Apache-2.0
"""TensorRT engines: built from the artifact's ONNX file on the device that runs them, cached, loaded again.

Precision lies in the ONNX file: fp16.onnx is FP16-typed, int8-trt.onnx has Q/DQ nodes with FP16 around them. So the
network is strongly typed: asked for in TensorRT 10, the only kind in 11. Nothing that 11 has removed is named here.
"""

from __future__ import annotations

import functools
import math
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from facedepth_edge.artifacts import Artifact
from facedepth_edge.cuda import Gpu
from facedepth_edge.engine_cache import (
    MAX_WORKSPACE_MIB,
    MIN_WORKSPACE_MIB,
    WORKSPACE,
    EngineKey,
    PlanFiles,
    cache_folder,
    file_safe,
    is_workspace,
    locked,
    read_if_there,
    remove_leftovers,
    write_whole,
)
from facedepth_edge.errors import ArtifactError, BackendUnavailable, ConfigError

FILES = {"int8": "int8-trt.onnx", "fp16": "fp16.onnx"}
"""Precision -> the artifact's file, in the order in which "auto" wants them. The exporter writes a file only after its
accuracy gate has passed."""

OLDEST, NEWEST_MAJOR = (10, 3), 11
BATCHES = (1, 1, 8)
"""Fewest, usual and most faces of one run."""

USUAL_WORKSPACE_MIB = 1024  # leaves room on a device whose 8 GB are shared by CPU and GPU
_EXPORT = "Export the model again with this version's python -m export."
_PROGRESS_S = 5.0  # between two lines

Say = Callable[[str], None]
"""Takes one line of progress, without a newline."""


@dataclass
class LoadedEngine:
    """An engine with what must live as long as it does: ``runtime`` and, through it, the logger."""

    engine: Any
    runtime: Any
    trt: Any
    key: EngineKey
    files: PlanFiles
    built: str
    """Why it was built just now; empty where it came from the cache."""


def check_version(version: str) -> tuple[int, int]:
    """Return the first two numbers of a version of TensorRT.

    Raises:
        BackendUnavailable: it is one that this package does not know.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < OLDEST or major > NEWEST_MAJOR:
        rule = f"TensorRT {OLDEST[0]}.{OLDEST[1]} to {NEWEST_MAJOR}"
        fix = "On a Jetson use JetPack 6.1 or later; elsewhere pip install 'tensorrt>=10.3,<12'."
        raise BackendUnavailable.of("backend 'tensorrt'", f"TensorRT {version}", rule, fix)
    return major, minor


def engine_key(artifact: Artifact, precision: str, tensorrt: str, gpu: Gpu) -> EngineKey:
    """Return everything that decides whether the plan of a model fits."""
    major, minor = gpu.compute_capability
    return EngineKey(
        model_sha256=artifact.spec.files[FILES[precision]].sha256,
        precision=precision,
        tensorrt=tensorrt,
        gpu=gpu.name,
        compute_capability=f"{major}.{minor}",
        multiprocessors=gpu.multiprocessors,
        platform=f"{sys.platform}-{platform.machine()}",
        options={"batches": list(BATCHES)},
    )


@functools.cache
def logger_of(trt: Any) -> Any:
    """Return this process's TensorRT logger, which keeps the errors of a call for its exception.

    TensorRT keeps the first logger that it is given for good, so there is one, and it is never let go.
    """

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(" ".join(msg.split()))
                del self.errors[:-20]

        def told(self) -> str:
            """Return the errors since the last call, or say that there were none, and forget them."""
            text = "; ".join(self.errors) or "no reason"
            self.errors.clear()
            return text

    return Logger()


def _progress_monitor(trt: Any, report: Say) -> Any:
    """Return a progress monitor that tells the outermost phase's progress every few seconds; ``cancel`` stops."""

    class Progress(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.cancel = False
            self._outermost: dict[str, int] = {}
            self._next = time.monotonic()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                self._outermost[phase_name] = max(num_steps, 1)
                self._tell(f"{phase_name}")

        def step_complete(self, phase_name: str, step: int) -> bool:
            steps = self._outermost.get(phase_name)
            if steps is not None:
                self._tell(f"{phase_name}: step {step + 1} of {steps}")
            return not self.cancel

        def phase_finish(self, phase_name: str) -> None:
            self._outermost.pop(phase_name, None)

        def _tell(self, line: str) -> None:
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + _PROGRESS_S
            try:
                report(line)
            except OSError:  # a closed terminal; nothing may be raised through TensorRT's own code
                self._next = math.inf

    return Progress()


@contextmanager
def _interrupt_cancels(progress: Any) -> Iterator[None]:
    """Let Ctrl-C cancel the build instead of raising inside TensorRT's code, which would end the process."""
    # None: a handler that was not set from Python, which could not set it again
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return

    def cancel(number: int, frame: object) -> None:
        progress.cancel = True

    before = signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if progress.cancel:
        raise KeyboardInterrupt


def build_plan(
    trt: Any, model: bytes, where: str, artifact: Artifact, workspace_mib: int, timings: bytes, report: Say
) -> tuple[bytes, bytes]:
    """Build a plan; minutes on a small device.

    Args:
        trt: the module tensorrt.
        model: the ONNX file's bytes.
        where: its name, for the error's text.
        artifact: the model it is of.
        workspace_mib: the most scratch memory of a layer.
        timings: the timing cache of an earlier build, or nothing.
        report: takes the progress.

    Returns:
        (the plan, the timing cache).

    Raises:
        ArtifactError: TensorRT cannot read the model; its parser's errors are in the text.
        BackendUnavailable: the build failed, or there is no GPU; TensorRT's errors are in the text.
        KeyboardInterrupt: Ctrl-C; nothing was written.
    """
    logger = logger_of(trt)
    logger.told()
    builder = _made(lambda: trt.Builder(logger), "TensorRT builder", logger)
    flags = 0
    if check_version(trt.__version__)[0] == 10:
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        lines = [f"{error.node_operator()} {error.node_name()}: {error.desc()}" for error in errors]
        rule = f"a graph that TensorRT {trt.__version__} can read"
        raise ArtifactError.of(where, "; ".join(lines) or logger.told(), rule, _EXPORT)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    profile = builder.create_optimization_profile()
    spec = artifact.spec
    shapes = [(batch, spec.input.channels, *spec.input_hw) for batch in BATCHES]
    profile.set_shape(spec.input.name, *shapes)
    config.add_optimization_profile(profile)
    cache = config.create_timing_cache(timings)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")  # of another version or device: begin anew
        config.set_timing_cache(cache, False)
    progress = _progress_monitor(trt, report)
    config.progress_monitor = progress
    with _interrupt_cancels(progress):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        rule = "an engine that TensorRT can build"
        fix = "Close other programs or lower --workspace-mib if memory is short; run facedepth-edge doctor otherwise."
        if where.endswith(FILES["int8"]):
            fix += " Or take FP16: facedepth-edge build-engine --precision fp16."
        raise BackendUnavailable.of(where, logger.told(), rule, fix)
    cache = config.get_timing_cache()
    return bytes(plan), bytes(cache.serialize())


def load_engine(
    trt: Any,
    artifact: Artifact,
    precision: str,
    gpu: Gpu,
    workspace_mib: int | None,
    report: Say,
    *,
    may_build: bool,
    force: bool = False,
) -> LoadedEngine:
    """Load a model's engine from the cache, or build it first.

    The caller has made the GPU's context current.

    Args:
        trt: the module tensorrt.
        artifact: the model.
        precision: "fp16" or "int8", one that the model has.
        gpu: the GPU of the current context.
        workspace_mib: the most scratch memory that a layer may use, in MiB; a plan that was built with another is built
            again. None accepts any plan; a new build reuses its predecessor's limit, else USUAL_WORKSPACE_MIB.
        report: takes the reason of a build and its progress.
        may_build: whether to build where the cache has nothing that fits.
        force: build even if the cache has it.

    Returns:
        The engine.

    Raises:
        BackendUnavailable: it would have to be built and may_build is false, or TensorRT failed.
        ArtifactError: the ONNX file is missing, altered, or none that TensorRT can read.
        ConfigError: workspace_mib is no such number, or the cache cannot be written.
    """
    if workspace_mib is not None and not is_workspace(workspace_mib):
        rule = f"a whole number of MiB from {MIN_WORKSPACE_MIB} to {MAX_WORKSPACE_MIB}"
        raise ConfigError.of("workspace_mib", workspace_mib, rule, "Leave it out if unsure.")
    wanted = _WantedEngine(trt, artifact, precision, gpu, workspace_mib, report)
    engine, reason = (None, "it was asked for") if force else wanted.from_cache()
    if engine is not None:
        return wanted.loaded(engine, "")
    if not may_build:
        rule = f"an engine for {gpu.name}"
        fix = f"Run facedepth-edge build-engine --precision {precision}, which takes some minutes once."
        raise BackendUnavailable.of("backend 'tensorrt'", f"no {precision} engine: {reason}", rule, fix)
    return wanted.built(reason, force=force)


class _WantedEngine:
    """The engine of one file of a model on one GPU: where it lies in the cache, and how it is built."""

    def __init__(
        self, trt: Any, artifact: Artifact, precision: str, gpu: Gpu, workspace_mib: int | None, report: Say
    ) -> None:
        self.trt, self._artifact, self._workspace_mib, self._report = trt, artifact, workspace_mib, report
        spec = artifact.spec
        self._name = f"{spec.name} {precision} for {gpu.name}"
        self._key = engine_key(artifact, precision, trt.__version__, gpu)
        device = f"{gpu.name}-{gpu.architecture}-{gpu.multiprocessors}sm"
        self._files = PlanFiles.named(spec.name, self._key.model_sha256, precision, device)
        self._logger = logger_of(trt)
        self.runtime = _made(lambda: trt.Runtime(self._logger), "TensorRT runtime", self._logger)

    def loaded(self, engine: Any, built: str) -> LoadedEngine:
        return LoadedEngine(engine, self.runtime, self.trt, self._key, self._files, built)

    def from_cache(self) -> tuple[Any, str]:
        """Return (the engine, ""), or (None, why the cache has none that fits)."""
        plan, reason = self._files.read(self._key, self._workspace_mib)
        if plan is None:
            return None, reason
        self._logger.told()
        engine = self.runtime.deserialize_cuda_engine(plan)
        return engine, "" if engine is not None else f"TensorRT could not load the plan ({self._logger.told()})"

    def built(self, reason: str, *, force: bool) -> LoadedEngine:
        """Build the engine, unless another process does it meanwhile, and load it."""
        files, report = self._files, self._report
        with locked(files.lock, lambda: report(f"{self._name}: another process is building it; waiting")):
            remove_leftovers(files.plan)
            engine = None
            if not force:
                engine, reason = self.from_cache()  # the other process may have built it meanwhile
            if engine is None:
                version = self.trt.__version__
                report(f"building {self._name} with TensorRT {version}: {reason}; this takes some minutes once")
                self._build()
                engine, failure = self.from_cache()
                if engine is None:
                    fix = "Run facedepth-edge doctor; free memory on the GPU."
                    raise BackendUnavailable.of(str(files.plan), failure, "a plan that loads after it was built", fix)
        return self.loaded(engine, reason)

    def _build(self) -> None:
        """Build and write the plan, its metadata and the timing cache."""
        key, files, spec = self._key, self._files, self._artifact.spec
        file = FILES[key.precision]
        device = file_safe(f"{key.gpu}-{key.compute_capability}")
        timing_file = cache_folder() / "timing" / f"tensorrt-{file_safe(key.tensorrt)}-{device}.cache"
        workspace_mib = self._workspace_mib or files.workspace_mib() or USUAL_WORKSPACE_MIB
        started = time.monotonic()
        plan, timings = build_plan(
            self.trt,
            self._artifact.read(file),
            str(self._artifact.folder / file),
            self._artifact,
            workspace_mib,
            read_if_there(timing_file),
            self._report,
        )
        seconds = round(time.monotonic() - started, 1)
        made = {"model": spec.name, "version": spec.version, "seconds": seconds, WORKSPACE: workspace_mib}
        files.write(plan, key, made)
        try:
            write_whole(timing_file, timings)
        except ConfigError as error:  # the plan is there; only the next build is slower
            self._report(f"timings not kept: {error}")
        self._report(f"built {files.plan} in {seconds:.0f} s ({len(plan) / 1e6:.1f} MB)")


def _made(make: Callable[[], Any], what: str, logger: Any) -> Any:
    """Make one of TensorRT's objects; its factory returns nothing where there is no usable GPU."""
    try:
        made = make()
    except (TypeError, RuntimeError) as error:
        reason = f"{error} ({logger.told()})"
        fix = "Check the GPU and its driver with facedepth-edge doctor."
        raise BackendUnavailable.of(what, reason, "a GPU that TensorRT can use", fix) from error
    return made


def report_on_stderr(line: str) -> None:
    """Print a line of progress on stderr."""
    print(f"facedepth-edge: {line}", file=sys.stderr, flush=True)
