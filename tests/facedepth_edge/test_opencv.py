# SPDX-License-Identifier: Apache-2.0
"""An OpenCV that does not load, as in a container without libGL, is told with what to do, wherever it is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge import DepthResult, EdgeDepth
from facedepth_edge.bench.drawing import Drawing, picture_from_drawing
from facedepth_edge.bench.run import scaled_demo
from facedepth_edge.demo import load_demo_frame
from facedepth_edge.errors import BackendUnavailable
from facedepth_edge.face_crop import FaceSampler
from facedepth_edge.head_detector import HeadDetector
from facedepth_edge.image_files import read_depth, read_frame, write_picture
from facedepth_edge.opencv import find_cv2, import_cv2

MISSING = "libGL.so.1: cannot open shared object file: No such file or directory"
RULE = r"^OpenCV: got libGL\.so\.1: .*, expected a module cv2 that loads\. Run: .*libgl1 libglib2\.0-0, or .*-headless="


@pytest.fixture
def result(tiny_edge: EdgeDepth, frame: np.ndarray) -> DepthResult:
    return tiny_edge.predict(frame, (250.0, 170.0))


@pytest.fixture
def broken(result: DepthResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OpenCV whose library is missing; the result is from before."""
    monkeypatch.setattr("facedepth_edge.opencv.find_cv2", lambda: (None, ImportError(MISSING)))


NEEDS: dict[str, Callable[[DepthResult, np.ndarray, Path], object]] = {
    "save": lambda result, frame, folder: result.save(folder / "depth.png"),
    "picture": lambda result, frame, folder: result.picture(frame),
    "read_frame": lambda result, frame, folder: read_frame(folder / "frame.png"),
    "read_depth": lambda result, frame, folder: read_depth(folder / "depth.png"),
    "write_picture": lambda result, frame, folder: write_picture(frame, folder / "picture.png"),
    "demo": lambda result, frame, folder: load_demo_frame(),
    "detector": lambda result, frame, folder: HeadDetector(),
    "bench": lambda result, frame, folder: scaled_demo((320, 180)),
    "report": lambda result, frame, folder: picture_from_drawing(Drawing(9, 9, [])),
}


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("what", NEEDS)
def test_what_needs_opencv_says_how_to_mend_it(
    what: str, result: DepthResult, frame: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(BackendUnavailable, match=RULE) as caught:
        NEEDS[what](result, frame, tmp_path)
    assert isinstance(caught.value.__cause__, ImportError)
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("broken")
def test_what_needs_none_works_on(result: DepthResult, tmp_path: Path) -> None:
    assert result.save(tmp_path / "depth.npy").is_file()
    assert result.save(tmp_path / "depth.ply").is_file()


@pytest.mark.usefixtures("broken")
def test_a_crop_by_opencv_says_so_too(frame: np.ndarray, result: DepthResult, tiny_edge: EdgeDepth) -> None:
    out = np.empty((96, 96), np.float32)
    with pytest.raises(BackendUnavailable, match=RULE):
        FaceSampler("opencv").sample_into(out, frame, result.box, tiny_edge.spec.preprocessing)


def test_an_opencv_that_loads_is_imported_once() -> None:
    import cv2

    assert import_cv2() is import_cv2() is cv2
    assert find_cv2() == (cv2, None)


@pytest.mark.parametrize("command", ["demo", "predict", "bench", "doctor"])
def test_the_command_line_tells_the_cause_and_no_traceback(tmp_path: Path, tiny_artifact: Path, command: str) -> None:
    """OpenCV's own package fails by another error when it is imported a second time, after printing sys.path."""
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text(
        "import sys\n"
        "if hasattr(sys, 'OpenCV_LOADER'):\n"
        "    print(sys.path)\n"
        "    raise ImportError('recursion is detected')\n"
        "sys.OpenCV_LOADER = True\n"
        f"raise ImportError({MISSING!r})\n"
    )
    images = ["one.png", "two.png", "--head-center", "9,9", "--out-dir", "out", "--json"]
    arguments = {
        "demo": ["--out", "demo.png", "--json"],
        "predict": [*images, "--model", str(tiny_artifact)],
        "bench": ["--seconds", "0.1", "--queries", "1", "--no-cold-start"],
        "doctor": ["--model", str(tiny_artifact), "--json"],
    }[command]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "facedepth_edge", command, *arguments],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), root])},
    )  # fmt: skip
    assert done.returncode == 1
    told = done.stdout if command == "doctor" else done.stderr
    assert MISSING in told
    assert "libgl1" in told
    assert "recursion is detected" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if "--json" in arguments:
        assert json.loads(done.stdout)["ok"] is False
