# SPDX-License-Identifier: Apache-2.0
"""Further sets add training people alone, under new numbers; their frames come out as their own set gives them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.errors import InputError
from tests.train.conftest import write_crops_set
from train.data.joined import JoinedRows, join_sets
from train.data.packed import PackedSet, open_packed_set


def opened(root: Path, cache: Path, **note: object) -> PackedSet:
    info = json.loads((root / "dataset.json").read_text()) | note
    for notes in root.glob("*/frames.json"):
        frames = [
            item | {"focal_px": 200.0, "principal_xy": [30.0 + i, 9.0]}
            for i, item in enumerate(json.loads(notes.read_text()))
        ]
        notes.write_text(json.dumps(frames))
    (root / "dataset.json").write_text(json.dumps(info))
    return open_packed_set(root, cache, processes=1, progress=False)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[PackedSet]:
    root = tmp_path_factory.mktemp("joined")
    sizes = {"a": 6, "b": 5, "c": 4}
    return [
        opened(write_crops_set(root / name, subjects=size, seed=seed), root / "cache", generator={}, seed=seed)
        for seed, (name, size) in enumerate(sizes.items())
    ]


def test_rows_are_those_of_the_parts() -> None:
    parts = [np.arange(n * 6, dtype=np.uint16).reshape(n, 2, 3) + 100 * n for n in (4, 1, 3)]
    rows, whole = JoinedRows(parts), np.concatenate(parts)
    assert (rows.shape, rows.dtype, len(rows)) == (whole.shape, whole.dtype, 8)
    chosen = np.array([7, 0, 4, 4, 3, 5])
    np.testing.assert_array_equal(rows[chosen], whole[chosen])
    np.testing.assert_array_equal(rows[chosen > 3], whole[np.flatnonzero(chosen > 3)])
    np.testing.assert_array_equal(rows[4], whole[4])
    assert rows[chosen[:0]].shape == (0, 2, 3)
    for outside in (8, -1):
        with pytest.raises(IndexError):
            rows[np.array([0, outside])]


def test_training_people_are_added_and_nobody_else(sets: list[PackedSet]) -> None:
    first, *others = sets
    joined = join_sets(first, *others)
    for split in ("val", "test"):
        np.testing.assert_array_equal(joined.indices(split), first.indices(split))
    train = joined.indices("train")
    assert len(train) == sum(len(each.indices("train")) for each in sets)
    people = np.unique(joined.meta["subject"])
    assert len(people) == 6 + 5 + 4
    assert len(np.unique(joined.meta["subject"][train])) == 4 + 3 + 2
    ids = [entry.frame_id for entry in joined.crops.frames]
    assert len(set(ids)) == len(ids) == len(joined.meta)
    assert joined.name == " + ".join(each.crops.root.name for each in sets)
    assert len({joined.key, join_sets(first, others[1], others[0]).key, *(each.key for each in sets)}) == 5
    assert join_sets(first) is first


def test_frames_are_those_of_their_own_set(sets: list[PackedSet]) -> None:
    joined = join_sets(*sets)
    begin = len(sets[0].meta) + len(sets[1].meta)
    picked = np.array([begin + 5, 2])
    for name in ("gray", "depth_mm", "label"):
        mine = getattr(joined, name)[picked]
        np.testing.assert_array_equal(mine[0], getattr(sets[2], name)[5])
        np.testing.assert_array_equal(mine[1], getattr(sets[0], name)[2])
    np.testing.assert_array_equal(joined.ray_xy[begin:], sets[2].ray_xy)
    assert sets[2].ray_xy.any()
    assert len(joined.ray_xy) == len(joined.meta)
    entry, own = joined.crops.frames[begin + 5], sets[2].crops.frames[5]
    assert (entry.distance_mm, entry.roll_pitch_yaw_deg) == (own.distance_mm, own.roll_pitch_yaw_deg)
    assert joined.meta["subject"][begin + 5] == entry.subject == own.subject + 11
    # The rule of five sequences a person still holds: sequence n is S1..S5 of its person.
    assert entry.sequence == (entry.subject - 1) * 5 + own.sequence - (own.subject - 1) * 5


def test_the_same_people_are_refused(sets: list[PackedSet], tmp_path: Path) -> None:
    again = opened(write_crops_set(tmp_path / "again", seed=77), tmp_path / "cache", generator={}, seed=0)
    with pytest.raises(InputError, match=r"again.*seed 0 of train.synth.*Give sets of other people"):
        join_sets(*sets, again)
    for twice in (sets[1], replace(sets[0], key="other")):
        with pytest.raises(InputError, match="the same set again"):
            join_sets(sets[0], sets[1], twice)
    other = opened(write_crops_set(tmp_path / "o", seed=0), tmp_path / "cache", generator={"name": "x"}, seed=0)
    assert len(join_sets(sets[0], other).meta) == 48


def test_people_without_frames_keep_their_numbers(sets: list[PackedSet]) -> None:
    """A split that names more people than there are frames of must not share a number with those that are added."""
    first, other, third = sets
    splits = {"train": (1, 2, 3, 4), "val": (5, 8), "test": (6, 9)}
    some = {"train": (*other.crops.subjects["train"], 30), "val": (), "test": ()}
    joined = join_sets(
        replace(first, crops=replace(first.crops, subjects=splits)),
        replace(other, crops=replace(other.crops, subjects=some)),
        third,
    )
    np.testing.assert_array_equal(joined.indices("test"), first.indices("test"))
    train = joined.indices("train")
    assert not set(train) & set(joined.indices("val")) | set(train) & set(joined.indices("test"))
    numbers = [set(joined.crops.subjects[split]) for split in ("train", "val", "test")]
    assert sum(map(len, numbers)) == len(set.union(*numbers))


def test_depth_alone_and_pictures_make_no_pictures(sets: list[PackedSet]) -> None:
    dark = replace(sets[1], crops=replace(sets[1].crops, pictures=False))
    assert not join_sets(sets[0], dark).crops.pictures
    assert join_sets(*sets).crops.pictures


def test_other_crops_are_refused(sets: list[PackedSet], tmp_path: Path) -> None:
    far = opened(write_crops_set(tmp_path / "far"), tmp_path / "cache", reach_mm=300.0)
    with pytest.raises(InputError, match=r"far: reach_mm: got 300.0, expected 320.0"):
        join_sets(sets[0], far)
