# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's CUDA provider on the GPU's own memory, with its own CUDA graph: the GPU backend without TensorRT.

Its rules, by ONNX Runtime's documentation of the CUDA provider: a session computes on one stream, which is named when
it is made; with a CUDA graph only one thread at a time may run it, every node must be the CUDA provider's, and what is
bound must stay where it is. So each fork has a session of its own, with the weights once more in the GPU's memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from facedepth_edge.artifacts import Artifact
from facedepth_edge.backends.device_buffers import DeviceBuffers, no_input
from facedepth_edge.backends.onnxruntime_network import (
    CUDA,
    FILES,
    MAX_BATCH,
    NAME,
    NOT_STARTED,
    checked_outputs,
    choose_precision,
    failures,
    import_onnxruntime,
    no_file_error,
    open_network,
)
from facedepth_edge.cuda import DeviceView, Session, open_session
from facedepth_edge.cuda_driver import CudaError, cuda_error
from facedepth_edge.cuda_kernels import CROP_SOURCE, compiled_kernel
from facedepth_edge.errors import BackendUnavailable
from facedepth_edge.spec import ModelSpec

DEVICE_TYPE = "cuda"
GRAPH_VERSION = (1, 18)
"""The first ONNX Runtime that keeps several graphs apart by gpu_graph_id; an older one would replay that of one face
for a batch."""
GRAPH_OF_ONE_FACE, NO_GRAPH = "1", "-1"
_MOST_CAPTURES = 2
_DISTURBED = re.compile(r"\b90[01]\b|STREAM_CAPTURE_(UNSUPPORTED|INVALIDATED)", re.IGNORECASE)
"""Errors of a capture that somebody else may have caused, as by waiting for the whole device."""
OWN_GRAPH = "ONNX Runtime replays the network as a CUDA graph of its own; the crop's kernel is launched before it"


@dataclass(frozen=True)
class _Loaded:
    """What a backend and its forks share: the file, which each of them loads again."""

    ort: Any
    spec: ModelSpec
    precision: str
    where: str
    content: bytes
    session: Session


