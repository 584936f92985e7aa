# SPDX-License-Identifier: Apache-2.0
"""Rendered raw frames in Pandora's and Biwi's layout: the loaders give back the arrays that the renderer made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.errors import ConfigError
from tests.oracles.face_crop import crop_levels, nearest_depth
from tests.train.synth.test_dataset import digests
from train.data.biwi import open_biwi
from train.data.biwi_files import Calibration, bytes_from_depth, read_depth_bin
from train.data.packed import open_packed_set
from train.data.pandora_raw import open_pandora_raw
from train.data.reader_config import ReaderConfig
from train.data.registration import Intrinsics
from train.synth import biwi_frames, full_frame
from train.synth.__main__ import main
from train.synth.biwi_frames import BiwiFrame, BiwiStage, write_biwi_sequence
from train.synth.dataset import Studio
from train.synth.full_frame import FrameSize, shoot_frame, write_raw_sequence
from train.synth.motion import dataset_angles_from_rotation, sample_angles, sample_position
from train.synth.shot import Shot

COLOUR, DEPTH = FrameSize(212.0, (216, 384)), FrameSize(73.0, (86, 102))
RIG = (
    Calibration(Intrinsics((143.9, 143.9), (80.5, 60.5), (120, 160)), np.eye(3), np.zeros(3)),
    Calibration(
        Intrinsics((129.4, 129.4), (80.5, 61.0), (120, 160)),
        biwi_frames.KINECT_RGB.rotation,
        biwi_frames.KINECT_RGB.translation_mm,
    ),
)


@pytest.fixture(scope="module")
def raw_root(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("raw")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(full_frame, "KINECT_COLOUR", COLOUR)
        patch.setattr(full_frame, "KINECT_DEPTH", DEPTH)
        write_raw_sequence(studio, out, 1, 2, frames=1)
    return out


def test_the_loader_gives_back_the_rendered_frames(studio: Studio, raw_root: Path, tmp_path: Path) -> None:
    source = open_pandora_raw(raw_root, ReaderConfig())
    data = open_packed_set(raw_root, tmp_path, processes=1, progress=False)
    assert len(source.crops.frames) == 1
    for frame, entry in enumerate(source.crops.frames):
        rng = np.random.default_rng([studio.config.seed, 9, 1, 2, frame])
        angles, position = sample_angles(rng, 2), sample_position(rng)
        colour = shoot_frame(studio, 1, 2, COLOUR, frame, position, angles)
        depth = shoot_frame(studio, 1, 2, DEPTH, frame, position, angles)
        raw = source.read_raw(frame)
        np.testing.assert_array_equal(raw.colour, colour.picture)
        np.testing.assert_array_equal(raw.depth_mm, depth.depth_mm)
        assert entry.roll_pitch_yaw_deg == pytest.approx(angles, abs=1e-3)
        # The crops: eq. 6 with a margin of 1.5 in each camera's own pixels, by the test's own arithmetic.
        distance_mm = _mean_around_head(depth)
        assert data.meta["distance_mm"][frame] == pytest.approx(distance_mm, rel=1e-6)
        off_axis = [round(c, 3) - n / 2 for c, n in zip(depth.head_center_xy, (102, 86), strict=True)]
        boxes = []
        for camera in (DEPTH, COLOUR):
            height, width = camera.size_hw
            half = camera.focal_px * 480 / distance_mm / 2
            x, y = (camera.focal_px / DEPTH.focal_px * c for c in off_axis)
            boxes.append((x + width / 2 - half, y + height / 2 - half, x + width / 2 + half, y + height / 2 + half))
        np.testing.assert_array_equal(data.depth_mm[frame], nearest_depth(depth.depth_mm, boxes[0], (144, 144)))
        levels = crop_levels(colour.picture, boxes[1], (144, 144))
        assert np.abs(data.gray[frame] - levels).max() <= 1  # gray is rounded before the average and after it
        assert np.ptp(data.gray[frame].astype(int)) > 30


def _mean_around_head(shot: Shot) -> float:
    """Section 3.2's D: the mean depth of the pixels whose centres lie within 20 mm of the head centre, at D itself."""
    x, y = (round(c, 3) for c in shot.head_center_xy)
    rows, columns = np.mgrid[0 : shot.depth_mm.shape[0], 0 : shot.depth_mm.shape[1]] + 0.5
    distance_mm = 700.0
    for _ in range(3):
        half = 20 * shot.focal_px / distance_mm
        inside = (np.abs(columns - x) <= half) & (np.abs(rows - y) <= half)
        inside[int(y), int(x)] = True
        distance_mm = float(shot.depth_mm[inside].mean())
    return distance_mm


@pytest.fixture(scope="module")
def stage(studio: Studio) -> BiwiStage:
    return BiwiStage(studio, 15, RIG)


@pytest.fixture(scope="module")
def shots(stage: BiwiStage) -> list[BiwiFrame]:
    return [stage.shoot(frame) for frame in (3, 4)]


