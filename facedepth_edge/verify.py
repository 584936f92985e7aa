# SPDX-License-Identifier: Apache-2.0
"""Runs a model's golden faces through a backend and compares with PyTorch's stored answers, in millimetres.

golden.npz travels with the model, so no torch is needed; with torch and reference.pt2 the live reference can be asked
too. The faces are ready crops; on a GPU verify_frame.py looks at the frame's way to them.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from facedepth_edge.artifacts import GOLDEN_FILE, Artifact
from facedepth_edge.backends.base import Backend, open_backend
from facedepth_edge.errors import ArtifactError
from facedepth_edge.json_values import finite_or_none
from facedepth_edge.spec import ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

FACE = "face"
_RANGE_SLACK = 1e-3  # for rounding
UNTIL_VERIFIED = "Do not use this device's depth until facedepth-edge verify passes."
_EXPORT = "Install the package again, or export the model again with python -m export."


@dataclass(frozen=True)
class Limits:
    """How far one face may be from the reference.

    Args:
        mean_mm: mean absolute difference of depth over the face's map. No face's error can have grown by more than
            that, and 3 mm is what INT8 is allowed.
        mask_iou: intersection over union of the two masks, at least.
        validity: absolute difference of the probability.
    """

    mean_mm: float
    mask_iou: float
    validity: float


LIMITS = {
    "fp32": Limits(mean_mm=0.05, mask_iou=0.995, validity=0.002),
    "fp16": Limits(mean_mm=0.5, mask_iou=0.98, validity=0.02),
    "int8": Limits(mean_mm=3.0, mask_iou=0.95, validity=0.1),
}
"""Ours. Measured with `edge` in ONNX Runtime on the golden faces, worst of six: FP32 below 0.001 mm; INT8 0.78 mm, mask
0.991. FP16 has eleven bits: one step of depth near 1 is 0.08 mm."""


@dataclass(frozen=True)
class FaceCheck:
    """One face of a backend against a reference."""

    face: int
    against: str
    """The reference: "stored", "live", or the "CPU" (verify_frame)."""
    mean_mm: float
    largest_mm: float
    mask_iou: float | None
    """None where the model has no mask."""
    validity: float | None
    """Absolute difference; None where the model does not say."""
    ok: bool

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values, null for what is not a finite number."""
        return {name: finite_or_none(value) for name, value in asdict(self).items()}


