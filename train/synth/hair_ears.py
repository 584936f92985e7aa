# SPDX-License-Identifier: Apache-2.0
"""Hair around the ears: sideburns, locks over the ear, hair behind it and down the nape, long hair tucked behind it.

How much of an ear shows, and what is before and behind it, says how far a head is turned; people cut it in many ways.
"""

from __future__ import annotations

import numpy as np

from train.synth.hair import HairStyle, hanging_sheet, on_sphere, skin_radius
from train.synth.headmodel import SPHERE_CENTRE_MM, HeadModel
from train.synth.mesh import Mesh
from train.synth.noise import smoothstep

_EAR_AZIMUTH_DEG, _EAR_TOP_DEG = 98.0, 6.0  # of the neutral head's ears: their middle, and their upper end
_EAR_DEPTH_MM = 17.0  # how far an ear stands off the skull


def ear_style(rng: np.random.Generator) -> HairStyle:
    """Draw short, medium or long hair that leaves the ears free or covers a part of them, each side for itself."""
    kind = str(rng.choice(["short", "medium", "long"], p=[0.4, 0.35, 0.25]))
    low, high = {"short": (5, 18), "medium": (12, 30), "long": (6, 22)}[kind]
    opening = float(rng.uniform(46, 82))
    short = kind != "long"
    tucked = [rng.uniform(94, 116) - opening if rng.uniform() < 0.75 else 0.0 for _ in range(2)]
    hangs = [rng.uniform(4, 52) if rng.uniform() < 0.6 else 0.0 for _ in range(2)]
    if rng.uniform() < 0.6:
        hangs[1] = hangs[0] * rng.uniform(0.7, 1.3)  # most cuts are nearly the same on both sides
    return HairStyle(
        kind=kind,
        thickness_mm=float(rng.uniform(low, high)),
        front_shift_deg=float(rng.normal(0, 3.5)),
        recede_deg=float(max(0.0, rng.normal(1, 6))) if short else 0.0,
        fringe_mm=float(rng.uniform(12, 48)) if rng.uniform() < 0.45 else 0.0,
        length_mm=float(rng.uniform(40, 240)),
        opening_deg=opening,
        parting_deg=float(rng.uniform(-50, 50)),
        waves=float(rng.uniform(0, 1)),
        sideburn_deg=float(rng.uniform(0, 28)) if rng.uniform() < 0.75 else 0.0,
        locks_mm=(float(hangs[0]), float(hangs[1])) if short else (0.0, 0.0),
        nape_mm=float(rng.uniform(60, 125)) if short and rng.uniform() < 0.6 else 0.0,
        tucked_deg=(0.0, 0.0) if short else (float(tucked[0]), float(tucked[1])),
    )


def side_locks(model: HeadModel, vertices: np.ndarray, style: HairStyle, rng: np.random.Generator) -> list[Mesh]:
    """Hang hair from above the ears over their upper ends; where it lies flat, the ear comes through.

    Args:
        model: the head model.
        vertices: (V, 3) mm, the subject's shape.
        style: its `locks_mm` say how far.
        rng: source of randomness.

    Returns:
        A sheet for each side that has them.
    """
    if not any(style.locks_mm):
        return []  # and nothing is drawn: what follows stays as it is in sets without such hair
    skin = skin_radius(model, vertices)
    out = []
    for side, reach_mm in zip((-1, 1), style.locks_mm, strict=True):  # +x is the face's left
        columns, rows = 28, 18
        first, last = rng.uniform(62, 80), rng.uniform(100, 128)
        away, jags = rng.uniform(0.25, 1.15), rng.uniform(0.65, 1.15, 9)
        slant, noise = rng.uniform(-10, 16), rng.normal(0, 0.6, (1, columns))
        if reach_mm <= 0:
            continue
        azimuth = np.linspace(first, last, columns)
        jag = np.interp(np.arange(columns), np.linspace(0, columns, 9), jags)
        end = _EAR_TOP_DEG - np.rad2deg(reach_mm / 80.0) * jag - 8
        start = 34.0
        t = np.linspace(0, 1, rows)[:, None]
        elevation = start - t * (start - end)[None]
        around = azimuth[None] + t**1.5 * slant
        over_ear = np.exp(-(((around - _EAR_AZIMUTH_DEG) / 16) ** 2)) * smoothstep(-elevation, -_EAR_TOP_DEG - 14, 0)
        lift = style.thickness_mm * 0.6 * (1 - t) + 4 + away * _EAR_DEPTH_MM * over_ear + noise
        points = on_sphere(side * around, elevation, skin(side * around, elevation) + lift)
        out.append(hanging_sheet(points, np.linspace(0.0, 0.3, columns)[None] + 0.35 * (side > 0), t, 0.75))
    return out


def nape(model: HeadModel, vertices: np.ndarray, style: HairStyle, rng: np.random.Generator) -> list[Mesh]:
    """Let short hair reach down behind the ears and along the neck.

    Args:
        model: the head model.
        vertices: (V, 3) mm, the subject's shape.
        style: its `nape_mm` says how far.
        rng: source of randomness.

    Returns:
        One sheet, or none.
    """
    if style.nape_mm <= 0:
        return []
    skin = skin_radius(model, vertices)
    columns, rows = 60, 26
    left, right = rng.uniform(100, 120, 2)
    azimuth = np.linspace(left, 360 - right, columns)[None]
    t = np.linspace(0, 1, rows)[:, None]
    start, split = 40.0, 0.4
    elevation = np.where(t < split, start - (start + 5) * t / split, -5.0) + 0 * azimuth
    lift = style.thickness_mm * (0.75 - 0.35 * t) + 3 + rng.normal(0, 1.0, (1, columns)) * t
    points = on_sphere(azimuth, elevation, skin(azimuth, elevation) + lift).reshape(rows, columns, 3)
    jag = np.interp(np.arange(columns), np.linspace(0, columns, 12), rng.uniform(0.8, 1.1, 12))
    close = rng.uniform(0.18, 0.36)  # the neck is narrower than the skull
    for row in np.flatnonzero(t[:, 0] > split):
        share = (t[row, 0] - split) / (1 - split)
        top = points[row, :, 1]
        bottom = SPHERE_CENTRE_MM[1] - style.nape_mm * jag
        points[row, :, 1] = top + (np.minimum(bottom, top - 5) - top) * share
        narrow = 1 - close * share
        points[row, :, 0] *= narrow
        points[row, :, 2] = SPHERE_CENTRE_MM[2] + (points[row, :, 2] - SPHERE_CENTRE_MM[2]) * narrow
    return [hanging_sheet(points.reshape(-1, 3), np.linspace(0, 0.9, columns)[None], t, 0.6)]
