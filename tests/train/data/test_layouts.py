# SPDX-License-Identifier: Apache-2.0
"""Any layout is found and packed; the cache's key holds what the crops follow from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.errors import InputError
from tests.train.data.raw_sets import write_biwi, write_pandora
from train.data import packed
from train.data.layouts import LAYOUTS, find_layout, open_source
from train.data.packed import open_packed_set
from train.data.reader_config import ReaderConfig


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("sets")
    return {"biwi": write_biwi(base / "kinect" / "hpdb"), "pandora-raw": write_pandora(base / "pandora")}


def test_each_layout_is_found(roots: dict[str, Path], crops_root: Path, tmp_path: Path) -> None:
    assert find_layout(crops_root) == "pandora-crops"
    for layout, root in roots.items():
        assert find_layout(root) == layout
        assert open_source(root, ReaderConfig()).crops.layout == layout
    (tmp_path / "007").mkdir()
    assert find_layout(tmp_path) is None
    (tmp_path / "007" / "frame_000001_face_depth.png").touch()
    assert find_layout(tmp_path) == "pandora-group-crops"


def test_biwi_is_found_above_its_folder(roots: dict[str, Path]) -> None:
    source = open_source(roots["biwi"].parent, ReaderConfig())
    assert source.crops.root == roots["biwi"]


def test_what_is_no_set_is_told_with_all_that_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(InputError, match=r"got a folder with holiday\.jpg, expected") as caught:
        open_source(tmp_path, ReaderConfig())
    for sign in LAYOUTS.values():
        assert sign in str(caught.value)
    with pytest.raises(InputError, match="got no such folder"):
        open_source(tmp_path / "gone", ReaderConfig())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="got an empty folder"):
        open_source(tmp_path / "empty", ReaderConfig())


@pytest.mark.parametrize("layout", ["biwi", "pandora-raw"])
def test_packed_arrays_are_the_samples(layout: str, roots: dict[str, Path], tmp_path: Path) -> None:
    data = open_packed_set(roots[layout], tmp_path, processes=1, progress=False)
    source = open_source(roots[layout], ReaderConfig())
    assert len(data.gray) == len(source.crops.frames)
    for position in (0, len(data.gray) - 1):
        sample = source.read(position)
        np.testing.assert_array_equal(data.gray[position], sample.gray)
        np.testing.assert_array_equal(data.depth_mm[position], sample.depth_mm)
        np.testing.assert_array_equal(data.label[position], sample.label)
        assert data.meta["distance_mm"][position] == np.float32(sample.distance_mm)
        np.testing.assert_array_equal(data.ray_xy[position], np.float32(sample.ray_xy))
    assert data.meta["face"].all()
    assert data.depth_mm.any(axis=(1, 2)).all()


@pytest.mark.parametrize("layout", ["biwi", "pandora-raw"])
def test_the_key_follows_the_settings_of_the_set(layout: str, roots: dict[str, Path], tmp_path: Path) -> None:
    def key(**settings: object) -> str:
        reader = ReaderConfig(**settings)  # type: ignore[arg-type]
        return open_packed_set(roots[layout], tmp_path, processes=1, progress=False, reader=reader).key

    plain = key()
    assert key() == plain
    assert key(distance="median") != plain
    assert key(margin=1.25) != plain
    own, other = ("biwi", "pandora") if layout == "biwi" else ("pandora", "biwi")
    assert key(**{f"{own}_focal_xy_px": (100.0, 100.0)}) != plain
    assert key(**{f"{other}_focal_xy_px": (100.0, 100.0)}) == plain
    assert len(list(tmp_path.iterdir())) == 4


def test_the_key_follows_calibration_and_annotation(tmp_path: Path) -> None:
    root, cache = write_biwi(tmp_path / "biwi", sequences=(1, 3), frames=(3,)), tmp_path / "cache"
    keys = [open_packed_set(root, cache, processes=1, progress=False).key]
    cal = root / "03" / "rgb.cal"
    cal.write_text(cal.read_text().replace("-25", "-24"))
    keys.append(open_packed_set(root, cache, processes=1, progress=False).key)
    pose = root / "03" / "frame_00003_pose.txt"
    pose.write_text(pose.read_text().replace("910", "911"))
    keys.append(open_packed_set(root, cache, processes=1, progress=False).key)
    assert len(set(keys)) == 3


def test_the_key_of_our_own_crops_has_not_changed(tmp_path: Path) -> None:
    (tmp_path / "001").mkdir()
    (tmp_path / "dataset.json").write_text(
        '{"format": 1, "layout": "pandora-crops", "crop_px": 144, "margin": 1.5, "reach_mm": 320.0,'
        ' "subjects": {"train": [1], "val": [], "test": []}}'
    )
    (tmp_path / "001" / "frames.json").write_text('[{"frame": 0, "distance_mm": 700, "visible": 1.0, "face": true}]')
    (tmp_path / "001" / "angles.txt").write_text("0\t1\t2\t3\n")
    import hashlib

    parts = [b"1", (tmp_path / "dataset.json").read_bytes()]
    for name in ("frames.json", "angles.txt"):
        parts += [f"001/{name}".encode(), (tmp_path / "001" / name).read_bytes()]
    expected = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    folder = tmp_path / "packed" / expected
    folder.mkdir(parents=True)
    for name, dtype in (("gray", np.uint8), ("depth_mm", np.uint16), ("label", np.uint8)):
        np.save(folder / f"{name}.npy", np.ones((1, 144, 144), dtype))
    data = open_packed_set(tmp_path, processes=1, progress=False)  # there are no images: it must be the packed form
    assert data.key == expected
    assert data.meta["distance_mm"][0] == 700


@pytest.mark.slow
def test_several_processes_pack_raw_frames_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "CHUNK_FRAMES", 3)
    root = write_biwi(tmp_path / "biwi", sequences=(1, 3), frames=tuple(range(4)))
    one = open_packed_set(root, tmp_path / "one", processes=1, progress=False)
    two = open_packed_set(root, tmp_path / "two", processes=2, progress=False)
    for name in ("gray", "depth_mm", "label", "meta"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert len(one.gray) == 8
    assert one.gray.std() > 10
