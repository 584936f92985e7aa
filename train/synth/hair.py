# SPDX-License-Identifier: Apache-2.0
"""Head hair and beards: fur shells grown from the scalp, curtains of long hair, and their textures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.synth.headmodel import PARTS, SPHERE_CENTRE_MM, HeadModel
from train.synth.mesh import Mesh, compact, grid_triangles, subdivided, vertex_normals
from train.synth.noise import blurred, fractal_noise, smoothstep, strands
from train.synth.skin import TEXTURE_HW, FaceCanvas, hairline_deg
from train.synth.tracer import sample_nearest


@dataclass(frozen=True)
class HairStyle:
    """How the head hair is cut.

    Attributes:
        kind: "bald", "shaved", "short", "medium", "afro", "long", or "cards" (a modelled hair style).
        thickness_mm: height of the hair over the scalp.
        front_shift_deg: hairline of the forehead, positive is higher.
        recede_deg: how far the temples have receded.
        fringe_mm: length of hair hanging over the forehead, 0 for none.
        length_mm: how far long hair reaches below the head's centre.
        opening_deg: azimuth where long hair begins beside the face.
        parting_deg: azimuth of the parting, shifts the volume to one side.
        waves: 0..1.
        card: name of the modelled style where kind is "cards".
        sweep: -1..1, the side over which the fringe falls, across an eye and down the cheek; 0 for a straight one.
        sideburn_deg: how much farther down than usual the sideburns reach.
        locks_mm: how far hair hangs down over the ear, beyond its upper 15 mm, on the face's right and left (in this
            order); 0 for none.
        nape_mm: how far short hair reaches below the skull's centre behind the ears; 0 for no farther than it grows.
        tucked_deg: how much farther back than opening_deg long hair begins, on the face's left and right (in this
            order).
    """

    kind: str
    thickness_mm: float = 0.0
    front_shift_deg: float = 0.0
    recede_deg: float = 0.0
    fringe_mm: float = 0.0
    length_mm: float = 0.0
    opening_deg: float = 60.0
    parting_deg: float = 0.0
    waves: float = 0.0
    card: str = ""
    sweep: float = 0.0
    sideburn_deg: float = 0.0
    locks_mm: tuple[float, float] = (0.0, 0.0)
    nape_mm: float = 0.0
    tucked_deg: tuple[float, float] = (0.0, 0.0)


_SHELL_HW = (256, 512)  # of a fur shell's textures
KINDS_MM = {  # thickness over the scalp, from and to
    "bald": (0, 0),
    "shaved": (1.5, 3),
    "short": (5, 18),
    "medium": (14, 34),
    "afro": (28, 75),
    "long": (8, 26),
    "cards": (3, 7),
}


def sample_style(rng: np.random.Generator, age: float, cards: list[str]) -> HairStyle:
    """Draw a hair style; long hair takes more than a third, because it covers most of the face's outline."""
    kinds = {
        "bald": 0.03 + 0.06 * age,
        "shaved": 0.07,
        "short": 0.26,
        "medium": 0.13,
        "afro": 0.06,
        "long": 0.25,
        "cards": 0.22 if cards else 0.0,
    }
    weights = np.array(list(kinds.values()))
    kind = str(rng.choice(list(kinds), p=weights / weights.sum()))
    return style_of_kind(rng, kind, age, cards)


def style_of_kind(rng: np.random.Generator, kind: str, age: float, cards: list[str]) -> HairStyle:
    """Draw a hair style of one of KINDS_MM; "cards" is one of the modelled styles `cards`."""
    low, high = KINDS_MM[kind]
    fringe = rng.uniform() < {"short": 0.3, "medium": 0.55, "long": 0.4}.get(kind, 0.0)
    return HairStyle(
        kind=kind,
        thickness_mm=float(rng.uniform(low, high)),
        front_shift_deg=float(rng.normal(0, 3.5)),
        recede_deg=float(max(0.0, rng.normal(8 * age - 1, 6))) if kind != "long" else 0.0,
        fringe_mm=float(rng.uniform(12, 48)) if fringe else 0.0,
        length_mm=float(rng.uniform(20, 240)),
        opening_deg=float(rng.uniform(46, 82)),
        parting_deg=float(rng.uniform(-50, 50)),
        waves=float(rng.uniform(0, 1)),
        card=str(rng.choice(cards)) if kind == "cards" else "",
    )


