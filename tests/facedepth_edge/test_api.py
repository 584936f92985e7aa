# SPDX-License-Identifier: Apache-2.0
"""EdgeDepth on a model whose answer is known: one frame's whole way, several faces, several threads, memory."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge import ConfigError, DepthResult, EdgeDepth
from facedepth_edge.box import box_from_head
from facedepth_edge.camera import Camera
from facedepth_edge.head import EARS_BEHIND_FACE_MM
from tests.oracles.face_crop import crop_levels
from tests.tiny_model import tiny_outputs, write_tiny_artifact

CENTER = (250.4, 170.3)
ARRAYS = ("depth_mm", "relative", "mask")


def assert_same(result: DepthResult, other: DepthResult) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(result, name), getattr(other, name), err_msg=name)
    scalars = (
        "box",
        "head_center",
        "distance_mm",
        "distance_source",
        "validity",
        "valid",
        "reason",
        "frame_hw",
        "camera",
    )
    assert {name: getattr(result, name) for name in scalars} == {name: getattr(other, name) for name in scalars}


def test_whole_way_against_plain_numpy(tiny_edge: EdgeDepth, frame: np.ndarray) -> None:
    result = tiny_edge.predict(frame, CENTER, distance_mm=650.0)
    focal = 0.87 * 480
    box = box_from_head(CENTER, 650.0, (focal, focal))
    face = crop_levels(frame, box) / 127.5 - 1
    expected = tiny_outputs(face[None, None])
    z = expected["depth"][0, 0]
    assert result.box == pytest.approx(box)
    np.testing.assert_allclose(result.relative, z, atol=0.51 / 127.5)
    np.testing.assert_allclose(result.depth_mm, 650 + 160 * z, atol=0.51 / 127.5 * 160)
    sure = np.abs(expected["mask"][0, 0] - 0.5) > 0.01
    np.testing.assert_array_equal(result.mask[sure], (expected["mask"][0, 0] > 0.5)[sure])
    assert 0.05 < result.mask.mean() < 0.95
    assert result.validity == pytest.approx(float(expected["validity"][0, 0]), abs=0.02)
    assert result.mask_source == "model"
    assert (result.distance_mm, result.distance_source) == (650.0, "distance_mm")
    assert result.depth_mm.shape == (96, 96)
    assert (result.depth_mm.dtype, result.relative.dtype, result.mask.dtype) == (np.float32, np.float32, np.bool_)
    assert result.frame_hw == (360, 480)
    assert result.camera == Camera(focal, focal, 240.0, 180.0)


def test_an_upright_frame_is_of_the_same_lens(tiny_edge: EdgeDepth, frame: np.ndarray) -> None:
    upright = np.ascontiguousarray(np.rot90(frame))
    result = tiny_edge.predict(upright, (180.0, 240.0), distance_mm=650.0)
    assert result.camera == Camera(0.87 * 480, 0.87 * 480, 180.0, 240.0)
    assert result.box.width == pytest.approx(0.87 * 480 * 320 / 650)


def test_sources_of_the_distance(tiny_edge: EdgeDepth, frame: np.ndarray) -> None:
    depth = np.full((360, 480), 580, np.uint16)
    width_px = 0.87 * 480 * 147 / (480 + EARS_BEHIND_FACE_MM)
    cases = {
        "distance_mm": (500.0, {"distance_mm": 500.0, "depth": depth, "head_width_px": width_px}),
        "depth": (580.0, {"depth": depth, "head_width_px": width_px}),
        "head_width_px": (480.0, {"head_width_px": width_px}),
        "nominal": (700.0, {}),
    }
    for source, (distance_mm, given) in cases.items():
        result = tiny_edge.predict(frame, CENTER, **given)
        assert (result.distance_source, result.distance_mm) == (source, pytest.approx(distance_mm))
        assert result.box.width == pytest.approx(0.87 * 480 * 320 / distance_mm)


def test_mean_depth_is_an_option(tiny_artifact: Path, frame: np.ndarray) -> None:
    depth = np.full((360, 480), 500, np.uint16)
    depth[:, 250:] = 520
    with EdgeDepth(tiny_artifact, depth_average="mean") as mean, EdgeDepth(tiny_artifact) as median:
        assert 505 < mean.predict(frame, CENTER, depth=depth).distance_mm < 515
        assert median.predict(frame, CENTER, depth=depth).distance_mm in (500, 510, 520)


def test_given_camera(tiny_artifact: Path, frame: np.ndarray) -> None:
    camera = Camera(600.0, 620.0, cx=230.0, nominal_distance_mm=900.0)
    with EdgeDepth(tiny_artifact, camera=camera) as edge:
        result = edge.predict(frame, CENTER)
    assert result.distance_mm == 900.0
    assert (result.box.width, result.box.height) == pytest.approx((600 * 320 / 900, 620 * 320 / 900))
    assert result.camera.center_px((360, 480)) == (230.0, 180.0)


def test_gray_and_16_bit_frames(tiny_artifact: Path, frame: np.ndarray) -> None:
    gray = np.ascontiguousarray(frame[:, :, 1])
    with EdgeDepth(tiny_artifact, precision="fp32", camera=Camera(400, 400, max_value=1020)) as edge:
        expected = edge.predict(gray, CENTER)
        assert_same(edge.predict(gray[:, :, None], CENTER), expected)
        wide = edge.predict(gray.astype(np.uint16) * 4, CENTER)
        np.testing.assert_allclose(wide.depth_mm, expected.depth_mm, atol=1e-3)
        assert expected.relative.std() > 0.05


def test_strided_frame(tiny_edge: EdgeDepth, frame: np.ndarray) -> None:
    wide = np.zeros((360, 700, 3), np.uint8)
    wide[:, 100:580] = frame
    assert_same(tiny_edge.predict(wide[:, 100:580], CENTER), tiny_edge.predict(frame, CENTER))


def test_box_partly_outside(tiny_edge: EdgeDepth, frame: np.ndarray) -> None:
    result = tiny_edge.predict(frame, (2.0, 357.0), distance_mm=400.0)
    assert result.box.x0 < 0
    assert result.box.y1 > 360
    assert np.isfinite(result.depth_mm).all()


def test_batch_is_the_same_as_one_by_one(tiny_edge: EdgeDepth, frame: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    centers = [(float(x), float(y)) for x, y in rng.uniform((0, 0), (480, 360), (11, 2))]
    distances = [None, *(float(value) for value in rng.uniform(300, 1200, 10))]
    results = tiny_edge.predict_batch(frame, centers, distances_mm=distances)
    assert len(results) == 11  # more than one run of the backend takes
    for center, distance, result in zip(centers, distances, results, strict=True):
        assert_same(result, tiny_edge.predict(frame, center, distance_mm=distance))
    assert {result.distance_source for result in results} == {"distance_mm", "nominal"}


def test_batch_with_depth_and_widths(tiny_edge: EdgeDepth, frame: np.ndarray) -> None:
    depth = np.full((360, 480), 640, np.uint16)
    by_depth = tiny_edge.predict_batch(frame, [CENTER, (100, 100)], depth=depth)
    assert [result.distance_mm for result in by_depth] == [640.0, 640.0]
    by_width = tiny_edge.predict_batch(frame, [CENTER, (100, 100)], head_widths_px=[80.0, None])
    assert [result.distance_source for result in by_width] == ["head_width_px", "nominal"]


def test_batch_of_none(tiny_edge: EdgeDepth, frame: np.ndarray) -> None:
    assert tiny_edge.predict_batch(frame, []) == []


def test_results_own_their_memory(tiny_edge: EdgeDepth, frame: np.ndarray) -> None:
    first = tiny_edge.predict(frame, CENTER)
    kept = {name: getattr(first, name).copy() for name in ARRAYS}
    second = tiny_edge.predict(frame, (100.0, 100.0))
    batch = tiny_edge.predict_batch(frame, [(50, 50), (300, 200)])
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), kept[name])
        for other in (second, *batch):
            assert not np.shares_memory(getattr(first, name), getattr(other, name))
        getattr(first, name)[...] = 0
    assert_same(tiny_edge.predict(frame, (100.0, 100.0)), second)


def test_result_outlives_the_frame_and_the_model(tiny_artifact: Path, frame: np.ndarray) -> None:
    image = frame.copy()
    with EdgeDepth(tiny_artifact) as edge:
        result = edge.predict(image, CENTER)
    kept = result.depth_mm.copy()
    image[...] = 0
    np.testing.assert_array_equal(result.depth_mm, kept)


def test_out_as_a_result(tiny_edge: EdgeDepth, frame: np.ndarray) -> None:
    expected = tiny_edge.predict(frame, CENTER, distance_mm=600.0)
    out = tiny_edge.predict(frame, (100.0, 100.0))
    arrays = [getattr(out, name) for name in ARRAYS]
    returned = tiny_edge.predict(frame, CENTER, distance_mm=600.0, out=out)
    assert returned is out
    assert all(getattr(out, name) is array for name, array in zip(ARRAYS, arrays, strict=True))
    assert_same(out, expected)


def test_out_as_an_array(tiny_edge: EdgeDepth, frame: np.ndarray) -> None:
    expected = tiny_edge.predict(frame, CENTER)
    big = np.full((2, 96, 200), np.nan, np.float32)
    result = tiny_edge.predict(frame, CENTER, out=big[1, :, 50:146])
    assert np.shares_memory(result.depth_mm, big)
    np.testing.assert_array_equal(big[1, :, 50:146], expected.depth_mm)
    assert np.isnan(big[0]).all()
    assert_same(result, expected)


def test_out_allocates_nothing_of_the_frames_size(tiny_edge: EdgeDepth) -> None:
    image = np.full((720, 1280, 3), 90, np.uint8)
    out = tiny_edge.predict(image, (640, 360))
    gc.collect()
    tracemalloc.start()
    for _ in range(5):
        tiny_edge.predict(image, (640, 360), out=out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000  # the box alone has 509 x 509 = 259,000 pixels


def test_threads_get_the_serial_answer(tiny_artifact: Path, frame: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    jobs = [((float(x), float(y)), float(d)) for x, y, d in rng.uniform((0, 0, 300), (480, 360, 1500), (40, 3))]
    found: dict[tuple[int, int], DepthResult] = {}
    barrier = threading.Barrier(8)
    with EdgeDepth(tiny_artifact) as edge:
        expected = [edge.predict(frame, center, distance_mm=distance) for center, distance in jobs]

        def work(worker: int) -> None:
            barrier.wait()
            for index in np.random.default_rng(worker).permutation(len(jobs)):
                center, distance = jobs[index]
                found[worker, int(index)] = edge.predict(frame, center, distance_mm=distance)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 8 * len(jobs)
    for (_, index), result in found.items():
        assert_same(result, expected[index])


def test_close_is_final_and_may_be_repeated(tiny_artifact: Path, frame: np.ndarray) -> None:
    edge = EdgeDepth(tiny_artifact)
    edge.close()
    edge.close()
    with pytest.raises(ConfigError, match=r"EdgeDepth: got a call after close\(\)"):
        edge.predict(frame, CENTER)
    with pytest.raises(ConfigError, match=r"EdgeDepth: got a call after close\(\)"):
        edge.predict_batch(frame, [CENTER])


def test_close_while_others_predict(tiny_artifact: Path, frame: np.ndarray) -> None:
    """Every call ends in a whole result or in the error of a closed EdgeDepth."""
    edge = EdgeDepth(tiny_artifact, precision="fp32")
    expected = edge.predict(frame, CENTER)
    started, outcomes = threading.Barrier(5), []

    def work() -> None:
        started.wait()
        while True:
            try:
                result = edge.predict(frame, CENTER)
            except ConfigError:
                outcomes.append("closed")
                return
            np.testing.assert_array_equal(result.depth_mm, expected.depth_mm)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    edge.close()
    for thread in threads:
        thread.join(timeout=60)
    assert outcomes == ["closed"] * 4


def test_buffers_of_ended_threads_are_let_go(tiny_edge: EdgeDepth, frame: np.ndarray) -> None:
    for _ in range(5):
        thread = threading.Thread(target=tiny_edge.predict, args=(frame, CENTER))
        thread.start()
        thread.join()
    gc.collect()
    assert len(tiny_edge._path._lanes) == 1


def stripes(low: int, high: int) -> np.ndarray:
    """A frame with a little contrast: (200, 200) uint8, columns of ten pixels of two levels in turn."""
    return np.tile(np.where(np.arange(200) // 10 % 2, low, high).astype(np.uint8), (200, 1))


def head_of(low: int, high: int) -> np.ndarray:
    """A frame of stripes that the tiny model calls head in the box's middle, and bright ones around."""
    frame = stripes(215, 225)
    frame[65:135, 65:135] = stripes(low, high)[65:135, 65:135]
    return frame


