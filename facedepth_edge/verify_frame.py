# SPDX-License-Identifier: Apache-2.0
"""Takes the demo frame a GPU's whole way and compares with the CPU's crop on the same network.

The golden faces are ready crops, so they do not test the rest of a frame's way: its copy, the header, the crop's
kernel, memory that CPU and GPU share, the CUDA graph and its replay. Here DevicePath, which every frame of EdgeDepth
goes through, does all of that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from facedepth_edge.artifacts import Artifact
from facedepth_edge.backends.base import Backend
from facedepth_edge.demo_frame import DemoFrame, load_demo_frame
from facedepth_edge.device_path import DevicePath
from facedepth_edge.errors import BackendUnavailable, InputError
from facedepth_edge.face_crop import FaceSampler
from facedepth_edge.frame_path import FaceRequest, NetworkOutput, locate_faces
from facedepth_edge.verify import LIMITS, UNTIL_VERIFIED, FaceCheck, compare_faces, run_faces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facedepth_edge.backends.base import DeviceBackend
    from facedepth_edge.spec import ModelSpec

AGAINST = "CPU"
CROP_LIMITS_LEVELS = {"native": 0.05, "opencv": 1.05}
"""The CPU's way -> how far a pixel of the crop, and the crop's contrast, may be from it in gray levels. The kernel and
the native crop are each within 0.01 of the steps in float64, OpenCV's is within 1. Depth alone would not do: a crop
that is 2 pixels of the frame beside the right one moves `edge`'s depth by 1 mm, less than INT8 may differ."""

HEADS = ((0.0, 0.0, 1.0), (60.0, -40.0, 0.8), (-80.0, 40.0, 1.5))
"""(right px, down px, times farther) than the demo's head; the second box leaves the frame. `edge`'s depth differs by
28 mm and more between any two, so an answer of another run cannot pass."""


