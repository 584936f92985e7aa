# SPDX-License-Identifier: Apache-2.0
"""Fixed lists of face pairs for verification: in every cell of table 2 as many of one person as of two.

A list is a CSV file: comments with the set's name, its key, the split and the seed, then `cell,a,b,same`, where a and b
are frames as `<sequence>/<frame>`. Both images of a pair are in the cell. Pairs are drawn by SHA-256 of the seed, the
cell and a counter; SHA-256 of the seed, the cell and both frames decides which of the two is a. So any program can draw
the same list from any set that has this split's frames.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedepth_edge.errors import ConfigError, InputError
from facedepth_edge.whole_file import whole_file
from train.data.packed import PackedSet
from train.data.subsets import CELLS, cells_of, in_cell

COLUMNS = "cell,a,b,same"
_KEY = re.compile(r"\bkey ([0-9a-f]{16})\b")
_FIX = "Write the list again with `python -m train.data pairs`, or give the set that it was made from."


@dataclass(frozen=True)
class PairList:
    """Pairs of frames of one set.

    Args:
        cell: (K,) str, one of CELLS each.
        first, second: (K,) int64 positions in the set.
        same: (K,) bool, both show the same person.
        key: The key of the set that the list was made from; empty where the file does not say.
    """

    cell: np.ndarray
    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    key: str

    def of(self, cell: str) -> PairList:
        """Return the pairs of one cell."""
        here = self.cell == cell
        return PairList(self.cell[here], self.first[here], self.second[here], self.same[here], self.key)

    def __len__(self) -> int:
        return len(self.cell)


def draw_pairs(data: PackedSet, split: str, count: int, seed: int) -> PairList:
    """Draw pairs of a split's faces.

    Args:
        data: The packed set.
        split: train, val or test.
        count: Pairs a cell, half of them of the same person; fewer where a cell cannot give them without repeating one.
        seed: The list follows from it and from the set.

    Returns:
        The pairs, by cell in the order of CELLS; of a cell first the same, then the different, none twice.

    Raises:
        ConfigError: count is odd or below 2.
        InputError: No frame of that split is in the set.
    """
    if count < 2 or count % 2:
        raise ConfigError.of("--count", count, "an even number, 2 or more", "Half the pairs are of the same person.")
    faces = data.indices(split, faces_only=True)
    cells: list[str] = []
    rows: list[tuple[int, int, bool]] = []
    for cell in cells_of(data.crops):
        members = faces[in_cell(data.meta[faces], data.crops, cell)]
        members = members[np.argsort(data.meta["subject"][members], kind="stable")]
        same_total, different_total = _totals(data.meta["subject"][members])
        each = min(count // 2, same_total, different_total)
        for same, total in ((True, same_total), (False, different_total)):
            for rank in _ranks(total, each, f"{seed}/{cell}/{'same' if same else 'different'}"):
                a, b = _pair_of(rank, data.meta["subject"][members], same)
                names = "/".join(data.crops.frames[members[i]].frame_id for i in (a, b))  # of any set with these people
                swap = _digest(f"{seed}/{cell}/{names}") % 2  # the order must not tell the subject
                rows.append(
                    (int(members[b]), int(members[a]), same) if swap else (int(members[a]), int(members[b]), same)
                )
                cells.append(cell)
    columns = np.array(rows, np.int64).reshape(-1, 3)
    return PairList(np.array(cells, str), columns[:, 0], columns[:, 1], columns[:, 2].astype(bool), data.key)


def write_pairs(path: Path, pairs: PairList, data: PackedSet, split: str, count: int, seed: int) -> None:
    """Write a list; its comments say what it was drawn from and how many pairs each cell has.

    Args:
        path: The CSV file; its folder is made, a file that is there is replaced in one step.
        pairs: The pairs.
        data: The set that they are of.
        split, count, seed: What draw_pairs was asked for.
    """
    name = data.crops.root.resolve().name
    lines = [f"# face pairs of {name}, layout {data.crops.layout}, key {data.key}, split {split}, seed {seed}"]
    lines.append(f"# asked for {count} pairs a cell, half of them of the same person; a and b are sequence/frame")
    for cell in cells_of(data.crops):
        same = int(pairs.of(cell).same.sum())
        different = len(pairs.of(cell)) - same
        short = "" if same + different == count else ", fewer than asked: the cell has no more"
        lines.append(f"# {cell}: {same} same, {different} different{short}")
    lines.append(COLUMNS)
    frames = data.crops.frames
    for cell, a, b, same in zip(pairs.cell, pairs.first, pairs.second, pairs.same, strict=True):
        lines.append(f"{cell},{frames[a].frame_id},{frames[b].frame_id},{int(same)}")
    try:
        with whole_file(path) as file:
            file.write("".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise InputError.of(str(path), str(error), "a file that can be written", "Give another path.") from error


def read_pairs(path: str | Path, data: PackedSet) -> PairList:
    """Read a list and find its frames in a set.

    Args:
        path: The CSV file.
        data: The packed set; its key need not be the list's, its frames must be.

    Returns:
        The pairs, in the file's order.

    Raises:
        InputError: A line has another form, names a frame that the set does not have or that is not in the cell, says
            same of different people, or repeats a pair; the text names the file and the line.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError.of(str(path), str(error), "a list of face pairs", _FIX) from error
    position = {entry.frame_id: index for index, entry in enumerate(data.crops.frames)}
    members = {cell: in_cell(data.meta, data.crops, cell) for cell in cells_of(data.crops)}
    subject = data.meta["subject"]
    key, header = "", False
    cells: list[str] = []
    rows: list[tuple[int, int, bool]] = []
    seen: set[tuple[str, int, int]] = set()
    for number, line in enumerate(lines, start=1):
        where = f"{path}: line {number}"
        if line.startswith("#"):
            found = _KEY.search(line)
            key = found[1] if found else key
            continue
        if not header:
            if line != COLUMNS:
                raise InputError.of(where, line, f"the columns {COLUMNS}", _FIX)
            header = True
            continue
        parts = line.split(",")
        if len(parts) != 4 or parts[0] not in CELLS or parts[3] not in ("0", "1"):
            raise InputError.of(where, line, f"{COLUMNS} with a cell of {', '.join(CELLS)} and same 0 or 1", _FIX)
        cell, same = parts[0], parts[3] == "1"
        if cell not in members:
            raise InputError.of(where, cell, f"a cell that {data.crops.layout} has: {', '.join(members)}", _FIX)
        for name in parts[1:3]:
            if name not in position:
                raise InputError.of(where, f"frame {name}", f"frames of {data.crops.root}", _FIX)
            if not members[cell][position[name]]:
                raise InputError.of(where, f"frame {name} in {cell}", "frames whose angles and sequence fit", _FIX)
        a, b = position[parts[1]], position[parts[2]]
        if a == b or (cell, min(a, b), max(a, b)) in seen:
            raise InputError.of(where, line, "two frames, each pair once in a cell", _FIX)
        if same != bool(subject[a] == subject[b]):
            got = f"same {parts[3]} for subjects {subject[a]} and {subject[b]}"
            raise InputError.of(where, got, "1 for one person, 0 for two", _FIX)
        seen.add((cell, min(a, b), max(a, b)))
        cells.append(cell)
        rows.append((a, b, same))
    if not rows:
        raise InputError.of(str(path), "no pairs", f"a line {COLUMNS} and pairs below it", _FIX)
    columns = np.array(rows, np.int64)
    return PairList(np.array(cells, str), columns[:, 0], columns[:, 1], columns[:, 2].astype(bool), key)


