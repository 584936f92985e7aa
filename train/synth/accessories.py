# SPDX-License-Identifier: Apache-2.0
"""What is worn on the head: glasses, sunglasses, face masks, caps, beanies, head scarves."""

from __future__ import annotations

import numpy as np

from train.synth.hair import on_sphere, skin_radius
from train.synth.headmodel import HeadModel
from train.synth.mesh import Mesh, compact, grid_triangles, tube, vertex_normals
from train.synth.noise import smoothstep


def glasses(model: HeadModel, vertices: np.ndarray, rng: np.random.Generator, *, lenses: str) -> list[Mesh]:
    """Put a pair of glasses on the nose.

    Args:
        model: the head model.
        vertices: (V, 3) mm, the subject's shape.
        rng: shape of the frame.
        lenses: "clear" (only the frame takes part in depth and shading) or "dark".

    Returns:
        Meshes of materials "frame" and, for dark ones, "dark_lens".
    """
    marks = model.landmarks(vertices)
    eyes = [marks[36:42].mean(0), marks[42:48].mean(0)]
    bridge = marks[27] + [0, rng.uniform(-5, 2), rng.uniform(3, 6)]
    half_w, half_h = rng.uniform(19, 28), rng.uniform(13, 24)
    power = rng.uniform(2.0, 4.5)  # 2 round .. 4.5 nearly rectangular
    wire = rng.uniform(0.8, 2.6)
    angle = np.linspace(0, 2 * np.pi, 41)
    frames, lens_meshes = [], []
    for eye, side in zip(eyes, (-1, 1), strict=True):
        centre = np.array([side * max(abs(eye[0]), half_w + 7), eye[1] - 2, 0.0])
        x = centre[0] + half_w * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / power)
        y = centre[1] + half_h * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / power)
        z = bridge[2] - 0.0035 * x**2 - 0.06 * (centre[1] - y)
        rim = np.stack([x, y, z], 1)
        frames.append(tube(rim, wire, 6))
        hinge = np.array([side * (abs(centre[0]) + half_w), centre[1] + half_h * 0.5, 0.0])
        hinge[2] = bridge[2] - 0.0035 * hinge[0] ** 2
        tragus = vertices[model.tragi[1 if side < 0 else 0]]
        ear = tragus + np.array([side * 2.0, 22.0, -8.0])
        ear[0] = side * max(abs(ear[0]), abs(hinge[0]) - 2)
        path = np.stack([hinge + (ear - hinge) * t for t in np.linspace(0, 1, 7)])
        frames.append(tube(path, wire * 0.9, 6))
        if lenses == "dark":
            ring = np.linspace(0, 1, 6)[:, None, None] * (rim - rim.mean(0))[None] + rim.mean(0)
            ring[..., 2] = bridge[2] - 0.0035 * ring[..., 0] ** 2 - 0.06 * (centre[1] - ring[..., 1])
            uv = np.zeros((ring.shape[0] * ring.shape[1], 2), np.float32)
            lens_meshes.append(Mesh(ring.reshape(-1, 3).astype(np.float32), grid_triangles(6, 41), uv, "dark_lens"))
    nose = np.array([[-8, 0, 0], [-4, 2, 1.5], [0, 3, 2], [4, 2, 1.5], [8, 0, 0]]) + bridge - [0, 0, 1]
    frames.append(tube(nose, wire, 6))
    return [Mesh(v, t, uv, "frame") for v, t, uv in frames] + lens_meshes


