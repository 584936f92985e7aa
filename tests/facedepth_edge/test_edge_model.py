# SPDX-License-Identifier: Apache-2.0
"""The bundled default model through the runtime: its golden faces, its size in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge.artifacts import list_models, open_artifact
from facedepth_edge.backends.base import open_backend

MAX_RESIDENT_MIB = 150
LOAD_AND_PREDICT = """
import numpy as np
from facedepth_edge import EdgeDepth
edge = EdgeDepth()
edge.predict(np.full((720, 1280, 3), 90, np.uint8), (640.0, 360.0))
pages = int(open("/proc/self/statm").read().split()[1])
print(pages * __import__("resource").getpagesize() / 2**20)
"""


def test_every_file_is_intact(edge_artifact: Path) -> None:
    assert "edge" in list_models()
    artifact = open_artifact("edge")
    assert artifact.folder == edge_artifact
    for name in artifact.spec.files:
        if artifact.has(name):
            assert len(artifact.read(name)) == artifact.spec.files[name].bytes


def test_golden_faces(edge_artifact: Path) -> None:
    artifact = open_artifact(edge_artifact)
    with np.load(edge_artifact / "golden.npz", allow_pickle=False) as golden:
        arrays = {name: golden[name] for name in golden.files}
    assert artifact.read("golden.npz")
    faces = arrays.pop("face")
    backend = open_backend("onnxruntime", artifact, "fp32", 1)
    assert arrays.keys() == set(artifact.spec.outputs.names)
    assert arrays[artifact.spec.outputs.depth.name].std() > 0.1
    for index, face in enumerate(faces):
        backend.input[0] = face
        backend.run()
        for name, values in arrays.items():
            np.testing.assert_allclose(backend.output[name][0], values[index], atol=2e-4, err_msg=f"{name} {index}")


@pytest.mark.serial
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_resident_memory(edge_artifact: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LOAD_AND_PREDICT], capture_output=True, text=True, check=True)
    assert 20 < float(done.stdout) < MAX_RESIDENT_MIB, edge_artifact
