# SPDX-License-Identifier: Apache-2.0
"""Illumination: a few soft lights and a tilted ambient, as rooms, cars, nights and flashes have them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Light:
    """A soft light, distant unless it has a place.

    Attributes:
        direction: (3,) unit vector from the head towards the light, camera frame (x right, y down, z forward).
        colour: (3,) linear RGB irradiance on a surface that faces it; of a near light, at the head centre.
        spread: tangent of the light's angular radius; its shadow's softness.
        place_mm: (3,) where a near light is, camera frame; its irradiance falls with the square of the distance. None:
            so far away that direction and irradiance are the same everywhere.
    """

    direction: np.ndarray
    colour: np.ndarray
    spread: float
    place_mm: np.ndarray | None = None


@dataclass(frozen=True)
class Lighting:
    """All light of a frame.

    Attributes:
        lights: the lights that cast shadows.
        ambient: (3,) linear RGB irradiance from all around.
        tilt: (3, 3) change of the ambient with the surface normal (camera axes), one row a colour.
    """

    lights: tuple[Light, ...]
    ambient: np.ndarray
    tilt: np.ndarray


def sample_lighting(rng: np.random.Generator, *, infrared: bool) -> Lighting:
    """Draw the light: near infra-red flash by the camera, or daylight, lamps, mixed and one-sided light."""
    if infrared:
        side = rng.normal(0, 0.22, 2)
        flash = Light(
            _unit(np.array([side[0], side[1] - 0.05, -1.0])), np.full(3, rng.uniform(0.8, 1.3)), rng.uniform(0.01, 0.06)
        )
        lights = [flash]
        if rng.uniform() < 0.4:
            lights.append(Light(_from_above(rng), np.full(3, rng.uniform(0.1, 0.9)), rng.uniform(0.02, 0.3)))
        level = rng.uniform(0.02, 0.35)
        return Lighting(tuple(lights), np.full(3, level), np.tile(rng.normal(0, 0.3 * level, 3), (3, 1)))
    kind = rng.choice(["daylight", "sun", "lamps", "side", "screen", "flash"], p=[0.34, 0.16, 0.22, 0.16, 0.05, 0.07])
    warm = rng.normal(0, 0.12)
    tint = np.array([1 + warm, 1.0, 1 - warm])
    key_level, ambient_level, spread = {
        "daylight": (rng.uniform(0.15, 0.7), rng.uniform(0.5, 0.9), rng.uniform(0.3, 0.9)),
        "sun": (rng.uniform(1.0, 2.5), rng.uniform(0.15, 0.6), rng.uniform(0.005, 0.05)),
        "lamps": (rng.uniform(0.4, 1.0), rng.uniform(0.25, 0.6), rng.uniform(0.1, 0.4)),
        "side": (rng.uniform(0.8, 1.8), rng.uniform(0.05, 0.35), rng.uniform(0.05, 0.5)),
        "screen": (rng.uniform(0.5, 1.0), rng.uniform(0.03, 0.2), rng.uniform(0.2, 0.6)),
        "flash": (rng.uniform(0.8, 1.5), rng.uniform(0.1, 0.4), rng.uniform(0.01, 0.05)),
    }[kind]
    if kind == "side":
        direction = _unit(
            np.array([rng.choice([-1, 1]) * rng.uniform(0.6, 1.5), rng.uniform(-0.9, 0.2), rng.uniform(-0.8, 0.5)])
        )
    elif kind in ("screen", "flash"):
        direction = _unit(np.array([rng.normal(0, 0.3), rng.uniform(-0.3, 0.5), -1.0]))
    else:
        direction = _from_above(rng)
    lights = [Light(direction, key_level * tint, spread)]
    if kind in ("lamps", "daylight") and rng.uniform() < 0.6:
        lights.append(Light(_from_above(rng), rng.uniform(0.1, 0.6) * (2 - tint), rng.uniform(0.1, 0.6)))
    elif rng.uniform() < 0.25:  # light from behind: a bright rim
        back = _unit(np.array([rng.normal(0, 1), rng.uniform(-1, 0), rng.uniform(0.5, 1.2)]))
        lights.append(Light(back, rng.uniform(0.3, 1.6) * tint, rng.uniform(0.05, 0.4)))
    up = rng.uniform(0.1, 0.65)
    slope = _unit(np.array([rng.normal(0, 0.5), -1.0, rng.normal(-0.2, 0.5)])) * up
    cool = np.array([1 - 0.08 * warm, 1.0, 1 + 0.08 * warm])
    return Lighting(tuple(lights), ambient_level * cool, ambient_level * cool[:, None] * slope[None])


def sample_driver_lighting(rng: np.random.Generator, centre_mm: np.ndarray) -> Lighting:
    """Draw the light of a driver camera at night or behind a daylight filter: its own flash, and hardly anything else.

    The flash is near: an ear that lies 60 mm deeper than the nose gets a sixth less at 700 mm, the neck still less.

    Args:
        rng: source of randomness.
        centre_mm: (3,) head centre in the camera frame.
    """
    place = np.array([*rng.normal(0, [60, 40]), rng.uniform(-20, 20)])
    towards = _unit(place - centre_mm)
    lights = [Light(towards, np.full(3, 1.0), rng.uniform(0.01, 0.05), place)]
    if rng.uniform() < 0.25:  # daylight through the filter
        lights.append(Light(_from_above(rng), np.full(3, rng.uniform(0.05, 0.5)), rng.uniform(0.05, 0.4)))
    level = rng.uniform(0.0, 0.12)
    return Lighting(tuple(lights), np.full(3, level), np.tile(rng.normal(0, 0.3 * level, 3), (3, 1)))


def _from_above(rng: np.random.Generator) -> np.ndarray:
    return _unit(np.array([rng.normal(0, 0.7), -abs(rng.normal(0.6, 0.4)), -abs(rng.normal(0.7, 0.4)) + 0.1]))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
