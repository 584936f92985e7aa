# SPDX-License-Identifier: Apache-2.0
"""Writes sets of processed face crops as train/data/crops_set.py reads them: for whoever renders one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facedepth_edge.errors import ConfigError
from facedepth_edge.whole_file import whole_file
from train.data.crops_set import FORMAT, LAYOUT

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


@dataclass(frozen=True)
class CropFrame:
    """A frame and what is noted of it.

    Attributes:
        picture: (P, P, 3) uint8 BGR, written with one channel where all three are equal; None: a set without pictures.
        depth_mm: (P, P) uint16, 0 = no measurement.
        label: (P, P) uint8.
        angles_deg: (roll, pitch, yaw).
        note: its entry of frames.json; `frame` is its number.
    """

    picture: np.ndarray | None
    depth_mm: np.ndarray
    label: np.ndarray
    angles_deg: tuple[float, float, float]
    note: dict[str, Any]


@dataclass(frozen=True)
class SetNote:
    """What dataset.json says of a set, beside its format.

    Attributes:
        crop_px: rows and columns of a crop.
        margin: a crop reaches over margin * reach_mm at the head's distance.
        reach_mm: side of eq. 6's box at the head's distance.
        seed: what everything drawn follows from.
        subjects: person numbers of train, val and test.
        frames: of each sequence.
        generator: what else made the set.
        pictures: False: depth and labels alone.
    """

    crop_px: int
    margin: float
    reach_mm: float
    seed: int
    subjects: dict[str, list[int]]
    frames: int
    generator: dict[str, Any]
    pictures: bool = True

    def plain(self) -> dict[str, Any]:
        """Return dataset.json's content."""
        note = {"format": FORMAT, "layout": LAYOUT, **asdict(self)}
        if self.pictures:
            del note["pictures"]
        return note


def frame_note(
    *,
    frame: int,
    distance_mm: float,
    visible: float,
    face: bool,
    focal_px: float,
    principal_xy: Sequence[float],
    head_center_xy: Sequence[float],
    head_center_mm: Sequence[float] | np.ndarray,
    attributes: dict[str, Any],
) -> dict[str, Any]:
    """Return a frame's entry of frames.json, rounded as it is written.

    Args:
        frame: Number of the frame in its sequence.
        distance_mm: The head's distance D.
        visible: Share of the head that nothing hides, 0 to 1; written as 0 where there is no face.
        face: Whether the frame shows one.
        focal_px: Focal length of the crop's camera, both ways.
        principal_xy: The optical axis, in pixels of the crop.
        head_center_xy: The head centre, in pixels of the crop.
        head_center_mm: (3,) the head centre in the camera's frame.
        attributes: What else is known of the frame; kept as it is.
    """
    return {
        "frame": frame,
        "distance_mm": round(distance_mm, 2),
        "visible": round(visible, 4) if face else 0.0,
        "face": face,
        "focal_px": round(focal_px, 4),
        "principal_xy": [round(c, 4) for c in principal_xy],
        "head_center_xy": [round(c, 4) for c in head_center_xy],
        "head_center_mm": [round(float(c), 3) for c in head_center_mm],
        "attributes": attributes,
    }


def start_set(out: Path, note: SetNote) -> None:
    """Make a set's folder with its dataset.json, or go on with one that was started with the same settings.

    Args:
        out: The folder.
        note: What dataset.json shall say.

    Raises:
        ConfigError: The folder holds a set of other settings, sequences and no dataset.json, or a broken one.
    """
    out.mkdir(parents=True, exist_ok=True)
    path, whole = out / "dataset.json", note.plain()
    fix = "Choose another --out or remove it."
    if not path.is_file():
        if any(entry.name.isdigit() and entry.is_dir() for entry in out.iterdir()):
            raise ConfigError.of(str(out), "sequences and no dataset.json", "a set, or an empty folder", fix)
        with whole_file(path) as file:
            file.write(json.dumps(whole, indent=1).encode())
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError.of(str(path), f"no JSON: {error}", "a set's dataset.json", fix) from error
    generator = found.get("generator") if isinstance(found, dict) else None
    if isinstance(generator, dict) and "sources" not in generator:  # the set is older than the digests
        whole["generator"] = {name: value for name, value in whole["generator"].items() if name != "sources"}
    if found != whole:
        raise ConfigError.of(str(path), "a set of other settings", "the same to resume it", fix)


def write_frames(folder: Path, frames: Iterable[CropFrame]) -> None:
    """Write a sequence, frame by frame; the folder appears under its name only when it is whole.

    Args:
        folder: The sequence's; not there yet.
        frames: In order.

    Raises:
        ConfigError: An image cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    angles, notes = [], []
    for frame in frames:
        number = frame.note["frame"]
        planes = {"depth": frame.depth_mm, "label": frame.label}
        if frame.picture is not None:
            gray = bool((frame.picture == frame.picture[..., :1]).all())
            planes["rgb"] = frame.picture[..., 0] if gray else frame.picture
        for name, image in planes.items():
            path = partial / f"frame_{number:06d}_face_{name}.png"
            if not cv2.imwrite(str(path), image, _PNG):
                raise ConfigError.of(str(path), "a write error", "a writable folder", "Check disk space and rights.")
        roll, pitch, yaw = frame.angles_deg
        angles.append(f"{number}\t{roll:.4f}\t{pitch:.4f}\t{yaw:.4f}\n")
        notes.append(frame.note)
    (partial / "angles.txt").write_text("".join(angles), encoding="utf-8")
    (partial / "frames.json").write_text(json.dumps(notes, indent=0), encoding="utf-8")
    os.replace(partial, folder)
