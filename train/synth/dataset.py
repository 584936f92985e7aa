# SPDX-License-Identifier: Apache-2.0
"""Writes a rendered set in the layout of Pandora's processed crops: many processes, resumable, the same for a seed."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from facedepth_edge.errors import ConfigError
from train.data.crops_set import SEQUENCES_PER_SUBJECT, sequence_folder, sequence_of
from train.data.crops_writer import CropFrame, SetNote, frame_note, start_set, write_frames
from train.data.shapes import FILE as SHAPES_FILE
from train.data.shapes import read_shapes, write_shapes
from train.synth.assemble import PosedHead, Wardrobe, dress, pose_head
from train.synth.hair import KINDS_MM
from train.synth.hair_cards import CardHair, load_cards
from train.synth.headmodel import HeadModel
from train.synth.motion import sample_turned_angles
from train.synth.shot import Shot, shoot
from train.synth.skin import FaceCanvas
from train.synth.sources import source_digests
from train.synth.streams import Stream
from train.synth.subject import (
    Outfit,
    OutfitShares,
    Subject,
    sample_expression,
    sample_outfit,
    sample_subject,
    yawned,
)
from train.synth.tongue import Tongue, with_tongue
from train.units import REACH_MM

SHARES = {
    "swept": "share of the outfits with hair close about the face: a bob or longer, swept to one side, often over an "
    "eye",
    "modelled": "share of the outfits with the modelled hair of --hair, beside those that have it anyway",
    "turned": "share of the frames with the head turned away: its back, its top or its throat, and no face",
    "portraits": "share of the sequences that a photographer took: clean, from farther away, the face free",
    "drivers": "share of the sequences that a driver camera took: near infra-red by its own near flash, from below",
    "bare": "share of the sequences of bare heads: no hair, beard, glasses or hat, and nothing held before them",
    "ears": "share of the outfits whose hair leaves the ears free or covers a part of them: sideburns, locks, nape, "
    "tucked",
    "tongues": "share of the expressions in which the tongue is put out or lifted in the open mouth",
}
"""Settings of SetConfig from 0 to 1, 0 leaves out, and the command line's help on them."""
_MOST_PROPORTIONS = 0.15
_MOST_WARP_MM = 6.0
_UNDER_MASK = 0.12  # how far a mouth moves under a face mask, of what it would without
_EMPTY_RATE = 0.04  # frames that look beside the head, so that a network can learn to say so


