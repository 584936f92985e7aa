# SPDX-License-Identifier: Apache-2.0
"""Packs a data set once into memory-mapped crops, and opens them: batches then cost no image decoding.

The packed form lies in a folder whose name is a hash of all that the crops follow from: of our own crops dataset.json
and every sequence's frames.json and angles.txt; of the others the layout, the reader's settings, the calibrations and
the annotations. So a set with other frames, or read with other settings, is packed anew; images changed in place are
not noticed: remove the packed folder then. It is written under another name and renamed at the end: an interrupted
packing leaves nothing that looks whole.
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
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedepth_edge.errors import InputError
from train.data.frame_source import UNMEASURED_MM, CropsSet, FrameEntry, FrameSource
from train.data.layouts import open_source
from train.data.reader_config import ReaderConfig
from train.units import REACH_MM

PACK_FORMAT = 1
CHUNK_FRAMES = 256
PLANES = ("gray", "depth_mm", "label")
MEASURED = {"distance_mm": (), "ray_xy": (2,)}  # what sources that measure the distance give with the planes: shapes
ARRAYS: dict[str, type] = {
    "gray": np.uint8, "depth_mm": np.uint16, "label": np.uint8, "distance_mm": np.float32, "ray_xy": np.float32
}  # fmt: skip
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
        gray: (N, P, P) uint8, memory-mapped, read-only; 0 in a set of depth alone.
        depth_mm: (N, P, P) uint16, memory-mapped, read-only; 0 = no measurement.
        label: (N, P, P) uint8, memory-mapped, read-only.
        meta: (N,) of META_DTYPE, in memory. A frame without any measurement at the head centre has distance_mm
            UNMEASURED_MM, face False and empty planes; `indices` leaves it out.
        key: Hash of what the packed form was made from.
        ray_xy: (N, 2) float32, x / z and y / z of the box's centre in the camera's frame; (0, 0) where the set does not
            say; None where what was packed is lost.
        along: What depth the batches have: along the optical "axis" as it was measured, or along the "ray" to the head,
            see train/data/ray_depth.py.
        name: What the data is called in checkpoints and reports; the folder's name where it is empty.
    """

    crops: CropsSet
    gray: np.ndarray
    depth_mm: np.ndarray
    label: np.ndarray
    meta: np.ndarray
    key: str
    name: str = ""
    ray_xy: np.ndarray | None = None
    along: str = "axis"

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.crops.root.resolve().name)

    def with_depth_along(self, along: str) -> PackedSet:
        """Return the same set whose batches have depth along the "axis" or the "ray".

        Raises:
            InputError: The rays are not known, or the boxes are not those of the runtime.
        """
        if along == "ray" and self.ray_xy is None:
            fix = "Write the faces file again by python -m export.faces, or give the data set itself."
            raise InputError.of(str(self.crops.root), "no rays to the heads", "them, for depth along the ray", fix)
        if along == "ray":
            self.require_runtimes_reach()
        return replace(self, along=along)

    def require_runtimes_reach(self) -> None:
        """Refuse boxes that cover another area than the runtime's: a ray's slope and the face's ellipse depend on it.

        Raises:
            InputError: They do.
        """
        if self.crops.reach_mm != REACH_MM:
            fix = "Make the crops with this reach: leave data.reader.biwi_focal_xy_px or pandora_focal_xy_px out."
            rule = f"{REACH_MM:g} mm, as the runtime's"
            raise InputError.of(f"{self.crops.root}: reach_mm", self.crops.reach_mm, rule, fix)

    def shows(self, split: str) -> bool:
        """Say whether there is a frame of a split; a set that is still being rendered may only name its people."""
        return bool(np.isin(self.meta["subject"], np.asarray(self.crops.subjects[split], dtype=np.int32)).any())

    def indices(self, split: str, faces_only: bool = False) -> np.ndarray:
        """Return the positions of a split's frames; frames that could not be cropped are left out.

        Args:
            split: train, val or test.
            faces_only: Leave out the frames whose box shows no head.

        Returns:
            (n,) int64, ascending.

        Raises:
            InputError: No frame of that split is in the set.
        """
        members = np.asarray(self.crops.subjects[split], dtype=np.int32)
        chosen = np.isin(self.meta["subject"], members) & (self.meta["distance_mm"] > UNMEASURED_MM)
        found = np.flatnonzero(chosen & self.meta["face"] if faces_only else chosen)
        if not len(found):
            rule = "at least one frame of a subject of that split"
            fix = "Add sequences of such people, or change the splits (dataset.json, or data.reader of the config)."
            raise InputError.of(f"{self.crops.root}: split {split}", "no frames", rule, fix)
        return found


