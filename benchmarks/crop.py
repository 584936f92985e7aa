# SPDX-License-Identifier: Apache-2.0
"""Times the face crop three ways on one thread: FaceSampler natively and by OpenCV, and OpenCV's plain steps.

The ways take turns in blocks, so that whatever else the machine does meets all of them; ratios are taken inside a
block. All start from one (720, 1280, 3) uint8 BGR frame and end in a (96, 96) float32 input of the network. The box has
whole edges, because OpenCV's steps can take no others. FaceSampler returns the contrast too; the plain steps do not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from facedepth_edge.bench.machine import checkout_commit, describe_machine, describe_versions
from facedepth_edge.box import Box
from facedepth_edge.face_crop import FaceSampler
from facedepth_edge.spec import Preprocessing
from train.command import Outcome, run_command

FRAME_HW = (720, 1280)
SIDE_PX = 96
WARM_UP = 50


def make_ways(box_px: int) -> dict[str, tuple[Callable[[], None], np.ndarray]]:
    """Return name -> (one crop, the array that it writes); all sample the same frame and box."""
    y, x, phase = np.ogrid[: FRAME_HW[0], : FRAME_HW[1], 0:3]
    frame = (127.5 + 127.5 * np.sin(x / 31.0 + phase) * np.cos(y / 23.0 - phase)).astype(np.uint8)
    left, top = (FRAME_HW[1] - box_px) // 2, (FRAME_HW[0] - box_px) // 2
    box = Box(left, top, left + box_px, top + box_px)
    inside = np.s_[top : top + box_px, left : left + box_px]
    preprocessing = Preprocessing()
    faces = {name: np.empty((SIDE_PX, SIDE_PX), np.float32) for name in ("native", "sampler", "opencv")}
    compiled, interpreted = FaceSampler("native"), FaceSampler("opencv")

    def native() -> None:
        compiled.sample_into(faces["native"], frame, box, preprocessing)

    def sampler() -> None:
        interpreted.sample_into(faces["sampler"], frame, box, preprocessing)

    def opencv() -> None:
        gray = cv2.cvtColor(frame[inside], cv2.COLOR_BGR2GRAY)
        small = cv2.resize(gray, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        np.multiply(small, np.float32(preprocessing.scale), out=faces["opencv"])
        faces["opencv"] += np.float32(preprocessing.offset)

    return {
        "native": (native, faces["native"]),
        "sampler": (sampler, faces["sampler"]),
        "opencv": (opencv, faces["opencv"]),
    }


def measure(ways: dict[str, tuple[Callable[[], None], np.ndarray]], blocks: int, runs: int) -> dict[str, Any]:
    """Time each way, in alternating blocks.

    Args:
        ways: as make_ways returns them.
        blocks: how often the ways take turns.
        runs: crops of a way in one block.

    Returns:
        Per way its times in ms (min, p50, p99), how many times faster than OpenCV's steps the others are (median over
        the blocks), and how far their outputs are from the native one's in gray levels.
    """
    times_ms = {name: np.empty((blocks, runs)) for name in ways}
    for crop, _ in ways.values():
        for _ in range(WARM_UP):
            crop()
    for block in range(blocks):
        for name, (crop, _) in ways.items():
            for run in range(runs):
                start = time.perf_counter_ns()
                crop()
                times_ms[name][block, run] = (time.perf_counter_ns() - start) * 1e-6
    medians = {name: np.median(times, axis=1) for name, times in times_ms.items()}
    native = ways["native"][1]
    levels = 1.0 / Preprocessing().scale
    return {
        "times_ms": {
            name: {"min": times.min(), "p50": float(np.median(times)), "p99": float(np.percentile(times, 99))}
            for name, times in times_ms.items()
        },
        "times_faster_than_opencv": {
            name: float(np.median(medians["opencv"] / medians[name])) for name in ways if name != "opencv"
        },
        "largest_difference_levels": {
            name: float(np.abs(face - native).max()) * levels for name, (_, face) in ways.items() if name != "native"
        },
    }


def table_from_report(report: dict[str, Any]) -> str:
    """Return the machine and the times as lines of text."""
    machine = {**report["machine"], **report["versions"], "commit": report["commit"]}
    lines = ["  ".join(f"{key} {value}" for key, value in machine.items())]
    blocks = f"{report['blocks']} blocks of {report['runs']}"
    lines.append(f"1280 x 720 BGR, {report['box_px']} px box, one thread, {blocks}")
    for name, times in report["times_ms"].items():
        faster = report["times_faster_than_opencv"].get(name, 1.0)
        off = report["largest_difference_levels"].get(name, 0.0)
        lines.append(
            f"{name:7s} min {times['min']:.3f}  p50 {times['p50']:.3f}  p99 {times['p99']:.3f} ms"
            f"  {faster:5.2f} x OpenCV's speed  {off:.3f} gray levels from native"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crop", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--box-px", type=int, default=509, help="side of the box (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=20, help="turns of each way (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=200, help="crops in a turn (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    if not 1 <= given.box_px <= FRAME_HW[0] or given.blocks < 1 or given.runs < 1:
        parser.error(f"expected a box of 1 to {FRAME_HW[0]} px, and at least one block and run")

    def work() -> Outcome:
        cv2.setNumThreads(1)
        report = {
            "machine": {**describe_machine(), "load_1min": os.getloadavg()[0]},
            "versions": describe_versions(),
            "commit": checkout_commit(),
            "box_px": given.box_px,
            "blocks": given.blocks,
            "runs": given.runs,
            **measure(make_ways(given.box_px), given.blocks, given.runs),
        }
        return Outcome(json.dumps(report, indent=1) if given.json else table_from_report(report))

    return run_command("python -m benchmarks.crop", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
