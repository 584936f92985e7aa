# SPDX-License-Identifier: Apache-2.0
"""A small set of crops in Pandora's layout, with simple heads: an ellipsoid before a wall, lit from one side."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

CROP_PX = 144
FRAMES = 4


def draw_head(rng: np.random.Generator, distance_mm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one frame: gray (144, 144) uint8, depth (144, 144) uint16 mm with some holes, label (144, 144) uint8."""
    pitch_mm = 320 * 1.5 / CROP_PX
    y, x = (np.mgrid[0:CROP_PX, 0:CROP_PX] + 0.5 - CROP_PX / 2) * pitch_mm
    wide, tall = rng.uniform(65, 80), rng.uniform(85, 115)
    inside = 1 - (x / wide) ** 2 - (y / tall) ** 2
    bulge = 95 * np.sqrt(np.clip(inside, 0, 1)) + 18 * np.exp(-((x / 12) ** 2 + ((y - 10) / 18) ** 2))
    head = inside > 0
    depth = np.where(head, distance_mm + 95 - bulge, distance_mm + 700)
    slope = np.gradient(bulge, axis=1) / pitch_mm
    shade = 120 + 60 * np.where(head, -slope, 0) + 40 * head
    body = (y > tall * 0.9) & (np.abs(x) < 140) & ~head
    depth[body] = distance_mm + 60
    shade[body] = 60
    label = np.where(head, 1, np.where(body, 4, 0)).astype(np.uint8)
    label[head & (y < -0.6 * tall)] = 2
    gray = np.clip(shade + rng.normal(0, 3, shade.shape), 0, 255).astype(np.uint8)
    depth[rng.random(depth.shape) < 0.01] = 0
    return gray, np.clip(depth, 0, 65535).astype(np.uint16), label


def write_crops_set(root: Path, subjects: int = 6, frames: int = FRAMES, seed: int = 5) -> Path:
    """Write a set of `subjects` people, one sequence each; the last two people are val and test."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True)
    for subject in range(1, subjects + 1):
        sequence = (subject - 1) * 5 + 1
        folder = root / f"{sequence:03d}"
        folder.mkdir()
        items, lines = [], []
        for frame in range(frames):
            distance_mm = float(rng.uniform(500, 1000))
            gray, depth, label = draw_head(rng, distance_mm)
            image = gray if subject % 2 else cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)
            face = frame != 3
            if not face:
                label[:] = 0
            stem = f"frame_{frame:06d}_face"
            for kind, plane in (("rgb", image), ("depth", depth), ("label", label)):
                assert cv2.imwrite(str(folder / f"{stem}_{kind}.png"), plane)
            focal_px = distance_mm * CROP_PX / 480
            ray_xy = (0.05 * (subject - 3), 0.1 - 0.07 * frame)
            principal_xy = [CROP_PX / 2 - slope * focal_px for slope in ray_xy]
            items.append({"frame": frame, "distance_mm": distance_mm, "visible": 1.0 if face else 0.0, "face": face,
                          "focal_px": focal_px, "principal_xy": principal_xy,
                          "attributes": {"kind": "ellipsoid"}})  # fmt: skip
            lines.append(f"{frame}\t1.5\t-2.25\t{frame}.0")
        (folder / "frames.json").write_text(json.dumps(items))
        (folder / "angles.txt").write_text("\n".join(lines) + "\n")
    people = list(range(1, subjects + 1))
    splits = {"train": people[:-2], "val": people[-2:-1], "test": people[-1:]}
    info = {"format": 1, "layout": "pandora-crops", "crop_px": CROP_PX, "margin": 1.5, "reach_mm": 320.0, "seed": seed,
            "subjects": splits}  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(info))
    return root


@pytest.fixture(scope="session")
def crops_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A written set; do not change it."""
    return write_crops_set(tmp_path_factory.mktemp("sets") / "crops")
