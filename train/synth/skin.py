# SPDX-License-Identifier: Apache-2.0
"""The skin's albedo: tone, blood, brows, lips, lash lines, stubble, spots, painted on the spherical texture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from train.synth.headmodel import HeadModel, sphere_uv
from train.synth.noise import blurred, fractal_noise, smoothstep

TEXTURE_HW = (512, 1024)  # 0.6 mm a texel on the face

# Linear RGB albedo of skin from very light to very dark, evenly spaced.
_TONES = np.array(
    [[0.74, 0.53, 0.43], [0.62, 0.40, 0.29], [0.42, 0.25, 0.165], [0.22, 0.12, 0.075], [0.085, 0.046, 0.031]]
)
# Linear RGB albedo of hair, with the probability of each before grey is mixed in.
HAIR_COLOURS = np.array(
    [
        [0.010, 0.008, 0.007],
        [0.025, 0.014, 0.009],
        [0.065, 0.035, 0.019],
        [0.14, 0.08, 0.042],
        [0.34, 0.22, 0.11],
        [0.19, 0.065, 0.024],
    ]
)
_UNDER_EYE_MM = np.array([0, -9, 0])
_HAIR_ODDS = np.array([0.33, 0.25, 0.18, 0.1, 0.1, 0.04])


@dataclass(frozen=True)
class SkinTraits:
    """What a subject keeps for life; colours are linear RGB albedos.

    Attributes:
        tone: 0 very light .. 1 very dark.
        blood: redness of cheeks, nose, ears, lips, 0..1.8.
        age: 0 young .. 1 old: spots, folds, dark circles, grey hair.
        brow_density: 0.2..1.5; above, the hairs are twice as thick.
        brow_width_mm: height of the brows.
        freckles: 0..1.
        hair_colour: (3,) of head hair; brows and beard are near it.
        iris_colour: (3,).
        seed: for the subject's own pattern of spots and brow hairs.
    """

    tone: float
    blood: float
    age: float
    brow_density: float
    brow_width_mm: float
    freckles: float
    hair_colour: tuple[float, float, float]
    iris_colour: tuple[float, float, float]
    seed: int


def sample_traits(rng: np.random.Generator) -> SkinTraits:
    """Draw a subject's traits; tones are drawn evenly, so that no group is rare."""
    tone = float(rng.uniform(0, 1))
    age = float(rng.beta(1.4, 1.6))
    odds = _HAIR_ODDS * np.array([1, 1, 1, 1 - tone * 0.9, max(0.0, 1 - 1.8 * tone), max(0.0, 1 - 1.8 * tone)])
    hair = HAIR_COLOURS[rng.choice(len(odds), p=odds / odds.sum())] * rng.uniform(0.7, 1.4)
    grey = np.clip(rng.normal(1.5 * age - 0.9, 0.25), 0, 0.95)
    hair = hair * (1 - grey) + np.array([0.42, 0.42, 0.41]) * grey
    light_eyes = rng.uniform() < 0.45 * (1 - tone)
    iris = (
        rng.uniform([0.08, 0.14, 0.16], [0.2, 0.3, 0.4])
        if light_eyes
        else rng.uniform(0.4, 1.3) * np.array([0.05, 0.025, 0.012])
    )
    return SkinTraits(
        tone=tone,
        blood=float(rng.uniform(0.2, 1.6)),
        age=age,
        brow_density=float(np.clip(rng.normal(0.9, 0.3), 0.15, 1.5)),
        brow_width_mm=float(rng.uniform(4.0, 11.0)),
        freckles=float(max(0.0, rng.normal(-0.4, 0.5)) * (1 - tone)),
        hair_colour=tuple(float(c) for c in hair),
        iris_colour=tuple(float(c) for c in iris),
        seed=int(rng.integers(2**31)),
    )


def skin_tone_albedo(tone: float) -> np.ndarray:
    """Interpolate the tone table: (3,) float64 linear RGB."""
    position = np.linspace(0, 1, len(_TONES))
    return np.array([np.interp(tone, position, _TONES[:, c]) for c in range(3)])


