# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the module onnxruntime with a CUDA provider that runs the tiny model: what the package uses of it.

SURFACE is all that the package may name; a test compares it with the real module. What is bound in the GPU's memory is
computed when the stand-in for the driver runs the session's stream. The rules are those that ONNX Runtime documents: a
graph is captured by the first run with its gpu_graph_id and replays from and to the addresses of then, whatever is
bound; a replay waits for its stream; a session with a graph is for one thread.
"""

from __future__ import annotations

import ctypes
import threading
import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.fake_gpu.cuda import FakePyCuda
from tests.fake_gpu.tensorrt import _WORK, SHAPES, _array_at
from tests.tiny_model import tiny_outputs

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
ERRORS = (
    "Fail", "NotImplemented", "RuntimeException", "EPFail",
    "InvalidArgument", "InvalidProtobuf", "InvalidGraph", "NoModel",
)  # fmt: skip
SURFACE = {
    "SessionOptions": (
        "intra_op_num_threads",
        "inter_op_num_threads",
        "log_severity_level",
        "add_session_config_entry",
    ),
    "RunOptions": ("add_run_config_entry",),
    "InferenceSession": ("get_providers", "get_inputs", "get_outputs", "io_binding", "run_with_iobinding"),
    "IOBinding": ("bind_input", "bind_output", "bind_ortvalue_input", "bind_ortvalue_output"),
    "NodeArg": ("name", "shape", "type"),
    "OrtValue": ("ortvalue_from_numpy",),
    "get_available_providers": (),
    "capi": ("onnxruntime_pybind11_state",),
    "capi.onnxruntime_pybind11_state": ERRORS,
}
PROVIDER_OPTIONS = {"device_id", "user_compute_stream", "enable_cuda_graph", "cudnn_conv_algo_search"}
"""Of those in ONNX Runtime's documentation, the ones that the package uses."""


class FakeOnnxRuntime(types.ModuleType):
    """The module onnxruntime of one version, with knobs for what goes wrong.

    Args:
        gpu: the stand-in for PyCUDA, whose driver runs the networks.
        version: what __version__ says.
    """

    def __init__(self, gpu: FakePyCuda, version: str = "1.23.0") -> None:
        super().__init__("onnxruntime")
        self.__version__ = version
        self.gpu = gpu
        self.opened: list[dict[str, str]] = []  # the CUDA provider's options of each session, in order
        self.sessions: weakref.WeakSet[Any] = weakref.WeakSet()
        self.captures = self.replays = self.eager_runs = self.destroyed_in_lost_context = 0
        self.starts = True
        self.has_cpu_nodes = False
        self.during_capture: Callable[[], None] = lambda: None
        self.before_run: Callable[[], None] = lambda: None
        state = types.SimpleNamespace(**{name: type(name, (Exception,), {}) for name in ERRORS})
        self.capi = types.SimpleNamespace(onnxruntime_pybind11_state=state)
        self.state: Any = state
        self.OrtValue = types.SimpleNamespace(ortvalue_from_numpy=lambda array: array)

    def get_available_providers(self) -> list[str]:
        """As ONNX Runtime has it."""
        return [CUDA, CPU]

    def SessionOptions(self) -> Any:  # noqa: N802 - ONNX Runtime's own name
        """As ONNX Runtime has it."""
        return _Options()

    def RunOptions(self) -> Any:  # noqa: N802
        """As ONNX Runtime has it."""
        return _Options()

    def InferenceSession(self, content: bytes, settings: Any, *, providers: list[Any], enable_fallback: int) -> Any:  # noqa: N802
        """As ONNX Runtime has it."""
        assert enable_fallback == 0
        assert isinstance(settings, _Options)
        assert providers[-1] == CPU
        name, options = providers[0] if isinstance(providers[0], tuple) else (providers[0], {})
        if name == CUDA:
            assert options.keys() <= PROVIDER_OPTIONS
            assert all(isinstance(value, str) for value in options.values())
            self.opened.append(dict(options))
            if self.gpu._library.fake_is_lost():
                raise self.state.RuntimeException("CUDA failure 700: an illegal memory access was encountered")
            if options.get("enable_cuda_graph") == "1" and self.has_cpu_nodes:
                raise self.state.Fail("This session cannot use the graph capture feature as requested by the user")
        return _Session(self, name if self.starts or name == CPU else CPU, options)


