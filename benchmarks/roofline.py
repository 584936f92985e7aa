# SPDX-License-Identifier: Apache-2.0
"""Floors of a network's latency on named devices: `python -m benchmarks.roofline --model edge [--bench FILE.json]`.

A floor is the larger of two times: all multiply-accumulates at the device's peak rate, and all weights read once at its
memory bandwidth. No run can be faster; real ones are slower, small networks by far, because launching their kernels
takes longer than the work. Floors of devices that were never measured are floors and nothing else, and say so.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.graph_cost import PRECISION_BYTES, GraphCost, cost_of_graph
from facedepth_edge.artifacts import open_artifact
from facedepth_edge.bench.compare import read_bench
from facedepth_edge.errors import InputError
from train.command import Outcome, run_command


@dataclass(frozen=True)
class Device:
    """What a device can do at most.

    Args:
        memory_gb_s: Memory bandwidth, 10^9 bytes a second.
        tera_macs_s: Precision to its dense rate, 10^12 multiply-accumulates a second (half the operations a second).
        source: Where the figures are from.
    """

    memory_gb_s: float
    tera_macs_s: dict[str, float]
    source: str


VENDOR = "the vendor's data sheet, dense"
DEVICES = {
    "Jetson Orin Nano 8 GB": Device(68.0, {"fp16": 5.0, "int8": 10.0}, VENDOR),
    "Jetson Orin Nano 8 GB Super": Device(102.0, {"fp16": 8.4, "int8": 16.7}, VENDOR),
    "Jetson Orin NX 16 GB": Device(102.4, {"fp16": 12.5, "int8": 25.0}, VENDOR),
    "Jetson AGX Orin 64 GB": Device(204.8, {"fp16": 21.2, "int8": 42.5}, VENDOR + ", GPU without DLA"),
    "H100 SXM": Device(3350.0, {"fp16": 494.0, "int8": 989.0}, VENDOR),
    "H200 SXM": Device(4300.0, {"fp16": 494.0, "int8": 989.0}, VENDOR + "; bandwidth measured by a copy"),
}


def floor_ms(cost: GraphCost, device: Device, precision: str) -> tuple[float, str]:
    """Return the least time of one run at batch 1, in milliseconds, and what sets it: compute or memory.

    Args:
        cost: Of the graph.
        device: The device.
        precision: One that the device's `tera_macs_s` has.
    """
    compute = cost.macs / (device.tera_macs_s[precision] * 1e12) * 1e3
    memory = cost.moved_bytes(precision) / (device.memory_gb_s * 1e9) * 1e3
    return (compute, "compute") if compute > memory else (memory, "memory")


def tables_from_cost(name: str, cost: GraphCost, measured: dict[str, Any] | None) -> str:
    """Return the counts, the floors and the measured points as Markdown."""
    lines = [
        f"{name}, batch 1: {cost.macs / 1e6:.1f} M multiply-accumulates, {cost.weights / 1e6:.3f} M weights",
        "",
        "| layer | operator | MMAC | weights | values in | values out |",
        "|---|---|---|---|---|---|",
    ]
    for layer in cost.layers:
        counts = f"{layer.weights} | {layer.values_in} | {layer.values_out}"
        lines.append(f"| {layer.name} | {layer.kind} | {layer.macs / 1e6:.2f} | {counts} |")
    lines += ["", "| device | precision | floor (ms) | set by | measured |", "|---|---|---|---|---|"]
    for title, device in DEVICES.items():
        for precision in device.tera_macs_s:
            least, limit = floor_ms(cost, device, precision)
            lines.append(f"| {title} | {precision} | {least:.4f} | {limit} | never: a floor only |")
    for run in (measured or {}).get("runs", []):
        machine = measured["machine"].get("device") or measured["machine"].get("cpu", "unknown")  # type: ignore[index]
        network = run["stages_p50_ms"]["network"]
        rate = cost.macs / network / 1e6
        what = f"{network:.3f} ms, {rate:.1f} GMAC/s ({run['mode']}, {run['model']['threads']} threads)"
        lines.append(f"| {machine} | {run['model']['precision']} | - | - | {what} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Print the floors; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roofline", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="edge", help="a bundled model, an artifact's folder, or an ONNX file")
    parser.add_argument("--bench", type=Path, help="file of facedepth-edge bench --json with runs of this model")
    parser.add_argument("--json", type=Path, help="write counts and floors there too")
    args = parser.parse_args(arguments)

    def work() -> Outcome:
        path = Path(args.model)
        name = path.stem
        if path.suffix != ".onnx":
            artifact = open_artifact(args.model)
            name, path = artifact.spec.name, artifact.folder / "fp32.onnx"
        cost = cost_of_graph(path)
        measured = None if args.bench is None else read_bench(args.bench)
        if measured is not None and any(run["model"]["model"] != name for run in measured["runs"]):
            raise InputError.of(str(args.bench), "runs of another model", f"runs of {name}", "Give its own file.")
        if args.json is not None:
            floors = {
                title: {precision: floor_ms(cost, device, precision)[0] for precision in device.tera_macs_s}
                for title, device in DEVICES.items()
            }
            counts = {
                "macs": cost.macs,
                "weights": cost.weights,
                "bytes": {p: cost.moved_bytes(p) for p in PRECISION_BYTES},
            }
            args.json.write_text(json.dumps({"model": name, **counts, "floors_ms": floors}, indent=1) + "\n")
        return Outcome(tables_from_cost(name, cost, measured))

    return run_command("python -m benchmarks.roofline", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
