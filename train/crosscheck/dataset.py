# SPDX-License-Identifier: Apache-2.0
"""Writes the set in the layout of Pandora's processed crops: one sequence a person, resumable, the same for a seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from facedepth_edge.errors import ConfigError
from train.crosscheck.body_model import BodyModel
from train.crosscheck.camera import REACH_MM, crop_view, develop, pixel_slopes, sample_placement
from train.crosscheck.depth_truth import Truth, head_distance
from train.crosscheck.figure import Atelier, Figure
from train.crosscheck.hair import Styles
from train.crosscheck.path_tracer import PathTracer
from train.crosscheck.person import Person, sample_expression, sample_person
from train.crosscheck.surroundings import sample_background, sample_light
from train.data.crops_set import HEAD_LABELS, SEQUENCES_PER_SUBJECT
from train.data.crops_writer import CropFrame, start_set, write_frames

_BRIGHTEST = 12.0  # times the mean: paths that found a lamp by chance are cut off there


@dataclass(frozen=True)
class CrossConfig:
    """The set.

    Attributes:
        subjects: persons of the test split.
        mean_subjects: further persons, the train split: `train.evaluate` takes its mean face from them, nothing learns.
        frames: frames a person.
        seed: everything follows from it.
        samples: paths a pixel.
        crop_px: rows and columns of a crop.
        margin: a crop reaches over margin * 320 mm at the head's distance.
    """

    subjects: int = 36
    mean_subjects: int = 4
    frames: int = 8
    seed: int = 0
    samples: int = 24
    crop_px: int = 144
    margin: float = 1.5

    def __post_init__(self) -> None:
        for name in ("subjects", "mean_subjects", "frames", "samples", "crop_px"):
            if getattr(self, name) < 1:
                raise ConfigError.of(f"CrossConfig.{name}", getattr(self, name), ">= 1", "Give a positive number.")

    def splits(self) -> dict[str, list[int]]:
        """Return the person numbers of train, val and test."""
        last = self.subjects + self.mean_subjects
        return {"train": list(range(self.subjects + 1, last + 1)), "val": [], "test": list(range(1, self.subjects + 1))}


class Workshop:
    """Everything that a set needs; one a process.

    Args:
        config: the set.
        styles: folder of modelled hair, or None.
        variant: Mitsuba's variant.
        threads: of the path tracer.
    """

    def __init__(self, config: CrossConfig, styles: Path | None, variant: str, threads: int) -> None:
        self.config = config
        self.tracer = PathTracer(variant, threads)
        self.model = BodyModel()
        self.styles = Styles(styles, self.model.template)
        self.atelier = Atelier(self.model, self.styles)

    def person(self, number: int) -> Person:
        """Return a person (1-based) of the set."""
        return sample_person(self.config.seed, number, self.model.local_labels, list(self.styles))

    def frame(self, figure: Figure, person: Person, number: int, frame: int) -> CropFrame:
        """Render one frame of a person, the same for the same seed."""
        config = self.config
        rng = np.random.default_rng([config.seed, 12, number, frame])
        actions, gaze = sample_expression(rng, self.model.action_labels)
        pose = sample_placement(rng)
        centre = pose.centre_mm
        own, body = figure.parts(actions, gaze, pose.torso_from_head)
        own = [part.moved(pose.camera_from_head, centre) for part in own]
        body = [part.moved(pose.camera_from_head, centre) for part in body]
        behind = sample_background(rng, centre, infrared=person.infrared)
        light, kind = sample_light(rng, centre, infrared=person.infrared)
        distance = head_distance(own, centre)
        focal, principal = crop_view(centre, distance, config.crop_px, config.margin)
        slopes = pixel_slopes(focal, principal, config.crop_px)
        depth, label = Truth([*own, *body, *behind]).look(slopes)
        alone = np.isfinite(Truth(own).look(slopes)[0])
        head = np.isin(label, HEAD_LABELS)
        parts = [*own, *body, *behind]
        seed = int(rng.integers(2**31))
        radiance = self.tracer.render(parts, light, focal, principal, config.crop_px, config.samples, seed)
        if head.any():
            radiance = np.minimum(radiance, _BRIGHTEST * float(radiance[head].mean()))
        note = {
            "frame": frame,
            "distance_mm": round(distance, 2),
            "visible": round(float((alone & head).sum() / max(int(alone.sum()), 1)), 4),
            "face": True,
            "focal_px": round(focal, 4),
            "principal_xy": [round(c, 4) for c in principal],
            "head_center_xy": [config.crop_px / 2, config.crop_px / 2],
            "head_center_mm": [round(float(c), 3) for c in centre],
            "attributes": {
                "hair": person.hair,
                "beard": person.beard,
                "glasses": person.glasses,
                "infrared": person.infrared,
                "tone": round(person.tone, 4),
                "age": round(person.phenotype["age"], 4),
                "female": person.female,
                "light": kind,
                "jaw_open": round(actions.get("jawOpen", 0.0), 3),
            },
        }
        picture = develop(radiance, head, rng, infrared=person.infrared)
        return CropFrame(picture, depth_picture(depth), label, pose.angles_deg, note)


def depth_picture(depth_mm: np.ndarray) -> np.ndarray:
    """Round z to a 16-bit millimetre image; 0 where no ray hit anything."""
    return np.where(np.isfinite(depth_mm), np.clip(np.round(depth_mm), 1, 65535), 0).astype(np.uint16)


def set_note(config: CrossConfig, *, hair: bool) -> dict[str, Any]:
    """Return what dataset.json says of the set."""
    return {
        "crop_px": config.crop_px,
        "margin": config.margin,
        "reach_mm": REACH_MM,
        "seed": config.seed,
        "subjects": config.splits(),
        "frames": config.frames,
        "generator": {"name": "train.crosscheck", **asdict(config), "hair": hair},
    }


def render_set(
    config: CrossConfig, out: Path, styles: Path | None, variant: str = "scalar_rgb", threads: int = 1
) -> None:
    """Render a whole set, or what is still missing of it.

    Args:
        config: the set.
        out: its folder; one that holds another configuration's set is refused.
        styles: folder of modelled hair, or None to do without it.
        variant: Mitsuba's variant.
        threads: of the path tracer.

    Raises:
        ConfigError: `out` holds a set of other settings.
        BackendUnavailable: anny or mitsuba is not installed.
    """
    note = set_note(config, hair=styles is not None)
    start_set(out, note)
    workshop: Workshop | None = None
    numbers = [*note["subjects"]["train"], *note["subjects"]["test"]]
    for number in tqdm(numbers, unit="person", desc="render"):
        folder = out / f"{(number - 1) * SEQUENCES_PER_SUBJECT + 1:03d}"
        if folder.is_dir():
            continue
        workshop = workshop or Workshop(config, styles, variant, threads)
        person = workshop.person(number)
        figure = Figure(workshop.atelier, person)
        write_frames(folder, [workshop.frame(figure, person, number, frame) for frame in range(config.frames)])
