# SPDX-License-Identifier: Apache-2.0
"""Reads Pandora's raw frames: RGB/%06d_RGB.png, DEPTH/%06d_DEPTH.png and data.json in one folder a sequence.

Colour and depth come from two cameras. The depth image is carried to the colour camera's point of view and keeps its
own focal length and size there; colour keeps all its pixels, and the box goes from one to the other by scale and shift.
So neither is resampled twice, and where both cameras share a point of view the depth image stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facedepth_edge.errors import InputError
from train.data.crop_frame import CROP_FORMAT, crop_raw_frame, measure_distance, reach_of_focal
from train.data.crops_set import SEQUENCES_PER_SUBJECT, subject_of
from train.data.frame_source import UNMEASURED_MM, CropSample, CropsSet, FrameEntry
from train.data.pandora_calibration import CALIBRATION_FILE, NOMINAL, KinectCalibration, read_calibration
from train.data.pandora_notes import FrameNote, read_notes
from train.data.pandora_tables import is_excluded, pandora_splits
from train.data.reader_config import ReaderConfig
from train.data.registration import register_depth
from train.data.strict_files import CHECK_DOWNLOAD, number_folders, read_colour, read_plane

LAYOUT = "pandora-raw"
MOST_OUTSIDE = 0.5
"""With a larger share of a sequence's head joints outside the image, they must be another image's pixels."""


class RawFrame(NamedTuple):
    """One frame as it lies on disk.

    Args:
        colour: (H, W, 3) uint8 BGR.
        depth_mm: (h, w) uint16, of the depth camera, 0 = no measurement.
    """

    colour: np.ndarray
    depth_mm: np.ndarray


@dataclass(frozen=True)
class PandoraRawSource:
    """Raw Pandora, as a source that can be packed.

    Args:
        crops: The set's description.
        config: The reader's settings.
        folders: Sequence to its folder.
        calibrations: Sequence to its cameras.
        notes: What data.json says, for each frame of `crops.frames`.
    """

    crops: CropsSet
    config: ReaderConfig
    folders: dict[int, Path]
    calibrations: dict[int, KinectCalibration]
    notes: tuple[FrameNote, ...]
    measures_distance: bool = True

    def key_parts(self) -> Iterator[bytes]:
        """Yield the settings, the calibrations and every frame's note."""
        yield f"{LAYOUT} {CROP_FORMAT} {self.config.settings_for('pandora')}".encode()
        for sequence in sorted(self.folders):
            yield f"{sequence} {self.calibrations[sequence]}".encode()
        for entry, note in zip(self.crops.frames, self.notes, strict=True):
            yield f"{entry.sequence} {tuple(note)}".encode()

    def read_raw(self, position: int) -> RawFrame:
        """Read a frame's two images as they are.

        Raises:
            InputError: One is missing, does not decode, or has not the calibration's size; the text names the file.
        """
        entry = self.crops.frames[position]
        folder, calibration = self.folders[entry.sequence], self.calibrations[entry.sequence]
        rgb_path, depth_path = frame_paths(folder, entry.frame)
        colour = read_colour(rgb_path, calibration.colour.size_hw, CHECK_DOWNLOAD)
        return RawFrame(colour, read_plane(depth_path, np.uint16, calibration.depth.size_hw, CHECK_DOWNLOAD))

    def read(self, position: int) -> CropSample:
        """Read, register and crop the frame at a position; see FrameSource."""
        raw = self.read_raw(position)
        calibration = self.calibrations[self.crops.frames[position].sequence]
        rotation, translation_mm = calibration.rotation_matrix, np.array(calibration.translation_mm)
        view = calibration.depth  # at the colour camera's point of view from here on
        registered = register_depth(raw.depth_mm, calibration.depth, rotation, translation_mm, view)
        center_xy = self._head_center(position, raw.depth_mm)
        focal_xy_px = self.config.pandora_focal_xy_px or view.focal_xy_px
        return crop_raw_frame(raw.colour, calibration.colour, registered, view, center_xy, focal_xy_px, self.config)

    def _head_center(self, position: int, depth_mm: np.ndarray) -> tuple[float, float]:
        """Return the head's joint in the registered view; NaN where its distance cannot be known."""
        note = self.notes[position]
        calibration = self.calibrations[self.crops.frames[position].sequence]
        depth, colour = calibration.depth, calibration.colour
        if self.config.joint_pixels == "colour":
            ray = colour.lift(note.head_xy_px, 1.0)
            return depth.project(ray)
        z_mm = note.head_z_mm or measure_distance(depth_mm, note.head_xy_px, depth, self.config.distance)
        if z_mm == UNMEASURED_MM:
            return float("nan"), float("nan")
        point = calibration.rotation_matrix @ depth.lift(note.head_xy_px, z_mm) + calibration.translation_mm
        return depth.project(point)


