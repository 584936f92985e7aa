# SPDX-License-Identifier: Apache-2.0
"""A stand-in for pycuda.driver on top of the stand-in for libcuda: what the package uses of it, and nothing else.

Only names that are in SURFACE exist for the package; a test compares them with PyCUDA's own where it is installed.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy as np

from tests.fake_gpu.build import shared_library

SURFACE = {
    "Error": (),
    "init": (),
    "Device": ("count", "name", "compute_capability", "get_attribute", "pci_bus_id", "retain_primary_context"),
    "device_attribute": ("INTEGRATED", "MULTIPROCESSOR_COUNT"),
    "Context": ("push", "pop", "detach"),
    "Stream": ("handle", "synchronize"),
    "DeviceAllocation": ("free", "__int__"),
    "PagelockedHostAllocation": ("free", "get_device_pointer"),
    "host_alloc_flags": ("DEVICEMAP",),
    "mem_alloc": (),
    "pagelocked_empty": (),
    "memcpy_htod_async": (),
    "memcpy_dtoh_async": (),
}

POINTER = ctypes.c_void_p


class Error(Exception):
    """As PyCUDA has it, above its other errors."""


class FakePyCuda:
    """The module pycuda.driver.

    Args:
        integrated: whether the GPU shares the host's memory.
    """

    Error = Error

    def __init__(self, integrated: bool = False) -> None:
        self._library = ctypes.CDLL(str(shared_library("libcuda")))
        self._library.fake_reset(int(integrated))
        self._stack = threading.local()
        module = self

        class Device:
            def __init__(self, index: int) -> None:
                self._index = ctypes.c_int()
                module._call("cuDeviceGet", ctypes.byref(self._index), index)

            @staticmethod
            def count() -> int:
                number = ctypes.c_int()
                module._call("cuDeviceGetCount", ctypes.byref(number))
                return number.value

            def name(self) -> str:
                text = ctypes.create_string_buffer(1024)
                module._call("cuDeviceGetName", text, 1024, self._index)
                return text.value.decode()

            def compute_capability(self) -> tuple[int, int]:
                major, minor = ctypes.c_int(), ctypes.c_int()
                module._call("cuDeviceComputeCapability", ctypes.byref(major), ctypes.byref(minor), self._index)
                return major.value, minor.value

            def get_attribute(self, attribute: int) -> int:
                value = ctypes.c_int()
                module._call("cuDeviceGetAttribute", ctypes.byref(value), attribute, self._index)
                return value.value

            def pci_bus_id(self) -> str:
                return "0000:65:00.0"

            def retain_primary_context(self) -> Context:
                handle = POINTER()
                module._call("cuDevicePrimaryCtxRetain", ctypes.byref(handle), self._index)
                return Context(handle, self._index)

        class Context:
            def __init__(self, handle: Any, index: Any) -> None:
                self._handle, self._index, self._valid = handle, index, True

            def push(self) -> None:
                module._call("cuCtxPushCurrent_v2", self._handle)
                module._contexts().append(self)

            @staticmethod
            def pop() -> None:
                assert module._contexts(), "pop() without push()"
                module._call("cuCtxPopCurrent_v2", ctypes.byref(POINTER()))
                module._contexts().pop()

            def detach(self) -> None:
                assert self._valid, "detach() twice"
                self._valid = False
                module._library.cuDevicePrimaryCtxRelease_v2(self._index)

        class Stream:
            def __init__(self, flags: int = 0) -> None:
                module._require_context()
                handle = POINTER()
                module._call("cuStreamCreate", ctypes.byref(handle), flags)
                self.handle = handle.value

            def synchronize(self) -> None:
                module._call("cuStreamSynchronize", POINTER(self.handle))

        class DeviceAllocation:
            def __init__(self, size: int) -> None:
                module._require_context()
                self._address = POINTER()
                self._context: Any = module._contexts()[-1]
                module._call("cuMemAlloc_v2", ctypes.byref(self._address), ctypes.c_size_t(size))

            def __int__(self) -> int:
                assert self._address.value is not None
                return self._address.value

            def free(self) -> None:
                if self._context is None:
                    raise Error("device_allocation::free failed: invalid resource handle")
                if self._context._valid:
                    module._require_context()
                    module._library.cuMemFree_v2(self._address)  # PyCUDA only warns when it fails
                self._context = None

        class PagelockedHostAllocation:
            def __init__(self, size: int, flags: int) -> None:
                module._require_context()
                self._address = POINTER()
                self._valid = True
                module._call("cuMemHostAlloc", ctypes.byref(self._address), ctypes.c_size_t(size), flags)
                self.__array_interface__ = {
                    "version": 3, "shape": (size,), "typestr": "|u1", "data": (self._address.value, False),
                }  # fmt: skip

            def get_device_pointer(self) -> int:
                address = POINTER()
                module._call("cuMemHostGetDevicePointer_v2", ctypes.byref(address), self._address, 0)
                assert address.value is not None
                return address.value

            def free(self) -> None:
                assert self._valid, "free() twice"
                self._valid = False
                module._library.cuMemFreeHost(self._address)

        class device_attribute:  # noqa: N801 - PyCUDA's own name
            INTEGRATED = 18
            MULTIPROCESSOR_COUNT = 16

        class host_alloc_flags:  # noqa: N801
            DEVICEMAP = 2

        self.Device, self.Context, self.Stream = Device, Context, Stream
        self.DeviceAllocation, self.PagelockedHostAllocation = DeviceAllocation, PagelockedHostAllocation
        self.device_attribute, self.host_alloc_flags = device_attribute, host_alloc_flags

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            text = "an illegal memory access was encountered" if code == 700 else f"error {code}"
            raise Error(f"{name} failed: {text}")

    def _contexts(self) -> list[Any]:
        if not hasattr(self._stack, "contexts"):
            self._stack.contexts = []
        contexts: list[Any] = self._stack.contexts
        return contexts

    def _require_context(self) -> None:
        if not self._contexts():
            raise Error("explicit_context_dependent failed: invalid device context - no currently active context?")

    def init(self) -> None:
        """As PyCUDA has it."""
        self._call("cuInit", 0)

    def mem_alloc(self, size: int) -> Any:
        """As PyCUDA has it."""
        return self.DeviceAllocation(size)

    def pagelocked_empty(self, shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray:
        """As PyCUDA has it; the array's base is the allocation."""
        assert order == "C"
        assert dtype == np.uint8, "so that the array's base is the allocation"
        (size,) = shape
        return np.asarray(self.PagelockedHostAllocation(size, mem_flags))

    def memcpy_htod_async(self, dest: int, src: np.ndarray, stream: Any = None) -> None:
        """As PyCUDA has it."""
        assert src.flags.c_contiguous
        size = ctypes.c_size_t(src.nbytes)
        self._call("cuMemcpyHtoDAsync_v2", POINTER(dest), POINTER(src.ctypes.data), size, POINTER(stream.handle))

    def memcpy_dtoh_async(self, dest: np.ndarray, src: int, stream: Any = None) -> None:
        """As PyCUDA has it."""
        assert dest.flags.c_contiguous
        assert dest.flags.writeable
        size = ctypes.c_size_t(dest.nbytes)
        self._call("cuMemcpyDtoHAsync_v2", POINTER(dest.ctypes.data), POINTER(src), size, POINTER(stream.handle))
