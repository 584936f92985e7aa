# SPDX-License-Identifier: Apache-2.0
"""The committed faces file: holds what the set holds, calibrates, measures, and is told when it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from export.faces import KEYS, choose_held_out, faces_bytes, main, open_faces, open_faces_or_set
from facedepth_edge.errors import InputError
from train.data.batches import make_batch
from train.data.packed import PackedSet
from train.validation import spread_indices


@pytest.fixture(scope="module")
def faces_file(export_data: PackedSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faces") / "faces.npz"
    path.write_bytes(faces_bytes(export_data, 20, 5))
    return path


def test_it_gives_the_same_batches_as_the_set(faces_file: Path, export_data: PackedSet) -> None:
    faces = open_faces(faces_file)
    train, test = spread_indices(export_data, "train", 20, faces_only=True), choose_held_out(export_data, 5)
    assert len(faces.indices("train")) == len(train) == 20
    assert len(faces.indices("test")) == len(test) == 5
    assert faces.crops.box_px == faces.crops.crop_px == export_data.crops.box_px
    expected, got = make_batch(export_data, test), make_batch(faces, faces.indices("test"))
    for name in ("face", "valid", "head", "seen", "validity", "distance_mm"):
        assert bool((getattr(expected, name) == getattr(got, name)).all()), name
    np.testing.assert_allclose(got.depth.numpy(), expected.depth.numpy(), atol=1e-6)
    assert 0 < int((~got.valid).sum()) < got.valid.numel()
    expected_face = make_batch(export_data, train).face
    assert bool((make_batch(faces, faces.indices("train")).face == expected_face).all())


def test_it_repeats_and_has_a_key(faces_file: Path, export_data: PackedSet) -> None:
    assert faces_bytes(export_data, 20, 5) == faces_file.read_bytes()
    assert len(open_faces(faces_file).key) == 16
    assert open_faces(faces_file).crops.root.name == "heads"
    assert open_faces_or_set(faces_file).key == open_faces(faces_file).key


def test_held_out_faces_are_of_all_subsets(export_data: PackedSet) -> None:
    faces = export_data.indices("test", faces_only=True)
    meta = export_data.meta.copy()
    meta["roll_pitch_yaw_deg"][faces] = 20.0
    meta["roll_pitch_yaw_deg"][faces[0]] = 0.0
    meta["roll_pitch_yaw_deg"][faces[1]] = 60.0
    meta["visible"][faces[2]] = 0.4
    data = PackedSet(export_data.crops, export_data.gray, export_data.depth_mm, export_data.label, meta, "x")
    assert {int(i) for i in faces[:3]} <= {int(i) for i in choose_held_out(data, 6)}
    chosen = choose_held_out(data, 1000)
    assert chosen.tolist() == faces.tolist()


def test_damaged_files_are_told(faces_file: Path, tmp_path: Path) -> None:
    content = faces_file.read_bytes()
    for name, bad in (("cut.npz", content[: len(content) // 2]), ("text.npz", b"no zip"), ("empty.npz", b"")):
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(InputError, match=rf"{name}: got .*expected an \.npz with about"):
            open_faces(tmp_path / name)
    with pytest.raises(InputError, match=r"none\.npz: got FileNotFoundError"):
        open_faces(tmp_path / "none.npz")
    with np.load(faces_file) as archive:
        arrays = {key: archive[key] for key in KEYS}
    about = json.loads(arrays["about"].tobytes())
    damaged = {
        "short": {"meta": arrays["meta"][:-1]},
        "label": {"test_label": arrays["test_label"][:, :-1]},
        "count": {"about": np.frombuffer(json.dumps({**about, "train": -5}).encode(), np.uint8)},
        "wide": {"train_gray": arrays["train_gray"][:, :, :-1]},
        "few": {"train_gray": arrays["train_gray"][:0]},
    }
    for name, change in damaged.items():
        np.savez(tmp_path / f"{name}.npz", **{**arrays, **change})
        with pytest.raises(InputError, match="expected format 1, square pictures, one note a face"):
            open_faces(tmp_path / f"{name}.npz")
    np.savez(tmp_path / "float.npz", **{**arrays, "train_gray": arrays["train_gray"].astype(np.float32)})
    with pytest.raises(InputError, match="got float32, uint8, uint8, int16, expected pictures and labels of uint8"):
        open_faces(tmp_path / "float.npz")
    (tmp_path / "README.md").write_text("no faces")
    with pytest.raises(InputError, match=r"README\.md: got a file of another kind, expected the folder of"):
        open_faces_or_set(tmp_path / "README.md")


def test_command(export_data: PackedSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "models" / "faces.npz"
    arguments = ["--data", str(export_data.crops.root), "--out", str(out), "--calibration", "20", "--held-out", "5"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert f"{out}: 25 faces" in printed.out
    assert printed.err.strip().splitlines()[-1].startswith("PASS python -m export.faces")
    assert [path.name for path in out.parent.iterdir()] == ["faces.npz"]
    assert main([*arguments[:-1], "0"]) == 1
    assert "--held-out: got 0" in capsys.readouterr().err
