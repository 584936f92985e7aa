# SPDX-License-Identifier: Apache-2.0
"""Who is rendered and in what outfit: subjects keep shape and skin, every sequence draws hair and clothes anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from train.synth.hair import HairStyle, modelled_style, sample_style, style_of_kind, swept_style
from train.synth.hair_ears import ear_style
from train.synth.skin import SkinTraits, sample_traits
from train.synth.streams import Stream
from train.synth.warp import Warp, sample_warp

_WIDEST_JAW = 1.3  # of jawOpen: 50 mm between the lips, 39 at 1; beyond, the skin under the chin folds
_MOUTH_OPENERS = ("jawOpen", "mouthFunnel", "mouthUpperUp_L", "mouthLowerDown_L", "mouthSmile_L", "mouthStretch_L")


@dataclass(frozen=True)
class Subject:
    """One person.

    Attributes:
        number: 1-based.
        identity: (100,) weights of the head model.
        scale: (3,) width, height and depth of the head relative to the model's.
        traits: skin, brows, eyes, hair colour.
        warp: what bends the scaled head further, or None.
    """

    number: int
    identity: np.ndarray
    scale: np.ndarray
    traits: SkinTraits
    warp: Warp | None = None


@dataclass(frozen=True)
class Outfit:
    """What a subject wears in one sequence, and which camera looks.

    Attributes:
        style: the hair.
        hair_colour: (3,), now and then dyed.
        beard: "none", "stubble", "short", "full", "moustache".
        beard_mm: its length.
        glasses: "none", "clear", "dark".
        hat: "none", "cap", "beanie", "scarf".
        face_mask: a mask over mouth and nose.
        makeup: 0..1.
        seat: a car seat with a headrest behind the head.
        infrared: a 940 nm camera with a flash.
        occlusion_rate: share of the frames with something in front of the face.
        seed: of everything else in the sequence (patterns, garments).
        portrait: a photographer's picture: a good camera from afar, and a head turned a little.
        driver: what a driver camera sees: near infra-red, lit by its own near flash, from below.
        hair_floor: albedo of black hair in the near infra-red, see `skin.hair_albedo`.
        bare: a bare head on its clothed torso: no hair, beard, glasses or hat, and nothing before it.
        mouth_shade: brightness of the open mouth's inside relative to lit flesh: what the lips shade is darker.
    """

    style: HairStyle
    hair_colour: tuple[float, float, float]
    beard: str
    beard_mm: float
    glasses: str
    hat: str
    face_mask: bool
    makeup: float
    seat: bool
    infrared: bool
    occlusion_rate: float
    seed: int
    portrait: bool = False
    driver: bool = False
    hair_floor: float = 0.10
    bare: bool = False
    mouth_shade: float = 1.0


@dataclass(frozen=True)
class OutfitShares:
    """Which shares of a set's outfits are not everyday ones.

    Where several fall on one outfit, the last of the first four decides its hair, and the last of all the rest.

    Attributes:
        swept: with `swept_style`'s hair.
        modelled: with modelled hair.
        ears: with `ear_style`'s hair.
        styles: share by kind of `hair.KINDS_MM` or name of a modelled style; at most 1 in all.
        portraits: portraits: nothing covers the face, no hat, no infra-red.
        drivers: a driver camera took the sequence.
        bare: bare heads.
    """

    swept: float = 0.0
    modelled: float = 0.0
    ears: float = 0.0
    styles: Mapping[str, float] = field(default_factory=dict)
    portraits: float = 0.0
    drivers: float = 0.0
    bare: float = 0.0


EVERYDAY = OutfitShares()


def sample_subject(seed: int, number: int, proportions: float = 0.0, warp_mm: float = 0.0) -> Subject:
    """Draw the subject `number` of a set; the same arguments give the same person.

    Args:
        seed: the set's.
        number: 1-based.
        proportions: standard deviation of each of width, height and depth by itself, beside the whole head's size; the
            head model's people are alike in them.
        warp_mm: RMS length of the displacements that bend the head beyond the head model's variety, see `warp.Warp`.
    """
    rng = Stream.SUBJECT.rng(seed, number)
    stretch = np.clip(Stream.PROPORTIONS.rng(seed, number).normal(0, 1, 3), -2, 2)
    return Subject(
        number=number,
        identity=np.clip(rng.normal(0, 0.95, 100), -2.6, 2.6).astype(np.float32),
        scale=np.clip(rng.normal(1.0, 0.03), 0.92, 1.08) * (1 + proportions * stretch),
        traits=sample_traits(rng),
        warp=sample_warp(Stream.WARP.rng(seed, number), warp_mm) if warp_mm > 0 else None,
    )


def sample_outfit(
    seed: int, subject: Subject, sequence: int, cards: list[str], shares: OutfitShares = EVERYDAY
) -> Outfit:
    """Draw the outfit of one of the subject's sequences, 1..5; S4 and S5 have occlusions and camouflage.

    Args:
        seed: the set's.
        subject: who wears it.
        sequence: 1..5.
        cards: names of the modelled hair styles; not empty where `shares.modelled` is above 0.
        shares: how often it is no everyday outfit.
    """
    key = (seed, subject.number, sequence)
    outfit = _everyday_outfit(key, subject, cards)
    outfit = replace(outfit, style=_shared_style(key, shares, cards) or outfit.style)
    if _drawn(Stream.BARE, key, shares.bare):
        return _bare_outfit(outfit)
    if rng := _drawn(Stream.DRIVER, key, shares.drivers):
        return _driver_outfit(outfit, rng)
    if rng := _drawn(Stream.PORTRAIT, key, shares.portraits):
        return _portrait_outfit(outfit, rng, _is_beardless(seed, subject.number))
    return outfit


def _shared_style(key: tuple[int, int, int], shares: OutfitShares, cards: list[str]) -> HairStyle | None:
    """Draw the hair of an outfit that falls into a share of hair; None for the others."""
    if style := _asked_style(Stream.STYLES.rng(*key), shares.styles, cards):
        return style
    if rng := _drawn(Stream.EARS, key, shares.ears):
        return ear_style(rng)
    if rng := _drawn(Stream.MODELLED, key, shares.modelled):
        return modelled_style(rng, cards)
    if rng := _drawn(Stream.SWEPT, key, shares.swept):
        return swept_style(rng)
    return None


def _drawn(stream: Stream, key: tuple[int, int, int], share: float) -> np.random.Generator | None:
    """Return the stream's generator, one number on, if that number falls into the share."""
    rng = stream.rng(*key)
    return rng if rng.uniform() < share else None


