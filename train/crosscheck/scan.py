# SPDX-License-Identifier: Apache-2.0
"""Renders a textured scan of a real head, turned through a grid of poses, as a set of the same layout.

A scan is real where rendered heads are not: its shape and its skin were measured. What it lacks is people: it is one
head, with one expression, often bald and with closed eyes. It measures a model; nothing learns from it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedepth_edge.errors import ConfigError, InputError
from train.crosscheck import SCAN_GENERATOR
from train.crosscheck.camera import Placement, sample_place
from train.crosscheck.parts import BODY, SKIN, Part, cut_out
from train.crosscheck.path_tracer import PathTracer
from train.crosscheck.shot import Film, shoot
from train.crosscheck.textured_mesh import TexturedMesh, digest_of, read_textured
from train.data.crops_writer import SetNote, start_set, write_frames
from train.synth.mesh import subdivided
from train.units import REACH_MM

YAWS_DEG = (-55.0, -40.0, -25.0, -12.0, 0.0, 12.0, 25.0, 40.0, 55.0)
PITCHES_DEG = (-20.0, 0.0, 20.0)
_JAW_UNDER_EARS_MM = 55.0  # the jaw's angle lies this far under the head centre; neck and body are what is below
_FINEST_MM = 1.2
_MOST_TRIANGLES = 400_000
_SAME_PLACE_MM = 1e-3
_AWAY_MM = 20.0
_UNEVEN_MM = 25.0
_CHIN_UNDER_MM, _CHIN_BEFORE_MM = (60.0, 180.0), (20.0, 160.0)
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
        credit: Who made the scan and under which licence, as it wants to be named where its pictures are shown.
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
    credit: str = ""

    def __post_init__(self) -> None:
        points = {name: getattr(self, name) for name in ("right_tragus", "left_tragus", "chin")}
        for name, value in {**points, "mm_per_unit": self.mm_per_unit}.items():
            if not np.isfinite(value).all():
                raise ConfigError.of(f"ScanConfig.{name}", value, "finite numbers", "Correct it.")
        least = {"mm_per_unit": 1e-9, "lights": 1, "samples": 1, "crop_px": 1, "margin": 1, "seed": 0}
        for name, low in least.items():
            if not getattr(self, name) >= low:
                rule = "> 0" if name == "mm_per_unit" else f">= {low}"
                raise ConfigError.of(f"ScanConfig.{name}", getattr(self, name), rule, "Correct it.")
        apart, up, front = (np.array(self.left_tragus) - np.array(self.right_tragus)) * self.mm_per_unit
        if not 100 < apart < 200 or max(abs(up), abs(front)) > _UNEVEN_MM:
            got = f"{apart:.0f} mm apart along x, {up:.0f} along y, {front:.0f} along z"
            rule = f"100 to 200 along x, {_UNEVEN_MM:g} at most along y and z"
            fix = "Give both tragi in the file's units, the person's right one first, and mm_per_unit."
            raise ConfigError.of("ScanConfig: tragi", got, rule, fix)
        _, down, front = self.from_center(np.array(self.chin))
        low, high = _CHIN_UNDER_MM, _CHIN_BEFORE_MM
        if not (low[0] <= -down <= low[1] and high[0] <= front <= high[1]):
            got = f"{-down:.0f} mm under and {front:.0f} mm in front of the head centre"
            rule = f"{low[0]:g} to {low[1]:g} mm under it, {high[0]:g} to {high[1]:g} mm in front"
            raise ConfigError.of("ScanConfig.chin", got, rule, "Turn the scan so that +y is up and it looks along +z.")

    def from_center(self, points: np.ndarray) -> np.ndarray:
        """Turn (..., 3) of the file into mm from the head centre, x left, y up, z in front."""
        centre = (np.array(self.right_tragus) + np.array(self.left_tragus)) / 2
        return (points - centre) * self.mm_per_unit


def parts_of_scan(config: ScanConfig, parts: list[TexturedMesh]) -> tuple[list[Part], list[Part]]:
    """Paint a scan, and part head and body.

    Args:
        config: Where its head is.
        parts: The scan.

    Returns:
        The head's part and the body's, in mm from the head centre, x left, y up, z in front.

    Raises:
        InputError: The points of `config` are not on the scan.
    """
    painted = [_painted(config, part, _MOST_TRIANGLES // len(parts)) for part in parts]
    starts = np.cumsum([0] + [len(vertices) for vertices, _, _ in painted])
    triangles = np.concatenate([one[1] + start for one, start in zip(painted, starts, strict=False)])
    vertices, colour = (np.concatenate([one[place] for one in painted]) for place in (0, 2))
    _require_landmarks(config, vertices)
    vertices, triangles, colour = _joined(vertices, triangles, colour)
    _, down, front = config.from_center(np.array(config.chin))
    middle = vertices[triangles].mean(axis=1)
    head = middle[:, 1] > -_JAW_UNDER_EARS_MM + (down + _JAW_UNDER_EARS_MM) * middle[:, 2] / front
    own = cut_out(vertices, triangles[head], colour, SKIN, **_SKIN_SURFACE)
    if head.all():
        return [own], []
    return [own], [cut_out(vertices, triangles[~head], colour, BODY, **_SKIN_SURFACE)]


def render_scan(config: ScanConfig, mesh: Path, texture: Path | None, out: Path, tracer: PathTracer) -> None:
    """Render the set, whole or not at all: one person, one sequence, the test split. One that is there stays.

    Args:
        config: Where the scan's head is, and the set.
        mesh: The scan, see `read_textured`.
        texture: Its picture, or None.
        out: The set's folder; one that holds another configuration's set is refused.
        tracer: Makes the pictures.

    Raises:
        ConfigError: `out` holds a set of other settings.
        BackendUnavailable: trimesh is not installed.
        InputError: The scan cannot be used.
    """
    parts = read_textured(mesh, texture)
    own, body = parts_of_scan(config, parts)
    poses = [(pitch, yaw) for pitch in PITCHES_DEG for yaw in YAWS_DEG] * config.lights
    start_set(out, _set_note(config, mesh, digest_of(parts), len(poses)))
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


def _set_note(config: ScanConfig, mesh: Path, digest: str, frames: int) -> SetNote:
    settings = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(config).items()}  # as JSON has them
    generator = {"name": SCAN_GENERATOR, "mesh": mesh.name, "sha256": digest, **settings}
    subjects = {"train": [], "val": [], "test": [1]}
    return SetNote(config.crop_px, config.margin, REACH_MM, config.seed, subjects, frames, generator)


def _median_edge(vertices: np.ndarray, triangles: np.ndarray) -> float:
    corners = vertices[triangles]
    return float(np.median(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)))


def _painted(config: ScanConfig, part: TexturedMesh, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a part's vertices (mm from the head centre), triangles and colours, fine enough to carry its picture."""
    vertices, triangles, uv = config.from_center(part.points).astype(np.float32), part.triangles, part.uv
    while _median_edge(vertices, triangles) > _FINEST_MM and 4 * len(triangles) <= most:
        vertices, triangles, uv = subdivided(vertices, triangles, uv)
    return vertices, triangles, part.colour_at(uv)


def _require_landmarks(config: ScanConfig, vertices: np.ndarray) -> None:
    """Check that the scan passes through the three points that were given."""
    for name in ("right_tragus", "left_tragus", "chin"):
        point = config.from_center(np.array(getattr(config, name)))
        away_mm = float(np.sqrt(((vertices - point) ** 2).sum(axis=1).min()))
        if not away_mm <= _AWAY_MM:
            fix = "Give the points in the file's units and axes, and mm_per_unit."
            got = f"{away_mm:.0f} mm from the nearest point of the scan"
            raise InputError.of(f"ScanConfig.{name}", got, f"{_AWAY_MM:g} mm or less", fix)


def _joined(
    vertices: np.ndarray, triangles: np.ndarray, colour: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Merge the vertices of one place, with their mean colour: the texture's seams must not show in the shading."""
    keys = np.round(vertices / _SAME_PLACE_MM).astype(np.int64)
    _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    index = index.reshape(-1)
    count = np.bincount(index)
    mean = np.stack([np.bincount(index, colour[:, channel]) for channel in range(3)], axis=1) / count[:, None]
    return vertices[first].astype(np.float64), index[triangles].astype(np.int32), mean
