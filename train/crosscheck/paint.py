# SPDX-License-Identifier: Apache-2.0
"""The colours of skin, eyes, teeth and cloth at the vertices; places are those of the template, in mm."""

from __future__ import annotations

import numpy as np

from train.crosscheck.lattice import field, ramp
from train.crosscheck.person import Person

_LIGHT, _DARK = np.array([0.64, 0.43, 0.33]), np.array([0.055, 0.032, 0.022])
_EYE_X, _EYE_Y = 30.8, 728.4
_INFRARED_SKIN = 0.55
# Height of the hairline by azimuth around the vertical axis through (0, 50); 0 in front, 180 behind.
_AZIMUTH = np.array([0.0, 35, 55, 70, 80, 90, 105, 130, 180])
_HAIRLINE = np.array([799.0, 800, 784, 762, 728, 737, 738, 694, 668])
_BEARD_TOP = np.array([684.0, 672, 676, 694, 716, 700, 640, 600, 600])


def skin_albedo(tone: float, *, infrared: bool) -> np.ndarray:
    """Return the mean albedo (3,), linear RGB; melanin hardly absorbs at 940 nm."""
    visible = _LIGHT * (_DARK / _LIGHT) ** tone
    return np.full(3, _INFRARED_SKIN * (1 - 0.25 * tone)) if infrared else visible


def hair_albedo(colour: tuple[float, float, float], *, infrared: bool) -> np.ndarray:
    """Return hair's albedo (3,); dark hair reflects a good deal of 940 nm."""
    return np.full(3, 0.12 + 0.5 * float(np.mean(colour)) ** 0.5) if infrared else np.array(colour)


def azimuth_deg(points: np.ndarray) -> np.ndarray:
    """Return the azimuth (N,) of template points around the vertical axis of the skull, 0 in front, 0..180."""
    return np.rad2deg(np.abs(np.arctan2(points[:, 0], points[:, 2] - 50)))


