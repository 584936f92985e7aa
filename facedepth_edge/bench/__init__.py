# SPDX-License-Identifier: Apache-2.0
"""Latency benchmarks of `predict()`, as a person runs them on the device."""

from facedepth_edge.bench.compare import Comparison, compare_runs
from facedepth_edge.bench.plan import BenchPlan
from facedepth_edge.bench.run import run_bench

__all__ = ["BenchPlan", "Comparison", "compare_runs", "run_bench"]
