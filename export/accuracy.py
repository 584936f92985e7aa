# SPDX-License-Identifier: Apache-2.0
"""Writes docs/accuracy.md, all of it measured anew: `python -m export.accuracy --model DIR --data DIR ...`.

How right the depth is on each set, for whom, how steady in time, pictures, and the exported files against PyTorch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from export.parity import gate_of_artifact
from facedepth_edge.artifacts import open_artifact
from facedepth_edge.errors import ArtifactError
from train import face_sheet, stability
from train.command import Outcome, require_counts, run_command, write_text
from train.crosscheck import SCAN_GENERATOR
from train.data.command_line import add_reading_arguments, open_sets
from train.data.crops_set import generator_of
from train.data.packed import PackedSet
from train.evaluate import evaluate, table_from_rows
from train.groups import ENOUGH_SEEN, WORSE, markdown, rows_by_group, score_frames, validity_rows
from train.predictors import Predictor, predictors_from_model, thresholds_of_model, trivial_answers

SPLIT = "test"
MEASURED_FILES = ("fp32", "int8")  # what ONNX Runtime computes on a CPU as the file says
ALSO_FRAMES = 256  # of the gate of a further artifact: the paper's generator takes half a second a face here
HEADER = """# Accuracy

Written by `python -m export.accuracy`. Every figure was computed on a CPU, and all pictures are rendered, of modelled
heads but where a section says otherwise: **none says anything about a real camera** ([real_faces.md](real_faces.md)
does). `fp16` and `int8-trt` are in the last section only, where an emulation rounds every FP16 tensor; neither ran on
TensorRT or a GPU.

