# SPDX-License-Identifier: Apache-2.0
"""What predict() is given wrongly is told in our own words, and an EdgeDepth works on after it."""

from __future__ import annotations

import math
import shutil
from typing import Any

import numpy as np
import pytest

from facedepth_edge import ArtifactError, Camera, ConfigError, EdgeDepth, InputError
from facedepth_edge.backends.onnxruntime_network import MAX_BATCH

NAN, INF = math.nan, math.inf
GOOD_FRAME = np.tile(np.arange(60, 140, dtype=np.uint8), (60, 1))  # a ramp: a flat frame is not valid
CENTER = (40.0, 30.0)

BAD_FRAMES = [
    (None, "a NoneType, expected a NumPy array"),
    ([[1, 2], [3, 4]], "a list, expected a NumPy array"),
    ("face.png", "a str, expected a NumPy array"),
    (np.zeros((60, 80), np.float32), "dtype float32, expected uint8 or uint16"),
    (np.zeros((60, 80, 3), np.int16), "dtype int16, expected uint8 or uint16"),
    (np.zeros((60, 80), np.bool_), "dtype bool"),
    (np.zeros((60, 80), ">u2"), "dtype >u2"),
    (np.zeros(80, np.uint8), r"shape \(80,\), expected \(H, W\), \(H, W, 1\) or \(H, W, 3\)"),
    (np.zeros((), np.uint8), r"shape \(\)"),
    (np.zeros((1, 60, 80, 3), np.uint8), r"shape \(1, 60, 80, 3\)"),
    (np.zeros((60, 80, 4), np.uint8), r"shape \(60, 80, 4\).*BGRA"),
    (np.zeros((60, 80, 2), np.uint8), r"shape \(60, 80, 2\)"),
    (np.zeros((0, 80), np.uint8), r"shape \(0, 80\), expected at least one pixel"),
    (np.zeros((60, 0, 3), np.uint8), r"shape \(60, 0, 3\), expected at least one pixel"),
    (np.zeros((60, 80), np.uint16), "dtype uint16 and a camera without max_value, expected the camera's max_value"),
]


@pytest.mark.parametrize(("bad", "text"), BAD_FRAMES, ids=[text[:24] for _, text in BAD_FRAMES])
def test_frame(tiny_edge: EdgeDepth, bad: Any, text: str) -> None:
    with pytest.raises(InputError, match=rf"^frame: got {text}"):
        tiny_edge.predict(bad, CENTER)
    with pytest.raises(InputError, match=rf"^frame: got {text}"):
        tiny_edge.predict_batch(bad, [CENTER, CENTER])
    assert np.isfinite(tiny_edge.predict(GOOD_FRAME, CENTER).depth_mm).all()  # a good frame goes on as before


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"head_center": (-1, 30)}, r"head_center: got \(-1, 30\), expected 0 <= x < 80 and 0 <= y < 60"),
        ({"head_center": (80, 30)}, r"head_center: got \(80, 30\)"),
        ({"head_center": (NAN, 30)}, r"head_center: got \(nan, 30\)"),
        ({"head_center": (40, INF)}, r"head_center: got \(40, inf\)"),
        ({"head_center": None}, "head_center: got None, expected two numbers"),
        ({"head_center": (1, 2, 3)}, "head_center: got .*expected two numbers"),
        ({"distance_mm": 0}, "distance_mm: got 0, expected 10 to 100000 millimetres"),
        ({"distance_mm": -700.0}, "distance_mm: got -700.0"),
        ({"distance_mm": NAN}, "distance_mm: got nan"),
        ({"distance_mm": INF}, "distance_mm: got inf"),
        ({"distance_mm": 0.7}, "distance_mm: got 0.7"),
        ({"distance_mm": "far"}, "distance_mm: got 'far'"),
        ({"distance_mm": np.array([700.0, 700.0])}, "distance_mm: got array"),
        ({"head_width_px": 0}, "head_width_px: got 0"),
        ({"head_width_px": NAN}, "head_width_px: got nan"),
        ({"depth": np.full((60, 80), NAN, np.float32)}, "depth around head_center .*all holes"),
        ({"depth": np.zeros((60, 80), np.uint16)}, "depth around head_center .*all holes"),
        ({"depth": np.full((60, 80), -700.0, np.float32)}, "depth around head_center .*all holes"),
        (
            {"depth": np.full((59, 80), 700, np.uint16)},
            r"depth: got shape \(59, 80\), expected the frame's size \(60, 80\)",
        ),
        ({"depth": np.full((60, 80), 0.7, np.float32)}, "depth around head_center .*got 0.69"),
        ({"depth": "depth.png"}, "depth: got a str, expected a NumPy array"),
        ({"out": np.empty((96, 95), np.float32)}, r"out: got shape \(96, 95\)"),
        ({"out": np.empty((96, 96), np.float64)}, "out: got shape .* dtype float64"),
        ({"distance_mm": np.timedelta64(700)}, r"distance_mm: got \w+\.timedelta64\(700\)"),
        ({"head_width_px": np.timedelta64(70, "ns")}, "head_width_px: got"),
        ({"head_center": (np.timedelta64(40), np.timedelta64(30))}, "head_center: got"),
        ({"out": [1.0]}, "out: got a list, expected a DepthResult or a float32 array"),
        ({"out": np.broadcast_to(np.float32(0), (96, 96))}, "out: got .*writeable False"),
    ],
)
def test_arguments(tiny_edge: EdgeDepth, given: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=rf"^{text}"):
        tiny_edge.predict(GOOD_FRAME, **{"head_center": CENTER, **given})
    assert np.isfinite(tiny_edge.predict(GOOD_FRAME, CENTER).depth_mm).all()  # a good frame goes on as before


