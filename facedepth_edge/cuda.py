# SPDX-License-Identifier: Apache-2.0
"""PyCUDA in one place: the primary context, buffers and streams; every error names the call that failed.

Convention: objects are made and used inside ``with session.current():``, which makes the device's primary context the
thread's own for the block. It is the context that PyTorch and TensorRT use too, so addresses can be shared; PyCUDA's
own ``autoinit`` would make another one beside it.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import importlib
import os
import sys
import threading
import weakref
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedepth_edge.cuda_driver import CudaError, Driver, cuda_error, open_driver
from facedepth_edge.errors import BackendUnavailable

INSTALL = (
    "Install it with pip install pycuda (it needs the CUDA toolkit's nvcc on PATH, on a Jetson in /usr/local/cuda/bin)."
)
OTHER_USERS = ("torch", "cupy", "jaxlib")
"""Libraries that keep memory in the primary context: while one is loaded, the context is not ours to destroy."""

FIRST_GPU = 0  # of those that this process sees: CUDA_VISIBLE_DEVICES chooses it
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no implicit waiting for the legacy stream, which a capture must not do


@dataclass(frozen=True)
class Gpu:
    """What is known of a GPU."""

    name: str
    compute_capability: tuple[int, int]
    integrated: bool
    """Whether it shares its memory with the CPU, as on a Jetson."""
    multiprocessors: int
    """How many it has: devices of the same name may differ in it, as AGX Orin and Orin NX do."""
    pci_bus_id: str
    """Where it is, as nvidia-smi takes it: domain:bus:device.function."""

    @property
    def architecture(self) -> str:
        """The name that nvcc has for it, for example sm_87."""
        major, minor = self.compute_capability
        return f"sm_{major}{minor}"


class DeviceBuffer:
    """Memory on the GPU that belongs to its maker.

    Args:
        allocation: what PyCUDA returned.
        shape: of the array that lies there, C-contiguous.
        dtype: of its elements.
    """

    def __init__(self, allocation: Any, shape: tuple[int, ...], dtype: Any) -> None:
        self._allocation = allocation
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.address = int(allocation)
        self.bytes = int(np.prod(shape)) * self.dtype.itemsize

    def close(self) -> None:
        """Free the memory; a second call does nothing."""
        allocation, self._allocation = self._allocation, None
        if allocation is not None:
            allocation.free()


@dataclass(frozen=True)
class DeviceView:
    """A part of somebody's memory on the GPU: (shape) of dtype, C-contiguous, at address; it owns nothing."""

    address: int
    shape: tuple[int, ...]
    dtype: Any

    @property
    def bytes(self) -> int:
        """Its size."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


class HostBuffer:
    """Page-locked memory of the host that belongs to its maker and that the GPU can reach.

    ``array`` is (bytes,) uint8, C-contiguous; ``address`` is where the GPU sees it.
    """

    def __init__(self, array: NDArray[np.uint8], address: int) -> None:
        self.array = array
        self.address = address

    def close(self) -> None:
        """Free the memory; nobody may hold a view of it. A second call does nothing."""
        allocation: Any = self.array.base
        self.array = np.empty(0, np.uint8)
        if allocation is not None:
            allocation.free()


class Session:
    """Hold the first GPU's primary context for this process, and make what lives in it.

    Args:
        pycuda: the module pycuda.driver.
        driver: libcuda.

    Raises:
        BackendUnavailable: there is no GPU, or its context cannot be made.
    """

    def __init__(self, pycuda: Any, driver: Driver) -> None:
        self._pycuda = pycuda
        self.driver = driver
        self._pid = os.getpid()
        self._context: Any = None
        self._idle: Any = None  # a stream on which nothing ever runs, to ask after the context
        self.index = FIRST_GPU
        """The GPU's, among those that this process sees."""
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()
        """Those who keep buffers or engines in the context, from join() to leave(); each has close()."""
        self._users_guard = threading.RLock()  # held while the context is torn down too: who joins then, waits
        self.capturing = threading.RLock()
        """Held while a stream is captured, and while somebody waits for the whole context or lets a library's objects
        go, which may wait for the whole device: a capture forbids both."""
        self.captures = False
        """Whether the thread that holds ``capturing`` is capturing right now."""
        with self._named("cuInit"):
            pycuda.init()
            count = pycuda.Device.count()
        if count <= self.index:
            fix = "Check CUDA_VISIBLE_DEVICES and nvidia-smi."
            raise BackendUnavailable.of("CUDA", f"{count} GPUs", f"at least {self.index + 1}", fix)
        with self._named("cuDeviceGet"):
            self._device = pycuda.Device(self.index)
            has = self._device.get_attribute
            self.gpu = Gpu(
                name=self._device.name(),
                compute_capability=tuple(self._device.compute_capability()),
                integrated=bool(has(pycuda.device_attribute.INTEGRATED)),
                multiprocessors=int(has(pycuda.device_attribute.MULTIPROCESSOR_COUNT)),
                pci_bus_id=str(self._device.pci_bus_id()),
            )
        self._found_active = driver.primary_context_is_active(self.index)
        self._retain()
        atexit.register(self._finish)

    def _finish(self) -> None:
        """Let everything go while the interpreter still works: PyCUDA would release the context by the wrong call."""
        if self.is_of_another_process():
            return
        # Paths first, which wait for the frames on their way; then the backends that are in no path.
        for user in sorted(self._all_users(), key=lambda user: hasattr(user, "fork")):
            user.close()
        if self._context is not None:
            with self.current():
                self._idle = None
            self._context.detach()

    def is_of_another_process(self) -> bool:
        """Say whether this process was forked from the one that opened the session: CUDA does not work in it."""
        return os.getpid() != self._pid

    def require_own_process(self) -> None:
        """Raise BackendUnavailable in a process that was forked from the one that opened the session."""
        if self.is_of_another_process():
            rule = "a process that initialises CUDA itself"
            fix = 'Start it by multiprocessing.get_context("spawn"), or fork before anything uses the GPU.'
            raise BackendUnavailable.of("CUDA", "a fork of a process that has used it", rule, fix)

    def join(self, user: Any) -> None:
        """Register a user before it allocates in the context; waits for a recovery in progress."""
        with self._users_guard:
            self.users.add(user)

    def leave(self, user: Any) -> None:
        """Unregister a user that has released everything; a second call does nothing."""
        with self._users_guard:
            self.users.discard(user)

    def _all_users(self) -> list[Any]:
        with self._users_guard:
            return list(self.users)

    def _retain(self) -> None:
        with self._named("cuDevicePrimaryCtxRetain"):
            self._context = self._device.retain_primary_context()
        try:
            with self.current():
                self._idle = self.stream()
        except BaseException:
            context, self._context = self._context, None
            context.detach()
            raise

    @contextmanager
    def _named(self, call: str) -> Iterator[None]:
        """Turn PyCUDA's errors into ours; PyCUDA's own text names the driver's function where it knows it."""
        try:
            yield
        except self._pycuda.Error as error:
            lost = self.context_is_lost()
            raise cuda_error(call, str(error) or type(error).__name__, sticky=lost) from error

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context this thread's for the block; nests.

        Raises:
            CudaError: it cannot be made current, or a call of CUDA in the block failed.
        """
        self.require_own_process()
        if self._context is None:
            raise cuda_error("CUDA", "a lost context that could not be made anew", sticky=True)
        with self._named("cuCtxPushCurrent"):
            self._context.push()
        try:
            with self.driver.beside_captures(), self._named("CUDA"):
                yield
        finally:
            self._pycuda.Context.pop()

    def stream(self) -> Any:
        """Make a stream; ``handle`` is its number, ``synchronize()`` waits for it."""
        with self._named("cuStreamCreate"):
            return self._pycuda.Stream(flags=_NON_BLOCKING)

    def device_buffer(self, shape: tuple[int, ...], dtype: Any) -> DeviceBuffer:
        """Allocate memory on the GPU; its content is undefined."""
        size = max(int(np.prod(shape)) * np.dtype(dtype).itemsize, 1)
        with self._named("cuMemAlloc"):
            return DeviceBuffer(self._pycuda.mem_alloc(size), shape, dtype)

    def host_buffer(self, size: int) -> HostBuffer:
        """Allocate page-locked memory of the host, mapped into the GPU's address space; its content is undefined."""
        with self._named("cuMemHostAlloc"):
            array = self._pycuda.pagelocked_empty((size,), np.uint8, mem_flags=self._pycuda.host_alloc_flags.DEVICEMAP)
            try:
                return HostBuffer(array, int(array.base.get_device_pointer()))
            except BaseException:
                array.base.free()
                raise

    def upload(self, address: int, source: NDArray[Any], stream: Any) -> None:
        """Enqueue a copy to the GPU; source is C-contiguous and stays as it is until the stream has done it."""
        with self._named("cuMemcpyHtoDAsync"):
            self._pycuda.memcpy_htod_async(address, source, stream)

    def download(self, destination: NDArray[Any], address: int, stream: Any) -> None:
        """Enqueue a copy from the GPU; destination is C-contiguous and complete when the stream has done it."""
        with self._named("cuMemcpyDtoHAsync"):
            self._pycuda.memcpy_dtoh_async(destination, address, stream)

    def wait(self, stream: Any) -> None:
        """Wait until a stream of ours has done its work; releases the GIL."""
        with self._named("cuStreamSynchronize"):
            stream.synchronize()

    def settle(self, stream: Any) -> None:
        """Wait until a stream of ours has done its work or failed at it, before what it works on is let go."""
        with suppress(CudaError):
            self.wait(stream)

    def wait_for_everything(self) -> None:
        """Wait for all work in the current context, including other libraries'; releases the GIL."""
        with self.capturing:
            self.driver.wait_for_context()

    @contextmanager
    def capture(self) -> Iterator[None]:
        """Let a stream be captured in the block: no other thread captures or waits for the context meanwhile."""
        with self.capturing:
            self.captures = True
            try:
                yield
            finally:
                self.captures = False

    def context_is_lost(self) -> bool:
        """Say whether the current context has a sticky error; waits for captures, but for no work on its way.

        Work of a stream whose faults shall count must be waited for first. To ask would break a capture of the same
        thread. So a thread that captures gets False, and may ask again after it.
        """
        with self.capturing:
            return self._idle is not None and not self.captures and self.driver.context_is_lost(self._idle.handle)

    @contextmanager
    def letting_go(self, things: object) -> Iterator[None]:
        """Let a library's objects go in the block, which may wait for the whole device: no capture goes on meanwhile.

        If the context is lost, they are kept for ever before.

        Args:
            things: the objects; work on the GPU that they began has been waited for.
        """
        if self._context is None:
            keep_for_ever(things)
            yield
            return
        with self.current(), self.capturing:
            if self.context_is_lost():
                keep_for_ever(things)
            del things  # or the last reference would go behind the block
            yield

    def require_sole_user(self, ours: Collection[object], error: CudaError) -> None:
        """Raise CudaError unless the lost context may be torn down.

        Args:
            ours: who asks, and all the users that belong to it.
            error: what lost it.

        Raises:
            CudaError: others have something in the context too.
        """
        others = [name for name in OTHER_USERS if name in sys.modules]
        if any(all(user is not each for each in ours) for user in self._all_users()):
            others.append("another EdgeDepth")
        if others or self._found_active:
            who = ", ".join(others) or "another user of the GPU in this process"
            raise cuda_error("CUDA", f"{error} The context is shared with {who}", sticky=True) from error

    def recover(self, ours: Collection[object], error: CudaError) -> None:
        """Tear the lost context down and make a new one.

        Args:
            ours: who asks, and all the users that belong to it; they have let go everything that they made in the old
                context, or keep it for ever.
            error: what lost it.

        Raises:
            CudaError: others have something in the context too, or no new one can be made; then the session has none
                from now on.
        """
        with self._users_guard:
            self.require_sole_user(ours, error)
            context, self._context = self._context, None
            keep_for_ever(self._idle)
            self._idle = None
            with self._named("cuDevicePrimaryCtxRelease"):
                context.detach()  # from now on PyCUDA frees nothing of what was made in it
            self.driver.reset_primary_context(self.index)
            self._retain()


def keep_for_ever(thing: object) -> None:
    """Never let a thing go, not even at the end: in a lost context destructors fail, and that may end the process."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


_opening = threading.Lock()  # functools.cache alone would let two threads make two


def open_session() -> Session:
    """Open the first GPU that this process sees, once; set CUDA_VISIBLE_DEVICES to choose another.

    Returns:
        The session, shared by everything in this process.

    Raises:
        BackendUnavailable: PyCUDA, the driver or the GPU is missing, or this process was forked from one that has used
            the GPU.
    """
    with _opening:
        session = _make_session()
    session.require_own_process()
    return session


@functools.cache
def _make_session() -> Session:
    driver = open_driver()
    try:
        pycuda = importlib.import_module("pycuda.driver")
    except ImportError as error:
        raise BackendUnavailable.of("PyCUDA", str(error), "PyCUDA installed", INSTALL) from error
    return Session(pycuda, driver)