def _totals(subject: np.ndarray) -> tuple[int, int]:
    """Return how many pairs of the same and of different people there are."""
    sizes = np.unique(subject, return_counts=True)[1].astype(object)  # Python's integers: these products are large
    same = int(sum(n * (n - 1) // 2 for n in sizes))
    count = len(subject)
    return same, count * (count - 1) // 2 - same


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def _ranks(total: int, count: int, label: str) -> list[int]:
    """Draw `count` of the numbers below `total`, none twice; all of them in order where they are no more."""
    if count == total:
        return list(range(total))
    chosen: dict[int, None] = {}
    counter = 0
    while len(chosen) < count:
        chosen[_digest(f"{label}/{counter}") % total] = None
        counter += 1
    return list(chosen)


def _pair_of(rank: int, subject: np.ndarray, same: bool) -> tuple[int, int]:
    """Return the pair with a rank among all pairs of the same, or of different people.

    Args:
        rank: From 0; pairs (a, b) with a < b are counted by a, then by b.
        subject: (n,) ascending.
        same: Which pairs.

    Returns:
        a and b, positions in `subject`.
    """
    ends = np.searchsorted(subject, subject, side="right")  # of each frame's own person
    here = np.arange(len(subject))
    partners = ends - here - 1 if same else len(subject) - ends
    before = np.cumsum(partners)
    a = int(np.searchsorted(before, rank, side="right"))
    step = rank - int(before[a] - partners[a])
    return a, (a + 1 if same else int(ends[a])) + step
