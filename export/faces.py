# SPDX-License-Identifier: Apache-2.0
"""A small file of rendered faces that is committed: enough to calibrate INT8 and to run the gate without a data set.

`python -m export.faces --data DIR --out models/faces.npz` makes it: calibration faces of the training split (the
picture alone), and held-out faces of the test split with depth and labels, as many of each subset of the gate.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np

from export.artifact_writer import npz_bytes
from export.face_subsets import SUBSETS, subsets_of
from facedepth_edge.errors import InputError
from facedepth_edge.whole_file import whole_file
from train.command import Outcome, require_counts, run_command
from train.data.frame_source import CropsSet, FrameEntry
from train.data.packed import META_DTYPE, PackedSet, open_packed_set
from train.validation import spread_indices

FORMAT = 1
CALIBRATION_FACES = 256
HELD_OUT_FACES = 64
LAYOUT = "faces-file"
KEYS = ("about", "meta", "train_gray", "test_gray", "test_offset_mm", "test_label")
HOLE = -32768  # of test_offset_mm: no measurement


def choose_held_out(data: PackedSet, count: int) -> np.ndarray:
    """Choose frames of the test split, the same number of each subset of the gate, spread over it.

    Args:
        data: The packed set.
        count: How many in all.

    Returns:
        (n,) int64 positions, ascending, none twice; fewer where the split has not so many.
    """
    faces = data.indices("test", faces_only=True)
    groups = subsets_of(data, faces)
    names = [name for name in SUBSETS if name != "all"]
    chosen: set[int] = set()
    for place, name in enumerate(names):
        members = np.setdiff1d(faces[groups[name]], sorted(chosen))
        share = min(count * (place + 1) // len(names) - count * place // len(names), len(members))
        chosen.update(int(i) for i in members[np.linspace(0, len(members) - 1, share).round().astype(np.int64)])
    rest = np.setdiff1d(faces, sorted(chosen))
    missing = min(count - len(chosen), len(rest))
    chosen.update(int(i) for i in rest[np.linspace(0, len(rest) - 1, missing).round().astype(np.int64)])
    return np.array(sorted(chosen), np.int64)


def faces_bytes(data: PackedSet, calibration: int = CALIBRATION_FACES, held_out: int = HELD_OUT_FACES) -> bytes:
    """Return the faces file of a set.

    Args:
        data: The packed set.
        calibration: Faces of the training split.
        held_out: Faces of the test split.
    """
    data.crops.require_pictures()
    train, test = spread_indices(data, "train", calibration, faces_only=True), choose_held_out(data, held_out)
    edge, side = (data.crops.crop_px - data.crops.box_px) // 2, data.crops.box_px
    inside = (slice(None), slice(edge, edge + side), slice(edge, edge + side))
    depth_mm = data.depth_mm[test][inside].astype(np.float64)
    base_mm = np.round(data.meta["distance_mm"][test]).astype(np.float64)[:, None, None]
    # Beyond a metre from the head the network's range has long ended: what lies there need not be kept exactly.
    offset = np.where(depth_mm > 0, np.clip(depth_mm - base_mm, -1000, 1000), HOLE).astype(np.int16)
    about = {
        "format": FORMAT,
        "data": data.crops.root.resolve().name,
        "key": data.key,
        "reach_mm": data.crops.reach_mm,
        "train": len(train),
        "sequences_per_subject": data.crops.sequences_per_subject,
    }
    return npz_bytes(
        {
            "about": np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8),
            "meta": data.meta[np.concatenate([train, test])],
            "train_gray": data.gray[train][inside],
            "test_gray": data.gray[test][inside],
            "test_offset_mm": offset,
            "test_label": data.label[test][inside],
            **({} if data.ray_xy is None else {"ray_xy": data.ray_xy[np.concatenate([train, test])]}),
        }
    )


def open_faces(path: Path) -> PackedSet:
    """Open a faces file as a packed set in memory; the depth of its training frames is unknown (0).

    Args:
        path: The .npz file.

    Raises:
        InputError: The file is missing, damaged or of another format.
    """
    fix = "Get it again, or write it by python -m export.faces."
    try:
        content = path.read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in KEYS}
            ray_xy = archive.get("ray_xy")  # files that are older have none
        about = json.loads(arrays["about"].tobytes())
        count = int(about["train"])
        name, reach_mm, sequences = str(about["data"]), float(about["reach_mm"]), int(about["sequences_per_subject"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        rule = f"an .npz with {', '.join(KEYS)}"
        raise InputError.of(str(path), f"{type(error).__name__}: {error}", rule, fix) from error
    meta, train, test = arrays["meta"], arrays["train_gray"], arrays["test_gray"]
    pictures = train.ndim == test.ndim == 3 and train.shape[1:] == test.shape[1:] == (train.shape[1],) * 2
    planes = all(arrays[key].shape == test.shape for key in ("test_offset_mm", "test_label"))
    types = [arrays[key].dtype for key in ("train_gray", "test_gray", "test_label", "test_offset_mm")]
    counts = 0 < len(train) == count and len(test) > 0 and len(meta) == len(train) + len(test)
    rays = ray_xy is None or ray_xy.shape == (len(meta), 2)
    if about.get("format") != FORMAT or meta.dtype != META_DTYPE or not (pictures and planes and counts and rays):
        shapes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
        got = f"format {about.get('format')}, {count} training faces, {shapes}"
        raise InputError.of(str(path), got, f"format {FORMAT}, square pictures, one note a face", fix)
    if types != [np.uint8, np.uint8, np.uint8, np.int16]:
        got = ", ".join(map(str, types))
        raise InputError.of(str(path), got, "pictures and labels of uint8, depth of int16", fix)
    gray = np.concatenate([train, test])
    offset, side = arrays["test_offset_mm"].astype(np.float64), gray.shape[1]
    depth, label = np.zeros(gray.shape, np.uint16), np.zeros(gray.shape, np.uint8)
    base_mm = np.round(meta["distance_mm"][count:]).astype(np.float64)[:, None, None]
    depth[count:] = np.where(offset == HOLE, 0, np.maximum(offset + base_mm, 1)).astype(np.uint16)
    label[count:] = arrays["test_label"]
    people = meta["subject"]
    splits = {"train": tuple(np.unique(people[:count]).tolist()), "val": (),
              "test": tuple(np.unique(people[count:]).tolist())}  # fmt: skip
    frames = tuple(
        FrameEntry(
            int(row["sequence"]), int(row["frame"]), int(row["subject"]), float(row["distance_mm"]),
            float(row["visible"]), bool(row["face"]), _angles(row),
        )
        for row in meta
    )  # fmt: skip
    crops = CropsSet(Path(name), LAYOUT, side, 1.0, reach_mm, splits, frames, sequences)
    return PackedSet(crops, gray, depth, label, meta, hashlib.sha256(content).hexdigest()[:16], ray_xy=ray_xy)


def _angles(row: np.void) -> tuple[float, float, float]:
    roll, pitch, yaw = (float(angle) for angle in row["roll_pitch_yaw_deg"])
    return roll, pitch, yaw


def open_faces_or_set(path: Path, cache_dir: Path | None = None) -> PackedSet:
    """Open a faces file (.npz) or a data set's folder.

    Raises:
        InputError: It is neither.
    """
    if path.suffix != ".npz" and path.is_file():
        rule = "the folder of a data set, or a file of faces (.npz)"
        raise InputError.of(str(path), "a file of another kind", rule, "Check the path.")
    return open_faces(path) if path.suffix == ".npz" else open_packed_set(path, cache_dir)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole or not at all.

    Raises:
        InputError: It cannot be written.
    """
    try:
        with whole_file(path) as file:
            file.write(content)
    except OSError as error:
        raise InputError.of(str(path), str(error), "a file that can be written", "Give another path.") from error


def main(arguments: list[str] | None = None) -> int:
    """Write a faces file as the command line says.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    parser = argparse.ArgumentParser(prog="python -m export.faces", description="Write a small file of faces.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--out", type=Path, required=True, help="the .npz file")
    parser.add_argument("--calibration", type=int, default=CALIBRATION_FACES, help="training faces (%(default)s)")
    parser.add_argument("--held-out", type=int, default=HELD_OUT_FACES, help="test faces (%(default)s)")
    parser.add_argument("--cache-dir", type=Path, help="where packed data sets lie (default: in the set's folder)")
    args = parser.parse_args(arguments)

    def work() -> Outcome:
        require_counts(args, "calibration", "held_out")
        write_whole(args.out, faces_bytes(open_packed_set(args.data, args.cache_dir), args.calibration, args.held_out))
        faces = open_faces(args.out)
        return Outcome(f"{args.out}: {len(faces.gray)} faces, {args.out.stat().st_size / 1e6:.2f} MB")

    return run_command("python -m export.faces", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
