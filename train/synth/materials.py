# SPDX-License-Identifier: Apache-2.0
"""The material table: which label a surface gets, how it reflects, and how cloth and things look."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from train.synth.noise import fractal_noise

# Labels of the label image; the loader knows HEAD_SKIN to HEAD_WORN as HEAD_LABELS.
BACKGROUND, HEAD_SKIN, HEAD_HAIR, HEAD_WORN, BODY, OCCLUDER = range(6)


@dataclass(frozen=True)
class Material:
    """How a surface looks.

    Attributes:
        label: one of the label constants.
        gloss: strength of the highlight.
        shininess: exponent of the highlight.
        wrap: share of light that creeps around the terminator (light that scatters under skin), red first.
    """

    label: int
    gloss: float = 0.02
    shininess: float = 20.0
    wrap: float = 0.0


MATERIALS: dict[str, Material] = {
    "skin": Material(HEAD_SKIN, 0.045, 16.0, 0.22),
    "eye": Material(HEAD_SKIN, 0.9, 500.0, 0.1),
    "mouth": Material(HEAD_SKIN, 0.05, 40.0, 0.1),
    "gums": Material(HEAD_SKIN, 0.15, 60.0, 0.1),
    "teeth": Material(HEAD_SKIN, 0.25, 90.0, 0.1),
    "tongue": Material(HEAD_SKIN, 0.2, 50.0, 0.2),
    **{f"{kind}{layer}": Material(HEAD_HAIR, 0.03, 12.0, 0.15) for kind in ("hair", "beard") for layer in range(3)},
    "hair_sheet": Material(HEAD_HAIR, 0.04, 14.0, 0.15),
    "hair_card": Material(HEAD_HAIR, 0.04, 14.0, 0.15),
    "frame": Material(HEAD_WORN, 0.3, 60.0),
    "dark_lens": Material(HEAD_WORN, 0.5, 250.0),
    "mask_cloth": Material(HEAD_WORN, 0.01, 8.0, 0.1),
    "hat_cloth": Material(HEAD_HAIR, 0.01, 8.0, 0.05),
    "hat_cape": Material(BODY, 0.01, 8.0, 0.05),
    "neck": Material(BODY, 0.04, 16.0, 0.22),
    "garment": Material(BODY, 0.01, 8.0, 0.05),
    "scarf": Material(BODY, 0.01, 8.0, 0.05),
    "seat": Material(BACKGROUND, 0.05, 12.0),
    "hand": Material(OCCLUDER, 0.04, 16.0, 0.22),
    "thing": Material(OCCLUDER, 0.25, 60.0),
}
MATERIAL_NAMES = list(MATERIALS)
_CLOTH_HW = (256, 512)  # of its texture


def cloth(rng: np.random.Generator, *, infrared: bool) -> np.ndarray:
    """Paint cloth: plain, striped, checked, printed or knitted; (H, W, 3) float32 linear RGB albedo."""

    def dye() -> np.ndarray:
        level = np.exp(rng.uniform(np.log(0.015), np.log(0.75)))
        colour = level * np.clip(rng.normal(1, 0.45, 3), 0.15, 2.2)
        return np.full(3, 0.25 + 0.5 * level) if infrared else colour

    height, width = _CLOTH_HW
    texture = np.broadcast_to(dye(), (height, width, 3)).astype(np.float32).copy()
    kind = rng.choice(["plain", "stripes", "checks", "print", "knit"], p=[0.4, 0.2, 0.12, 0.16, 0.12])
    y, x = np.mgrid[:height, :width]
    if kind in ("stripes", "checks"):
        period, duty = rng.uniform(6, 60), rng.uniform(0.2, 0.6)
        period = width / round(width / period)  # so that it goes on where the cloth's sides meet
        across = ((y % period) < duty * period) if rng.uniform() < 0.6 else ((x % period) < duty * period)
        amount = across.astype(np.float32)
        if kind == "checks":
            amount = 0.5 * ((y % period) < duty * period) + 0.5 * ((x % period) < duty * period)
        texture += amount[..., None].astype(np.float32) * (dye() - texture)
    elif kind == "print":
        for _ in range(int(rng.integers(4, 40))):
            at = (int(rng.integers(width)), int(rng.integers(height)))
            radius, colour = int(rng.integers(3, 40)), tuple(float(c) for c in dye())
            for turn in (-width, 0, width):
                cv2.circle(texture, (at[0] + turn, at[1]), radius, colour, -1, cv2.LINE_AA)
    elif kind == "knit":
        rows, columns = rng.uniform(4, 10), rng.uniform(4, 10)
        columns = width / round(width / columns)
        rib = 0.75 + 0.25 * np.sin(x * 2 * np.pi / columns) * np.cos(y * 2 * np.pi / rows)
        texture *= rib[..., None].astype(np.float32)
    weave = 1 + 0.06 * fractal_noise(rng, _CLOTH_HW, (4, 4), 2) + 0.1 * fractal_noise(rng, _CLOTH_HW, (90, 90), 2)
    return np.clip(texture * weave[..., None], 0.005, 0.92).astype(np.float32)


def flat(colour: np.ndarray | float) -> np.ndarray:
    """Return a texture (1, 1, 3) float32 of one colour."""
    return np.broadcast_to(np.asarray(colour, np.float32), (1, 1, 3)).copy()
