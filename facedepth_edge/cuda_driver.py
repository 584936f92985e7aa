# SPDX-License-Identifier: Apache-2.0
"""The calls of the CUDA driver that PyCUDA lacks or wraps, taken from libcuda by ctypes: graphs, kernels, state."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager

from facedepth_edge.errors import BackendUnavailable

LIBRARY = "libcuda.so.1"
LEGACY_STREAM = 1  # CU_STREAM_LEGACY: the handle of the default stream that every thread shares

_CAPTURE_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: another thread's allocations do not break the capture
_DEVICE_ORDINAL = 9  # CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
_SUCCESS, _INVALID_VALUE = 0, 1

STICKY_CODES = frozenset((214, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 911))
"""CUresult values after which every later call in the context fails the same way, by cuda.h: uncorrectable ECC,
contained, illegal address, launch timeout, destroyed context, assert, stack, illegal instruction, misaligned address,
address space, program counter, launch failed, tensor memory leak, external device."""

_POINTER = ctypes.c_void_p
_INT = ctypes.c_int
_SIGNATURES: dict[str, tuple[type, ...]] = {
    "cuInit": (ctypes.c_uint,),
    "cuDriverGetVersion": (ctypes.POINTER(_INT),),
    "cuDeviceGetCount": (ctypes.POINTER(_INT),),
    "cuDeviceGetName": (ctypes.c_char_p, _INT, _INT),
    "cuGetErrorName": (_INT, ctypes.POINTER(ctypes.c_char_p)),
    "cuGetErrorString": (_INT, ctypes.POINTER(ctypes.c_char_p)),
    "cuCtxSynchronize": (),
    "cuDevicePrimaryCtxGetState": (_INT, ctypes.POINTER(ctypes.c_uint), ctypes.POINTER(_INT)),
    "cuDevicePrimaryCtxReset_v2": (_INT,),
    "cuPointerGetAttribute": (_POINTER, _INT, ctypes.c_ulonglong),
    "cuStreamSynchronize": (_POINTER,),
    "cuStreamQuery": (_POINTER,),
    "cuModuleLoadData": (ctypes.POINTER(_POINTER), ctypes.c_char_p),
    "cuModuleUnload": (_POINTER,),
    "cuModuleGetFunction": (ctypes.POINTER(_POINTER), _POINTER, ctypes.c_char_p),
    "cuLaunchKernel": (_POINTER, *[ctypes.c_uint] * 7, _POINTER, ctypes.POINTER(_POINTER), ctypes.POINTER(_POINTER)),
    "cuThreadExchangeStreamCaptureMode": (ctypes.POINTER(_INT),),
    "cuStreamBeginCapture_v2": (_POINTER, _INT),
    "cuStreamEndCapture": (_POINTER, ctypes.POINTER(_POINTER)),
    "cuGraphInstantiateWithFlags": (ctypes.POINTER(_POINTER), _POINTER, ctypes.c_ulonglong),
    "cuGraphLaunch": (_POINTER, _POINTER),
    "cuGraphExecDestroy": (_POINTER,),
    "cuGraphDestroy": (_POINTER,),
}
"""Exported name -> argument types; each returns a CUresult. cuda.h defines cuStreamBeginCapture and
cuDevicePrimaryCtxReset as their _v2 and cuGraphInstantiate as cuGraphInstantiateWithFlags (since CUDA 11.4)."""


class CudaError(BackendUnavailable):
    """A call of CUDA failed; ``sticky`` says that the context is lost with everything in it."""

    sticky = False


def cuda_error(call: str, reason: str, *, sticky: bool = False) -> CudaError:
    """Build the error for a call that failed.

    Args:
        call: the driver's function.
        reason: what it said.
        sticky: whether the context is lost.

    Returns:
        The error, ready to be raised.
    """
    fix = "Restart the process; if it comes again, look at dmesg and run compute-sanitizer." if sticky else (
        "Free memory on the GPU, or check the driver with facedepth-edge doctor."
    )  # fmt: skip
    error = CudaError.of(call, reason, "a call of CUDA that succeeds", fix)
    error.sticky = sticky
    return error


class Driver:
    """Call libcuda; every failure names the call and the driver's own word for it.

    Args:
        library: the file to load.

    Raises:
        BackendUnavailable: there is no such file, or it lacks a function.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        fix = "Install NVIDIA's driver; on a Jetson it is part of JetPack."
        try:
            self._library = ctypes.CDLL(library)
        except OSError as error:
            raise BackendUnavailable.of("CUDA driver", str(error), f"{library} installed", fix) from error
        for name, types in _SIGNATURES.items():
            try:
                function = getattr(self._library, name)
            except AttributeError as error:
                rule = f"a driver of CUDA 12 or later, with {name}"
                raise BackendUnavailable.of("CUDA driver", str(error), rule, fix) from error
            function.argtypes, function.restype = types, _INT

    def call(self, name: str, *arguments: object) -> None:
        """Call a function of the driver.

        Args:
            name: one of the functions above.
            *arguments: as its signature says.

        Raises:
            CudaError: it returned anything but success.
        """
        self._require(name, getattr(self._library, name)(*arguments))

    def _require(self, name: str, code: int) -> None:
        if code != _SUCCESS:
            raise cuda_error(name, self.describe(code), sticky=code in STICKY_CODES)

    def describe(self, code: int) -> str:
        """Return the driver's name and sentence for a CUresult."""
        parts = []
        for function in (self._library.cuGetErrorName, self._library.cuGetErrorString):
            text = ctypes.c_char_p()
            if function(code, ctypes.byref(text)) == _SUCCESS and text.value:
                parts.append(text.value.decode("utf-8", "replace"))
        return f"{code} {': '.join(parts)}".strip()

    def version(self) -> tuple[int, int]:
        """Return the CUDA version that the driver supports, (major, minor)."""
        number = _INT()
        self.call("cuDriverGetVersion", ctypes.byref(number))
        return number.value // 1000, number.value % 1000 // 10

    def device_names(self) -> list[str]:
        """Return the names of the GPUs that this process sees."""
        self.call("cuInit", 0)
        count, names = _INT(), []
        self.call("cuDeviceGetCount", ctypes.byref(count))
        for index in range(count.value):
            text = ctypes.create_string_buffer(256)
            self.call("cuDeviceGetName", text, len(text), index)
            names.append(text.value.decode("utf-8", "replace"))
        return names

    def gpu_of(self, address: int) -> int | None:
        """Return the index of the GPU on which memory was allocated or registered, among those that are visible.

        Managed and page-locked memory has the GPU that was current when it was made.

        Args:
            address: anywhere in the memory.

        Returns:
            The index, or None where CUDA does not know the address, as with malloc's.

        Raises:
            CudaError: the call failed for another reason.
        """
        index = _INT()
        code = self._library.cuPointerGetAttribute(ctypes.byref(index), _DEVICE_ORDINAL, address)
        if code == _INVALID_VALUE:
            return None
        self._require("cuPointerGetAttribute", code)
        return index.value

    def context_is_lost(self, stream: int) -> bool:
        """Say whether the current context has a sticky error, which every call returns from then on.

        Args:
            stream: the handle of one that is idle: nothing is waited for, and no capture is broken.
        """
        return self._library.cuStreamQuery(_POINTER(stream)) in STICKY_CODES

    def primary_context_is_active(self, device: int) -> bool:
        """Say whether anyone in this process holds the device's primary context."""
        flags, active = ctypes.c_uint(), _INT()
        self.call("cuDevicePrimaryCtxGetState", device, ctypes.byref(flags), ctypes.byref(active))
        return bool(active.value)

    def reset_primary_context(self, device: int) -> None:
        """Destroy the device's primary context for everybody in this process."""
        self.call("cuDevicePrimaryCtxReset_v2", device)

    @contextmanager
    def beside_captures(self) -> Iterator[None]:
        """Let this thread's calls in the block neither fail nor break a capture that goes on in another thread.

        ONNX Runtime captures in CUDA's global mode, which forbids every other thread to allocate unless that thread
        has said this. Errors of the switch are ignored: the calls in the block report their own.
        """
        mode = _INT(_CAPTURE_THREAD_LOCAL)
        self._library.cuThreadExchangeStreamCaptureMode(ctypes.byref(mode))
        try:
            yield
        finally:
            self._library.cuThreadExchangeStreamCaptureMode(ctypes.byref(mode))

    def wait_for_context(self) -> None:
        """Wait until all streams of the current context have done their work; none of them may be captured."""
        self.call("cuCtxSynchronize")

    def wait_for_stream(self, stream: int) -> None:
        """Wait until any stream, also another library's, has done its work."""
        self.call("cuStreamSynchronize", _POINTER(stream))