def face_mask(model: HeadModel, vertices: np.ndarray, rng: np.random.Generator) -> list[Mesh]:
    """Cover nose, mouth and chin with a mask a few millimetres over the skin, with ear loops."""
    skin = model.part_triangles("skin")
    neutral = model.neutral
    marks = model.landmarks(neutral)
    nose_top = marks[28 if rng.uniform() < 0.5 else 29][1]
    x, y, z = neutral.T
    top = nose_top - 0.16 * np.abs(x) - 0.0020 * x**2
    covered = (y < top) & (y > -84) & (z > 38 - 0.15 * np.minimum(y, 0)) & (np.arange(len(neutral)) < 9409)
    chosen = skin[covered[skin].all(axis=1)]
    normal = vertex_normals(vertices, skin)
    smooth = vertices - np.array([0, -35, 20], np.float32)
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True)
    lift = rng.uniform(3, 7) + rng.uniform(3, 9) * np.exp(-(((y + 45) / 28) ** 2) - (x / 45) ** 2)
    raised = vertices + (0.4 * normal + 0.6 * smooth) * lift[:, None]
    # The cloth spans the mouth: no dip between nose and chin.
    span = np.clip(1 - np.abs(y + 30) / 35, 0, 1) * np.exp(-((x / 30) ** 2))
    raised[:, 2] += 5 * span
    points, triangles, uv = compact(raised.astype(np.float32), chosen, model.sphere_uv)
    out = [Mesh(points, triangles, uv, "mask_cloth")]
    for side, tragus in zip((1, -1), model.tragi, strict=True):
        ear = vertices[tragus] + np.array([side * 8, 12, -14])
        edge = points[(np.sign(points[:, 0]) == side)]
        for corner in (
            edge[(edge[:, 1] + np.abs(edge[:, 0])).argmax()],
            edge[(np.abs(edge[:, 0]) - edge[:, 1]).argmax()],
        ):
            bow = (ear + corner) / 2 + np.array([side * 5, 0, 0])
            v, t, tuv = tube(np.stack([corner, bow, ear]), 1.3, 5)
            out.append(Mesh(v, t, tuv, "mask_cloth"))
    return out


def cap(model: HeadModel, vertices: np.ndarray, rng: np.random.Generator, *, hair_mm: float) -> list[Mesh]:
    """Put on a cap with a visor."""
    dome = _dome(
        model,
        vertices,
        rng,
        edge_front=rng.uniform(28, 40),
        edge_back=rng.uniform(-6, 14),
        lift=hair_mm * 0.5 + rng.uniform(4, 8),
        tall=rng.uniform(6, 26),
    )
    skin = skin_radius(model, vertices)
    edge = rng.uniform(30, 40)
    azimuth = np.linspace(-62, 62, 25)
    t = np.linspace(0, 1, 7)[:, None]
    inner = on_sphere(azimuth, np.full(25, edge), skin(azimuth, np.full(25, edge)) + hair_mm * 0.5 + 5)
    reach = rng.uniform(55, 80) * np.cos(np.deg2rad(azimuth * 1.35)).clip(0.05)
    droop = rng.uniform(-30, 12)
    points = inner[None] + t[..., None] * np.stack(
        [0.15 * inner[:, 0], np.full(25, droop) - 0.004 * inner[:, 0] ** 2, reach], 1
    )
    uv = np.zeros((7 * 25, 2), np.float32)
    return [dome, Mesh(points.reshape(-1, 3).astype(np.float32), grid_triangles(7, 25), uv, "hat_cloth")]


def beanie(model: HeadModel, vertices: np.ndarray, rng: np.random.Generator, *, hair_mm: float) -> list[Mesh]:
    """Put on a knitted hat that covers the upper head, sometimes the ears."""
    low = rng.uniform(-25, 10)
    return [
        _dome(
            model,
            vertices,
            rng,
            edge_front=rng.uniform(24, 40),
            edge_back=low,
            lift=hair_mm * 0.4 + rng.uniform(4, 11),
            tall=rng.uniform(0, 45),
        )
    ]


