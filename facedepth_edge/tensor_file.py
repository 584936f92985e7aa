# SPDX-License-Identifier: Apache-2.0
"""Reads .safetensors files with NumPy alone: a device need not have the library that writes them.

The format: 8 bytes, the header's length, little-endian; the header, JSON, which gives each tensor's dtype, shape and
place; the tensors' bytes, one after another.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DTYPES = {"F16": "<f2", "F32": "<f4"}
LENGTH_BYTES = 8
NOTES = "__metadata__"


def split_tensor_file(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Split a file into its header and the tensors' bytes.

    Raises:
        ValueError: the header does not end within the file, or is no JSON object.
    """
    end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    if not LENGTH_BYTES < end <= len(content):
        raise ValueError(f"a header that ends at byte {end} of {len(content)}")
    header = json.loads(content[LENGTH_BYTES:end].decode())
    if not isinstance(header, dict):
        raise ValueError(f"a header that is a {type(header).__name__}")
    return header, content[end:]


def tensors_of(header: dict[str, Any], data: bytes) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of a split file by name, as float32.

    Raises:
        ValueError: a tensor is not of 16 or 32 bits, or its bytes do not fit its shape or lie outside the file.
    """
    tensors = {}
    for name, entry in header.items():
        if name == NOTES:
            continue
        try:
            dtype = np.dtype(DTYPES[entry["dtype"]])
            shape = tuple(int(side) for side in entry["shape"])
            start, end = (int(place) for place in entry["data_offsets"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"tensor {name}: {error!r}") from error
        if not (0 <= start <= end <= len(data) and end - start == math.prod(shape) * dtype.itemsize):
            raise ValueError(f"tensor {name} of {shape} in bytes {start} to {end} of {len(data)}")
        tensors[name] = np.frombuffer(data[start:end], dtype).reshape(shape).astype(np.float32)
    return tensors
