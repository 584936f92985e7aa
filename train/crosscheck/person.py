# SPDX-License-Identifier: Apache-2.0
"""Who is rendered: shape parameters, colours and hair of a person, and the expression of a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FACE_GROUPS = ("cheek", "chin", "ear", "eye", "eyebrows", "forehead", "head", "mouth", "nose", "neck")
_FACE_SPREAD = 0.27
_SKULL_SPREAD = 0.12  # a larger one makes eggs
_ACTIONS_OF_TALK = ("mouthFunnel", "mouthPucker", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthShrugUpper")


@dataclass(frozen=True)
class Person:
    """One person.

    Attributes:
        phenotype: Anny's global parameters, 0..1.
        local: Anny's local changes, -1..1.
        tone: darkness of the skin, 0..1.
        ruddy: redness of cheeks, nose and lips, 0..1.
        spots: share of freckles and moles, 0..1.
        hair_colour: (3,) linear RGB.
        iris_colour: (3,) linear RGB.
        hair: "bald", "buzz", "short", or the name of modelled hair.
        hair_mm: thickness of grown hair.
        receding: 0..1, how far the hairline has moved up.
        brows: strength of the brows, 0..1.
        beard: "none", "stubble", "short", "full".
        glasses: "none", "clear", "dark".
        infrared: filmed by a near infra-red camera with its own flash.
        seed: of everything else.
    """

    phenotype: dict[str, float]
    local: dict[str, float]
    tone: float
    ruddy: float
    spots: float
    hair_colour: tuple[float, float, float]
    iris_colour: tuple[float, float, float]
    hair: str
    hair_mm: float
    receding: float
    brows: float
    beard: str
    glasses: str
    infrared: bool
    seed: int

    @property
    def female(self) -> bool:
        """Whether the shape is nearer to the model's female end."""
        return self.phenotype["gender"] > 0.5


def sample_person(seed: int, number: int, local_labels: tuple[str, ...], styles: list[str]) -> Person:
    """Draw person `number` (1-based); the same seed gives the same person.

    Args:
        seed: of the set.
        number: which person.
        local_labels: the model's local changes.
        styles: names of modelled hair; may be empty.
    """
    rng = np.random.default_rng([seed, 11, number])
    origin = rng.dirichlet([0.45, 0.45, 0.45])
    age = float(rng.uniform(0.58, 1.0))
    phenotype = {
        "gender": float(np.clip(rng.choice([0.1, 0.9]) + rng.normal(0, 0.12), 0, 1)),
        "age": age,
        "muscle": float(rng.uniform(0.2, 0.8)),
        "weight": float(rng.uniform(0.15, 0.95)),
        "height": float(rng.uniform(0.3, 0.7)),
        "proportions": float(rng.uniform(0.2, 1.0)),
        "african": float(origin[0]),
        "asian": float(origin[1]),
        "caucasian": float(origin[2]),
    }
    tone = float(np.clip(0.85 * origin[0] + 0.32 * origin[1] + 0.15 * origin[2] + rng.normal(0, 0.14), 0, 1))
    female = phenotype["gender"] > 0.5
    gray = age > 0.85 and rng.uniform() < 0.7
    dark = np.array([0.012, 0.009, 0.007])
    light = np.array([0.34, 0.22, 0.10]) if tone < 0.4 else np.array([0.05, 0.03, 0.02])
    colour = dark + (light - dark) * rng.uniform() ** 2
    colour = np.full(3, rng.uniform(0.15, 0.5)) if gray else colour
    iris = np.array([[0.08, 0.04, 0.015], [0.16, 0.10, 0.04], [0.12, 0.22, 0.32], [0.16, 0.22, 0.12]])
    chance = [0.25, 0.2, 0.15] if not female else [0.03, 0.05, 0.12]
    hair = str(rng.choice(["bald", "buzz", "short", "styled"], p=[*chance, 1 - sum(chance)]))
    if hair == "styled":
        long = [name for name in styles if not name.startswith("short")]
        cut = [name for name in styles if name.startswith("short")]
        choice = (long if rng.uniform() < (0.75 if female else 0.15) else cut) or styles
        hair = str(rng.choice(choice)) if choice else "short"
    return Person(
        phenotype=phenotype,
        local=sample_local(rng, local_labels),
        tone=tone,
        ruddy=float(rng.uniform(0.1, 1.0)),
        spots=float(rng.uniform() ** 2),
        hair_colour=tuple(colour),
        iris_colour=tuple(iris[0 if tone > 0.5 else rng.integers(4)] * rng.uniform(0.6, 1.3)),
        hair=hair,
        hair_mm=float(rng.uniform(4, 16)),
        receding=0.0 if female else float(rng.uniform() ** 2),
        brows=float(rng.uniform(0.3, 1.0)),
        beard="none" if female else str(rng.choice(["none", "stubble", "short", "full"], p=[0.4, 0.3, 0.2, 0.1])),
        glasses=str(rng.choice(["none", "clear", "dark"], p=[0.72, 0.2, 0.08])),
        infrared=bool(rng.uniform() < 0.25),
        seed=int(rng.integers(2**31)),
    )