def test_validity_below_its_threshold(tiny_edge: EdgeDepth) -> None:
    black = tiny_edge.predict(stripes(0, 8), (100, 100))
    assert not black.valid
    assert black.face_seen == 1.0  # to the tiny model all that is dark is head
    assert black.reason == "a head turned away, or its face covered: validity 0.01 is below 0.50"
    lamp = stripes(0, 8)
    lamp[80:120, 85:115] = stripes(215, 225)[80:120, 85:115]
    elsewhere = tiny_edge.predict(lamp, (100, 100))
    assert elsewhere.face_seen < 0.6
    assert not elsewhere.valid
    assert elsewhere.reason.startswith("no usable face in the box: validity 0.")
    gray = tiny_edge.predict(head_of(75, 85), (100, 100))
    assert (gray.valid, gray.reason) == (True, "")


def test_empty_mask_is_not_valid(tiny_edge: EdgeDepth) -> None:
    bright = tiny_edge.predict(stripes(215, 225), (100, 100))
    assert (bright.valid, bright.mask.any()) == (False, False)
    assert bright.reason == "no head in the box: the mask is empty"


def test_a_covered_face_is_not_valid(tiny_edge: EdgeDepth) -> None:
    clear = tiny_edge.predict(head_of(75, 85), (100, 100))
    assert clear.valid
    assert clear.face_seen == pytest.approx(clear.mask[_place()].mean())
    covered = head_of(75, 85)
    covered[90:] = stripes(215, 225)[90:]  # the tiny model sees no head where it is bright
    result = tiny_edge.predict(covered, (100, 100))
    assert 0 < result.face_seen < 0.6
    assert result.face_seen == pytest.approx(result.mask[_place()].mean())
    assert not result.valid
    assert result.reason.startswith(
        "the face is covered, outside the frame, not in the box's middle or farther away than said: "
    )
    assert result.reason.endswith("% of its place is head, below 60 %")


