# SPDX-License-Identifier: Apache-2.0
"""Renders a textured scan of a real head, turned through a grid of poses, as a set of the same layout.

A scan is real where rendered heads are not: its shape and its skin were measured. What it lacks is people: it is one
head, with one expression, often bald and with closed eyes. It measures a model; nothing learns from it.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from facedepth_edge.errors import BackendUnavailable, ConfigError, InputError
from train.crosscheck import SCAN_GENERATOR
from train.crosscheck.camera import REACH_MM, Placement, sample_place
from train.crosscheck.parts import BODY, SKIN, Part, cut_out
from train.crosscheck.shot import Film, Tracer, shoot
from train.data.crops_writer import start_set, write_frames
from train.synth.mesh import subdivided

YAWS_DEG = (-55.0, -40.0, -25.0, -12.0, 0.0, 12.0, 25.0, 40.0, 55.0)
PITCHES_DEG = (-20.0, 0.0, 20.0)
_JAW_UNDER_EARS_MM = 55.0  # the jaw's angle lies this far under the head centre; neck and body are what is below
_FINEST_MM = 1.2
_MOST_TRIANGLES = 400_000
_SAME_PLACE_MM = 1e-3
_LEAST_PICTURE_PX = 16
_SKIN_SURFACE = {"roughness": 0.45, "specular": 0.35}


@dataclass(frozen=True)
class ScanConfig:
    """Where the scan's head is, and the set.

    Convention: the scan stands upright, +y up, and looks along +z, as glTF has it; units are the file's.

    Args:
        right_tragus, left_tragus: (x, y, z) of the small flaps before the ears' openings; the head centre is midway.
        chin: (x, y, z) of the chin's lowest point; from there to the jaw's angles head and neck part.
        mm_per_unit: Millimetres of one unit.
        lights: Frames of each pose, each with other lamps, walls, distance and place in the picture.
        seed: Everything that is drawn follows from it.
        samples: Paths a pixel.
        crop_px: Rows and columns of a crop.
        margin: A crop reaches over margin * 320 mm at the head's distance.
    """

    right_tragus: tuple[float, float, float]
    left_tragus: tuple[float, float, float]
    chin: tuple[float, float, float]
    mm_per_unit: float
    lights: int = 2
    seed: int = 0
    samples: int = 24
    crop_px: int = 144
    margin: float = 1.5

    def __post_init__(self) -> None:
        for name in ("mm_per_unit", "lights", "samples", "crop_px"):
            if not getattr(self, name) > 0:
                raise ConfigError.of(f"ScanConfig.{name}", getattr(self, name), "> 0", "Give a positive number.")
        apart = (self.left_tragus[0] - self.right_tragus[0]) * self.mm_per_unit
        if not 100 < apart < 200:
            fix = "Give both tragi in the file's units, the person's right one first, and mm_per_unit."
            raise ConfigError.of("ScanConfig: tragi", f"{apart:.0f} mm apart along x", "100 to 200 mm", fix)
        _, down, front = self.from_center(np.array(self.chin))
        if not (down < -_JAW_UNDER_EARS_MM and front > 0):
            got = f"{-down:.0f} mm under and {front:.0f} mm in front of the head centre"
            rule = f"more than {_JAW_UNDER_EARS_MM:g} mm under it, and in front"
            raise ConfigError.of("ScanConfig.chin", got, rule, "Turn the scan so that +y is up and it looks along +z.")

    def from_center(self, points: np.ndarray) -> np.ndarray:
        """Turn (..., 3) of the file into mm from the head centre, x left, y up, z in front."""
        centre = (np.array(self.right_tragus) + np.array(self.left_tragus)) / 2
        return (points - centre) * self.mm_per_unit


def parts_of_scan(config: ScanConfig, mesh: Path, texture: Path | None = None) -> tuple[list[Part], list[Part]]:
    """Read a scan as painted parts.

    Args:
        config: Where its head is.
        mesh: A file of triangles with texture coordinates that trimesh reads: .obj, .glb, .ply.
        texture: Its picture; None where the mesh's file names or contains it.

    Returns:
        The head's part and the body's, in mm from the head centre, x left, y up, z in front.

    Raises:
        BackendUnavailable: trimesh is not installed.
        InputError: The file cannot be read, or has no triangles, texture coordinates or picture.
    """
    points, triangles, uv, picture = _read(mesh, texture)
    vertices = config.from_center(points).astype(np.float32)
    while _median_edge(vertices, triangles) > _FINEST_MM and 4 * len(triangles) <= _MOST_TRIANGLES:
        vertices, triangles, uv = subdivided(vertices, triangles, uv)
    vertices, triangles, colour = _joined(vertices, triangles, _linear_colour(picture, uv))
    _, down, front = config.from_center(np.array(config.chin))
    middle = vertices[triangles].mean(axis=1)
    head = middle[:, 1] > -_JAW_UNDER_EARS_MM + (down + _JAW_UNDER_EARS_MM) * middle[:, 2] / front
    own = cut_out(vertices, triangles[head], colour, SKIN, **_SKIN_SURFACE)
    if head.all():
        return [own], []
    return [own], [cut_out(vertices, triangles[~head], colour, BODY, **_SKIN_SURFACE)]


def render_scan(config: ScanConfig, mesh: Path, texture: Path | None, out: Path, tracer: Tracer) -> None:
    """Render the set, or what is still missing of it: one person, one sequence, the test split.

    Args:
        config: Where the scan's head is, and the set.
        mesh: The scan.
        texture: Its picture, or None.
        out: The set's folder; one that holds another configuration's set is refused.
        tracer: Makes the pictures.

    Raises:
        ConfigError: `out` holds a set of other settings.
        BackendUnavailable: trimesh is not installed.
        InputError: The scan cannot be used.
    """
    own, body = parts_of_scan(config, mesh, texture)
    poses = [(pitch, yaw) for pitch in PITCHES_DEG for yaw in YAWS_DEG] * config.lights
    start_set(out, _set_note(config, mesh, texture, len(poses)))
    folder = out / "001"
    if folder.is_dir():
        return
    film = Film(config.crop_px, config.margin, config.samples)
    frames = []
    for number, (pitch, yaw) in enumerate(tqdm(poses, unit="frame", desc="render")):
        rng = np.random.default_rng([config.seed, 13, number])
        pose = Placement((0.0, pitch, yaw), sample_place(rng), np.eye(3))
        frames.append(shoot(tracer, film, own, body, pose, number, {}, rng))
    write_frames(folder, frames)


def _set_note(config: ScanConfig, mesh: Path, texture: Path | None, frames: int) -> dict[str, Any]:
    settings = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(config).items()}  # as JSON has them
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (mesh, texture) if path is not None}
    return {
        "crop_px": config.crop_px,
        "margin": config.margin,
        "reach_mm": REACH_MM,
        "seed": config.seed,
        "subjects": {"train": [], "val": [], "test": [1]},
        "frames": frames,
        "generator": {"name": SCAN_GENERATOR, "files": files, **settings},
    }


def _read(mesh: Path, texture: Path | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return points (V, 3), triangles (T, 3), uv (V, 2), v upwards, and the picture (H, W, 3) uint8 RGB."""
    try:
        import trimesh
    except ImportError as error:
        how = "pip install -e '.[train,crosscheck]'"
        raise BackendUnavailable.of("train.crosscheck scan", "no package trimesh", "trimesh >= 4", how) from error
    try:
        found = trimesh.load(mesh, force="mesh", process=False)
    except Exception as error:  # its readers raise whatever a damaged file makes them
        raise InputError.of(str(mesh), f"{type(error).__name__}: {error}", "a mesh", "Check the path.") from error
    uv = getattr(found.visual, "uv", None)
    if not len(found.faces) or uv is None or len(uv) != len(found.vertices):
        got = f"{len(found.faces)} triangles, {'no' if uv is None else len(uv)} texture coordinates"
        raise InputError.of(str(mesh), got, "triangles with texture coordinates", "Export the scan with its texture.")
    if texture is not None:
        picture = cv2.imread(str(texture), cv2.IMREAD_COLOR)
        if picture is None:
            raise InputError.of(str(texture), "no picture", "a picture that OpenCV reads", "Check the path.")
        picture = picture[..., ::-1]
    else:
        material = found.visual.material
        image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
        if image is None or min(image.size) < _LEAST_PICTURE_PX:  # trimesh puts a tiny gray one where there is none
            raise InputError.of(str(mesh), "no picture", "the scan's colours", "Give its texture with --texture.")
        picture = np.array(image.convert("RGB"))
    return np.array(found.vertices, float), np.array(found.faces, np.int32), np.array(uv, np.float32), picture


