# SPDX-License-Identifier: Apache-2.0
"""The Anny body model (MakeHuman's topology): shapes in mm, the parts of the head, landmarks on the template."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facedepth_edge.errors import BackendUnavailable, InputError
from train.crosscheck.lattice import ramp

_MM = 1000.0  # the model is in metres, +z up, the body looks at -y
SKIN_VERTICES = 13380  # body first, then helper geometry
_EYES = {"left": slice(14598, 14670), "right": slice(14670, 14742)}
_TEETH = ("helper-upper-teeth", "helper-lower-teeth")
_MASKS = ("lips", "inside-mouth", "eyelids", "face")
_NEAR_TRAGUS_MM = np.array([71.0, 712.0, 60.0])  # on the template's left ear
_LOWEST_MM = 330.0  # of the template: the chest; what lies lower no crop shows
_NECK_MM = 90.0  # over this height the neck's motion goes from the head's to the torso's


@dataclass(frozen=True)
class Template:
    """What does not change with the person; `V` are the model's vertices, in mm, +x to the left, +y up, +z in front.

    Attributes:
        vertices: (V, 3) float64 of the template.
        skin: (F, 4) quads of head, neck and chest.
        teeth, tongue: (F, 4) quads.
        masks: name of `_MASKS` -> (V,) float64 0..1.
        tragi: vertex indices of the left and the right tragus.
    """

    vertices: np.ndarray
    skin: np.ndarray
    teeth: np.ndarray
    tongue: np.ndarray
    masks: dict[str, np.ndarray]
    tragi: tuple[int, int]

    @property
    def bend(self) -> np.ndarray:
        """(V,) float64, 1 where a vertex belongs to the head and follows it, 0 where it follows the torso.

        The head ends at a line from under the chin to the nape, as the training renderer's labels have it.
        """
        middle = self.vertices[list(self.tragi)].mean(axis=0)
        front = np.clip((self.vertices[:, 2] - middle[2]) / 60, -1, 1)
        over = self.vertices[:, 1] - (middle[1] - 85 - 21 * front)
        share = ramp(over, -_NECK_MM, 0)
        share[SKIN_VERTICES:] = 1.0  # eyes, teeth, tongue
        return share


def head_center(vertices: np.ndarray, tragi: tuple[int, int]) -> np.ndarray:
    """Return the head centre (3,), mm: midway between the two tragi."""
    return vertices[list(tragi)].mean(axis=0)


def eyeball(vertices: np.ndarray, side: str) -> tuple[np.ndarray, float]:
    """Return the centre (3,) and the radius, mm, of the sphere that an eye's helper vertices lie on."""
    ball = vertices[_EYES[side]]
    low, high = ball.min(axis=0), ball.max(axis=0)
    radius = float((high - low)[:2].mean() / 2)
    centre = (low + high) / 2
    return np.array([centre[0], centre[1], low[2] + radius]), radius


class BodyModel:
    """Anny with all its shape parameters and facial actions.

    Raises:
        BackendUnavailable: the package `anny` is not installed.
    """

    def __init__(self) -> None:
        try:
            import anny
            from anny.paths import get_anny_root_dir
        except ImportError as error:
            raise BackendUnavailable.of(
                "train.crosscheck", "no package anny", "anny >= 0.6", "pip install -e '.[train,crosscheck]'"
            ) from error
        self._model = anny.Anny(
            rig="makehuman",
            topology="makehuman",
            local_changes="all",
            facial_actions="all",
            phenotypes="all",
            skinning_method="lbs",
        )
        self.local_labels = tuple(self._model.local_change_labels)
        self.action_labels = tuple(self._model.facial_action_labels)
        self.template = _template_from(self._model, Path(os.fspath(get_anny_root_dir())) / "data" / "mpfb2")

    def shape(self, phenotype: dict[str, float], local: dict[str, float], actions: dict[str, float]) -> np.ndarray:
        """Return the vertices (V, 3) float64, mm, of a person in the rest pose."""
        import torch

        with torch.no_grad():
            out = self._model(phenotype_kwargs=phenotype, local_changes_kwargs=local, facial_actions=actions)
        return _upright(out["rest_vertices"][0].numpy())


def _upright(vertices: np.ndarray) -> np.ndarray:
    metres = vertices.astype(np.float64)
    return np.stack([metres[:, 0], metres[:, 2], -metres[:, 1]], axis=1) * _MM


def _template_from(model: Any, root: Path) -> Template:
    vertices = _upright(model.template_vertices.numpy())
    faces = model.faces.numpy()
    skin = faces[(faces < SKIN_VERTICES).all(axis=1)]
    skin = skin[vertices[skin][..., 1].min(axis=1) > _LOWEST_MM]
    tongue = faces[((faces >= SKIN_VERTICES) & (faces < 13606)).all(axis=1)]
    uv = np.zeros((len(vertices), 2))
    uv[faces.ravel()] = model.texture_coordinates.numpy()[model.face_texture_coordinate_indices.numpy().ravel()]
    masks = {name: _sample(root / "textures" / f"mpfb_{name}.jpg", uv) for name in _MASKS}
    left = int(np.linalg.norm(vertices[:SKIN_VERTICES] - _NEAR_TRAGUS_MM, axis=1).argmin())
    right = int(np.linalg.norm(vertices[:SKIN_VERTICES] - vertices[left] * [-1, 1, 1], axis=1).argmin())
    return Template(
        vertices=vertices,
        skin=skin,
        teeth=_group_quads(root / "3dobjs" / "base.obj", _TEETH),
        tongue=tongue,
        masks=masks,
        tragi=(left, right),
    )


def _sample(path: Path, uv: np.ndarray) -> np.ndarray:
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise InputError.of(str(path), "no readable mask", "a picture of the anny package", "Install anny again.")
    image = cv2.GaussianBlur(mask.astype(np.float64) / 255, (0, 0), 3)
    height, width = image.shape
    x = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    y = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    return image[y, x]


def _group_quads(path: Path, names: tuple[str, ...]) -> np.ndarray:
    quads, inside = [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("g "):
            inside = line.split()[1] in names
        elif inside and line.startswith("f "):
            quads.append([int(corner.split("/")[0]) - 1 for corner in line.split()[1:]])
    return np.array(quads)
