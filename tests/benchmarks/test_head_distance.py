# SPDX-License-Identifier: Apache-2.0
"""What is measured of heads, on a stand-in head of which it is known."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.head_distance import WIDEST_DEG, YAWS_DEG, main, measure
from tests.train.synth.head_fixture import write_head
from train.synth.headmodel import PARTS, HeadModel
from train.synth.mesh import Mesh
from train.synth.tracer import TraceScene

POINT_MM, EYES_MM, UP_MM, BEFORE_MM = 700.0, 64.0, 30.0, 60.0


def test_a_plate_before_the_ears(tmp_path: Path) -> None:
    """A flat plate 95 mm before the ears of a head of known width, and two eyes as points."""
    model = HeadModel.load(write_head(tmp_path / "head.npz"))
    vertices = np.zeros_like(model.neutral)
    left, right = model.tragi
    vertices[left], vertices[right] = (70.0, 0.0, 0.0), (-70.0, 0.0, 0.0)
    for side, x in (("left", EYES_MM / 2), ("right", -EYES_MM / 2)):
        first, last = PARTS[f"eye_{side}"]
        vertices[first : last + 1] = (x, UP_MM, BEFORE_MM)
    corners = np.array([(x, y, 95.0) for x in (-200, 200) for y in (-200, 200)], np.float32)
    plate = Mesh(corners, np.array([(0, 1, 2), (1, 3, 2)], np.int32), np.zeros((4, 2), np.float32), "skin")
    scene = TraceScene([plate], ["skin"], {})
    found = measure(model, scene, vertices, 0.0, POINT_MM)
    nearer = POINT_MM / (POINT_MM - BEFORE_MM)
    assert found.behind_mm == pytest.approx(95.0, abs=0.01)
    assert found.width_mm == pytest.approx(140.0)
    assert found.by_width == pytest.approx((147.0 / 140.0 * POINT_MM - 102.0) / (POINT_MM - 95.0), rel=1e-4)
    assert found.eyes_to_center == pytest.approx(UP_MM / EYES_MM, rel=1e-4)
    assert found.eyes_aside == pytest.approx(0.0, abs=1e-6)
    assert found.eyes_to_width == pytest.approx(140.0 / (EYES_MM * nearer), rel=1e-4)
    turned = measure(model, scene, vertices, 20.0, POINT_MM)
    angle = math.radians(20.0)
    aside_mm = BEFORE_MM * math.sin(angle)
    assert turned.eyes_aside == pytest.approx(aside_mm / (EYES_MM * math.cos(angle)), rel=0.03)
    assert turned.eyes_to_width > found.eyes_to_width
    beyond = dataclasses.astuple(measure(model, scene, vertices, WIDEST_DEG + 1, POINT_MM))
    assert np.isnan(beyond).tolist() == [False, False, True, True, True, True]


def test_the_command_prints_a_row_for_each_angle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = write_head(tmp_path / "head.npz")
    assert main(["--head", str(head), "--identities", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[4:]] == [f"{yaw:g}" for yaw in YAWS_DEG]
    assert main(["--head", str(head), "--identities", "0"]) == 1
    for point_mm in ("0", "nan", "60"):
        assert main(["--head", str(head), "--identities", "1", "--point-mm", point_mm]) == 1
