# SPDX-License-Identifier: Apache-2.0
"""Whether a model is as good for everyone: `python -m train.groups --model PATH --data DIR` by group.

Groups come from what the renderer noted of each frame, its angles, and its picture's brightness; a set without such
notes has groups by light, angles and visible share only.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from facedepth_edge.errors import InputError
from facedepth_edge.face_region import LEAST_SEEN, share_of_border, share_seen
from facedepth_edge.spec import Preprocessing
from facedepth_edge.validity import Evidence, why_not_valid
from train.command import Outcome, require_counts, run_command, write_json
from train.data.command_line import add_reading_arguments, open_set
from train.data.frame_source import SPLITS
from train.data.packed import PackedSet
from train.face_ellipse import face_ellipse
from train.metrics import score_depth
from train.predictors import Predictor, Thresholds, predictors_from_model, thresholds_of_model
from train.units import gray_from_face
from train.validation import batches_of, spread_indices

WORSE = 1.25
"""A group whose error is more than this many times the mean of all is marked."""
FEWEST_FRAMES = 20
"""A group of fewer measured frames is left out: its mean says little."""
DARK_LEVEL, BRIGHT_LEVEL = 50.0, 190.0  # mean gray level of the face
ENOUGH_SEEN = 0.8  # of the face's place: such a face should be called valid
ONE_SIDED = 1.6  # brightness of one half of the face over that of the other


@dataclass(frozen=True)
class FrameScore:
    """What a model made of one frame.

    Attributes:
        head_mm: mean error over the head after removing the mean offset; NaN where no head is measured.
        face_mm: the same over the face, the ellipse of face_ellipse.py.
        correlation: Pearson's, over the face.
        accepted: whether the runtime would call the face valid, 1 or 0; NaN where the model gives neither validity nor
            mask.
        seen: the truth: share of the face's place, as facedepth_edge.face_region has it, that shows the head.
        groups: (property, value) of every group that the frame is in; none where it shows no face.
        turned_away: the head is in the box, and its face looks away from the camera.
    """

    head_mm: float
    face_mm: float
    correlation: float
    accepted: float
    seen: float
    groups: tuple[tuple[str, str], ...]
    turned_away: bool = False


@dataclass(frozen=True)
class GroupRow:
    """The means of one group; ratios are to all frames, `accepted` is of those with ENOUGH_SEEN."""

    trait: str
    value: str
    frames: int
    head_mm: float
    head_ratio: float
    face_mm: float
    face_ratio: float
    correlation: float
    accepted: float


def groups_of(
    attributes: Mapping[str, Any], angles_deg: np.ndarray, face: np.ndarray, visible: float
) -> Iterator[tuple[str, str]]:
    """Yield the groups that a frame is in.

    Args:
        attributes: FrameEntry.attributes.
        angles_deg: (3,) roll, pitch, yaw.
        face: (H, W) gray levels 0..255 of the box.
        visible: share of the head that nothing covers.
    """
    for name in ("hair", "beard", "glasses", "hat"):
        if name in attributes:
            yield name, str(attributes[name])
    if "face_mask" in attributes:
        yield "face mask", "yes" if attributes["face_mask"] else "no"
    if "tone" in attributes:
        yield "skin tone", _third(attributes["tone"], ("light", "medium", "dark"))
    if "age" in attributes:
        yield "age-like shape and skin", _third(attributes["age"], ("young", "middle", "old"))
    if "jaw_open" in attributes:
        yield "mouth", "open" if attributes["jaw_open"] > 0.3 else "closed or nearly"
    if "infrared" in attributes:
        yield "camera", "near infra-red with a flash" if attributes["infrared"] else "visible light"
    yield "light", _light(face)
    worst = float(np.abs(angles_deg).max())
    yield "head turned by", "up to 10 degrees" if worst <= 10 else "10 to 40" if worst <= 40 else "more than 40"
    yield "of the head is seen", "over 90 %" if visible > 0.9 else "60 to 90 %" if visible > 0.6 else "less"


def _third(value: float, names: tuple[str, str, str]) -> str:
    return names[min(int(float(value) * 3), 2)]


def _light(face: np.ndarray) -> str:
    inside = face_ellipse(*face.shape)
    left, right = inside.copy(), inside.copy()
    left[:, face.shape[1] // 2 :] = False
    right[:, : face.shape[1] // 2] = False
    level, halves = float(face[inside].mean()), (float(face[left].mean()), float(face[right].mean()))
    if level < DARK_LEVEL:
        return "dark"
    if level > BRIGHT_LEVEL:
        return "over-exposed"
    return "from one side" if max(halves) > ONE_SIDED * max(min(halves), 1.0) else "even"


def score_frames(
    data: PackedSet, split: str, predict: Predictor, thresholds: Thresholds, count: int | None = None
) -> list[FrameScore]:
    """Measure a model frame by frame.

    Args:
        data: The packed set.
        split: train, val or test.
        predict: The model.
        thresholds: Its own.
        count: Most frames, spread over the split; all when None.

    Returns:
        One score a frame, in the set's order.
    """
    data.require_runtimes_reach()
    scores = []
    for chosen, batch in batches_of(data, spread_indices(data, split, count)):
        outputs = predict(chosen, batch)
        ellipse = face_ellipse(*batch.depth.shape[-2:])
        depth, valid, head = (plane[:, 0].numpy() for plane in (batch.depth, batch.valid, batch.head))
        faces = gray_from_face(batch.face[:, 0].numpy())
        for i, position in enumerate(chosen):
            where = valid[i] & head[i]
            head_mm, _, _ = score_depth(outputs["depth"][i, 0], depth[i], where)
            face_mm, _, correlation = score_depth(outputs["depth"][i, 0], depth[i], where & ellipse)
            meta, entry = data.meta[position], data.crops.frames[position]
            groups: tuple[tuple[str, str], ...] = ()
            if meta["face"]:
                angles, visible = meta["roll_pitch_yaw_deg"], float(meta["visible"])
                groups = tuple(groups_of(entry.attributes, angles, faces[i], visible))
            accepted = called_valid({name: values[i] for name, values in outputs.items()}, faces[i], thresholds)
            seen = share_seen(head[i], Preprocessing())
            away = not meta["face"] and bool(entry.attributes.get("turned_away", False))
            scores.append(FrameScore(head_mm, face_mm, correlation, accepted, seen, groups, away))
    return scores


def called_valid(
    outputs: Mapping[str, np.ndarray], face: np.ndarray, thresholds: Thresholds, side_px: float | None = None
) -> float:
    """Return whether the runtime calls a face valid by a model's outputs: 1, 0, or NaN where they do not say.

    Where the camera's frame ends is not known: the whole box counts as inside it.

    Args:
        outputs: of one face: `depth` (1, H, W), and `validity` (1,) and `mask` (1, H, W) probabilities where the model
            has them.
        face: (H, W) gray levels 0..255 of the box, as the network sees it.
        thresholds: The model's.
        side_px: Of the box in the camera's frame; None where that is not known.
    """
    if "validity" not in outputs and "mask" not in outputs:
        return math.nan
    mask = outputs["mask"][0] > thresholds.mask if "mask" in outputs else None
    evidence = Evidence(
        finite=not np.isnan(outputs["depth"]).any(),
        contrast_levels=float(face.std(dtype=np.float64)),
        side_px=side_px,
        validity=float(outputs["validity"][0]) if "validity" in outputs else None,
        has_head=None if mask is None else bool(mask.any()),
        at_border=None if mask is None else share_of_border(mask),
        face_seen=None if mask is None else share_seen(mask, Preprocessing()),
    )
    return float(not why_not_valid(evidence, thresholds.validity))


def rows_by_group(scores: list[FrameScore]) -> list[GroupRow]:
    """Return the means of all frames with a face and its depth, then of each group of FEWEST_FRAMES or more of them.

    Raises:
        InputError: No frame has a measured face.
    """
    measured = [score for score in scores if math.isfinite(score.head_mm) and score.groups]
    if not measured:
        fix = "Give a split with labelled heads."
        raise InputError.of("frames", f"{len(scores)} without a measured face", "some with one", fix)
    members: dict[tuple[str, str], list[FrameScore]] = {("all", "all"): measured}
    for score in measured:
        for group in score.groups:
            members.setdefault(group, []).append(score)
    all_head, all_face = (_mean(getattr(score, name) for score in measured) for name in ("head_mm", "face_mm"))
    order = list(dict.fromkeys(trait for trait, _ in members))
    rows = []
    for (trait, value), inside in sorted(members.items(), key=lambda item: (order.index(item[0][0]), item[0][1])):
        if len(inside) < FEWEST_FRAMES and trait != "all":
            continue
        head_mm, face_mm = (_mean(getattr(score, name) for score in inside) for name in ("head_mm", "face_mm"))
        rows.append(
            GroupRow(
                trait, value, len(inside), head_mm, _ratio(head_mm, all_head), face_mm, _ratio(face_mm, all_face),
                correlation=_mean(score.correlation for score in inside),
                accepted=_mean(score.accepted for score in inside if score.seen >= ENOUGH_SEEN),
            )
        )  # fmt: skip
    return rows


def validity_rows(scores: list[FrameScore]) -> list[tuple[str, int, float]]:
    """Return (what is in the box, frames, share that the model calls valid); no rows for a model without validity."""
    if all(math.isnan(score.accepted) for score in scores):
        return []
    kinds = {
        "no face": [score for score in scores if not score.groups and not score.turned_away],
        "a head that is turned away": [score for score in scores if score.turned_away],
        **{
            f"a face, {low:.0%} to {high:.0%} of its place is head": [
                score for score in scores if score.groups and low <= score.seen < high + (high == 1.0)
            ]
            for low, high in pairwise((0.0, 0.4, LEAST_SEEN, ENOUGH_SEEN, 1.0))
        },
    }
    return [(name, len(inside), _mean(score.accepted for score in inside)) for name, inside in kinds.items()]


def _ratio(error: float, of_all: float) -> float:
    return error / of_all if of_all > 0 else math.nan


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def markdown(rows: list[GroupRow], validity: list[tuple[str, int, float]]) -> str:
    """Return both tables; errors are means after removing each frame's offset, a ratio over WORSE is bold."""
    names = ["", "", "frames", "head (mm)", "of all", "face (mm)", "of all", "correlation, face", "called valid"]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for row in rows:
        cells = [row.trait, row.value, str(row.frames)]
        for error, ratio in ((row.head_mm, row.head_ratio), (row.face_mm, row.face_ratio)):
            cells += [_cell(error, 2), f"**{ratio:.2f}**" if ratio > WORSE else _cell(ratio, 2)]
        lines.append("| " + " | ".join([*cells, _cell(row.correlation, 3), _cell(row.accepted, 3)]) + " |")
    if validity:
        lines += ["", "| in the box | frames | called valid |", "|---|---|---|"]
        lines += [f"| {name} | {frames} | {_cell(share, 3)} |" for name, frames, share in validity]
    return "\n".join(lines)