class FaceCanvas:
    """Places on the spherical texture where the features of the neutral head lie, in texels."""

    def __init__(self, model: HeadModel) -> None:
        self.marks_mm = model.landmarks(model.neutral)
        self.marks_px = self.texels(self.marks_mm)
        v, u = np.meshgrid(
            (np.arange(TEXTURE_HW[0]) + 0.5) / TEXTURE_HW[0],
            (np.arange(TEXTURE_HW[1]) + 0.5) / TEXTURE_HW[1],
            indexing="ij",
        )
        self.azimuth_deg = ((u - 0.5) * 360).astype(np.float32)
        self.elevation_deg = ((0.5 - v) * 180).astype(np.float32)

    @staticmethod
    def texels(points_mm: np.ndarray) -> np.ndarray:
        """Map points (N, 3) mm on the neutral head to texels (N, 2) float64 (column, row)."""
        return sphere_uv(np.atleast_2d(points_mm)).astype(np.float64) * [TEXTURE_HW[1], TEXTURE_HW[0]] - 0.5

    def filled(self, points_mm: np.ndarray, blur_px: float) -> np.ndarray:
        """Fill a polygon of surface points: (H, W) float32 0..1."""
        mask = np.zeros(TEXTURE_HW, np.float32)
        cv2.fillPoly(mask, [np.round(self.texels(points_mm) * 16).astype(np.int32)], 1.0, shift=4)
        return blurred(mask, blur_px)

    def spot(self, point_mm: np.ndarray, radius_mm: float) -> np.ndarray:
        """Draw a soft round spot (Gaussian of standard deviation radius_mm): (H, W) float32 0..1."""
        column, row = self.texels(point_mm)[0]
        x = np.exp(-0.5 * ((np.arange(TEXTURE_HW[1]) - column) / (radius_mm / 0.6)) ** 2).astype(np.float32)
        y = np.exp(-0.5 * ((np.arange(TEXTURE_HW[0]) - row) / (radius_mm / 0.6)) ** 2).astype(np.float32)
        return y[:, None] * x

    def line(self, points_px: np.ndarray, width_px: int, blur_px: float) -> np.ndarray:
        """Draw a polyline given in texels: (H, W) float32 0..1."""
        mask = np.zeros(TEXTURE_HW, np.float32)
        cv2.polylines(mask, [np.round(points_px * 16).astype(np.int32)], False, 1.0, width_px, cv2.LINE_AA, shift=4)
        return blurred(mask, blur_px)

    def beard_region(self) -> np.ndarray:
        """The part of the face where a beard grows, without the lips: (H, W) float32 0..1."""
        m = self.marks_mm
        under = m[1:16] + np.array([0, -24, -12])
        cheek = [
            m[16] * 0.4 + m[15] * 0.6,
            m[14] * 0.75 + m[54] * 0.25,
            m[54] * 0.65 + m[35] * 0.35,
            m[33] + [0, -1, 0],
        ]
        other = [m[48] * 0.65 + m[31] * 0.35, m[2] * 0.75 + m[48] * 0.25, m[0] * 0.4 + m[1] * 0.6]
        region = self.filled(np.concatenate([under, cheek, other]), 4.0)
        return region * (1 - self.filled(m[48:60], 1.2))

    def moustache_region(self) -> np.ndarray:
        """The strip between nose and upper lip: (H, W) float32 0..1."""
        m = self.marks_mm
        outline = [m[31] + [-4, -3, 0], m[33] + [0, -2, 0], m[35] + [4, -3, 0], m[54] + [5, -6, 0], m[54] + [3, 2, 0]]
        outline += [m[53], m[51], m[49], m[48] + [-3, 2, 0], m[48] + [-5, -6, 0]]
        return self.filled(np.array(outline), 1.8) * (1 - self.filled(m[48:60], 1.0))


def hairline_deg(
    azimuth_deg: np.ndarray, front_shift_deg: float, recede_deg: float, sideburn_deg: float = 0.0
) -> np.ndarray:
    """Give the lowest elevation (degrees) of the scalp's hair at each azimuth: forehead, temple, sideburn, nape.

    Args:
        azimuth_deg: where, of any shape.
        front_shift_deg: the forehead's, positive is higher.
        recede_deg: how far the temples have receded.
        sideburn_deg: how much farther down the sideburns reach; 25 is the earlobe's height.
    """
    a = np.abs(azimuth_deg)
    knots = [0, 22, 40, 54, 64, 72, 84, 100, 112, 124, 150, 180]
    front = 38 + front_shift_deg
    heights = [
        front,
        front + 0.6 * recede_deg,
        front - 5 + recede_deg,
        20 + 0.7 * recede_deg,
        8 - 0.4 * sideburn_deg,
        -6 - sideburn_deg,
        4 - 0.5 * sideburn_deg,
        8,
        -14,
        -26,
        -36,
        -38,
    ]
    return np.interp(a, knots, heights).astype(np.float32)