def frame_paths(folder: Path, frame: int) -> tuple[Path, Path]:
    """Return the paths of a frame's colour and depth image."""
    return folder / "RGB" / f"{frame:06d}_RGB.png", folder / "DEPTH" / f"{frame:06d}_DEPTH.png"


def open_pandora_raw(root: Path, config: ReaderConfig) -> PandoraRawSource:
    """Read the list of frames of raw Pandora; images are not opened.

    Args:
        root: The folder of the numbered sequences.
        config: The reader's settings.

    Returns:
        The source, without the test frames that the group excluded.

    Raises:
        InputError: A file is missing or breaks a rule; the text names the file.
    """
    fallback = NOMINAL if config.pandora_calibration is None else read_calibration(Path(config.pandora_calibration))
    if (root / CALIBRATION_FILE).is_file():
        fallback = read_calibration(root / CALIBRATION_FILE)
    frames: list[FrameEntry] = []
    notes: list[FrameNote] = []
    folders: dict[int, Path] = {}
    calibrations: dict[int, KinectCalibration] = {}
    for folder in number_folders(root):
        sequence = int(folder.name)
        own = folder / CALIBRATION_FILE
        calibration = read_calibration(own) if own.is_file() else fallback
        folders[sequence], calibrations[sequence] = folder, calibration
        listed = read_notes(folder / "data.json", config)
        _check_joints(listed, calibration, folder / "data.json", config)
        there = {
            path.name for name in ("RGB", "DEPTH") if (folder / name).is_dir() for path in (folder / name).iterdir()
        }
        for note in listed:
            if is_excluded(sequence, note.frame, config):
                continue
            for path in frame_paths(folder, note.frame):
                if path.name not in there:
                    rule = f"an image for every frame of {folder / 'data.json'}"
                    raise InputError.of(str(path), "no such file", rule, CHECK_DOWNLOAD)
            frames.append(
                FrameEntry(
                    sequence, note.frame, subject_of(sequence), UNMEASURED_MM, 1.0, True, note.roll_pitch_yaw_deg
                )
            )
            notes.append(note)
    if not frames:
        rule = "folders 1, 2, ... with RGB, DEPTH and data.json"
        raise InputError.of(str(root), "no frames", rule, CHECK_DOWNLOAD)
    splits = pandora_splits(sorted(folders), config)
    cameras = [calibration.depth for calibration in calibrations.values()]
    reach_mm = reach_of_focal(config.pandora_focal_xy_px, cameras, "data.reader.pandora_focal_xy_px")
    crops = CropsSet(
        root, LAYOUT, config.crop_px, config.margin, reach_mm, splits, tuple(frames), SEQUENCES_PER_SUBJECT
    )
    return PandoraRawSource(crops, config, folders, calibrations, tuple(notes))


def _check_joints(notes: list[FrameNote], calibration: KinectCalibration, path: Path, config: ReaderConfig) -> None:
    """Refuse a sequence whose head joints are another image's pixels."""
    camera = calibration.depth if config.joint_pixels == "depth" else calibration.colour
    outside = [note for note in notes if not camera.sees(note.head_xy_px)]
    if len(outside) > MOST_OUTSIDE * len(notes):
        x, y = outside[0].head_xy_px
        height, width = camera.size_hw
        got = f"joints.Head ({x:g}, {y:g}) of frame {outside[0].frame} and {len(outside) - 1} more"
        other = "colour" if config.joint_pixels == "depth" else "depth"
        rule = f"most of them inside the {config.joint_pixels} image of {width} x {height}"
        raise InputError.of(str(path), got, rule, f"Set data.reader.joint_pixels to {other} if they are its pixels.")
