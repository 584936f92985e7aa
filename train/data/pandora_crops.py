# SPDX-License-Identifier: Apache-2.0
"""Reads the group's processed crops of Pandora: face images, face depths and an angle file in one folder a sequence.

`frame_%06d_face_rgb.png` (gray, BGR or BGRA) and `frame_%06d_face_depth.png` (uint16 mm, 0 = no measurement) show eq.
6's box and no more, at any size: each is resampled to the box's side, gray as in the runtime, depth nearest. The angle
file is the folder's angles.txt or its only .txt file, with `frame roll pitch yaw` in tab-separated columns; it may hold
more frames than there are images. Lens, size and type of the group's own files have not been seen: what differs is an
error that names the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedepth_edge.box import Box
from facedepth_edge.errors import InputError
from facedepth_edge.face_crop import sample_depth
from facedepth_edge.head import DEPTH_WINDOW_MM
from train.data.crop_frame import CROP_FORMAT, empty_sample, label_from_depth, sample_gray
from train.data.crops_set import SEQUENCES_PER_SUBJECT, subject_of
from train.data.frame_source import UNMEASURED_MM, CropSample, CropsSet, FrameEntry
from train.data.pandora_tables import is_excluded, pandora_splits
from train.data.reader_config import ANGLES, ReaderConfig
from train.data.strict_files import CHECK_DOWNLOAD, number_folders, read_angles, read_colour, read_plane
from train.units import REACH_MM

LAYOUT = "pandora-group-crops"
ANGLES_FILE = "angles.txt"
_DEPTH_NAME = re.compile(r"frame_(\d{6})_face_depth\.png")


@dataclass(frozen=True)
class PandoraCropsSource:
    """The group's crops, as a source that can be packed.

    Args:
        crops: The set's description; margin 1.
        config: The reader's settings.
        folders: Sequence to its folder.
    """

    crops: CropsSet
    config: ReaderConfig
    folders: dict[int, Path]
    measures_distance: bool = True

    def key_parts(self) -> Iterator[bytes]:
        """Yield the settings and every frame's number and angles."""
        yield f"{LAYOUT} {CROP_FORMAT} {self.config.settings_for('pandora')}".encode()
        for entry in self.crops.frames:
            yield f"{entry.frame_id} {entry.roll_pitch_yaw_deg}".encode()

    def read(self, position: int) -> CropSample:
        """Read and resample the frame at a position; see FrameSource."""
        entry = self.crops.frames[position]
        rgb_path, depth_path = frame_paths(self.folders[entry.sequence], entry.frame)
        colour = read_colour(rgb_path, None, CHECK_DOWNLOAD)
        depth_mm = read_plane(depth_path, np.uint16, None, CHECK_DOWNLOAD)
        side = self.crops.crop_px
        distance_mm = _distance_of(depth_mm, self.config.distance)
        if distance_mm == UNMEASURED_MM:
            return empty_sample(side)
        gray = sample_gray(colour, _whole(colour), side)
        depth = sample_depth(depth_mm, _whole(depth_mm), (side, side))
        return CropSample(gray, depth, label_from_depth(depth, distance_mm, self.config.head_range_mm), distance_mm)


def frame_paths(folder: Path, frame: int) -> tuple[Path, Path]:
    """Return the paths of a frame's image and depth."""
    return folder / f"frame_{frame:06d}_face_rgb.png", folder / f"frame_{frame:06d}_face_depth.png"


def open_pandora_crops(root: Path, config: ReaderConfig) -> PandoraCropsSource:
    """Read the list of frames of the group's crops; images are not opened.

    Args:
        root: The folder of the numbered sequences.
        config: The reader's settings.

    Returns:
        The source, without the test frames that the group excluded.

    Raises:
        InputError: A file is missing or breaks a rule; the text names the file.
    """
    frames: list[FrameEntry] = []
    folders: dict[int, Path] = {}
    columns = [ANGLES.index(name) for name in config.angle_order]
    for folder in number_folders(root):
        sequence = int(folder.name)
        folders[sequence] = folder
        names = {path.name for path in folder.iterdir()}
        numbers = sorted(int(match[1]) for match in map(_DEPTH_NAME.fullmatch, names) if match)
        path = _angles_path(folder, names)
        angles = read_angles(path, CHECK_DOWNLOAD)
        for frame in numbers:
            if is_excluded(sequence, frame, config):
                continue
            if frame not in angles:
                raise InputError.of(str(path), f"no line for frame {frame}", "one for every image", CHECK_DOWNLOAD)
            rgb_path, depth_path = frame_paths(folder, frame)
            if rgb_path.name not in names:
                raise InputError.of(str(rgb_path), "no such file", f"one for {depth_path.name}", CHECK_DOWNLOAD)
            roll, pitch, yaw = (angles[frame][column] for column in columns)
            frames.append(
                FrameEntry(sequence, frame, subject_of(sequence), UNMEASURED_MM, 1.0, True, (roll, pitch, yaw))
            )
    if not frames:
        rule = "folders 1, 2, ... with frame_%06d_face_depth.png"
        raise InputError.of(str(root), "no frames", rule, CHECK_DOWNLOAD)
    splits = pandora_splits(sorted(folders), config)
    crops = CropsSet(root, LAYOUT, config.box_px, 1.0, REACH_MM, splits, tuple(frames), SEQUENCES_PER_SUBJECT)
    return PandoraCropsSource(crops, config, folders)


def _angles_path(folder: Path, names: set[str]) -> Path:
    texts = sorted(name for name in names if name.lower().endswith(".txt"))
    if ANGLES_FILE in texts:
        return folder / ANGLES_FILE
    if len(texts) != 1:
        got = ", ".join(texts) or "no .txt file"
        raise InputError.of(str(folder), got, f"{ANGLES_FILE}, or one .txt file with the angles", CHECK_DOWNLOAD)
    return folder / texts[0]


def _whole(image: np.ndarray) -> Box:
    return Box(0.0, 0.0, float(image.shape[1]), float(image.shape[0]))


def _distance_of(depth_mm: np.ndarray, average: str) -> float:
    """Return D from the middle 40 of the crop's 320 mm: the box is centred on the head and its size follows from D."""
    reach = DEPTH_WINDOW_MM / REACH_MM / 2
    rows, columns = (slice(int(n * (0.5 - reach)), max(int(np.ceil(n * (0.5 + reach))), 1)) for n in depth_mm.shape)
    window = depth_mm[rows, columns]
    measured = window[window > 0]
    if not measured.size:
        return UNMEASURED_MM
    return float(np.median(measured) if average == "median" else np.mean(measured, dtype=np.float64))