def _cell(value: float, places: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{places}f}"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    description = "Measure a depth model by group: skin tone, hair, glasses, light, pose; and its validity."
    parser = argparse.ArgumentParser(prog="python -m train.groups", description=description)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint or artifact")
    parser.add_argument("--file", default="int8", help="which file of an artifact (default: int8)")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--count", type=int, help="most frames, spread over the split (default: all)")
    parser.add_argument("--json", type=Path, help="write the tables there too")
    add_reading_arguments(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure as the command line says.

    Returns:
        Exit status: 0 done, 1 failed. A group that is worse is shown, not a failure.
    """
    args = parse_arguments(arguments)

    def work() -> Outcome:
        require_counts(args, "count")
        data = open_set(args.data, args)
        predictors = predictors_from_model(args.model)
        chosen = [name for name in predictors if name.endswith(f" {args.file}")] or list(predictors)
        if len(chosen) > 1:
            raise InputError.of("--file", args.file, f"one of {', '.join(predictors)}", "Give the last word of one.")
        scores = score_frames(data, args.split, predictors[chosen[0]], thresholds_of_model(args.model), args.count)
        rows, validity = rows_by_group(scores), validity_rows(scores)
        about = {"model": chosen[0], "data": args.data.resolve().name, "split": args.split, "key": data.key}
        write_json(args.json, {**about, **_plain(rows, validity)})
        title = f"{chosen[0]} on {about['data']}, split {args.split}, {len(scores)} frames"
        return Outcome(f"{title}\n\n{markdown(rows, validity)}")

    return run_command("python -m train.groups", arguments, work)


def _plain(rows: list[GroupRow], validity: list[tuple[str, int, float]]) -> dict[str, Any]:
    """Return the tables as plain values; what has no value is null."""

    def known(value: Any) -> Any:
        return None if isinstance(value, float) and math.isnan(value) else value

    return {
        "groups": [{name: known(value) for name, value in asdict(row).items()} for row in rows],
        "validity": [{"in_box": name, "frames": frames, "accepted": known(share)} for name, frames, share in validity],
    }


if __name__ == "__main__":
    sys.exit(main())