def swept_style(rng: np.random.Generator) -> HairStyle:
    """Draw a bob or long hair, close beside the face, its fringe swept to one side: half of them reach an eye."""
    return HairStyle(
        kind="long",
        thickness_mm=float(rng.uniform(6, 22)),
        front_shift_deg=float(rng.normal(0, 3.5)),
        fringe_mm=float(rng.uniform(55, 190)),
        length_mm=float(rng.uniform(30, 110) if rng.uniform() < 0.65 else rng.uniform(110, 240)),
        opening_deg=float(rng.uniform(30, 62)),
        parting_deg=float(rng.uniform(-50, 50)),
        waves=float(rng.uniform(0, 0.6)),
        sweep=float(rng.choice([-1, 1]) * rng.uniform(0.4, 1)),
    )


def modelled_style(rng: np.random.Generator, cards: list[str]) -> HairStyle:
    """Draw one of the modelled styles, over a thin cover of the scalp."""
    return HairStyle(
        kind="cards",
        thickness_mm=float(rng.uniform(3, 7)),
        front_shift_deg=float(rng.normal(0, 3.5)),
        waves=float(rng.uniform(0, 1)),
        card=str(rng.choice(cards)),
    )


def scalp_cover(canvas: FaceCanvas, style: HairStyle, rng: np.random.Generator) -> np.ndarray:
    """Where hair grows on the spherical texture: (512, 1024) float32 0..1, soft along the hairline."""
    if style.kind == "bald":
        crown_free = smoothstep(-canvas.elevation_deg, -20, -5) * (rng.uniform() < 0.7)
        return (0.35 * _above_hairline(canvas, style, rng) * crown_free).astype(np.float32)
    return _above_hairline(canvas, style, rng)


def _above_hairline(canvas: FaceCanvas, style: HairStyle, rng: np.random.Generator) -> np.ndarray:
    line = hairline_deg(canvas.azimuth_deg, style.front_shift_deg, style.recede_deg, style.sideburn_deg)
    ragged = 1.2 * fractal_noise(rng, TEXTURE_HW, (16, 10), 3)
    return smoothstep(canvas.elevation_deg - line + ragged, -1.0, 2.5).astype(np.float32)


def thickness_map(canvas: FaceCanvas, style: HairStyle, rng: np.random.Generator) -> np.ndarray:
    """Height of the hair over the scalp in mm on the spherical texture, (512, 1024) float32."""
    line = hairline_deg(canvas.azimuth_deg, style.front_shift_deg, style.recede_deg, style.sideburn_deg)
    above = canvas.elevation_deg - line
    rise = smoothstep(above, -0.5, 16 if style.kind != "shaved" else 4)
    rough = 0.5 if style.kind == "afro" else 1.0
    lumps = 1 + rough * (
        0.2 * fractal_noise(rng, TEXTURE_HW, (70, 90), 2) + 0.07 * fractal_noise(rng, TEXTURE_HW, (14, 10), 2)
    )
    top = 1.0 + (0.7 * smoothstep(canvas.elevation_deg, 10, 70) if style.kind in ("short", "medium") else 0.0)
    side = 1 + 0.35 * np.tanh((canvas.azimuth_deg - style.parting_deg) / 30) * smoothstep(canvas.elevation_deg, 20, 60)
    return np.clip(style.thickness_mm * rise * lumps * top * side, 0, None).astype(np.float32)


