# SPDX-License-Identifier: Apache-2.0
"""Reads a set of processed face crops in Pandora's layout: what frames there are, and one frame's three images.

A set is a folder with `dataset.json` and one folder a sequence (`%03d`), which holds for each frame
`frame_%06d_face_rgb.png` (gray or BGR), `frame_%06d_face_depth.png` (uint16 mm, 0 = no measurement) and
`frame_%06d_face_label.png`, and beside them `angles.txt` (tab separated `frame roll pitch yaw`, degrees) and
`frames.json` (distance, visible fraction, face or not). Subject = (sequence - 1) // 5 + 1. `shapes.npy` may lie beside
dataset.json, see train.data.shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facedepth_edge.errors import InputError
from train.data.frame_source import SPLITS, CropSample, CropsSet, FrameEntry
from train.data.shapes import read_shapes
from train.data.strict_files import number_folders, number_in, read_angles, read_colour, read_json, read_plane

LAYOUT = "pandora-crops"
FORMAT = 1
SEQUENCES_PER_SUBJECT = 5
HEAD_LABELS = (1, 2, 3)  # skin, eyes and teeth; hair, beard and hat; glasses and mask
OCCLUDER_LABEL = 5  # a hand or a thing before the head
RENDERED_FILE = "rendered.json"  # the note that train.synth writes beside sequences of other layouts

_RENDER_AGAIN = "Write the set again, or remove the sequence's folder."


def subject_of(sequence: int) -> int:
    """Return the person of a sequence in Pandora's numbering: five sequences each, both from 1."""
    return (sequence - 1) // SEQUENCES_PER_SUBJECT + 1


def sequence_of(subject: int, index: int) -> int:
    """Return the number of a person's sequence in Pandora's numbering: `index` 1 to 5, all from 1."""
    return (subject - 1) * SEQUENCES_PER_SUBJECT + index


def sequence_folder(root: Path, sequence: int) -> Path:
    """Return the folder of a sequence in a set's folder."""
    return root / f"{sequence:03d}"


@dataclass(frozen=True)
class CropsSource:
    """Our own processed crops, as a source that can be packed; D stands in frames.json."""

    crops: CropsSet
    measures_distance: bool = False

    def key_parts(self) -> Iterator[bytes]:
        """Yield dataset.json and every sequence's frames.json and angles.txt, each with its name."""
        root = self.crops.root
        yield (root / "dataset.json").read_bytes()
        for sequence in sorted({entry.sequence for entry in self.crops.frames}):
            for name in ("frames.json", "angles.txt"):
                path = sequence_folder(root, sequence) / name
                yield f"{path.parent.name}/{name}".encode()
                yield path.read_bytes()

    def read(self, position: int) -> CropSample:
        """Read the frame at a position; see FrameSource."""
        entry = self.crops.frames[position]
        planes = read_frame(self.crops.root, entry, self.crops.crop_px, self.crops.pictures)
        return CropSample(*planes, entry.distance_mm)


