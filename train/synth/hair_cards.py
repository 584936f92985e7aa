# SPDX-License-Identifier: Apache-2.0
"""Modelled hair of the MakeHuman community (CC0), carried onto the ICT head by a similarity and a radial warp."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from facedepth_edge.errors import ConfigError
from train.synth.hair import skin_radius
from train.synth.headmodel import PARTS, SPHERE_CENTRE_MM, HeadModel, azimuth_elevation
from train.synth.mesh import Mesh, triangles_from_quads

BASE_FILE = "hm08_base.obj"  # the body that the styles were made for

_CROWN_MM = 100.0  # of a style, from its highest point down
_OVER_SKULL_MM = 6.0  # of most of a crown's points


@dataclass(frozen=True)
class CardHair:
    """One modelled hair style.

    Attributes:
        vertices: (V, 3) float32 mm in the ICT head's frame, fitted to its neutral mean head.
        triangles: (T, 3) int32.
        uv: (V, 2) float32.
        shade: (H, W) float32 relative brightness of the strands, mean about 1.
        alpha: (H, W) float32 0..1.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray
    shade: np.ndarray
    alpha: np.ndarray


def style_files(folder: str | Path | None) -> dict[str, tuple[Path, Path]]:
    """Return the styles of a folder of modelled hair: name to NAME.obj and NAME.png; {} without a folder.

    Raises:
        ConfigError: The folder lacks hm08_base.obj, or holds no style.
    """
    if folder is None:
        return {}
    folder = Path(folder)
    if not (folder / BASE_FILE).is_file():
        rule = f"a folder of NAME.obj with NAME.png, and {BASE_FILE}"
        fix = "docs/training.md, section 1, says what it holds."
        raise ConfigError.of(f"--hair {folder}", f"no {BASE_FILE}", rule, fix)
    pairs = {path.stem: (path, path.with_suffix(".png")) for path in sorted(folder.glob("*.obj"))}
    styles = {name: files for name, files in pairs.items() if files[1].is_file()}
    if not styles:
        fix = "Put both files of each style there, or leave --hair out."
        raise ConfigError.of(f"--hair {folder}", "no NAME.obj with its NAME.png", "one style or more", fix)
    return styles


def load_cards(folder: str | Path | None, model: HeadModel) -> dict[str, CardHair]:
    """Read the styles of a folder, see `style_files`.

    Raises:
        ConfigError: As style_files; or a picture cannot be read or has no alpha channel.
    """
    styles = style_files(folder)
    if not styles:
        return {}
    base_vertices, groups = _read_base(Path(str(folder)) / BASE_FILE)
    to_ict = _fit(base_vertices, groups, model)
    cards = {}
    for name, (path, picture) in styles.items():
        vertices, triangles, uv = _read_obj(path)
        image = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim != 3 or image.shape[2] != 4:
            got = "no picture" if image is None else f"an array of {image.shape}"
            raise ConfigError.of(str(picture), got, "a picture with an alpha channel", "Get the file again.")
        rgba = image.astype(np.float32) / 255
        grey = rgba[..., :3].mean(axis=2)
        solid = rgba[..., 3] > 0.3
        shade = np.clip(grey / max(float(grey[solid].mean()), 1e-3), 0.25, 2.2)
        placed = _seated(to_ict(vertices), model)
        cards[name] = CardHair(placed, triangles, uv, shade.astype(np.float32), rgba[..., 3])
    return cards


def fitted(card: CardHair, model: HeadModel, vertices: np.ndarray, rng: np.random.Generator) -> Mesh:
    """Fit a style to a subject: warped by the ratio of the skulls, and worn as people wear it.

    Mirrored or not, the hairline higher or lower, flat or full, longer or shorter, behind the shoulders or before them.
    """
    mean_radius, own_radius = skin_radius(model, model.neutral), skin_radius(model, vertices)
    points = card.vertices.astype(np.float64).copy()
    triangles = card.triangles
    if rng.uniform() < 0.5:
        points[:, 0] *= -1
        triangles = triangles[:, ::-1]
    tilt = np.deg2rad(np.clip(rng.normal(0, 3), -6, 6))
    offset = (points - SPHERE_CENTRE_MM) @ np.array(
        [[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), np.cos(tilt)]]
    )
    azimuth, elevation = np.rad2deg(azimuth_elevation(offset))
    low = np.maximum(elevation, -35)
    own, mean = own_radius(azimuth, low), mean_radius(azimuth, low)
    reach = np.linalg.norm(offset, axis=1)
    fuller = 1 + (rng.uniform(0.75, 1.5) - 1) * np.clip((elevation + 10) / 30, 0, 1)
    wanted = own * np.where(reach > mean, 1 + (reach / mean - 1) * fuller, reach / mean)
    # Nothing of the modelled hair may lie inside the skull: push it out to a few millimetres over the skin.
    above = np.where(elevation > -10, own + rng.uniform(3, 6), 0)
    offset *= (np.maximum(wanted, above) / np.maximum(reach, 1e-3))[:, None]
    offset *= 1 + rng.uniform(-0.01, 0.06)
    falling = np.clip(-offset[:, 1] / 100, 0, 3)
    offset[:, 1] *= 1 + rng.uniform(-0.35, 0.25) * np.clip(falling, 0, 1)
    wave = rng.uniform(0, 4) * np.sin(offset[:, 1] / rng.uniform(8, 25) + rng.uniform(0, 6))
    offset[:, 0] += wave * np.clip(falling, 0, 1)
    offset[:, 2] += rng.uniform(-20, 45) * np.clip(falling - 0.6, 0, 1.5)
    moved = (offset + SPHERE_CENTRE_MM).astype(np.float32)
    return Mesh(moved, np.ascontiguousarray(triangles), card.uv, "hair_card", np.full(len(moved), 0.85, np.float32))


