# SPDX-License-Identifier: Apache-2.0
"""Reads the Biwi Kinect Head Pose Database: a folder a sequence with rgb.cal, depth.cal, and three files a frame.

`frame_%05d_rgb.png`, `frame_%05d_depth.bin` and `frame_%05d_pose.txt`. The depth image is carried onto the RGB camera's
grid; without that depth and intensity do not align. Holes of the structured light stay 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedepth_edge.errors import ConfigError, InputError
from train.data.biwi_files import (
    Calibration,
    Pose,
    angles_from_pose,
    read_calibration,
    read_depth_bin,
    read_pose,
    text_from_calibration,
)
from train.data.crop_frame import CROP_FORMAT, crop_raw_frame, reach_of_focal
from train.data.frame_source import UNMEASURED_MM, CropSample, CropsSet, FrameEntry
from train.data.reader_config import ReaderConfig
from train.data.registration import register_depth
from train.data.strict_files import CHECK_DOWNLOAD, number_folders, read_colour

LAYOUT = "biwi"
SAME_PERSON = {15: 3, 18: 5, 21: 2, 22: 7}
"""Sequences of people who were recorded before, and that earlier sequence."""

_FRAME_NAME = re.compile(r"frame_(\d{5})_(rgb\.png|depth\.bin|pose\.txt)")
_KINDS = ("rgb.png", "depth.bin", "pose.txt")


def person_of(sequence: int) -> int:
    """Return the person of a sequence: the number of the first sequence that shows them."""
    return SAME_PERSON.get(sequence, sequence)


@dataclass(frozen=True)
class BiwiSource:
    """Biwi, as a source that can be packed.

    Args:
        crops: The set's description.
        config: The reader's settings.
        folders: Sequence to its folder.
        calibrations: Sequence to its depth and its RGB camera.
        poses: Of each frame of `crops.frames`.
    """

    crops: CropsSet
    config: ReaderConfig
    folders: dict[int, Path]
    calibrations: dict[int, tuple[Calibration, Calibration]]
    poses: tuple[Pose, ...]
    measures_distance: bool = True

    def key_parts(self) -> Iterator[bytes]:
        """Yield the settings, the calibrations and every frame's pose."""
        yield f"{LAYOUT} {CROP_FORMAT} {self.config.settings_for('biwi')}".encode()
        for sequence in sorted(self.folders):
            for calibration in self.calibrations[sequence]:
                yield f"{sequence} {text_from_calibration(calibration)}".encode()
        for entry, pose in zip(self.crops.frames, self.poses, strict=True):
            yield f"{entry.frame_id} {pose.rotation.tolist()} {pose.center_mm.tolist()}".encode()

    def read_registered(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Read a frame and carry its depth onto the RGB camera's grid.

        Args:
            position: Of `crops.frames`.

        Returns:
            colour (H, W, 3) uint8 BGR; depth (H, W) uint16 mm in the RGB camera's frame, 0 = no measurement.

        Raises:
            InputError: A file is missing, damaged or of another size than its calibration; the text names the file.
        """
        entry = self.crops.frames[position]
        depth_camera, rgb_camera = self.calibrations[entry.sequence]
        folder = self.folders[entry.sequence]
        colour = read_colour(frame_path(folder, entry.frame, "rgb.png"), rgb_camera.camera.size_hw, CHECK_DOWNLOAD)
        path = frame_path(folder, entry.frame, "depth.bin")
        depth_mm = read_depth_bin(path)
        if depth_mm.shape != depth_camera.camera.size_hw:
            height, width = depth_camera.camera.size_hw
            got = f"{depth_mm.shape[1]} x {depth_mm.shape[0]} pixels"
            raise InputError.of(str(path), got, f"{width} x {height} as in depth.cal", CHECK_DOWNLOAD)
        rotation, translation_mm = rgb_camera.rotation, rgb_camera.translation_mm
        return colour, register_depth(depth_mm, depth_camera.camera, rotation, translation_mm, rgb_camera.camera)

    def head_center(self, position: int) -> tuple[float, float]:
        """Return the (x, y) of the head centre in pixels of the RGB image; NaN where it lies behind that camera."""
        _, rgb_camera = self.calibrations[self.crops.frames[position].sequence]
        point_mm = rgb_camera.rotation @ self.poses[position].center_mm + rgb_camera.translation_mm
        return rgb_camera.camera.project(point_mm) if point_mm[2] > 0 else (float("nan"), float("nan"))

    def read(self, position: int) -> CropSample:
        """Read, register and crop the frame at a position; see FrameSource."""
        colour, depth_mm = self.read_registered(position)
        camera = self.calibrations[self.crops.frames[position].sequence][1].camera
        focal_xy_px = self.config.biwi_focal_xy_px or camera.focal_xy_px
        return crop_raw_frame(colour, camera, depth_mm, camera, self.head_center(position), focal_xy_px, self.config)


def frame_path(folder: Path, frame: int, kind: str) -> Path:
    """Return the path of a frame's file; kind is rgb.png, depth.bin or pose.txt."""
    return folder / f"frame_{frame:05d}_{kind}"


def open_biwi(root: Path, config: ReaderConfig) -> BiwiSource:
    """Read Biwi's calibrations and poses; images are not opened.

    Args:
        root: The folder of the numbered sequences (hpdb).
        config: The reader's settings.

    Returns:
        The source.

    Raises:
        InputError: A file is missing or breaks a rule; the text names the file.
        ConfigError: A person would be in two splits.
    """
    frames: list[FrameEntry] = []
    poses: list[Pose] = []
    folders: dict[int, Path] = {}
    calibrations: dict[int, tuple[Calibration, Calibration]] = {}
    for folder in number_folders(root):
        sequence = int(folder.name)
        folders[sequence] = folder
        calibrations[sequence] = (read_calibration(folder / "depth.cal"), read_calibration(folder / "rgb.cal"))
        for frame in _frames_of(folder):
            pose = read_pose(frame_path(folder, frame, "pose.txt"))
            angles = angles_from_pose(pose.rotation)
            frames.append(FrameEntry(sequence, frame, person_of(sequence), UNMEASURED_MM, 1.0, True, angles))
            poses.append(pose)
    if not frames:
        rule = "folders 01, 02, ... with frame_%05d_depth.bin"
        raise InputError.of(str(root), "no frames", rule, CHECK_DOWNLOAD)
    splits = _splits(sorted(folders), config)
    cameras = [rgb.camera for _, rgb in calibrations.values()]
    reach_mm = reach_of_focal(config.biwi_focal_xy_px, cameras, "data.reader.biwi_focal_xy_px")
    crops = CropsSet(root, LAYOUT, config.crop_px, config.margin, reach_mm, splits, tuple(frames), 0)
    return BiwiSource(crops, config, folders, calibrations, tuple(poses))


def _frames_of(folder: Path) -> list[int]:
    """Return the numbers of a folder's frames, each with its three files."""
    kinds: dict[int, set[str]] = {}
    for path in folder.iterdir():
        match = _FRAME_NAME.fullmatch(path.name)
        if match:
            kinds.setdefault(int(match[1]), set()).add(match[2])
    for frame in sorted(kinds):
        for kind in _KINDS:
            if kind not in kinds[frame]:
                path = frame_path(folder, frame, kind)
                raise InputError.of(str(path), "no such file", "three files for every frame", CHECK_DOWNLOAD)
    return sorted(kinds)


def _splits(sequences: list[int], config: ReaderConfig) -> dict[str, tuple[int, ...]]:
    """Return the people of each split; both sequences of a person must be in the same."""
    chosen = {"val": set(config.biwi_val_sequences), "test": set(config.biwi_test_sequences)}
    split_of = {s: next((name for name, members in chosen.items() if s in members), "train") for s in sequences}
    splits: dict[str, tuple[int, ...]] = {}
    for name in ("train", "val", "test"):
        splits[name] = tuple(sorted({person_of(s) for s in sequences if split_of[s] == name}))
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = set(splits[first]) & set(splits[second])
        if shared:
            person = min(shared)
            got = f"sequences {', '.join(str(s) for s in sequences if person_of(s) == person)} in {first} and {second}"
            rule = "all sequences of a person in one split"
            fix = "Name all of them in biwi_val_sequences or biwi_test_sequences, or none."
            raise ConfigError.of("data.reader.biwi_*_sequences", got, rule, fix)
    return splits