class OnnxRuntimeCudaBackend:
    """Run an artifact's ONNX file on the GPU's primary context.

    An object is for one thread; fork() makes those of the other threads. ``input`` and ``output`` are in the GPU's
    memory; the outputs lie in one block, ``output_block``, at ``output_offsets``. One face is replayed by ONNX Runtime
    as its own CUDA graph, captured when the backend is made; several faces run kernel by kernel.

    open() and fork() make the objects.
    """

    name = NAME
    memory = "cuda"
    max_batch = MAX_BATCH
    threads = 1

    def __init__(self, loaded: _Loaded) -> None:
        self._loaded = loaded
        self._ort, self._spec, self.precision = loaded.ort, loaded.spec, loaded.precision
        self.session: Session = loaded.session
        self.provider = f"{CUDA} on {self.session.gpu.name}"
        self.notes: tuple[str, ...] = ()
        self._start()

    @classmethod
    def open(cls, artifact: Artifact, precision: str) -> OnnxRuntimeCudaBackend:
        """Load the network.

        Args:
            artifact: the model.
            precision: "fp16", "fp32" or "auto": the first of these that the model has.

        Raises:
            As open_backend(); BackendUnavailable also where the CUDA provider, PyCUDA, the driver, the GPU or the
                crop's kernel is missing or does not start.
        """
        ort = import_onnxruntime()
        chosen = choose_precision(artifact, precision, CUDA)
        if chosen is None:
            raise no_file_error(artifact, precision)
        where = str(artifact.folder / FILES[chosen])
        loaded = _Loaded(ort, artifact.spec, chosen, where, artifact.read(FILES[chosen]), open_session())
        compiled_kernel(CROP_SOURCE, loaded.session.gpu.architecture)  # without it frames cannot go this way
        return cls(loaded)

    def reopen(self) -> OnnxRuntimeCudaBackend:
        """Return another backend with the same network loaded anew, after the context was lost."""
        return self.fork()

    def fork(self) -> OnnxRuntimeCudaBackend:
        """Return another backend with the same network in a session, a stream and buffers of its own."""
        return OnnxRuntimeCudaBackend(self._loaded)

    def _start(self) -> None:
        """Load the network with a graph, and where it cannot have one, without."""
        self._network: Any = None
        self._bound: dict[int, _Bound] = {}
        self._batch = 0
        version = tuple(int(part) for part in re.findall(r"\d+", self._ort.__version__)[:2])
        self.why_no_capture = OWN_GRAPH
        if version < GRAPH_VERSION:
            self._load(f"ONNX Runtime {self._ort.__version__} has one graph for all batches")
            return
        for _ in range(_MOST_CAPTURES):
            try:
                self._load("")
            except CudaError as error:
                if error.sticky:
                    raise
                why_no_graph = str(error)
            else:
                return
            if _DISTURBED.search(why_no_graph) is None:
                break
        self._load(why_no_graph)  # after the block: the error keeps the first session alive

    def _load(self, why_no_graph: str) -> None:
        """Make the session on a new stream and run it once, which captures its graph.

        One thread at a time: ONNX Runtime has crashed where two made sessions on one GPU at once
        (microsoft/onnxruntime#26610).
        """
        if why_no_graph:
            self.why_no_capture = f"ONNX Runtime runs the network kernel by kernel: {why_no_graph}"
        self._has_graph = not why_no_graph
        self.session.join(self)
        try:
            with self.session.current(), self.session.capturing:
                self.stream: Any = self.session.stream()
                self._network = self._open_network()
                self._shapes = checked_outputs(self._network, self._spec, self._loaded.where)
                self.reserve(1)
                self.enqueue(self.stream)
                self.session.wait(self.stream)
        except BaseException:
            self.release()
            raise

    def _open_network(self) -> Any:
        options = {
            "device_id": str(self.session.index),
            "user_compute_stream": str(self.stream.handle),  # which also gives the provider one stream for everything
            "enable_cuda_graph": "1" if self._has_graph else "0",
            # The default, EXHAUSTIVE, times convolutions anew for each session and each size of a batch, at the first
            # frame of that size, and need not choose the same ones twice.
            "cudnn_conv_algo_search": "HEURISTIC",
        }
        file = self._loaded
        network, reason = open_network(self._ort, file.content, file.where, CUDA, self.threads, options)
        if reason == NOT_STARTED:
            fix = "Install onnxruntime-gpu of this CUDA and its cuDNN; facedepth-edge doctor says what is there."
            raise BackendUnavailable.of(CUDA, reason, "a provider that starts", fix)
        if network is None:
            raise cuda_error("InferenceSession", reason, sticky=self.session.context_is_lost())
        return network

    def reserve(self, batch: int) -> None:
        """Make input and output hold this many faces; each size has buffers of its own, which never move."""
        if batch == self._batch:
            return
        with self.session.current(), self._named("bind_input"):
            if batch not in self._bound:
                graph = GRAPH_OF_ONE_FACE if batch == 1 and self._has_graph else NO_GRAPH
                buffers = DeviceBuffers(self.session, self._spec, self._shapes, batch)
                bound: _Bound | None = None
                try:
                    bound = _Bound(self._ort, self._network, buffers, self._spec.input.name, graph)
                    bound.bind(self.session.index)
                except BaseException:
                    with self.session.letting_go(bound):
                        bound = None
                        buffers.close()
                    raise
                self._bound[batch] = bound
            buffers = self._bound[batch].buffers
            self.input: DeviceView = buffers.input
            self.output: Mapping[str, DeviceView] = buffers.output
            self.output_block, self.output_offsets = buffers.output_block, buffers.output_offsets
        self._batch = batch

    def enqueue(self, stream: Any) -> None:
        """Start computing output from input, and return; a replay of the graph returns when it has computed.

        Args:
            stream: ``stream`` of this object: the session has no other.

        Raises:
            CudaError: ONNX Runtime could not run it.
        """
        assert stream is self.stream, "a session computes on the stream that it was made with"
        bound = self._bound[self._batch]
        with self._named("run_with_iobinding"):
            self._network.run_with_iobinding(bound.io, bound.options)

    def run(self) -> None:
        """Compute output from input; the other threads of Python run meanwhile."""
        with self.session.current():
            self.enqueue(self.stream)
            self.session.wait(self.stream)

    @contextmanager
    def _named(self, call: str) -> Iterator[None]:
        """Turn ONNX Runtime's errors into CudaError."""
        try:
            yield
        except CudaError:
            raise
        except failures(self._ort) as error:
            raise cuda_error(call, str(error), sticky=self.session.context_is_lost()) from error

    def release(self) -> None:
        """Let the session, the buffers and the stream go, but keep the file for fork(); again does nothing."""
        if self._network is not None or self._bound:
            self._let_go()
        self.session.leave(self)

    def _let_go(self) -> None:
        with self.session.current():
            self.session.settle(self.stream)
        with self.session.letting_go((self._network, [bound.io for bound in self._bound.values()])):
            for bound in self._bound.values():
                bound.io = None
            self._network = None  # before the stream that it computes on
            for bound in self._bound.values():
                bound.buffers.close()
            self._bound, self._batch = {}, 0
            self.stream = None
        self.output = {}
        self.input = no_input(self._spec)

    def close(self) -> None:
        """Let everything go; a second call does nothing."""
        self.release()
        self._loaded = None  # type: ignore[assignment]


class _Bound:
    """One batch size: its buffers, bound to a session by address, and how to run it."""

    def __init__(self, ort: Any, network: Any, buffers: DeviceBuffers, input_name: str, graph: str) -> None:
        self.buffers = buffers
        self._input_name = input_name
        self.io: Any = network.io_binding()
        self.options: Any = ort.RunOptions()
        self.options.add_run_config_entry("gpu_graph_id", graph)
        self.options.add_run_config_entry("disable_synchronize_execution_providers", "1")  # the caller waits, once

    def bind(self, device_id: int) -> None:
        """Name the addresses to the session."""
        face = self.buffers.input
        self.io.bind_input(self._input_name, DEVICE_TYPE, device_id, np.float32, face.shape, face.address)
        for name, view in self.buffers.output.items():
            self.io.bind_output(name, DEVICE_TYPE, device_id, np.float32, view.shape, view.address)
