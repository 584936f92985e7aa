# SPDX-License-Identifier: Apache-2.0
"""One thread's way for frames on a GPU: its buffers on both sides, the crop's kernel, and the graph of one face."""

from __future__ import annotations

import ctypes
import math
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from facedepth_edge.backends.base import DeviceBackend
from facedepth_edge.box import Box
from facedepth_edge.cuda import DeviceBuffer, HostBuffer, keep_for_ever
from facedepth_edge.cuda_driver import CudaError, Graph, Kernel
from facedepth_edge.cuda_kernels import CROP_KERNEL, CROP_SOURCE, compiled_kernel, find_nvcc
from facedepth_edge.device_frame import DeviceFrame
from facedepth_edge.errors import InputError
from facedepth_edge.face_crop import WHITE, require_within
from facedepth_edge.frame_path import NetworkOutput
from facedepth_edge.spec import ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER = np.dtype(
    [
        ("pixels", np.uint64),
        ("width", np.int32),
        ("height", np.int32),
        ("channels", np.int32),
        ("bytes_a_value", np.int32),
        ("row_bytes", np.int64),
        ("level", np.float64),
        ("scale", np.float64),
        ("offset", np.float64),
        ("box", np.float64, (8, 4)),
    ]
)
"""CropHeader in runtime/cuda/face_crop.cu, field for field."""
HEADER_BYTES = 512  # before the pixels, so that these begin aligned
FIRST_ROOM_BYTES = 4 << 20
"""What is set aside for the part of a frame at first: a box of 1,180 pixels square in colour. More is found when it is
needed, and the graph is captured again."""
STATISTICS = ("mean", "squares", "smallest", "largest")  # of each output row

_MAX_THREADS = 256  # kMaxThreads in face_crop.cu
_EAGER_RUNS = 2  # before the capture: TensorRT does the work of its first runs only then
_MOST_CAPTURES = 3  # tried: somebody else in the process may have disturbed one, as a wait for the whole device does
_RUNS_BETWEEN_CAPTURES = 30


