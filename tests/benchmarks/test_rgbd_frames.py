# SPDX-License-Identifier: Apache-2.0
"""The comparison with measured depth: known differences come out as they were put in, and files that break a rule."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.rgbd_frames import (
    BEHIND_NOSE_MM,
    Comparison,
    Frame,
    compare_all,
    face_pixels,
    main,
    read_frames,
    scores,
    sheet,
    table,
)
from facedepth_edge import Camera
from tests.benchmarks.recording_scenes import CAMERA, HEAD


def test_a_copy_of_the_model_is_no_error(recording: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, picture = recording / "scores.json", recording / "sheet.png"
    assert main([str(recording), "--model", str(model), "--json", str(out), "--sheet", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert "| 0 | 2 | " in printed
    assert "| all frames | 3 | " in printed
    assert "| 2 people | 3 | " in printed
    assert "3 frames, 0 with too little measured" in printed
    assert "place before the camera" not in printed
    rows = json.loads(out.read_text())["frames"]
    assert [row["person"] for row in rows] == ["0", "0", "1"]
    for row in rows:
        assert row["error_mm"] < 0.5  # the depth image is in whole millimetres
        assert row["correlation"] > 0.99
        assert row["gain"] == pytest.approx(1, abs=0.06)
    drawn = cv2.imread(str(picture))
    assert drawn.shape == (2 * 144, 2 * 4 * 144, 3)
    assert drawn[:144, :144].std() > 5


def test_degrees_are_of_the_crop_s_millimetres(recording: Path, model: Path) -> None:
    """320 mm over the box's 96 pixels, written here once more: a slope of 1 mm a mm is 45 degrees."""
    first = compare_all(read_frames(recording), model)[0]
    height, width = first.face.shape
    down, across = np.mgrid[:height, :width] * 320.0 / np.array([height, width])[:, None, None]
    for rise, keys in ((across, ("yaw_deg", "pitch_deg")), (down, ("pitch_deg", "yaw_deg"))):
        turned = replace(first.result, depth_mm=first.measured_mm + rise * np.tan(np.radians(10)))
        row = scores([replace(first, result=turned)])[0]
        assert row[keys[0]] == pytest.approx(10, abs=1e-6)
        assert row[keys[1]] == pytest.approx(0, abs=1e-6)


def test_means_over_frames_and_over_people_differ(recording: Path, model: Path) -> None:
    found = compare_all(read_frames(recording), model)
    keys = ("correlation", "error_mm", "yaw_deg", "pitch_deg", "person_correlation", "person_error_mm",
            "shape_error_mm", "gain")  # fmt: skip
    rows = [dict.fromkeys(keys, value) for value in (1.0, 3.0, 8.0)]
    text = table(found, rows, 5).splitlines()
    assert [line.split("|")[4].strip() for line in text[2:6]] == ["2.00", "8.00", "4.00", "5.00"]
    valid = sum(one.result.valid for one in found)
    assert text[-1] == f"5 frames, 2 with too little measured; of the others {valid} called valid."
    unsure = replace(found[0], result=replace(found[0].result, valid=not found[0].result.valid))
    assert f"of the others {valid + (1 if unsure.result.valid else -1)} called" in table([unsure, *found[1:]], rows, 3)
    lost = replace(found[0], frame=replace(found[0].frame, on_axis=True))
    assert "place before the camera is not known" in table([lost, *found[1:]], rows, 3)


def test_groups_have_their_lines(recording: Path, model: Path) -> None:
    found = compare_all(read_frames(recording), model)
    keys = ("correlation", "error_mm", "yaw_deg", "pitch_deg", "person_correlation", "person_error_mm",
            "shape_error_mm", "gain")  # fmt: skip
    rows = [dict.fromkeys(keys, value) for value in (1.0, 3.0, 8.0)]
    assert "of all" not in table(found, rows, 3)
    shown = ({"glasses": "no", "light": "dim"}, {"glasses": "yes"}, {"glasses": "no"})
    found = [replace(one, frame=replace(one.frame, groups=groups)) for one, groups in zip(found, shown, strict=True)]
    assert table(found, rows, 3).splitlines()[-3:] == [
        "| glasses | no | 2 | 2 | 4.500 | 4.50 | 1.12 |",
        "| glasses | yes | 1 | 1 | 3.000 | 3.00 | 0.75 |",
        "| light | dim | 1 | 1 | 1.000 | 1.00 | 0.25 |",
    ]


