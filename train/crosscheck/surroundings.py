# SPDX-License-Identifier: Apache-2.0
"""What is around the head: walls and clutter behind it, and the light, all in the camera's frame."""

from __future__ import annotations

import cv2
import numpy as np

from train.crosscheck.lattice import field
from train.crosscheck.parts import BACKGROUND, Part
from train.crosscheck.path_tracer import Light, Panel
from train.synth.mesh import grid_triangles

_WALL_SIDE = 61
_CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
_CUBE_QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


def sample_background(rng: np.random.Generator, centre_mm: np.ndarray, *, infrared: bool) -> list[Part]:
    """Draw a wall, plain or painted, slightly askew, and things before it.

    Args:
        rng: source of randomness.
        centre_mm: (3,) the head centre.
        infrared: gray.
    """
    gap = float(np.exp(rng.uniform(np.log(250), np.log(2800))))
    z = centre_mm[2] + gap
    axis = np.linspace(-2.2, 2.2, _WALL_SIDE) * z
    x, y = np.meshgrid(axis, axis)
    lean = rng.normal(0, 0.12, 2)
    depth = np.maximum(z + lean[0] * (x - centre_mm[0]) + lean[1] * (y - centre_mm[1]), centre_mm[2] + 0.7 * gap)
    points = np.stack([x, y, depth], axis=-1).reshape(-1, 3)
    colour = np.broadcast_to(_dye(rng, infrared), points.shape).copy()
    if rng.uniform() < 0.65:
        flat = colour.reshape(_WALL_SIDE, _WALL_SIDE, 3).astype(np.float32)
        middle = _WALL_SIDE // 2
        for _ in range(int(rng.integers(4, 26))):
            low = rng.integers(middle - 15, middle + 13, 2)
            high = low + rng.integers(1, 13, 2)
            cv2.rectangle(flat, low.tolist(), high.tolist(), _dye(rng, infrared).tolist(), -1)
        colour = flat.reshape(-1, 3).astype(np.float64)
    colour = colour * np.exp(0.2 * field(rng, points, 0.12 * z) + 0.1 * field(rng, points, 0.04 * z))
    parts = [Part(points, grid_triangles(_WALL_SIDE, _WALL_SIDE), np.clip(colour, 0.005, 0.9), BACKGROUND, 0.9)]
    if rng.uniform() < 0.3:
        parts.append(_headrest(rng, centre_mm, _dye(rng, infrared)))
    if rng.uniform() < 0.5:
        parts += [_thing(rng, centre_mm, gap, _dye(rng, infrared)) for _ in range(int(rng.integers(1, 7)))]
    return parts


def sample_light(rng: np.random.Generator, centre_mm: np.ndarray, *, infrared: bool) -> tuple[Light, str]:
    """Draw the light: a sky with windows and lamps from one side or above; near infra-red: a flash at the camera.

    Returns:
        The light and its kind: "flash", "side", "top", "two" or "sky".
    """
    sky = np.full((32, 64, 3), 1.0)
    rows = np.linspace(1, 0, 32)[:, None, None]
    sky = sky * (rng.uniform(0.2, 0.9) + rng.uniform(0, 1.2) * rows) * rng.uniform(0.8, 1.2, 3)
    for _ in range(int(rng.integers(0, 5))):
        row, column = rng.integers(2, 22), rng.integers(0, 56)
        bright = rng.uniform(2, 12) * rng.uniform(0.8, 1.2, 3)
        sky[row : row + rng.integers(2, 8), column : column + rng.integers(2, 8)] = bright
    if infrared:
        sky = np.repeat(sky.mean(axis=2, keepdims=True), 3, axis=2) * rng.uniform(0.0, 0.25)
        beside = np.array([rng.uniform(-120, 120), rng.uniform(-60, 60), -10.0])
        return Light(sky.astype(np.float32), (_panel(beside, centre_mm, rng.uniform(8, 25), 6.0, np.ones(3)),)), "flash"
    kind = str(rng.choice(["side", "top", "two", "sky"], p=[0.35, 0.2, 0.25, 0.2]))
    panels = []
    for number in range({"side": 1, "top": 1, "two": 2, "sky": 0}[kind]):
        turn = np.deg2rad(rng.uniform(35, 85) * (rng.choice([-1, 1]) if number == 0 else -1))
        lift = np.deg2rad(rng.uniform(55, 80) if kind == "top" else rng.uniform(-15, 45))
        towards = np.array([np.sin(turn) * np.cos(lift), -np.sin(lift), -np.cos(turn) * np.cos(lift)])
        place = centre_mm + rng.uniform(900, 2200) * towards
        warmth = np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.6, 1.1)])
        panels.append(_panel(place, centre_mm, rng.uniform(60, 450), rng.uniform(0.8, 5.0), warmth))
    dim = rng.uniform(0.15, 1.0) if panels else 1.0
    return Light((sky * dim).astype(np.float32), tuple(panels)), kind


def _panel(place: np.ndarray, target: np.ndarray, radius: float, irradiance: float, tint: np.ndarray) -> Panel:
    away = float(((place - target) ** 2).sum())
    return Panel(place, target, radius, tint * irradiance * away / (np.pi * radius**2))


def _headrest(rng: np.random.Generator, centre_mm: np.ndarray, colour: np.ndarray) -> Part:
    theta, phi = np.meshgrid(np.linspace(0, np.pi, 24), np.arange(32) * 2 * np.pi / 32, indexing="ij")
    ball = np.stack([np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)], axis=-1).reshape(-1, 3)
    ball = np.sign(ball) * np.abs(ball) ** 0.5
    size = np.array([rng.uniform(110, 150), rng.uniform(80, 120), rng.uniform(35, 55)])
    shift = np.array([rng.normal(0, 15), rng.uniform(-10, 40), rng.uniform(165, 230)])
    points = centre_mm + shift + ball * size
    return Part(points, grid_triangles(24, 32, closed=True), np.broadcast_to(colour, points.shape), BACKGROUND, 0.6)


def _thing(rng: np.random.Generator, centre_mm: np.ndarray, gap: float, colour: np.ndarray) -> Part:
    aside = (rng.uniform(-700, 700), rng.uniform(-400, 400), max(gap * rng.uniform(0.5, 0.95), 220))
    at = centre_mm + np.array(aside)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    points = at + (_CUBE * rng.uniform(20, 130, 3)) @ turn.T
    triangles = np.concatenate([_CUBE_QUADS[:, [0, 1, 2]], _CUBE_QUADS[:, [0, 2, 3]]]).astype(np.int32)
    return Part(points, triangles, np.broadcast_to(colour, points.shape), BACKGROUND, 0.5, smooth=False)


def _dye(rng: np.random.Generator, infrared: bool) -> np.ndarray:
    level = float(np.exp(rng.uniform(np.log(0.03), np.log(0.75))))
    return np.full(3, level) if infrared else np.clip(level * rng.normal(1, 0.16, 3), 0.01, 0.85)
