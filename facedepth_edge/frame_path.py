# SPDX-License-Identifier: Apache-2.0
"""What happens to one frame: checks, box, crop, network.

`FramePath` is the interface. `HostPath` serves backends in host memory; `device_path.DevicePath` serves those on a GPU.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from facedepth_edge.backends.base import Backend
from facedepth_edge.box import Box, box_from_head
from facedepth_edge.camera import Camera
from facedepth_edge.errors import ConfigError, FaceDepthError, InputError
from facedepth_edge.face_crop import FaceSampler, check_frame
from facedepth_edge.head import DistanceSource, check_head_center, decide_distance
from facedepth_edge.spec import ModelSpec, Outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FaceRequest(NamedTuple):
    """What the caller says about one face."""

    head_center: Any
    distance_mm: Any = None
    head_width_px: Any = None


class Face(NamedTuple):
    """One face's place in the frame, checked."""

    head_center: tuple[float, float]
    distance_mm: float
    distance_source: DistanceSource
    box: Box


class FrameFaces(NamedTuple):
    """A checked frame with the faces that are asked for."""

    frame: NDArray[Any]
    camera: Camera
    faces: list[Face]


def locate_faces(
    frame: Any,
    requests: Sequence[FaceRequest],
    *,
    camera: Camera | None,
    depth: NDArray[Any] | None,
    average: str,
    spec: ModelSpec,
) -> FrameFaces:
    """Check a frame and what is said about its faces, and compute their boxes.

    Args:
        frame: as face_crop.check_frame takes it.
        requests: one for each face.
        camera: the camera, or None for the default one of the frame's size.
        depth: a depth image of the frame's size in mm, or None.
        average: "median" or "mean", how the depth image is read.
        spec: the model's; its preprocessing gives the box's reach.

    Returns:
        The frame as a view of (H, W) or (H, W, 3), the camera, and the faces in the requests' order.

    Raises:
        InputError: the first rule that is broken; with several faces its text and its face_index name which.
    """
    frame = check_frame(frame, None if camera is None else camera.max_value)
    size_hw = (frame.shape[0], frame.shape[1])
    if camera is None:
        camera = Camera.default_for(size_hw[1], size_hw[0])
    camera.check_size(size_hw)
    reach = (spec.preprocessing.reach_x_mm, spec.preprocessing.reach_y_mm)
    faces = []
    for index, request in enumerate(requests):
        try:
            center = check_head_center(request.head_center, size_hw)
            distance_mm, source = decide_distance(
                center,
                size_hw,
                camera,
                distance_mm=request.distance_mm,
                depth=depth,
                head_width_px=request.head_width_px,
                average=average,
            )
        except FaceDepthError as error:
            if len(requests) == 1:
                raise
            raise error_of_face(error, index) from error
        faces.append(
            Face(center, distance_mm, source, box_from_head(center, distance_mm, (camera.fx, camera.fy), reach))
        )
    return FrameFaces(frame, camera, faces)


def error_of_face(error: FaceDepthError, index: int) -> FaceDepthError:
    """Return an error of one of several faces of a call as one whose text and face_index say which."""
    told = type(error)(f"face {index}: {error}")
    told.face_index = index
    return told


class NetworkOutput(NamedTuple):
    """The network's raw outputs for one face: views of a buffer, good until this thread's next run."""

    relative_z: NDArray[np.float32]  # (h, w), along what the spec's depth_scale says; not yet kept within -1..1
    mask: NDArray[np.float32] | None  # (h, w) probability
    validity: float | None
    contrast_levels: float
    """Standard deviation of the crop in gray levels, 0..127.5."""

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[np.float32]], names: Outputs, index: int, contrast_levels: float
    ) -> NetworkOutput:
        """Take one face out of a batch.

        Args:
            arrays: output name -> (batch, 1, h, w), or (batch, 1) or (batch,) for validity; host.
            names: the spec's outputs.
            index: the face's, in the batch.
            contrast_levels: its crop's.

        Returns:
            Views of the arrays.
        """
        mask, validity = names.mask, names.validity
        return cls(
            relative_z=arrays[names.depth.name][index, 0],
            mask=None if mask is None else arrays[mask.name][index, 0],
            validity=None if validity is None else float(arrays[validity.name].reshape(-1)[index]),
            contrast_levels=contrast_levels,
        )


