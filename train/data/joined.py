# SPDX-License-Identifier: Apache-2.0
"""Adds the training people of further packed sets to one: more people to learn from, the same to be measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from facedepth_edge.errors import InputError
from train.data.frame_source import CropsSet, FrameEntry
from train.data.packed import PackedSet
from train.data.shapes import shapes_of

_FIX = "Give sets of other people (of the renderer: another --seed): test people must not be trained on."


class JoinedRows:
    """The rows of several arrays, one array after the other, without a copy.

    Args:
        parts: Arrays (N_i, ...) of one dtype and of one shape behind N_i.
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self.parts = list(parts)
        self.ends = np.cumsum([len(part) for part in parts])
        self.shape = (int(self.ends[-1]), *parts[0].shape[1:])
        self.dtype = parts[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return the chosen rows as an array: by a number, numbers (n,) int64, a mask (N,) bool, or a slice."""
        chosen = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        chosen = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        if chosen.ndim == 0:
            return self[chosen[None]][0]
        if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < len(self):
            raise IndexError(f"rows {int(chosen.min())} to {int(chosen.max())} of {len(self)}")
        out = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        owner = np.searchsorted(self.ends, chosen, side="right")
        for index in np.unique(owner):
            mine = np.flatnonzero(owner == index)
            part = self.parts[index]
            out[mine] = part[chosen[mine] - (self.ends[index] - len(part))]
        return out


def join_sets(main: PackedSet, *others: PackedSet) -> PackedSet:
    """Return a set with the frames of all: validation and test people of the first, training people of all.

    People and sequences of the others get new numbers behind those of the sets before them; their validation and test
    people are left out.

    Args:
        main: The set that is measured on.
        others: Sets of the same crops.

    Returns:
        The set; the first one itself where there is no other.

    Raises:
        InputError: The crops differ in size, or two sets are the same or of the same people.
    """
    joined, seen = main, [main]
    for other in others:
        if any(other.key == one.key or other.crops.root.resolve() == one.crops.root.resolve() for one in seen):
            raise InputError.of(str(other.crops.root), "the same set again", "other people", _FIX)
        seen.append(other)
        joined = _joined(joined, other, main)
    return joined


def _joined(main: PackedSet, other: PackedSet, first: PackedSet) -> PackedSet:
    a, b = main.crops, other.crops
    for name in ("crop_px", "margin", "reach_mm", "sequences_per_subject"):
        if getattr(a, name) != getattr(b, name):
            rule = f"{getattr(a, name)}, as {first.crops.root} has"
            raise InputError.of(f"{b.root}: {name}", getattr(b, name), rule, "Give sets of the same crops.")
    for seed in sorted(set(a.seeds) & set(b.seeds)):
        raise InputError.of(str(b.root), f"seed {seed}, as {first.crops.root}", "other people", _FIX)
    # A split may name people that have no frames: their numbers are taken all the same.
    highest = max(
        [entry.subject for entry in a.frames] + [person for people in a.subjects.values() for person in people]
    )
    sequence = max([entry.sequence for entry in a.frames] + [highest * max(a.sequences_per_subject, 1)])

    def moved(entry: FrameEntry) -> FrameEntry:
        return replace(entry, subject=entry.subject + highest, sequence=entry.sequence + sequence)

    meta = other.meta.copy()
    meta["subject"] += highest
    meta["sequence"] += sequence
    crops: CropsSet = replace(
        a,
        subjects={**a.subjects, "train": (*a.subjects["train"], *(person + highest for person in b.subjects["train"]))},
        frames=(*a.frames, *map(moved, b.frames)),
        seeds=(*a.seeds, *b.seeds),
        pictures=a.pictures and b.pictures,
        shapes=_joined_shapes(a, b, highest),
    )
    key = hashlib.sha256(f"{main.key} {other.key}".encode()).hexdigest()[:16]
    planes: list[Any] = [
        JoinedRows([*_parts(getattr(main, name)), getattr(other, name)]) for name in ("gray", "depth_mm", "label")
    ]
    name = f"{main.name} + {other.name}"
    known = main.ray_xy is not None and other.ray_xy is not None
    rays = np.concatenate([main.ray_xy, other.ray_xy]) if known else None
    return PackedSet(crops, *planes, np.concatenate([main.meta, meta]), key, name, rays, main.along)


def _joined_shapes(a: CropsSet, b: CropsSet, highest: int) -> np.ndarray | None:
    if a.shapes is None and b.shapes is None:
        return None
    before = shapes_of(a.shapes, np.arange(1, highest + 1))
    return before if b.shapes is None else np.concatenate([before, b.shapes])


def _parts(rows: Any) -> list[np.ndarray]:
    return rows.parts if isinstance(rows, JoinedRows) else [rows]
