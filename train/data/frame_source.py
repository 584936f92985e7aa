# SPDX-License-Identifier: Apache-2.0
"""What every data set looks like to the rest of the training code: its frames, its splits, and one frame's crops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from facedepth_edge.errors import InputError

SPLITS = ("train", "val", "test")
UNMEASURED_MM = 0.0
"""The distance of a frame whose depth has not been read yet, or has no measurement at the head centre."""


@dataclass(frozen=True)
class FrameEntry:
    """One frame of a set.

    Args:
        sequence: Number of the sequence, 1 and up.
        frame: Number of the frame in its sequence.
        subject: Number of the person, 1 and up.
        distance_mm: D, the z of the visible surface at the head centre; UNMEASURED_MM where it is read from the depth
            image when the set is packed (`PackedSet.meta` then has it).
        visible: Fraction 0..1 of the face that no occluder hides and that lies in view.
        face: Whether a head is in the box at all.
        roll_pitch_yaw_deg: The head's angles.
        attributes: Free notes of whoever wrote the set, for reports by group.
        ray_xy: x / z and y / z of the box's centre in the camera's frame; (0, 0) where it is not known, or read with
            the image when the set is packed (`PackedSet.ray_xy` then has it).
    """

    sequence: int
    frame: int
    subject: int
    distance_mm: float
    visible: float
    face: bool
    roll_pitch_yaw_deg: tuple[float, float, float]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    ray_xy: tuple[float, float] = (0.0, 0.0)

    @property
    def frame_id(self) -> str:
        """Name of the frame within the set, `<sequence>/<frame>`, as files of predictions and pairs use it."""
        return f"{self.sequence:03d}/{self.frame:06d}"


@dataclass(frozen=True)
class CropsSet:
    """A set's description and the list of its frames, ordered by sequence and frame.

    Args:
        root: The set's folder.
        layout: Name of the layout on disk, one of train.data.layouts.LAYOUTS.
        crop_px: Side of the square crops in pixels.
        margin: The crop's side over the side of eq. 6's box.
        reach_mm: Rx = Ry of eq. 6.
        subjects: Split name to the numbers of its people.
        frames: All frames that are there.
        sequences_per_subject: 5 where sequence n is the subject's S1..S5 as in Pandora; 0 where there is no such rule.
        pictures: False where the set has depth and labels alone; its gray images are all 0.
        seeds: Of a rendered set, what its people follow from: two sets that share one may show the same person.
        shapes: (people, SHAPE_VALUES) float32, what train.data.shapes knows of them; None: nothing.
    """

    root: Path
    layout: str
    crop_px: int
    margin: float
    reach_mm: float
    subjects: Mapping[str, tuple[int, ...]]
    frames: tuple[FrameEntry, ...]
    sequences_per_subject: int
    pictures: bool = True
    seeds: tuple[str, ...] = ()
    shapes: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def box_px(self) -> int:
        """Side of eq. 6's box in the crop, in pixels."""
        return round(self.crop_px / self.margin)

    def require_pictures(self) -> None:
        """Refuse a set of depth alone.

        Raises:
            InputError: It has no pictures.
        """
        if not self.pictures:
            fix = "Render it without --depth-only; depth alone serves face verification."
            raise InputError.of(str(self.root), "a set of depth alone", "one with pictures", fix)

    def split_of(self, subject: int) -> str:
        """Return the split that a subject belongs to.

        Raises:
            InputError: The subject is in no split.
        """
        for name, members in self.subjects.items():
            if subject in members:
                return name
        rule = f"every subject in one of {', '.join(SPLITS)}"
        fix = "Add the subject to a split, or remove its sequences."
        raise InputError.of(str(self.root), f"no split for subject {subject}", rule, fix)


class CropSample(NamedTuple):
    """One frame's crops and its distance.

    Args:
        gray: (P, P) uint8.
        depth_mm: (P, P) uint16, 0 = no measurement.
        label: (P, P) uint8, as train.data.crops_set numbers them.
        distance_mm: D; UNMEASURED_MM where the depth image has no measurement at the head centre: the frame cannot be
            cropped, its planes are all 0.
        ray_xy: x / z and y / z of the head centre in the camera's frame; (0, 0) where it is not known.
    """

    gray: np.ndarray
    depth_mm: np.ndarray
    label: np.ndarray
    distance_mm: float
    ray_xy: tuple[float, float] = (0.0, 0.0)


class FrameSource(Protocol):
    """A data set that can be packed; one class a layout. Instances are pickled once for each packing process."""

    @property
    def crops(self) -> CropsSet:
        """The set's description and frames."""

    @property
    def measures_distance(self) -> bool:
        """Whether D and the ray come with the samples, not with the frames."""

    def key_parts(self) -> Iterator[bytes]:
        """Yield all that the crops follow from except the images' own bytes: settings, annotations, calibrations."""

    def read(self, position: int) -> CropSample:
        """Read and crop the frame at a position of `crops.frames`.

        Raises:
            InputError: A file is missing or breaks a rule; the text names the file.
        """