def paint_skin(
    canvas: FaceCanvas,
    traits: SkinTraits,
    *,
    infrared: bool,
    stubble: float,
    beard: np.ndarray,
    scalp: np.ndarray,
    makeup: float,
    rng: np.random.Generator,
    hair_floor: float = 0.10,
) -> np.ndarray:
    """Paint the albedo of the skin.

    Args:
        canvas: where the features lie.
        traits: the subject's.
        infrared: paint what a 940 nm camera sees (melanin and blood nearly vanish).
        stubble: darkness of shaved hair in the beard region, 0..1.
        beard: (H, W) float32 0..1 coverage of beard hair lying on the skin.
        scalp: (H, W) float32 0..1 coverage of short hair or shaved shadow on the scalp.
        makeup: 0..1: lips, lash lines.
        rng: for this sequence's variation; the subject's own pattern comes from traits.seed.
        hair_floor: albedo of black hair in the near infra-red, see `hair_albedo`.

    Returns:
        (512, 1024, 3) float32 linear RGB albedo.
    """
    own = np.random.default_rng(traits.seed)
    hair = hair_albedo(traits.hair_colour, infrared, hair_floor)
    base = np.full(3, 0.58 - 0.12 * traits.tone) if infrared else skin_tone_albedo(traits.tone)
    red = np.array([0.0, -0.02, -0.02]) if infrared else np.array([0.02, -0.10, -0.10]) * (1 - 0.75 * traits.tone)
    facial = np.minimum(hair, 0.45 * base)  # brows and stubble stay darker than the skin, whatever the head's hair
    # The order of what draws from `own` and `rng` is part of a seed's face.
    skin = np.broadcast_to(base.astype(np.float32), (*TEXTURE_HW, 3)).copy()
    skin += (traits.blood * 0.5 * _blush(canvas))[..., None] * red
    fine = _mottle(skin, traits, red, own)
    skin *= np.clip(_age_shades(canvas, traits, own), 0.3, 1.2)[..., None]
    skin *= (1 - (0.25 if infrared else 0.6) * _freckles(traits, own))[..., None]
    skin = _painted_lips(skin, canvas, _lip_colour(base, fine, makeup, infrared, rng))
    for lashes in _lashes(canvas, 0.75 + 0.25 * makeup):
        skin = _covered(skin, lashes, np.minimum(hair, 0.12))
    skin *= (1 - 0.75 * _nostrils(canvas))[..., None]
    skin = _covered(skin, brows(canvas, traits, own), facial)
    grain = 0.6 + 0.4 * np.tanh(fractal_noise(rng, TEXTURE_HW, (2.5, 2.0), 1))
    for cover, tint in ((stubble * 0.5 * canvas.beard_region(), facial), (0.93 * beard, hair), (scalp, hair)):
        skin = _covered(skin, np.clip(cover * grain * 1.15, 0, 0.97), tint.astype(np.float32))
    return np.clip(skin, 0.004, 0.95).astype(np.float32)


