# SPDX-License-Identifier: Apache-2.0
"""Hair: styles modelled on MakeHuman's base mesh, carried along with its vertices, and hair grown as a shell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from facedepth_edge.errors import InputError
from train.crosscheck.body_model import SKIN_VERTICES, Template
from train.crosscheck.lattice import field
from train.crosscheck.parts import HAIR, Part, cut_out, triangles_of
from train.synth.mesh import subdivided, triangles_from_quads, vertex_normals

_MM = 100.0  # the files are in decimetres
_NEIGHBOURS = 12
_CARRIERS = 1500  # as many of the skin's vertices are enough to carry hair smoothly
_FINEST_MM = 10.0  # cards are split until their edges are shorter, then the transparent triangles go
_OVER_SKIN_MM = 2.0
_OVER_SKULL_MM = 8.0
_LOWEST_CARRIER_MM = 480.0  # shoulders


@dataclass(frozen=True)
class ModelledHair:
    """A style on the template.

    Attributes:
        vertices: (V, 3) float64 mm.
        triangles: (T, 3) int32.
        shade: (V,) relative brightness of the strands.
        neighbours, weights: (V, K) the template's vertices that carry a vertex, nearest first, and how much.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    shade: np.ndarray
    neighbours: np.ndarray
    weights: np.ndarray


class Styles(Mapping[str, ModelledHair]):
    """The styles (NAME.obj with NAME.png, RGBA) of a folder, each read when it is first asked for.

    Args:
        folder: where they are; None for no styles.
        template: of the body model.

    Raises:
        InputError: the folder has no style.
    """

    def __init__(self, folder: Path | None, template: Template) -> None:
        found = sorted(folder.glob("*.obj")) if folder is not None else []
        self._paths = {path.stem: path for path in found if path.with_suffix(".png").is_file()}
        self._template = template
        self._read: dict[str, ModelledHair] = {}
        if folder is not None and not self._paths:
            fix = "Leave --hair out, or fill it."
            raise InputError.of(str(folder), "no NAME.obj with a NAME.png", "modelled hair", fix)

    def __getitem__(self, name: str) -> ModelledHair:
        if name not in self._read:
            path = self._paths[name]
            self._read[name] = _load(path, path.with_suffix(".png"), self._template)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def fit(style: ModelledHair, template: Template, vertices: np.ndarray, colour: np.ndarray, seed: int) -> Part:
    """Carry a style onto a person (V, 3): it moves with the skin under it and never lies inside it."""
    rng = np.random.default_rng([seed, 31])
    shift = vertices - template.vertices
    points = style.vertices + (shift[style.neighbours] * style.weights[..., None]).sum(axis=1)
    skin = triangles_of(template.skin)
    normals = vertex_normals(vertices.astype(np.float32), skin).astype(np.float64)
    near = style.neighbours[:, :4]
    normal = normals[near].mean(axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    over = np.einsum("ij,ij->i", points - vertices[near].mean(axis=1), normal)
    close = np.linalg.norm(points - vertices[near[:, 0]], axis=1) < 25
    points += normal * (np.clip(_OVER_SKIN_MM - over, 0, 20) * close)[:, None]
    points += 0.8 * field(rng, points, 12, 3)
    shades = np.clip(style.shade * np.exp(0.25 * field(rng, points * [1, 0.3, 1], 4)[:, 0]), 0.3, 2.0)
    return Part(points, style.triangles, np.clip(shades[:, None] * colour, 0.003, 0.85), HAIR, 0.6, 0.15)


def grow(
    vertices: np.ndarray, triangles: np.ndarray, cover: np.ndarray, thickness_mm: float, colour: np.ndarray, seed: int
) -> Part | None:
    """Grow hair as a tousled shell over the skin.

    Args:
        vertices: (V, 3) of the skin.
        triangles: (T, 3) of the skin.
        cover: (V,) 0..1, where hair grows.
        thickness_mm: how high.
        colour: (3,) albedo.
        seed: of the tufts.

    Returns:
        The shell, or None where nothing grows.
    """
    grown = triangles[(cover[triangles] > 0.3).all(axis=1)]
    if not len(grown):
        return None
    rng = np.random.default_rng([seed, 32])
    normals = vertex_normals(vertices.astype(np.float32), triangles).astype(np.float64)
    tuft = 1 + 0.3 * field(rng, vertices, 22)[:, 0] + 0.25 * field(rng, vertices, 7)[:, 0]
    height = np.clip(thickness_mm * tuft, 0.6, 30) * np.clip((cover - 0.3) / 0.5, 0, 1) + 0.5
    shade = np.exp(0.2 * field(rng, vertices, 6) + 0.25 * field(rng, vertices, 2.5))
    painted = np.clip(shade * colour, 0.003, 0.85)
    return cut_out(vertices + normals * height[:, None], grown, painted, HAIR, roughness=0.55, specular=0.3)


def _load(path: Path, picture: Path, template: Template) -> ModelledHair:
    points, triangles, uv = _read_obj(path)
    points = points + _seat(points, template)
    image = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] != 4:
        raise InputError.of(str(picture), "no RGBA picture", "a PNG of four channels", "Copy the style again.")
    rgba = image.astype(np.float32) / 255
    cover = cv2.GaussianBlur(rgba[..., 3], (0, 0), 1.5)
    gray = rgba[..., :3].mean(axis=2)
    gray = cv2.GaussianBlur(gray / max(float(gray[rgba[..., 3] > 0.3].mean()), 1e-3), (0, 0), 2)
    for _ in range(3):
        longest = np.linalg.norm(points[triangles] - points[np.roll(triangles, 1, axis=1)], axis=2).max(axis=1)
        large = longest > _FINEST_MM
        if not large.any():
            break
        more, fine, more_uv = subdivided(points, triangles[large], uv)
        points, uv = more, more_uv
        triangles = np.concatenate([triangles[~large], fine])
    middle = uv[triangles].mean(axis=1)
    triangles = triangles[_lookup(cover, middle) > 0.4]
    used, inverse = np.unique(triangles, return_inverse=True)
    points, uv = points[used].astype(np.float64), uv[used]
    neighbours, weights = _carriers(points, template)
    return ModelledHair(points, inverse.reshape(-1, 3).astype(np.int32), _lookup(gray, uv), neighbours, weights)