class Kernel:
    """A kernel of a loaded module; PyCUDA's own launch would also make a deprecated call to set the block's shape.

    Args:
        driver: libcuda.
        binary: a cubin for this GPU's architecture.
        name: the function's name in it.

    Raises:
        CudaError: the driver cannot load it; nothing of it stays loaded.
    """

    def __init__(self, driver: Driver, binary: bytes, name: str) -> None:
        self._driver = driver
        self._module = _POINTER()
        self._function = _POINTER()
        driver.call("cuModuleLoadData", ctypes.byref(self._module), binary)
        try:
            driver.call("cuModuleGetFunction", ctypes.byref(self._function), self._module, name.encode())
        except BaseException:
            self.close()
            raise

    def launch(
        self, grid: tuple[int, int], threads: int, stream: int, *arguments: ctypes.c_void_p | ctypes.c_int
    ) -> None:
        """Enqueue the kernel on a grid of blocks of that many threads.

        Args:
            grid: blocks in x and y.
            threads: of a block.
            stream: the stream's handle.
            *arguments: the kernel's, in order; copied by the call.

        Raises:
            CudaError: the launch failed.
        """
        addresses = (_POINTER * len(arguments))(*[ctypes.addressof(argument) for argument in arguments])
        sizes = (*grid, 1, threads, 1, 1, 0)
        self._driver.call("cuLaunchKernel", self._function, *sizes, _POINTER(stream), addresses, None)

    def close(self) -> None:
        """Unload the module; a second call does nothing. In a lost context there is nothing left to unload."""
        module, self._module = self._module, _POINTER()
        if module:
            _free(self._driver, "cuModuleUnload", module)