class Lane:
    """What one thread owns: a backend with its stream, the buffers on both sides, the kernel and its graph.

    Args:
        backend: the thread's own.
        spec: the model's.

    Raises:
        BackendUnavailable: the kernel cannot be compiled or loaded, or there is not enough memory; nothing is kept.
    """

    def __init__(self, backend: DeviceBackend, spec: ModelSpec) -> None:
        self.backend = backend
        self.lock = threading.Lock()  # held while a frame is on its way, so that close() waits for it
        self.closed = False
        self._kept = False
        self.why_no_graph = backend.why_no_capture
        self._captures_left = 0 if self.why_no_graph else _MOST_CAPTURES
        self._spec = spec
        self._session = session = backend.session
        self._graph: Graph | None = None
        self._graph_address = 0
        self._runs_to_capture = _EAGER_RUNS
        height, width = spec.input_hw
        self._threads = min(-(-width // 32) * 32, _MAX_THREADS)
        with session.current(), ExitStack() as made:
            self._kernel = self._load_kernel()
            made.callback(self._kernel.close)
            statistics_bytes = backend.max_batch * height * len(STATISTICS) * np.dtype(np.float32).itemsize
            self._statistics = session.host_buffer(statistics_bytes)
            made.callback(self._statistics.close)
            self._staging = session.host_buffer(FIRST_ROOM_BYTES)
            made.callback(self._staging.close)
            # None where CPU and GPU share one memory: the kernel reads the host's buffer itself, which is a copy less.
            # That it is faster was never measured, and the GPU may not cache such memory.
            self._uploaded: DeviceBuffer | None = None
            if not session.gpu.integrated:
                self._uploaded = session.device_buffer((FIRST_ROOM_BYTES,), np.uint8)
            self._answers: dict[int, HostBuffer] = {}
            self._copies: dict[int, NDArray[np.uint8]] = {}
            made.pop_all()  # nothing failed: from now on close() lets them go

    def _load_kernel(self) -> Kernel:
        driver, architecture = self._session.driver, self._session.gpu.architecture
        try:
            return Kernel(driver, compiled_kernel(CROP_SOURCE, architecture), CROP_KERNEL)
        except CudaError as error:  # a cubin of another CUDA, or a damaged one
            if error.sticky:
                raise
        cubin = compiled_kernel(CROP_SOURCE, architecture, anew=True)
        try:
            return Kernel(driver, cubin, CROP_KERNEL)
        except CudaError as error:
            if error.sticky:
                raise
            fix = "Set CUDA_HOME to a toolkit no newer than the driver; facedepth-edge doctor shows both versions."
            rule = f"a driver that loads what {find_nvcc()} compiles"
            raise CudaError.of("crop kernel", str(error), rule, fix) from error

    def run(
        self, frame: NDArray[Any] | DeviceFrame, boxes: Sequence[Box], max_value: float | None
    ) -> tuple[list[NetworkOutput], float, float]:
        """Do what DevicePath.run() promises, except for the recovery; the caller holds the lock."""
        backend, session, stream = self.backend, self._session, self.backend.stream
        started = time.perf_counter()
        with session.current():
            backend.reserve(len(boxes))
            level = 1.0 if frame.dtype == np.uint8 else WHITE / float(max_value or WHITE)
            header = self._stage(frame, boxes, level)
            staged = time.perf_counter()
            if len(boxes) == 1:
                self._replay_or_enqueue(header)
            else:
                self._enqueue(header, len(boxes))
            answers, copy = self._answers_for(len(boxes))
            session.download(answers.array, backend.output_block.address, stream)
            session.wait(stream)
        np.copyto(copy, answers.array)  # outlives the lock: close() frees the page-locked memory
        done = time.perf_counter()
        summaries = self._summaries(len(boxes))
        if frame.dtype == np.uint16:
            for index, (_, largest) in enumerate(summaries):
                try:
                    require_within(largest, float(max_value or WHITE))
                except InputError as error:
                    error.face_index = index
                    raise
        return self._outputs(copy, summaries), (staged - started) * 1e3, (done - staged) * 1e3

    def _stage(self, frame: NDArray[Any] | DeviceFrame, boxes: Sequence[Box], level: float) -> int:
        """Put the header, and of a frame in host memory the pixels that the boxes need, where the kernel reads them.

        Returns:
            The header's address for the GPU.
        """
        height, width = frame.shape[:2]
        top, bottom = _needed([(box.y0, box.y1) for box in boxes], height)
        left, right = _needed([(box.x0, box.x1) for box in boxes], width)
        channels = frame.shape[2] if len(frame.shape) == 3 else 1
        item = frame.dtype.itemsize
        row_bytes = (right - left) * channels * item
        size = HEADER_BYTES
        on_device = isinstance(frame, DeviceFrame)
        if not on_device:
            size += (bottom - top) * row_bytes
        self._grow(size)
        address = self._staging.address if self._uploaded is None else self._uploaded.address
        array = self._staging.array
        if isinstance(frame, DeviceFrame):
            frame.require_gpu(self._session)
            frame.wait_for_producer(self._session)
            pixels = frame.address + top * frame.row_bytes + left * channels * item
            row_bytes = frame.row_bytes
        else:
            pixels = address + HEADER_BYTES
            shape = (bottom - top, right - left, *frame.shape[2:])
            np.copyto(array[HEADER_BYTES:size].view(frame.dtype).reshape(shape), frame[top:bottom, left:right])
        preprocessing = self._spec.preprocessing
        header = array[: HEADER.itemsize].view(HEADER)[0]
        header["pixels"], header["row_bytes"] = pixels, row_bytes
        header["width"], header["height"] = right - left, bottom - top
        header["channels"], header["bytes_a_value"] = channels, item
        header["level"], header["scale"], header["offset"] = level, preprocessing.scale, preprocessing.offset
        for index, box in enumerate(boxes):
            header["box"][index] = (box.x0 - left, box.y0 - top, box.x1 - left, box.y1 - top)
        if self._uploaded is not None:
            self._session.upload(address, array[:size], self.backend.stream)
        return address

    def _grow(self, size: int) -> None:
        """Make room for a larger part of a frame than ever before; half as much again, so that it happens seldom."""
        if size <= len(self._staging.array):
            return
        room = size + size // 2
        staging = self._session.host_buffer(room)
        try:
            uploaded = None if self._uploaded is None else self._session.device_buffer((room,), np.uint8)
        except BaseException:
            staging.close()
            raise
        self._staging.close()
        if self._uploaded is not None:
            self._uploaded.close()
        self._staging, self._uploaded = staging, uploaded

    def _enqueue(self, header: int, faces: int) -> None:
        backend = self.backend
        height, width = self._spec.input_hw
        addresses = [ctypes.c_void_p(each) for each in (header, backend.input.address, self._statistics.address)]
        self._kernel.launch((height, faces), self._threads, backend.stream.handle, *addresses, ctypes.c_int(width))
        backend.enqueue(backend.stream)

    def _replay_or_enqueue(self, header: int) -> None:
        """Run one face: as a graph once it was captured for this header's address, else step by step."""
        handle = self.backend.stream.handle
        if self._graph is not None and self._graph_address != header:
            self._graph.close()
            self._graph, self._runs_to_capture = None, _EAGER_RUNS
        if self._graph is None and self._captures_left and not self._runs_to_capture:
            self._capture(header)
        if self._graph is not None:
            self._graph.launch(handle)
        else:
            self._runs_to_capture = max(self._runs_to_capture - 1, 0)
            self._enqueue(header, 1)

    def _capture(self, header: int) -> None:
        """Capture one face; where that fails it is tried again some frames later, _MOST_CAPTURES times in all."""
        graph = Graph(self._session.driver)
        try:
            with self._session.capture(), graph.capture(self.backend.stream.handle):
                self._enqueue(header, 1)
        except CudaError as error:
            graph.close()
            if error.sticky:
                raise
            self._captures_left -= 1
            self._runs_to_capture = _RUNS_BETWEEN_CAPTURES
            self.why_no_graph = str(error)
        else:
            self._graph, self._graph_address = graph, header
            self._captures_left, self.why_no_graph = _MOST_CAPTURES, ""

    def _answers_for(self, faces: int) -> tuple[HostBuffer, NDArray[np.uint8]]:
        """Return the page-locked copy of the block that holds all outputs of so many faces, and an ordinary one."""
        if faces not in self._answers:
            size = self.backend.output_block.bytes
            self._answers[faces] = self._session.host_buffer(size)
            self._copies[faces] = np.empty(size, np.uint8)
        return self._answers[faces], self._copies[faces]

    def _summaries(self, faces: int) -> list[tuple[float, float]]:
        """Return each crop's standard deviation and largest value in gray levels, from those of its rows."""
        height, width = self._spec.input_hw
        rows = self._statistics.array.view(np.float32)[: faces * height * len(STATISTICS)]
        mean, squares, _, largest = np.moveaxis(rows.reshape(faces, height, len(STATISTICS)), 2, 0).astype(np.float64)
        scale, offset = self._spec.preprocessing.scale, self._spec.preprocessing.offset
        between = ((mean - mean.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) * width
        contrast_levels = np.sqrt((squares.sum(axis=1) + between) / (height * width)) / scale
        brightest = (largest.max(axis=1) - offset) / scale
        return list(zip(contrast_levels.tolist(), brightest.tolist(), strict=True))

    def _outputs(self, answers: NDArray[np.uint8], summaries: list[tuple[float, float]]) -> list[NetworkOutput]:
        arrays = {}
        for name, view in self.backend.output.items():
            first = self.backend.output_offsets[name]
            arrays[name] = answers[first : first + view.bytes].view(np.float32).reshape(view.shape)
        return [
            NetworkOutput.from_arrays(arrays, self._spec.outputs, index, contrast_levels)
            for index, (contrast_levels, _) in enumerate(summaries)
        ]

    def keep_network(self) -> None:
        """Keep what the network has on the GPU for ever, whatever the backend lets go: for a lost context.

        Its destructors would free addresses in the lost context, or in the next one, where they may be somebody else's.
        """
        if not self._kept:
            self._kept = True
            keep_for_ever(dict(vars(self.backend)))

    def close(self) -> None:
        """Let everything go but the network, which other lanes may have; the caller holds the lock."""
        self.closed = True
        with self._session.current():
            self._session.settle(self.backend.stream)  # a frame that failed may have left work on these buffers
            if self._graph is not None:
                self._graph.close()
            self._graph = None
            self._kernel.close()
            uploaded = () if self._uploaded is None else (self._uploaded,)
            for buffer in (self._statistics, self._staging, *uploaded, *self._answers.values()):
                buffer.close()
        self.backend.release()


def _needed(ranges: list[tuple[float, float]], size: int) -> tuple[int, int]:
    """Return the first pixel of one axis that the crops may read and the one after the last.

    Outside the frame its border is repeated, so at least the border's pixel is needed. One pixel more on each side is
    for the interpolation of a crop that grows.
    """
    first = min(max(math.floor(min(start for start, _ in ranges)) - 1, 0), size - 1)
    last = min(max(math.ceil(max(end for _, end in ranges)), first), size - 1)
    return first, last + 1
