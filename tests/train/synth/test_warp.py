# SPDX-License-Identifier: Apache-2.0
"""Heads bent beyond the head model's variety: by how much, how smoothly, how evenly, and what goes along."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from train.data.shapes import FILE as SHAPES_FILE
from train.synth import __main__ as command
from train.synth.dataset import SetConfig, Studio, render_set
from train.synth.subject import sample_subject
from train.synth.warp import Warp, sample_warp

STRENGTH_MM = 3.5


def warps(count: int, strength_mm: float = STRENGTH_MM) -> list[Warp]:
    return [sample_warp(np.random.default_rng(seed), strength_mm) for seed in range(count)]


def face_points() -> np.ndarray:
    """The front of an ellipsoid of a head's size."""
    u, v = np.meshgrid(np.linspace(-1.2, 1.2, 25), np.linspace(-1.0, 1.0, 25))
    directions = np.stack([np.sin(u) * np.cos(v), np.sin(v), np.cos(u) * np.cos(v)], axis=-1).reshape(-1, 3)
    return (directions * [72, 110, 95]).astype(np.float32)


def face_rms(warp: Warp) -> float:
    """RMS length of what a face is displaced by, in mm, relative to the point between the tragi."""
    points, tragi = face_points(), np.array([[-72.5, 4, 12], [72.5, 4, 12]], np.float32)
    displaced = warp.moved(points) - points - (warp.moved(tragi) - tragi).mean(axis=0)
    return float(np.sqrt(np.square(displaced).sum(axis=1).mean()))


def test_one_displacement_by_hand() -> None:
    warp = Warp(np.array([[10.0, 0.0, 0.0]]), np.array([20.0]), np.array([[0.0, 4.0, -2.0]]))
    points = np.array([[10, 0, 0], [30, 0, 0], [10, 0, 400]], np.float32)
    moved = warp.moved(points)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved[0] - points[0], [0, 4, -2], atol=1e-6)
    np.testing.assert_allclose(moved[1] - points[1], np.array([0, 4, -2]) * np.exp(-0.5), atol=1e-5)
    np.testing.assert_array_equal(moved[2], points[2])


def test_the_strength_is_what_the_displacements_add_up_to() -> None:
    rms = [face_rms(warp) for warp in warps(80)]
    assert np.mean(rms) == pytest.approx(STRENGTH_MM, rel=0.25)
    twice = [face_rms(warp) for warp in warps(80, 2 * STRENGTH_MM)]
    assert np.mean(twice) == pytest.approx(2 * np.mean(rms), rel=0.01)


def test_sides_stay_nearly_mirror_images() -> None:
    points = face_points()
    mirrored = points * np.float32([-1, 1, 1])
    even, uneven = 0.0, 0.0
    for warp in warps(40):
        left, right = warp.moved(points) - points, (warp.moved(mirrored) - mirrored) * [-1, 1, 1]
        even += np.square(left + right).sum()
        uneven += np.square(left - right).sum()
    assert 0.005 * even < uneven < 0.03 * even


def test_no_surface_folds() -> None:
    points, step = face_points().astype(np.float64), 0.5
    for warp in warps(60, 6.0):
        columns = [
            (warp.moved(points + step * axis) - warp.moved(points - step * axis)) / (2 * step) for axis in np.eye(3)
        ]
        assert np.linalg.det(np.stack(columns, axis=-1)).min() > 0.2


def test_a_person_keeps_all_else_and_the_same_warp() -> None:
    plain, bent, again = (sample_subject(5, 4, 0.05, strength) for strength in (0.0, STRENGTH_MM, STRENGTH_MM))
    assert plain.warp is None
    assert bent.warp is not None
    assert again.warp is not None
    np.testing.assert_array_equal(bent.warp.moves_mm, again.warp.moves_mm)
    np.testing.assert_array_equal(plain.identity, bent.identity)
    np.testing.assert_array_equal(plain.scale, bent.scale)
    assert plain.traits == bent.traits
    for seed, number in ((5, 5), (6, 4)):
        other = sample_subject(seed, number, 0.05, STRENGTH_MM).warp
        assert other is not None
        assert not np.allclose(other.moves_mm, bent.warp.moves_mm)


def test_the_rendered_head_is_the_bent_one(head_file: Path, small_set: SetConfig) -> None:
    studios = [Studio(dataclasses.replace(small_set, warp_mm=strength), head_file, None) for strength in (0.0, 5.0)]
    heads = []
    for studio in studios:
        subject, outfit, wardrobe = studio.cast(1, 1)
        expressions: tuple[dict[str, float], ...] = ({}, {"jawOpen": 1.0})
        heads.append((subject, [studio.head(subject, outfit, wardrobe, one) for one in expressions]))
    (_, plain), (bent_subject, bent) = heads
    assert bent_subject.warp is not None
    np.testing.assert_allclose(bent[0].vertices, bent_subject.warp.moved(plain[0].vertices), atol=1e-4)
    assert np.abs(bent[0].centre_mm - plain[0].centre_mm).max() > 0.05  # the tragi go along
    moved = [one.vertices - other.vertices for one, other in zip(bent, plain, strict=True)]
    assert np.abs(plain[1].vertices - plain[0].vertices).max() > 5
    np.testing.assert_allclose(*moved, atol=1e-3)  # an expression does not change the person


def test_a_set_of_bent_heads_says_so_and_has_no_shapes(tmp_path: Path, small_set: SetConfig, head_file: Path) -> None:
    few: dict[str, Any] = {"train_subjects": 1, "val_subjects": 0, "test_subjects": 0, "frames": 1, "pictures": False}
    plain = dataclasses.replace(small_set, **few)
    bent = dataclasses.replace(plain, warp_mm=STRENGTH_MM)
    for name, config in (("plain", plain), ("bent", bent)):
        render_set(config, head_file, None, tmp_path / name, processes=1)
        note = json.loads((tmp_path / name / "dataset.json").read_text())["generator"]
        assert note.get("warp_mm") == (config.warp_mm or None)
    assert (tmp_path / "plain" / SHAPES_FILE).is_file()
    assert not (tmp_path / "bent" / SHAPES_FILE).exists()  # shapes.npy has no value for a warp
    depth = "frame_000000_face_depth.png"
    assert (tmp_path / "plain/001" / depth).read_bytes() != (tmp_path / "bent/001" / depth).read_bytes()


def test_the_command_line_asks_for_bent_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[SetConfig] = []
    monkeypatch.setattr(command, "render_set", lambda config, *_: asked.append(config))
    assert command.main(["render", "--head", "h.npz", "--out", str(tmp_path), "--warp-mm", "2.5"]) == 0
    assert asked[0].warp_mm == 2.5
