# SPDX-License-Identifier: Apache-2.0
"""The folder that a measurement of the four systems is kept in: scores.npz, verification.npz, samples.npz, about.json.

about.json names what was measured by hash (data, models, pair list) and the hashes of the three other files, and is
written last: a folder that was half written or changed afterwards is refused.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facedepth_edge.errors import InputError
from facedepth_edge.whole_file import whole_file
from train.paper_metrics import IMAGE_SUMS

FORMAT = 1
SYSTEMS = ("paper", "autoencoder", "pix2pix", "cui")
VERIFIER = "siamese"
REGIONS = ("all", "head")
SOURCES = ("original", *SYSTEMS)
ARRAY_FILES = ("scores.npz", "verification.npz", "samples.npz")
MEASURE_AGAIN = "Remove {folder} and measure again: python -m train.report --data DIR --measured {folder}."


@dataclass(frozen=True)
class Origin:
    """How the report speaks of data of one origin.

    Args:
        label: Over our columns.
        faces: In headings.
        sentence: What the figures are of and what they are not; `{data}` stands for the set and its name.
    """

    label: str
    faces: str
    sentence: str


UNKNOWN = "unknown"  # where nobody said where the pictures come from
ORIGINS = {
    "synthetic": Origin(
        "synthetic",
        "rendered faces",
        "Rendered (synthetic) faces, {data}. None of our figures is a figure on Pandora or Biwi.",
    ),
    "pandora": Origin("Pandora", "Pandora", "Pandora, {data}."),
    "biwi": Origin("Biwi", "Biwi", "Biwi, {data}."),
    UNKNOWN: Origin(
        "data of unknown origin",
        "faces of unknown origin",
        "The {data}, of unknown origin. Our figures are taken for no other set's.",
    ),
}


@dataclass(frozen=True)
class FrameList:
    """The frames that were measured, n of them.

    Args:
        sequence: (n,) int32.
        frame: (n,) int32, number of the frame in its sequence.
        subject: (n,) int32.
    """

    sequence: np.ndarray
    frame: np.ndarray
    subject: np.ndarray


@dataclass(frozen=True)
class PairScores:
    """What the verifier said of m pairs.

    Args:
        cell: (m,) text, the cell of table 2 that a pair belongs to.
        a: (m,) int64, rows of the FrameList.
        b: (m,) int64, likewise.
        same: (m,) bool, one person.
        similarity: (5, m) float32 probabilities of "same", on original depth and on each system's, as in SOURCES.
    """

    cell: np.ndarray
    a: np.ndarray
    b: np.ndarray
    same: np.ndarray
    similarity: np.ndarray


@dataclass(frozen=True)
class Samples:
    """A few frames for pictures, k of them; levels are those of the metrics, rounded.

    Args:
        rows: (k,) int64, rows of the FrameList.
        frontal: (k,) bool, of subset A1.
        gray: (k, H, W) uint8, the face that the networks saw.
        truth: (k, H, W) uint8 levels; 0 where not `valid`.
        valid: (k, H, W) bool, measured.
        head: (k, H, W) bool.
        depth: (4, k, H, W) uint8 levels, each system's, as in SYSTEMS.
    """

    rows: np.ndarray
    frontal: np.ndarray
    gray: np.ndarray
    truth: np.ndarray
    valid: np.ndarray
    head: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True)
class Measured:
    """A measurement, as read or as made.

    Args:
        about: What was measured: data, models, pairs, commit, torch, machine.
        frames: Which frames.
        sums: Region to name of IMAGE_SUMS to (4, n) float64, as in SYSTEMS.
        pairs: The verification.
        samples: The frames for pictures.
    """

    about: dict[str, Any]
    frames: FrameList
    sums: dict[str, dict[str, np.ndarray]]
    pairs: PairScores
    samples: Samples


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError.of(str(path), error.strerror or str(error), "a file", "Check the path.") from error
    return digest.hexdigest()


def hashes_of_files(models: Path, pairs: Path) -> dict[str, str]:
    """Return the hashes of what a measurement depends on: each system, the verifier, the pair list.

    Args:
        models: Folder with NAME.safetensors for each name of SYSTEMS and for VERIFIER.
        pairs: The pair list.

    Raises:
        InputError: One of them is missing.
    """
    paths = {name: models / f"{name}.safetensors" for name in (*SYSTEMS, VERIFIER)}
    return {name: file_sha256(path) for name, path in {**paths, "pairs": pairs}.items()}


def hashes_of_about(about: Mapping[str, Any]) -> dict[str, str]:
    """Return the same hashes as a measurement noted them."""
    return {
        **{name: about["models"][name]["sha256"] for name in (*SYSTEMS, VERIFIER)},
        "pairs": about["pairs"]["sha256"],
    }


def write_measured(folder: Path, measured: Measured) -> None:
    """Write a measurement; the same measurement gives the same bytes.

    Sums and similarities are kept as float32, counts as whole numbers: the tables print five digits.

    Args:
        folder: Where; made where it is missing, its files are replaced.
        measured: The measurement.

    Raises:
        InputError: The folder cannot be written.
    """
    whole = {"pixels", "delta_1", "delta_2", "delta_3", "raised_truth", "raised_depth"}
    scores: dict[str, np.ndarray] = dict(vars(measured.frames))
    for region, sums in measured.sums.items():
        for name, values in sums.items():
            kept = values[0] if name in ("pixels", "raised_truth") else values  # these are the same for all systems
            scores[f"{region}_{name}"] = kept.astype(np.uint32 if name in whole else np.float32)
    names, cell = np.unique(measured.pairs.cell, return_inverse=True)
    pairs = {
        "cells": names,
        "cell": cell.astype(np.uint8),
        "a": measured.pairs.a.astype(np.uint32),
        "b": measured.pairs.b.astype(np.uint32),
        "same": measured.pairs.same,
        "similarity": measured.pairs.similarity.astype(np.float32),
    }
    samples = dict(vars(measured.samples))
    for name in ("valid", "head"):
        samples[name] = np.packbits(samples[name], axis=-1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "about.json").unlink(missing_ok=True)
        for name, arrays in zip(ARRAY_FILES, (scores, pairs, samples), strict=True):
            np.savez_compressed(folder / name, **arrays)
        about = {
            **measured.about,
            "format": FORMAT,
            "files": {name: file_sha256(folder / name) for name in ARRAY_FILES},
        }
        with whole_file(folder / "about.json") as file:
            file.write((json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
    except OSError as error:
        rule = "a folder that can be written"
        raise InputError.of(str(folder), error.strerror or str(error), rule, "Give another path.") from error


def read_about(folder: Path) -> dict[str, Any]:
    """Read what a measurement is of.

    Raises:
        InputError: There is none, or it is of another format.
    """
    path = folder / "about.json"
    fix = MEASURE_AGAIN.format(folder=folder)
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise InputError.of(str(path), f"format {about['format']!r}", f"format {FORMAT}", fix)
        hashes_of_about(about)
        complete = (
            all(key in about for key in ("data", "commit", "torch", "machine"))
            and set(about["files"]) == set(ARRAY_FILES)
            and all(about["models"][name]["stages"] for name in (*SYSTEMS, VERIFIER))
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        got = f"{type(error).__name__}: {error}"
        raise InputError.of(str(path), got, "the description of a measurement", fix) from error
    if not complete:
        raise InputError.of(str(path), "an incomplete description", "the description of a measurement", fix)
    return dict(about)


def read_measured(folder: Path) -> Measured:
    """Read a measurement.

    Args:
        folder: As `write_measured` wrote it.

    Returns:
        The measurement.

    Raises:
        InputError: A file is missing, was changed, or does not fit the others.
    """
    about = read_about(folder)
    fix = MEASURE_AGAIN.format(folder=folder)
    for name in ARRAY_FILES:
        if file_sha256(folder / name) != about["files"][name]:
            raise InputError.of(str(folder / name), "another hash than about.json has", "the file as written", fix)
    try:
        arrays = {name: dict(np.load(folder / name, allow_pickle=False)) for name in ARRAY_FILES}
        return _measured_from_arrays(about, arrays["scores.npz"], arrays["verification.npz"], arrays["samples.npz"])
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        got = f"{type(error).__name__}: {error}"
        raise InputError.of(str(folder), got, "a measurement of this version", fix) from error


def _measured_from_arrays(
    about: dict[str, Any], scores: dict[str, np.ndarray], pairs: dict[str, np.ndarray], samples: dict[str, np.ndarray]
) -> Measured:
    frames = FrameList(scores["sequence"], scores["frame"], scores["subject"])
    shape = (len(SYSTEMS), len(frames.frame))
    sums = {
        region: {name: np.broadcast_to(scores[f"{region}_{name}"].astype(np.float64), shape) for name in IMAGE_SUMS}
        for region in REGIONS
    }
    for name in ("valid", "head"):
        samples[name] = np.unpackbits(samples[name], axis=-1, count=samples["gray"].shape[-1]).astype(bool)
    verification = PairScores(
        pairs["cells"][pairs["cell"]],
        pairs["a"].astype(np.int64),
        pairs["b"].astype(np.int64),
        pairs["same"],
        pairs["similarity"],
    )
    if verification.similarity.shape != (len(SOURCES), len(verification.a)):
        raise ValueError(f"similarity {verification.similarity.shape}")
    return Measured(about, frames, sums, verification, Samples(**samples))
