# SPDX-License-Identifier: Apache-2.0
"""A drawing of lines, boxes, dots and words, and the two forms that it can take: SVG text and a picture.

Convention: pixels, x to the right, y down, the origin at the upper left; colours are "#rrggbb".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedepth_edge.opencv import import_cv2

FONT_PX = 12
BLACK, GRAY, LIGHT, WHITE = "#222222", "#888888", "#dddddd", "#ffffff"


@dataclass(frozen=True)
class Line:
    """A straight or broken line through points."""

    points: tuple[tuple[float, float], ...]
    color: str = BLACK
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Box:
    """A filled rectangle; `title` is shown where the mouse rests on it."""

    x: float
    y: float
    width: float
    height: float
    color: str
    title: str = ""


@dataclass(frozen=True)
class Dot:
    """A filled circle; `title` is shown where the mouse rests on it."""

    x: float
    y: float
    radius: float
    color: str
    title: str = ""


@dataclass(frozen=True)
class Word:
    """A line of text; `anchor` is start, middle or end of it, y its base line."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    color: str = BLACK
    bold: bool = False


@dataclass
class Drawing:
    """A list of shapes on a white ground, drawn in their order."""

    width: int
    height: int
    shapes: list[Line | Box | Dot | Word] = field(default_factory=list)

    def add(self, *shapes: Line | Box | Dot | Word) -> None:
        """Put shapes on top."""
        self.shapes += shapes


def svg_from_drawing(drawing: Drawing, label: str) -> str:
    """Return a drawing as an SVG element.

    Args:
        drawing: the drawing.
        label: what it shows, for those who cannot see it.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawing.width} {drawing.height}" role="img" '
        f'aria-label="{escape(label)}" font-family="sans-serif" font-size="{FONT_PX}">'
    ]
    for shape in drawing.shapes:
        if isinstance(shape, Line):
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
            dashes = ' stroke-dasharray="5 4"' if shape.dashed else ""
            stroke = f'stroke="{shape.color}" stroke-width="{shape.width:g}"{dashes}'
            parts.append(f'<polyline points="{points}" fill="none" {stroke}/>')
        elif isinstance(shape, Box):
            parts.append(
                f'<rect x="{shape.x:.1f}" y="{shape.y:.1f}" width="{max(shape.width, 0):.1f}" '
                f'height="{max(shape.height, 0):.1f}" fill="{shape.color}">{_title(shape.title)}</rect>'
            )
        elif isinstance(shape, Dot):
            parts.append(
                f'<circle cx="{shape.x:.1f}" cy="{shape.y:.1f}" r="{shape.radius:g}" fill="{shape.color}">'
                f"{_title(shape.title)}</circle>"
            )
        else:
            weight = ' font-weight="bold"' if shape.bold else ""
            parts.append(
                f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" text-anchor="{shape.anchor}" fill="{shape.color}"{weight}>'
                f"{escape(shape.text)}</text>"
            )
    return "\n".join([*parts, "</svg>"])


def picture_from_drawing(drawing: Drawing, scale: float = 2.0) -> NDArray[np.uint8]:
    """Return a drawing as a picture.

    Args:
        drawing: the drawing.
        scale: pixels of the picture for one of the drawing.

    Returns:
        (H, W, 3) uint8 BGR, H and W `scale` times the drawing's; the caller owns it.
    """
    cv2 = import_cv2()

    image = np.full((round(drawing.height * scale), round(drawing.width * scale), 3), 255, np.uint8)

    def place(x: float, y: float) -> tuple[int, int]:
        return round(x * scale), round(y * scale)

    for shape in drawing.shapes:
        color = _bgr(shape.color)
        if isinstance(shape, Line):
            points = np.array([place(x, y) for x, y in shape.points], np.int32)
            cv2.polylines(image, [points], False, color, max(1, round(shape.width * scale)), cv2.LINE_AA)
        elif isinstance(shape, Box):
            corner = place(shape.x + shape.width, shape.y + shape.height)
            cv2.rectangle(image, place(shape.x, shape.y), corner, color, cv2.FILLED)
        elif isinstance(shape, Dot):
            cv2.circle(image, place(shape.x, shape.y), round(shape.radius * scale), color, cv2.FILLED, cv2.LINE_AA)
        else:
            _write(image, shape, scale)
    return image


def _write(image: NDArray[np.uint8], word: Word, scale: float) -> None:
    cv2 = import_cv2()

    font, size, thickness = cv2.FONT_HERSHEY_SIMPLEX, 0.4 * scale, max(1, round(scale * (0.8 if word.bold else 0.5)))
    text = word.text.encode("ascii", "replace").decode()  # OpenCV's fonts have no other characters
    (width, _), _ = cv2.getTextSize(text, font, size, thickness)
    x = word.x * scale - {"start": 0.0, "middle": width / 2, "end": float(width)}[word.anchor]
    cv2.putText(image, text, (round(x), round(word.y * scale)), font, size, _bgr(word.color), thickness, cv2.LINE_AA)


def _bgr(color: str) -> tuple[int, int, int]:
    return int(color[5:7], 16), int(color[3:5], 16), int(color[1:3], 16)


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers from low to high, about `count` of them.

    Args:
        low: lower end.
        high: upper end, above low.
        count: how many are wanted.
    """
    raw = (high - low) / max(count, 1)
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= raw * (1 - 1e-9))
    first = np.ceil(low / step - 1e-9)
    ticks: list[Any] = [float((first + i) * step) for i in range(int((high - low) / step) + 2)]
    return [tick for tick in ticks if tick <= high + 1e-9 * step]
