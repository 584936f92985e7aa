# SPDX-License-Identifier: Apache-2.0
"""Puts a person together: the parts of head and body for one expression and one turn of the torso."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from train.crosscheck import hair, paint
from train.crosscheck.body_model import BodyModel, Template, eyeball, head_center
from train.crosscheck.glasses import frame_parts
from train.crosscheck.lattice import field, ramp
from train.crosscheck.parts import BODY, HAIR, SKIN, Part, cut_out, triangles_of
from train.crosscheck.person import Person
from train.crosscheck.subdivision import Subdivision
from train.synth.mesh import grid_triangles, vertex_normals

_NECK_PIVOT_MM = np.array([0.0, 600.0, 30.0])  # of the template, about which the torso turns
_EYE_ROWS, _EYE_COLUMNS = 40, 64


class Atelier:
    """What all persons share: the body model, its finer mesh and the modelled hair."""

    def __init__(self, model: BodyModel, styles: hair.Styles) -> None:
        self.model, self.styles = model, styles
        template = model.template
        self.finer = Subdivision(template.skin, len(template.vertices))
        self.points = self.finer.apply(template.vertices)
        names = list(template.masks)
        fine = self.finer.apply(np.stack([template.masks[name] for name in names], axis=1))
        self.masks = {name: fine[:, k] for k, name in enumerate(names)}
        self.triangles = triangles_of(self.finer.quads)
        self.head_triangles = np.repeat((template.bend[template.skin] >= 1).all(axis=1), 8)


class Figure:
    """A person, painted and dressed.

    Args:
        atelier: what all share.
        person: who.
    """

    def __init__(self, atelier: Atelier, person: Person) -> None:
        self._atelier, self._person = atelier, person
        rng = np.random.default_rng([person.seed, 41])
        points = atelier.points
        self._skin = paint.paint_skin(points, atelier.masks, person)
        self._cloth = paint.paint_cloth(points, rng, infrared=person.infrared)
        self._scalp = paint.scalp(points, np.random.default_rng([person.seed, 23]), person.receding)
        beard_rng = np.random.default_rng([person.seed, 22])
        self._beard = paint.beard_area(points, beard_rng, atelier.masks["lips"])
        self._hair_colour = paint.hair_albedo(person.hair_colour, infrared=person.infrared)
        collar = rng.uniform(578, 612) - rng.uniform(15, 55) * ramp(np.abs(points[:, 0]), 60, 0) * (rng.uniform() < 0.5)
        collar += 18 * np.clip((40 - points[:, 2]) / 60, 0, 1)
        self._dressed = (points[:, 1] < collar)[atelier.triangles].all(axis=1)
        self._neutral = atelier.model.shape(person.phenotype, person.local, {})
        self._roughness = float(rng.uniform(0.38, 0.6))

    def parts(
        self, actions: dict[str, float], gaze: np.ndarray, torso_from_head: np.ndarray
    ) -> tuple[list[Part], list[Part]]:
        """Build the parts in the head's frame, mm: origin at the head centre, +x left, +y up, +z in front.

        Args:
            actions: facial actions, 0..1.
            gaze: (right, down) tangents of the gaze.
            torso_from_head: (3, 3) the torso's rotation seen from the head.

        Returns:
            The parts that belong to the head, and those of neck and body.
        """
        shared, person = self._atelier, self._person
        template = shared.model.template
        vertices = shared.model.shape(person.phenotype, person.local, actions)
        centre = head_center(self._neutral, template.tragi)
        bent = _bent(vertices, self._neutral, template, torso_from_head)
        fine = shared.finer.apply(bent)
        rough = np.random.default_rng([person.seed, 42])
        normals = vertex_normals(fine.astype(np.float32), shared.triangles).astype(np.float64)
        fine = fine + normals * (0.06 * field(rough, shared.points, 3.0))
        head = shared.head_triangles
        skin = {"roughness": self._roughness, "specular": 0.35}
        own = [cut_out(fine, shared.triangles[head], self._skin, SKIN, **skin)]
        own += self._eyes(vertices, gaze) + self._mouth(vertices)
        if person.hair in shared.styles:
            style = shared.styles[person.hair]
            own.append(hair.fit(style, template, self._neutral, self._hair_colour, person.seed))
        elif person.hair != "bald":
            height = 2.0 if person.hair == "buzz" else person.hair_mm
            cover = self._scalp * head_only(shared, head)
            own += _present(hair.grow(fine, shared.triangles[head], cover, height, self._hair_colour, person.seed))
        if person.beard in ("short", "full"):
            height = 2.5 if person.beard == "short" else 10.0
            cover = self._beard * head_only(shared, head)
            own += _present(hair.grow(fine, shared.triangles[head], cover, height, self._hair_colour, person.seed + 1))
        if person.glasses != "none":
            eyes = [eyeball(self._neutral, side) for side in ("left", "right")]
            ears = self._neutral[list(template.tragi)]
            own += frame_parts(eyes, ears, dark=person.glasses == "dark", seed=person.seed, infrared=person.infrared)
        body = [cut_out(fine, shared.triangles[~head], self._skin, BODY, **skin)]
        dressed = ~head & self._dressed
        fold = 5 + 2.5 * field(rough, shared.points, 60)
        body.append(cut_out(fine + normals * fold, shared.triangles[dressed], self._cloth, BODY, roughness=0.9))
        return [p.moved(np.eye(3), -centre) for p in own], [p.moved(np.eye(3), -centre) for p in body]

    def _eyes(self, vertices: np.ndarray, gaze: np.ndarray) -> list[Part]:
        theta = np.linspace(0.02, np.pi * 0.62, _EYE_ROWS)
        phi = np.arange(_EYE_COLUMNS) * 2 * np.pi / _EYE_COLUMNS
        ring = np.stack([np.outer(np.sin(theta), np.cos(phi)), np.outer(np.sin(theta), np.sin(phi)),
                         np.outer(np.cos(theta), np.ones_like(phi))], -1).reshape(-1, 3)  # fmt: skip
        triangles = grid_triangles(_EYE_ROWS, _EYE_COLUMNS, closed=True)
        look = np.array([gaze[0], -gaze[1], 1.0])
        look /= np.linalg.norm(look)
        eyes = []
        for side in ("left", "right"):
            centre, radius = eyeball(vertices, side)
            colour = paint.paint_eye(ring, look, self._person)
            eyes.append(Part(centre + 0.985 * radius * ring, triangles, colour, SKIN, 0.06, 0.5))
        return eyes

    def _mouth(self, vertices: np.ndarray) -> list[Part]:
        template, gray = self._atelier.model.template, self._person.infrared
        tooth, tongue = np.array([0.6, 0.56, 0.46]), np.array([0.32, 0.1, 0.09])
        parts = []
        for quads, colour in ((template.teeth, tooth), (template.tongue, tongue)):
            tone = np.full(3, colour.mean() + 0.05) if gray else colour
            painted = np.broadcast_to(tone, vertices.shape)
            parts.append(cut_out(vertices, triangles_of(quads), painted, SKIN, roughness=0.3, specular=0.5))
        return parts


def head_only(shared: Atelier, head: np.ndarray) -> np.ndarray:
    """Return (N,) 1 at the vertices of the head's triangles."""
    mask = np.zeros(len(shared.points))
    mask[np.unique(shared.triangles[head])] = 1
    return mask


def _bent(vertices: np.ndarray, neutral: np.ndarray, template: Template, rotation: np.ndarray) -> np.ndarray:
    """Turn the torso about a point in the neck; head, eyes and mouth stay."""
    chin = neutral[list(template.tragi)].mean(axis=0) - template.vertices[list(template.tragi)].mean(axis=0)
    pivot = _NECK_PIVOT_MM + chin
    turned = (vertices - pivot) @ rotation.T + pivot
    share = template.bend[:, None]
    return share * vertices + (1 - share) * turned


def _present(part: Part | None) -> list[Part]:
    return [] if part is None else [replace(part, label=HAIR)]
