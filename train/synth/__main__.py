# SPDX-License-Identifier: Apache-2.0
"""Command line of the renderer: `python -m train.synth render | render-raw | render-biwi | ...`."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path

from facedepth_edge.errors import InputError
from train.command import Outcome, require_counts, run_command
from train.data.crops_set import SEQUENCES_PER_SUBJECT
from train.synth.biwi_frames import SEQUENCES as BIWI_SEQUENCES
from train.synth.biwi_frames import write_biwi_sequence
from train.synth.dataset import SHARES, SetConfig, Studio, render_set
from train.synth.full_frame import shoot_frame, write_frame, write_raw_sequence
from train.synth.pack_head import pack_head
from train.synth.shot import FrameSize
from train.synth.sources import settle_note, source_digests

LEAST_SIDE_PX = 16  # of a frame
LEAST_Z_MM = 150  # of a head centre: nearer, the camera would be in the face
MOST = 1e5  # of a focal length in pixels, or of a place in mm
MOST_DEG = 360
PICTURE_SUFFIXES = (".png", ".jpg")
COUNTS = ("seed", "train_subjects", "val_subjects", "test_subjects", "frames", "frames_per_expression")
SPREADS = {
    "proportions": "standard deviation of each head's width, height and depth by itself, beside the head model's "
    "variety",
    "warp_mm": "RMS length in mm of smooth displacements that bend each head beyond the head model's variety",
}
"""Settings of SetConfig to their help."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    chosen = parse_arguments(arguments)

    def work() -> Outcome:
        _check(chosen)
        chosen.run(chosen)
        return Outcome("")

    return run_command("python -m train.synth", arguments, work)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m train.synth", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (add, help_) in COMMANDS.items():
        add(commands.add_parser(name, help=help_))
    return parser.parse_args(arguments)


def _add_render(render: argparse.ArgumentParser) -> None:
    render.add_argument("--head", type=Path, required=True, help="packed head model (.npz), see pack-head")
    render.add_argument(
        "--hair", type=Path, default=None, help="folder of modelled hair: NAME.obj, NAME.png, hm08_base.obj"
    )
    render.add_argument("--out", type=Path, required=True, help="folder of the set; a started one is continued")
    render.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    defaults = SetConfig()
    for name in COUNTS:
        render.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name))
    for name, help_ in (SPREADS | SHARES).items():
        render.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(defaults, name), help=help_)
    styles = "share of the outfits with a kind of hair (as afro) or a modelled style, whatever it would have been"
    render.add_argument("--styles", nargs="+", default=[], metavar="NAME=SHARE", help=styles)
    render.add_argument(
        "--depth-only", action="store_true", help="no pictures: for face verification, at about a third of the cost"
    )
    render.set_defaults(run=_render)


def _add_raw(raw: argparse.ArgumentParser) -> None:
    raw.add_argument("--sequences", type=int, nargs="+", required=True, help="numbers of the sequences, 1 and up")
    _add_studio(raw)
    raw.add_argument("--frames", type=int, default=20, help="frames of a sequence")
    raw.set_defaults(run=_render_raw)


def _add_biwi(biwi: argparse.ArgumentParser) -> None:
    biwi.add_argument("--sequences", type=int, nargs="+", required=True, help="numbers of the sequences, 1 to 24")
    _add_studio(biwi)
    biwi.add_argument("--frames", type=int, default=20, help="frames of a sequence")
    biwi.set_defaults(run=_render_biwi)


def _add_frame(one: argparse.ArgumentParser) -> None:
    one.add_argument("--subject", type=int, default=1)
    one.add_argument("--outfit", type=int, default=1, help="which of the subject's five sequences, 1..5")
    one.add_argument("--shot", type=int, default=0, help="seed of light, background and noise")
    one.add_argument("--size", type=int, nargs=2, default=(1280, 720), metavar=("W", "H"))
    one.add_argument("--focal-px", type=float, default=None, help="default: 0.87 W")
    one.add_argument("--position-mm", type=float, nargs=3, default=(0.0, 0.0, 700.0), metavar=("X", "Y", "Z"))
    one.add_argument("--angles-deg", type=float, nargs=3, default=(0.0, 0.0, 0.0), metavar=("ROLL", "PITCH", "YAW"))
    _add_studio(one)
    one.set_defaults(run=_render_frame)


