# SPDX-License-Identifier: Apache-2.0
"""The shapes of people: read strictly, carried through joined sets into batches, NaN where nobody knows them."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.errors import InputError
from tests.train.conftest import write_crops_set
from tests.train.data.test_joined import opened
from train.data.batches import make_batch
from train.data.joined import join_sets
from train.data.packed import PackedSet
from train.data.shapes import FILE, SHAPE_VALUES, read_shapes, shapes_of, write_shapes

WHOLE = io.BytesIO()
np.save(WHOLE, np.zeros((2, SHAPE_VALUES), np.float32))
DAMAGED = WHOLE.getvalue().replace(b"'descr'", b"(((((((")
HUGE = WHOLE.getvalue().replace(b"(2, 103), }" + b" " * 12, b"(9999999999999, 103), }")


def some_shapes(people: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(people, SHAPE_VALUES)).astype(np.float32)


def test_written_and_read_back(tmp_path: Path) -> None:
    assert read_shapes(tmp_path) is None
    shapes = some_shapes(3, 0)
    write_shapes(tmp_path, shapes)
    np.testing.assert_array_equal(read_shapes(tmp_path), shapes)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (np.zeros((3, SHAPE_VALUES)), f"\\(3, {SHAPE_VALUES}\\) float64"),
        (np.zeros((3, 5), np.float32), r"\(3, 5\) float32"),
        (np.float32(1), r"\(\) float32"),
    ],
)
def test_another_array_is_refused(tmp_path: Path, content: np.ndarray, got: str) -> None:
    np.save(tmp_path / FILE, content)
    with pytest.raises(InputError, match=rf"{FILE}: got {got}, expected \(people, {SHAPE_VALUES}\) float32"):
        read_shapes(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00", b"PK\x03\x04garbage", DAMAGED, HUGE])
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    assert content != WHOLE.getvalue()  # what was to be damaged was found
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(InputError, match=rf"{FILE}: got .*, expected an array of shapes"):
        read_shapes(tmp_path)


def test_people_without_a_row_are_not_known() -> None:
    shapes = some_shapes(2, 1)
    found = shapes_of(shapes, np.array([2, 3, 1]))
    np.testing.assert_array_equal(found[[0, 2]], shapes[[1, 0]])
    assert np.isnan(found[1]).all()
    assert np.isnan(shapes_of(None, np.array([1]))).all()


def test_a_batch_has_everyones_own_shape_in_joined_sets(tmp_path: Path) -> None:
    shapes = {"a": some_shapes(5, 2), "b": None, "c": some_shapes(4, 3)}
    sets: list[PackedSet] = []
    for seed, (name, shape) in enumerate(shapes.items()):
        root = write_crops_set(tmp_path / name, subjects=6 if name == "a" else 4, seed=seed)
        if shape is not None:
            write_shapes(root, shape)
        sets.append(opened(root, tmp_path / "cache", generator={}, seed=seed))
    joined = join_sets(*sets)
    batch = make_batch(joined, np.arange(len(joined.meta)))
    parts = [s.meta["subject"] for s in sets]
    expected = np.concatenate([shapes_of(shape, part) for shape, part in zip(shapes.values(), parts, strict=True)])
    np.testing.assert_array_equal(batch.shape.numpy(), expected)
    assert np.isnan(expected[sets[0].meta["subject"].argmax()]).all()  # a person beyond the file's rows
    assert np.isfinite(expected).all(axis=1).sum() > 4
    shapeless = [replace(s, crops=replace(s.crops, shapes=None)) for s in (sets[0], sets[1])]
    assert join_sets(*shapeless).crops.shapes is None


def test_rows_beyond_a_sets_people_do_not_become_those_of_the_next(tmp_path: Path) -> None:
    sets = []
    for seed, rows in enumerate((9, 4)):
        root = write_crops_set(tmp_path / str(seed), subjects=4, seed=seed)
        write_shapes(root, some_shapes(rows, seed))
        sets.append(opened(root, tmp_path / "cache", generator={}, seed=seed))
    joined = join_sets(*sets)
    batch = make_batch(joined, np.arange(len(joined.meta)))
    mine = sets[1].meta["subject"]
    np.testing.assert_array_equal(batch.shape.numpy()[-len(mine) :], some_shapes(4, 1)[mine - 1])
