# SPDX-License-Identifier: Apache-2.0
"""Packs a set of crops once into memory-mapped arrays, and opens them: batches then cost no image decoding.

The packed form lies in a folder whose name is a hash of dataset.json and of every sequence's frames.json and
angles.txt, so a set with other frames is packed anew; images changed in place are not noticed: remove the packed folder
then. It is written under another name and renamed at the end: an interrupted packing leaves nothing that looks whole.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedepth_edge.errors import InputError
from train.data.crops_set import CropsSet, FrameEntry, open_crops_set, read_frame

PACK_FORMAT = 1
CHUNK_FRAMES = 256
META_DTYPE = np.dtype(
    [
        ("sequence", np.int32),
        ("frame", np.int32),
        ("subject", np.int32),
        ("distance_mm", np.float32),
        ("visible", np.float32),
        ("face", np.bool_),
        ("roll_pitch_yaw_deg", np.float32, (3,)),
    ]
)


@dataclass(frozen=True)
class PackedSet:
    """A packed set, opened; N frames of P x P pixels.

    Args:
        crops: The set's description.
        gray: (N, P, P) uint8, memory-mapped, read-only.
        depth_mm: (N, P, P) uint16, memory-mapped, read-only; 0 = no measurement.
        label: (N, P, P) uint8, memory-mapped, read-only.
        meta: (N,) of META_DTYPE, in memory.
        key: Hash of what the packed form was made from.
    """

    crops: CropsSet
    gray: np.ndarray
    depth_mm: np.ndarray
    label: np.ndarray
    meta: np.ndarray
    key: str

    def indices(self, split: str, faces_only: bool = False) -> np.ndarray:
        """Return the positions of a split's frames.

        Args:
            split: train, val or test.
            faces_only: Leave out the frames whose box shows no head.

        Returns:
            (n,) int64, ascending.

        Raises:
            InputError: No frame of that split is in the set.
        """
        members = np.asarray(self.crops.subjects[split], dtype=np.int32)
        chosen = np.isin(self.meta["subject"], members)
        found = np.flatnonzero(chosen & self.meta["face"] if faces_only else chosen)
        if not len(found):
            rule = "at least one frame of a subject of that split"
            fix = "Render more sequences, or change `subjects` in dataset.json."
            raise InputError.of(f"{self.crops.root}: split {split}", "no frames", rule, fix)
        return found


def open_packed_set(
    root: str | Path, cache_dir: str | Path | None = None, processes: int = 2, progress: bool = True
) -> PackedSet:
    """Open a set's packed form; make it first where it is missing or the set has changed.

    Args:
        root: The set's folder.
        cache_dir: Where packed sets lie; `<root>/packed` when None.
        processes: Processes that decode images.
        progress: Show a progress bar on stderr.

    Returns:
        The arrays, memory-mapped read-only; they stay valid while the result is referenced.

    Raises:
        InputError: The set breaks a rule, or its packed form is damaged.
    """
    crops = open_crops_set(root)
    parent = Path(cache_dir) if cache_dir is not None else crops.root / "packed"
    key = _key(crops)
    folder = parent / key
    if not folder.is_dir():
        _pack(crops, folder, processes, progress)
    count, side = len(crops.frames), crops.crop_px
    arrays = []
    for name, dtype in (("gray", np.uint8), ("depth_mm", np.uint16), ("label", np.uint8)):
        path = folder / f"{name}.npy"
        try:
            array = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise InputError.of(str(path), str(error), "a packed array", f"Remove {folder} and start again.") from error
        if array.shape != (count, side, side) or array.dtype != dtype:
            got, rule = f"{array.shape} {array.dtype}", f"{(count, side, side)} {np.dtype(dtype)}"
            raise InputError.of(str(path), got, rule, f"Remove {folder} and start again.")
        arrays.append(array)
    gray, depth_mm, label = arrays
    return PackedSet(crops, gray, depth_mm, label, _meta_from(crops.frames), key)


def _key(crops: CropsSet) -> str:
    digest = hashlib.sha256(f"{PACK_FORMAT}".encode())
    digest.update((crops.root / "dataset.json").read_bytes())
    for sequence in sorted({entry.sequence for entry in crops.frames}):
        for name in ("frames.json", "angles.txt"):
            path = crops.root / f"{sequence:03d}" / name
            digest.update(f"{path.parent.name}/{name}".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _meta_from(frames: Sequence[FrameEntry]) -> np.ndarray:
    rows = [(e.sequence, e.frame, e.subject, e.distance_mm, e.visible, e.face, e.roll_pitch_yaw_deg) for e in frames]
    return np.array(rows, dtype=META_DTYPE)


def _pack_chunk(root: Path, crop_px: int, folder: Path, first: int, entries: Sequence[FrameEntry]) -> int:
    planes = [np.load(folder / f"{name}.npy", mmap_mode="r+") for name in ("gray", "depth_mm", "label")]
    for position, entry in enumerate(entries, start=first):
        for plane, image in zip(planes, read_frame(root, entry, crop_px), strict=True):
            plane[position] = image
    for plane in planes:
        plane.flush()
    return len(entries)


def _pack(crops: CropsSet, folder: Path, processes: int, progress: bool) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    shape = (len(crops.frames), crops.crop_px, crops.crop_px)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        for name, dtype in (("gray", np.uint8), ("depth_mm", np.uint16), ("label", np.uint8)):
            np.lib.format.open_memmap(temporary / f"{name}.npy", mode="w+", dtype=dtype, shape=shape).flush()
        chunks = range(0, len(crops.frames), CHUNK_FRAMES)
        with tqdm(total=len(crops.frames), desc="packing", unit="frame", disable=not progress) as bar:
            if processes <= 1 or len(chunks) == 1:
                for first in chunks:
                    entries = crops.frames[first : first + CHUNK_FRAMES]
                    bar.update(_pack_chunk(crops.root, crops.crop_px, temporary, first, entries))
            else:
                context = multiprocessing.get_context("spawn")  # forking a process with a thread pool can deadlock
                with ProcessPoolExecutor(processes, mp_context=context) as pool:
                    jobs = []
                    for first in chunks:
                        entries = crops.frames[first : first + CHUNK_FRAMES]
                        jobs.append(pool.submit(_pack_chunk, crops.root, crops.crop_px, temporary, first, entries))
                    for job in as_completed(jobs):
                        bar.update(job.result())
        (temporary / "about.json").write_text(json.dumps({"format": PACK_FORMAT, "frames": len(crops.frames)}) + "\n")
        try:
            os.rename(temporary, folder)
        except OSError:
            if not folder.is_dir():  # another process may have packed the same set first: its result is the same
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
