# SPDX-License-Identifier: Apache-2.0
"""Two cameras' poses of one head: what is left beside the turn between the cameras, and the command."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from benchmarks import pose_between_cameras
from benchmarks.pose_between_cameras import disagreements, main, moment_and_camera, table_of
from benchmarks.recordings.three_cameras import Lens, Pair
from facedepth_edge.errors import InputError
from tests.benchmarks.recording_scenes import turn_by

TURN = turn_by(20)


@dataclass(frozen=True)
class Pose:
    """What DepthResult.head_pose() returns, as far as it is read here."""

    rotation: np.ndarray


def test_poses_that_agree_leave_nothing() -> None:
    head = turn_by(-15) @ cv2.Rodrigues(np.array([0.2, 0.0, 0.1]))[0]
    off = cv2.Rodrigues(np.array([np.radians(3.0), 0.0, 0.0]))[0]
    rotations = {
        ("1_0", "left"): head, ("1_0", "middle"): TURN @ head,
        ("1_1", "left"): head, ("1_1", "middle"): off @ TURN @ head,
        ("1_2", "left"): head,
    }  # fmt: skip
    exact, tilted = disagreements(rotations, "left", "middle", TURN)
    assert (exact.moment, tilted.moment) == ("1_0", "1_1")
    assert exact.angle_deg == pytest.approx(0, abs=1e-5)
    assert exact.roll_pitch_yaw_deg == pytest.approx((0, 0, 0), abs=1e-9)
    assert tilted.angle_deg == pytest.approx(3.0)
    assert abs(tilted.roll_pitch_yaw_deg[1]) == pytest.approx(3.0, abs=0.3)
    table = table_of([("Left, Middle", 20.0, [exact, tilted])])
    assert table.splitlines()[-1].startswith("| Left, Middle | 20.0 | 2 | 1.5 (1.5) | ")


def test_names() -> None:
    assert moment_and_camera(SimpleNamespace(name="2_1_left.png")) == ("2_1", "left")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"left\.png: got a name of one part"):
        moment_and_camera(SimpleNamespace(name="left.png"))  # type: ignore[arg-type]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    item = {"depth": "d.png", "person": "1", "head_center_xy": [1, 2], "fx": 500.0, "fy": 500.0, "cx": 50.0, "cy": 50.0}
    names = ("1_0_left.png", "1_0_middle.png", "1_1_left.png")
    (tmp_path / "frames.json").write_text(json.dumps([{**item, "image": name} for name in names]))
    lens = Lens(np.eye(3), np.zeros((1, 5)))
    poses = {"1_0_left.png": Pose(np.eye(3)), "1_0_middle.png": Pose(TURN), "1_1_left.png": None}

    def compared(frames: list, model: str) -> list:
        assert model == "edge"
        return [
            SimpleNamespace(frame=frame, result=SimpleNamespace(head_pose=lambda name=frame.name: poses[name]))
            for frame in frames
        ]

    monkeypatch.setattr(pose_between_cameras, "compare_all", compared)
    monkeypatch.setattr(pose_between_cameras, "find_boards", lambda root: root)
    pair = Pair(lens, lens, TURN, np.zeros(3))
    monkeypatch.setattr(pose_between_cameras, "calibrate", lambda boards: {("Left", "Middle"): pair})
    assert main(["repository", str(tmp_path)]) == 0
    assert "| Left, Middle | 20.0 | 1 | 0.0 (0.0) |" in capsys.readouterr().out
    monkeypatch.setattr(pose_between_cameras, "calibrate", lambda boards: {("Middle", "Right"): pair})
    assert main(["repository", str(tmp_path)]) == 1
    assert "got no moment that two cameras saw" in capsys.readouterr().err
