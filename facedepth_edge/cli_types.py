# SPDX-License-Identifier: Apache-2.0
"""The values that the command line's options take, checked while they are parsed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from facedepth_edge.camera import Camera
from facedepth_edge.errors import FaceDepthError


class HeadCenter(click.ParamType):
    """`X,Y` in pixels of the frame."""

    name = "X,Y"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        try:
            x, y = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"got {value!r}, expected X,Y in pixels. Write for example 640,360.", param, ctx)
        if not (math.isfinite(x) and math.isfinite(y)):
            self.fail(f"got {value!r}, expected finite pixels. Write for example 640,360.", param, ctx)
        return x, y


class PositiveNumber(click.ParamType):
    """A finite number above 0, or one from the least to the most."""

    def __init__(self, unit: str, least: float = 0.0, most: float = math.inf) -> None:
        self.name = unit
        self._least, self._most = least, most
        self._rule = f"a number from {least:g} to {most:g}" if least else "a finite number above 0"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"got {value!r}, expected a number ({self.name}).", param, ctx)
        if not (math.isfinite(number) and number > 0 and self._least <= number <= self._most):
            self.fail(f"got {value!r}, expected {self._rule} ({self.name}).", param, ctx)
        return number


class CameraFile(click.ParamType):
    """A JSON file with the camera's intrinsics."""

    name = "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Camera:
        if isinstance(value, Camera):
            return value
        try:
            return Camera.from_file(value)
        except FaceDepthError as error:
            self.fail(str(error), param, ctx)


class OutFile(click.ParamType):
    """A file to write, in a folder that exists, with one of the suffixes."""

    name = "FILE"

    def __init__(self, suffixes: Sequence[str]) -> None:
        self.suffixes = tuple(suffixes)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        if path.suffix.lower() not in self.suffixes:
            kinds = ", ".join(self.suffixes)
            self.fail(f"got {str(path)!r}, expected a file name that ends in {kinds}. Rename it.", param, ctx)
        try:
            fits = path.parent.is_dir() and not path.is_dir()
        except OSError as error:
            self.fail(f"got {error.strerror}, expected a file name that the system takes. Shorten it.", param, ctx)
        if not fits:
            self.fail(f"got {str(path)!r}, expected a file in a folder that exists. Make the folder first.", param, ctx)
        return path


class FrameSize(click.ParamType):
    """`WxH` in pixels, each side from the least to the most."""

    name = "WxH"

    def __init__(self, least_px: int, most_px: int) -> None:
        self._least_px, self._most_px = least_px, most_px

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        width, _, height = str(value).lower().partition("x")
        if not (width.isdecimal() and height.isdecimal()):
            self.fail(f"got {value!r}, expected WxH in pixels. Write for example 1280x720.", param, ctx)
        try:
            sides = int(width), int(height)
        except ValueError:  # thousands of digits
            sides = (0, 0)
        if not self._least_px <= min(sides) <= max(sides) <= self._most_px:
            rule = f"sides of {self._least_px} to {self._most_px} px"
            self.fail(f"got {value!r}, expected {rule}. Write for example 1280x720.", param, ctx)
        return sides
