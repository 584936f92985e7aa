# SPDX-License-Identifier: Apache-2.0
"""Puts a subject together: meshes and textures of one sequence, scenes of one expression, and the body of one pose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from train.synth import accessories, body, hair, hair_ears
from train.synth.hair_cards import CardHair, fitted
from train.synth.headmodel import PARTS, HeadModel
from train.synth.materials import MATERIAL_NAMES, cloth, flat
from train.synth.mesh import Mesh, compact, vertex_normals
from train.synth.noise import filtered
from train.synth.skin import TEXTURE_HW, FaceCanvas, hair_albedo, paint_eye, paint_skin, skin_tone_albedo
from train.synth.streams import Stream
from train.synth.subject import Outfit, Subject, portrait_traits, shows_teeth
from train.synth.tongue import Tongue, tongue_mesh
from train.synth.tracer import TraceScene

_NECK_PIVOT_MM = np.array([0.0, -95.0, -15.0])
_FINE = {"eye"}  # textures that are already as coarse as a picture shows them
_SHELL_LAYERS = 3
_UNDER_HAT_MM = 6.0  # the most hair that a hat leaves


@dataclass(frozen=True)
class Wardrobe:
    """All that stays the same in one sequence.

    Attributes:
        textures: material name -> (H, W, 3) float32 albedo.
        alpha: material name -> (H, W) float32; where it is under 0.5 the surface has a hole.
        hair_mm, beard_mm: (512, 1024) float32 heights over the skin.
        torso: in its own frame.
        seat: meshes in the torso's frame.
    """

    textures: dict[str, np.ndarray]
    alpha: dict[str, np.ndarray]
    hair_mm: np.ndarray
    beard_mm: np.ndarray
    torso: body.Torso
    seat: list[Mesh]


@dataclass(frozen=True)
class PosedHead:
    """One expression of a subject in an outfit: the head's scene and the neck that bends with the pose.

    Attributes:
        scene: everything rigid with the head.
        vertices: (V, 3) mm, all of the head model.
        neck: triangles (T, 3) of the neck and shoulders' skin.
        centre_mm: (3,) the head centre in the head's frame.
    """

    scene: TraceScene
    vertices: np.ndarray
    neck: np.ndarray
    centre_mm: np.ndarray


def dress(
    canvas: FaceCanvas, subject: Subject, outfit: Outfit, cards: dict[str, CardHair], painted: bool = True
) -> Wardrobe:
    """Paint the textures and sew the clothes of one sequence; without painting there are only the holes in the hair."""
    rng = np.random.default_rng(outfit.seed)
    if outfit.bare and not painted:
        nothing = np.zeros(TEXTURE_HW, np.float32)
        return Wardrobe({}, {}, nothing, nothing, body.torso(rng), [])
    infrared = outfit.infrared
    colour = hair_albedo(outfit.hair_colour, infrared, outfit.hair_floor)
    beard_region = canvas.moustache_region() if outfit.beard == "moustache" else canvas.beard_region()
    beard_mm = np.zeros(TEXTURE_HW, np.float32)
    beard_cover = np.zeros(TEXTURE_HW, np.float32)
    if outfit.beard_mm > 0:
        beard_cover = beard_region
        low = np.clip(-canvas.elevation_deg / 45, 0.25, 1.3)
        beard_mm = outfit.beard_mm * low * np.clip(beard_region * 1.4 - 0.4, 0, 1)
    hair_mm = hair.thickness_map(canvas, outfit.style, rng)
    if outfit.hat != "none":
        hair_mm = np.minimum(hair_mm, _UNDER_HAT_MM)
    base = np.full(3, 0.5) if infrared else skin_tone_albedo(subject.traits.tone)
    textures: dict[str, np.ndarray] = {}
    if painted:
        scalp = hair.scalp_cover(canvas, outfit.style, rng)
        textures["skin"] = paint_skin(
            canvas,
            portrait_traits(subject.traits, outfit.seed) if outfit.portrait else subject.traits,
            infrared=infrared,
            stubble=float(outfit.beard != "none") * rng.uniform(0.2, 1.0),
            beard=beard_cover,
            scalp=0.92 * scalp,
            makeup=outfit.makeup,
            rng=rng,
            hair_floor=outfit.hair_floor,
        )
    alpha: dict[str, np.ndarray] = {}
    for prefix, tint, waves in (("hair", colour, outfit.style.waves), ("beard", colour * rng.uniform(0.7, 1.3), 0.5)):
        albedos, alphas = hair.shell_textures(rng, tint, _SHELL_LAYERS, waves)
        for layer, (layer_albedo, layer_alpha) in enumerate(zip(albedos, alphas, strict=True)):
            textures[f"{prefix}{layer}"] = layer_albedo
            if layer_alpha is not None:
                alpha[f"{prefix}{layer}"] = layer_alpha
    textures["hair_sheet"], alpha["hair_sheet"] = hair.sheet_texture(rng, colour, outfit.style.waves)
    if outfit.style.card:
        card = cards[outfit.style.card]
        textures["hair_card"] = np.clip(card.shade[..., None] * colour, 0.003, 0.9).astype(np.float32)
        alpha["hair_card"] = card.alpha
    else:
        textures["hair_card"] = flat(colour)
    if painted:
        textures |= _paint_features_and_cloth(subject, outfit, base, rng)
        textures = {name: paint if name in _FINE else filtered(paint) for name, paint in textures.items()}
        textures |= {"neck": textures["skin"], "hat_cape": textures["hat_cloth"]}
    torso, seat = body.torso(rng), body.headrest(rng) if outfit.seat else []
    return Wardrobe(textures if painted else {}, alpha, hair_mm, beard_mm, torso, seat)


def _paint_features_and_cloth(
    subject: Subject, outfit: Outfit, skin: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Paint all but skin and hair: eyes, mouth, what is worn and what is held before the face."""
    infrared = outfit.infrared
    textures: dict[str, np.ndarray] = {}
    inner = outfit.mouth_shade * (np.full(3, 0.35) if infrared else np.array([0.30, 0.08, 0.07]))
    textures["eye"] = paint_eye(subject.traits.iris_colour, infrared=infrared, pupil=rng.uniform(0.14, 0.26), rng=rng)
    textures["mouth"], textures["gums"] = flat(inner * 0.8), flat(inner * 1.3)
    shine = Stream.TONGUE_SHINE.rng(outfit.seed).uniform(0.7, 1.3)
    textures["tongue"] = flat(shine * (np.full(3, 0.5) if infrared else np.array([0.46, 0.17, 0.15])))
    textures["teeth"] = flat(np.array([0.72, 0.68, 0.58]) * rng.uniform(0.7, 1.05))
    dark = rng.uniform() < 0.6
    textures["frame"] = flat(rng.uniform(0.008, 0.06, 3) if dark else rng.uniform(0.1, 0.6, 3))
    textures["dark_lens"] = flat(
        np.full(3, rng.uniform(0.2, 0.4) if infrared and rng.uniform() < 0.6 else rng.uniform(0.004, 0.04))
    )
    plain = [(0.75, 0.78, 0.8), (0.35, 0.5, 0.62), (0.02, 0.02, 0.022), (0.6, 0.62, 0.6)]
    textures["mask_cloth"] = (
        cloth(rng, infrared=infrared) if rng.uniform() < 0.3 else flat(np.array(plain[rng.integers(4)]))
    )
    for name in ("hat_cloth", "garment", "scarf", "seat"):
        textures[name] = cloth(rng, infrared=infrared)
    textures["seat"] = textures["seat"] * 0.4
    textures["hand"], textures["thing"] = flat(skin * rng.uniform(0.85, 1.1)), cloth(rng, infrared=infrared)
    return textures