def test_nan_in_a_depth_image_is_a_hole(tiny_edge: EdgeDepth) -> None:
    depth = np.full((60, 80), 655.0, np.float32)
    depth[:, ::2] = NAN
    result = tiny_edge.predict(GOOD_FRAME, CENTER, depth=depth)
    assert (result.distance_mm, result.distance_source) == (655.0, "depth")


@pytest.mark.parametrize(
    ("dtype", "strides"),
    [
        (np.float32, (4, 4)),  # each row begins one pixel after the one before it
        (np.float32, (0, 4)),
        (np.float32, (4 * 95, 4)),  # by one pixel
        (np.float32, (4, 4 * 95)),
        (np.float32, (4 * 96, 2)),
        (np.float32, (-4, 4)),
        (np.bool_, (1, 1)),
    ],
)
def test_out_whose_pixels_lie_over_one_another(tiny_edge: EdgeDepth, dtype: Any, strides: tuple[int, int]) -> None:
    """Written row by row, an earlier one would be written over."""
    room = np.zeros(96 * 96 * 4, dtype)[4 * 96 :]
    out: Any = np.lib.stride_tricks.as_strided(room, (96, 96), strides)
    if dtype is np.bool_:
        mask, out = out, tiny_edge.predict(GOOD_FRAME, CENTER)
        out.mask = mask
    with pytest.raises(
        InputError, match=rf"^out: got strides \({strides[0]}, .*expected pixels with bytes of their own"
    ):
        tiny_edge.predict(GOOD_FRAME, CENTER, out=out)


def test_out_whose_arrays_share_memory(tiny_edge: EdgeDepth) -> None:
    out = tiny_edge.predict(GOOD_FRAME, CENTER)
    out.relative = out.depth_mm
    with pytest.raises(InputError, match=r"^out: got a result whose arrays share memory, expected arrays of their own"):
        tiny_edge.predict(GOOD_FRAME, CENTER, out=out)


@pytest.mark.parametrize("view", [np.s_[::-1, :], np.s_[:, ::-1], np.s_[::2, ::3]])
def test_out_that_is_a_view_with_gaps_or_turned(tiny_edge: EdgeDepth, view: Any) -> None:
    expected = tiny_edge.predict(GOOD_FRAME, CENTER).depth_mm
    for room in (np.empty((192, 288), np.float32), np.empty((288, 192), np.float32).T):
        out = room[view][:96, :96]
        tiny_edge.predict(GOOD_FRAME, CENTER, out=out)
        np.testing.assert_array_equal(out, expected)


def test_out_is_not_touched_by_a_refused_call(tiny_edge: EdgeDepth) -> None:
    out = np.full((96, 96), 5.0, np.float32)
    with pytest.raises(InputError):
        tiny_edge.predict(GOOD_FRAME, (-1, 0), out=out)
    assert (out == 5.0).all()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"head_centers": [CENTER, (90, 10)]}, "face 1: head_center: got"),
        ({"head_centers": [CENTER, CENTER], "distances_mm": [700.0, -1.0]}, "face 1: distance_mm: got -1.0"),
        ({"head_centers": [CENTER, CENTER], "distances_mm": [700.0]}, "distances_mm: got 1 values, expected 2"),
        ({"head_centers": [CENTER], "head_widths_px": [30.0, 40.0]}, "head_widths_px: got 2 values, expected 1"),
    ],
)
def test_batch_names_the_face(tiny_edge: EdgeDepth, given: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=rf"^{text}"):
        tiny_edge.predict_batch(GOOD_FRAME, **given)


def test_max_value_below_the_pixels(tiny_artifact: Any) -> None:
    with EdgeDepth(tiny_artifact, camera=Camera(60, 60, max_value=1023)) as edge:
        rule = r"frame: got gray up to 4000 in the face's crop, expected at most the camera's max_value 1023"
        with pytest.raises(InputError, match=rule):
            edge.predict(np.full((60, 80), 4000, np.uint16), CENTER)
        assert np.isfinite(edge.predict(GOOD_FRAME.astype(np.uint16) * 4, CENTER).depth_mm).all()


