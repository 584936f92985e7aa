# SPDX-License-Identifier: Apache-2.0
"""How still the depth of a still head is, and how far DepthStream lags: `python -m train.stability --model PATH ...`.

Renders short recordings of test subjects: a head at rest under camera noise, and a head that turns. Each is predicted
frame by frame and through DepthStream, as a user calls them.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facedepth_edge import Camera, DepthResult, DepthStream, EdgeDepth
from facedepth_edge.errors import ConfigError
from train.command import Outcome, require_counts, run_command
from train.data.crops_set import HEAD_LABELS
from train.face_ellipse import face_ellipse
from train.synth.dataset import SetConfig, Studio
from train.synth.shot import FrameSize, Shot, shoot
from train.synth.streams import Stream

SEED, SUBJECTS = 1, 8
FPS = 30.0
SIZE_HW = (216, 288)
FOCAL_PX = 280.0
POSITION_MM = np.array([15.0, -10.0, 620.0])
NOISE_LEVELS = 3.0  # standard deviation of each pixel and frame, in gray levels of 255
STILL_FRAMES = 60
TURN_DEG, TURN_HZ, TURN_FRAMES = 22.0, 0.5, 40
MOST_LAG = 3  # in frames
SETTLED = 10  # frames that the stream gets before it is judged


@dataclass(frozen=True)
class Stability:
    """One subject's figures.

    Attributes:
        still_mm: root mean square of the change of depth from frame to frame over the face, head at rest: frame by
            frame, and through the stream.
        lag_frames: by how many frames the stream trails the frame-by-frame depth of the turning head.
        error_mm: mean error after the offset over the face of the turning head: frame by frame, and the stream.
    """

    still_mm: tuple[float, float]
    lag_frames: float
    error_mm: tuple[float, float]


def measure_subject(model: EdgeDepth, studio: Studio, number: int) -> Stability:
    """Render a subject's two recordings and measure the model on them.

    Args:
        model: The model; its camera is the renderer's.
        studio: The set that the subject is of.
        number: The subject, from 1.
    """
    rng = Stream.RECORDING_NOISE.rng(studio.config.seed, number)
    turn = TURN_DEG * np.sin(2 * math.pi * TURN_HZ * np.arange(TURN_FRAMES) / FPS)
    still, *turning = _record(studio, number, [4.0, *turn])
    alone, steady = _predict(model, [still] * STILL_FRAMES, rng)
    face = _face(alone[0])
    still_mm = tuple(_trembling(maps[SETTLED:], face) for maps in (_depths(alone), _depths(steady)))
    alone, steady = _predict(model, turning, rng)
    raw, filtered = _depths(alone), _depths(steady)
    errors = tuple(
        float(np.mean([_error(result, shot) for result, shot in zip(results, turning, strict=True)][SETTLED:]))
        for results in (alone, steady)
    )
    return Stability((still_mm[0], still_mm[1]), lag_frames(filtered, raw, face, SETTLED), (errors[0], errors[1]))


def measure(
    model: str | Path, head: Path, hair: Path | None, subjects: int = SUBJECTS, seed: int = SEED
) -> list[Stability]:
    """Render recordings of a set's first test subjects and measure a model on them.

    Args:
        model: Name or folder of an artifact.
        head: The packed head model.
        hair: Folder of modelled hair, or None.
        subjects: How many.
        seed: Of the set.

    Raises:
        ConfigError: The set has fewer test subjects.
    """
    studio = Studio(SetConfig(seed=seed), head, hair)
    people = studio.config.splits()["test"]
    if subjects > len(people):
        raise ConfigError.of("--subjects", subjects, f"1 to {len(people)}", "The set has no more test subjects.")
    with EdgeDepth(model, camera=Camera(FOCAL_PX, FOCAL_PX)) as opened:
        return [measure_subject(opened, studio, number) for number in tqdm(people[:subjects], desc="recordings")]


def lag_frames(filtered: np.ndarray, raw: np.ndarray, where: np.ndarray, first: int) -> float:
    """Return the delay of a filtered series that explains it best, in frames.

    Args:
        filtered: (T, H, W).
        raw: (T, H, W) what was filtered.
        where: (H, W) bool.
        first: frames before this one do not count; at least MOST_LAG, because lags up to that are tried.

    Returns:
        The lag with the least mean difference, in steps of 0.05.
    """
    if not MOST_LAG <= first < len(raw):
        rule = f"{MOST_LAG} to below the number of frames ({len(raw)})"
        raise ConfigError.of("lag_frames: first", first, rule, "Give a longer recording.")
    seen, given = filtered[first:, where], raw[:, where]
    lags = np.arange(0, MOST_LAG + 0.001, 0.05)

    def difference(lag: float) -> float:
        times = np.arange(first, len(given)) - lag
        before = np.floor(times).astype(int)
        part = (times - before)[:, None]
        after = np.minimum(before + 1, len(given) - 1)
        return float(np.abs(seen - (given[before] * (1 - part) + given[after] * part)).mean())

    return float(lags[int(np.argmin([difference(lag) for lag in lags]))])


def _record(studio: Studio, number: int, yaw_deg: Sequence[float]) -> list[Shot]:
    """Render one frame for each angle; light, background and expression stay the same."""
    subject, outfit, wardrobe = studio.cast(number, 1)
    outfit = replace(outfit, occlusion_rate=0.0)
    head = studio.head(subject, outfit, wardrobe, {})
    size = FrameSize(FOCAL_PX, SIZE_HW)
    return [
        shoot(
            studio.model, head, outfit, wardrobe, 1, Stream.RECORDING.rng(studio.config.seed, number),
            frame=size, position_mm=POSITION_MM, angles_deg=(0.0, 2.0, float(yaw)),
        )
        for yaw in yaw_deg
    ]  # fmt: skip


def _predict(
    model: EdgeDepth, shots: list[Shot], rng: np.random.Generator
) -> tuple[list[DepthResult], list[DepthResult]]:
    stream = DepthStream(model)
    alone, steady = [], []
    for i, shot in enumerate(shots):
        noisy = shot.picture + rng.normal(0, NOISE_LEVELS, shot.picture.shape)
        frame = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
        alone.append(model.predict(frame, shot.head_center_xy, distance_mm=shot.distance_mm))
        steady.append(stream.predict(frame, shot.head_center_xy, distance_mm=shot.distance_mm, time_s=i / FPS))
    return alone, steady


def _depths(results: list[DepthResult]) -> np.ndarray:
    """Return depth behind the head's distance, (T, H, W) mm: a change of distance is not the filter's."""
    return np.array([result.depth_mm - result.distance_mm for result in results])


def _face(result: DepthResult) -> np.ndarray:
    where = result.mask & face_ellipse(*result.mask.shape)
    if not where.any():
        rule = "a model that finds the rendered face"
        raise ConfigError.of("--model", "a mask without a face pixel", rule, "Give a trained model.")
    return where


def _trembling(maps: np.ndarray, where: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.diff(maps[:, where], axis=0) ** 2)))


def _error(result: DepthResult, shot: Shot) -> float:
    """Return the mean error over the face after removing the offset, against the rendered depth at the map's pixels."""
    x, y = (np.clip(np.floor(c).astype(int), 0, n - 1) for c, n in zip(
        result.pixel_centers(), reversed(shot.depth_mm.shape), strict=True)
    )  # fmt: skip
    truth, label = shot.depth_mm[np.ix_(y, x)].astype(np.float64), shot.label[np.ix_(y, x)]
    where = face_ellipse(*truth.shape) & np.isin(label, HEAD_LABELS)
    error = (result.depth_mm - truth)[where]
    return float(np.abs(error - error.mean()).mean())


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m train.stability", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="edge", help="name or folder of an artifact (default: edge)")
    parser.add_argument("--head", type=Path, required=True, help="packed head model, see train.synth pack-head")
    parser.add_argument("--hair", type=Path, help="folder of modelled hair")
    parser.add_argument("--seed", type=int, default=SEED, help="of the set whose test subjects are rendered")
    parser.add_argument("--subjects", type=int, default=SUBJECTS, help="how many test subjects (default: %(default)s)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure as the command line says.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    args = parse_arguments(arguments)

    def work() -> Outcome:
        require_counts(args, "subjects")
        return Outcome(table(measure(args.model, args.head, args.hair, args.subjects, args.seed)))

    return run_command("python -m train.stability", arguments, work)


def table(found: list[Stability]) -> str:
    """Return the figures as a Markdown table: mean over subjects, and the worst."""
    rows = {
        "still head, change from frame to frame, RMS (mm)": [s.still_mm for s in found],
        "turning head, error after the offset (mm)": [s.error_mm for s in found],
        "turning head, lag (frames)": [(0.0, s.lag_frames) for s in found],
    }
    lines = ["| over the face, mean (worst subject) | predict() | DepthStream |", "|---|---|---|"]
    for name, pairs in rows.items():
        cells = [f"{np.mean(column):.2f} ({np.max(column):.2f})" for column in zip(*pairs, strict=True)]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
