# SPDX-License-Identifier: Apache-2.0
"""Reads `data.json` of a raw Pandora sequence: which frames there are, where the head is, how it is turned."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from facedepth_edge.errors import InputError
from train.data.reader_config import ANGLES, ReaderConfig
from train.data.strict_files import ANGLE_TOLERANCE_DEG, CHECK_DOWNLOAD, is_number, number_in, read_json

HEAD_JOINT = "Head"
HEAD_JOINT_INDEX = 3  # in the Kinect SDK's order: SpineBase, SpineMid, Neck, Head
_NAME_KEYS = ("name", "joint", "type", "jointType")


class FrameNote(NamedTuple):
    """What data.json says about a frame.

    Args:
        frame: Its number.
        head_xy_px: The head's joint, in the image that `ReaderConfig.joint_pixels` names.
        head_z_mm: How deep the joint lies in the depth camera's view; 0 where joints3D is silent.
        roll_pitch_yaw_deg: Under the labels of `ReaderConfig.angle_order`.
    """

    frame: int
    head_xy_px: tuple[float, float]
    head_z_mm: float
    roll_pitch_yaw_deg: tuple[float, float, float]


def read_notes(path: Path, config: ReaderConfig) -> list[FrameNote]:
    """Read a data.json.

    `joints` and `joints3D` (metres) may be an object by joint name, a list of objects with a name, or a list in the
    Kinect SDK's order; a joint may be [x, y, ...] or an object with x and y (z).

    Args:
        path: The file.
        config: angle_order.

    Returns:
        The notes, by ascending frame number.

    Raises:
        InputError: The file is missing or breaks a rule; the text names the file and the entry.
    """
    items = read_json(path, CHECK_DOWNLOAD)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError.of(str(path), f"a {type(items).__name__}", "a list of objects, one a frame", CHECK_DOWNLOAD)
    notes = []
    for position, item in enumerate(items):
        label = f"[{position}]."
        frame = number_in(item, "frame_num", path, 0, 999_999, CHECK_DOWNLOAD, label)
        if frame != int(frame):
            raise InputError.of(f"{path}: {label}frame_num", frame, "a whole number", CHECK_DOWNLOAD)
        head = _joint_of(item.get("joints"), 2)
        if head is None:
            rule = "a joint Head with x and y in pixels"
            raise InputError.of(f"{path}: {label}joints", item.get("joints"), rule, CHECK_DOWNLOAD)
        in_space = _joint_of(item.get("joints3D"), 3)
        z_mm = 1000.0 * in_space[2] if in_space is not None and in_space[2] > 0 else 0.0
        angles = _angles_of(item, config, f"{path}: {label}")
        notes.append(FrameNote(int(frame), (head[0], head[1]), z_mm, angles))
    notes.sort(key=lambda note: note.frame)
    for first, second in pairwise(notes):
        if first.frame == second.frame:
            raise InputError.of(str(path), f"frame_num {first.frame} twice", "each frame once", CHECK_DOWNLOAD)
    return notes


def _joint_of(joints: Any, count: int) -> list[float] | None:
    """Return the head's first `count` coordinates, or None where they cannot be found."""
    joint: Any = None
    if isinstance(joints, Mapping):
        joint = joints.get(HEAD_JOINT)
    elif isinstance(joints, list):
        named = [entry for entry in joints if isinstance(entry, Mapping) and any(key in entry for key in _NAME_KEYS)]
        if named:
            heads = [entry for entry in named if HEAD_JOINT in (entry.get(key) for key in _NAME_KEYS)]
            joint = heads[0] if heads else None
        elif len(joints) > HEAD_JOINT_INDEX:
            joint = joints[HEAD_JOINT_INDEX]
    if isinstance(joint, Mapping):
        lower = {str(key).lower(): value for key, value in joint.items()}
        joint = [lower.get(axis) for axis in "xyz"[:count]]
    if not isinstance(joint, list) or len(joint) < count or not all(is_number(value) for value in joint[:count]):
        return None
    return [float(value) for value in joint[:count]]


def _angles_of(item: Mapping[str, Any], config: ReaderConfig, where: str) -> tuple[float, float, float]:
    orientation = item.get("orientation")
    euler = orientation.get("euler", orientation) if isinstance(orientation, Mapping) else None
    values: list[Any] = [euler.get(name) for name in config.angle_order] if isinstance(euler, Mapping) else [None]
    if not all(is_number(value) and abs(value) <= ANGLE_TOLERANCE_DEG for value in values):
        rule = f"euler with {', '.join(ANGLES)} in degrees"
        raise InputError.of(f"{where}orientation", orientation, rule, CHECK_DOWNLOAD)
    roll, pitch, yaw = (float(value) for value in values)
    return roll, pitch, yaw
