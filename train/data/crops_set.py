# SPDX-License-Identifier: Apache-2.0
"""Reads a set of processed face crops in Pandora's layout: what frames there are, and one frame's three images.

A set is a folder with `dataset.json` and one folder a sequence (`%03d`), which holds for each frame
`frame_%06d_face_rgb.png` (gray or BGR), `frame_%06d_face_depth.png` (uint16 mm, 0 = no measurement) and
`frame_%06d_face_label.png`, and beside them `angles.txt` (tab separated `frame roll pitch yaw`, degrees) and
`frames.json` (distance, visible fraction, face or not). Subject = (sequence - 1) // 5 + 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facedepth_edge.errors import InputError

LAYOUT = "pandora-crops"
FORMAT = 1
SPLITS = ("train", "val", "test")
SEQUENCES_PER_SUBJECT = 5
HEAD_LABELS = (1, 2, 3)  # skin, eyes and teeth; hair, beard and hat; glasses and mask
MAX_LABEL = 5
ANGLE_TOLERANCE_DEG = 360.0

_RENDER_AGAIN = "Write the set again, or remove the sequence's folder."


@dataclass(frozen=True)
class FrameEntry:
    """One frame of a set.

    Args:
        sequence: Number of the sequence, 1 and up.
        frame: Number of the frame in its sequence.
        distance_mm: D, the z of the visible surface at the head centre.
        visible: Fraction 0..1 of the face that no occluder hides and that lies in view.
        face: Whether a head is in the box at all.
        roll_pitch_yaw_deg: The head's angles.
        attributes: Free notes of whoever wrote the set, for reports by group.
    """

    sequence: int
    frame: int
    distance_mm: float
    visible: float
    face: bool
    roll_pitch_yaw_deg: tuple[float, float, float]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> int:
        """Number of the person, 1 and up."""
        return (self.sequence - 1) // SEQUENCES_PER_SUBJECT + 1

    @property
    def frame_id(self) -> str:
        """Name of the frame within the set, `<sequence>/<frame>`, as files of predictions use it."""
        return f"{self.sequence:03d}/{self.frame:06d}"


@dataclass(frozen=True)
class CropsSet:
    """A set's description and the list of its frames, ordered by sequence and frame.

    Args:
        root: The set's folder.
        crop_px: Side of the square crops in pixels.
        margin: The crop's side over the side of eq. 6's box.
        reach_mm: Rx = Ry of eq. 6.
        subjects: Split name to the numbers of its people.
        frames: All frames that are there.
    """

    root: Path
    crop_px: int
    margin: float
    reach_mm: float
    subjects: Mapping[str, tuple[int, ...]]
    frames: tuple[FrameEntry, ...]

    @property
    def box_px(self) -> int:
        """Side of eq. 6's box in the crop, in pixels."""
        return round(self.crop_px / self.margin)

    def split_of(self, subject: int) -> str:
        """Return the split that a subject belongs to.

        Raises:
            InputError: The subject is in no split.
        """
        for name, members in self.subjects.items():
            if subject in members:
                return name
        raise InputError.of(
            str(self.root / "dataset.json"),
            f"no split for subject {subject}",
            "every subject that has a sequence in one of train, val and test",
            "Add the subject to `subjects`, or remove its sequences.",
        )


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
    info = _read_json(where)
    if not isinstance(info, dict):
        raise InputError.of(str(where), f"a {type(info).__name__}", "an object", _RENDER_AGAIN)
    if info.get("format") != FORMAT or info.get("layout") != LAYOUT:
        raise InputError.of(
            str(where),
            f"format {info.get('format')!r}, layout {info.get('layout')!r}",
            f"format {FORMAT}, layout {LAYOUT!r}",
            "Give a set of processed crops; raw sets are cropped first.",
        )
    crop_px = _number(info, "crop_px", where, 16, 4096)
    margin = _number(info, "margin", where, 1.0, 4.0)
    reach_mm = _number(info, "reach_mm", where, 1.0, 10_000.0)
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
    folders = (path for path in root.iterdir() if path.is_dir() and path.name.isdigit())
    for folder in sorted(folders, key=lambda path: int(path.name)):
        frames += _read_sequence(folder)
    if not frames:
        raise InputError.of(str(root), "no sequence folder with frames", "folders 001, 002, ...", _RENDER_AGAIN)
    crops = CropsSet(root, int(crop_px), margin, reach_mm, subjects, tuple(frames))
    for subject in sorted({entry.subject for entry in frames}):
        crops.split_of(subject)
    return crops


def frame_paths(root: Path, entry: FrameEntry) -> tuple[Path, Path, Path]:
    """Return the paths of a frame's image, depth and label."""
    folder = root / f"{entry.sequence:03d}"
    stem = f"frame_{entry.frame:06d}_face"
    return folder / f"{stem}_rgb.png", folder / f"{stem}_depth.png", folder / f"{stem}_label.png"