def open_crops_set(root: str | Path) -> CropsSet:
    """Read a set's description and its list of frames; images are not opened.

    Args:
        root: The set's folder.

    Returns:
        The set, checked: every frame has its angles, every subject its split, no subject two.

    Raises:
        InputError: A file is missing or breaks a rule; the text names the file.
    """
    root = Path(root)
    where = root / "dataset.json"
    info = _read_object(where)
    if info.get("format") != FORMAT or info.get("layout") != LAYOUT:
        raise InputError.of(
            str(where),
            f"format {info.get('format')!r}, layout {info.get('layout')!r}",
            f"format {FORMAT}, layout {LAYOUT!r}",
            "Give a set of processed crops; raw sets are cropped first.",
        )
    crop_px = number_in(info, "crop_px", where, 16, 4096, _RENDER_AGAIN)
    margin = number_in(info, "margin", where, 1.0, 4.0, _RENDER_AGAIN)
    reach_mm = number_in(info, "reach_mm", where, 1.0, 10_000.0, _RENDER_AGAIN)
    box_px = crop_px / margin
    if crop_px != int(crop_px) or abs(box_px - round(box_px)) > 1e-6 or (int(crop_px) - round(box_px)) % 2:
        raise InputError.of(
            str(where),
            f"crop_px {crop_px:g} and margin {margin:g}",
            "whole crop_px, and crop_px / margin whole and of the same parity",
            "Use for example 144 and 1.5.",
        )
    subjects = _subjects_from(info, where)
    frames: list[FrameEntry] = []
    for folder in number_folders(root):
        frames += _read_sequence(folder, crop_px)
    if not frames:
        raise InputError.of(str(root), "no sequence folder with frames", "folders 001, 002, ...", _RENDER_AGAIN)
    unknown = {entry.subject for entry in frames}.difference(*subjects.values())
    if unknown:
        rule = f"every subject that has a sequence in one of {', '.join(SPLITS)}"
        fix = "Add the subject to `subjects`, or remove its sequences."
        raise InputError.of(str(where), f"no split for subject {min(unknown)}", rule, fix)
    pictures, generator = info.get("pictures", True), info.get("generator")
    if not isinstance(pictures, bool):
        raise InputError.of(f"{where}: pictures", pictures, "true or false", _RENDER_AGAIN)
    rendered = isinstance(generator, dict)
    seeds = (f"{info.get('seed')} of {generator.get('name', 'train.synth')}",) if rendered else ()
    return CropsSet(
        root, LAYOUT, int(crop_px), margin, reach_mm, subjects, tuple(frames), SEQUENCES_PER_SUBJECT, pictures, seeds,
        read_shapes(root),
    )  # fmt: skip


