# SPDX-License-Identifier: Apache-2.0
"""The picture: parts and lights go into Mitsuba's path tracer, linear radiance comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from facedepth_edge.errors import BackendUnavailable
from train.crosscheck.parts import Part
from train.synth.mesh import vertex_normals

_DEPTH = 3  # light that came by at most two surfaces


@dataclass(frozen=True)
class Panel:
    """A shining disc.

    Attributes:
        position: (3,) mm, camera frame.
        target: (3,) mm, what it is turned to.
        radius_mm: its size.
        radiance: (3,) linear RGB.
    """

    position: np.ndarray
    target: np.ndarray
    radius_mm: float
    radiance: np.ndarray


@dataclass(frozen=True)
class Light:
    """All the light of a frame.

    Attributes:
        sky: (H, W, 3) float32 environment, latitude by longitude, +y of the camera frame downwards.
        panels: further lights.
    """

    sky: np.ndarray
    panels: tuple[Panel, ...]


class PathTracer:
    """Mitsuba 3.

    Args:
        variant: its variant; `scalar_rgb` needs nothing else, `llvm_ad_rgb` is faster and needs LLVM (17 or later).
        threads: how many to use.

    Raises:
        BackendUnavailable: the package `mitsuba` or the variant is missing.
    """

    def __init__(self, variant: str = "scalar_rgb", threads: int = 1) -> None:
        how = "pip install -e '.[train,crosscheck]'"
        try:
            import drjit
            import mitsuba
        except ImportError as error:
            raise BackendUnavailable.of("train.crosscheck", "no package mitsuba", "mitsuba >= 3.5", how) from error
        if variant not in mitsuba.variants():
            raise BackendUnavailable.of("train.crosscheck", f"variant {variant}", f"one of {mitsuba.variants()}", how)
        mitsuba.set_variant(variant)
        drjit.set_thread_count(threads)
        self._mi: Any = mitsuba

    def render(
        self,
        parts: list[Part],
        light: Light,
        focal_px: float,
        principal_xy: tuple[float, float],
        side_px: int,
        samples: int,
        seed: int,
    ) -> np.ndarray:
        """Render a square picture.

        Args:
            parts: the scene, camera frame (x right, y down, z forward, mm).
            light: what shines.
            focal_px, principal_xy: the pinhole camera in the picture's pixels; pixel i covers [i, i + 1).
            side_px: rows and columns.
            samples: paths a pixel.
            seed: of the paths.

        Returns:
            (side, side, 3) float32 linear RGB radiance.
        """
        mi = self._mi
        scene: dict[str, Any] = {
            "type": "scene",
            "integrator": {"type": "path", "max_depth": _DEPTH},
            "sensor": {
                "type": "perspective",
                "fov_axis": "x",
                "fov": math.degrees(2 * math.atan(side_px / 2 / focal_px)),
                "principal_point_offset_x": (side_px / 2 - principal_xy[0]) / side_px,
                "principal_point_offset_y": (side_px / 2 - principal_xy[1]) / side_px,
                "near_clip": 10.0,
                "far_clip": 1e5,
                "to_world": mi.ScalarTransform4f().look_at(origin=[0, 0, 0], target=[0, 0, 1], up=[0, -1, 0]),
                "film": {
                    "type": "hdrfilm",
                    "width": side_px,
                    "height": side_px,
                    "rfilter": {"type": "box"},
                    "pixel_format": "rgb",
                },
                "sampler": {"type": "multijitter", "sample_count": samples},
            },
            "sky": {
                "type": "envmap",
                "bitmap": mi.Bitmap(np.ascontiguousarray(light.sky, np.float32)),
                "to_world": mi.ScalarTransform4f().rotate([1, 0, 0], 180),
            },
        }
        for number, panel in enumerate(light.panels):
            place = mi.ScalarTransform4f().look_at(
                origin=panel.position.tolist(), target=panel.target.tolist(), up=[0.01, 1, 0.02]
            ) @ mi.ScalarTransform4f().scale(panel.radius_mm)
            shine = {"type": "rgb", "value": np.asarray(panel.radiance, float).tolist()}
            scene[f"panel{number}"] = {
                "type": "disk",
                "to_world": place,
                "emitter": {"type": "area", "radiance": shine},
            }
        for number, part in enumerate(parts):
            scene[f"part{number}"] = self._mesh(f"part{number}", part)
        image = mi.render(mi.load_dict(scene), spp=samples, seed=seed)
        return np.nan_to_num(np.array(image, dtype=np.float32), posinf=0.0, neginf=0.0)

    def _mesh(self, name: str, part: Part) -> Any:
        mi = self._mi
        colour = {"type": "mesh_attribute", "name": "vertex_color"}
        inner: dict[str, Any] = {"type": "diffuse", "reflectance": colour}
        if part.specular > 0:
            inner = {"type": "principled", "base_color": colour, "roughness": float(part.roughness)}
            inner["specular"] = float(part.specular)
        bsdf = {"type": "twosided", "inner": inner}
        properties = mi.Properties()
        properties["bsdf"] = mi.load_dict(bsdf)
        properties["face_normals"] = not part.smooth
        mesh = mi.Mesh(
            name,
            vertex_count=len(part.vertices),
            face_count=len(part.triangles),
            has_vertex_normals=part.smooth,
            has_vertex_texcoords=False,
            props=properties,
        )
        mesh.add_attribute("vertex_color", 3, np.ascontiguousarray(part.colour, np.float32).ravel())
        values = mi.traverse(mesh)
        values["vertex_positions"] = np.ascontiguousarray(part.vertices, np.float32).ravel()
        values["faces"] = np.ascontiguousarray(part.triangles, np.uint32).ravel()
        if part.smooth:
            normals = vertex_normals(part.vertices.astype(np.float32), part.triangles)
            values["vertex_normals"] = np.ascontiguousarray(normals, np.float32).ravel()
        values.update()
        return mesh