def read_frame(root: Path, entry: FrameEntry, crop_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read one frame.

    Args:
        root: The set's folder.
        entry: Which frame.
        crop_px: Side that every image must have.

    Returns:
        gray (P, P) uint8; depth (P, P) uint16 mm, 0 = no measurement; label (P, P) uint8, 0..5.

    Raises:
        InputError: An image is missing, unreadable, or of another size or type; the text names the file.
    """
    rgb_path, depth_path, label_path = frame_paths(root, entry)
    image = _read_image(rgb_path, np.uint8, crop_px)
    if image.ndim == 3 and image.shape[2] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    elif image.ndim != 2:
        raise InputError.of(str(rgb_path), f"shape {image.shape}", "1 (gray) or 3 (BGR) channels", _RENDER_AGAIN)
    depth = _read_image(depth_path, np.uint16, crop_px)
    label = _read_image(label_path, np.uint8, crop_px)
    for path, plane in ((depth_path, depth), (label_path, label)):
        if plane.ndim != 2:
            raise InputError.of(str(path), f"shape {plane.shape}", "one channel", _RENDER_AGAIN)
    if label.max() > MAX_LABEL:
        raise InputError.of(str(label_path), f"label {label.max()}", f"labels 0 to {MAX_LABEL}", _RENDER_AGAIN)
    return image, depth, label


def _read_image(path: Path, dtype: type, crop_px: int) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if image is None:
        state = "a file that does not decode" if path.is_file() else "no such file"
        raise InputError.of(str(path), state, "a PNG image", _RENDER_AGAIN)
    if image.dtype != dtype or image.shape[:2] != (crop_px, crop_px):
        raise InputError.of(
            str(path),
            f"{image.shape[1]} x {image.shape[0]} {image.dtype}",
            f"{crop_px} x {crop_px} {np.dtype(dtype).name}",
            _RENDER_AGAIN,
        )
    return image


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError.of(str(path), "no such file", "a JSON file", _RENDER_AGAIN) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError.of(str(path), str(error), "valid JSON", _RENDER_AGAIN) from error


def _number(item: Mapping[str, Any], key: str, where: Path, low: float, high: float, label: str = "") -> float:
    value = item.get(key)
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not ok or not low <= float(value) <= high:  # type: ignore[arg-type]
        rule = f"a number from {low:g} to {high:g}"
        raise InputError.of(f"{where}: {label}{key}", value, rule, _RENDER_AGAIN)
    return float(value)  # type: ignore[arg-type]


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


def _read_sequence(folder: Path) -> list[FrameEntry]:
    where = folder / "frames.json"
    items = _read_json(where)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError.of(str(where), f"a {type(items).__name__}", "a list of objects", _RENDER_AGAIN)
    angles = _read_angles(folder / "angles.txt")
    entries = []
    for position, item in enumerate(items):
        label = f"[{position}]."
        frame = int(_number(item, "frame", where, 0, 999_999, label))
        if frame not in angles:
            raise InputError.of(str(folder / "angles.txt"), f"no line for frame {frame}", "one a frame", _RENDER_AGAIN)
        face, attributes = item.get("face"), item.get("attributes", {})
        if not isinstance(face, bool) or not isinstance(attributes, dict):
            got = f"face {face!r}, attributes {attributes!r}"
            raise InputError.of(
                f"{where}: [{position}]", got, "face true or false, attributes an object", _RENDER_AGAIN
            )
        distance_mm = _number(item, "distance_mm", where, 1.0, 65_535.0, label)
        visible = _number(item, "visible", where, 0.0, 1.0, label)
        entries.append(FrameEntry(int(folder.name), frame, distance_mm, visible, face, angles.pop(frame), attributes))
    if angles:
        got = f"angles of frame {min(angles)}, which is not in frames.json"
        raise InputError.of(str(folder / "angles.txt"), got, "the frames of frames.json, each once", _RENDER_AGAIN)
    return sorted(entries, key=lambda entry: entry.frame)


def _read_angles(path: Path) -> dict[int, tuple[float, float, float]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError.of(str(path), str(error), "a text file of angles", _RENDER_AGAIN) from error
    angles: dict[int, tuple[float, float, float]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            frame_text, *values = line.split("\t")
            frame, (roll, pitch, yaw) = int(frame_text), (float(value) for value in values)
        except ValueError as error:
            rule = "frame, roll, pitch and yaw with tabs between"
            raise InputError.of(f"{path}: line {number}", line, rule, _RENDER_AGAIN) from error
        if frame in angles or not all(abs(value) <= ANGLE_TOLERANCE_DEG for value in (roll, pitch, yaw)):
            rule = "each frame once, finite angles in degrees"
            raise InputError.of(f"{path}: line {number}", line, rule, _RENDER_AGAIN)
        angles[frame] = (roll, pitch, yaw)
    return angles
