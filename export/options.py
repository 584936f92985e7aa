# SPDX-License-Identifier: Apache-2.0
"""What is asked of an export, and whether its data set fits."""

from __future__ import annotations

import re
from dataclasses import dataclass

from export.graph_files import FILES
from facedepth_edge.errors import ConfigError, InputError
from train.data.packed import PackedSet
from train.restore import TrainedNetwork

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class ExportOptions:
    """What is asked of an export.

    Args:
        name: The model's name.
        version: The model's version.
        files: ONNX files to write, of export.graph_files.FILES; fp32.onnx always.
        replace: Replace an artifact that is there.
        calibration_faces: Faces of the training split that set the INT8 ranges.
        held_out_faces: Most frames of the test split that accuracy is measured on.
    """

    name: str
    version: str = "0.1.0"
    files: tuple[str, ...] = FILES
    replace: bool = False
    calibration_faces: int = 320
    held_out_faces: int = 1000

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            rule = "letters, digits, '.', '_' and '-', a letter or digit first"
            raise ConfigError.of("--name", self.name, rule, "For example edge.")
        if not self.version.strip():
            raise ConfigError.of("--version", repr(self.version), "a text", "For example 0.1.0.")
        unknown = [file for file in self.files if file not in FILES]
        if unknown or FILES[0] not in self.files:
            rule = f"{FILES[0]} and any of {', '.join(FILES[1:])}"
            raise ConfigError.of("--files", ", ".join(self.files), rule, "Leave it out for all.")


def require_fitting(data: PackedSet, trained: TrainedNetwork) -> None:
    """Refuse a set whose boxes have another size than the network's input.

    Raises:
        InputError: Their size differs.
    """
    if trained.input_px != data.crops.box_px:
        rule = f"{trained.input_px} px, as the checkpoint was trained"
        raise InputError.of(str(data.crops.root), f"boxes of {data.crops.box_px} px", rule, "Give its data set.")
