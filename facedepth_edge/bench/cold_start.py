# SPDX-License-Identifier: Apache-2.0
"""Times import, load and first result in fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from facedepth_edge.errors import ArtifactError

COLD_STARTS = 3
_COLD_START = """
import json, sys, time
t0 = time.perf_counter()
from facedepth_edge import EdgeDepth
t1 = time.perf_counter()
from facedepth_edge.bench.run import scaled_demo
model, backend, precision, threads, width, height = json.loads(sys.argv[1])
demo = scaled_demo((width, height))
t2 = time.perf_counter()
edge = EdgeDepth(model, backend, precision, demo.camera, threads)
t3 = time.perf_counter()
demo.predict_with(edge)
t4 = time.perf_counter()
print(json.dumps({"import": (t1 - t0) * 1e3, "load": (t3 - t2) * 1e3, "first_result": (t4 - t3) * 1e3}))
"""


def time_cold_start(
    model: str, backend: str, precision: str, threads: int | None, size_wh: tuple[int, int]
) -> dict[str, float]:
    """Time import, load and first result in fresh processes.

    Args:
        model: as `EdgeDepth` takes it.
        backend: likewise.
        precision: likewise.
        threads: likewise.
        size_wh: width and height of the frame in pixels.

    Returns:
        `import`, `load` and `first_result` in milliseconds: medians over COLD_STARTS processes; one before them, which
        fills the file caches, does not count.

    Raises:
        ArtifactError: a process failed.
    """
    arguments = json.dumps([model, backend, precision, threads, *size_wh])
    found = []
    for _ in range(COLD_STARTS + 1):
        done = subprocess.run(
            [sys.executable, "-c", _COLD_START, arguments],
            capture_output=True,
            text=True,
            check=False,
            env=_plain_env(),
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
            rule = "a process that loads the model"
            raise ArtifactError.of("cold start", last, rule, "Run facedepth-edge doctor.")
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return {name: float(np.median([one[name] for one in found[1:]])) for name in found[0]}


def _plain_env() -> dict[str, str]:
    """Return the environment in which a fresh process finds this package and may keep its compiled files."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    here = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [environment.get("PYTHONPATH")])])
    return environment