def test_points_outside_the_frame_are_no_head(tiny_edge: EdgeDepth) -> None:
    """The same head whole, and cut by the frame's left edge 20 px beside its centre."""
    whole = tiny_edge.predict(head_of(75, 85), (100, 100))
    cut = tiny_edge.predict(np.ascontiguousarray(head_of(75, 85)[:, 80:]), (20, 100))
    seen_x, _ = cut.pixel_centers()
    assert seen_x[0] < 0
    assert not cut.mask[:, seen_x < 0].any()
    assert np.array_equal(cut.mask[:, seen_x >= 0], whole.mask[:, seen_x >= 0])
    assert cut.point_cloud().shape == (cut.mask.sum(), 3)
    assert cut.face_seen == pytest.approx((whole.mask & (seen_x >= 0))[_place()].mean())
    hidden = tiny_edge.predict(np.ascontiguousarray(head_of(75, 85)[:, 99:]), (1, 100))
    assert not hidden.valid
    assert hidden.reason.startswith("the face is covered, outside the frame, ")


def test_a_box_of_too_few_pixels_is_not_valid(tiny_edge: EdgeDepth) -> None:
    frame = head_of(75, 85)
    focal_px = 0.87 * 200
    for side_px, reason in (
        (24.0, ""),
        (23.7, "too few pixels: the box about the head has 23.7 of them a side, below 24"),
    ):
        result = tiny_edge.predict(frame, (100, 100), distance_mm=focal_px * 320 / side_px)
        assert result.reason.startswith("too few pixels") == bool(reason)
        assert result.reason == reason or not reason