def test_max_value_below_the_pixels_of_one_face_of_many(tiny_artifact: Any) -> None:
    frame = np.tile(GOOD_FRAME.astype(np.uint16) * 4, (10, 10))  # 600 x 800
    frame[500:, 700:] = 4000
    count = MAX_BATCH + 2
    centers = [(40.0 + 30 * i, 40.0) for i in range(count - 1)] + [(760.0, 560.0)]
    rule = r"frame: got gray up to 4000 in the face's crop, expected at most the camera's max_value 1023"
    with EdgeDepth(tiny_artifact, camera=Camera(60, 60, max_value=1023)) as edge:
        for given in (centers, centers[-2:]):
            with pytest.raises(InputError, match=rf"^face {len(given) - 1}: {rule}") as caught:
                edge.predict_batch(frame, given)
            assert caught.value.face_index == len(given) - 1
        for one in (lambda: edge.predict(frame, centers[-1]), lambda: edge.predict_batch(frame, centers[-1:])):
            with pytest.raises(InputError, match=f"^{rule}") as caught:
                one()
            assert caught.value.face_index is None
        assert len(edge.predict_batch(frame, centers[:-1])) == count - 1


@pytest.mark.parametrize("camera", ["camera.json", (600, 600), {"fx": 600, "fy": 600}])
def test_camera_of_another_kind(tiny_artifact: Any, camera: Any) -> None:
    with pytest.raises(ConfigError, match=r"camera: got .*expected a Camera or None"):
        EdgeDepth(tiny_artifact, camera=camera)


def test_depth_average_of_another_name(tiny_artifact: Any) -> None:
    with pytest.raises(ConfigError, match=r"depth_average: got mode, expected one of median, mean"):
        EdgeDepth(tiny_artifact, depth_average="mode")


@pytest.mark.parametrize(
    "values", [(10**400, 1.0), (1e308, 1e308), (1.0, 1.0, 10**400), (1.0, 1.0, True), (np.timedelta64(5), 1.0)]
)
def test_numbers_that_would_overflow_are_refused_by_the_camera(values):
    with pytest.raises(ConfigError, match=r"^Camera\.(fx|cx): got "):
        Camera(*values)


def test_a_camera_file_that_nests_too_deep_is_named(tmp_path):
    path = tmp_path / "camera.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ConfigError, match=r"camera\.json: got .*expected JSON text in UTF-8"):
        Camera.from_file(path)


@pytest.mark.parametrize("threads", [0, 1025, 10**15, True, 1.5])
def test_a_number_of_threads_that_no_machine_has_is_refused(tiny_artifact, threads):
    with pytest.raises(ConfigError, match=r"threads: got .*expected a whole number from 1 to 1024, or None"):
        EdgeDepth(tiny_artifact, threads=threads)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"half_range_mm": 160.0', f'"half_range_mm": 1{"0" * 400}'),
        lambda text: text.replace('"half_range_mm": 160.0', f'"half_range_mm": 1{"0" * 5000}'),
        lambda text: text.replace('"reach_x_mm": 320.0', '"reach_x_mm": 1e308'),
        lambda text: text.replace('"name": "', '"name": "\\ud800', 1),
    ],
)
def test_a_spec_with_what_no_model_has_is_refused(tiny_artifact, tmp_path, change):
    folder = tmp_path / "model"
    shutil.copytree(tiny_artifact, folder)
    spec = folder / "spec.json"
    changed = change(spec.read_text())
    assert changed != spec.read_text()
    spec.write_text(changed)
    with pytest.raises(ArtifactError, match=r"spec\.json: "):
        EdgeDepth(folder)


@pytest.mark.parametrize("name", ["precision", "backend", "depth_average"])
@pytest.mark.parametrize("value", [np.array(["fp32", "int8"]), np.array(["auto", "auto"]), ["auto"], None, 5])
def test_an_option_that_is_no_text_is_refused(tiny_artifact, name, value):
    with pytest.raises(ConfigError, match=rf"^{name}: got .*expected (one of|auto, )"):
        EdgeDepth(tiny_artifact, **{name: value})


@pytest.mark.parametrize("name", ["mask", "relative", "depth_mm"])
def test_out_that_lacks_an_array(tiny_edge: EdgeDepth, name: str) -> None:
    out = tiny_edge.predict(GOOD_FRAME, CENTER)
    setattr(out, name, None)
    with pytest.raises(InputError, match=r"^out: got a result with a NoneType, expected one with three arrays"):
        tiny_edge.predict(GOOD_FRAME, CENTER, out=out)


def test_a_backend_that_is_no_name_is_refused(tiny_artifact):
    with pytest.raises(ConfigError, match=r"^backend: got \[\], expected auto, "):
        EdgeDepth(tiny_artifact, backend=[])
