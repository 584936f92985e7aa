# SPDX-License-Identifier: Apache-2.0
"""A frame that is already in the GPU's memory, taken without a copy by `__cuda_array_interface__`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from facedepth_edge.cuda_driver import LEGACY_STREAM
from facedepth_edge.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facedepth_edge.cuda_driver import Driver

INTERFACE = "__cuda_array_interface__"
_FIX = "Give a CuPy array, a PyTorch CUDA tensor of uint8, or a NumPy array; copy it first if its pixels lie apart."


class DeviceFrame:
    """A frame (H, W) or (H, W, 3) in device memory, pixels of a row side by side; the owner keeps it alive.

    ``shape`` and ``dtype`` are as a NumPy array has them; ``row_bytes`` is from one row to the next.

    Args:
        frame: what the caller gave; it is kept, so that its memory stays.
        where: the argument's name, for the error's text.

    Raises:
        InputError: it has no such interface, or its layout cannot be read.
    """

    def __init__(self, frame: Any, where: str = "frame") -> None:
        interface = getattr(frame, INTERFACE, None)
        if not isinstance(interface, dict):
            rule = f"a NumPy array, or an object with {INTERFACE}"
            raise InputError.of(where, f"a {type(frame).__name__}", rule, _FIX)
        self.owner = frame
        self.dtype = np.dtype(interface["typestr"])
        shape = tuple(int(size) for size in interface["shape"])
        item = self.dtype.itemsize
        dense = tuple(item * int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
        strides = tuple(interface.get("strides") or dense)
        if strides[1:] != dense[1:]:
            raise InputError.of(where, f"strides {strides}", "pixels of a row side by side", _FIX)
        self.shape = shape[:2] if len(shape) == 3 and shape[2] == 1 else shape
        self.row_bytes = int(strides[0]) if strides else 0
        self.address = int(interface["data"][0])
        self._stream = interface.get("stream", LEGACY_STREAM)  # without the entry: of version 2, which says nothing

    @property
    def stand_in(self) -> NDArray[Any]:
        """An array in host memory of the same shape and type for the checks that read no pixel; it takes no memory."""
        return np.broadcast_to(np.zeros((), self.dtype), self.shape)

    def wait_for_producer(self, driver: Driver) -> None:
        """Wait until the stream that writes the frame has done so; None in the interface means that it has."""
        if self._stream is not None:
            driver.wait_for_stream(int(self._stream))