def generator_note(root: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return what a set of any layout says of who rendered it.

    Processed crops say so under `generator` of dataset.json, raw sets in a file of its own, RENDERED_FILE.

    Args:
        root: The set's folder.

    Returns:
        The file that says so and what it says; None where no file does.

    Raises:
        InputError: Such a file is there and cannot be read; the text names it.
    """
    processed, raw = root / "dataset.json", root / RENDERED_FILE
    info = _read_object(processed) if processed.is_file() else {}
    if "generator" in info:
        return processed, dict(info["generator"] or {})
    return (raw, _read_object(raw)) if raw.is_file() else None


def generator_of(root: Path) -> dict[str, Any] | None:
    """Return what `generator_note` says, without its file."""
    note = generator_note(root)
    return None if note is None else note[1]


def frame_paths(root: Path, entry: FrameEntry) -> tuple[Path, Path, Path]:
    """Return the paths of a frame's image, depth and label."""
    folder = sequence_folder(root, entry.sequence)
    stem = f"frame_{entry.frame:06d}_face"
    return folder / f"{stem}_rgb.png", folder / f"{stem}_depth.png", folder / f"{stem}_label.png"


def read_frame(
    root: Path, entry: FrameEntry, crop_px: int, pictures: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read one frame.

    Args:
        root: The set's folder.
        entry: Which frame.
        crop_px: Side that every image must have.
        pictures: Whether the set has any.

    Returns:
        gray (P, P) uint8, 0 without pictures; depth (P, P) uint16 mm, 0 = no measurement; label (P, P) uint8, 0..5.

    Raises:
        InputError: An image is missing, unreadable, or of another size or type; the text names the file.
    """
    rgb_path, depth_path, label_path = frame_paths(root, entry)
    size_hw = (crop_px, crop_px)
    image = read_colour(rgb_path, size_hw, _RENDER_AGAIN) if pictures else np.zeros(size_hw, np.uint8)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    depth = read_plane(depth_path, np.uint16, size_hw, _RENDER_AGAIN)
    label = read_plane(label_path, np.uint8, size_hw, _RENDER_AGAIN)
    if label.max() > OCCLUDER_LABEL:
        raise InputError.of(str(label_path), f"label {label.max()}", f"labels 0 to {OCCLUDER_LABEL}", _RENDER_AGAIN)
    return image, depth, label


def _read_object(where: Path) -> dict[str, Any]:
    info = read_json(where, _RENDER_AGAIN)
    if not isinstance(info, dict):
        raise InputError.of(str(where), f"a {type(info).__name__}", "an object", _RENDER_AGAIN)
    return info


def _ray_of(item: Mapping[str, Any], crop_px: float, where: Path, label: str) -> tuple[float, float]:
    """Return the direction of the crop's middle from the optical axis; (0, 0) where the set gives no intrinsics."""
    if "focal_px" not in item or "principal_xy" not in item:
        return 0.0, 0.0
    focal_px = number_in(item, "focal_px", where, 1.0, 1e6, _RENDER_AGAIN, label)
    point = item["principal_xy"]
    if not isinstance(point, list) or len(point) != 2:
        raise InputError.of(f"{where}: {label}principal_xy", point, "two numbers, x and y", _RENDER_AGAIN)
    x, y = (
        number_in({"principal_xy": value}, "principal_xy", where, -1e6, 1e6, _RENDER_AGAIN, label) for value in point
    )
    return (crop_px / 2 - x) / focal_px, (crop_px / 2 - y) / focal_px


def _subjects_from(info: Mapping[str, Any], where: Path) -> dict[str, tuple[int, ...]]:
    subjects = info.get("subjects")
    rule = f"an object with {', '.join(SPLITS)}, each a list of whole numbers"
    if not isinstance(subjects, dict) or sorted(subjects) != sorted(SPLITS):
        raise InputError.of(f"{where}: subjects", subjects, rule, _RENDER_AGAIN)
    seen: dict[int, str] = {}
    for name in SPLITS:
        members = subjects[name]
        if not isinstance(members, list) or not all(type(member) is int and member >= 1 for member in members):
            raise InputError.of(f"{where}: subjects.{name}", members, rule, _RENDER_AGAIN)
        for member in members:
            if member in seen:
                got = f"subject {member} in {seen[member]} and {name}"
                raise InputError.of(f"{where}: subjects", got, "each subject once", _RENDER_AGAIN)
            seen[member] = name
    return {name: tuple(subjects[name]) for name in SPLITS}


def _read_sequence(folder: Path, crop_px: float) -> list[FrameEntry]:
    where = folder / "frames.json"
    items = read_json(where, _RENDER_AGAIN)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError.of(str(where), f"a {type(items).__name__}", "a list of objects", _RENDER_AGAIN)
    angles = read_angles(folder / "angles.txt", _RENDER_AGAIN)
    entries = []
    for position, item in enumerate(items):
        label = f"[{position}]."
        frame = int(number_in(item, "frame", where, 0, 999_999, _RENDER_AGAIN, label))
        if frame not in angles:
            raise InputError.of(str(folder / "angles.txt"), f"no line for frame {frame}", "one a frame", _RENDER_AGAIN)
        face, attributes = item.get("face"), item.get("attributes", {})
        if not isinstance(face, bool) or not isinstance(attributes, dict):
            got = f"face {face!r}, attributes {attributes!r}"
            raise InputError.of(
                f"{where}: [{position}]", got, "face true or false, attributes an object", _RENDER_AGAIN
            )
        distance_mm = number_in(item, "distance_mm", where, 1.0, 65_535.0, _RENDER_AGAIN, label)
        visible = number_in(item, "visible", where, 0.0, 1.0, _RENDER_AGAIN, label)
        sequence = int(folder.name)
        ray_xy = _ray_of(item, crop_px, where, label)
        turned = angles.pop(frame)
        entries.append(
            FrameEntry(sequence, frame, subject_of(sequence), distance_mm, visible, face, turned, attributes, ray_xy)
        )
    if angles:
        got = f"angles of frame {min(angles)}, which is not in frames.json"
        raise InputError.of(str(folder / "angles.txt"), got, "the frames of frames.json, each once", _RENDER_AGAIN)
    return sorted(entries, key=lambda entry: entry.frame)
