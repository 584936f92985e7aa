# SPDX-License-Identifier: Apache-2.0
"""The truth beside the picture: depth and labels by rays through the same triangles, without the path tracer."""

from __future__ import annotations

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from facedepth_edge.head import DEPTH_WINDOW_MM
from train.crosscheck.parts import BACKGROUND, Part


class Truth:
    """Rays through a scene in the camera's frame.

    Args:
        parts: at least one part, vertices in the camera's frame (x right, y down, z forward, mm).
    """

    def __init__(self, parts: list[Part]) -> None:
        offsets = np.cumsum([0] + [len(part.vertices) for part in parts])
        vertices = np.concatenate([part.vertices for part in parts]).astype(np.float32)
        pairs = zip(parts, offsets, strict=False)
        triangles = np.concatenate([part.triangles + offset for part, offset in pairs]).astype(np.int32)
        self._label = np.concatenate([np.full(len(part.triangles), part.label, np.uint8) for part in parts])
        self._scene = EmbreeScene()
        self._mesh = TriangleMesh(self._scene, vertices, triangles)

    def look(self, slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Follow rays from the camera.

        Args:
            slopes: (..., 2) x / z and y / z of the rays.

        Returns:
            z along the optical axis in mm (...,) float64, inf where nothing is hit, and labels (...,) uint8.
        """
        flat = slopes.reshape(-1, 2)
        rays = np.concatenate([flat, np.ones((len(flat), 1))], axis=1).astype(np.float32)
        hit = self._scene.run(np.zeros_like(rays), rays, output=True)
        found = hit["primID"] >= 0
        # A ray's z is 1, so that its length parameter is z itself.
        depth = np.where(found, hit["tfar"], np.inf).astype(np.float64)
        label = np.where(found, self._label[np.maximum(hit["primID"], 0)], BACKGROUND).astype(np.uint8)
        return depth.reshape(slopes.shape[:-1]), label.reshape(slopes.shape[:-1])


def head_distance(head: list[Part], centre_mm: np.ndarray) -> float:
    """Return D: the median z of the head's own surface over DEPTH_WINDOW_MM around the projected head centre."""
    step = (np.arange(21) + 0.5) / 21 * DEPTH_WINDOW_MM - DEPTH_WINDOW_MM / 2
    across, down = np.meshgrid(centre_mm[0] + step, centre_mm[1] + step)
    depth, _ = Truth(head).look(np.stack([across, down], axis=-1) / centre_mm[2])
    found = depth[np.isfinite(depth)]
    return float(np.median(found)) if len(found) else float(centre_mm[2])