def open_packed_set(
    root: str | Path,
    cache_dir: str | Path | None = None,
    processes: int = 2,
    progress: bool = True,
    reader: ReaderConfig | None = None,
) -> PackedSet:
    """Open a set's packed form; make it first where it is missing or the set has changed.

    Args:
        root: The set's folder, of any layout of train.data.layouts.
        cache_dir: Where packed sets lie; `<root>/packed` when None.
        processes: Processes that decode images.
        progress: Show a progress bar on stderr.
        reader: How raw sets are read and cropped; None: the defaults.

    Returns:
        The arrays, memory-mapped read-only; they stay valid while the result is referenced.

    Raises:
        InputError: The set breaks a rule, or its packed form is damaged.
    """
    source = open_source(root, reader or ReaderConfig())
    crops = source.crops
    parent = Path(cache_dir) if cache_dir is not None else crops.root / "packed"
    key = _key(source)
    folder = parent / key
    if not folder.is_dir():
        _pack(source, folder, processes, progress)
    count, side = len(crops.frames), crops.crop_px
    planes = {name: _open_array(folder, name, (count, side, side)) for name in _planes(crops)}
    no_picture = np.broadcast_to(np.uint8(0), (count, side, side))
    gray, depth_mm, label = (planes.get(name, no_picture) for name in PLANES)
    meta = _meta_from(crops.frames)
    ray_xy = np.array([entry.ray_xy for entry in crops.frames], np.float32)
    if source.measures_distance:
        meta["distance_mm"] = _open_array(folder, "distance_mm", (count,))
        ray_xy = _open_array(folder, "ray_xy", (count, 2))
        unmeasured = meta["distance_mm"] == UNMEASURED_MM
        meta["face"][unmeasured] = False
        meta["visible"][unmeasured] = 0.0
    return PackedSet(crops, gray, depth_mm, label, meta, key, ray_xy=ray_xy)


def _planes(crops: CropsSet) -> list[str]:
    return [name for name in PLANES if crops.pictures or name != "gray"]


def _open_array(folder: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    path, dtype = folder / f"{name}.npy", ARRAYS[name]
    fix = f"Remove {folder} and start again."
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError.of(str(path), str(error), "a packed array", fix) from error
    if array.shape != shape or array.dtype != dtype:
        raise InputError.of(str(path), f"{array.shape} {array.dtype}", f"{shape} {np.dtype(dtype)}", fix)
    return array


def _key(source: FrameSource) -> str:
    digest = hashlib.sha256(f"{PACK_FORMAT}".encode())
    for part in source.key_parts():
        digest.update(part)
    return digest.hexdigest()[:16]


def _meta_from(frames: Sequence[FrameEntry]) -> np.ndarray:
    rows = [(e.sequence, e.frame, e.subject, e.distance_mm, e.visible, e.face, e.roll_pitch_yaw_deg) for e in frames]
    return np.array(rows, dtype=META_DTYPE)


_worker_source: FrameSource | None = None  # of a packing process: too large to be sent with every chunk


def _start_worker(source: FrameSource) -> None:
    global _worker_source
    _worker_source = source


def _pack_worker_chunk(folder: Path, first: int, end: int) -> int:
    assert _worker_source is not None, "the pool's initializer sets it"
    return _pack_chunk(_worker_source, folder, first, end)


def _pack_chunk(source: FrameSource, folder: Path, first: int, end: int) -> int:
    names = [*_planes(source.crops), *(MEASURED if source.measures_distance else [])]
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in names}
    for position in range(first, end):
        sample = source.read(position)
        for name, array in arrays.items():
            array[position] = getattr(sample, name)
    for array in arrays.values():
        array.flush()
    return end - first


def _pack(source: FrameSource, folder: Path, processes: int, progress: bool) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    count, side = len(source.crops.frames), source.crops.crop_px
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_planes(source.crops), (count, side, side))
        if source.measures_distance:
            shapes |= {name: (count, *shape) for name, shape in MEASURED.items()}
        for name, shape in shapes.items():
            np.lib.format.open_memmap(temporary / f"{name}.npy", mode="w+", dtype=ARRAYS[name], shape=shape).flush()
        chunks = [(first, min(first + CHUNK_FRAMES, count)) for first in range(0, count, CHUNK_FRAMES)]
        with tqdm(total=count, desc="packing", unit="frame", disable=not progress) as bar:
            if processes <= 1 or len(chunks) == 1:
                for first, end in chunks:
                    bar.update(_pack_chunk(source, temporary, first, end))
            else:
                context = multiprocessing.get_context("spawn")  # forking a process with a thread pool can deadlock
                with ProcessPoolExecutor(processes, context, _start_worker, (source,)) as pool:
                    jobs = [pool.submit(_pack_worker_chunk, temporary, first, end) for first, end in chunks]
                    for job in as_completed(jobs):
                        bar.update(job.result())
        (temporary / "about.json").write_text(json.dumps({"format": PACK_FORMAT, "frames": count}) + "\n")
        try:
            os.rename(temporary, folder)
        except OSError:
            if not folder.is_dir():  # another process may have packed the same set first: its result is the same
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