def test_red_is_too_far_and_blue_too_near(recording: Path, model: Path) -> None:
    first = compare_all(read_frames(recording), model)[0]
    depth_mm = first.measured_mm.copy()
    depth_mm[:, :48] += 30
    drawn = sheet(
        [replace(first, result=replace(first.result, depth_mm=depth_mm))], [{"correlation": 0, "error_mm": 0}]
    )
    error = drawn[:, 3 * 144 : 4 * 144].astype(int)
    assert error[72, 60, 2] > error[72, 60, 0] + 100  # BGR: the left half is too far
    assert error[72, 84, 0] > error[72, 84, 2] + 100
    assert error[3, 3].tolist() == [128] * 3


def test_too_little_of_a_face(recording: Path, model: Path) -> None:
    depth = cv2.imread(str(recording / "1_depth.png"), cv2.IMREAD_UNCHANGED)
    flat = np.where(depth > 0, 640, 0).astype(np.uint16)
    for spoilt in (np.where(np.arange(480) < 215, depth, 0).astype(np.uint16), flat):
        cv2.imwrite(str(recording / "1_depth.png"), spoilt)
        assert [one.frame.image.name for one in compare_all(read_frames(recording), model)] == ["0.png", "2.png"]


def tilted(comparison: Comparison, yaw_deg: float, pitch_deg: float, relief: float = 1.0) -> Comparison:
    """Return the comparison with a model's face that is turned and flattened against the measured one."""
    planes = comparison.planes()
    measured = comparison.measured_mm[comparison.face]
    flat = planes @ np.linalg.lstsq(planes, measured, rcond=None)[0]
    slopes = np.tan(np.radians([yaw_deg, pitch_deg]))
    depth_mm = comparison.result.depth_mm.astype(np.float64)
    depth_mm[comparison.face] = flat + relief * (measured - flat) + planes[:, :2] @ slopes + 11
    return replace(comparison, result=replace(comparison.result, depth_mm=depth_mm))


def test_tilt_and_flatness_come_out_as_they_were_put_in(recording: Path, model: Path) -> None:
    first, second, third = compare_all(read_frames(recording), model)
    together = [tilted(first, 4, -3), tilted(second, 4, -3), tilted(third, 0, 8, relief=0.5)]
    rows = scores(together)
    for row, (yaw, pitch, gain) in zip(rows, [(4, -3, 1), (4, -3, 1), (0, 8, 0.5)], strict=True):
        assert (row["yaw_deg"], row["pitch_deg"]) == (pytest.approx(yaw, abs=1e-3), pytest.approx(pitch, abs=1e-3))
        assert row["gain"] == pytest.approx(gain, abs=1e-6)
    for row in rows[:2]:
        assert row["error_mm"] > 2
        assert row["person_error_mm"] == pytest.approx(0, abs=1e-6)
        assert row["shape_error_mm"] == pytest.approx(0, abs=1e-6)
        assert row["person_correlation"] == pytest.approx(1)
        assert row["correlation"] < 1
    apart = scores([tilted(first, 4, 0), tilted(second, -4, 0)])  # a plane for the person takes neither out
    assert all(row["person_error_mm"] > 2 and row["shape_error_mm"] < 1e-6 for row in apart)


