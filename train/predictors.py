# SPDX-License-Identifier: Apache-2.0
"""Whatever gives depth for frames of a set: networks, files of predictions, and the two trivial answers.

A predictor is called with positions in the set and their batch, and returns `depth` (B, 1, H, W) relative z, NaN where
it has no answer, and `mask` and `validity` where it has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from facedepth_edge.artifacts import open_artifact
from facedepth_edge.errors import ArtifactError, InputError
from facedepth_edge.ray_depth import along_axis
from facedepth_edge.spec import DEPTH_ALONG, DepthScale, MaskOutput, Preprocessing, ValidityOutput
from train.data.batches import Batch
from train.data.packed import PackedSet
from train.networks import NETWORKS, Siamese, probabilities
from train.validation import batches_of, spread_indices
from train.weights import network_from_file

Predictor = Callable[[np.ndarray, Batch], dict[str, np.ndarray]]
MEAN_FACE_FRAMES = 4000


@dataclass(frozen=True)
class TrivialAnswers:
    """What the training split says before any picture is looked at.

    Args:
        plane: Mean z over all head pixels.
        mean_face: (H, W) mean z at each pixel over the frames in which it shows the head; `plane` where none does.
        mean_mask: (H, W) bool, the pixels that show the head in at least half of the frames.
    """

    plane: float
    mean_face: np.ndarray
    mean_mask: np.ndarray

    def plane_predictor(self, indices: np.ndarray, batch: Batch) -> dict[str, np.ndarray]:
        """Answer with one depth for every pixel."""
        return {"depth": np.full(tuple(batch.depth.shape), self.plane, dtype=np.float32)}

    def mean_face_predictor(self, indices: np.ndarray, batch: Batch) -> dict[str, np.ndarray]:
        """Answer with the mean face and the mean mask."""
        shape = tuple(batch.depth.shape)
        return {
            "depth": np.broadcast_to(self.mean_face.astype(np.float32), shape),
            "mask": np.broadcast_to(self.mean_mask.astype(np.float32), shape),
        }


def trivial_answers(data: PackedSet) -> TrivialAnswers:
    """Average the training split's heads, of at most MEAN_FACE_FRAMES frames spread over it.

    Args:
        data: The packed set.

    Raises:
        InputError: The split has no measured head pixel.
    """
    total: np.ndarray | float = 0.0
    count: np.ndarray | float = 0.0
    heads: np.ndarray | float = 0.0
    seen = 0
    for _, batch in batches_of(data, spread_indices(data, "train", MEAN_FACE_FRAMES)):
        head = batch.head.numpy()[:, 0]
        where = batch.valid.numpy()[:, 0] & head
        total = total + np.where(where, batch.depth.numpy()[:, 0].astype(np.float64), 0).sum(axis=0)
        count = count + where.sum(axis=0)
        heads = heads + head.sum(axis=0)
        seen += len(head)
    total, count = np.asarray(total), np.asarray(count)
    if not count.sum():
        fix = "Give a data set with labelled heads."
        raise InputError.of(str(data.crops.root), "no measured head pixel in the training split", "some", fix)
    plane = float(total.sum() / count.sum())
    mean_face = np.where(count > 0, total / np.maximum(count, 1), plane)
    return TrivialAnswers(plane, mean_face, np.asarray(heads) >= seen / 2)


def predictors_from_model(path: Path) -> dict[str, Predictor]:
    """Return the predictors of a model.

    Args:
        path: A checkpoint or published weights (.pt, .safetensors: the network in PyTorch), or an artifact's folder
            (every ONNX file in it).

    Returns:
        Name to predictor.

    Raises:
        ArtifactError: The file or the artifact cannot be used, or its network gives no depth.
    """
    if path.is_dir():
        return _artifact_predictors(path)
    trained = network_from_file(path)
    if isinstance(trained.network, Siamese):  # every other network of NETWORKS gives depth
        depth_networks = ", ".join(name for name, kind in NETWORKS.items() if kind is not Siamese)
        rule = f"a network that gives depth: one of {depth_networks}"
        got = f"a checkpoint of {trained.architecture}, which compares two faces"
        raise ArtifactError.of(str(path), got, rule, "Give another model; train.report measures verification.")
    network, scale = trained.network, DepthScale(along=trained.config.data.depth_along)

    def predict(indices: np.ndarray, batch: Batch) -> dict[str, np.ndarray]:
        with torch.no_grad():
            found = {name: value.numpy() for name, value in probabilities(network(batch.face)).items()}
        return _along_axis(found, batch, scale)

    return {f"{path.parent.name}/{path.name}": predict}


@dataclass(frozen=True)
class Thresholds:
    """Probability above which an answer counts as yes.

    Args:
        validity: A face is usable.
        mask: A pixel is head.
    """

    validity: float = ValidityOutput().threshold
    mask: float = MaskOutput().threshold


def thresholds_of_model(path: Path) -> Thresholds:
    """Return a model's thresholds: an artifact's own, the defaults of a checkpoint.

    Args:
        path: As for predictors_from_model.
    """
    if not path.is_dir():
        return Thresholds()
    outputs = open_artifact(path).spec.outputs
    return Thresholds((outputs.validity or ValidityOutput()).threshold, (outputs.mask or MaskOutput()).threshold)


def _artifact_predictors(folder: Path) -> dict[str, Predictor]:
    artifact = open_artifact(folder)
    names = artifact.spec.outputs.names
    keys = [key for key in ("depth", "mask", "validity") if getattr(artifact.spec.outputs, key) is not None]
    files = sorted(file for file in artifact.spec.files if file.endswith(".onnx") and artifact.has(file))
    if not files:
        raise ArtifactError.of(str(folder), "no ONNX file", "at least one", "Export the model again.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    predictors: dict[str, Predictor] = {}
    for file in files:
        session = onnxruntime.InferenceSession(artifact.read(file), options, providers=["CPUExecutionProvider"])

        def predict(
            indices: np.ndarray, batch: Batch, session: onnxruntime.InferenceSession = session
        ) -> dict[str, np.ndarray]:
            answers = session.run(list(names), {artifact.spec.input.name: batch.face.numpy()})
            return _along_axis(dict(zip(keys, answers, strict=True)), batch, artifact.spec.depth_scale)

        predictors[f"{artifact.spec.name} {file.removesuffix('.onnx')}"] = predict
    return predictors


def _along_axis(outputs: dict[str, np.ndarray], batch: Batch, scale: DepthScale) -> dict[str, np.ndarray]:
    """Turn depth along the rays into depth along the axis, as the runtime does; the batch's depth must be along it."""
    if scale.along == "axis":
        return outputs
    pre = Preprocessing()
    rays, distances = batch.ray_xy.tolist(), batch.distance_mm.tolist()
    depth = [
        along_axis(one[0], tuple(ray), distance_mm, scale.half_range_mm, (pre.reach_x_mm, pre.reach_y_mm))
        for one, ray, distance_mm in zip(outputs["depth"], rays, distances, strict=True)
    ]
    return {**outputs, "depth": np.clip(np.stack(depth)[:, None], -1.0, 1.0)}


