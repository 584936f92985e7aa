# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the module tensorrt that builds the tiny model of tests/tiny_model.py: what the package uses of it.

SURFACE is all that the package may name; a test compares it with the real bindings of three versions. An engine
computes when the stand-in for the driver runs its stream, from and to the addresses that it was given.
"""

from __future__ import annotations

import ctypes
import enum
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fake_gpu.cuda import FakePyCuda
from tests.tiny_model import SIZE_PX, tiny_outputs

SURFACE = {
    "ILogger": ("log", "Severity"),
    "ILogger.Severity": ("ERROR", "INTERNAL_ERROR"),
    "IProgressMonitor": ("phase_start", "step_complete", "phase_finish"),
    "Builder": (
        "create_network",
        "create_builder_config",
        "create_optimization_profile",
        "build_serialized_network",
    ),
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "INetworkDefinition": (),
    "OnnxParser": ("parse", "num_errors", "get_error"),
    "ParserError": ("node_operator", "node_name", "desc"),
    "IBuilderConfig": (
        "set_memory_pool_limit",
        "add_optimization_profile",
        "create_timing_cache",
        "set_timing_cache",
        "get_timing_cache",
        "progress_monitor",
    ),
    "MemoryPoolType": ("WORKSPACE",),
    "IOptimizationProfile": ("set_shape",),
    "ITimingCache": ("serialize",),
    "IHostMemory": (),
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": (
        "num_io_tensors",
        "get_tensor_name",
        "get_tensor_mode",
        "get_tensor_dtype",
        "get_tensor_shape",
        "create_execution_context",
    ),
    "TensorIOMode": ("INPUT",),
    "DataType": ("FLOAT",),
    "IExecutionContext": ("set_input_shape", "set_tensor_address", "execute_async_v3"),
}

SHAPES = {
    "face": (1, SIZE_PX, SIZE_PX),
    "depth": (1, SIZE_PX, SIZE_PX),
    "mask": (1, SIZE_PX, SIZE_PX),
    "validity": (1,),
}
_WORK = ctypes.CFUNCTYPE(None, ctypes.c_size_t)


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    """As TensorRT has it."""

    Severity = Severity

    def __init__(self) -> None:
        self.made = True


class IProgressMonitor:
    """As TensorRT has it."""

    def __init__(self) -> None:
        self.made = True


class FakeTensorRt:
    """The module tensorrt of one version, with knobs for what goes wrong.

    Args:
        gpu: the stand-in for PyCUDA, whose driver runs the engines.
        version: what __version__ says.
    """

    ILogger, IProgressMonitor = ILogger, IProgressMonitor

    class NetworkDefinitionCreationFlag(enum.IntEnum):
        STRONGLY_TYPED = 1

    class MemoryPoolType(enum.Enum):
        WORKSPACE = 0

    class TensorIOMode(enum.Enum):
        INPUT = 1
        OUTPUT = 2

    class DataType(enum.Enum):
        FLOAT = 0
        HALF = 1

    def __init__(self, gpu: FakePyCuda, version: str = "10.3.0") -> None:
        self.__version__ = version
        self.gpu = gpu
        self.builds = 0
        self.networks: list[int] = []  # the flags of each
        self.workspaces: list[int] = []
        self.profiles: list[tuple[Any, ...]] = []
        self.caches: list[bytes] = []  # the timing cache that each build began with
        self.parser_errors: list[tuple[str, str, str]] = []
        self.build_error = ""
        self.during_build: Callable[[Any], None] = lambda monitor: None
        self.refuses_plans = False
        self.refuses_caches = False
        self.depth_dtype = self.DataType.FLOAT
        self.executions = 0
        self.no_gpu = False
        self.destroyed_in_lost_context = 0
        self.logger: Any = None

    def Builder(self, logger: Any) -> Any:  # noqa: N802 - TensorRT's own name
        """As TensorRT has it."""
        return _Builder(self, self._checked(logger))

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        """As TensorRT has it."""
        return _Runtime(self, self._checked(logger))

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        """As TensorRT has it."""
        assert isinstance(network, _Network)
        return _Parser(self, network, self._checked(logger))

    def _checked(self, logger: Any) -> Any:
        assert getattr(logger, "made", True), "a subclass must call the constructor, or the real one raises"
        assert self.logger in (None, logger), "TensorRT keeps the first logger that it is given"
        if self.no_gpu:
            logger.log(logger.Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self.logger = logger
        return logger


class _Network:
    model = b""


class _Error:
    def __init__(self, operator: str, name: str, text: str) -> None:
        self._parts = operator, name, text

    def node_operator(self) -> str:
        return self._parts[0]

    def node_name(self) -> str:
        return self._parts[1]

    def desc(self) -> str:
        return self._parts[2]


class _Parser:
    def __init__(self, trt: FakeTensorRt, network: _Network, logger: Any) -> None:
        self._trt, self._network = trt, network
        self.num_errors = 0

    def parse(self, model: bytes) -> bool:
        self._network.model = model
        self.num_errors = len(self._trt.parser_errors)
        return self.num_errors == 0

    def get_error(self, index: int) -> _Error:
        return _Error(*self._trt.parser_errors[index])


class _Profile:
    def __init__(self) -> None:
        self.shapes: tuple[Any, ...] = ()

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self.shapes = (input, min, opt, max)


class _TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytearray:
        return bytearray(self.content)  # like IHostMemory it has the buffer protocol and is not bytes


class _Config:
    def __init__(self, trt: FakeTensorRt) -> None:
        self._trt = trt
        self._cache: _TimingCache | None = None
        self._profiles: list[_Profile] = []
        self.progress_monitor: Any = None

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        assert pool.name == "WORKSPACE"
        self._trt.workspaces.append(pool_size)

    def add_optimization_profile(self, profile: _Profile) -> int:
        self._trt.profiles.append(profile.shapes)
        return 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> _TimingCache:
        return _TimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        assert ignore_mismatch is False
        if self._trt.refuses_caches and cache.content:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> _TimingCache | None:
        return self._cache


class _Builder:
    def __init__(self, trt: FakeTensorRt, logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def create_network(self, flags: int = 0) -> _Network:
        self._trt.networks.append(flags)
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config(self._trt)

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytearray | None:
        trt, monitor, cache = self._trt, config.progress_monitor, config.get_timing_cache()
        assert cache is not None
        assert getattr(monitor, "made", True), "a subclass must call the constructor, or the real one raises"
        trt.builds += 1
        trt.caches.append(cache.content)
        monitor.phase_start("Building", None, 4)
        monitor.phase_start("Tactics", "Building", 9)
        trt.during_build(monitor)
        going_on = [monitor.step_complete("Building", step) for step in range(4)]
        monitor.phase_finish("Tactics")
        monitor.phase_finish("Building")
        if trt.build_error or not all(going_on):
            self._logger.log(self._logger.Severity.WARNING, "a warning that nobody needs")
            self._logger.log(self._logger.Severity.ERROR, trt.build_error or "cancelled")
            return None
        cache.content += b"timed;"
        return bytearray(b"plan" + json.dumps({"version": trt.__version__, "bytes": len(network.model)}).encode())


class _Runtime:
    def __init__(self, trt: FakeTensorRt, logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> _Engine | None:
        version = None
        if serialized_engine[:4] == b"plan":
            version = json.loads(serialized_engine[4:])["version"]
        if version != self._trt.__version__ or self._trt.refuses_plans:
            self._logger.log(self._logger.Severity.ERROR, "Serialization assertion failed:  version tag does not match")
            return None
        return _Engine(self._trt)


class _OnGpu:
    """What has memory in the context in which it was made, and frees it in the end."""

    def __init__(self, trt: FakeTensorRt) -> None:
        self._trt = trt
        self._resets = trt.gpu._library.fake_resets()

    def __del__(self) -> None:
        library = self._trt.gpu._library
        if library.fake_is_lost() or library.fake_resets() != self._resets:
            self._trt.destroyed_in_lost_context += 1  # the real one frees what is not its own any more


class _Engine(_OnGpu):
    def __init__(self, trt: FakeTensorRt) -> None:
        super().__init__(trt)
        self.num_io_tensors = len(SHAPES)

    def get_tensor_name(self, index: int) -> str:
        return list(SHAPES)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return FakeTensorRt.TensorIOMode.INPUT if name == "face" else FakeTensorRt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self._trt.depth_dtype if name == "depth" else FakeTensorRt.DataType.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *SHAPES[name])

    def create_execution_context(self) -> _Context:
        return _Context(self._trt)


class _Context(_OnGpu):
    def __init__(self, trt: FakeTensorRt) -> None:
        super().__init__(trt)
        self._batch = 0
        self._addresses: dict[str, int] = {}
        self._kept: list[Any] = []  # ctypes' callbacks must live until the driver has called them

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._batch = shape[0]
        return name == "face" and tuple(shape[1:]) == SHAPES["face"] and 1 <= shape[0] <= 8

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return name in SHAPES and memory % 256 == 0

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert self._addresses.keys() == SHAPES.keys()
        trt, batch, addresses = self._trt, self._batch, dict(self._addresses)

        def work(token: int) -> None:  # without self, which would be a circle and live until it is collected
            trt.executions += 1
            arrays = {name: _array_at(addresses[name], (batch, *shape)) for name, shape in SHAPES.items()}
            for name, value in tiny_outputs(arrays["face"]).items():
                arrays[name][...] = value

        callback = _WORK(work)
        self._kept.append(callback)
        enqueue = self._trt.gpu._library.fake_enqueue
        return bool(enqueue(ctypes.c_void_p(stream_handle), callback, ctypes.c_size_t(0)) == 0)


def _array_at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), (size,)).reshape(shape)