def _free(driver: Driver, name: str, handle: ctypes.c_void_p) -> None:
    """Call a function that frees something; a lost context has freed it already."""
    try:
        driver.call(name, handle)
    except CudaError as error:
        if not error.sticky:
            raise


class Graph:
    """What was enqueued on a stream, to be launched again in one call.

    The addresses and sizes that were captured must stay good as long as the graph is launched.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._graph = _POINTER()
        self._executable = _POINTER()

    @contextmanager
    def capture(self, stream: int) -> Iterator[None]:
        """Record what the block enqueues on a stream instead of running it.

        Only this thread's unsafe calls break the capture. A block that raises leaves no graph and a usable stream.

        Args:
            stream: the stream's handle; not the legacy default stream.

        Raises:
            CudaError: something in the block cannot be captured.
        """
        driver = self._driver
        driver.call("cuStreamBeginCapture_v2", _POINTER(stream), _CAPTURE_THREAD_LOCAL)
        try:
            yield
        except BaseException:
            self._discard_capture(stream)
            raise
        driver.call("cuStreamEndCapture", _POINTER(stream), ctypes.byref(self._graph))
        driver.call("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), self._graph, 0)

    def _discard_capture(self, stream: int) -> None:
        """End a capture that failed, so that the stream works again; the first error is the one to tell."""
        try:
            self._driver.call("cuStreamEndCapture", _POINTER(stream), ctypes.byref(self._graph))
        except CudaError:
            return
        finally:
            self.close()

    def launch(self, stream: int) -> None:
        """Enqueue everything that was captured.

        Args:
            stream: the handle of the stream to run on.

        Raises:
            CudaError: the launch failed.
        """
        self._driver.call("cuGraphLaunch", self._executable, _POINTER(stream))

    def close(self) -> None:
        """Let the graph go; a second call does nothing. In a lost context there is nothing left to free."""
        executable, self._executable = self._executable, _POINTER()
        graph, self._graph = self._graph, _POINTER()
        for name, handle in (("cuGraphExecDestroy", executable), ("cuGraphDestroy", graph)):
            if handle:
                _free(self._driver, name, handle)


@functools.cache
def open_driver() -> Driver:
    """Open this machine's libcuda once.

    Returns:
        The driver, not yet initialised.

    Raises:
        BackendUnavailable: there is none, or it is too old.
    """
    return Driver()
