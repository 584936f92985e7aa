# SPDX-License-Identifier: Apache-2.0
"""Rays to pixels: traces head and body scenes, shades them with soft shadows; returns radiance, depth and labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facedepth_edge.head import DEPTH_WINDOW_MM
from train.synth.light import Light, Lighting
from train.synth.materials import BACKGROUND, MATERIAL_NAMES, MATERIALS
from train.synth.tracer import Hits, TraceScene, sample_nearest

CAMERA_FROM_FACING = np.diag([1.0, -1.0, -1.0])  # a head that faces the camera: x stays, y and z turn round
_LABELS = np.array([MATERIALS[name].label for name in MATERIAL_NAMES] + [BACKGROUND], np.uint8)
_CENTRE = np.array([[0.5, 0.5]])
_PATTERN = np.array([[1 / 6, 1 / 2], [1 / 2, 5 / 6], [5 / 6, 1 / 6]])  # a pixel is the mean of three rays
_BAND_RAYS = 400_000  # rays traced at a time: bounds the memory of a full frame


@dataclass(frozen=True)
class View:
    """A pinhole view of a pixel rectangle.

    Convention: camera frame x right, y down, z forward, mm; pixel i covers [i, i + 1).

    Attributes:
        focal_px: focal length.
        principal_xy: (x, y) of the optical axis in this view's pixels; may lie outside.
        size_hw: rows and columns.
    """

    focal_px: float
    principal_xy: tuple[float, float]
    size_hw: tuple[int, int]

    def directions(self, rows: slice | None = None, offsets_xy: np.ndarray = _CENTRE) -> np.ndarray:
        """Return the rays of some rows.

        Args:
            rows: which rows; None for all.
            offsets_xy: (K, 2) where in a pixel its K rays go, 0..1.

        Returns:
            (rows * columns * K, 3) float32 with z = 1, the rays of a pixel next to each other.
        """
        height, width = self.size_hw
        y = np.arange(height)[rows if rows is not None else slice(None)] - self.principal_xy[1]
        x = np.arange(width) - self.principal_xy[0]
        grid = np.empty((len(y), width, len(offsets_xy), 3), np.float32)
        grid[..., 0] = (x[None, :, None] + offsets_xy[:, 0]) / self.focal_px
        grid[..., 1] = (y[:, None, None] + offsets_xy[:, 1]) / self.focal_px
        grid[..., 2] = 1.0
        return grid.reshape(-1, 3)


@dataclass(frozen=True)
class HeadPose:
    """Where the head is.

    Attributes:
        rotation: (3, 3) head frame -> camera frame, without CAMERA_FROM_FACING: identity looks into the camera.
        centre_mm: (3,) the head centre in the camera frame.
        head_centre_mm: (3,) the head centre in the head's own frame.
    """

    rotation: np.ndarray
    centre_mm: np.ndarray
    head_centre_mm: np.ndarray

    @property
    def camera_from_head(self) -> np.ndarray:
        """(3, 3) rotation from the head's frame to the camera's."""
        return CAMERA_FROM_FACING @ self.rotation

    def rays(self, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Carry camera rays (N, 3) into the head's frame: origins and directions (N, 3) float32."""
        turn = self.camera_from_head
        origin = (-turn.T @ self.centre_mm + self.head_centre_mm).astype(np.float32)
        turned = (directions @ turn.astype(np.float32)).astype(np.float32)
        return np.broadcast_to(origin, turned.shape), turned


@dataclass(frozen=True)
class Rendering:
    """What the camera sees before its sensor.

    Attributes:
        radiance: (H, W, 3) float32 linear RGB; 0 where no light was given.
        depth_mm: (H, W) float32 z along the optical axis, inf where nothing was hit. The median of the pixel's three
            rays, never an average across an edge; without light of one ray through its middle.
        label: (H, W) uint8, of the same ray as the depth.
    """

    radiance: np.ndarray
    depth_mm: np.ndarray
    label: np.ndarray


def trace(scenes: list[TraceScene], origins: np.ndarray, directions: np.ndarray) -> Hits:
    """Return the nearest hits over all scenes."""
    best = scenes[0].closest(origins, directions)
    for scene in scenes[1:]:
        other = scene.closest(origins, directions)
        nearer = np.flatnonzero(other.distance < best.distance)
        for name in ("distance", "material", "normal", "uv", "ambient"):
            getattr(best, name)[nearer] = getattr(other, name)[nearer]
    return best


def surface_distance(scenes: list[TraceScene], pose: HeadPose) -> float:
    """Measure D as the runtime does from a depth image: the median z over DEPTH_WINDOW_MM around the head centre."""
    x, y, z = pose.centre_mm
    offset = np.linspace(-DEPTH_WINDOW_MM / 2, DEPTH_WINDOW_MM / 2, 7)
    grid = np.stack(np.meshgrid(x + offset, y + offset), -1).reshape(-1, 2) / z
    directions = np.concatenate([grid, np.ones((len(grid), 1))], 1).astype(np.float32)
    hits = trace(scenes, *pose.rays(directions))
    found = hits.distance[np.isfinite(hits.distance)]
    return float(np.median(found)) if len(found) else float(z)


