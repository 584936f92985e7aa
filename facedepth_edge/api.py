# SPDX-License-Identifier: Apache-2.0
"""EdgeDepth: a camera frame and a head centre in, a DepthResult in millimetres out."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from facedepth_edge.artifacts import Artifact, open_artifact
from facedepth_edge.backends.base import PRECISIONS, Backend, choose_backend, open_backend
from facedepth_edge.camera import Camera
from facedepth_edge.errors import ConfigError, InputError
from facedepth_edge.frame_path import FaceRequest, FrameFaces, FramePath, HostPath, error_of_face, locate_faces
from facedepth_edge.native import find_native
from facedepth_edge.out_argument import check_out
from facedepth_edge.result import DepthResult
from facedepth_edge.result_writer import ResultWriter
from facedepth_edge.spec import ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facedepth_edge.argument_types import Frame, Number, Numbers, Point, Points
    from facedepth_edge.backends.base import DeviceBackend

_AVERAGES = ("median", "mean")
_WARM_UP_RUNS = 3
_WARM_UP_PX = 256  # the side of its frame, where the camera says none
MOST_THREADS = 1024


class EdgeDepth:
    """Estimate face depth with one model on one backend.

    Safe to call from several threads: each has buffers of its own. As a context manager it closes itself.

    Args:
        model: a bundled model's name, or the folder of an artifact.
        backend: "tensorrt", "onnxruntime", "torch", or "auto": the first of these that works. A named backend never
            falls back. "tensorrt" builds its engine where there is none yet, which takes minutes; "auto" never does.
        precision: "fp32", "fp16", "int8", or "auto": what suits the backend best among the model's files.
        camera: the camera's intrinsics; None: a 60 degree view along each frame's longer side, the optical axis in
            its middle.
        threads: host threads of the network, or None: the backend's default.
        depth_average: how a depth image is read around the head centre, "median", or "mean" as in the paper.
        self_test: first run the model's golden faces through the backend, as `facedepth-edge verify` does.

    Raises:
        ConfigError: an option is wrong, or the model has no such precision.
        ArtifactError: the model is missing, altered or breaks a rule.
        BackendUnavailable: the named backend, or every one, cannot run here, or the self-test failed.
    """

    def __init__(
        self,
        model: str | PathLike[str] = "edge",
        backend: str = "auto",
        precision: str = "auto",
        camera: Camera | None = None,
        threads: int | None = None,
        *,
        depth_average: str = "median",
        self_test: bool = False,
    ) -> None:
        _check_options(precision, camera, threads, depth_average)
        self._made_with: dict[str, Any] = {
            "model": model, "backend": backend, "precision": precision, "camera": camera, "threads": threads,
            "depth_average": depth_average, "self_test": self_test,
        }  # fmt: skip
        artifact = open_artifact(model)
        if isinstance(backend, str) and backend == "auto":
            chosen = choose_backend(artifact, precision, threads)
        else:
            chosen = open_backend(backend, artifact, precision, threads)
        self._spec = artifact.spec
        self._camera = camera
        self._average = depth_average
        self._writer = ResultWriter(self._spec)
        self._info = _describe(artifact, chosen)
        if self_test:
            from facedepth_edge.self_test import require_self_test

            require_self_test(artifact, chosen)
        self._on_gpu = chosen.memory == "cuda"
        self._path = _path_of(chosen, self._spec)
        self._info |= {"crop": self._path.crop, "crop_why_not": find_native()[1]}
        self._warm_up()

    def _warm_up(self) -> None:
        """Run a blank frame, so that the first real one does not pay for imports, buffers and kernels."""
        sides = (None, None) if self._camera is None else (self._camera.height, self._camera.width)
        height, width = (_WARM_UP_PX if side is None else side for side in sides)
        frame = np.zeros((height, width, 3), np.uint8)
        for _ in range(_WARM_UP_RUNS):
            self.predict(frame, (width / 2, height / 2), distance_mm=320.0)

    @property
    def info(self) -> dict[str, Any]:
        """What runs: model, version, folder, backend, provider, precision, threads and crop, all fit for JSON.

        "memory" is where frames are cropped, "host" or "cuda"; "why_not" lists what was passed over, with reasons;
        "crop" is "native", "opencv" or "cuda", and "crop_why_not" says why the native one is not there;
        "graph_why_not" says why a GPU does not replay a frame's kernel and network as one CUDA graph.
        """
        return {**self._info, "why_not": list(self._info["why_not"]), "graph_why_not": self._path.why_no_graph}

    @property
    def spec(self) -> ModelSpec:
        """What the model's spec.json says."""
        return self._spec

    def predict(
        self,
        frame: Frame,
        head_center: Point,
        *,
        distance_mm: Number | None = None,
        depth: NDArray[Any] | None = None,
        head_width_px: Number | None = None,
        out: DepthResult | NDArray[np.float32] | None = None,
    ) -> DepthResult:
        """Estimate the depth of one face.

        The head's distance is the first of: distance_mm; the median of the depth image's measured pixels in a 40 mm
        window around the head centre; head_width_px, also where that window has only holes; the camera's nominal
        distance.

        Args:
            frame: (H, W, 3) uint8 or uint16 BGR, (H, W) or (H, W, 1) uint8 or uint16 gray; host, any strides; uint16
                needs the camera's max_value. It is only read, and not kept. With a backend on a GPU also an object in
                that GPU's memory with __cuda_array_interface__, which is taken without a copy.
            head_center: (x, y) in pixels of the frame: the projection of the point midway between the ears (tragi);
                pixel i covers [i, i + 1). It must lie in the frame; the box around it need not.
            distance_mm: the z along the optical axis (not the range) of the face's surface around the head centre: the
                median over a window of 40 mm. The point midway between the ears, which a pose estimate gives, lies 73
                to 102 mm behind it: distance_from_head_point() turns one into the other.
            depth: (H, W) integers or floats of 16 bits or more, mm, registered to the frame; 0, negative, NaN and
                masked (numpy.ma) pixels are holes.
            head_width_px: the head's width between the ears (which do not count) in pixels, of a head that faces the
                camera; a turned head looks narrower, and so farther away than it is.
            out: a DepthResult of the same model, all of which is overwritten and which is returned; or a (h, w) float32
                array that becomes the result's depth_mm. None: everything is fresh.

        Returns:
            The depth, with its box, mask and validity. A face that the model finds unusable gives a result whose valid
            is False, not an error.

        Raises:
            UnmeasuredHead: an InputError: the depth image has only holes at the head, and no head_width_px is given.
            InputError: an argument breaks a rule; also a head centre outside the frame.
            ConfigError: after close().
        """
        started = time.perf_counter()
        request = FaceRequest(head_center, distance_mm, head_width_px)
        return self._predict_faces(started, frame, [request], depth, out)[0]

    def predict_batch(
        self,
        frame: Frame,
        head_centers: Points,
        *,
        distances_mm: Numbers | None = None,
        depth: NDArray[Any] | None = None,
        head_widths_px: Numbers | None = None,
    ) -> list[DepthResult]:
        """Estimate the depth of several faces in one frame.

        Args:
            frame: as for predict().
            head_centers: one (x, y) for each face.
            distances_mm: one for each face, None where it is not known.
            depth: as for predict(), for all faces.
            head_widths_px: one for each face, None where it is not known.

        Returns:
            One result for each face, in order; none for none.

        Raises:
            InputError: an argument breaks a rule, such as one head centre outside the frame; the text and the error's
                face_index say of which face. No face is then predicted: leave such heads out of the call, or give
                head_widths_px too where a depth image has only holes.
            ConfigError: after close().
        """
        started = time.perf_counter()
        count = _length(head_centers, "head_centers")
        distances = _one_each(distances_mm, count, "distances_mm")
        widths = _one_each(head_widths_px, count, "head_widths_px")
        requests = [FaceRequest(*values) for values in zip(head_centers, distances, widths, strict=True)]
        return self._predict_faces(started, frame, requests, depth)

    def _predict_faces(
        self,
        started: float,
        frame: Any,
        requests: Sequence[FaceRequest],
        depth: Any,
        out: DepthResult | NDArray[np.float32] | None = None,
    ) -> list[DepthResult]:
        """Take the faces of one call from the checks to their results; out is for a single one."""
        located = self._locate(frame, requests, depth)
        check_out(out, self._spec.output_hw)
        began = time.perf_counter()
        check_ms = (began - started) * 1e3
        results = []
        step = self._path.max_batch
        for first in range(0, len(requests), step):
            faces = located.faces[first : first + step]
            boxes = [face.box for face in faces]
            try:
                outputs, crop_ms, network_ms = self._path.run(located.frame, boxes, located.camera.max_value)
            except InputError as error:
                index, error.face_index = error.face_index, None
                if index is None or len(requests) == 1:
                    raise
                raise error_of_face(error, first + index) from error
            for output, face in zip(outputs, faces, strict=True):
                result = self._writer.write(output, located, face, out)
                since_check_ms = (time.perf_counter() - began) * 1e3
                result.timings_ms = {
                    "check": check_ms,
                    "crop": crop_ms,
                    "network": network_ms,
                    "result": since_check_ms - crop_ms - network_ms,
                    "total": check_ms + since_check_ms,
                }
                results.append(result)
            began = time.perf_counter()  # of the next faces
        return results

    def close(self) -> None:
        """Wait for the calls on their way in other threads, then let the network go; a second call does nothing."""
        self._path.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by the constructor's arguments: another process, or a copy, opens the model anew.

        The copy of a closed one is open; a model's relative path counts from where the copy is made.
        """
        return functools.partial(type(self), **self._made_with), ()

    def __enter__(self) -> EdgeDepth:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _locate(self, frame: Any, requests: Sequence[FaceRequest], depth: Any) -> FrameFaces:
        on_device: Any = None
        if self._on_gpu and not isinstance(frame, np.ndarray):
            from facedepth_edge.device_frame import DeviceFrame

            on_device = DeviceFrame(frame)
            frame = on_device.stand_in
        located = locate_faces(
            frame, requests, camera=self._camera, depth=depth, average=self._average, spec=self._spec
        )
        return located if on_device is None else located._replace(frame=on_device)


def _check_options(precision: Any, camera: Any, threads: Any, depth_average: Any) -> None:
    """Raise ConfigError for the first of EdgeDepth's options that breaks its rule; open_backend() checks the others."""
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise ConfigError.of("precision", precision, f"one of {', '.join(PRECISIONS)}", "Choose one of these.")
    if camera is not None and not isinstance(camera, Camera):
        raise ConfigError.of("camera", camera, "a Camera or None", "Give Camera(fx, fy) in pixels.")
    if threads is not None and (
        isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MOST_THREADS
    ):
        rule = f"a whole number from 1 to {MOST_THREADS}, or None"
        raise ConfigError.of("threads", threads, rule, "Leave it out if unsure.")
    if not isinstance(depth_average, str) or depth_average not in _AVERAGES:
        raise ConfigError.of("depth_average", depth_average, f"one of {', '.join(_AVERAGES)}", "Choose one of these.")


def _describe(artifact: Artifact, backend: Backend) -> dict[str, Any]:
    """Return what EdgeDepth.info says of a model and its backend."""
    return {
        "model": artifact.spec.name,
        "version": artifact.spec.version,
        "folder": str(artifact.folder),
        "backend": backend.name,
        "provider": backend.provider,
        "precision": backend.precision,
        "threads": backend.threads,
        "memory": backend.memory,
        "why_not": list(backend.notes),
    }


def _path_of(backend: Backend, spec: ModelSpec) -> FramePath:
    """Return the frame path for where the backend's input lies."""
    if backend.memory == "host":
        return HostPath(backend, spec)
    from facedepth_edge.device_path import DevicePath

    return DevicePath(cast("DeviceBackend", backend), spec)


def _length(values: object, where: str) -> int:
    try:
        return len(values)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError.of(where, values, "a list, one entry for each face", "Put it into a list.") from error


def _one_each(values: Numbers | None, count: int, where: str) -> Numbers:
    if values is None:
        return [None] * count
    if _length(values, where) != count:
        fix = "Give one for each head centre, None where it is not known."
        raise InputError.of(where, f"{len(values)} values", f"{count}, one for each head centre", fix)
    return values
