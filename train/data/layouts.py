# SPDX-License-Identifier: Apache-2.0
"""Finds out in which layout a folder holds a data set, and opens it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from facedepth_edge.errors import InputError
from train.data import biwi, crops_set, pandora_crops, pandora_raw
from train.data.crops_set import CropsSource, open_crops_set
from train.data.frame_source import FrameSource
from train.data.reader_config import ReaderConfig

LAYOUTS: dict[str, str] = {
    crops_set.LAYOUT: "dataset.json in the folder",
    biwi.LAYOUT: "numbered folders with rgb.cal, depth.cal and frame_*_depth.bin",
    pandora_raw.LAYOUT: "numbered folders with RGB, DEPTH and data.json",
    pandora_crops.LAYOUT: "numbered folders with frame_*_face_depth.png and an angle file",
}
"""Name of each layout, and what shows it; looked for in this order."""

_OPENERS: dict[str, Callable[[Path, ReaderConfig], FrameSource]] = {
    crops_set.LAYOUT: lambda root, _: CropsSource(open_crops_set(root)),
    biwi.LAYOUT: biwi.open_biwi,
    pandora_raw.LAYOUT: pandora_raw.open_pandora_raw,
    pandora_crops.LAYOUT: pandora_crops.open_pandora_crops,
}
_BIWI_FOLDER = "hpdb"  # what Biwi's archive unpacks to


def open_source(root: str | Path, reader: ReaderConfig) -> FrameSource:
    """Open a data set of any layout; Biwi also by the folder that holds hpdb.

    Args:
        root: The set's folder.
        reader: How raw sets are read and cropped.

    Returns:
        The source.

    Raises:
        InputError: The folder holds no data set that is known, or one with a file that breaks a rule.
        ConfigError: The reader's settings do not fit the set.
    """
    root = Path(root)
    layout = find_layout(root)
    if layout is None and (root / _BIWI_FOLDER).is_dir():
        root = root / _BIWI_FOLDER
        layout = find_layout(root)
    if layout is None:
        if not root.is_dir():
            raise InputError.of(str(root), "no such folder", "the folder of a data set", "Correct the path.")
        names = sorted(path.name for path in root.iterdir())
        got = f"a folder with {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else "an empty folder"
        rule = "; or ".join(f"{name}: {sign}" for name, sign in LAYOUTS.items())
        raise InputError.of(str(root), got, rule, "Give the folder that holds the numbered sequences.")
    return _OPENERS[layout](root, reader)


def find_layout(root: Path) -> str | None:
    """Return the layout's name, one of LAYOUTS, or None where nothing shows one."""
    if not root.is_dir():
        return None
    if (root / "dataset.json").is_file():
        return crops_set.LAYOUT
    for folder in sorted(path for path in root.iterdir() if path.name.isdecimal() and path.is_dir()):
        with os.scandir(folder) as entries:
            names = {entry.name for entry in entries}
        if names & {"rgb.cal", "depth.cal"} or any(name.endswith("_depth.bin") for name in names):
            return biwi.LAYOUT
        if names & {"RGB", "DEPTH", "data.json"}:
            return pandora_raw.LAYOUT
        if any(name.endswith("_face_depth.png") for name in names):
            return pandora_crops.LAYOUT
    return None