class _Options:
    """SessionOptions and RunOptions."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value

    def add_run_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


class _Session:
    def __init__(self, ort: FakeOnnxRuntime, provider: str, options: Mapping[str, str]) -> None:
        self._ort, self._provider = ort, provider
        self.stream = int(options.get("user_compute_stream", "0"))
        self._with_graph = options.get("enable_cuda_graph") == "1"
        self._resets = ort.gpu._library.fake_resets()
        self.graphs: dict[str, Any] = {}
        self.threads: set[int] = set()
        self._running = threading.Lock()
        self._kept: list[Any] = []
        ort.sessions.add(self)

    def __del__(self) -> None:
        library = self._ort.gpu._library
        if self._provider == CUDA and (library.fake_is_lost() or library.fake_resets() != self._resets):
            self._ort.destroyed_in_lost_context += 1  # the real one throws from a destructor: the process ends

    def get_providers(self) -> list[str]:
        return [CUDA, CPU] if self._provider == CUDA else [CPU]

    def get_inputs(self) -> list[Any]:
        return [_argument("face")]

    def get_outputs(self) -> list[Any]:
        return [_argument(name) for name in SHAPES if name != "face"]

    def io_binding(self) -> Any:
        return _Binding(self)

    def run_with_iobinding(self, io: Any, run_options: Any = None) -> None:
        assert io.session is self, "a binding is of the session that made it"
        if not self.stream:
            self._run_on_host(io)
            return
        assert self._running.acquire(blocking=False), "two threads run one session at once"
        try:
            self.threads.add(threading.get_ident())
            self._ort.before_run()
            self._run_on_stream(io.addresses(), run_options.entries)
        finally:
            self._running.release()

    def _run_on_host(self, io: Any) -> None:
        for name, value in tiny_outputs(io.arrays["face"]).items():
            io.arrays[name][...] = value

    def _run_on_stream(self, bound: Any, entries: Mapping[str, str]) -> None:
        ort = self._ort
        graph = entries["gpu_graph_id"] if tuple(map(int, ort.__version__.split(".")[:2])) >= (1, 18) else "0"
        if self._with_graph and graph != "-1":
            assert len(self.threads) == 1, "the graph of one thread is not there in another"
            if graph not in self.graphs:
                self._enqueue(bound)
                self._capture(graph, bound)
            else:
                ort.replays += 1
            self._enqueue(self.graphs[graph])
            self._wait()
            return
        ort.eager_runs += 1
        self._enqueue(bound)
        if entries.get("disable_synchronize_execution_providers") != "1":
            self._wait()

    def _capture(self, graph: str, bound: Any) -> None:
        library = self._ort.gpu._library
        self._wait()
        library.fake_begin_global_capture()
        try:
            self._ort.during_capture()
        finally:
            code = library.fake_end_global_capture()
        if code != 0:
            raise self._ort.state.Fail(f"CUDA failure {code}: operation failed due to a previous error during capture")
        self._ort.captures += 1
        self.graphs[graph] = bound

    def _enqueue(self, bound: tuple[int, dict[str, int]]) -> None:
        batch, addresses = bound
        assert addresses.keys() == SHAPES.keys()

        def work(token: int) -> None:
            arrays = {name: _array_at(addresses[name], (batch, *shape)) for name, shape in SHAPES.items()}
            for name, value in tiny_outputs(arrays["face"]).items():
                arrays[name][...] = value

        callback = _WORK(work)
        self._kept = [*self._kept[-8:], callback]
        code = self._ort.gpu._library.fake_enqueue(ctypes.c_void_p(self.stream), callback, ctypes.c_size_t(0))
        self._raise_for(code)

    def _wait(self) -> None:
        self._raise_for(self._ort.gpu._library.cuStreamSynchronize(ctypes.c_void_p(self.stream)))

    def _raise_for(self, code: int) -> None:
        if code != 0:
            raise self._ort.state.RuntimeException(f"CUDA failure {code}: an illegal memory access was encountered")


class _Binding:
    """IOBinding."""

    def __init__(self, session: _Session) -> None:
        self.session = session
        self.arrays: dict[str, np.ndarray] = {}
        self._bound: dict[str, tuple[int, tuple[int, ...]]] = {}

    def bind_ortvalue_input(self, name: str, ortvalue: np.ndarray) -> None:
        self.arrays[name] = ortvalue

    bind_ortvalue_output = bind_ortvalue_input

    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: tuple[int, ...], buffer_ptr: int
    ) -> None:
        assert (device_type, device_id, element_type) == ("cuda", 0, np.float32)
        assert name == "face" and tuple(shape[1:]) == SHAPES[name] and buffer_ptr % 256 == 0  # noqa: PT018
        self._bound[name] = (buffer_ptr, tuple(shape))

    def bind_output(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: tuple[int, ...], buffer_ptr: int
    ) -> None:
        assert (device_type, device_id, element_type) == ("cuda", 0, np.float32)
        assert name != "face" and tuple(shape[1:]) == SHAPES[name] and buffer_ptr % 256 == 0  # noqa: PT018
        self._bound[name] = (buffer_ptr, tuple(shape))

    def addresses(self) -> tuple[int, dict[str, int]]:
        (batch,) = {shape[0] for _, shape in self._bound.values()}
        return batch, {name: address for name, (address, _) in self._bound.items()}


def _argument(name: str) -> Any:
    return types.SimpleNamespace(name=name, shape=["batch", *SHAPES[name]], type="tensor(float)")
