# SPDX-License-Identifier: Apache-2.0
"""The folder of a measurement: what is written is read back; what is missing, changed or of another kind is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.errors import InputError
from tests.train.report.conftest import make_measured, write_inputs
from train.report.measurement import (
    ARRAY_FILES,
    Measured,
    file_sha256,
    hashes_of_about,
    hashes_of_files,
    read_about,
    read_measured,
    write_measured,
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def measured(inputs: tuple[Path, Path]) -> Measured:
    return make_measured(*inputs)


@pytest.fixture
def folder(measured: Measured, tmp_path: Path) -> Path:
    write_measured(tmp_path / "m", measured)
    return tmp_path / "m"


def test_round_trip(measured: Measured, folder: Path) -> None:
    again = read_measured(folder)
    for part in ("frames", "pairs", "samples"):
        for name, value in vars(getattr(measured, part)).items():
            got = getattr(getattr(again, part), name)
            assert np.array_equal(got, value), name
            assert got.dtype == value.dtype, name
    for region, sums in measured.sums.items():
        for name, values in sums.items():
            np.testing.assert_allclose(again.sums[region][name], values, rtol=1e-7)
            assert again.sums[region][name].dtype == np.float64
    assert again.about["files"].keys() == set(ARRAY_FILES)
    assert {key: again.about[key] for key in measured.about} == measured.about


def test_the_same_measurement_gives_the_same_bytes(measured: Measured, folder: Path, tmp_path: Path) -> None:
    write_measured(tmp_path / "again", measured)
    assert sorted(path.name for path in folder.iterdir()) == sorted(["about.json", *ARRAY_FILES])
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_the_pixels_of_large_pictures_are_counted(measured: Measured, tmp_path: Path) -> None:
    sums = {region: dict(values) for region, values in measured.sums.items()}
    sums["all"]["pixels"] = np.full_like(sums["all"]["pixels"], 256 * 256)
    write_measured(tmp_path, replace(measured, sums=sums))
    assert (read_measured(tmp_path).sums["all"]["pixels"] == 65_536).all()


def test_nan_of_small_heads_survives(measured: Measured, tmp_path: Path) -> None:
    sums = {region: dict(values) for region, values in measured.sums.items()}
    sums["head"]["absolute_mm"] = sums["head"]["absolute_mm"].copy()
    sums["head"]["absolute_mm"][2, 3] = np.nan
    write_measured(tmp_path, replace(measured, sums=sums))
    assert np.argwhere(np.isnan(read_measured(tmp_path).sums["head"]["absolute_mm"])).tolist() == [[2, 3]]


@pytest.mark.parametrize("name", ARRAY_FILES)
def test_a_changed_or_missing_file_is_refused(name: str, folder: Path) -> None:
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(
        InputError, match=r"another hash than about\.json has.*and measure again: python -m train\.report"
    ):
        read_measured(folder)
    path.unlink()
    with pytest.raises(InputError, match="No such file"):
        read_measured(folder)


def test_damaged_arrays_with_the_right_hash_are_refused(folder: Path) -> None:
    about = json.loads((folder / "about.json").read_text())
    shutil.copy(folder / "samples.npz", folder / "scores.npz")
    about["files"]["scores.npz"] = file_sha256(folder / "scores.npz")
    (folder / "about.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match="expected a measurement of this version"):
        read_measured(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about.update(format=9), "got format 9, expected format 1"),
        (lambda about: about.pop("machine"), "an incomplete description"),
        (lambda about: about["models"].pop("cui"), "KeyError: 'cui'"),
        (lambda about: about["files"].pop("scores.npz"), "an incomplete description"),
    ],
)
def test_a_wrong_description_is_refused(change: object, message: str, folder: Path) -> None:
    path = folder / "about.json"
    about = json.loads(path.read_text())
    change(about)
    path.write_text(json.dumps(about))
    with pytest.raises(InputError, match=message):
        read_about(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1, "models": 3}'])
def test_what_is_no_description_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"about\.json: got .*expected the description of a measurement"):
        read_about(tmp_path)
    (tmp_path / "about.json").write_text(text)
    with pytest.raises(InputError, match="expected the description of a measurement"):
        read_about(tmp_path)


def test_hashes(measured: Measured, inputs: tuple[Path, Path], tmp_path: Path) -> None:
    assert hashes_of_about(measured.about) == hashes_of_files(*inputs)
    assert len(set(hashes_of_files(*inputs).values())) == 6
    with pytest.raises(InputError, match=r"paper\.safetensors: got No such file"):
        hashes_of_files(tmp_path, inputs[1])


def test_an_interrupted_writing_leaves_no_description(
    measured: Measured, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object, **arrays: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("train.report.measurement.np.savez_compressed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_measured(folder, measured)
    assert not (folder / "about.json").exists()


def test_a_folder_that_cannot_be_written_is_told(measured: Measured, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a folder that can be written"):
        write_measured(tmp_path / "file", measured)