def pose_head(
    model: HeadModel,
    subject: Subject,
    outfit: Outfit,
    wardrobe: Wardrobe,
    cards: dict[str, CardHair],
    expression: dict[str, float],
    lit: bool = True,
    tongue: Tongue | None = None,
) -> PosedHead:
    """Build the scene of everything that moves rigidly with the head; its ambient light is measured where it is lit."""
    vertices = model.shape(subject.identity, expression, subject.scale)
    if subject.warp is not None:  # a point of the head keeps its displacement, wherever an expression moves it
        at_rest = model.shape(subject.identity, {}, subject.scale)
        vertices = vertices + (subject.warp.moved(at_rest) - at_rest)
    skin = model.part_triangles("skin")
    rigid = (model.bend[skin] >= 1.0).all(axis=1)
    meshes = [_part(vertices, skin[rigid], model.sphere_uv, "skin")]
    for side in ("eye_left", "eye_right"):
        meshes.append(_part(vertices, model.part_triangles(side), _eye_uv(model, side), "eye"))
    meshes.append(_part(vertices, model.part_triangles("eye_socket"), model.sphere_uv, "mouth"))
    meshes.append(_part(vertices, model.part_triangles("mouth"), model.sphere_uv, "mouth"))
    if shows_teeth(expression):
        meshes += [_part(vertices, model.part_triangles(name), model.sphere_uv, name) for name in ("gums", "teeth")]
    if tongue is not None:
        meshes.append(tongue_mesh(model, vertices, tongue))
    rng = Stream.WORN.rng(outfit.seed)
    style = outfit.style
    covered = outfit.hat == "scarf"
    height = min(style.thickness_mm, _UNDER_HAT_MM)
    if style.kind != "bald" and not covered:
        meshes += hair.shells(model, vertices, wardrobe.hair_mm, "hair", _SHELL_LAYERS)
    if style.kind == "long" and not covered:
        meshes += hair.curtain(model, vertices, style, rng)
    if style.kind in ("short", "medium", "long") and outfit.hat in ("none", "cap"):
        if style.sweep:
            meshes += hair.swept_fringe(model, vertices, style, rng) if outfit.hat == "none" else []
        else:
            sheet = hair.fringe(model, vertices, style, rng)
            meshes += [sheet] if sheet is not None and outfit.hat == "none" else []
        flat_cut = replace(style, thickness_mm=height) if outfit.hat == "cap" else style
        meshes += hair_ears.side_locks(model, vertices, flat_cut, rng) + hair_ears.nape(model, vertices, flat_cut, rng)
    if style.card and outfit.hat == "none":
        meshes.append(fitted(cards[style.card], model, vertices, rng))
    if outfit.beard_mm > 0:
        meshes += hair.shells(model, vertices, wardrobe.beard_mm, "beard", _SHELL_LAYERS, least_mm=0.8)
    if outfit.hat == "cap":
        meshes += accessories.cap(model, vertices, rng, hair_mm=height)
    elif outfit.hat == "beanie":
        meshes += accessories.beanie(model, vertices, rng, hair_mm=height)
    elif covered:
        meshes += accessories.head_scarf(model, vertices, rng)
    if outfit.glasses != "none":
        meshes += accessories.glasses(model, vertices, rng, lenses=outfit.glasses)
    if outfit.face_mask:
        meshes += accessories.face_mask(model, vertices, rng)
    scene = TraceScene(meshes, MATERIAL_NAMES, wardrobe.alpha)
    if lit:
        scene.bake_ambient(Stream.AMBIENT.rng(outfit.seed))
    return PosedHead(scene, vertices, skin[~rigid], model.head_center(vertices))


