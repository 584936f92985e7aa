# SPDX-License-Identifier: Apache-2.0
"""What has no noise must not grow unnoticed: the bundled model's operations, and what a predict() allocates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.graph_cost import cost_of_graph
from facedepth_edge.bench import BenchPlan, run_bench

ROOT = Path(__file__).resolve().parents[2]
COUNTS = json.loads((ROOT / "benchmarks" / "counts.json").read_text())
ALLOWED_KIB = 8  # Python and NumPy versions differ by a few objects


@pytest.mark.parametrize("name", ["fp32.onnx", "int8.onnx"])
def test_the_model_does_not_grow(name: str) -> None:
    cost = cost_of_graph(ROOT / "facedepth_edge" / "models" / "edge" / name)
    assert (cost.macs, cost.weights) == (COUNTS["macs"], COUNTS["weights"]), "if it is meant, change counts.json"


def test_a_frame_does_not_allocate_more() -> None:
    plan = BenchPlan(seconds=0.01, queries=2, warm_up_seconds=0.0)
    found = run_bench(plan, precision="int8", threads=1, cold_start=False)["counts"]
    assert found["kept_kib_per_frame"] <= COUNTS["kept_kib_per_frame"]
    assert found["peak_kib_per_frame"] <= COUNTS["peak_kib_per_frame"] + ALLOWED_KIB, (
        "if it is meant, change counts.json"
    )