def _is_beardless(seed: int, number: int) -> bool:
    return bool(Stream.BEARD.rng(seed, number).uniform() < 0.5)


def _everyday_outfit(key: tuple[int, int, int], subject: Subject, cards: list[str]) -> Outfit:
    seed, number, sequence = key
    rng = Stream.OUTFIT.rng(*key)
    free = sequence >= 4
    beardless = _is_beardless(seed, number)
    beard = str(rng.choice(["none", "stubble", "short", "full", "moustache"], p=[0.3, 0.3, 0.17, 0.15, 0.08]))
    if beardless:
        beard = "none"
    style = sample_style(rng, subject.traits.age if not beardless else 0.3 * subject.traits.age, cards)
    hat = str(
        rng.choice(["none", "cap", "beanie", "scarf"], p=[0.76, 0.09, 0.07, 0.08] if free else [0.93, 0.03, 0.02, 0.02])
    )
    dyed = rng.uniform() < 0.06
    return Outfit(
        style=style,
        hair_colour=tuple(rng.uniform(0.03, 0.5, 3)) if dyed else subject.traits.hair_colour,
        beard=beard,
        beard_mm={
            "none": 0.0,
            "stubble": 0.0,
            "short": rng.uniform(1.5, 5),
            "full": rng.uniform(6, 32),
            "moustache": rng.uniform(2, 5),
        }[beard],
        glasses=str(rng.choice(["none", "clear", "dark"], p=[0.56, 0.26, 0.18] if free else [0.66, 0.28, 0.06])),
        hat=hat,
        face_mask=bool(rng.uniform() < (0.13 if free else 0.02)),
        makeup=float(rng.uniform(0, 1)) if beardless and rng.uniform() < 0.6 else 0.0,
        seat=bool(rng.uniform() < 0.35),
        infrared=bool(rng.uniform() < 0.28),
        occlusion_rate=0.4 if free else 0.04,
        seed=int(rng.integers(2**31)),
    )


def _bare_outfit(outfit: Outfit) -> Outfit:
    return replace(
        outfit, style=HairStyle("bald"), beard="none", beard_mm=0.0, glasses="none", hat="none", face_mask=False,
        seat=False, occlusion_rate=0.0, bare=True,
    )  # fmt: skip


def _driver_outfit(outfit: Outfit, rng: np.random.Generator) -> Outfit:
    dark = float(rng.uniform(-0.03, 0.1))  # black hair comes out from black to the grey of 940 nm
    return replace(outfit, infrared=True, driver=True, hair_floor=dark, mouth_shade=_sample_mouth_shade(rng))


def _portrait_outfit(outfit: Outfit, rng: np.random.Generator, beardless: bool) -> Outfit:
    glasses = "clear" if outfit.glasses != "none" and rng.uniform() < 0.6 else "none"
    makeup = float(rng.uniform(0.3, 1)) if beardless else 0.0
    return replace(
        outfit, glasses=glasses, hat="none", face_mask=False, makeup=makeup, seat=False, infrared=False,
        occlusion_rate=0.0, portrait=True, mouth_shade=_sample_mouth_shade(rng),
    )  # fmt: skip