| | |
|---|---|
| error | in mm, the mean over a face's pixels, then over the faces |
| after offset | with the mean error of each face removed |
| head | what the label calls head: skin, hair, beard, glasses, hat |
| face | the head inside an ellipse with half axes of 68 and 90 mm about the head centre |
| answered | of the frames with a measured head, the share that the predictor has a figure for |
| called valid | by the runtime's rule, of the frames that show 80 % or more of the face's place |
"""

SCAN = """The head is a scan of a real one, which no model made and no training saw; camera, light and walls are
rendered. It is one head, with one expression.{credit}"""

ALONG_RAY = """The network gives depth along the ray to the head; that is what the picture of faces and the last
section compare. All other figures are of depth along the optical axis, as `EdgeDepth` gives it from head centre and
intrinsics."""


TURNED = """Sets in which most heads are turned away from the camera by more than a profile, bow or look up; their depth
counts nowhere above. What the INT8 file calls valid, at its own thresholds:"""


def accuracy_report(
    folder: Path,
    sets: dict[str, PackedSet],
    turned: dict[str, PackedSet],
    gate_frames: int | None,
    steady: list[stability.Stability],
    picture: str,
    also: Sequence[Path] = (),
) -> str:
    """Measure and write.

    Args:
        folder: The artifact.
        sets: By name; the first is the training set's, whose mean face is shown and on which the gate runs.
        turned: By name; sets with heads turned away, measured for validity alone.
        gate_frames: Most frames of the gate.
        steady: What train.stability found; its table is left out where there is nothing.
        picture: Path of the sheet of faces, relative to the document.
        also: Further artifacts, of which only the gate's table is shown, over at most ALSO_FRAMES faces.

    Returns:
        The document, Markdown.
    """
    spec = open_artifact(folder).spec
    files = {f"{spec.name} {file}" for file in MEASURED_FILES}
    predictors = {name: predict for name, predict in predictors_from_model(folder).items() if name in files}
    parts = [HEADER, f"Model: `{spec.name}` {spec.version}."]
    if spec.depth_scale.along == "ray":
        parts.append(ALONG_RAY)
    int8, thresholds = predictors[f"{spec.name} int8"], thresholds_of_model(folder)
    for name, data in sets.items():
        shown: dict[str, Predictor] = {}
        if data.shows("train"):
            trivial = trivial_answers(data)
            shown = {"constant plane": trivial.plane_predictor, "mean face": trivial.mean_face_predictor}
        rows = evaluate(data, SPLIT, {**shown, **predictors})
        parts.append(f"## On `{name}`: {rows[0]['frames']} frames of people that training never saw")
        generator = generator_of(data.crops.root) or {}
        if generator.get("name") == SCAN_GENERATOR:
            credit = generator.get("credit", "")
            parts.append(SCAN.format(credit=f" Scan: {credit}." if credit else ""))
        parts.append(table_from_rows(rows))
        scores = score_frames(data, SPLIT, int8, thresholds)
        parts.append(
            f"INT8 by group; a ratio above {WORSE:g} is bold; groups of few frames are left out; *called valid* is of "
            f"the frames that show {ENOUGH_SEEN:.0%} or more of the face's place:"
        )
        parts.append(markdown(rows_by_group(scores), validity_rows(scores)))
    if turned:
        lines = ["| set | in the box | frames | called valid |", "|---|---|---|---|"]
        for name, data in turned.items():
            rates = validity_rows(score_frames(data, SPLIT, int8, thresholds))
            lines += [f"| {name} | {what} | {count} | {share:.3f} |" for what, count, share in rates if count]
        parts += ["## Heads that are turned away", TURNED, "\n".join(lines)]
    if steady:
        how = f"with noise of {stability.NOISE_LEVELS:g} gray levels on every pixel of every frame"
        parts += ["## Over time", f"{len(steady)} test subjects, rendered as a camera would see them, {how}:"]
        parts.append(stability.table(steady))
    parts += ["## Faces", f"![faces, measured depth, the model's, and both from the side]({picture})"]
    parts.append(
        "*Crop; measured depth; the model's; points near the middle of the head from the side, measured white, the "
        "model's orange. The colours span 220 mm.*"
    )
    first = next(iter(sets.values()))
    parts += ["## The exported files against PyTorch", gate_of_artifact(folder, first, gate_frames).table()]
    for other in also:
        other_spec = open_artifact(other).spec
        frames = min(ALSO_FRAMES, gate_frames or ALSO_FRAMES)
        parts += [f"### `{other_spec.name}` {other_spec.version}", gate_of_artifact(other, first, frames).table()]
    return "\n\n".join(parts) + "\n"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m export.accuracy", description="Write the accuracy report.")
    parser.add_argument("--model", type=Path, required=True, help="the artifact's folder")
    parser.add_argument("--data", type=Path, action="append", required=True, help="data set; repeatable")
    parser.add_argument("--turned", type=Path, action="append", default=[], help="data set for validity; repeatable")
    parser.add_argument("--also", type=Path, action="append", default=[], help="artifact for the gate alone")
    parser.add_argument("--head", type=Path, help="packed head model, for the recordings; left out without")
    parser.add_argument("--hair", type=Path, help="folder of modelled hair, for the recordings")
    parser.add_argument("--subjects", type=int, default=stability.SUBJECTS, help="people of the recordings")
    parser.add_argument("--gate-frames", type=int, help="most frames of the gate (default: all)")
    parser.add_argument("--out", type=Path, default=Path("docs/accuracy.md"))
    add_reading_arguments(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure and write as the command line says.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    args = parse_arguments(arguments)
    picture = args.out.with_name("faces.jpg")

    def work() -> Outcome:
        require_counts(args, "subjects", "gate_frames")
        for folder in args.also:
            open_artifact(folder)  # before anything is measured
        artifact = open_artifact(args.model)
        lacking = [f"{file}.onnx" for file in MEASURED_FILES if not artifact.has(f"{file}.onnx")]
        if lacking:
            rule = f"{' and '.join(f'{file}.onnx' for file in MEASURED_FILES)}"
            fix = "Export the model again without --files."
            raise ArtifactError.of(str(args.model), f"no {' and no '.join(lacking)}", rule, fix)
        sets = open_sets(args.data, args)
        turned = open_sets(args.turned, args)
        steady = stability.measure(args.model, args.head, args.hair, args.subjects) if args.head else []
        text = accuracy_report(args.model, sets, turned, args.gate_frames, steady, picture.name, args.also)
        face_sheet.draw(args.model, sets, SPLIT, face_sheet.FACES, picture)
        write_text(args.out, text, "--out")
        return Outcome(f"{args.out}, {picture}")

    return run_command("python -m export.accuracy", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
