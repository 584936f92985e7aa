# SPDX-License-Identifier: Apache-2.0
"""What must never pass silently: blind cameras, absurd distances, a close() in the middle of a prediction."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge import Camera, EdgeDepth, InputError
from facedepth_edge.demo import load_demo_frame
from facedepth_edge.face_crop import FaceSampler
from facedepth_edge.image_files import read_depth


def test_a_blind_camera_gives_no_valid_face(edge_artifact: Path) -> None:
    """A covered lens, a failed flash, a dead sensor: black, flat, or black with noise."""
    demo = load_demo_frame()
    rng = np.random.default_rng(0)
    with EdgeDepth(edge_artifact, camera=demo.camera) as edge:
        for level in (0, 5, 10, 16, 32, 64, 128, 255):
            flat = np.full_like(demo.frame, level)
            result = edge.predict(flat, demo.head_center, distance_mm=demo.distance_mm)
            assert not result.valid
            assert "contrast" in result.reason
        for sigma in (1, 4, 8):
            noise = np.clip(rng.normal(0, sigma, demo.frame.shape), 0, 255).astype(np.uint8)
            assert not edge.predict(noise, demo.head_center, distance_mm=demo.distance_mm).valid
        dim = (demo.frame * 0.15).astype(np.uint8)
        assert edge.predict(dim, demo.head_center, distance_mm=demo.distance_mm).valid


def test_close_waits_for_a_prediction_that_has_begun(
    tiny_artifact: Path, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = EdgeDepth(tiny_artifact, precision="fp32")
    begun, answers = threading.Event(), []
    sample = FaceSampler.sample_into

    def slow(self: FaceSampler, *arguments: object) -> float:
        begun.set()
        time.sleep(0.3)
        return sample(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(FaceSampler, "sample_into", slow)
    worker = threading.Thread(target=lambda: answers.append(edge.predict(frame, (250, 170))), daemon=True)
    worker.start()
    assert begun.wait(5)
    closer = threading.Thread(target=edge.close, daemon=True)
    closer.start()
    worker.join(5)
    closer.join(5)
    assert not worker.is_alive()
    assert not closer.is_alive()
    assert len(answers) == 1


def test_close_between_two_steps_of_a_call_does_not_lock_up(tiny_artifact: Path, frame: np.ndarray) -> None:
    """close() holds the guard only to mark the path closed; a call on its way must see that without the guard."""
    edge = EdgeDepth(tiny_artifact, precision="fp32")
    path = edge._path
    lane = path._lane()
    with lane.lock:
        closer = threading.Thread(target=edge.close, daemon=True)
        closer.start()
        deadline = time.monotonic() + 5
        while path._first is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)  # close() now waits for this lane
        assert path._guard.acquire(timeout=2), "close() keeps the guard while it waits for a lane"
        path._guard.release()
    closer.join(5)
    assert not closer.is_alive()


@pytest.mark.parametrize("distance", [1e30, 1e39, 10**400, 100_001.0, float("inf")])
def test_no_head_is_kilometres_away(tiny_edge: EdgeDepth, frame: np.ndarray, distance: float) -> None:
    with pytest.raises(InputError, match="distance_mm"):
        tiny_edge.predict(frame, (250, 170), distance_mm=distance)


def test_other_sources_of_distance_have_the_same_limit(tiny_edge: EdgeDepth, frame: np.ndarray) -> None:
    with pytest.raises(InputError, match="head_width_px"):
        tiny_edge.predict(frame, (250, 170), head_width_px=1e-320)
    with pytest.raises(InputError, match="depth"):
        tiny_edge.predict(frame, (250, 170), depth=np.full(frame.shape[:2], 1e30))
    with pytest.raises(InputError, match="head_center"):
        tiny_edge.predict(frame, (10**400, 1))


@pytest.mark.parametrize(
    "arguments", [{"distances_mm": 700}, {"head_widths_px": 5.0}, {"head_centers": None}, {"head_centers": 3}]
)
def test_one_value_where_a_list_is_needed(tiny_edge: EdgeDepth, frame: np.ndarray, arguments: dict) -> None:
    (name,) = arguments
    with pytest.raises(InputError, match=f"{name}: got .*, expected a list"):
        tiny_edge.predict_batch(frame, **{"head_centers": [(250, 170)], **arguments})


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04junk",
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f8', (((".ljust(117) + b"\n",
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000, 100000000), }".ljust(117)
        + b"\n",
        b"",
    ],
)
def test_a_broken_npy_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "depth.npy"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"depth\.npy"):
        read_depth(path)


def test_a_far_too_large_max_value_is_noticed(edge_artifact: Path) -> None:
    demo = load_demo_frame()
    camera = Camera(demo.camera.fx, demo.camera.fy, max_value=65535)
    with EdgeDepth(edge_artifact, camera=camera) as edge:
        result = edge.predict(demo.frame.astype(np.uint16), demo.head_center, distance_mm=demo.distance_mm)
    assert not result.valid
    assert "max_value" in result.reason