def head_scarf(model: HeadModel, vertices: np.ndarray, rng: np.random.Generator) -> list[Mesh]:
    """Wrap head and neck in a scarf or a hood that leaves the face open."""
    skin = skin_radius(model, vertices)
    rows, columns = 40, 80
    opening_side, opening_top = rng.uniform(50, 66), rng.uniform(30, 40)
    lift = rng.uniform(6, 16)
    theta = np.linspace(0, 2 * np.pi, columns, endpoint=False)  # around the opening of the face
    t = np.linspace(0, 1, rows)[:, None]
    chin = -rng.uniform(58, 66)
    rim_azimuth = opening_side * np.sin(theta)
    rim_elevation = np.where(np.cos(theta) > 0, opening_top * np.cos(theta), -chin * np.cos(theta))
    direction = np.stack(
        [
            np.cos(np.deg2rad(rim_elevation)) * np.sin(np.deg2rad(rim_azimuth)),
            np.sin(np.deg2rad(rim_elevation)),
            np.cos(np.deg2rad(rim_elevation)) * np.cos(np.deg2rad(rim_azimuth)),
        ],
        1,
    )
    back = np.array([0, -0.35, -1.0])
    path = direction[None] * np.cos(t * np.pi / 2)[..., None] ** 0.8 + back * np.sin(t * np.pi / 2)[..., None]
    side = path - (path @ (back / np.linalg.norm(back)))[..., None] * back / np.linalg.norm(back)
    path += side * np.sin(np.pi * t)[..., None] * 0.9
    path /= np.linalg.norm(path, axis=-1, keepdims=True)
    azimuth = np.rad2deg(np.arctan2(path[..., 0], path[..., 2]))
    elevation = np.rad2deg(np.arcsin(np.clip(path[..., 1], -1, 1)))
    fold = 2.5 * np.sin(theta[None] * rng.integers(7, 15) + 5 * t) * smoothstep(t, 0.05, 0.4)
    ears = 9 * np.exp(-(((np.abs(azimuth) - 88) / 22) ** 2) - ((elevation + 8) / 25) ** 2)
    points = on_sphere(
        azimuth, elevation, skin(azimuth, np.maximum(elevation, -58)) + lift * (0.4 + 0.6 * t) + fold + ears
    )
    uv = np.stack(np.broadcast_arrays(theta[None] / (2 * np.pi), t), -1).reshape(-1, 2).astype(np.float32)
    wrap = Mesh(points, grid_triangles(rows, columns, closed=True), uv, "hat_cloth")
    heights = np.linspace(0, 1, 14)[:, None]
    ring = np.linspace(0, 2 * np.pi, 48, endpoint=False)[None]
    radius_x, radius_z = 66 + 45 * heights**2, 72 + 30 * heights**2
    crease = 1 + 0.04 * np.sin(ring * 9 + heights * 12)
    neck = np.stack(
        np.broadcast_arrays(
            radius_x * crease * np.sin(ring),
            -62 - 75 * heights + 8 * np.cos(ring),
            8 + radius_z * crease * np.cos(ring),
        ),
        -1,
    )
    nuv = np.stack(np.broadcast_arrays(ring / (2 * np.pi), heights), -1).reshape(-1, 2).astype(np.float32)
    # the same cloth, but on neck and shoulders it is no head
    return [wrap, Mesh(neck.reshape(-1, 3).astype(np.float32), grid_triangles(14, 48, closed=True), nuv, "hat_cape")]


def _dome(
    model: HeadModel,
    vertices: np.ndarray,
    rng: np.random.Generator,
    *,
    edge_front: float,
    edge_back: float,
    lift: float,
    tall: float,
) -> Mesh:
    skin = skin_radius(model, vertices)
    rows, columns = 22, 72
    azimuth = np.linspace(-180, 180, columns, endpoint=False)
    share = (1 - np.cos(np.deg2rad(azimuth))) / 2
    edge = edge_front + (edge_back - edge_front) * smoothstep(share, 0.0, 0.75)
    t = np.linspace(0, 1, rows)[:, None]
    elevation = edge[None] + (89 - edge[None]) * t
    bumps = 0.8 * np.sin(np.deg2rad(azimuth[None]) * rng.integers(20, 60)) * (1 - t)
    ears = 7 * np.exp(-(((np.abs(azimuth[None]) - 88) / 22) ** 2)) * smoothstep(-elevation, -20, 10)
    radius = skin(azimuth[None], elevation) + lift + bumps + ears + tall * t**2
    points = on_sphere(azimuth[None], elevation, radius)
    uv = np.stack(np.broadcast_arrays(azimuth[None] / 360 + 0.5, t), -1).reshape(-1, 2).astype(np.float32)
    return Mesh(points, grid_triangles(rows, columns, closed=True), uv, "hat_cloth")
