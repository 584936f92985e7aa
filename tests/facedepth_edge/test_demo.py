# SPDX-License-Identifier: Apache-2.0
"""Tests the demo: its bundled frame, its picture, and what it says when a file is damaged."""

import json
import re

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from facedepth_edge import ArtifactError, ConfigError, InputError, cli
from facedepth_edge.demo import DEMO_FOLDER, load_demo_frame, run_demo
from facedepth_edge.head_detector import HeadDetector


@pytest.fixture
def folder(tmp_path):
    """A demo frame of its own: the bundled one may be rendered anew."""
    frame = np.full((180, 320, 3), 200, np.uint8)
    cv2.ellipse(frame, (160, 90), (40, 55), 0, 0, 360, (30, 40, 50), -1)
    assert cv2.imwrite(str(tmp_path / "frame.png"), frame)
    facts = {"head_center": [160.0, 90.0], "distance_mm": 640.0, "camera": {"fx": 300.0, "fy": 300.0}}
    (tmp_path / "frame.json").write_text(json.dumps(facts))
    return tmp_path


def test_the_bundled_frame_is_a_driver_seen_by_a_camera():
    demo = load_demo_frame()
    assert demo.frame.shape == (720, 1280, 3)
    assert demo.frame.dtype == np.uint8
    assert demo.frame.std() > 20
    x, y = demo.head_center
    assert 0.2 * 1280 < x < 0.8 * 1280
    assert 0.2 * 720 < y < 0.8 * 720
    assert 400 < demo.distance_mm < 1200
    # README shows --detect on it.
    head = HeadDetector().detect_largest(demo.frame)
    assert head.head_center == pytest.approx(demo.head_center, abs=0.15 * head.head_width_px)


def test_the_frame_and_its_facts_are_small():
    files = {file.name: file.stat().st_size for file in DEMO_FOLDER.iterdir()}
    assert set(files) == {"frame.png", "frame.json"}
    assert sum(files.values()) < 2_500_000


def test_run_demo_writes_a_picture_and_times_predict(folder, tiny_artifact, tmp_path):
    run = run_demo(tmp_path / "out.png", model=tiny_artifact, runs=3, folder=folder)
    assert run.runs == 3
    assert 0 < run.latency_p50_ms < 10_000
    assert run.info["model"] == "tiny"
    assert run.result.distance_mm == 640.0
    assert run.result.head_center == (160.0, 90.0)
    picture = cv2.imread(str(run.picture))
    np.testing.assert_array_equal(picture, run.result.picture(load_demo_frame(folder).frame))
    assert picture.std() > 20


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("frame.png", None),
        ("frame.png", b"no image"),
        ("frame.json", None),
        ("frame.json", b"{"),
        ("frame.json", b'{"head_center": [1, 2], "distance_mm": 600}'),
        ("frame.json", b'{"head_center": [1], "distance_mm": 600, "camera": {"fx": 1, "fy": 1}}'),
        ("frame.json", b'{"head_center": [1, 2], "distance_mm": 600, "camera": {"fx": 0, "fy": 1}}'),
    ],
)
def test_a_damaged_frame_is_named(folder, name, content):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"frame\.json: got .+, expected the bundled frame\. Install"):
        load_demo_frame(folder)


def test_what_cannot_be_written_or_timed_is_refused(folder, tiny_artifact, tmp_path):
    with pytest.raises(ConfigError, match="runs: got 0, expected 1 or more"):
        run_demo(tmp_path / "out.png", model=tiny_artifact, runs=0, folder=folder)
    with pytest.raises(InputError, match="a file that can be written"):
        run_demo(tmp_path / "nowhere" / "out.png", model=tiny_artifact, runs=1, folder=folder)
    with pytest.raises(InputError, match=r"a file name that ends in \.png or \.jpg"):
        run_demo(tmp_path / "out.picture", model=tiny_artifact, runs=1, folder=folder)


def test_the_command_says_where_the_picture_is(tmp_path, monkeypatch):
    """On the bundled model and frame, as the README's first command runs it."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.main, ["demo", "--runs", "3"], catch_exceptions=False)
    assert done.exit_code == 0
    path = tmp_path / "facedepth-edge-demo.png"
    assert f"picture  {path}" in done.stdout.splitlines()
    assert done.stderr.splitlines()[-1] == "PASS facedepth-edge demo --runs 3"
    assert cv2.imread(str(path)).std() > 20
    demo = load_demo_frame()
    again = CliRunner().invoke(
        cli.main, ["demo", "--runs", "2", "--out", "other.jpg", "--json"], catch_exceptions=False
    )
    found = json.loads(again.stdout)
    assert found["picture"] == str(tmp_path / "other.jpg")
    assert found["latency_ms"]["runs"] == 2
    assert found["valid"] is True
    assert found["distance_mm"] == demo.distance_mm
    assert found["head_mm"]["nearest"] < demo.distance_mm < found["head_mm"]["farthest"]
    assert found["head_pose"]["yaw_deg"] == pytest.approx(14, abs=5)
    assert found["head_pose"]["position_mm"][2] > demo.distance_mm + 70
    assert re.search(r", yaw 1\d, pitch -?\d, roll \d degrees, valid$", done.stdout, re.MULTILINE)


def test_a_missing_model_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.main, ["demo", "--model", "nobody"], catch_exceptions=False)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == "FAIL facedepth-edge demo --model nobody"
    assert list(tmp_path.iterdir()) == []