def _median_edge(vertices: np.ndarray, triangles: np.ndarray) -> float:
    corners = vertices[triangles]
    return float(np.median(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)))


def _linear_colour(picture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Look colours (V, 3), linear RGB, up in an sRGB picture, between its pixels' centres."""
    height, width = picture.shape[:2]
    level = picture.astype(np.float32) / 255
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    x = (uv[:, 0] * width - 0.5).astype(np.float32)
    y = ((1 - uv[:, 1]) * height - 0.5).astype(np.float32)
    # OpenCV's maps are short in rows and columns: 2-D in and out again.
    side = int(np.ceil(np.sqrt(len(uv))))
    maps = [np.resize(values, (side, side)) for values in (x, y)]
    found = cv2.remap(linear.astype(np.float32), *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, 3)[: len(uv)].astype(np.float64)


def _joined(
    vertices: np.ndarray, triangles: np.ndarray, colour: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make one vertex of those in one place, of their mean colour: the texture's seams must not show in the shading."""
    keys = np.round(vertices / _SAME_PLACE_MM).astype(np.int64)
    _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    index = index.reshape(-1)
    count = np.bincount(index)
    mean = np.stack([np.bincount(index, colour[:, channel]) for channel in range(3)], axis=1) / count[:, None]
    return vertices[first].astype(np.float64), index[triangles].astype(np.int32), mean
