# SPDX-License-Identifier: Apache-2.0
"""Command line of the renderer: `python -m train.synth render | pack-head`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from facedepth_edge.errors import FaceDepthError
from train.synth.dataset import SetConfig, render_set
from train.synth.pack_head import pack_head


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train.synth", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser("render", help="render a set of heads in the layout of Pandora's crops")
    render.add_argument("--head", type=Path, required=True, help="packed head model (.npz), see pack-head")
    render.add_argument("--hair", type=Path, default=None, help="folder of modelled hair: NAME.obj, NAME.png, hm08_base.obj")
    render.add_argument("--out", type=Path, required=True, help="folder of the set; a started one is continued")
    render.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    defaults = SetConfig()
    for name in ("seed", "train_subjects", "val_subjects", "test_subjects", "frames", "frames_per_expression"):
        render.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name))
    pack = commands.add_parser("pack-head", help="pack a checkout of the public repository ICT-VGL/ICT-FaceKit")
    pack.add_argument("--checkout", type=Path, required=True, help="folder that holds FaceXModel/")
    pack.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "pack-head":
            pack_head(chosen.checkout, chosen.out)
        else:
            names = ("seed", "train_subjects", "val_subjects", "test_subjects", "frames", "frames_per_expression")
            config = SetConfig(**{name: getattr(chosen, name) for name in names})
            render_set(config, chosen.head, chosen.hair, chosen.out, chosen.processes)
    except FaceDepthError as error:
        print(f"FAIL {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
