# SPDX-License-Identifier: Apache-2.0
"""The input and the outputs of one batch in the GPU's memory; the outputs in one block, so that one copy brings all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from facedepth_edge.cuda import DeviceView, Session
from facedepth_edge.spec import ModelSpec

ALIGNMENT_BYTES = 256  # what TensorRT asks of every tensor's address; ONNX Runtime asks for no more


class DeviceBuffers:
    """Memory on the GPU that a network reads and writes; it belongs to its maker and never moves.

    ``input`` is (batch, channels, height, width) float32, C-contiguous. ``output`` has each of the spec's outputs,
    float32, C-contiguous, at ``output_offsets`` in ``output_block``.

    Args:
        session: where to allocate; its context is current.
        spec: the model's.
        output_shapes: each output's shape without the batch.
        batch: how many faces.

    Raises:
        CudaError: there is not enough memory; nothing is kept.
    """

    def __init__(
        self, session: Session, spec: ModelSpec, output_shapes: Mapping[str, tuple[int, ...]], batch: int
    ) -> None:
        offsets, end = {}, 0
        for name in spec.outputs.names:
            offsets[name] = end
            size = batch * int(np.prod(output_shapes[name])) * np.dtype(np.float32).itemsize
            end += -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        shape = (batch, spec.input.channels, *spec.input_hw)
        self._face = session.device_buffer(shape, np.float32)
        try:
            self.output_block = session.device_buffer((end,), np.uint8)
        except BaseException:
            self._face.close()
            raise
        self.output_offsets: Mapping[str, int] = offsets
        self.input = DeviceView(self._face.address, shape, np.float32)
        self.output: Mapping[str, DeviceView] = {
            name: DeviceView(self.output_block.address + offset, (batch, *output_shapes[name]), np.float32)
            for name, offset in offsets.items()
        }

    def close(self) -> None:
        """Free the memory; a second call does nothing."""
        self._face.close()
        self.output_block.close()


def no_input(spec: ModelSpec) -> DeviceView:
    """Return the input of a backend without buffers: no faces, at no address."""
    return DeviceView(0, (0, spec.input.channels, *spec.input_hw), np.float32)