def _seated(points: np.ndarray, model: HeadModel) -> np.ndarray:
    """Move a style up or down, forwards or back, until its crown lies on the skull.

    The styles were modelled on bodies of several heights. Off by some centimetres, a hairline crosses the eyes.
    """
    radius = skin_radius(model, model.neutral)
    top = model.neutral[: PARTS["skin"][1] + 1, 1].max() - points[:, 1].max()
    crown = points[points[:, 1] > points[:, 1].max() - _CROWN_MM]

    def misfit(shift: tuple[float, float]) -> float:
        offset = crown + np.array([0, *shift]) - SPHERE_CENTRE_MM
        over = np.linalg.norm(offset, axis=1) - radius(*np.rad2deg(azimuth_elevation(offset)))
        return float(np.where(over < _OVER_SKULL_MM, 2 * (_OVER_SKULL_MM - over), over - _OVER_SKULL_MM).mean())

    shifts = [(top + up, back) for up in range(-10, 41, 2) for back in range(-30, 31, 2)]
    return (points + np.array([0, *min(shifts, key=misfit)])).astype(np.float32)


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read an OBJ with one texture coordinate a corner; corners become vertices of their own."""
    v, vt, corners, faces = [], [], {}, []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("v "):
            v.append([float(x) for x in line.split()[1:4]])
        elif line.startswith("vt "):
            vt.append([float(x) for x in line.split()[1:3]])
        elif line.startswith("f "):
            face = [corners.setdefault(tuple(c.split("/")[:2]), len(corners)) for c in line.split()[1:]]
            faces.append(([*face, -1])[:4] if len(face) == 3 else face[:4])
    index = np.array([[int(a), int(b) if b else 1] for a, b in corners]) - 1
    uv = np.array(vt)[index[:, 1]]
    uv = np.stack([uv[:, 0], 1 - uv[:, 1]], 1)
    return np.array(v)[index[:, 0]], triangles_from_quads(np.array(faces)), uv.astype(np.float32)


def _read_base(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    vertices, groups, current = [], {}, None
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("v "):
            vertices.append([float(x) for x in line.split()[1:4]])
        elif line.startswith("g "):
            current = groups.setdefault(line.split()[1], set())
        elif line.startswith("f ") and current is not None:
            current.update(int(c.split("/")[0]) - 1 for c in line.split()[1:])
    return np.array(vertices), {name: np.array(sorted(index)) for name, index in groups.items()}


def _fit(base: np.ndarray, groups: dict[str, np.ndarray], model: HeadModel):
    """Find the similarity that carries the base mesh's head onto the ICT head, from six points of each."""
    body = base[groups["body"]]
    head = body[body[:, 1] > body[:, 1].max() - 2.6]
    eyes = [base[groups[f"joint-{side}-eye"]].mean(0) for side in ("l", "r")]
    skull = head[np.abs(head[:, 0]) < 0.2]
    top = skull[skull[:, 1].argmax()]
    back = skull[skull[:, 2].argmin()]
    nose = skull[skull[:, 2].argmax()]
    source = np.stack([*eyes, top, back, nose])
    ict = model.neutral[:11248]
    middle = ict[np.abs(ict[:, 0]) < 12]
    eye_left, eye_right = (model.neutral[21451:23021].mean(0), model.neutral[23021:24591].mean(0))
    target = np.stack(
        [
            eye_left,
            eye_right,
            middle[middle[:, 1].argmax()],
            middle[(middle[:, 1] > -40)][middle[middle[:, 1] > -40][:, 2].argmin()],
            middle[middle[:, 2].argmax()],
        ]
    )
    target[2:, 0] = 0
    source[2:, 0] = 0
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(a.T @ b)
    sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u @ sign @ vt).T
    scale = (s * np.diag(sign)).sum() / (a**2).sum()

    def carry(points: np.ndarray) -> np.ndarray:
        return ((points - source.mean(0)) @ rotation.T * scale + target.mean(0)).astype(np.float32)

    return carry