def shells(
    model: HeadModel, vertices: np.ndarray, thickness: np.ndarray, prefix: str, layers: int, *, least_mm: float = 0.6
) -> list[Mesh]:
    """Grow fur shells: copies of the skin, raised by shares of the thickness.

    Args:
        model: the head model.
        vertices: (V, 3) mm, the subject's shape.
        thickness: (512, 1024) float32, mm over the skin on the spherical texture.
        prefix: the layers' materials are called prefix0 (inside, opaque) .. prefix{layers - 1}.
        layers: number of shells.
        least_mm: skin with less hair than this carries no shell.

    Returns:
        One mesh a layer; empty where no skin carries hair.
    """
    skin = model.part_triangles("skin")
    height = blurred_lookup(thickness, model.sphere_uv)
    height[model.ear] = 0.0
    carried = (height[skin] > least_mm).any(axis=1) & ~model.ear[skin].any(axis=1)
    if not carried.any():
        return []
    normal = vertex_normals(vertices, skin)
    # Hair leans away from the skull's centre: smoother than the skin's own normals behind the ears and at the jaw.
    outward = vertices - SPHERE_CENTRE_MM
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    lean = 0.5 * normal + 0.5 * outward
    lean /= np.maximum(np.linalg.norm(lean, axis=1, keepdims=True), 1e-6)
    points, triangles, lean, height, uv = compact(vertices, skin[carried], lean, height, model.sphere_uv)
    turn = 2 * np.pi * uv[:, :1]
    around = np.hstack([np.cos(turn), np.sin(turn), uv[:, 1:]])  # u itself would run back where it wraps
    points, triangles, lean, height, around = subdivided(points, triangles, lean, height[:, None], around)
    u = np.arctan2(around[:, 1], around[:, 0]) / (2 * np.pi) % 1.0
    uv = np.stack([u, around[:, 2]], axis=1).astype(np.float32)
    out = []
    for layer in range(layers):
        share = 0.55 + 0.45 * ((layer + 1.0) / layers) if layers > 1 else 1.0
        raised = points + lean * height * share
        depth = 0.45 + 0.55 * share * np.ones(len(points), np.float32)
        out.append(Mesh(raised.astype(np.float32), triangles, uv, f"{prefix}{layer}", depth.astype(np.float32)))
    return out