def test_the_face_is_what_is_measured_of_it() -> None:
    measured = np.full((96, 96), 700.0)
    whole = face_pixels(measured, 700.0)
    assert whole.mean() == pytest.approx(np.pi * 68 * 90 / 320**2, rel=0.01)
    assert not whole[0].any()
    measured[40:44] = 0
    measured[50:54] = np.nan
    measured[60:64] = 700 + BEHIND_NOSE_MM + 5
    measured[70:74] = 900
    assert not face_pixels(np.full((96, 96), 861.0), 700.0).any()
    near_one = np.full((96, 96), 700.0)
    near_one[48, 48] = 600  # one pixel alone does not say where the face is nearest
    assert face_pixels(near_one, 700.0).sum() == whole.sum()
    assert not face_pixels(measured, 700.0)[[41, 51, 61, 71]].any()
    assert face_pixels(measured, 700.0).sum() == whole.sum() - whole[[*range(40, 44), *range(50, 54)]].sum() - (
        whole[[*range(60, 64), *range(70, 74)]].sum()
    )
    assert not face_pixels(np.zeros((96, 96)), 700.0).any()


def test_a_frame_cut_out_of_an_unknown_place(recording: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = json.loads((recording / "frames.json").read_text())
    for item in items:
        del item["cx"], item["cy"]
    (recording / "frames.json").write_text(json.dumps(items))
    frames = read_frames(recording)
    assert all(frame.on_axis and (frame.camera.cx, frame.camera.cy) == HEAD for frame in frames)
    assert main([str(recording), "--model", str(model)]) == 0
    assert "place before the camera is not known" in capsys.readouterr().out


def test_the_distance_is_measured_where_it_is_not_given(recording: Path, model: Path) -> None:
    items = json.loads((recording / "frames.json").read_text())
    for item in items:
        del item["distance_mm"]
    (recording / "frames.json").write_text(json.dumps(items))
    found = compare_all(read_frames(recording), model)
    assert all(one.result.distance_source == "depth" for one in found)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"person": ""}, r"frames.json: \[1\].person: got '', expected a text"),
        ({"head_center_xy": [1]}, r"\[1\].head_center_xy: got \[1\], expected two numbers"),
        ({"fx": 0}, r"\[1\].fx: got 0"),
        ({"cy": None}, r"\[1\].cy: got None"),
        ({"distance_mm": "near"}, r"\[1\].distance_mm: got near"),
        ({"depth": "none.png"}, r"none.png: got no such file"),
        ({"depth": "1.png"}, r"1.png: got 480 x 360 uint8, expected 480 x 360 uint16"),
        ({"head_center_xy": [900, 20]}, r"1\.png: .*head_center: got "),
        ({"distance_mm": 5}, r"\[1\].distance_mm: got 5"),
        ({"groups": ["glasses"]}, r"\[1\].groups: got \['glasses'\], expected an object of texts"),
        ({"groups": {"glasses": 1}}, r"\[1\].groups: got .*, expected an object of texts"),
    ],
)
def test_a_broken_file_is_named(
    recording: Path, model: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object], told: str
) -> None:
    items = json.loads((recording / "frames.json").read_text())
    items[1] |= change
    (recording / "frames.json").write_text(json.dumps(items))
    assert main([str(recording), "--model", str(model)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.search(told, captured.err)


def test_nothing_to_compare(recording: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in recording.glob("*_depth.png"):
        cv2.imwrite(str(path), np.zeros((360, 480), np.uint16))
    assert main([str(recording), "--model", str(model)]) == 1
    assert "3 frames, none with 400 measured pixels of a face" in capsys.readouterr().err
    (recording / "frames.json").write_text("[]")
    assert main([str(recording), "--model", str(model)]) == 1
    assert "expected a list of objects, at least one" in capsys.readouterr().err


def test_a_frame_is_what_the_file_says(recording: Path) -> None:
    items = json.loads((recording / "frames.json").read_text())
    items[2]["groups"] = {"glasses": "no"}
    (recording / "frames.json").write_text(json.dumps(items))
    frame = read_frames(recording)[2]
    files = recording / "2.png", recording / "2_depth.png"
    expected = Frame("2.png", *files, "1", HEAD, Camera(*CAMERA.values()), False, 650.0, {"glasses": "no"})
    assert frame == expected
