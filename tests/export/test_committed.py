# SPDX-License-Identifier: Apache-2.0
"""What is committed: the faces file serves the gate, and the bundled model's files are within its limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from export.calibration import MIN_CALIBRATION_FACES
from export.face_subsets import subsets_of
from export.faces import open_faces
from export.graph_files import FILES
from export.parity import run_gate, runner_from_program
from facedepth_edge.artifacts import open_artifact
from train.data.packed import PackedSet

ROOT = Path(__file__).resolve().parents[2]
FACES_FILE = ROOT / "models" / "faces.npz"
MAX_BYTES = 3_000_000


@pytest.fixture(scope="module")
def faces() -> PackedSet:
    """The committed faces; a checkout without them is a failure, not a skip."""
    return open_faces(FACES_FILE)


def test_the_faces_calibrate_and_cover_every_subset(faces: PackedSet) -> None:
    assert FACES_FILE.stat().st_size < MAX_BYTES
    assert len(faces.indices("train", faces_only=True)) == 256 >= MIN_CALIBRATION_FACES
    held_out = faces.indices("test", faces_only=True)
    assert len(held_out) == 64
    for name, chosen in subsets_of(faces, held_out).items():
        assert chosen.sum() >= 16, name
    people = faces.meta["subject"]
    assert not set(people[faces.indices("train")]) & set(people[held_out])
    assert len(set(people[held_out])) >= 10
    assert (faces.label[held_out] > 0).mean() > 0.1
    assert (faces.depth_mm[held_out] > 0).mean() > 0.5


def test_the_bundled_model_is_within_the_limits(faces: PackedSet, edge_artifact: Path) -> None:
    artifact = open_artifact(edge_artifact)
    files = {name: artifact.read(name) for name in FILES}
    held_out = faces.indices("test")
    chosen = held_out[np.linspace(0, len(held_out) - 1, 32).round().astype(int)]
    report = run_gate(files, runner_from_program(artifact.read("reference.pt2"), artifact.spec), faces, chosen)
    assert report.faults == []
    assert list(report.files) == list(FILES)
    assert 0 < report.files["int8-trt.onnx"].subsets["all"]["mean_mm"] < 2
    assert (
        sum(node.op_type == "QuantizeLinear" for node in onnx.load_from_string(files["int8-trt.onnx"]).graph.node) > 5
    )
