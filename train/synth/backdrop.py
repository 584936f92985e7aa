# SPDX-License-Identifier: Apache-2.0
"""Backgrounds: pictures of rooms and car cabins, made of gradients, shapes, stripes and noise, out of focus."""

from __future__ import annotations

import cv2
import numpy as np

from train.synth.noise import blurred, fractal_noise


def background(
    rng: np.random.Generator, shape_hw: tuple[int, int], *, infrared: bool, driver: bool = False
) -> np.ndarray:
    """Paint a background.

    Args:
        rng: what is in it.
        shape_hw: size in pixels.
        infrared: a near infra-red flash leaves what is far away dark.
        driver: there is hardly any other light, so it is nearly black in most pictures.

    Returns:
        (H, W, 3) float32 linear RGB radiance, around 0.02 .. 2 of a white diffuse surface.
    """
    height, width = shape_hw
    base = rng.uniform(0.02, 0.7) ** 1.3
    colour = np.clip(rng.normal(1, 0.25, 3), 0.3, 1.8)
    picture = np.broadcast_to((base * colour).astype(np.float32), (height, width, 3)).copy()
    slope = rng.normal(0, 0.5, 2)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    picture *= np.exp(slope[0] * x + slope[1] * y)[..., None].astype(np.float32)
    unit = min(height, width)
    kind = rng.choice(["plain", "shapes", "cabin", "shelves", "foliage"], p=[0.18, 0.34, 0.22, 0.13, 0.13])
    if kind == "shapes":
        for _ in range(int(rng.integers(4, 30))):
            _shape(picture, rng, unit)
    elif kind == "cabin":
        _cabin(picture, rng)
    elif kind == "shelves":
        step = unit * rng.uniform(0.08, 0.3)
        for top in np.arange(rng.uniform(-step, 0), height, step):
            cv2.rectangle(picture, (0, int(top)), (width, int(top + step * 0.12)), _colour(rng), -1)
            left = rng.uniform(-step, 0)
            while left < width:
                wide = step * rng.uniform(0.06, 0.5)
                cv2.rectangle(
                    picture,
                    (int(left), int(top + step * rng.uniform(0.15, 0.6))),
                    (int(left + wide), int(top + step)),
                    _colour(rng),
                    -1,
                )
                left += wide
    elif kind == "foliage":
        leaf = np.exp(0.8 * fractal_noise(rng, shape_hw, (unit * 0.2, unit * 0.2), 5))
        tint = np.stack(
            [np.exp(0.15 * fractal_noise(rng, shape_hw, (unit * 0.3, unit * 0.3), 2)) for _ in range(3)], -1
        )
        picture *= (leaf[..., None] * tint).astype(np.float32)
    picture *= np.exp(0.12 * fractal_noise(rng, shape_hw, (unit * 0.15, unit * 0.15), 4))[..., None]
    sigma = unit / 144 * (rng.uniform(0, 0.8) if rng.uniform() < 0.4 else rng.uniform(0.8, 7))
    picture = blurred(picture, sigma)
    if infrared:
        picture = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
        picture *= np.exp(rng.uniform(np.log(0.005), np.log(0.3))) if driver else rng.uniform(0.03, 0.5)
    return np.clip(picture, 0.001, 6).astype(np.float32)


def _colour(rng: np.random.Generator) -> tuple[float, ...]:
    level = float(np.exp(rng.normal(-1.7, 1.0)))
    return tuple(float(c) for c in np.clip(level * rng.normal(1, 0.35, 3), 0.005, 3))


def _shape(picture: np.ndarray, rng: np.random.Generator, unit: int) -> None:
    height, width = picture.shape[:2]
    at = np.array([rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.1) * height])
    size = unit * np.exp(rng.normal(-1.7, 0.7))
    kind = rng.integers(4)
    if kind == 0:
        angle = float(rng.uniform(0, 180))
        axes = (max(1, int(size)), max(1, int(size * rng.uniform(0.3, 1))))
        cv2.ellipse(picture, (int(at[0]), int(at[1])), axes, angle, 0, 360, _colour(rng), -1, cv2.LINE_AA)
    elif kind == 1:
        corner = at + rng.uniform(-1.5, 1.5, 2) * size
        cv2.rectangle(picture, tuple(at.astype(int).tolist()), tuple(corner.astype(int).tolist()), _colour(rng), -1)
    elif kind == 2:
        points = at + rng.normal(0, size, (int(rng.integers(3, 6)), 2))
        cv2.fillPoly(picture, [points.astype(np.int32)], _colour(rng), cv2.LINE_AA)
    else:
        direction = rng.normal(0, 1, 2)
        direction /= np.linalg.norm(direction)
        across = np.array([-direction[1], direction[0]])
        gap = size * rng.uniform(0.1, 0.6)
        colours = [_colour(rng), _colour(rng)]
        for i in range(int(rng.integers(2, 12))):
            a = at + across * gap * i
            cv2.line(
                picture,
                tuple((a - direction * size * 2).astype(int).tolist()),
                tuple((a + direction * size * 2).astype(int).tolist()),
                colours[i % 2],
                max(1, int(gap * 0.6)),
                cv2.LINE_AA,
            )


def _cabin(picture: np.ndarray, rng: np.random.Generator) -> None:
    """Draw side and rear windows with pillars, a roof and seats behind the driver."""
    height, width = picture.shape[:2]
    picture *= rng.uniform(0.15, 0.8)
    sky = np.array(_colour(rng)) * rng.uniform(1, 5)
    roof, sill = rng.uniform(0.0, 0.3) * height, rng.uniform(0.4, 0.8) * height
    left = -rng.uniform(0, 0.4) * width
    while left < width:
        wide = rng.uniform(0.25, 0.7) * width
        lean = rng.normal(0, 0.06) * width
        window = np.array(
            [
                [left, sill],
                [left + lean, roof],
                [left + lean + wide, roof + rng.normal(0, 0.03) * height],
                [left + wide, sill],
            ]
        )
        cv2.fillPoly(
            picture, [window.astype(np.int32)], tuple(float(c) for c in sky * rng.uniform(0.5, 1.2)), cv2.LINE_AA
        )
        for _ in range(int(rng.integers(0, 6))):
            a = window[0] + rng.uniform(0, 1, 2) * (window[2] - window[0])
            b = a + rng.uniform(0.05, 0.3, 2) * [width, height]
            cv2.rectangle(
                picture,
                tuple(a.astype(int).tolist()),
                tuple(b.astype(int).tolist()),
                tuple(float(c) for c in sky * rng.uniform(0.1, 0.8)),
                -1,
            )
        left += wide + rng.uniform(0.04, 0.14) * width
    for _ in range(int(rng.integers(0, 3))):
        at, half = rng.uniform(0, width), rng.uniform(0.08, 0.2) * width
        top = int(height * rng.uniform(0.3, 0.7))
        cv2.rectangle(picture, (int(at - half), top), (int(at + half), height), _colour(rng), -1)