def is_ear(points: np.ndarray) -> np.ndarray:
    """Return 0..1 (N,): whether template points lie on an outer ear."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    flare = x - (64 + np.clip(y - 690, 0, 45) * 0.19)
    return ramp(flare, 0, 4) * ramp(y, 678, 684) * ramp(y, 741, 736) * ramp(z, 22, 27) * ramp(z, 70, 65)


def scalp(points: np.ndarray, rng: np.random.Generator, receding: float) -> np.ndarray:
    """Return 0..1 (N,): whether hair grows at template points."""
    azimuth = azimuth_deg(points)
    line = np.interp(azimuth, _AZIMUTH, _HAIRLINE) + 4 * field(rng, points, 18)[:, 0]
    line += receding * np.interp(azimuth, [0, 20, 45, 70, 90], [22, 26, 40, 25, 0])
    return ramp(points[:, 1] - line, -3, 5) * (1 - is_ear(points))


def beard_area(points: np.ndarray, rng: np.random.Generator, lips: np.ndarray) -> np.ndarray:
    """Return 0..1 (N,): whether a beard grows at template points."""
    line = np.interp(azimuth_deg(points), _AZIMUTH, _BEARD_TOP) + 3 * field(rng, points, 14)[:, 0]
    fade = ramp(points[:, 1], 592, 625) * ramp(points[:, 2], 45, 75)
    below = ramp(line - points[:, 1], -3, 4)
    cheek = np.hypot(points[:, 0] - 0, points[:, 1] - 661) > 31
    philtrum = np.abs(points[:, 0]) < 30
    return below * fade * np.where(cheek | philtrum, 1.0, 0.6) * (1 - ramp(lips, 0.1, 0.4)) * (1 - is_ear(points))


def paint_skin(points: np.ndarray, masks: dict[str, np.ndarray], person: Person) -> np.ndarray:
    """Paint the skin.

    Args:
        points: (N, 3) places on the template.
        masks: the template's masks at these places.
        person: whose.

    Returns:
        (N, 3) linear RGB albedo.
    """
    rng = np.random.default_rng([person.seed, 21])
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    colour = np.broadcast_to(skin_albedo(person.tone, infrared=person.infrared), points.shape).copy()
    broad, middle, fine = (field(rng, points, cell, 2) for cell in (45, 14, 4.5))
    colour *= np.exp(0.09 * broad[:, :1] + 0.05 * middle[:, :1] + 0.05 * fine[:, :1])
    red = np.exp(-(((x - 42) / 19) ** 2 + ((y - 692) / 17) ** 2)) + np.exp(-(x**2 + (y - 690) ** 2) / 160) * (z > 140)
    red = 0.22 * person.ruddy * (red + 0.4 * broad[:, 1] + is_ear(points)) * (1 - 0.6 * person.tone)
    hue = np.zeros(3) if person.infrared else np.array([0.12, -0.75, -0.65])
    colour *= np.exp(red[:, None] * hue)
    hollow = np.exp(-(((x - _EYE_X) / 17) ** 2 + ((y - _EYE_Y + 13) / 7) ** 2)) * (z > 95)
    colour *= np.exp(-rng.uniform(0, 0.35) * (hollow + masks["eyelids"]))[:, None]
    lips = ramp(masks["lips"], 0.15, 0.6)[:, None]
    tint = np.full(3, 0.9) if person.infrared else np.array([0.85, 0.5, 0.5]) * rng.uniform(0.75, 1.1)
    colour *= 1 - lips * (1 - tint)
    spots = ramp(field(rng, points, 5)[:, 0] + 0.5 * broad[:, 0], 1.9 - 0.9 * person.spots, 2.4 - 0.9 * person.spots)
    colour *= 1 - (0.08 if person.infrared else 0.35) * spots[:, None]
    lash = np.exp(-(((np.hypot((x - _EYE_X) / 15.5, (y - _EYE_Y) / 6.5) - 1) / 0.16) ** 2)) * (z > 108)
    colour *= 1 - 0.65 * (lash * np.where(y > _EYE_Y, 1.0, 0.5))[:, None]
    hair = hair_albedo(person.hair_colour, infrared=person.infrared)
    across = np.clip((x - 12) / 40, 0, 1)
    line = _EYE_Y + 17.5 + 5 * np.sin(np.pi * across**0.8) - 4 * across
    brow = ramp(np.abs(y - line), 4.6 - 2.6 * across, 1.5 - across) * ramp(x, 9, 13) * ramp(x, 54, 48) * (z > 85)
    cover = person.brows * brow * np.clip(0.8 + 0.5 * field(rng, points, 3)[:, 0], 0.2, 1)
    shadow = {"none": 0.0, "stubble": 0.4, "short": 0.75, "full": 0.85}[person.beard]
    cover = np.maximum(cover, shadow * beard_area(points, np.random.default_rng([person.seed, 22]), masks["lips"]))
    if person.hair != "bald":
        cover = np.maximum(cover, 0.8 * scalp(points, np.random.default_rng([person.seed, 23]), person.receding))
    colour += cover[:, None] * (np.minimum(hair * 0.8, colour * 0.9) - colour)
    inside = ramp(masks["inside-mouth"], 0.2, 0.6)[:, None]
    gum = np.full(3, 0.3) if person.infrared else np.array([0.28, 0.07, 0.06])
    colour += inside * (gum - colour)
    return np.clip(colour, 0.004, 0.9)


def paint_eye(directions: np.ndarray, gaze: np.ndarray, person: Person) -> np.ndarray:
    """Paint an eyeball.

    Args:
        directions: (N, 3) unit vectors from its centre, head frame.
        gaze: (3,) unit vector.
        person: whose.

    Returns:
        (N, 3) linear RGB albedo.
    """
    rng = np.random.default_rng([person.seed, 24])
    angle = np.rad2deg(np.arccos(np.clip(directions @ gaze, -1, 1)))
    white = np.array([0.47, 0.42, 0.40]) * np.exp(0.12 * field(rng, directions, 0.3))
    iris = np.full(3, 0.3) if person.infrared else np.array(person.iris_colour)
    iris = iris * np.exp(0.5 * field(rng, directions, 0.06))
    edge, pupil = rng.uniform(24, 27), rng.uniform(8, 13)
    colour = white + ramp(angle, edge + 1.5, edge - 1)[:, None] * (iris - white)
    colour *= (1 - 0.6 * np.exp(-(((angle - edge) / 2.0) ** 2)))[:, None]
    return np.clip(colour * (1 - ramp(angle, pupil + 1, pupil - 1)[:, None]) + 0.004, 0.003, 0.9)


def paint_cloth(points: np.ndarray, rng: np.random.Generator, *, infrared: bool) -> np.ndarray:
    """Paint a garment: plain, striped or with a large print; (N, 3) linear RGB albedo."""

    def dye() -> np.ndarray:
        level = float(np.exp(rng.uniform(np.log(0.02), np.log(0.6))))
        colour = level * np.clip(rng.normal(1, 0.4, 3), 0.2, 2)
        return np.full(3, 0.2 + 0.6 * level) if infrared else colour

    first, second = dye(), dye()
    kind = rng.integers(3)
    if kind == 1:
        amount = (np.sin(points[:, 1] * 2 * np.pi / rng.uniform(12, 50)) > 0.2).astype(float)
    elif kind == 2:
        amount = (field(rng, points, rng.uniform(15, 50))[:, 0] > 0.4).astype(float)
    else:
        amount = np.zeros(len(points))
    colour = first + amount[:, None] * (second - first)
    return np.clip(colour * np.exp(0.1 * field(rng, points, 30) + 0.12 * field(rng, points, 4)), 0.005, 0.85)
