# SPDX-License-Identifier: Apache-2.0
"""Writes the set in the layout of Pandora's processed crops: one sequence a person, resumable, the same for a seed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedepth_edge.errors import ConfigError
from train.crosscheck.body_model import BodyModel
from train.crosscheck.camera import sample_placement, sample_turned_placement
from train.crosscheck.figure import Atelier, Figure
from train.crosscheck.hair import Styles
from train.crosscheck.path_tracer import PathTracer
from train.crosscheck.person import Person, sample_expression, sample_person
from train.crosscheck.shot import Film, shoot
from train.data.crops_set import sequence_folder, sequence_of
from train.data.crops_writer import CropFrame, SetNote, start_set, write_frames
from train.units import REACH_MM


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
        turned: share of the frames in which the head is turned away from the camera and shows no face.
    """

    subjects: int = 36
    mean_subjects: int = 4
    frames: int = 8
    seed: int = 0
    samples: int = 24
    crop_px: int = 144
    margin: float = 1.5
    turned: float = 0.0

    def __post_init__(self) -> None:
        for name in ("subjects", "mean_subjects", "frames", "samples", "crop_px"):
            if not getattr(self, name) >= 1:
                raise ConfigError.of(f"CrossConfig.{name}", getattr(self, name), ">= 1", "Give a number from 1 up.")
        if not 1 <= self.margin < math.inf:
            raise ConfigError.of("CrossConfig.margin", self.margin, "a number from 1 up", "The crop must hold the box.")
        if not 0 <= self.turned <= 1:
            raise ConfigError.of("CrossConfig.turned", self.turned, "0 to 1", "Give a share.")
        if self.seed < 0:
            raise ConfigError.of("CrossConfig.seed", self.seed, ">= 0", "Give a number from 0 up.")

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
        turned = config.turned > 0 and rng.uniform() < config.turned
        pose = sample_turned_placement(rng) if turned else sample_placement(rng)
        own, body = figure.parts(actions, gaze, pose.torso_from_head)
        attributes = {
            "hair": person.hair,
            "beard": person.beard,
            "glasses": person.glasses,
            "infrared": person.infrared,
            "tone": round(person.tone, 4),
            "age": round(person.phenotype["age"], 4),
            "female": person.female,
            "jaw_open": round(actions.get("jawOpen", 0.0), 3),
            **({"turned_away": turned} if config.turned > 0 else {}),
        }
        film = Film(config.crop_px, config.margin, config.samples)
        return shoot(self.tracer, film, own, body, pose, frame, attributes, rng, infrared=person.infrared)


def set_note(config: CrossConfig, *, hair: bool) -> SetNote:
    """Return what dataset.json says of the set."""
    generator = {"name": "train.crosscheck", **asdict(config), "hair": hair}
    if config.turned == 0:
        del generator["turned"]  # sets that are older than the setting do not have it
    return SetNote(config.crop_px, config.margin, REACH_MM, config.seed, config.splits(), config.frames, generator)


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
    numbers = [*note.subjects["train"], *note.subjects["test"]]
    for number in tqdm(numbers, unit="person", desc="render"):
        folder = sequence_folder(out, sequence_of(number, 1))
        if folder.is_dir():
            continue
        workshop = workshop or Workshop(config, styles, variant, threads)
        person = workshop.person(number)
        figure = Figure(workshop.atelier, person)
        write_frames(folder, [workshop.frame(figure, person, number, frame) for frame in range(config.frames)])