def _covered(skin: np.ndarray, cover: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Lay a colour, (3,) or (H, W, 3), over the skin, (H, W, 3), as far as (H, W) says."""
    amount = cover[..., None]
    return skin * (1 - amount) + amount * colour


def _blush(canvas: FaceCanvas) -> np.ndarray:
    """Return where blood shows, (H, W) from 0: cheeks, tip of the nose, chin, ears."""
    marks = canvas.marks_mm
    blush = sum(0.8 * canvas.spot(marks[i] * 0.5 + marks[j] * 0.5, 15) for i, j in ((31, 2), (35, 14)))
    blush = blush + 0.7 * canvas.spot(marks[30], 8) + 0.3 * canvas.spot(marks[8], 12)
    ears = smoothstep(np.abs(canvas.azimuth_deg), 76, 86) * smoothstep(-np.abs(canvas.azimuth_deg), -112, -100)
    return blush + 0.6 * ears * (np.abs(canvas.elevation_deg + 12) < 26)


def _mottle(skin: np.ndarray, traits: SkinTraits, red: np.ndarray, own: np.random.Generator) -> np.ndarray:
    """Make the skin uneven in place; return the finest of the noise, (H, W), which the lips share."""
    patches = fractal_noise(own, TEXTURE_HW, (60, 60), 3)
    fine = fractal_noise(own, TEXTURE_HW, (6, 6), 3)
    skin *= (1 + (0.02 + 0.025 * traits.age) * patches + 0.025 * fine)[..., None]
    skin += (0.12 * traits.blood * fractal_noise(own, TEXTURE_HW, (30, 30), 2) * 0.3)[..., None] * red
    return fine


def _age_shades(canvas: FaceCanvas, traits: SkinTraits, own: np.random.Generator) -> np.ndarray:
    """Return how bright the skin is left, (H, W) up to 1: under the eyes, in the folds of nose, mouth and forehead."""
    marks = canvas.marks_mm
    shade = 1.0 - (0.10 + 0.25 * traits.age) * own.uniform(0.2, 1.0) * sum(
        canvas.spot(marks[[a, b]].mean(0) + _UNDER_EYE_MM, 7) for a, b in ((40, 41), (46, 47))
    )
    for a, c, s in ((31, 48, -1), (35, 54, 1)):
        fold = np.stack([marks[a] + [2 * s, 3, 0], marks[c] + [6 * s, 9, 0], marks[c] + [6 * s, -4, 0]])
        shade = shade - 0.35 * traits.age * canvas.line(canvas.texels(fold), 2, 1.6)
    for row in range(int(traits.age * 5)):
        y = 78 + row * 8 + own.uniform(-2, 2)
        x = np.linspace(-42, 42, 9)
        line = np.stack([x, y + 3 * np.sin(x / 17 + own.uniform(0, 6)), np.sqrt(np.maximum(100**2 - x**2, 1))], 1)
        shade = shade - 0.22 * traits.age * canvas.line(canvas.texels(line), 2, 1.3)
    return shade


def _freckles(traits: SkinTraits, own: np.random.Generator) -> np.ndarray:
    """Draw freckles and moles, (H, W) float32 0..1."""
    spots = np.zeros(TEXTURE_HW, np.float32)
    count = int(own.integers(0, 9) + 260 * traits.freckles)
    for _ in range(count):
        at = (int(TEXTURE_HW[1] * own.uniform(0.3, 0.7)), int(TEXTURE_HW[0] * own.uniform(0.3, 0.78)))
        cv2.circle(spots, at, int(own.integers(1, 3)), float(own.uniform(0.2, 0.7)), -1, cv2.LINE_AA)
    return blurred(spots, 0.8)


def _lip_colour(
    base: np.ndarray, fine: np.ndarray, makeup: float, infrared: bool, rng: np.random.Generator
) -> np.ndarray:
    """Return the albedo of the lips, (H, W, 3)."""
    colour = base * (np.array([0.95, 0.93, 0.93]) if infrared else np.array([0.92, 0.62, 0.62]))
    if makeup > 0 and not infrared:
        colour = colour * (1 - makeup) + rng.uniform([0.25, 0.02, 0.03], [0.55, 0.16, 0.2]) * makeup
    return colour * (1 + 0.06 * fine[..., None])


def _painted_lips(skin: np.ndarray, canvas: FaceCanvas, colour: np.ndarray) -> np.ndarray:
    """Return the skin with lips of that colour, and the shadow between them."""
    skin = _covered(skin, 0.75 * canvas.filled(canvas.marks_mm[48:60], 1.0), colour)
    skin *= 1 - 0.5 * canvas.line(canvas.marks_px[[60, 61, 62, 63, 64]], 1, 0.7)[..., None]
    return skin


def _lashes(canvas: FaceCanvas, strength: float) -> Iterator[np.ndarray]:
    """Draw the lash lines of the right and the left eye, (H, W) 0..1 each; the lower one is fainter."""
    for upper, lower in (((36, 37, 38, 39), (39, 40, 41, 36)), ((42, 43, 44, 45), (45, 46, 47, 42))):
        cover = strength * canvas.line(canvas.marks_px[list(upper)] + [0, -1], 2, 0.6)
        yield np.maximum(cover, 0.35 * strength * canvas.line(canvas.marks_px[list(lower)] + [0, 1], 1, 0.6))


def _nostrils(canvas: FaceCanvas) -> np.ndarray:
    """Draw the nostrils, (H, W) 0..1."""
    return np.minimum(sum(canvas.spot(canvas.marks_mm[i] + [0, 1, 0], 2.2) for i in (32, 34)), 1)


def hair_albedo(colour: tuple[float, float, float], infrared: bool, floor: float = 0.10) -> np.ndarray:
    """Give the albedo of hair, (3,): at 940 nm melanin absorbs little and dark hair turns grey.

    Args:
        colour: of the hair in visible light.
        infrared: what a near infra-red camera sees.
        floor: albedo of black hair there; at 850 nm, or where the flash is all the light, it is nearly black.
    """
    if not infrared:
        return np.array(colour)
    return np.full(3, max(floor + 0.8 * float(np.mean(colour)), 0.008))


def brows(canvas: FaceCanvas, traits: SkinTraits, rng: np.random.Generator) -> np.ndarray:
    """Draw both eyebrows hair by hair: (H, W) float32 coverage 0..1."""
    mask = np.zeros(TEXTURE_HW, np.float32)
    arch = rng.normal(0, 1.5)
    for indices, side in (((17, 18, 19, 20, 21), -1), ((26, 25, 24, 23, 22), 1)):
        ridge = canvas.marks_px[list(indices)] + [0, rng.normal(0, 0.7)]
        ridge[2, 1] -= arch
        count = int(220 * traits.brow_density)
        t = rng.beta(1.2, 1.0, count)
        x, y = (np.interp(t, np.linspace(0, 1, 5), ridge[:, c]) for c in (0, 1))
        half = traits.brow_width_mm / 0.6 / 2 * (0.45 + 0.55 * t)
        y = y + rng.normal(0, 0.45, count) * half
        tilt = np.deg2rad(rng.normal(20 + 45 * t**4, 14))
        length, strength = rng.uniform(4, 10, count), rng.uniform(0.35, 0.9, count)
        start = np.round(np.stack([x, y], 1) * 16).astype(int)
        reach = np.stack([side * length * np.cos(tilt), -length * np.sin(tilt) * (1.2 * t - 0.3)], 1)
        end = np.round((np.stack([x, y], 1) + reach) * 16).astype(int)
        thickness = 2 if traits.brow_density > 1.5 else 1
        for a, b, level in zip(start.tolist(), end.tolist(), strength.tolist(), strict=True):
            cv2.line(mask, a, b, level, thickness, cv2.LINE_AA, 4)
    return np.clip(blurred(mask, 0.7) * 1.15, 0, 0.95)


def paint_eye(
    iris_colour: tuple[float, float, float], *, infrared: bool, pupil: float, rng: np.random.Generator
) -> np.ndarray:
    """Paint an eyeball seen from the front: (128, 128, 3) float32; the disc of radius 0.5 is its front half."""
    y, x = (np.mgrid[:128, :128] + 0.5) / 64 - 1
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    white = np.array([0.62, 0.6, 0.58]) * (0.7 if infrared else rng.uniform(0.75, 1.05))
    eye = np.broadcast_to(white, (128, 128, 3)).copy()
    if not infrared:
        eye[..., 1:] *= (1 - 0.25 * smoothstep(radius, 0.5, 1.0))[..., None]
    colour = np.full(3, rng.uniform(0.12, 0.3)) if infrared else np.array(iris_colour)
    rays = 1 + 0.35 * np.interp(angle, np.linspace(-np.pi, np.pi, 48), rng.uniform(-1, 1, 48))
    iris = colour * (rays * (0.75 + 0.5 * smoothstep(-radius, -0.42, -0.25)))[..., None]
    iris *= (1 - 0.75 * smoothstep(radius, 0.40, 0.49))[..., None]
    inside = smoothstep(-radius, -0.50, -0.46)[..., None]
    eye = eye * (1 - inside) + inside * iris
    hole = smoothstep(-radius, -(pupil + 0.02), -(pupil - 0.02))[..., None]
    return np.clip(eye * (1 - hole) + hole * 0.005, 0, 1).astype(np.float32)
