# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the packed head model: the same arrays and vertex ranges, an ellipsoid for a face."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from train.synth.headmodel import LANDMARKS, PARTS

VERTICES = 26719
_ROWS, _COLUMNS = 76, 148
_EXPRESSIONS = [
    "jawOpen",
    "mouthSmile_L",
    "mouthSmile_R",
    "eyeBlink_L",
    "eyeBlink_R",
    "browDown_L",
    "browDown_R",
    "mouthPucker",
    "cheekPuff_L",
    "noseSneer_L",
]


def _landmark_angles() -> np.ndarray:
    """(68, 2) azimuth and elevation in degrees where a face has the Multi-PIE landmarks."""
    t = np.linspace(-1, 1, 17)
    points = list(zip(75 * t, -55 + 55 * np.abs(t) ** 1.5, strict=True))
    points += [(a, 17) for a in (-35, -28, -21, -14, -7, 7, 14, 21, 28, 35)]
    points += [(0, e) for e in (8, 0, -8, -15)] + [(a, -20) for a in (-8, -4, 0, 4, 8)]
    for side in (-20, 20):
        points += [(side + 9 * np.cos(a), 4 + 4 * np.sin(a)) for a in np.deg2rad([180, 120, 60, 0, -60, -120])]
    points += [
        (15 * np.cos(a), -38 + 6 * np.sin(a))
        for a in np.deg2rad([180, 150, 120, 90, 60, 30, 0, -30, -60, -90, -120, -150])
    ]
    points += [(12 * np.cos(a), -38 + 2 * np.sin(a)) for a in np.deg2rad([180, 120, 90, 60, 0, -60, -90, -120])]
    return np.array(points, float)


def write_head(path: Path) -> Path:
    """Write the file and return its path; centimetres, as the real one."""
    rng = np.random.default_rng(0)
    vertices = rng.normal([0, 3, 2], 0.1, (VERTICES, 3))
    elevation = np.deg2rad(np.linspace(-88, 88, _ROWS))[:, None]
    azimuth = np.deg2rad(np.linspace(-180, 180, _COLUMNS, endpoint=False))[None]
    neck = 1 - 0.35 / (1 + np.exp((np.rad2deg(elevation) + 52) / 4))
    skin = np.stack(
        np.broadcast_arrays(
            7.6 * np.cos(elevation) * np.sin(azimuth) * neck,
            3 + 11.5 * np.sin(elevation) - 8 * np.clip(-np.rad2deg(elevation) - 55, 0, 40) / 33,
            1 + 9.5 * np.cos(elevation) * np.cos(azimuth) * neck,
        ),
        -1,
    ).reshape(-1, 3)
    column, row = np.meshgrid(np.arange(_COLUMNS), np.arange(_ROWS - 1))
    right = (column + 1) % _COLUMNS
    a, b = row * _COLUMNS + column, row * _COLUMNS + right
    quads = np.stack([a, b, b + _COLUMNS, a + _COLUMNS], -1).reshape(-1, 4)
    # Vertex numbers of the landmarks are fixed: exchange them with the grid's nearest vertices.
    order = np.arange(len(skin))
    angles = np.stack(np.broadcast_arrays(np.rad2deg(azimuth), np.rad2deg(elevation)), -1).reshape(-1, 2)
    taken: set[int] = set()
    for number, wanted in zip(LANDMARKS, _landmark_angles(), strict=True):
        for nearest in np.argsort(np.abs(angles - wanted).sum(1))[:200]:
            if int(nearest) not in taken:
                break
        taken.add(int(nearest))
        here = int(np.flatnonzero(order == nearest)[0])
        order[here], order[number] = order[number], order[here]
    new_number = np.argsort(order)
    vertices[: len(skin)] = skin[order]
    faces = [new_number[quads]]
    for name, x in (("eye_left", 2.9), ("eye_right", -2.9)):
        low, high = PARTS[name]
        count = high - low + 1
        rings = np.deg2rad(np.linspace(-85, 85, 10))[:, None]
        around = np.deg2rad(np.linspace(0, 360, count // 10, endpoint=False))[None]
        ball = np.stack(
            np.broadcast_arrays(np.cos(rings) * np.cos(around), np.cos(rings) * np.sin(around), np.sin(rings)), -1
        )
        vertices[low : high + 1] = 1.25 * ball.reshape(-1, 3) + [x, 3.7, 8.4]
        c, r = np.meshgrid(np.arange(count // 10), np.arange(9))
        n = (c + 1) % (count // 10)
        step = count // 10
        faces.append(
            low + np.stack([r * step + c, r * step + n, (r + 1) * step + n, (r + 1) * step + c], -1).reshape(-1, 4)
        )
    for name in ("mouth", "eye_socket", "gums", "teeth"):
        low = PARTS[name][0]
        faces.append(low + np.array([[0, 1, 2, 3], [2, 3, 4, -1 - low]]))
    quads = np.concatenate(faces).astype(np.int32)
    identity = np.zeros((100, VERTICES, 3), np.float16)
    identity[0] = 0.02 * vertices
    identity[1, :, 0] = 0.03 * vertices[:, 0]
    expression = np.zeros((len(_EXPRESSIONS), VERTICES, 3), np.float16)
    expression[0, : len(skin), 1] = -1.5 * np.clip(-vertices[: len(skin), 1] / 8, 0, 1) * (vertices[: len(skin), 2] > 5)
    np.savez(
        path,
        neutral=vertices.astype(np.float32),
        uv=np.zeros((4, 2), np.float32),
        faces=quads,
        face_uv=quads,
        identity=identity,
        expression=expression,
        expr=np.array(_EXPRESSIONS),
    )
    return path