@pytest.fixture(scope="module")
def biwi_root(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("biwi") / "hpdb"
    write_biwi_sequence(studio, out, 15, 2, RIG)
    return out


def test_biwis_files_hold_what_was_rendered(shots: list[BiwiFrame], biwi_root: Path) -> None:
    source = open_biwi(biwi_root, ReaderConfig())
    assert [(e.sequence, e.frame, e.subject) for e in source.crops.frames] == [(15, 3, 3), (15, 4, 3)]
    for position, shot in enumerate(shots):
        path = biwi_root / "15" / f"frame_{position + 3:05d}_depth.bin"
        np.testing.assert_array_equal(read_depth_bin(path), shot.depth_mm)
        assert path.read_bytes() == bytes_from_depth(shot.depth_mm)
        colour, _ = source.read_registered(position)
        np.testing.assert_array_equal(colour, shot.colour)
        np.testing.assert_array_equal(source.poses[position].rotation, shot.pose.rotation)
        assert source.crops.frames[position].roll_pitch_yaw_deg == pytest.approx(shot.angles_deg, abs=1e-9)
        assert dataset_angles_from_rotation(shot.pose.rotation) == pytest.approx(shot.angles_deg, abs=1e-9)
    for calibration, written in zip(source.calibrations[15], RIG, strict=True):
        assert calibration.camera == written.camera
        np.testing.assert_array_equal(calibration.rotation, written.rotation)


def test_structured_light_has_holes_and_noise_on_true_depth(shots: list[BiwiFrame]) -> None:
    for shot in shots:
        hit = np.isfinite(shot.exact_depth_mm)
        assert 0.1 < hit.mean() < 0.95
        measured = hit & (shot.depth_mm > 0)
        assert 0.005 < (shot.depth_mm == 0).mean() < 0.3
        error = shot.depth_mm[measured] - shot.exact_depth_mm[measured].astype(float)
        assert 0.3 < np.abs(error).mean() < 8
        assert abs(error.mean()) < 2


def test_depth_registered_onto_rgb_is_what_the_rgb_camera_sees(stage: BiwiStage, biwi_root: Path) -> None:
    """Trace the RGB camera's own depth of the same scene and compare."""
    source = open_biwi(biwi_root, ReaderConfig())
    exact = rgb_depth(stage, 3)
    _, registered = source.read_registered(0)
    x, y = source.head_center(0)
    rows, columns = slice(int(y) - 12, int(y) + 12), slice(int(x) - 10, int(x) + 10)
    near, truth = registered[rows, columns].astype(float), exact[rows, columns]
    both = (near > 0) & np.isfinite(truth)
    assert both.mean() > 0.6
    error = np.abs(near - truth)[both]
    assert np.median(error) < 6
    # The depth camera's own image is farther off: without registration the test fails.
    raw = read_depth_bin(biwi_root / "15" / "frame_00003_depth.bin")
    shifted = np.abs(raw[rows, columns].astype(float) - truth)[both & (raw[rows, columns] > 0)]
    assert np.mean(np.minimum(shifted, 100)) > 1.5 * np.mean(np.minimum(error, 100))


def rgb_depth(stage: BiwiStage, frame: int) -> np.ndarray:
    """Return the exact z of the RGB camera: the renderer's depth pass is asked for that camera's view as well."""
    taken: dict[str, tuple] = {}
    plain = biwi_frames.render

    def spy(scenes, textures, view, pose, *rest):  # type: ignore[no-untyped-def]
        taken["scene"] = (scenes, pose, view)
        return plain(scenes, textures, view, pose, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(biwi_frames, "render", spy)
        stage.shoot(frame)
    return biwi_frames.trace_depth(*taken["scene"])


def test_people_are_those_of_the_set_and_dress_anew(studio: Studio) -> None:
    first, again = BiwiStage(studio, 3, RIG), BiwiStage(studio, 15, RIG)
    np.testing.assert_array_equal(first.subject.identity, again.subject.identity)
    assert first.outfit.seed != again.outfit.seed
    assert not again.outfit.infrared


def test_a_sequence_is_the_same_again_and_left_alone(studio: Studio, biwi_root: Path, tmp_path: Path) -> None:
    before = digests(biwi_root / "15")
    assert sorted(before)[0] == "depth.cal"
    again = write_biwi_sequence(studio, tmp_path, 15, 2, RIG)
    assert digests(again) == before
    assert write_biwi_sequence(studio, biwi_root, 15, frames=99) == biwi_root / "15"
    assert digests(biwi_root / "15") == before


def test_an_unknown_sequence_is_refused(studio: Studio, tmp_path: Path, head_file: Path) -> None:
    with pytest.raises(ConfigError, match="--sequences: got 25, expected 1 to 24"):
        write_biwi_sequence(studio, tmp_path, 25, frames=1)
    assert main(["render-biwi", "--head", str(head_file), "--out", str(tmp_path), "--sequences", "0"]) == 1