@dataclass(frozen=True)
class SetConfig:
    """A rendered set.

    Attributes:
        seed: everything follows from it.
        train_subjects, val_subjects, test_subjects: people in each split, numbered in this order from 1.
        frames: frames of a sequence; a subject has five sequences.
        frames_per_expression: frames that share an expression.
        crop_px: rows and columns of a crop.
        margin: a crop reaches over margin * 320 mm at the head's distance.
        pictures: False for depth and labels alone, for face verification: about a third of the cost.
        proportions: standard deviation of the heads' width, height and depth, each by itself, beside the head model's
            own variety; 0 to 0.15.
        warp_mm: RMS length in mm, over the face, of smooth displacements that bend the heads beyond the head model's
            variety (whose people are 7 mm from its mean); 0 to 6. Such people's shapes are not written.
        swept: share of the outfits with hair close about the face, often over an eye, see `hair.swept_style`.
        modelled: share of the outfits with modelled hair, beside those that have it anyway.
        turned: share of the frames in which the head is turned away from the camera and shows no face.
        portraits: share of the sequences that a photographer took: by a good camera, from farther away, in half of
            the frames the head turned a little and in half anywhere, with denser brows, and nothing that covers the
            face; mouths open wide in a third of the expressions.
        drivers: share of the sequences that a driver camera took: near infra-red, lit by its own near flash, from
            below, with little noise; mouths open wide in a third of the expressions. Over `portraits`.
        bare: share of the sequences of bare heads, without hair, glasses, clothes on the head or anything before it, on
            their clothed torso: of depth alone they cost half of the others. Over all other shares.
        ears: share of the outfits whose hair leaves the ears free or covers a part of them, see `hair_ears.ear_style`.
            Over `swept` and `modelled`.
        tongues: share of the expressions in which the tongue is put out or lifted in the open mouth, see `tongue`.
        styles: share of the outfits by kind of hair (`hair.KINDS_MM`, for example afro) or name of a modelled style,
            whatever it would have been; at most 1 in all. Over `ears`.
    """

    seed: int = 0
    train_subjects: int = 210
    val_subjects: int = 10
    test_subjects: int = 20
    frames: int = 20
    frames_per_expression: int = 5
    crop_px: int = 144
    margin: float = 1.5
    pictures: bool = True
    proportions: float = 0.0
    warp_mm: float = 0.0
    swept: float = 0.0
    modelled: float = 0.0
    turned: float = 0.0
    portraits: float = 0.0
    drivers: float = 0.0
    bare: float = 0.0
    ears: float = 0.0
    tongues: float = 0.0
    styles: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("train_subjects", "frames", "frames_per_expression", "crop_px"):
            if getattr(self, name) < 1:
                raise ConfigError.of(f"SetConfig.{name}", getattr(self, name), "at least 1", "Give a positive number.")
        if self.seed < 0:
            raise ConfigError.of("SetConfig.seed", self.seed, ">= 0", "Give a number from 0 up.")
        if self.val_subjects < 0 or self.test_subjects < 0:
            got = f"{self.val_subjects} validation and {self.test_subjects} test subjects"
            raise ConfigError.of("SetConfig", got, "0 or more", "Give no negative number.")
        for name, most in (("proportions", _MOST_PROPORTIONS), ("warp_mm", _MOST_WARP_MM)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                fix = "Heads are no longer heads beyond."
                raise ConfigError.of(f"SetConfig.{name}", value, f"0 to {most:g}", fix)
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError.of(f"SetConfig.{name}", getattr(self, name), "0 to 1", "Give a share.")
        shares = list(self.styles.values())
        if not (all(0 <= share <= 1 for share in shares) and sum(shares) <= 1 + 1e-9):
            rule = "shares from 0 to 1 of the outfits, at most 1 in all"
            raise ConfigError.of("SetConfig.styles", self.styles, rule, "Give smaller ones.")
        if not 1 <= self.margin < math.inf:
            fix = "The crop must hold eq. 6's box."
            raise ConfigError.of("SetConfig.margin", self.margin, "a number from 1 up", fix)

    @property
    def subjects(self) -> int:
        """How many people there are in all."""
        return self.train_subjects + self.val_subjects + self.test_subjects

    @property
    def outfit_shares(self) -> OutfitShares:
        """The shares that decide over outfits."""
        return OutfitShares(
            swept=self.swept,
            modelled=self.modelled,
            ears=self.ears,
            styles=self.styles,
            portraits=self.portraits,
            drivers=self.drivers,
            bare=self.bare,
        )

    def splits(self) -> dict[str, list[int]]:
        """Return the subject numbers of train, val and test."""
        first_val, first_test = self.train_subjects + 1, self.train_subjects + self.val_subjects + 1
        return {
            "train": list(range(1, first_val)),
            "val": list(range(first_val, first_test)),
            "test": list(range(first_test, self.subjects + 1)),
        }


class Studio:
    """Everything that the renderer needs for one set; one a process."""

    def __init__(self, config: SetConfig, head: str | Path, hair: str | Path | None) -> None:
        self.config = config
        self.model = HeadModel.load(head)
        self.canvas = FaceCanvas(self.model)
        self.cards: dict[str, CardHair] = load_cards(hair, self.model)
        if config.modelled > 0 and not self.cards:
            fix = "Give --hair a folder of modelled styles, or leave --modelled out."
            raise ConfigError.of("SetConfig.modelled", config.modelled, "0 without modelled hair", fix)
        known = {*(kind for kind in KINDS_MM if kind != "cards"), *self.cards}
        if not config.styles.keys() <= known:
            got, rule = ", ".join(sorted(config.styles.keys() - known)), f"names of {', '.join(sorted(known))}"
            raise ConfigError.of("SetConfig.styles", got, rule, "Correct them, or give --hair its folder.")

    def subject(self, number: int) -> Subject:
        """Return the set's person of a number, 1-based."""
        config = self.config
        return sample_subject(config.seed, number, config.proportions, config.warp_mm)

    def cast(self, number: int, sequence: int) -> tuple[Subject, Outfit, Wardrobe]:
        """Return a subject (1-based) dressed for one of its sequences (1..5)."""
        config = self.config
        subject = self.subject(number)
        outfit = sample_outfit(config.seed, subject, sequence, list(self.cards), config.outfit_shares)
        return subject, outfit, dress(self.canvas, subject, outfit, self.cards, config.pictures)

    def head(
        self,
        subject: Subject,
        outfit: Outfit,
        wardrobe: Wardrobe,
        expression: dict[str, float],
        tongue: Tongue | None = None,
    ) -> PosedHead:
        """Build the head's scene for one expression; under a face mask the mouth hardly moves."""
        if outfit.face_mask:
            tongue = None
            still = ("jaw", "mouth", "cheekPuff")
            expression = {n: w * (_UNDER_MASK if n.startswith(still) else 1.0) for n, w in expression.items()}
        return pose_head(self.model, subject, outfit, wardrobe, self.cards, expression, self.config.pictures, tongue)

    def shots(self, number: int, sequence: int) -> Iterator[tuple[int, Shot, bool, dict[str, object]]]:
        """Render a sequence: (frame, shot, whether it shows a face, attributes), the same for the same seed."""
        subject, outfit, wardrobe = self.cast(number, sequence)
        config = self.config
        head, expression, tongue = None, {}, None
        for frame in range(config.frames):
            rng = Stream.FRAME.rng(config.seed, number, sequence, frame)
            if frame % config.frames_per_expression == 0:
                expression = sample_expression(rng, self.model.expression_names)
                if outfit.driver or outfit.portrait:
                    expression = yawned(rng, expression, self.model.expression_names)
                if config.tongues > 0:
                    moves = Stream.TONGUE.rng(config.seed, number, sequence, frame)
                    expression, tongue = with_tongue(moves, expression, config.tongues)
                head = self.head(subject, outfit, wardrobe, expression, tongue)
            assert head is not None
            empty = rng.uniform() < _EMPTY_RATE
            angle = rng.uniform(0, np.pi)  # to the sides or below, never over the head
            aside = rng.uniform(270, 480) * np.array([np.cos(angle), np.sin(angle)]) if empty else None
            turned = config.turned > 0 and not empty and rng.uniform() < config.turned
            shot = shoot(
                self.model,
                head,
                outfit,
                wardrobe,
                sequence,
                rng,
                crop_px=config.crop_px,
                margin=config.margin,
                angles_deg=sample_turned_angles(rng) if turned else None,
                away_mm=aside,
                lit=config.pictures,
            )
            attributes = {
                "hair": "under a hat" if outfit.hat != "none" else outfit.style.card or outfit.style.kind,
                "beard": outfit.beard,
                "glasses": outfit.glasses,
                "hat": outfit.hat,
                "face_mask": outfit.face_mask,
                "infrared": outfit.infrared,
                "tone": round(subject.traits.tone, 4),
                "age": round(subject.traits.age, 4),
                "jaw_open": round(expression.get("jawOpen", 0.0) * (_UNDER_MASK if outfit.face_mask else 1.0), 3),
                **({"turned_away": turned} if config.turned > 0 else {}),
                **({"portrait": outfit.portrait} if config.portraits > 0 else {}),
                **({"driver": outfit.driver} if config.drivers > 0 else {}),
                **({"bare": outfit.bare} if config.bare > 0 else {}),
                **({"tongue": tongue is not None and not outfit.face_mask} if config.tongues > 0 else {}),
            }
            yield frame, shot, not (empty or turned), attributes


def write_sequence(studio: Studio, out: Path, number: int, sequence: int) -> Path:
    """Render and write one sequence; the folder appears under its name only when it is whole."""
    folder = sequence_folder(out, sequence_of(number, sequence))
    if not folder.is_dir():
        write_frames(folder, _frames(studio, number, sequence))
    return folder


def _frames(studio: Studio, number: int, sequence: int) -> Iterator[CropFrame]:
    for frame, shot, face, attributes in studio.shots(number, sequence):
        note = frame_note(
            frame=frame,
            distance_mm=shot.distance_mm,
            visible=shot.visible,
            face=face,
            focal_px=shot.focal_px,
            principal_xy=shot.principal_xy,
            head_center_xy=shot.head_center_xy,
            head_center_mm=shot.centre_mm,
            attributes=attributes,
        )
        picture = shot.picture if studio.config.pictures else None
        yield CropFrame(picture, shot.depth_mm, shot.label, shot.angles_deg, note)


def set_note(config: SetConfig, *, hair: bool, sources: dict[str, Any] | None = None) -> SetNote:
    """Return what dataset.json says of the set; `sources` as train.synth.sources has them."""
    generator: dict[str, Any] = {**asdict(config), "hair": hair}
    if sources is not None:
        generator["sources"] = sources
    # Sets that are older than a setting do not have it.
    as_before = {"proportions": 0.0, "warp_mm": 0.0, "pictures": True, "styles": {}, **dict.fromkeys(SHARES, 0.0)}
    for name, value in as_before.items():
        if generator[name] == value:
            del generator[name]
    # What an earlier version rendered otherwise: no set that it began is continued.
    if hair:
        generator["hair_seated"] = True  # before edge 0.6.0 styles hung too low
    if config.portraits or config.drivers:
        generator["mouths_dark"] = True  # up to edge 0.8.0 an open mouth was as bright inside as flesh in the light
        generator["mouths_wide"] = True  # up to edge 0.9.0 jawOpen ended at 1
    if config.portraits:
        generator["portraits_turn"] = True  # up to edge 0.8.0 all of them looked about into the camera
    if not config.pictures:
        generator["rays_per_pixel"] = 1  # up to edge 0.8.0 three, and other garments
    return SetNote(
        config.crop_px,
        config.margin,
        REACH_MM,
        config.seed,
        config.splits(),
        config.frames,
        generator,
        config.pictures,
    )


def set_shapes(config: SetConfig, model: HeadModel) -> np.ndarray:
    """Return the shapes of a set's people, (people, SHAPE_VALUES) float32, see train.data.shapes."""
    people = [sample_subject(config.seed, number, config.proportions) for number in range(1, config.subjects + 1)]
    return np.stack([model.shape_values(person.identity, person.scale) for person in people])


def _settle_shapes(out: Path, shapes: np.ndarray) -> None:
    """Write the people's shapes, or compare those that are there."""
    before = read_shapes(out)
    if before is None:
        write_shapes(out, shapes)
    elif not (before.shape == shapes.shape and np.allclose(before, shapes, atol=1e-3)):
        fix = "Give the --head that the set was begun with, or choose another --out."
        raise ConfigError.of(str(out / SHAPES_FILE), "the shapes of other people", "those of this head model", fix)


def render_set(config: SetConfig, head: Path, hair: Path | None, out: Path, processes: int) -> None:
    """Render a whole set, or what is still missing of it.

    Args:
        config: the set.
        head: the packed head model.
        hair: folder of modelled hair, or None to do without it.
        out: folder of the set; one that holds another configuration's set is refused.
        processes: how many to use.

    Raises:
        ConfigError: `out` holds a set of other settings, of another head model or of other hair, or modelled hair is
            asked for and there is none.
        InputError: Its shapes.npy is damaged.
    """
    studio = Studio(config, head, hair)  # first of all: what it refuses must leave no set behind, and no pool waiting
    start_set(out, set_note(config, hair=hair is not None, sources=source_digests(head, hair)))
    if not config.warp_mm:
        _settle_shapes(out, set_shapes(config, studio.model))
    # Test and validation subjects first: a set that is still growing can already be measured on.
    jobs = [(n, s) for n in range(config.subjects, 0, -1) for s in range(1, SEQUENCES_PER_SUBJECT + 1)]
    missing = [(n, s) for n, s in jobs if not sequence_folder(out, sequence_of(n, s)).is_dir()]
    done = len(jobs) - len(missing)
    bar = tqdm(total=len(jobs) * config.frames, initial=done * config.frames, unit="frame", desc="render")
    if processes == 1:
        for number, sequence in missing:
            write_sequence(studio, out, number, sequence)
            bar.update(config.frames)
    else:
        context = multiprocessing.get_context("spawn")
        with context.Pool(processes, _open_studio, (config, str(head), str(hair) if hair else None, str(out))) as pool:
            for _ in pool.imap_unordered(_write_job, missing):
                bar.update(config.frames)
    bar.close()


_STUDIO: Studio | None = None
_OUT = Path()


def _open_studio(config: SetConfig, head: str, hair: str | None, out: str) -> None:
    global _STUDIO, _OUT
    cv2.setNumThreads(1)
    _STUDIO, _OUT = Studio(config, head, hair), Path(out)


def _write_job(job: tuple[int, int]) -> str:
    assert _STUDIO is not None
    return str(write_sequence(_STUDIO, _OUT, *job))
