# SPDX-License-Identifier: Apache-2.0
"""Tiny raw sets for tests: a white ball before a dark wall, seen by two pinhole cameras, computed in float64."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import cv2
import numpy as np

BALL_RADIUS_MM = 90.0
WALL_MM = 1500.0


class Pinhole:
    """A camera in the depth camera's coordinates; independent of the package."""

    def __init__(
        self,
        focal_px: float,
        center_xy: tuple[float, float],
        size_hw: tuple[int, int],
        rotation: np.ndarray | None = None,
        translation_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        self.focal_px, self.center_xy, self.size_hw = focal_px, center_xy, size_hw
        self.rotation = np.eye(3) if rotation is None else rotation
        self.translation_mm = np.array(translation_mm)

    def see(self, ball_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return z (H, W) float64 mm and whether the ball is hit (H, W) bool, at pixel centres."""
        height, width = self.size_hw
        y, x = np.mgrid[0:height, 0:width] + 0.5
        rays = np.stack(
            [(x - self.center_xy[0]) / self.focal_px, (y - self.center_xy[1]) / self.focal_px, x * 0 + 1], -1
        )
        center = self.rotation @ ball_mm + self.translation_mm
        a, b = (rays**2).sum(-1), rays @ center
        root = b**2 - a * (center @ center - BALL_RADIUS_MM**2)
        hit = root > 0
        near = (b - np.sqrt(np.maximum(root, 0))) / a
        # The wall is z = WALL_MM of the depth camera.
        normal = self.rotation @ np.array([0.0, 0.0, 1.0])
        wall = (WALL_MM + normal @ self.translation_mm) / (rays @ normal)
        return np.where(hit, near, wall), hit


def turn_y(angle_deg: float) -> np.ndarray:
    """Return the rotation (3, 3) about y."""
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def picture_of(camera: Pinhole, ball_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (H, W, 3) uint8 BGR, white ball and dark wall, and (H, W) uint16 mm."""
    z, hit = camera.see(ball_mm)
    gray = np.where(hit, 230, 20).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2), np.round(z).astype(np.uint16)


def naive_depth_bytes(depth: np.ndarray, run: int = 7) -> bytes:
    """Encode depth.bin pixel by pixel, in runs of at most `run`, as no careful writer would."""
    out = struct.pack("<ii", depth.shape[1], depth.shape[0])
    flat, at = depth.ravel().tolist(), 0
    while at < len(flat):
        empty = full = 0
        while at + empty < len(flat) and flat[at + empty] == 0 and empty < run:
            empty += 1
        while at + empty + full < len(flat) and flat[at + empty + full] != 0 and full < run:
            full += 1
        values = flat[at + empty : at + empty + full]
        out += struct.pack(f"<ii{full}h", empty, full, *values)
        at += empty + full
    return out


def rows_of(matrix: np.ndarray) -> str:
    """Return a matrix as lines of a .cal or pose file."""
    return "\n".join(" ".join(f"{value:.10g}" for value in row) + " " for row in np.atleast_2d(matrix))


def cal_text(camera: Pinhole) -> str:
    """Return a .cal file, written by hand; it counts pixels from the centre of the first."""
    (cx, cy), (height, width), f = camera.center_xy, camera.size_hw, camera.focal_px
    matrix = np.array([[f, 0, cx - 0.5], [0, f, cy - 0.5], [0, 0, 1]])
    parts = [
        rows_of(matrix),
        "0 0 0 0 ",
        rows_of(camera.rotation),
        rows_of(camera.translation_mm),
        f"{width} {height} ",
    ]
    return "\n\n".join(parts) + "\n"


BIWI_DEPTH = Pinhole(144.0, (80.5, 60.5), (120, 160))
BIWI_RGB = Pinhole(129.0, (79.5, 61.5), (120, 160), turn_y(0.6), (-25.0, 1.0, -2.0))


def biwi_ball(sequence: int, frame: int) -> np.ndarray:
    """Return where the ball's centre is, (3,) in mm in the depth camera's frame."""
    return np.array([8.0 * frame - 20, 5.0 * sequence % 30 - 15, 850.0 + 20 * frame])


def write_biwi(root: Path, sequences: tuple[int, ...] = (1, 3, 15), frames: tuple[int, ...] = (3, 4, 7)) -> Path:
    """Write a Biwi-like set; a strip of holes on the left of every depth image."""
    for sequence in sequences:
        folder = root / f"{sequence:02d}"
        folder.mkdir(parents=True)
        (folder / "depth.cal").write_text(cal_text(BIWI_DEPTH))
        (folder / "rgb.cal").write_text(cal_text(BIWI_RGB))
        for frame in frames:
            ball = biwi_ball(sequence, frame)
            _, depth = picture_of(BIWI_DEPTH, ball)
            depth[:, :5] = 0
            colour, _ = picture_of(BIWI_RGB, ball)
            stem = folder / f"frame_{frame:05d}_"
            assert cv2.imwrite(f"{stem}rgb.png", colour)
            Path(f"{stem}depth.bin").write_bytes(naive_depth_bytes(depth))
            pose = f"{rows_of(turn_y(5.0 * frame))}\n\n{rows_of(ball)}\n"
            Path(f"{stem}pose.txt").write_text(pose)
    (root / "01.obj").write_text("a mesh that nobody reads\n")
    return root


KINECT_DEPTH = Pinhole(91.0, (64.0, 53.0), (106, 128))
KINECT_COLOUR = Pinhole(266.0, (240.0, 135.0), (270, 480), turn_y(-0.4), (52.0, 0.0, 1.0))


def kinect_json(depth: Pinhole = KINECT_DEPTH, colour: Pinhole = KINECT_COLOUR) -> dict:
    """Return the content of calibration.json."""

    def camera(pinhole: Pinhole) -> dict:
        height, width = pinhole.size_hw
        return {
            "focal_xy_px": [pinhole.focal_px] * 2,
            "center_xy_px": list(pinhole.center_xy),
            "size_px": [width, height],
        }

    pose = {"rotation": colour.rotation.tolist(), "translation_mm": colour.translation_mm.tolist()}
    return {"depth": camera(depth), "colour": camera(colour), "colour_from_depth": pose}


def kinect_ball(sequence: int, frame: int) -> np.ndarray:
    """Return where the ball's centre is, (3,) in mm in the depth camera's frame."""
    return np.array([10.0 * (frame % 5) - 20, 4.0 * (sequence % 5), 800.0 + 10 * (frame % 7)])


def write_pandora(root: Path, sequences: tuple[int, ...] = (1, 2, 41, 48), frames: tuple[int, ...] = (0, 1, 5)) -> Path:
    """Write a raw Pandora-like set with one calibration.json for all."""
    for sequence in sequences:
        folder = root / f"{sequence}"
        notes = []
        for name in ("RGB", "DEPTH"):
            (folder / name).mkdir(parents=True)
        for frame in frames:
            ball = kinect_ball(sequence, frame)
            _, depth = picture_of(KINECT_DEPTH, ball)
            colour, _ = picture_of(KINECT_COLOUR, ball)
            assert cv2.imwrite(str(folder / "RGB" / f"{frame:06d}_RGB.png"), cv2.cvtColor(colour, cv2.COLOR_BGR2BGRA))
            assert cv2.imwrite(str(folder / "DEPTH" / f"{frame:06d}_DEPTH.png"), depth)
            x, y = KINECT_DEPTH.focal_px * ball[:2] / ball[2] + KINECT_DEPTH.center_xy
            notes.append(
                {
                    "frame_num": frame,
                    "joints": {"Head": [x, y], "Neck": [x, y + 30]},
                    "joints3D": {"Head": (ball / 1000).tolist()},
                    "orientation": {"euler": {"pitch": 2.0 + frame % 9, "roll": 1.0, "yaw": 12.0 * (frame % 9) - 8}},
                }
            )
        (folder / "data.json").write_text(json.dumps(notes))
    (root / "calibration.json").write_text(json.dumps(kinect_json()))
    return root


def ball_in_crop(camera: Pinhole, ball_mm: np.ndarray, box: tuple[float, float, float, float], side: int) -> np.ndarray:
    """Return which pixels of a crop show the ball: (side, side) bool, by the silhouette at their centres."""
    x0, y0, x1, y1 = box
    step = (x1 - x0) / side
    view = Pinhole(
        camera.focal_px / step,
        ((camera.center_xy[0] - x0) / step, (camera.center_xy[1] - y0) / step),
        (side, side),
        camera.rotation,
        tuple(camera.translation_mm),
    )
    assert abs((y1 - y0) / side - step) < 1e-9, "square pixels"
    return view.see(ball_mm)[1]