class FramePath(Protocol):
    """Take frames through the crop and one network; any thread may."""

    @property
    def crop(self) -> str:
        """What crops: "native", "opencv" or "cuda"."""
        ...

    @property
    def max_batch(self) -> int:
        """The most faces that one run() takes."""
        ...

    @property
    def why_no_graph(self) -> str:
        """Why a frame does not replay as one CUDA graph; empty where nothing speaks against it, and on a CPU."""
        ...

    def run(
        self, frame: Any, boxes: Sequence[Box], max_value: float | None
    ) -> tuple[list[NetworkOutput], float, float]:
        """Crop the boxes and run the network on them as one batch.

        Args:
            frame: (H, W) or (H, W, 3), as check_frame returns it; a path on a GPU takes a DeviceFrame too.
            boxes: 1 to max_batch of them.
            max_value: the largest value of a uint16 pixel.

        Returns:
            (one output for each box, milliseconds of the crop, milliseconds of the network).

        Raises:
            ConfigError: after close().
            InputError: uint16 pixels under a pixel of a crop are larger than max_value on average; its face_index is
                the box's.
        """
        ...

    def close(self) -> None:
        """Wait for the frames on their way, then let everything go; a second call does nothing."""
        ...


class _Lane:
    """What one thread owns: a backend with its buffers and a sampler with its own."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.sampler = FaceSampler()
        self.lock = threading.Lock()  # held while a frame is on its way, so that close() waits for it


class HostPath:
    """Take frames through a backend in host memory; each thread has its own buffers, made at its first frame."""

    why_no_graph = ""

    def __init__(self, backend: Backend, spec: ModelSpec) -> None:
        self._spec = spec
        lane = _Lane(backend)
        self._crop = lane.sampler.crop
        self._first: _Lane | None = lane
        self._local = threading.local()
        self._local.lane = lane
        self._lanes: weakref.WeakSet[_Lane] = weakref.WeakSet([lane])
        self._guard = threading.Lock()

    @property
    def crop(self) -> str:
        """What crops: "native" or "opencv"."""
        return self._crop

    @property
    def max_batch(self) -> int:
        """The most faces that one run() takes."""
        return self._lane().backend.max_batch

    def _lane(self) -> _Lane:
        lane: _Lane | None = getattr(self._local, "lane", None)
        if lane is not None and self._first is not None:
            return lane
        with self._guard:
            if self._first is None:
                raise closed_error()
            lane = self._local.lane = _Lane(self._first.backend.fork())
            self._lanes.add(lane)
        return lane

    def run(
        self, frame: NDArray[Any], boxes: Sequence[Box], max_value: float | None
    ) -> tuple[list[NetworkOutput], float, float]:
        """As FramePath.run(); the frame is in the host's memory."""
        lane = self._lane()
        with lane.lock:
            if self._first is None:  # close() came in between; it may hold the guard and wait for this lane
                raise closed_error()
            backend, sampler = lane.backend, lane.sampler
            started = time.perf_counter()
            backend.reserve(len(boxes))
            contrast_levels: list[float] = []
            try:
                for face, box in zip(backend.input, boxes, strict=True):
                    contrast_levels.append(
                        sampler.sample_into(face[0], frame, box, self._spec.preprocessing, max_value)
                    )
            except InputError as error:
                error.face_index = len(contrast_levels)
                raise
            cropped = time.perf_counter()
            backend.run()
            done = time.perf_counter()
            outputs = [
                NetworkOutput.from_arrays(backend.output, self._spec.outputs, index, levels)
                for index, levels in enumerate(contrast_levels)
            ]
        return outputs, (cropped - started) * 1e3, (done - cropped) * 1e3

    def close(self) -> None:
        """Wait for the frames on their way, then let every thread's buffers and the network go; again does nothing."""
        with self._guard:
            self._first = None
            lanes = list(self._lanes)
        for lane in lanes:
            with lane.lock:
                lane.backend.close()


def closed_error() -> ConfigError:
    """Build the error of a call after close()."""
    fix = "Make a new EdgeDepth, or call close() later."
    return ConfigError.of("EdgeDepth", "a call after close()", "an open EdgeDepth", fix)
