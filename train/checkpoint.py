# SPDX-License-Identifier: Apache-2.0
"""Writes and reads checkpoints: whole or not at all, and never code.

A checkpoint holds weights, averaged weights, optimizers, random state, step, elapsed time, config, spec and commit. It
is written beside its place, flushed to the disk and renamed, so a kill at any moment leaves the old or the new one.
"""

from __future__ import annotations

import pickle
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from facedepth_edge.errors import ArtifactError
from facedepth_edge.whole_file import whole_file

FORMAT = 1
KEYS = (
    *("format", "step", "samples", "elapsed_s", "config", "spec", "commit"),
    *("task", "ema", "optimizers", "rng", "best", "data"),
)
OPTIONAL = ("start", "selects")  # newer than the format; None where they are missing

_UNREADABLE = (
    *(OSError, RuntimeError, ValueError, EOFError, KeyError),
    *(pickle.UnpicklingError, zipfile.BadZipFile, SafetensorError),
)
KINDS = {
    **dict.fromkeys(("config", "spec", "task", "ema", "optimizers", "data"), Mapping),
    **dict.fromkeys(("step", "samples"), int),
    "commit": str,
}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint.

    Args:
        path: Where; an existing one is replaced.
        state: Tensors and plain values under KEYS and OPTIONAL, `format` excepted.
    """
    with whole_file(path) as file:
        torch.save({"format": FORMAT, **state}, file)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Args:
        path: The file.

    Returns:
        What `save_checkpoint` was given, and `format`.

    Raises:
        ArtifactError: The file is missing, damaged, or of another format.
    """
    path = Path(path)
    if not path.is_file():
        fix = "Give a last.pt, a best.pt, or where models are taken too, a model's folder."
        raise ArtifactError.of(str(path), "no such file", "a checkpoint", fix)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        fix = "The file is damaged: take another checkpoint or train again."
        raise ArtifactError.of(str(path), f"{type(error).__name__} on reading it", "a checkpoint", fix) from error
    known = isinstance(state, dict) and set(KEYS) <= set(state) <= {*KEYS, *OPTIONAL}
    if not known or state["format"] != FORMAT:
        keys = sorted(map(str, state)) if isinstance(state, dict) else type(state).__name__
        rule = f"format {FORMAT} with the keys {', '.join(KEYS)}"
        raise ArtifactError.of(str(path), f"the keys {keys}", rule, "Train again with this version.")
    state = {**dict.fromkeys(OPTIONAL), **state}
    for key, kind in KINDS.items():
        if not isinstance(state[key], kind):
            rule = f"a {kind.__name__}"
            raise ArtifactError.of(f"{path}: {key}", f"a {type(state[key]).__name__}", rule, "Train again.")
    if not isinstance(state["start"], (Mapping, type(None))):
        raise ArtifactError.of(f"{path}: start", f"a {type(state['start']).__name__}", "a Mapping", "Train again.")
    return state


def current_commit() -> str:
    """Return the checkout's commit, with `+changes` where files differ from it; `unknown` outside a checkout."""
    root = Path(__file__).resolve().parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        changes = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")
