# SPDX-License-Identifier: Apache-2.0
"""Command line: `python -m train.crosscheck render|scan --out DIR ...`: rendered heads, or a scan of a real one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from train.command import Outcome, run_command
from train.crosscheck.dataset import CrossConfig, render_set
from train.crosscheck.path_tracer import PathTracer
from train.crosscheck.scan import ScanConfig, render_scan


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    parser = argparse.ArgumentParser(prog="python -m train.crosscheck", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser("render", help="render a set of Anny heads with Mitsuba")
    render.add_argument("--out", type=Path, required=True, help="folder of the set; a started one is continued")
    render.add_argument("--hair", type=Path, default=None, help="folder of modelled hair: NAME.obj with NAME.png")
    defaults = CrossConfig()
    for name in ("subjects", "mean_subjects", "frames", "seed", "samples"):
        render.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name))
    turned = "share of the frames with the head turned away: its back, its top or its throat, and no face"
    render.add_argument("--turned", type=float, default=defaults.turned, help=turned)
    scan = commands.add_parser("scan", help="render a textured scan of a real head through a grid of poses")
    scan.add_argument("--out", type=Path, required=True, help="folder of the set")
    scan.add_argument("--mesh", type=Path, required=True, help=".obj, .glb or .ply, +y up, looking along +z")
    scan.add_argument("--texture", type=Path, help="its picture, where the mesh's file does not name it")
    xyz = ("X", "Y", "Z")
    for name in ("right-tragus", "left-tragus", "chin"):
        scan.add_argument(f"--{name}", type=float, nargs=3, metavar=xyz, required=True, help="in the file's units")
    scan.add_argument("--mm-per-unit", type=float, required=True, help="millimetres of one unit of the file")
    scan.add_argument(
        "--credit", default="", help="who made the scan and under which licence, for docs with its pictures"
    )
    for name in ("lights", "seed", "samples"):
        scan.add_argument(f"--{name}", type=int, default=getattr(ScanConfig, name))
    for command in (render, scan):
        command.add_argument("--variant", default="scalar_rgb", help="Mitsuba's variant")
        command.add_argument("--threads", type=int, default=1, help="threads of the path tracer")
    chosen = parser.parse_args(arguments)

    def work_on_scan() -> Outcome:
        points = [tuple(getattr(chosen, name)) for name in ("right_tragus", "left_tragus", "chin")]
        numbers = {name: getattr(chosen, name) for name in ("lights", "seed", "samples")}
        config = ScanConfig(*points, chosen.mm_per_unit, **numbers, credit=chosen.credit)
        render_scan(config, chosen.mesh, chosen.texture, chosen.out, PathTracer(chosen.variant, chosen.threads))
        return Outcome("")

    def work() -> Outcome:
        names = ("subjects", "mean_subjects", "frames", "seed", "samples", "turned")
        config = CrossConfig(**{name: getattr(chosen, name) for name in names})
        render_set(config, chosen.out, chosen.hair, chosen.variant, chosen.threads)
        return Outcome("")

    run = work_on_scan if chosen.command == "scan" else work
    return run_command("python -m train.crosscheck", arguments, run)


if __name__ == "__main__":
    sys.exit(main())