def surroundings(
    model: HeadModel, head: PosedHead, wardrobe: Wardrobe, torso_from_head: np.ndarray, occluders: list[Mesh]
) -> TraceScene:
    """Build the scene of neck, torso and occluders for one pose, in the head's frame.

    Args:
        model: the head model.
        head: the subject's head.
        wardrobe: the torso's meshes.
        torso_from_head: (3, 3) rotation of the torso relative to the head.
        occluders: meshes in the head's frame.
    """
    turned = (head.vertices - _NECK_PIVOT_MM) @ torso_from_head.T + _NECK_PIVOT_MM
    weight = model.bend[:, None]
    bent = (weight * head.vertices + (1 - weight) * turned).astype(np.float32)
    points, triangles, uv = compact(bent, head.neck, model.sphere_uv)
    # The collar of the garment lies over the skin of the shoulders.
    low = np.clip((-100 - model.neutral[np.unique(head.neck), 1]) / 12, 0, 1)[:, None]
    points = points - 9 * low.astype(np.float32) * vertex_normals(points, triangles)
    shade = np.full(len(points), 0.62, np.float32)
    shift = _NECK_PIVOT_MM - torso_from_head @ _NECK_PIVOT_MM
    tucked = wardrobe.torso.tucked((points - shift) @ torso_from_head) @ torso_from_head.T + shift
    meshes = [Mesh(tucked.astype(np.float32), triangles, uv, "neck", shade)]
    meshes += [mesh.moved(torso_from_head, shift) for mesh in (*wardrobe.torso.meshes, *wardrobe.seat)]
    meshes += occluders
    shaded = [
        m
        if m.ambient is not None
        else Mesh(m.vertices, m.triangles, m.uv, m.material, np.full(len(m.vertices), 0.85, np.float32))
        for m in meshes
    ]
    return TraceScene(shaded, MATERIAL_NAMES, {})


def _part(vertices: np.ndarray, triangles: np.ndarray, uv: np.ndarray, material: str) -> Mesh:
    points, kept, own_uv = compact(vertices, triangles, uv)
    return Mesh(points, kept, own_uv, material)


def _eye_uv(model: HeadModel, side: str) -> np.ndarray:
    low, high = PARTS[side]
    uv = np.zeros((len(model.neutral), 2), np.float32)
    ball = model.neutral[low : high + 1]
    centre = (ball.min(0) + ball.max(0)) / 2
    direction = (ball - centre) / np.linalg.norm(ball - centre, axis=1, keepdims=True)
    flat_xy = 0.5 + 0.5 * direction[:, :2] * [1, -1]
    behind = direction[:, 2] < 0
    flat_xy[behind] = 0.5 + 0.499 * direction[behind, :2] / np.maximum(
        np.linalg.norm(direction[behind, :2], axis=1, keepdims=True), 1e-6
    )
    uv[low : high + 1] = flat_xy
    return uv