def blurred_lookup(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Read a texture at vertices after a blur of two texels, so that a coarse mesh does not alias."""
    return sample_nearest(blurred(texture, 2.0), uv).astype(np.float32)


def shell_textures(
    rng: np.random.Generator, colour: np.ndarray, layers: int, waves: float
) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Make the albedo and the holes of fur shells.

    Returns:
        albedo of each layer (H, W, 3) float32, and each layer's alpha (H, W) float32, None for the inner one.
    """
    lock = strands(rng, _SHELL_HW, 2.0 + 2 * waves, 30 - 17 * waves)
    fine = strands(rng, _SHELL_HW, 1.3, 14)
    field = 0.5 * lock + 0.5 * fine
    albedo = (colour * (0.45 + 1.15 * field)[..., None]).astype(np.float32)
    alphas: list[np.ndarray | None] = [None]
    for layer in range(1, layers):
        alphas.append((field > 0.30 + 0.35 * layer / layers).astype(np.float32))
    return [np.clip(albedo, 0.003, 0.9)] * layers, alphas


def fringe(model: HeadModel, vertices: np.ndarray, style: HairStyle, rng: np.random.Generator) -> Mesh | None:
    """Hang hair over the forehead: a sheet from the hairline down, a few millimetres over the skin."""
    if style.fringe_mm <= 0:
        return None
    spread = rng.uniform(38, 62)
    columns, rows = 48, 14
    azimuth = np.linspace(-spread, spread, columns) + rng.uniform(-8, 8)
    start = hairline_deg(azimuth, style.front_shift_deg, style.recede_deg) + 9
    skin = skin_radius(model, vertices)
    swept = rng.uniform(-22, 22)
    jag = np.interp(np.arange(columns), np.linspace(0, columns, 15), rng.uniform(0.72, 1.15, 15))
    length_deg = np.rad2deg(style.fringe_mm / 95.0) * jag * np.cos(np.deg2rad(azimuth * 0.6)) ** 0.5 + 9
    t = np.linspace(0, 1, rows)[:, None]
    elevation = start[None] - t * length_deg[None]
    around = azimuth[None] + t * swept
    lift = style.thickness_mm * 0.6 * (1 - t) ** 1.5 + 4.0 + 2.5 * np.sin(np.pi * t) + rng.normal(0, 0.5, (1, columns))
    points = on_sphere(around, elevation, skin(around, elevation) + lift)
    return hanging_sheet(points, np.linspace(0, 0.35, columns)[None], t, 0.8)


def swept_fringe(model: HeadModel, vertices: np.ndarray, style: HairStyle, rng: np.random.Generator) -> list[Mesh]:
    """Part the hair and let both halves fall, the larger one across the forehead and an eye to the side of `sweep`."""
    skin = skin_radius(model, vertices)
    side = np.sign(style.sweep)
    parting = -side * rng.uniform(5, 32)  # the larger half begins beyond the middle
    out = []
    for large in (True, False):
        columns, rows = 48, 22
        s = np.linspace(0, 1, columns)[None]  # from the parting to the temple
        t = np.linspace(0, 1, rows)[:, None]
        to = side if large else -side
        temple = to * rng.uniform(60, 74)
        azimuth = parting + (temple - parting) * s
        start = hairline_deg(azimuth, style.front_shift_deg, style.recede_deg) + 12
        reach_mm = style.fringe_mm * (abs(style.sweep) * 0.6 + 0.4 if large else rng.uniform(0.3, 0.8))
        jag = np.interp(np.arange(columns), np.linspace(0, columns, 15), rng.uniform(0.85, 1.1, 15))
        # Near the parting the strands cross the forehead; towards the temple they hang down.
        length_deg = np.rad2deg(reach_mm / 95.0) * (0.35 + 0.65 * s**0.7) * jag + 12
        drift = to * rng.uniform(18, 42) * (1 - s) * t**0.7
        elevation = start - t * length_deg
        around = azimuth + drift
        bulge = rng.uniform(2, 11) * np.sin(np.pi * t**0.8)
        lift = style.thickness_mm * 0.7 * (1 - t) ** 1.2 + 3.5 + bulge + rng.normal(0, 0.5, (1, columns))
        points = on_sphere(around, elevation, skin(around, elevation) + lift)
        out.append(hanging_sheet(points, 0.4 * s + (0.0 if large else 0.5), 0.05 + 0.95 * t, 0.8))
    return out


def curtain(model: HeadModel, vertices: np.ndarray, style: HairStyle, rng: np.random.Generator) -> list[Mesh]:
    """Let long hair fall around the head in two sheets, open in front of the face."""
    skin = skin_radius(model, vertices)
    out = []
    for sheet in range(2):
        columns, rows = 72, 40
        opening = style.opening_deg + sheet * rng.uniform(2, 10)
        left = opening + rng.uniform(-10, 10) + style.tucked_deg[0]
        right = opening + rng.uniform(-10, 10) + style.tucked_deg[1]
        azimuth = np.linspace(left, 360 - right, columns)
        parting = style.parting_deg
        t = np.linspace(0, 1, rows)[:, None]
        crown = 78.0
        bottom_mm = -style.length_mm * (0.8 + 0.2 * rng.uniform(size=columns)) - 20 * sheet
        # From the crown down along the skull to the widest ring, then straight down.
        split = 0.45
        elevation = np.where(t < split, crown + (0 - crown) * (t / split), 0.0)
        around = azimuth[None] + (1 - t) ** 2 * parting * 0.4 * np.cos(np.deg2rad(azimuth[None]))
        over_ear = 12 * np.exp(-(((np.abs(((around + 180) % 360) - 180) - 92) / 26) ** 2))
        lift = style.thickness_mm * (0.55 + 0.3 * sheet) + over_ear + 3
        waviness = style.waves * 5 * np.sin(t * rng.uniform(12, 30) + np.deg2rad(azimuth[None]) * rng.integers(5, 14))
        lift = lift + waviness * smoothstep(t, 0.25, 0.6) + rng.normal(0, 1.2, (1, columns)) * t
        points = on_sphere(around, elevation, skin(around, elevation) + lift).reshape(rows, columns, 3)
        below = np.clip((t[:, 0] - split) / (1 - split), 0, 1)
        for row in np.flatnonzero(below > 0):
            share = below[row]
            points[row, :, 1] = SPHERE_CENTRE_MM[1] + (bottom_mm - SPHERE_CENTRE_MM[1]) * share
            narrow = 1 - rng.uniform(0.04, 0.1) * np.sin(np.pi * min(share * 1.3, 1)) + 0.12 * share
            points[row, :, 0] *= narrow
            points[row, :, 2] = SPHERE_CENTRE_MM[2] + (points[row, :, 2] - SPHERE_CENTRE_MM[2]) * narrow - 6 * share
        out.append(
            hanging_sheet(points.reshape(-1, 3), np.linspace(0, 1, columns)[None] * 0.98, t, 0.55 + 0.35 * sheet)
        )
    return out


def hanging_sheet(points: np.ndarray, u: np.ndarray, v: np.ndarray, shade: float) -> Mesh:
    """Make hanging hair of points (rows * columns, 3) mm, with texture coordinates u (1, columns) and v (rows, 1)."""
    uv = np.stack(np.broadcast_arrays(u, v), -1).reshape(-1, 2).astype(np.float32)
    triangles = grid_triangles(v.shape[0], u.shape[1])
    return Mesh(points.astype(np.float32), triangles, uv, "hair_sheet", np.full(len(points), shade, np.float32))


def sheet_texture(rng: np.random.Generator, colour: np.ndarray, waves: float) -> tuple[np.ndarray, np.ndarray]:
    """Albedo (256, 1024, 3) and alpha (256, 1024) of hanging hair: strands along v, ragged at the lower end."""
    hw = (256, 1024)
    lock, fine = strands(rng, hw, 14.0, 120 - 60 * waves), strands(rng, hw, 2.2, 80)
    field = 0.55 * lock + 0.45 * fine
    albedo = np.clip(colour * (0.4 + 1.2 * field)[..., None], 0.003, 0.9).astype(np.float32)
    v = np.linspace(0, 1, hw[0], dtype=np.float32)[:, None]
    alpha = (field > 0.08 + 0.75 * smoothstep(v, 0.72, 1.0)).astype(np.float32)
    return albedo, alpha


def skin_radius(model: HeadModel, vertices: np.ndarray):
    """Return radius(azimuth_deg, elevation_deg) in mm of the subject's skin without ears, smooth."""
    index = np.flatnonzero(~model.ear[: PARTS["skin"][1] + 1] & (model.neutral[: PARTS["skin"][1] + 1, 1] > -95))
    uv = model.sphere_uv[index]
    radius = np.linalg.norm(vertices[index] - SPHERE_CENTRE_MM, axis=1)
    rows, columns = 48, 96
    cell = (np.clip((uv[:, 1] * rows).astype(int), 0, rows - 1), (uv[:, 0] * columns).astype(int) % columns)
    total, count = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    np.add.at(total, cell, radius)
    np.add.at(count, cell, 1)
    for _ in range(6):  # fill the empty cells from their neighbours
        spread_total = blurred(np.hstack([total] * 3), 1.2)[:, columns : 2 * columns]
        spread_count = blurred(np.hstack([count] * 3), 1.2)[:, columns : 2 * columns]
        empty = count < 0.5
        total = np.where(empty, spread_total / np.maximum(spread_count, 1e-6), total)
        count = np.where(empty & (spread_count > 1e-3), 1.0, count)
    grid = blurred(np.hstack([total / np.maximum(count, 1e-6)] * 3), 0.9)[:, columns : 2 * columns]

    def radius_at(azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
        u, v = np.broadcast_arrays(azimuth_deg / 360 + 0.5, 0.5 - elevation_deg / 180)
        x, y = u * columns - 0.5, np.clip(v * rows - 0.5, 0, rows - 1.001)
        x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
        fx, fy = x - x0, y - y0
        top = grid[y0, x0 % columns] * (1 - fx) + grid[y0, (x0 + 1) % columns] * fx
        low = grid[y0 + 1, x0 % columns] * (1 - fx) + grid[y0 + 1, (x0 + 1) % columns] * fx
        return top * (1 - fy) + low * fy

    return radius_at


def on_sphere(azimuth_deg: np.ndarray, elevation_deg: np.ndarray, radius_mm: np.ndarray) -> np.ndarray:
    """Place points (N, 3) float32 mm at azimuth, elevation and distance from the skull's centre, flattened."""
    a, e, r = np.broadcast_arrays(np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg), radius_mm)
    points = np.stack([r * np.cos(e) * np.sin(a), r * np.sin(e), r * np.cos(e) * np.cos(a)], -1).reshape(-1, 3)
    return (points + SPHERE_CENTRE_MM).astype(np.float32)
