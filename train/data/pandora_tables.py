# SPDX-License-Identifier: Apache-2.0
"""Pandora's numbers: who is in which split, and the test frames that the group left out as badly cropped."""

from __future__ import annotations

from collections.abc import Sequence

from train.data.crops_set import subject_of
from train.data.reader_config import ReaderConfig

EXCLUDED_TEST_FRAMES: dict[int, tuple[tuple[int, int], ...]] = {
    48: ((140, 319), (764, 809)),
    49: ((0, 1420),),
    66: ((623, 674), (810, 822)),
    69: ((0, 1403),),
    70: ((1623, 1641), (1698, 1709), (2010, 2020)),
    80: ((710, 730), (932, 980)),
    96: ((396, 426), (1416, 1437), (1817, 1859), (1896, 1935)),
    97: ((39, 57), (113, 139), (173, 206), (809, 837), (1102, 1127)),
    98: ((112, 140), (319, 350), (386, 423), (512, 551), (687, 712), (836, 861), (1434, 1484), (1527, 1605)),
    100: ((18, 44), (260, 315), (386, 424), (593, 602), (1006, 1042), (1096, 1121), (1287, 1371), (1822, 1845)),
}
"""Sequence to its first and last left-out frames, both inclusive; all are of the paper's test subjects."""


def is_excluded(sequence: int, frame: int, config: ReaderConfig) -> bool:
    """Say whether a frame is left out: it stands in EXCLUDED_TEST_FRAMES and its subject is a test subject."""
    if not config.pandora_exclude or subject_of(sequence) not in config.pandora_test_subjects:
        return False
    return any(first <= frame <= last for first, last in EXCLUDED_TEST_FRAMES.get(sequence, ()))


def pandora_splits(sequences: Sequence[int], config: ReaderConfig) -> dict[str, tuple[int, ...]]:
    """Return the splits of the people that these sequences show; who is neither val nor test is train."""
    people = sorted({subject_of(sequence) for sequence in sequences})
    named = {"val": config.pandora_val_subjects, "test": config.pandora_test_subjects}
    splits = {name: tuple(person for person in people if person in members) for name, members in named.items()}
    rest = tuple(person for person in people if person not in splits["val"] + splits["test"])
    return {"train": rest, **splits}