def render(
    scenes: list[TraceScene],
    textures: dict[str, np.ndarray],
    view: View,
    pose: HeadPose,
    lighting: Lighting | None,
    backdrop: np.ndarray | None,
    rng: np.random.Generator,
) -> Rendering:
    """Render one frame.

    Args:
        scenes: the head's scene first, then what is around it, all in the head's frame.
        textures: material name -> (H, W, 3) float32 albedo.
        view: the camera.
        pose: the head's.
        lighting: the lights, in the camera's frame; None: depth and labels alone.
        backdrop: (H, W, 3) float32 radiance behind everything; given with `lighting`.
        rng: jitters the shadow rays.

    Returns:
        Radiance, depth and labels of view.size_hw.
    """
    height, width = view.size_hw
    out = Rendering(
        np.zeros((height, width, 3), np.float32),
        np.empty((height, width), np.float32),
        np.empty((height, width), np.uint8),
    )
    pattern = _CENTRE if lighting is None else _PATTERN
    step = max(1, _BAND_RAYS // (width * len(pattern)))
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        directions = view.directions(rows, pattern)
        origins, turned = pose.rays(directions)
        hits = trace(scenes, origins, turned)
        per_pixel = (rows.stop - top, width, len(pattern))
        if lighting is not None and backdrop is not None:
            hit = np.flatnonzero(hits.material >= 0)
            radiance = np.repeat(backdrop[rows].reshape(-1, 3), len(pattern), axis=0)
            if len(hit):
                radiance[hit] = _shade(scenes, textures, hits, hit, origins, turned, pose, lighting, rng)
            out.radiance[rows] = radiance.reshape(*per_pixel, 3).mean(axis=2)
        depth = hits.distance.reshape(per_pixel)
        label = _LABELS[hits.material].reshape(per_pixel)
        middle = np.argsort(depth, axis=2)[:, :, len(pattern) // 2, None]
        out.depth_mm[rows] = np.take_along_axis(depth, middle, 2)[..., 0]
        out.label[rows] = np.take_along_axis(label, middle, 2)[..., 0]
    return out


def _shade(
    scenes: list[TraceScene],
    textures: dict[str, np.ndarray],
    hits: Hits,
    hit: np.ndarray,
    origins: np.ndarray,
    turned: np.ndarray,
    pose: HeadPose,
    lighting: Lighting,
    rng: np.random.Generator,
) -> np.ndarray:
    material, normal, uv = hits.material[hit], hits.normal[hit], hits.uv[hit]
    albedo = np.empty((len(hit), 3), np.float32)
    gloss, shininess, wrap = (np.empty(len(hit), np.float32) for _ in range(3))
    for index in np.unique(material):
        mine = np.flatnonzero(material == index)
        name = MATERIAL_NAMES[index]
        albedo[mine] = sample_nearest(textures[name], uv[mine])
        gloss[mine] = MATERIALS[name].gloss
        shininess[mine] = MATERIALS[name].shininess
        wrap[mine] = MATERIALS[name].wrap
    turn = pose.camera_from_head.astype(np.float32)
    in_camera = normal @ turn.T
    light = (lighting.ambient + in_camera @ lighting.tilt.T).clip(0.02) * (hits.ambient[hit] ** 1.2)[:, None]
    out = albedo * light.astype(np.float32)
    points = origins[hit] + turned[hit] * hits.distance[hit, None] + normal * 0.6
    view_direction = -turned[hit] / np.linalg.norm(turned[hit], axis=1, keepdims=True)
    red_first = np.array([1.0, 0.5, 0.35], np.float32)
    for source in lighting.lights:
        towards, cosine, strength = _towards(source, points, normal, pose)
        wrapped = wrap[:, None] * red_first
        diffuse = np.clip((cosine[:, None] + wrapped) / (1 + wrapped), 0, None)
        lit = np.flatnonzero(diffuse[:, 0] > 0.01)
        if not len(lit):
            continue
        jitter = rng.normal(0, source.spread * 0.6, (len(lit), 3)).astype(np.float32)
        rays = np.ascontiguousarray(towards[lit] + jitter)
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        start = np.ascontiguousarray(points[lit])
        visible = np.ones(len(lit), np.float32)
        for scene in scenes:
            visible[scene.blocked(start, rays)] = 0
        half = towards[lit] + view_direction[lit]
        half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
        sharp = np.clip(np.einsum("ij,ij->i", normal[lit], half), 0, 1) ** shininess[lit]
        highlight = gloss[lit] * sharp * (shininess[lit] + 8) / 25 * np.clip(cosine[lit] * 4, 0, 1)
        grazing = 1 + 2.5 * (1 - np.clip(np.einsum("ij,ij->i", normal[lit], view_direction[lit]), 0, 1)) ** 4
        shine = (highlight * grazing)[:, None]
        share = (visible * strength[lit])[:, None]
        out[lit] += (share * (albedo[lit] * diffuse[lit] + shine) * source.colour).astype(np.float32)
    return out


def _towards(
    source: Light, points: np.ndarray, normal: np.ndarray, pose: HeadPose
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return unit vectors (N, 3) from points of the head's frame towards a light, cosines (N,) and strengths (N,)."""
    turn = pose.camera_from_head
    if source.place_mm is None:
        direction = (source.direction @ turn).astype(np.float32)
        return np.broadcast_to(direction, points.shape), normal @ direction, np.ones(len(points), np.float32)
    place = ((source.place_mm - pose.centre_mm) @ turn + pose.head_centre_mm).astype(np.float32)
    apart = place - points
    distance = np.linalg.norm(apart, axis=1)
    reference = float(np.linalg.norm(source.place_mm - pose.centre_mm))
    towards = apart / distance[:, None]
    return towards, np.einsum("ij,ij->i", normal, towards), np.square(reference / distance)
