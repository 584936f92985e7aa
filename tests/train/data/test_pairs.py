# SPDX-License-Identifier: Apache-2.0
"""Subsets and fixed pair lists: nine cells, as many same as different pairs, the same for a seed, read strictly."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.errors import ConfigError, InputError
from train.data.frame_source import CropsSet, FrameEntry
from train.data.packed import META_DTYPE, PackedSet
from train.data.pairs import draw_pairs, read_pairs, write_pairs
from train.data.subsets import CELLS, cells_of, in_cell, is_frontal, sequence_of_subject


def make_set(subjects: int = 4, frames: int = 6, layout: str = "pandora-crops", seed: int = 0) -> PackedSet:
    """A packed set without images: every other frame is frontal, every fifth shows no face."""
    rng = np.random.default_rng(seed)
    entries = []
    for sequence in range(1, 5 * subjects + 1):
        for frame in range(frames):
            angles = rng.uniform(-9, 9, 3)
            if frame % 2:
                angles[rng.integers(3)] = 10.5 * (-1) ** frame
            face = (sequence + frame) % 5 != 0
            roll, pitch, yaw = angles
            entries.append(FrameEntry(sequence, frame, (sequence - 1) // 5 + 1, 700.0, 1.0, face, (roll, pitch, yaw)))
    people = tuple(range(1, subjects + 1))
    splits = {"train": (), "val": (), "test": people}
    crops = CropsSet(Path("set"), layout, 4, 1.0, 320.0, splits, tuple(entries), 0 if layout == "biwi" else 5)
    rows = [(e.sequence, e.frame, e.subject, 700.0, 1.0, e.face, e.roll_pitch_yaw_deg) for e in entries]
    plane = np.zeros((len(entries), 4, 4), np.uint8)
    return PackedSet(crops, plane, plane.astype(np.uint16), plane, np.array(rows, META_DTYPE), "0123456789abcdef")


DATA = make_set()


def test_angle_sets_end_at_ten_degrees() -> None:
    meta = np.zeros(5, META_DTYPE)
    meta["roll_pitch_yaw_deg"] = [(10, -10, 10), (10.01, 0, 0), (0, -10.01, 0), (0, 0, 90), (0, 0, 0)]
    assert is_frontal(meta).tolist() == [True, False, False, False, True]


def test_sequences_and_cells() -> None:
    meta = DATA.meta
    assert sequence_of_subject(meta, DATA.crops)[:: 6 * 5 + 6].tolist() == [1, 2, 3, 4]
    assert len(CELLS) == 9
    counts = {cell: int(in_cell(meta, DATA.crops, cell).sum()) for cell in CELLS}
    assert counts == {
        "A1|S123": 36, "A1|S45": 24, "A1|all": 60, "A2|S123": 36, "A2|S45": 24, "A2|all": 60,
        "all|S123": 72, "all|S45": 48, "all|all": 120,
    }  # fmt: skip


def test_a_set_without_s1_to_s5_has_three_cells() -> None:
    biwi = make_set(layout="biwi")
    assert cells_of(biwi.crops) == ("A1|all", "A2|all", "all|all")
    with pytest.raises(InputError, match="got layout biwi, expected a set with S1 to S5"):
        in_cell(biwi.meta, biwi.crops, "A1|S45")
    assert set(draw_pairs(biwi, "test", 10, 1).cell) == {"A1|all", "A2|all", "all|all"}


def test_pairs_keep_their_promises() -> None:
    pairs = draw_pairs(DATA, "test", 40, seed=3)
    assert list(dict.fromkeys(pairs.cell)) == list(CELLS)
    for cell in CELLS:
        here = pairs.of(cell)
        assert len(here) == 40
        assert here.same.sum() == 20
        members = in_cell(DATA.meta, DATA.crops, cell) & DATA.meta["face"]
        assert members[here.first].all()
        assert members[here.second].all()
        assert (here.first != here.second).all()
        subject = DATA.meta["subject"]
        np.testing.assert_array_equal(subject[here.first] == subject[here.second], here.same)
        assert len({frozenset(p) for p in zip(here.first.tolist(), here.second.tolist(), strict=True)}) == 40
    different = pairs.of("all|all")
    order = DATA.meta["subject"][different.first] < DATA.meta["subject"][different.second]
    assert 3 <= order[~different.same].sum() <= 17  # the order does not tell who is who


def test_pairs_are_a_function_of_the_seed() -> None:
    first, again, other = (draw_pairs(DATA, "test", 40, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.first, again.first)
    np.testing.assert_array_equal(first.second, again.second)
    assert (first.first != other.first).mean() > 0.5
    # Fixed by SHA-256: another machine or library must draw the same.
    assert list(zip(first.first[:3].tolist(), first.second[:3].tolist(), strict=True)) == [(68, 60), (76, 62), (10, 6)]


def test_pairs_do_not_depend_on_who_else_is_in_the_set() -> None:
    """Who has only the test people draws the list that who has all draws."""
    entries = DATA.crops.frames
    there = np.array([entry.subject >= 3 for entry in entries])
    people = {"train": (), "val": (), "test": (3, 4)}
    drawn = []
    for keep in (np.ones_like(there), there):
        frames = tuple(entry for entry, kept in zip(entries, keep, strict=True) if kept)
        crops = replace(DATA.crops, subjects=people, frames=frames)
        planes = (plane[keep] for plane in (DATA.gray, DATA.depth_mm, DATA.label))
        pairs = draw_pairs(PackedSet(crops, *planes, DATA.meta[keep], "0123456789abcdef"), "test", 40, seed=3)
        drawn.append([(frames[a].frame_id, frames[b].frame_id) for a, b in zip(pairs.first, pairs.second, strict=True)])
    assert len(drawn[0]) > 300
    assert drawn[0] == drawn[1]


def test_a_small_cell_gives_every_pair_once() -> None:
    small = make_set(subjects=2, frames=2)
    pairs = draw_pairs(small, "test", 1000, seed=1)
    for cell in CELLS:
        members = np.flatnonzero(in_cell(small.meta, small.crops, cell) & small.meta["face"])
        subject = small.meta["subject"]
        every = list(itertools.combinations(members.tolist(), 2))
        same = [pair for pair in every if subject[pair[0]] == subject[pair[1]]]
        each = min(len(same), len(every) - len(same))
        here = pairs.of(cell)
        assert (int(here.same.sum()), int((~here.same).sum())) == (each, each)
        if each == len(same):
            drawn = {
                tuple(sorted((int(a), int(b))))
                for a, b in zip(here.first[here.same], here.second[here.same], strict=True)
            }
            assert drawn == set(same)


@pytest.mark.parametrize("count", [0, 7, -2])
def test_an_odd_count_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=rf"--count: got {count}, expected an even number"):
        draw_pairs(DATA, "test", count, 1)


def test_no_frames_of_a_split() -> None:
    with pytest.raises(InputError, match="split val: got no frames"):
        draw_pairs(DATA, "val", 10, 1)


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    path = tmp_path / "lists" / "pairs.csv"
    write_pairs(path, draw_pairs(DATA, "test", 12, 2), DATA, "test", 12, 2)
    return path


def test_what_is_written_is_read_back(listing: Path) -> None:
    drawn, read = draw_pairs(DATA, "test", 12, 2), read_pairs(listing, DATA)
    for name in ("cell", "first", "second", "same"):
        np.testing.assert_array_equal(getattr(drawn, name), getattr(read, name))
    assert read.key == "0123456789abcdef"
    lines = listing.read_text().splitlines()
    assert lines[0] == "# face pairs of set, layout pandora-crops, key 0123456789abcdef, split test, seed 2"
    assert "# A1|S45: 6 same, 6 different" in lines
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))  # anyone can read it
    assert len(rows) == 9 * 12
    assert rows[0]["cell"] == "A1|S123"
    assert rows[0]["a"] == DATA.crops.frames[int(drawn.first[0])].frame_id


def test_the_file_says_where_a_cell_has_too_few(tmp_path: Path) -> None:
    small = make_set(subjects=2, frames=2)
    write_pairs(tmp_path / "p.csv", draw_pairs(small, "test", 1000, 1), small, "test", 1000, 1)
    text = (tmp_path / "p.csv").read_text()
    assert "# all|all: 56 same, 56 different, fewer than asked: the cell has no more" in text


def line(number: int, text: str) -> Callable[[list[str]], None]:
    def put(lines: list[str]) -> None:
        lines[number - 1] = text

    return put


def again(lines: list[str]) -> None:
    cell, a, b, same = lines[13].split(",")
    lines.append(f"{cell},{b},{a},{same}")


def other_truth(lines: list[str]) -> None:
    lines[13] = lines[13][:-1] + str(1 - int(lines[13][-1]))


BROKEN: dict[str, tuple[Callable[[list[str]], None], str]] = {
    "no columns": (line(12, "a,b"), r"pairs\.csv: line 12: got a,b, expected the columns cell,a,b,same"),
    "three columns": (line(14, "A1|S123,001/000000,1"), r"line 14: got A1\|S123,001/000000,1"),
    "an unknown cell": (line(14, "A3|all,001/000000,001/000002,1"), r"line 14: got A3\|all"),
    "an unknown frame": (line(14, "all|all,001/000000,999/000002,1"), r"line 14: got frame 999/000002"),
    "a frame of another cell": (line(14, "A1|all,001/000000,001/000001,1"), r"line 14: got frame 001/000001 in A1"),
    "a frame with itself": (line(14, "A1|all,001/000000,001/000000,1"), r"line 14: got A1\|all,001/000000,001/000000"),
    "same is no number": (line(14, "A1|all,001/000000,001/000002,yes"), r"line 14: got .*same 0 or 1"),
    "a wrong truth": (other_truth, r"line 14: got same [01] for subjects \d and \d"),
    "a pair twice": (again, r"line 121: got A1\|S123,.*each pair once"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_list_names_the_line(case: str, listing: Path) -> None:
    damage, message = BROKEN[case]
    lines = listing.read_text().splitlines()
    damage(lines)
    listing.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=message):
        read_pairs(listing, DATA)


def test_an_empty_or_missing_list_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("# nothing\ncell,a,b,same\n")
    with pytest.raises(InputError, match=r"p\.csv: got no pairs"):
        read_pairs(tmp_path / "p.csv", DATA)
    with pytest.raises(InputError, match=r"gone\.csv: got .*expected a list of face pairs"):
        read_pairs(tmp_path / "gone.csv", DATA)


def test_a_list_of_sequences_does_not_fit_biwi(listing: Path) -> None:
    with pytest.raises(InputError, match=r"line 13: got A1\|S123, expected a cell that biwi has"):
        read_pairs(listing, make_set(layout="biwi"))


def test_a_list_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    drawn = draw_pairs(DATA, "test", 4, 1)
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match=r"taken: got .*expected a file that can be written"):
        write_pairs(tmp_path / "taken", drawn, DATA, "test", 4, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
