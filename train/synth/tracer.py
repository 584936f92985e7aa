# SPDX-License-Identifier: Apache-2.0
"""Ray casting against a set of meshes: Embree's closest hit and occlusion queries, with textures that have holes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.synth.mesh import Mesh, vertex_normals

try:
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene
except ImportError as error:  # pragma: no cover - the train extra brings it
    fix = "pip install 'facedepth-edge[train]'; there is no wheel for Linux on aarch64: render on another machine"
    raise ImportError(f"train.synth needs embreex: {fix}") from error

_SKIP_MM = 0.05  # a ray goes on this far behind a transparent hit
_MAX_LAYERS = 7  # transparent surfaces that one camera ray may pass
_MAX_SHADOW_LAYERS = 3  # and a shadow ray


@dataclass
class Hits:
    """What N rays met first.

    Attributes:
        distance: (N,) float32 along the ray, in units of its direction's length; inf where nothing was hit.
        material: (N,) int16 index into the scene's material names, -1 where nothing was hit.
        normal: (N, 3) float32 interpolated unit normal, turned towards the ray's origin.
        uv: (N, 2) float32 texture coordinates.
        ambient: (N,) float32 interpolated share of the ambient light.
    """

    distance: np.ndarray
    material: np.ndarray
    normal: np.ndarray
    uv: np.ndarray
    ambient: np.ndarray


class TraceScene:
    """Meshes in one coordinate system, ready for rays.

    Args:
        meshes: at least one mesh.
        material_names: the material table; every mesh's material must be in it.
        alpha: material name -> (H, W) float32 texture; a hit where it is under 0.5 lets the ray pass.
    """

    def __init__(self, meshes: list[Mesh], material_names: list[str], alpha: dict[str, np.ndarray]) -> None:
        offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
        vertices = np.concatenate([mesh.vertices for mesh in meshes]).astype(np.float32)
        self._triangles = np.concatenate(
            [mesh.triangles + offset for mesh, offset in zip(meshes, offsets, strict=False)]
        ).astype(np.int32)
        self._normals = np.concatenate([vertex_normals(mesh.vertices, mesh.triangles) for mesh in meshes])
        self._uv = np.concatenate([mesh.uv for mesh in meshes]).astype(np.float32)
        self._ambient = np.concatenate(
            [np.ones(len(m.vertices), np.float32) if m.ambient is None else m.ambient for m in meshes]
        )
        index = {name: i for i, name in enumerate(material_names)}
        self._material = np.concatenate(
            [np.full(len(mesh.triangles), index[mesh.material], np.int16) for mesh in meshes]
        )
        self._alpha = {index[name]: texture for name, texture in alpha.items()}
        self._has_alpha = np.zeros(len(material_names) + 1, bool)
        self._has_alpha[list(self._alpha)] = True
        self._scene = EmbreeScene()
        self._mesh = TriangleMesh(self._scene, vertices, self._triangles)
        self._low, self._high = vertices.min(0), vertices.max(0)
        self._vertices = vertices
        self._baked = np.concatenate([np.full(len(m.vertices), m.ambient is None) for m in meshes])

    def closest(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
        """Find the first opaque surface on each ray; origins and directions (N, 3) float32."""
        count = len(origins)
        distance = np.full(count, np.inf, np.float32)
        primitive = np.full(count, -1, np.int64)
        bary = np.zeros((count, 2), np.float32)
        live = np.flatnonzero(self._meets_box(origins, directions))
        travelled = np.zeros(len(live), np.float32)
        for _ in range(_MAX_LAYERS):
            if not len(live):
                break
            start = origins[live] + directions[live] * travelled[:, None]
            hit = self._scene.run(np.ascontiguousarray(start), np.ascontiguousarray(directions[live]), output=True)
            found = np.flatnonzero(hit["primID"] >= 0)
            live, prim = live[found], hit["primID"][found].astype(np.int64)
            far = travelled[found] + hit["tfar"][found]
            u, v = hit["u"][found], hit["v"][found]
            passes = self._is_hole(prim, u, v)
            stops = ~passes
            rays = live[stops]
            distance[rays], primitive[rays] = far[stops], prim[stops]
            bary[rays] = np.stack([u[stops], v[stops]], 1)
            live = live[passes]
            travelled = far[passes] + _SKIP_MM / np.maximum(np.linalg.norm(directions[live], axis=1), 1e-6)
        return self._attributes(directions, distance, primitive, bary)

    def blocked(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Say for each ray (N, 3) whether something opaque lies on it; (N,) bool."""
        result = np.zeros(len(origins), bool)
        live = np.flatnonzero(self._meets_box(origins, directions))
        if not len(live):
            return result
        # One cheap query for all; only rays that meet something in a scene with holes are looked at again.
        met = self._scene.run(
            np.ascontiguousarray(origins[live]), np.ascontiguousarray(directions[live]), query="OCCLUDED"
        )
        live = live[met >= 0]
        if not self._alpha:
            result[live] = True
            return result
        travelled = np.zeros(len(live), np.float32)
        for _ in range(_MAX_SHADOW_LAYERS):
            if not len(live):
                break
            start = origins[live] + directions[live] * travelled[:, None]
            hit = self._scene.run(np.ascontiguousarray(start), np.ascontiguousarray(directions[live]), output=True)
            far = travelled + hit["tfar"]
            found = np.flatnonzero(hit["primID"] >= 0)
            prim = hit["primID"][found].astype(np.int64)
            passes = self._is_hole(prim, hit["u"][found], hit["v"][found])
            result[live[found[~passes]]] = True
            live, travelled = live[found[passes]], far[found[passes]] + _SKIP_MM
        result[live] = True  # behind so many layers of hair it is dark
        return result

    def bake_ambient(self, rng: np.random.Generator, rays: int = 4) -> None:
        """Measure, for every vertex whose mesh gives no ambient share, how much of its sky is free."""
        index = np.flatnonzero(self._baked)
        normal = self._normals[index]
        sphere = rng.standard_normal((rays, len(index), 3), np.float32)
        sphere /= np.linalg.norm(sphere, axis=2, keepdims=True)
        directions = (sphere + normal * 1.01).reshape(-1, 3)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        start = np.tile(self._vertices[index] + normal * 0.8, (rays, 1)).astype(np.float32)
        free = 1.0 - self.blocked(start, directions.astype(np.float32)).reshape(rays, -1).mean(axis=0)
        share = self._ambient.copy()
        share[index] = free
        corners = self._triangles
        for _ in range(5):  # smooth the few rays' noise along the mesh
            mean = share[corners].mean(axis=1)
            total = np.bincount(corners.ravel(), np.repeat(mean, 3), minlength=len(share))
            count = np.bincount(corners.ravel(), minlength=len(share))
            share = np.where(self._baked & (count > 0), total / np.maximum(count, 1), share)
        self._ambient = share.astype(np.float32)

    def _meets_box(self, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        near = np.zeros(len(origins), np.float32)
        far = np.full(len(origins), np.inf, np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            for axis in range(3):
                inverse = 1.0 / directions[:, axis]
                low = (self._low[axis] - origins[:, axis]) * inverse
                high = (self._high[axis] - origins[:, axis]) * inverse
                np.fmax(near, np.fmin(low, high), out=near)
                np.fmin(far, np.fmax(low, high), out=far)
        return far >= near

    def _is_hole(self, prim: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        material = self._material[prim]
        holes = np.zeros(len(prim), bool)
        candidates = np.flatnonzero(self._has_alpha[material])
        if not len(candidates):
            return holes
        corners = self._triangles[prim[candidates]]
        uv = self._texture_point(corners, u[candidates], v[candidates])
        for index, texture in self._alpha.items():
            mine = material[candidates] == index
            holes[candidates[mine]] = sample_nearest(texture, uv[mine]) < 0.5
        return holes

    def _texture_point(self, corners: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        around = self._uv[corners, 0]
        a, b, c = around.T
        seam = np.maximum(np.maximum(a, b), c) - np.minimum(np.minimum(a, b), c) > 0.5
        if seam.any():  # the triangle crosses u = 1: go on past it instead of back
            around = np.where(seam[:, None] & (around < 0.5), around + 1, around)
            a, b, c = around.T
        d, e, f = self._uv[corners, 1].T
        w = 1 - u - v
        return np.stack([a * w + b * u + c * v, d * w + e * u + f * v], 1)

    def _attributes(
        self, directions: np.ndarray, distance: np.ndarray, primitive: np.ndarray, bary: np.ndarray
    ) -> Hits:
        count = len(distance)
        hit = np.flatnonzero(primitive >= 0)
        material = np.full(count, -1, np.int16)
        normal = np.zeros((count, 3), np.float32)
        uv = np.zeros((count, 2), np.float32)
        ambient = np.ones(count, np.float32)
        if len(hit):
            prim, (u, v) = primitive[hit], bary[hit].T
            corners = self._triangles[prim]
            material[hit] = self._material[prim]
            n = _interpolate(self._normals, corners, u, v)
            n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-9)
            n[np.einsum("ij,ij->i", n, directions[hit]) > 0] *= -1
            normal[hit], uv[hit] = n, self._texture_point(corners, u, v)
            ambient[hit] = _interpolate(self._ambient[:, None], corners, u, v)[:, 0]
        return Hits(distance, material, normal, uv, ambient)


def sample_nearest(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Read a texture (H, W[, C]) at uv (N, 2); u wraps around, v is clamped."""
    height, width = texture.shape[:2]
    column = (np.floor(uv[:, 0] * width).astype(np.int64)) % width
    row = np.clip(np.floor(uv[:, 1] * height).astype(np.int64), 0, height - 1)
    return texture[row, column]


def _interpolate(values: np.ndarray, corners: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    a, b, c = values[corners[:, 0]], values[corners[:, 1]], values[corners[:, 2]]
    return a * (1 - u - v)[:, None] + b * u[:, None] + c * v[:, None]
