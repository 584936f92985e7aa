# SPDX-License-Identifier: Apache-2.0
"""A frame that is already in the GPU's memory, taken without a copy by `__cuda_array_interface__`."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from facedepth_edge.checks import MAX_FRAME_SIDE_PX
from facedepth_edge.cuda_driver import LEGACY_STREAM
from facedepth_edge.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facedepth_edge.cuda import Session

INTERFACE = "__cuda_array_interface__"
_FIX = "Give a CuPy array, a PyTorch CUDA tensor of uint8, or a NumPy array; copy it first if its pixels lie apart."
_SOME_STREAM = -1  # not a stream's handle: the producer does not say which stream it used


class DeviceFrame:
    """A frame (H, W) or (H, W, 3) in device memory, pixels of a row side by side; the owner keeps it alive.

    ``shape`` and ``dtype`` are as a NumPy array has them; ``row_bytes`` is from one row to the next.

    Args:
        frame: what the caller gave; a reference to it is kept, so that its memory stays.

    Raises:
        InputError: it has no such interface, or its layout cannot be read.
    """

    def __init__(self, frame: Any) -> None:
        self.owner = frame
        try:
            self._read(getattr(frame, INTERFACE, None))
        except InputError:
            raise
        except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:  # PyTorch's say why
            got = f"an interface that cannot be read ({type(error).__name__}: {error})"
            raise InputError.of("frame", got, f"{INTERFACE} of version 2 or 3", _FIX) from error

    def _read(self, interface: Any) -> None:
        if not isinstance(interface, dict):
            rule = f"a NumPy array, or an object with {INTERFACE}"
            raise InputError.of("frame", f"a {type(self.owner).__name__}", rule, _FIX)
        if interface.get("mask") is not None:
            raise InputError.of("frame", "an array with a mask", "one without", _FIX)
        if not isinstance(interface["typestr"], str):
            raise InputError.of("frame", f"typestr {interface['typestr']!r}", "a text", _FIX)
        self.dtype = np.dtype(interface["typestr"])
        shape = tuple(operator.index(size) for size in interface["shape"])
        if not 0 <= min(shape, default=0) <= max(shape, default=0) <= MAX_FRAME_SIDE_PX:
            raise InputError.of("frame", f"shape {shape}", f"sizes of 0 to {MAX_FRAME_SIDE_PX}", _FIX)
        item = self.dtype.itemsize
        dense = tuple(item * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        strides = tuple(operator.index(stride) for stride in interface.get("strides") or dense)
        if strides[1:] != dense[1:] or abs(strides[0] if strides else 0) >= 2**62:
            raise InputError.of("frame", f"strides {strides}", "pixels of a row side by side", _FIX)
        self.shape = shape[:2] if len(shape) == 3 and shape[2] == 1 else shape
        self.row_bytes = strides[0] if strides else 0
        self.address = operator.index(interface["data"][0] or 0)
        if self.address % item or self.row_bytes % item:  # the kernel reads whole pixels: a GPU faults on others
            got = f"address {self.address:#x} and rows of {self.row_bytes} bytes"
            raise InputError.of("frame", got, f"both multiples of {item} bytes, as {self.dtype} needs", _FIX)
        self._stream = _producer_stream(self.owner, interface)

    @property
    def stand_in(self) -> NDArray[Any]:
        """An array in host memory of the same shape and type for the checks that read no pixel; it takes no memory."""
        return np.broadcast_to(np.zeros((), self.dtype), self.shape)

    def require_gpu(self, session: Session) -> None:
        """Raise InputError unless the memory was allocated on the session's GPU; the session's context is current.

        The kernel reads the address as it is, and what cannot be read costs the context. Both indices are the driver's
        own, so CUDA_VISIBLE_DEVICES changes both alike.
        """
        index = session.driver.gpu_of(self.address)
        if index == session.index:
            return
        names = session.driver.device_names()
        got = "an address that CUDA does not know" if index is None else f"memory of {_gpu_text(index, names)}"
        rule = f"memory of {_gpu_text(session.index, names)}, where the network runs"
        fix = (
            f"Copy the frame to GPU {session.index} or into a NumPy array first, or start the process with the frame's "
            "GPU as the first in CUDA_VISIBLE_DEVICES; GPUs are counted from 0 among those that are visible."
        )
        raise InputError.of("frame", got, rule, fix)

    def wait_for_producer(self, session: Session) -> None:
        """Wait until the frame is written: for its stream, or for the whole context if the stream is unknown."""
        if self._stream == _SOME_STREAM:
            session.wait_for_everything()
        elif self._stream is not None:
            session.driver.wait_for_stream(self._stream)


def _gpu_text(index: int, names: list[str]) -> str:
    return f"GPU {index} ({names[index]})" if 0 <= index < len(names) else f"GPU {index}"


def _producer_stream(frame: Any, interface: Mapping[str, Any]) -> int | None:
    """Return the stream to wait for, None if the frame is complete.

    Version 2 of the interface has no entry for it. PyTorch gives version 2, and its convention is that a consumer works
    on the current stream, or after it.
    """
    if "stream" in interface:
        stream = interface["stream"]
        return None if stream is None else int(stream)
    torch: Any = sys.modules.get("torch")
    tensor: Any = getattr(torch, "Tensor", ())  # none yet while another thread imports PyTorch
    if isinstance(frame, tensor):
        return int(torch.cuda.current_stream(frame.device).cuda_stream) or LEGACY_STREAM
    return _SOME_STREAM
