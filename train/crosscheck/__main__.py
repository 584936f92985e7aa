# SPDX-License-Identifier: Apache-2.0
"""Command line: `python -m train.crosscheck render --out DIR --subjects N --frames M --seed S [--hair DIR]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from train.command import Outcome, run_command
from train.crosscheck.dataset import CrossConfig, render_set


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
    render.add_argument("--variant", default="scalar_rgb", help="Mitsuba's variant")
    render.add_argument("--threads", type=int, default=1, help="threads of the path tracer")
    chosen = parser.parse_args(arguments)

    def work() -> Outcome:
        names = ("subjects", "mean_subjects", "frames", "seed", "samples")
        config = CrossConfig(**{name: getattr(chosen, name) for name in names})
        render_set(config, chosen.out, chosen.hair, chosen.variant, chosen.threads)
        return Outcome("")

    return run_command("python -m train.crosscheck", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