def _seat(points: np.ndarray, template: Template) -> np.ndarray:
    """Return the shift (3,) onto the template's skull: styles were modelled on bodies of several heights.

    Hair is often thicker behind than in front, so that hardly any style is brought forwards.
    """
    skull = template.vertices[:SKIN_VERTICES]
    skull = skull[skull[:, 1] > skull[:, 1].max() - 100]
    up = skull[:, 1].max() + _OVER_SKULL_MM - points[:, 1].max()
    crown = points[points[:, 1] > points[:, 1].max() - 100]
    back = np.mean([skull[:, 2].min(), skull[:, 2].max()]) - np.mean([crown[:, 2].min(), crown[:, 2].max()])
    return np.array([0.0, up, np.clip(back, -20, 5)])


def _carriers(points: np.ndarray, template: Template) -> tuple[np.ndarray, np.ndarray]:
    skin = np.unique(template.skin)
    skin = skin[(skin < SKIN_VERTICES) & (template.masks["inside-mouth"][skin] < 0.1)]
    skin = skin[(template.vertices[skin, 1] > _LOWEST_CARRIER_MM)]
    skin = skin[:: max(1, len(skin) // _CARRIERS)]
    place = template.vertices[skin].astype(np.float32)
    index = np.empty((len(points), _NEIGHBOURS), np.int64)
    far = np.empty((len(points), _NEIGHBOURS))
    for start in range(0, len(points), 2000):
        some = points[start : start + 2000].astype(np.float32)
        square = (some**2).sum(1)[:, None] - 2 * some @ place.T + (place**2).sum(1)
        near = np.argpartition(square, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
        distance = np.take_along_axis(square, near, 1)
        order = np.argsort(distance, axis=1)
        index[start : start + 2000] = skin[np.take_along_axis(near, order, 1)]
        far[start : start + 2000] = np.sqrt(np.maximum(np.take_along_axis(distance, order, 1), 0))
    weights = 1 / (far + 3.0)
    return index, weights / weights.sum(axis=1, keepdims=True)


def _lookup(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    height, width = image.shape
    x, y = (uv[:, 0] % 1 * width).astype(int), (uv[:, 1] % 1 * height).astype(int)
    return image[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)].astype(np.float64)


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    places, uvs, faces = [], [], []
    corners: dict[tuple[int, int], int] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            places.append([float(word) for word in words[:3]])
        elif kind == "vt":
            uvs.append([float(word) for word in words[:2]])
        elif kind == "f":
            pairs = [word.split("/") for word in words[:4]]
            face = [corners.setdefault((int(pair[0]) - 1, int(pair[1]) - 1), len(corners)) for pair in pairs]
            faces.append(face if len(face) == 4 else [*face, -1])
    index = np.array(list(corners))
    uv = np.array(uvs)[index[:, 1]]
    points = np.array(places)[index[:, 0]] * _MM
    return points, triangles_from_quads(np.array(faces)), np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1)