def test_a_head_that_fills_its_box_is_told_at_the_frames_edge_too(tiny_edge: EdgeDepth) -> None:
    for corner in ((5, 5), (195, 100)):
        result = tiny_edge.predict(stripes(75, 85), corner)
        assert result.reason.startswith("the head fills its box")


def test_a_head_that_fills_its_box_is_nearer_than_said(tiny_edge: EdgeDepth) -> None:
    frame = stripes(75, 85)
    result = tiny_edge.predict(frame, (100, 100))
    assert result.face_seen == 1.0
    assert not result.valid
    assert result.reason == (
        "the head fills its box, so it is nearer than said: 100 % of the box's border is head, above 25 %"
    )


def _place() -> np.ndarray:
    down, across = (np.mgrid[0:96, 0:96] + 0.5 - 48) * (320 / 96)
    return (across / 60) ** 2 + (down / 80) ** 2 <= 1


def test_model_without_mask_and_validity(tmp_path: Path, frame: np.ndarray) -> None:
    folder = write_tiny_artifact(tmp_path / "plain", precisions=("fp32",), mask=False, validity=False)
    with EdgeDepth(folder) as edge:
        result = edge.predict(frame, CENTER)
    assert result.mask_source == "relative depth below 0.25"
    np.testing.assert_array_equal(result.mask, result.relative < 0.25)
    assert 0.05 < result.mask.mean() < 0.95
    assert (result.validity, result.face_seen, result.valid) == (None, None, True)


