# SPDX-License-Identifier: Apache-2.0
"""The command line that the converters share, and the list of frames that they write."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from train.command import Outcome, run_command, write_text
from train.image_files import write_image


def write_pair(out: Path, name: str, picture: np.ndarray, depth: np.ndarray) -> dict[str, str]:
    """Write a frame's picture and its depth; returns what `frames.json` says of them: `image` and `depth`."""
    pair = {"image": f"{name}.png", "depth": f"{name}_depth.png"}
    write_image(out / pair["image"], picture)
    write_image(out / pair["depth"], depth)
    return pair


def write_frames(out: Path, frames: list[dict[str, Any]]) -> int:
    """Write `frames.json` as benchmarks/rgbd_frames.py reads it; returns how many frames it lists.

    Raises:
        ConfigError: the folder cannot be written.
    """
    write_text(out / "frames.json", json.dumps(frames, indent=1) + "\n", "OUT")
    return len(frames)


def run_converter(
    module: str, repository: str, convert: Callable[[Path, Path], int], arguments: list[str] | None
) -> int:
    """Convert as the command line says; returns the exit status.

    Args:
        module: the converter's name in benchmarks.recordings.
        repository: owner and name on GitHub.
        convert: from a work tree of it to a folder, see there; returns how many frames it wrote.
        arguments: of the command line; the process's own when None.
    """
    command = f"python -m benchmarks.recordings.{module}"
    parser = argparse.ArgumentParser(
        prog=command, description=f"Makes a folder for benchmarks.rgbd_frames of {repository}"
    )
    parser.add_argument("root", type=Path, help=f"work tree of {repository}")
    parser.add_argument("out", type=Path, help="folder to write")
    chosen = parser.parse_args(arguments)
    return run_command(command, arguments, lambda: Outcome(f"{convert(chosen.root, chosen.out)} frames"))