def _asked_style(rng: np.random.Generator, styles: Mapping[str, float], cards: list[str]) -> HairStyle | None:
    """Draw one of the styles by their shares; None for the rest."""
    drawn = rng.uniform()
    for name, share in sorted(styles.items()):  # a set's note does not keep their order
        if drawn < share:
            return modelled_style(rng, [name]) if name in cards else style_of_kind(rng, name, 0.5, cards)
        drawn -= share
    return None


def _sample_mouth_shade(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(0.12), 0.0)))


def portrait_traits(traits: SkinTraits, seed: int) -> SkinTraits:
    """Return the traits with brows as dense as photographs show them; `sample_traits` draws thinner ones."""
    return replace(traits, brow_density=float(Stream.PORTRAIT_BROWS.rng(seed).uniform(1.6, 2.6)))


def sample_expression(rng: np.random.Generator, names: tuple[str, ...]) -> dict[str, float]:
    """Draw weights of the expression space: neutral, smile, talk, or anything; gaze and blinks over it."""
    weights: dict[str, float] = {}

    def both(name: str, value: float, imbalance: float = 0.15) -> None:
        for side in ("_L", "_R"):
            weights[name + side] = float(np.clip(value * (1 + rng.normal(0, imbalance)), 0, 1))

    kind = rng.choice(["neutral", "smile", "talk", "surprise", "any"], p=[0.28, 0.22, 0.22, 0.08, 0.2])
    if kind == "smile":
        strength = rng.uniform(0.2, 1.0)
        both("mouthSmile", strength)
        both("cheekSquint", strength * rng.uniform(0.2, 0.8))
        both("mouthUpperUp", strength * rng.uniform(0, 0.5))
        weights["jawOpen"] = float(rng.uniform(0, 0.25) * strength)
    elif kind == "talk":
        weights["jawOpen"] = float(rng.beta(1.2, 2.2))
        weights["mouthFunnel"] = float(max(0.0, rng.normal(0, 0.4)))
        weights["mouthPucker"] = float(max(0.0, rng.normal(0, 0.4)))
        both("mouthStretch", max(0.0, rng.normal(0, 0.3)))
        both("mouthLowerDown", max(0.0, rng.normal(0, 0.3)))
    elif kind == "surprise":
        weights["jawOpen"] = float(rng.uniform(0.3, 1.0))
        both("browOuterUp", rng.uniform(0.3, 1))
        both("browInnerUp", rng.uniform(0.3, 1))
        both("eyeWide", rng.uniform(0.2, 1))
    elif kind == "any":
        free = [n for n in names if not n.startswith(("eyeLook", "Pupil", "eyeBlink", "mouthClose"))]
        for name in rng.choice(free, int(rng.integers(2, 7)), replace=False):
            weights[str(name)] = float(rng.uniform(0.1, 0.8))
    if rng.uniform() < 0.5:
        both("browDown" if rng.uniform() < 0.5 else "browOuterUp", max(0.0, rng.normal(0, 0.4)))
    if rng.uniform() < 0.13:
        both("eyeBlink", rng.uniform(0.4, 1.0) if rng.uniform() < 0.5 else 1.0, 0.02)
    elif rng.uniform() < 0.4:
        both("eyeSquint", abs(rng.normal(0, 0.4)))
    across, up = rng.normal(0, 0.35), rng.normal(-0.05, 0.25)
    weights["eyeLookOut_L" if across > 0 else "eyeLookIn_L"] = float(min(abs(across), 1))
    weights["eyeLookIn_R" if across > 0 else "eyeLookOut_R"] = float(min(abs(across), 1))
    both("eyeLookUp" if up > 0 else "eyeLookDown", min(abs(up), 1.0), 0.0)
    return {name: weight for name, weight in weights.items() if weight > 0.005 and name in names}


def yawned(rng: np.random.Generator, expression: dict[str, float], names: tuple[str, ...]) -> dict[str, float]:
    """Open the mouth wide in a third of the expressions, and close the eyes in a third of these.

    Args:
        rng: source of randomness.
        expression: weights of `sample_expression`.
        names: the head model's expressions.

    Returns:
        The weights, or others.
    """
    if rng.uniform() >= 1 / 3:
        return expression
    wide = {name: weight for name, weight in expression.items() if not name.startswith(("mouth", "jaw"))}
    jaw = float(rng.uniform(0.45, _WIDEST_JAW))
    wide["mouthFunnel"] = float(max(0.0, rng.normal(0.1, 0.3)))
    if rng.uniform() < 1 / 3:
        wide = {name: weight for name, weight in wide.items() if not name.startswith(("eyeWide", "eyeSquint"))}
        wide |= {"eyeBlink_L": 1.0, "eyeBlink_R": 1.0}
    wide = {name: min(weight, 1.0) for name, weight in wide.items()} | {"jawOpen": jaw}
    return {name: weight for name, weight in wide.items() if weight > 0.005 and name in names}


def shows_teeth(expression: dict[str, float]) -> bool:
    """Say whether the lips part, so that gums and teeth must be in the scene."""
    return any(expression.get(name, 0.0) > 0.04 for name in _MOUTH_OPENERS)