def sample_local(rng: np.random.Generator, labels: tuple[str, ...]) -> dict[str, float]:
    """Draw the face's local changes: both sides nearly alike, the rest of the body left alone."""
    out: dict[str, float] = {}
    shared: dict[str, float] = {}
    for label in labels:
        name = label[2:] if label.startswith(("l-", "r-")) else label
        if not name.startswith(_FACE_GROUPS):
            continue
        spread = _SKULL_SPREAD if name.startswith(("head", "neck", "forehead")) else _FACE_SPREAD
        value = shared.setdefault(name, float(rng.normal(0, spread)))
        out[label] = float(np.clip(value + rng.normal(0, 0.05), -0.9, 0.9))
    return out


def sample_expression(rng: np.random.Generator, labels: tuple[str, ...]) -> tuple[dict[str, float], np.ndarray]:
    """Draw an expression.

    Returns:
        Facial actions, 0..1, and the gaze (right, down) as tangents of its angles to straight ahead.
    """
    weights: dict[str, float] = {}

    def both(name: str, value: float) -> None:
        for side in ("Left", "Right"):
            weights[name + side] = float(np.clip(value + rng.normal(0, 0.08), 0, 1))

    kind = rng.choice(["neutral", "smile", "talk", "surprise", "any"], p=[0.35, 0.2, 0.2, 0.1, 0.15])
    if kind == "smile":
        strength = rng.uniform(0.2, 1.0)
        both("mouthSmile", strength)
        both("cheekSquint", 0.5 * strength)
        weights["jawOpen"] = float(rng.uniform(0, 0.25) * strength)
    elif kind == "talk":
        weights["jawOpen"] = float(rng.beta(1.3, 2.5))
        for name in _ACTIONS_OF_TALK:
            weights[name] = float(max(0.0, rng.normal(0, 0.35)))
    elif kind == "surprise":
        weights["jawOpen"] = float(rng.uniform(0.3, 1.0))
        both("browOuterUp", rng.uniform(0.3, 1))
        weights["browInnerUp"] = float(rng.uniform(0.3, 1))
    elif kind == "any":
        free = [name for name in labels if not name.startswith(("eyeLook", "eyeBlink", "mouthClose", "tongue"))]
        for name in rng.choice(free, 4, replace=False):
            weights[str(name)] = float(rng.uniform(0.1, 0.7))
    if rng.uniform() < 0.12:
        both("eyeBlink", rng.choice([1.0, rng.uniform(0.3, 0.9)]))
    gaze = np.clip(rng.normal([0, 0.05], [0.22, 0.12]), -0.5, 0.5)
    return {name: min(value, 1.0) for name, value in weights.items() if name in labels and value > 0.005}, gaze