def load_golden_faces(artifact: Artifact) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """Read the model's golden faces.

    Args:
        artifact: the model.

    Returns:
        (faces (N, 1, h, w) float32 as the network takes them, output name -> the reference's (N, ...) float32).

    Raises:
        ArtifactError: there are none, the file is damaged, or its arrays are not what the spec says.
    """
    where = str(artifact.folder / GOLDEN_FILE)
    try:
        with np.load(io.BytesIO(artifact.read(GOLDEN_FILE)), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError.of(where, str(error), "arrays that numpy.load can read", _EXPORT) from error
    spec = artifact.spec
    faces = arrays.pop(FACE, np.empty(0, np.float32))
    shapes = {name: (len(faces), *spec.output_shapes(name)[0]) for name in arrays}
    right = faces.shape[1:] == (spec.input.channels, *spec.input_hw) and len(faces) > 0 and faces.dtype == np.float32
    right = right and arrays.keys() == set(spec.outputs.names)
    if not right or any(value.shape != shapes[name] or value.dtype != np.float32 for name, value in arrays.items()):
        found = {name: (value.shape, str(value.dtype)) for name, value in {FACE: faces, **arrays}.items()}
        rule = f"{FACE} and {', '.join(spec.outputs.names)}, float32, one entry for each face"
        raise ArtifactError.of(where, found, rule, _EXPORT)
    _require_ranges(where, spec, arrays)
    return faces, arrays


def _require_ranges(where: str, spec: ModelSpec, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Check that the reference's answers are what the spec calls them.

    Answers are compared by the names in the spec, so one that has depth and mask the wrong way round would agree with
    itself. But relative depth is below 0 wherever a face is nearer than the head centre, and a probability never is.
    NaN passes here, but fails the comparison.
    """
    outputs = spec.outputs
    kinds = ((outputs.depth, "depth", -1.0), (outputs.mask, "mask", 0.0), (outputs.validity, "validity", 0.0))
    for part, role, lowest in kinds:
        if part is None:
            continue
        low, high = float(arrays[part.name].min()), float(arrays[part.name].max())
        if low < lowest - _RANGE_SLACK or high > 1 + _RANGE_SLACK:
            rule = f"{lowest:g} to 1, because spec.json says that it is the {role}"
            fix = f"Check outputs.{role}.name in spec.json, or export the model again with python -m export."
            raise ArtifactError.of(f"{where}: {part.name}", f"values from {low:.3g} to {high:.3g}", rule, fix)


def run_faces(backend: Backend, faces: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Run faces through a backend, one at a time as the camera brings them.

    Args:
        backend: on the host or on a GPU.
        faces: (N, 1, h, w) float32, as the network takes them.

    Returns:
        Output name -> (N, ...) float32, fresh arrays.
    """
    answers: dict[str, list[NDArray[np.float32]]] = {}
    run = _run_on_gpu if backend.memory == "cuda" else _run_on_host
    backend.reserve(1)
    for face in faces:
        for name, value in run(backend, face).items():
            answers.setdefault(name, []).append(value)
    return {name: np.concatenate(values) for name, values in answers.items()}


def _run_on_host(backend: Any, face: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    backend.input[0] = face
    backend.run()
    return {name: np.array(value) for name, value in backend.output.items()}


def _run_on_gpu(backend: Any, face: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    session, stream = backend.session, backend.stream
    answers = {name: np.empty(view.shape, np.float32) for name, view in backend.output.items()}
    with session.current():
        session.upload(backend.input.address, np.ascontiguousarray(face), stream)
        backend.enqueue(stream)
        for name, view in backend.output.items():
            session.download(answers[name], view.address, stream)
        session.wait(stream)
    return answers


def compare_faces(
    artifact: Artifact,
    got: Mapping[str, NDArray[np.float32]],
    reference: Mapping[str, NDArray[np.float32]],
    limits: Limits,
    against: str,
) -> list[FaceCheck]:
    """Compare the outputs of a backend with a reference's, face by face; what is not a number fails.

    Args:
        artifact: the model.
        got: output name -> (N, ...).
        reference: the same of the reference.
        limits: what is allowed.
        against: the reference's name.

    Returns:
        One check for each face.
    """
    spec, checks = artifact.spec, []
    depth, mask, validity = spec.outputs.depth, spec.outputs.mask, spec.outputs.validity
    for index in range(len(reference[depth.name])):
        difference_mm = np.abs(got[depth.name][index].astype(np.float64) - reference[depth.name][index])
        difference_mm *= spec.depth_scale.half_range_mm
        mean_mm, largest_mm = float(difference_mm.mean()), float(difference_mm.max())
        ok, iou, away = mean_mm <= limits.mean_mm, None, None
        if mask is not None:
            got_head, reference_head = (values[mask.name][index] > mask.threshold for values in (got, reference))
            union = int((got_head | reference_head).sum())
            iou = int((got_head & reference_head).sum()) / union if union else 1.0
            ok = ok and iou >= limits.mask_iou and bool(np.isfinite(got[mask.name][index]).all())
        if validity is not None:
            away = float(np.abs(got[validity.name][index] - reference[validity.name][index]).max())
            ok = ok and away <= limits.validity
        checks.append(FaceCheck(index, against, mean_mm, largest_mm, iou, away, bool(ok)))
    return checks


def check_golden_faces(artifact: Artifact, backend: Backend) -> list[FaceCheck]:
    """Run the golden faces through a backend and compare with the stored answers.

    Args:
        artifact: the model.
        backend: opened with it.

    Returns:
        One check for each face.

    Raises:
        ArtifactError: there are no golden faces, or they are damaged.
    """
    faces, reference = load_golden_faces(artifact)
    return compare_faces(artifact, run_faces(backend, faces), reference, LIMITS[backend.precision], "stored")


def check_live(artifact: Artifact, backend: Backend) -> list[FaceCheck]:
    """Compare a backend with the live reference on faces that no file has answers for: the golden ones, mirrored.

    Args:
        artifact: the model, with reference.pt2.
        backend: opened with it.

    Returns:
        One check for each face.

    Raises:
        BackendUnavailable: torch or reference.pt2 is missing.
        ArtifactError: the golden faces are damaged.
    """
    mirrored = np.ascontiguousarray(load_golden_faces(artifact)[0][..., ::-1])
    live = open_backend("torch", artifact, "fp32", None)
    try:
        reference = run_faces(live, mirrored)
    finally:
        live.close()
    return compare_faces(artifact, run_faces(backend, mirrored), reference, LIMITS[backend.precision], "live")


def table_of(checks: Sequence[FaceCheck]) -> list[str]:
    """Return the checks as lines of a table with a head."""
    lines = ["face  against  mean mm   largest mm  mask IoU  validity  "]
    for check in checks:
        iou = "-" if check.mask_iou is None else f"{check.mask_iou:.4f}"
        validity = "-" if check.validity is None else f"{check.validity:.4f}"
        lines.append(
            f"{check.face:4d}  {check.against:7s}  {check.mean_mm:7.3f}   {check.largest_mm:10.3f}  {iou:>8s}  "
            f"{validity:>8s}  {'ok' if check.ok else 'FAIL'}"
        )
    return lines