def predictor_from_file(path: Path, data: PackedSet) -> Predictor:
    """Return the predictor of a file of predictions, as other programs write them.

    Args:
        path: An .npz with `frame` (n,) text, each `<sequence %03d>/<frame %06d>`, and `depth` (n, H, W) float, relative
            z ((depth in mm - D) / 160; any offset is fine where only shape counts), NaN where there is no answer; and,
            where that is depth along the ray to the head and not along the axis, `along`, the text ray.
        data: The packed set that the frames are of.

    Returns:
        A predictor that answers NaN for frames that the file lacks.

    Raises:
        InputError: The file cannot be read, or its arrays do not fit.
    """
    rule = "an .npz with frame (n,) text and depth (n, H, W) float"
    fix = "Write it again."
    if not path.is_file():
        raise InputError.of(str(path), "no such file", rule, "Check the path.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            frames, depth, along = archive["frame"], archive["depth"], str(archive.get("along", "axis"))
    except (OSError, ValueError, KeyError) as error:
        raise InputError.of(str(path), str(error), rule, fix) from error
    size = data.crops.box_px
    if along not in DEPTH_ALONG:
        raise InputError.of(f"{path}: along", along, f"one of {', '.join(DEPTH_ALONG)}", fix)
    fits = frames.ndim == 1 and frames.dtype.kind == "U" and depth.dtype.kind == "f"
    if not fits or depth.shape != (len(frames), size, size):
        got = f"frame {frames.shape} {frames.dtype}, depth {depth.shape} {depth.dtype}"
        raise InputError.of(str(path), got, f"{rule}, H = W = {size}", fix)
    rows = {str(frame): row for row, frame in enumerate(frames)}
    known = {entry.frame_id for entry in data.crops.frames}
    unknown = sorted(set(rows) - known)
    if unknown or len(rows) != len(frames):
        got = f"frame {unknown[0]}" if unknown else "a frame twice"
        raise InputError.of(str(path), got, f"frames of {data.crops.root}, each once", fix)

    def predict(indices: np.ndarray, batch: Batch) -> dict[str, np.ndarray]:
        result = np.full(tuple(batch.depth.shape), np.nan, dtype=np.float32)
        for position, index in enumerate(indices):
            row = rows.get(data.crops.frames[index].frame_id)
            if row is not None:
                result[position, 0] = depth[row]
        return _along_axis({"depth": result}, batch, DepthScale(along=along))

    return predict