def _add_studio(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--head", type=Path, required=True)
    parser.add_argument("--hair", type=Path, default=None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)


def _add_pack(pack: argparse.ArgumentParser) -> None:
    pack.add_argument("--checkout", type=Path, required=True, help="folder that holds FaceXModel/")
    pack.add_argument("--out", type=Path, required=True)
    pack.set_defaults(run=lambda chosen: pack_head(chosen.checkout, chosen.out))


def _check(chosen: argparse.Namespace) -> None:
    """Refuse numbers that nothing can be rendered with, before the head model is read.

    Raises:
        InputError: One breaks its rule; the text names the option.
    """
    require_counts(chosen, *(name for name in ("processes", "frames", "subject") if hasattr(chosen, name)))
    if getattr(chosen, "seed", 0) < 0:
        raise InputError.of("--seed", chosen.seed, ">= 0", "Give a number from 0 up.")
    most = BIWI_SEQUENCES if chosen.command == "render-biwi" else math.inf
    for number in getattr(chosen, "sequences", ()):
        if not 1 <= number <= most:
            rule = f"1 to {most}" if math.isfinite(most) else ">= 1"
            raise InputError.of("--sequences", number, rule, "Sequences are counted from 1.")
    if chosen.command == "render-frame":
        width, height = chosen.size
        rules = {
            "--outfit": (chosen.outfit, 1 <= chosen.outfit <= SEQUENCES_PER_SUBJECT, f"1 to {SEQUENCES_PER_SUBJECT}"),
            "--shot": (chosen.shot, chosen.shot >= 0, ">= 0"),
            "--size": (f"{width} {height}", min(width, height) >= LEAST_SIDE_PX, f"{LEAST_SIDE_PX} or more each"),
            "--focal-px": (chosen.focal_px, chosen.focal_px is None or 0 < chosen.focal_px < MOST, "above 0"),
            "--position-mm": (
                chosen.position_mm,
                LEAST_Z_MM < chosen.position_mm[2] < MOST and all(abs(c) < MOST for c in chosen.position_mm),
                f"x, y and z, z above {LEAST_Z_MM}",
            ),
            "--angles-deg": (
                chosen.angles_deg,
                all(abs(a) <= MOST_DEG for a in chosen.angles_deg),
                f"up to {MOST_DEG}",
            ),
            "--out": (str(chosen.out), chosen.out.suffix.lower() in PICTURE_SUFFIXES, " or ".join(PICTURE_SUFFIXES)),
        }
        for option, (value, fits, rule) in rules.items():
            if not fits:
                raise InputError.of(option, value, rule, "Correct it; --help says what it is.")


def _styles(texts: list[str]) -> dict[str, float]:
    """Return shares by name of texts `NAME=SHARE`.

    Raises:
        InputError: A text is none, or a name comes twice.
    """
    shares: dict[str, float] = {}
    for text in texts:
        name, _, share = text.partition("=")
        try:
            value = float(share)
        except ValueError:
            value = math.nan
        if not name or name in shares or not math.isfinite(value):
            raise InputError.of("--styles", text, "NAME=SHARE, each name once", "For example afro=0.2.")
        shares[name] = value
    return shares


def _settle(chosen: argparse.Namespace) -> None:
    """Make sure that sequences which are there already, and stay, are of the same settings."""
    sources = source_digests(chosen.head, chosen.hair)
    settle_note(chosen.out, {"layout": chosen.command, "seed": chosen.seed, "frames": chosen.frames, **sources})


def _render(chosen: argparse.Namespace) -> None:
    numbers = {name: getattr(chosen, name) for name in (*COUNTS, *SPREADS, *SHARES)}
    config = SetConfig(**numbers, styles=_styles(chosen.styles), pictures=not chosen.depth_only)
    render_set(config, chosen.head, chosen.hair, chosen.out, chosen.processes)


def _render_raw(chosen: argparse.Namespace) -> None:
    studio = _studio(chosen)
    _settle(chosen)
    for index in chosen.sequences:
        number, sequence = divmod(index - 1, SEQUENCES_PER_SUBJECT)
        write_raw_sequence(studio, chosen.out, number + 1, sequence + 1, chosen.frames)


def _render_biwi(chosen: argparse.Namespace) -> None:
    studio = _studio(chosen)
    _settle(chosen)
    for index in chosen.sequences:
        write_biwi_sequence(studio, chosen.out, index, chosen.frames)


def _render_frame(chosen: argparse.Namespace) -> None:
    width, height = chosen.size
    size = FrameSize(chosen.focal_px or 0.87 * width, (height, width))
    angles = tuple(chosen.angles_deg)
    shot = shoot_frame(_studio(chosen), chosen.subject, chosen.outfit, size, chosen.shot, chosen.position_mm, angles)
    write_frame(shot, chosen.out)


def _studio(chosen: argparse.Namespace) -> Studio:
    return Studio(SetConfig(seed=chosen.seed), chosen.head, chosen.hair)


COMMANDS = {
    "render": (_add_render, "render a set of heads in the layout of Pandora's crops"),
    "render-raw": (_add_raw, "render full frames of a few sequences in the layout of Pandora's raw frames"),
    "render-biwi": (_add_biwi, "render a few sequences in Biwi's layout, depth.bin and .cal included"),
    "render-frame": (_add_frame, "render one full frame, with its depth and intrinsics beside it"),
    "pack-head": (_add_pack, "pack a checkout of the public repository ICT-VGL/ICT-FaceKit"),
}
"""Command to what adds its arguments and sets `run`, and its help."""


if __name__ == "__main__":
    sys.exit(main())
