# SPDX-License-Identifier: Apache-2.0
"""Measures the four systems of the paper's tables on a split: depth errors of every frame, verification of every pair.

Source: sections 4.2 and 4.3. Frames whose box shows no face are left out, as the paper leaves out frames in which its
cropping does not work.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from facedepth_edge.bench.machine import cpu_name
from facedepth_edge.errors import ArtifactError, InputError
from train.checkpoint import current_commit
from train.data.batches import Batch
from train.data.crops_set import generator_note
from train.data.packed import PackedSet
from train.data.pairs import PairList, read_pairs
from train.data.subsets import is_frontal
from train.paper_metrics import IMAGE_SUMS, level_from_relative, sums_of_images
from train.report.measurement import (
    REGIONS,
    SOURCES,
    SYSTEMS,
    UNKNOWN,
    VERIFIER,
    FrameList,
    Measured,
    PairScores,
    Samples,
    file_sha256,
)
from train.restore import TrainedNetwork
from train.start import training_stages
from train.validation import batches_of
from train.verification import verification_input
from train.weights import network_from_weights

SPLIT = "test"
# Which task trained each of them: a file under another one's name is refused.
TASKS = {"paper": "cgan", "autoencoder": "autoencoder", "pix2pix": "pix2pix", "cui": "cui", VERIFIER: "verification"}
SAMPLE_FRAMES = 8
SAMPLE_VISIBLE = 0.9  # a picture's face is hardly occluded
PAIRS_AT_ONCE = 4096


class Verifier(Protocol):
    """The Siamese network in two halves, so that a frame is embedded once for all its pairs."""

    def embed(self, x: Tensor) -> Tensor:
        """Return (B, 256) of (B, 1, H, W)."""

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """Return (B,) logits of "same" of two (B, 256)."""


# (B, 1, H, W) relative z and (B, 1, H, W) bool valid -> the verifier's input
Prepare = Callable[[Tensor, Tensor], Tensor]


def choose_samples(data: PackedSet, indices: np.ndarray, count: int = SAMPLE_FRAMES) -> np.ndarray:
    """Choose frames for pictures by a fixed rule that looks at no network's answer.

    The subjects are spread evenly over the split's, ascending; A1 and A2 take turns; of the subject's frames in that
    subset with at least SAMPLE_VISIBLE of the face visible, the middle one. A choice without such a frame is left out.

    Args:
        data: The packed set.
        indices: (n,) positions to choose from, ascending.
        count: Most frames.

    Returns:
        (k,) int64 positions, k <= count, each once.
    """
    meta = data.meta[indices]
    subjects = np.unique(meta["subject"])
    frontal = is_frontal(meta)
    chosen: list[int] = []
    for place in range(count):
        subject = subjects[place * len(subjects) // count]
        fits = (meta["subject"] == subject) & (frontal == (place % 2 == 0)) & (meta["visible"] >= SAMPLE_VISIBLE)
        candidates = [int(index) for index in indices[fits] if int(index) not in chosen]
        if candidates:
            chosen.append(candidates[len(candidates) // 2])
    return np.array(chosen, dtype=np.int64)


@torch.no_grad()
def measure_systems(
    data: PackedSet,
    systems: Mapping[str, nn.Module],
    verifier: Verifier,
    prepare: Prepare,
    pairs: PairList,
    about: dict[str, Any],
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Measured:
    """Measure the systems on the test split.

    The verifier sees the original depth with its holes, and generated depth with none: a network answers everywhere,
    and what the camera failed to measure is not known when its answer is used.

    Args:
        data: The packed set.
        systems: A generator for each name of SYSTEMS, in inference mode, on `device`.
        verifier: The Siamese network, in inference mode, on `device`.
        prepare: Turns depth into the verifier's input.
        pairs: The pair list; its positions are of faces of the test split, `same` as the subjects are.
        about: What is measured, kept as it is.
        device: Where the networks are.
        progress: Show a progress bar on stderr.

    Returns:
        The measurement.

    Raises:
        InputError: A pair is of a frame that is not measured or has a wrong `same`, or a network answers NaN.
    """
    indices = data.indices(SPLIT, faces_only=True)
    row_of = {int(index): row for row, index in enumerate(indices)}
    a, b = (_rows(side, row_of, data) for side in (pairs.first, pairs.second))
    people = data.meta["subject"][indices]
    if not np.array_equal(people[a] == people[b], pairs.same):
        rule = "same where, and only where, both frames show one subject"
        raise InputError.of("pair list", "another answer", rule, "Write the pair list again for this set.")
    shape = (len(SYSTEMS), len(indices))
    sums = {region: {name: np.zeros(shape) for name in IMAGE_SUMS} for region in REGIONS}
    embeddings: dict[str, list[Tensor]] = {source: [] for source in SOURCES}
    wanted = choose_samples(data, indices)
    samples: dict[int, dict[str, np.ndarray]] = {}
    first = 0
    with tqdm(total=len(indices), desc="measuring", unit="frame", disable=not progress) as bar:
        for chosen, batch in batches_of(data, indices, device):
            rows = slice(first, first + len(chosen))
            depths = {name: systems[name](batch.face)["depth"].float() for name in SYSTEMS}
            _add_sums(sums, rows, depths, batch)
            embeddings["original"].append(verifier.embed(prepare(batch.depth, batch.valid)))
            everywhere = torch.ones_like(batch.valid)
            for name, depth in depths.items():
                embeddings[name].append(verifier.embed(prepare(depth, everywhere)))
            for position in np.flatnonzero(np.isin(chosen, wanted)):
                samples[int(chosen[position])] = _sample(int(position), depths, batch)
            first += len(chosen)
            bar.update(len(chosen))
    similarity = np.stack([_similarity(verifier, torch.cat(embeddings[source]), a, b) for source in SOURCES])
    meta = data.meta[indices]
    frames = FrameList(*(meta[name].astype(np.int32) for name in ("sequence", "frame", "subject")))
    scores = PairScores(pairs.cell, a, b, pairs.same, similarity)
    return Measured(about, frames, sums, scores, _samples_from(data, wanted, samples, row_of))


def measure_files(
    data: PackedSet,
    models: Path,
    pairs: Path,
    origin: str | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Measured:
    """Measure the systems whose weights lie in a folder.

    Args:
        data: The packed set.
        models: Folder with NAME.safetensors for each name of SYSTEMS and for VERIFIER.
        pairs: The pair list, a CSV file of this set's frames.
        origin: Where the pictures come from, as `describe_data` takes it.
        device: Where the networks run.
        progress: Show a progress bar on stderr.

    Returns:
        The measurement, its `about` complete.

    Raises:
        ArtifactError: Weights are missing, damaged, of another system, or not all for depth along the same line.
        InputError: The pair list breaks a rule, a network answers NaN, or the rays to the heads are not known.
    """
    pair_list = read_pairs(pairs, data)
    trained = {name: _open_model(models / f"{name}.safetensors", task, data) for name, task in TASKS.items()}
    along = _common_along(models, trained)
    about = {
        "data": describe_data(data, origin),
        "models": {name: _describe_model(models, name, network) for name, network in trained.items()},
        "pairs": {"file": pairs.name, "sha256": file_sha256(pairs), "count": len(pair_list)},
        "depth_along": along,
        "commit": current_commit(),
        "torch": torch.__version__,
        "machine": _machine(device),
    }
    networks = {name: network.network.to(device) for name, network in trained.items()}
    verifier: Any = networks.pop(VERIFIER)
    turned = data.with_depth_along(along)
    return measure_systems(turned, networks, verifier, verification_input, pair_list, about, device, progress)


def describe_data(data: PackedSet, origin: str | None = None) -> dict[str, Any]:
    """Say which data set is measured, and where its pictures come from.

    A set's layout does not tell: the renderer writes rendered faces in the layouts of Pandora and of Biwi. So a set is
    called Pandora or Biwi only where the caller says that it is, `synthetic` where the renderer's note is in its
    dataset.json or rendered.json, or the caller says so, and else `unknown`, which is taken for none of the paper's
    data sets.

    Args:
        data: The packed set.
        origin: One of ORIGINS but UNKNOWN, or None where the caller does not say.

    Raises:
        InputError: The caller says Pandora or Biwi of a set that the renderer wrote.
    """
    note = generator_note(data.crops.root)
    if note is not None and origin not in (None, "synthetic"):
        rule = f"synthetic: {note[0]} says that the renderer wrote this set"
        raise InputError.of("origin", str(origin), rule, "Leave --origin out.")
    faces, every = data.indices(SPLIT, faces_only=True), data.indices(SPLIT)
    return {
        "name": data.crops.root.resolve().name,
        "origin": "synthetic" if note is not None else origin or UNKNOWN,
        "key": data.key,
        "split": SPLIT,
        "frames": len(faces),
        "frames_without_face": len(every) - len(faces),
        "subjects": len(np.unique(data.meta["subject"][faces])),
        "sequences": len(np.unique(data.meta["sequence"][faces])),
    }


def _open_model(path: Path, task: str, data: PackedSet) -> TrainedNetwork:
    trained = network_from_weights(path)
    if trained.config.task.name != task:
        got, rule = f"a network of the task {trained.config.task.name}", f"one of the task {task}"
        raise ArtifactError.of(str(path), got, rule, "Put the right file under this name.")
    if trained.input_px != data.crops.box_px:
        got, rule = f"a network for {trained.input_px} px", f"{data.crops.box_px} px, as the data has"
        raise ArtifactError.of(str(path), got, rule, "Train it on this size.")
    return trained


def _common_along(models: Path, trained: Mapping[str, TrainedNetwork]) -> str:
    """Return along what all networks learnt depth, the axis or the ray: one table compares one kind of depth."""
    found = {name: network.config.data.depth_along for name, network in trained.items()}
    odd = next((name for name in found if found[name] != found[SYSTEMS[0]]), None)
    if odd is not None:
        got, rule = f"depth along the {found[odd]}", f"along the {found[SYSTEMS[0]]}, as {SYSTEMS[0]}.safetensors has"
        fix = "Train all five with the same data.depth_along."
        raise ArtifactError.of(str(models / f"{odd}.safetensors"), got, rule, fix)
    return found[SYSTEMS[0]]


def _describe_model(models: Path, name: str, trained: TrainedNetwork) -> dict[str, Any]:
    return {
        "file": f"{name}.safetensors",
        "sha256": file_sha256(models / f"{name}.safetensors"),
        "architecture": trained.architecture,
        "stages": training_stages(trained),
        "commit": trained.commit,
    }


def _machine(device: torch.device | str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    model = cpu_name() or platform.processor() or platform.machine()
    return f"{platform.system()} {platform.machine()}, {model}, {torch.get_num_threads()} threads"


def _rows(side: np.ndarray, row_of: Mapping[int, int], data: PackedSet) -> np.ndarray:
    missing = [int(index) for index in side if int(index) not in row_of]
    if missing:
        inside = 0 <= missing[0] < len(data.meta)
        got = f"frame {data.crops.frames[missing[0]].frame_id}" if inside else f"position {missing[0]}"
        rule = f"frames of the {SPLIT} split that show a face"
        raise InputError.of("pair list", got, rule, "Write the pair list again for this set.")
    return np.array([row_of[int(index)] for index in side], dtype=np.int64)


def _add_sums(sums: dict[str, dict[str, np.ndarray]], rows: slice, depths: Mapping[str, Tensor], batch: Batch) -> None:
    truth, valid, head = (plane[:, 0].cpu().numpy() for plane in (batch.depth, batch.valid, batch.head))
    for region, where in (("all", valid), ("head", valid & head)):
        for system, name in enumerate(SYSTEMS):
            try:
                result = sums_of_images(depths[name][:, 0].cpu().numpy(), truth, where)
            except InputError as error:
                raise InputError(f"{name}: {error}") from error
            for key, values in result.items():
                sums[region][key][system, rows] = values


def _sample(position: int, depths: Mapping[str, Tensor], batch: Batch) -> dict[str, np.ndarray]:
    def plane(tensor: Tensor) -> np.ndarray:
        return tensor[position, 0].cpu().numpy()

    valid = plane(batch.valid)
    return {
        "gray": np.clip(np.rint(level_from_relative(plane(batch.face))), 0, 255).astype(np.uint8),
        "truth": np.where(valid, np.rint(level_from_relative(plane(batch.depth))), 0).astype(np.uint8),
        "valid": valid,
        "head": plane(batch.head),
        "depth": np.stack(
            [np.clip(np.rint(level_from_relative(plane(depths[name]))), 0, 255).astype(np.uint8) for name in SYSTEMS]
        ),
    }


def _samples_from(
    data: PackedSet, wanted: np.ndarray, samples: Mapping[int, dict[str, np.ndarray]], row_of: Mapping[int, int]
) -> Samples:
    side = data.crops.box_px
    empty = {"gray": np.uint8, "truth": np.uint8, "valid": np.bool_, "head": np.bool_}
    planes: dict[str, np.ndarray] = {name: np.zeros((0, side, side), dtype) for name, dtype in empty.items()}
    depth = np.zeros((len(SYSTEMS), 0, side, side), np.uint8)
    if len(wanted):
        planes = {name: np.stack([samples[int(index)][name] for index in wanted]) for name in empty}
        depth = np.stack([samples[int(index)]["depth"] for index in wanted], axis=1)
    rows = np.array([row_of[int(index)] for index in wanted], dtype=np.int64)
    return Samples(rows, is_frontal(data.meta[wanted]), depth=depth, **planes)


def _similarity(verifier: Verifier, embedding: Tensor, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    parts = []
    for first in range(0, len(a), PAIRS_AT_ONCE):
        sides = (torch.from_numpy(rows[first : first + PAIRS_AT_ONCE]).to(embedding.device) for rows in (a, b))
        parts.append(torch.sigmoid(verifier.compare(*(embedding[rows] for rows in sides)).float()).cpu().numpy())
    result = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not np.isfinite(result).all():
        raise InputError.of(VERIFIER, "NaN or infinity", "finite similarity", "Check the network and its input.")
    return result