@dataclass(frozen=True)
class FrameForm:
    """A form of the demo frame that the kernel reads by code of its own.

    Args:
        what: its name.
        channel: the one that is taken for gray; None: all, in colour.
        wide: uint16 of ten bits; half as bright, so that a wrong scale is compared and not refused as too bright.
        step: takes every step-th row and column; with 8 a box is smaller than the network's input and is enlarged.
    """

    what: str
    channel: int | None = None
    wide: bool = False
    step: int = 1

    def of(self, frame: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the frame in this form."""
        thin = frame[:: self.step, :: self.step]
        seen: NDArray[Any] = thin if self.channel is None else thin[:, :, self.channel]
        return seen.astype(np.uint16) * 2 if self.wide else seen


_MAX_VALUE = 1023.0  # of ten bits
_COLOUR = FrameForm("colour")
_RUNS: tuple[tuple[FrameForm, tuple[int, ...]], ...] = (
    (_COLOUR, (0,)),
    (_COLOUR, (1,)),
    (_COLOUR, (2,)),  # TensorRT's graph is captured here
    (_COLOUR, (0,)),
    (_COLOUR, (1,)),
    (_COLOUR, (0, 1, 2)),
    (_COLOUR, (2,)),
    (FrameForm("gray", channel=1), (1,)),
    (FrameForm("gray uint16", channel=1, wide=True), (0,)),
    (FrameForm("colour uint16", wide=True), (2,)),
    (FrameForm("small", step=8), (0,)),
)
"""(form, which of HEADS in one batch), in this order."""


@dataclass(frozen=True)
class FrameFace(FaceCheck):
    """One face of the frame on the GPU's way against the CPU's crop; ``face`` counts them in their order."""

    what: str
    """The frame's form, and the batch where there is one."""
    crop_levels: float
    """Largest difference of a pixel of the crop."""
    contrast_levels: float
    """Difference of the crop's contrast, which tells a covered lens."""

    def __str__(self) -> str:
        return worst_of([self])


@dataclass(frozen=True)
class DevicePathCheck:
    """What the GPU's way made of the demo frame.

    Args:
        faces: all that were run, in order.
        crop: the CPU's way of the crop that they are held against, "native" or "opencv".
        why_no_graph: why kernel and network did not replay as one CUDA graph; empty where they did.
    """

    faces: Sequence[FrameFace]
    crop: str
    why_no_graph: str

    @property
    def ok(self) -> bool:
        """Whether every face is within the limits."""
        return not self.bad

    @property
    def bad(self) -> list[FrameFace]:
        """The faces past the limits."""
        return [face for face in self.faces if not face.ok]

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values, null for what is not a finite number."""
        faces = [face.as_json() for face in self.faces]
        limit = CROP_LIMITS_LEVELS[self.crop]
        graph = self.why_no_graph
        return {"ok": self.ok, "crop": self.crop, "crop_limit_levels": limit, "graph_why_not": graph, "faces": faces}

    def lines(self) -> list[str]:
        """Return the differences for people: the largest of each, then the faces that are past the limits."""
        graph = f"no CUDA graph of ours: {self.why_no_graph}" if self.why_no_graph else "replayed as one CUDA graph"
        return [
            f"frame: {len(self.faces)} faces cropped on the GPU against the CPU's {self.crop} crop: "
            f"{worst_of(self.faces)}  {'ok' if self.ok else 'FAIL'}",
            *[f"frame: face {face.face}, {face.what}: {face}  FAIL" for face in self.bad],
            f"frame: {graph}",
            f"frame limits: crop and contrast {CROP_LIMITS_LEVELS[self.crop]:g} gray levels, the others as above",
        ]


def worst_of(faces: Sequence[FrameFace]) -> str:
    """Return the largest difference of each kind in one line; NaN where one is."""
    crop, contrast, mean_mm = (
        np.max([getattr(face, name) for face in faces]) for name in ("crop_levels", "contrast_levels", "mean_mm")
    )
    ious = [face.mask_iou for face in faces if face.mask_iou is not None]
    validities = [face.validity for face in faces if face.validity is not None]
    return (
        f"crop {crop:.3f} and contrast {contrast:.3f} gray levels, mean {mean_mm:.3f} mm"
        + (f", mask IoU {np.min(ious):.4f}" if ious else "")
        + (f", validity {np.max(validities):.4f}" if validities else "")
    )


def check_device_path(artifact: Artifact, backend: Backend) -> DevicePathCheck | None:
    """Take the demo frame through DevicePath, one head at a time, as a batch and in other forms, and compare.

    The network is a fork of the backend's, so the backend stays as it is.

    Args:
        artifact: the model.
        backend: opened with it.

    Returns:
        What was found; None where the backend computes in the host's memory: there the crop is the CPU's own.

    Raises:
        BackendUnavailable: the kernel cannot be compiled or loaded here, a call of CUDA failed, or a crop is far too
            bright.
        ArtifactError: the demo frame is damaged.
    """
    if backend.memory != "cuda":
        return None
    on_gpu, sampler = cast("DeviceBackend", backend), FaceSampler()
    taken, why_no_graph = _take_frames(artifact.spec, on_gpu, load_demo_frame(), sampler)
    faces = _compare(artifact, on_gpu, taken, CROP_LIMITS_LEVELS[sampler.crop])
    return DevicePathCheck(faces, sampler.crop, why_no_graph)


@dataclass(frozen=True)
class _TakenFace:
    """One face of a frame that went the GPU's way, with what the CPU makes of the same box; all copies."""

    what: str  # the frame's form, and the batch where there is one
    gpu_crop: NDArray[np.float32]  # (1, h, w), as the network takes it; so is the next
    cpu_crop: NDArray[np.float32]
    gpu_contrast_levels: float
    cpu_contrast_levels: float
    answers: dict[str, NDArray[np.float32]]  # of the network for the GPU's crop, by the spec's names


def _take_frames(
    spec: ModelSpec, backend: DeviceBackend, demo: DemoFrame, sampler: FaceSampler
) -> tuple[list[_TakenFace], str]:
    """Take all of _RUNS through DevicePath; returns the faces in order, and why there is no CUDA graph."""
    camera = dataclasses.replace(demo.camera, max_value=_MAX_VALUE)
    taken = []
    with closing(backend.fork()) as own, closing(DevicePath(own, spec)) as path:
        for form, heads in _RUNS:
            what = form.what if len(heads) == 1 else f"{form.what}, batch of {len(heads)}"
            located = locate_faces(
                form.of(demo.frame),
                [request_of(demo, HEADS[head], form.step) for head in heads],
                camera=camera,
                depth=None,
                average="median",
                spec=spec,
            )
            boxes = [face.box for face in located.faces]
            try:
                outputs, _, _ = path.run(located.frame, boxes, _MAX_VALUE)
            except InputError as error:  # of a crop that is too bright; the frame itself is not
                rule = "a crop as the CPU's"
                raise BackendUnavailable.of(f"demo frame, {what}", str(error), rule, UNTIL_VERIFIED) from error
            for box, output, gpu_crop in zip(boxes, outputs, _input_of(own), strict=True):
                cpu_crop = np.empty_like(gpu_crop)
                levels = sampler.sample_into(cpu_crop[0], located.frame, box, spec.preprocessing, _MAX_VALUE)
                answers = _named(spec, output)
                taken.append(_TakenFace(what, gpu_crop, cpu_crop, output.contrast_levels, levels, answers))
        return taken, path.why_no_graph


def _compare(
    artifact: Artifact, backend: DeviceBackend, taken: Sequence[_TakenFace], limit_levels: float
) -> list[FrameFace]:
    """Hold crops and contrasts against the CPU's, and the answers against the same network's for the CPU's crops."""
    spec = artifact.spec
    got = {name: np.stack([face.answers[name] for face in taken]) for name in spec.outputs.names}
    reference = run_faces(backend, np.stack([face.cpu_crop for face in taken]))
    checks = compare_faces(artifact, got, reference, LIMITS[backend.precision], AGAINST)
    faces = []
    for check, face in zip(checks, taken, strict=True):
        crop = float(np.abs(face.gpu_crop - face.cpu_crop).max()) / spec.preprocessing.scale
        contrast = abs(face.gpu_contrast_levels - face.cpu_contrast_levels)
        ok = check.ok and crop <= limit_levels and contrast <= limit_levels
        values = asdict(check) | {"ok": ok}
        faces.append(FrameFace(**values, what=face.what, crop_levels=crop, contrast_levels=contrast))
    return faces


def request_of(demo: DemoFrame, head: tuple[float, float, float], step: int = 1) -> FaceRequest:
    """Return what is asked about one of HEADS in a frame of every so many pixels."""
    (x, y), (right_px, down_px, farther) = demo.head_center, head
    return FaceRequest(((x + right_px) / step, (y + down_px) / step), demo.distance_mm * farther * step)


def _input_of(backend: DeviceBackend) -> NDArray[np.float32]:
    """Copy what the kernel wrote for the network: (batch, 1, h, w) in the host's memory."""
    session, view = backend.session, backend.input
    crops = np.empty(view.shape, np.float32)
    with session.current():
        session.download(crops, view.address, backend.stream)
        session.wait(backend.stream)
    return crops


def _named(spec: ModelSpec, output: NetworkOutput) -> dict[str, NDArray[np.float32]]:
    """Return one face's answers by the spec's names, copied from the path's buffer."""
    parts = ((spec.outputs.depth, output.relative_z), (spec.outputs.mask, output.mask))
    named = {part.name: np.array(value)[None] for part, value in parts if part is not None and value is not None}
    if spec.outputs.validity is not None:
        named[spec.outputs.validity.name] = np.array([output.validity], np.float32)
    return named