def test_timings(tiny_edge: EdgeDepth, frame: np.ndarray) -> None:
    timings = tiny_edge.predict(frame, CENTER).timings_ms
    assert timings.keys() == {"check", "crop", "network", "result", "total"}
    assert all(value >= 0 for value in timings.values())
    parts = timings["check"] + timings["crop"] + timings["network"] + timings["result"]
    assert parts == pytest.approx(timings["total"])


def test_reference_backend_gives_the_same(tiny_reference_artifact: Path, frame: np.ndarray) -> None:
    with EdgeDepth(tiny_reference_artifact, "torch") as torch, EdgeDepth(tiny_reference_artifact) as onnx:
        assert torch.info["backend"] == "torch"
        for result, other in zip(
            [torch.predict(frame, CENTER), *torch.predict_batch(frame, [CENTER, (90, 90)])],
            [onnx.predict(frame, CENTER), *onnx.predict_batch(frame, [CENTER, (90, 90)])],
            strict=True,
        ):
            np.testing.assert_allclose(result.depth_mm, other.depth_mm, atol=1e-3)
            assert result.validity == pytest.approx(other.validity, abs=1e-5)


def test_copies_and_pickles_open_the_model_anew(tiny_artifact: Path, frame: np.ndarray) -> None:
    with EdgeDepth(tiny_artifact, threads=1, camera=Camera(600, 600)) as edge:
        expected = edge.predict(frame, CENTER)
        for other in (copy.deepcopy(edge), pickle.loads(pickle.dumps(edge))):
            with other:
                assert other.info["threads"] == 1
                np.testing.assert_array_equal(other.predict(frame, CENTER).depth_mm, expected.depth_mm)
        edge.predict(frame, CENTER)  # the copies closed only themselves
