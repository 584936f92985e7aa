# SPDX-License-Identifier: Apache-2.0
"""Tongues that are put out or lifted: where they lie, and what they change of a set."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.errors import ConfigError
from train.synth.dataset import SetConfig, Studio, set_note
from train.synth.headmodel import LANDMARKS
from train.synth.mesh import Mesh, vertex_normals
from train.synth.subject import sample_outfit
from train.synth.tongue import Tongue, tongue_mesh, with_tongue

LOWER_LIP, UPPER_LIP = LANDMARKS[66], LANDMARKS[62]
PARTED_MM = 12.0


@pytest.fixture(scope="module")
def parted(studio: Studio) -> np.ndarray:
    """The stand-in head with its lips PARTED_MM apart."""
    vertices = studio.model.neutral.copy()
    vertices[LOWER_LIP] = vertices[UPPER_LIP] - [0, PARTED_MM, 2]
    return vertices


def built(studio: Studio, parted: np.ndarray, **held: float) -> Mesh:
    return tongue_mesh(studio.model, parted, Tongue(**held))


def test_a_tongue_that_is_put_out_reaches_over_the_lower_lip(studio: Studio, parted: np.ndarray) -> None:
    lip = parted[LOWER_LIP]
    for out_mm in (8.0, 30.0):
        mesh = built(studio, parted, out_mm=out_mm)
        assert mesh.vertices[:, 2].max() == pytest.approx(lip[2] + out_mm, abs=1.5)
        beyond = mesh.vertices[mesh.vertices[:, 2] > lip[2] + 0.3 * out_mm]
        assert lip[1] - 4 < beyond[:, 1].min() < beyond[:, 1].max() < lip[1] + PARTED_MM  # between the lips
        assert mesh.vertices[:, 0].max() == pytest.approx(-mesh.vertices[:, 0].min(), abs=0.5)
        assert np.ptp(beyond[:, 0]) > 2 * np.ptp(beyond[:, 1])  # flat
    hanging = built(studio, parted, out_mm=30, down_deg=75)
    assert hanging.vertices[:, 1].min() < lip[1] - 12
    assert hanging.vertices[:, 2].max() < lip[2] + 28
    left = built(studio, parted, out_mm=30, side_deg=40)
    tip = left.vertices[left.vertices[:, 2] > lip[2] + 15]
    assert tip[:, 0].mean() > 8  # the face's left


def test_a_lifted_tongue_stays_in_the_mouth(studio: Studio, parted: np.ndarray) -> None:
    low, high = (built(studio, parted, lift=lift) for lift in (0.1, 0.7))
    for mesh in (low, high):
        assert mesh.vertices[:, 2].max() < 90  # the tip behind the teeth, where the head model's is
    rise = (high.vertices - low.vertices)[:, 1]
    assert rise.min() > -0.5
    assert rise.max() > 0.4 * PARTED_MM


def test_its_faces_look_outwards_and_it_moves_with_the_head(studio: Studio, parted: np.ndarray) -> None:
    mesh = built(studio, parted, out_mm=25, down_deg=30)
    rings = mesh.vertices.reshape(24, -1, 3)
    outwards = (rings - rings.mean(axis=1, keepdims=True)).reshape(-1, 3)
    facing = (vertex_normals(mesh.vertices, mesh.triangles) * outwards).sum(axis=1)
    assert np.mean(facing > -1e-3) > 0.95
    shift = np.float32([3, -5, 7])
    moved = built(studio, parted + shift, out_mm=25, down_deg=30)
    np.testing.assert_allclose(moved.vertices, mesh.vertices + shift, atol=1e-3)


def test_shares_of_expressions_have_one() -> None:
    rng = np.random.default_rng(5)
    smile = {"mouthSmile_L": 0.5, "mouthClose": 0.4, "mouthPress_L": 0.2, "jawOpen": 0.05}
    assert with_tongue(rng, smile, 0.0) == (smile, None)
    drawn = [with_tongue(rng, smile, 0.4) for _ in range(600)]
    moved = [(expression, tongue) for expression, tongue in drawn if tongue is not None]
    assert 0.34 < len(moved) / len(drawn) < 0.46
    assert all(expression == smile for expression, tongue in drawn if tongue is None)
    assert all(set(expression) == {"mouthSmile_L", "jawOpen"} for expression, _ in moved)
    assert min(expression["jawOpen"] for expression, _ in moved) >= 0.22
    out = [tongue.out_mm for _, tongue in moved if tongue is not None]
    assert 0.4 < np.mean(np.array(out) > 0) < 0.6
    wide, _ = with_tongue(rng, {"jawOpen": 1.2}, 1.0)
    assert wide["jawOpen"] == 1.2  # no yawn is closed


def test_sets_say_where_a_tongue_moves(head_file: Path, small_set: SetConfig) -> None:
    config = dataclasses.replace(small_set, tongues=1.0)
    studio = Studio(config, head_file, None)
    worn = {
        (number, sequence): sample_outfit(config.seed, studio.subject(number), sequence, []).face_mask
        for number in range(1, 21)
        for sequence in (4, 5)
    }
    for masked in (False, True):
        number, sequence = next(place for place, mask in worn.items() if mask == masked)
        shots = list(studio.shots(number, sequence))
        assert [attributes["tongue"] for _, _, _, attributes in shots] == [not masked] * 2
    assert set_note(config, hair=False).generator["tongues"] == 1.0
    assert "tongues" not in set_note(small_set, hair=False).generator
    with pytest.raises(ConfigError, match=r"SetConfig\.tongues: got 1\.5, expected 0 to 1"):
        SetConfig(tongues=1.5)
