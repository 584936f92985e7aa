# SPDX-License-Identifier: Apache-2.0
"""The tables of head centres: those of the converters, and broken ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.recordings import minolta_vivid, rap3df
from benchmarks.recordings.marks import read_marks
from facedepth_edge.errors import InputError
from tests.benchmarks.recording_scenes import write_marks


def test_marks_of_the_converters_are_in_their_pictures() -> None:
    for module, people in ((rap3df, 62), (minolta_vivid, 11)):
        marks = read_marks(module.MARKS)
        assert len(marks) == people
        assert all(0 < x < module.SIZE_HW[1] and 0 < y < module.SIZE_HW[0] for x, y in marks.values())
    assert list(read_marks(minolta_vivid.MARKS)) == [*minolta_vivid.CASIA_SCANS, minolta_vivid.FRGC_NAME]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("b", r"line 3: got b, expected a name and two numbers"),
        ("b,1", r"line 3: got b,1, expected a name and two numbers"),
        ("b,1,2,3", r"line 3: got b,1,2,3, expected a name and two numbers"),
        ("b,1,x", r"line 3: got b,1,x, expected a name and two numbers"),
        ("", r"line 3: got '', expected a name and two numbers"),
        ("b,1,nan", r"line 3: got b,1,nan, expected a new name and two finite numbers"),
        ("a,1,2", r"line 3: got a,1,2, expected a new name and two finite numbers"),
        (",1,2", r"line 3: got ,1,2, expected a new name and two finite numbers"),
    ],
)
def test_marks_with_a_broken_line(tmp_path: Path, line: str, told: str) -> None:
    assert read_marks(write_marks(tmp_path / "a.csv", "a,1,2.5")) == {"a": (1.0, 2.5)}
    with pytest.raises(InputError, match=told):
        read_marks(write_marks(tmp_path / "a.csv", "a,1,2.5", line))


def test_marks_with_other_columns_or_none(tmp_path: Path) -> None:
    for text in ("", "x,y,name\n"):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(InputError, match=r"a\.csv, line 1: got .*, expected name,x,y"):
            read_marks(tmp_path / "a.csv")
    with pytest.raises(InputError, match=r"b\.csv: got no such file"):
        read_marks(tmp_path / "b.csv")
