# SPDX-License-Identifier: Apache-2.0
"""The command predict: image files in, a depth file for each out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import numpy as np

from facedepth_edge.camera import MAX_DISTANCE_MM, MIN_DISTANCE_MM, Camera
from facedepth_edge.cli_report import Report, json_option, model_options, reported
from facedepth_edge.cli_result import json_from_result, words_from_result
from facedepth_edge.cli_types import CameraFile, HeadCenter, OutFile, PositiveNumber
from facedepth_edge.errors import FaceDepthError, InputError
from facedepth_edge.head import FROM_WIDTH, NOMINAL
from facedepth_edge.image_files import read_depth, read_frame, write_picture

if TYPE_CHECKING:
    from facedepth_edge.api import EdgeDepth
    from facedepth_edge.head_detector import HeadDetector

OUT_SUFFIXES = (".png", ".npy", ".ply")
OUT_HELP = (
    ".png: depth over the box, 16-bit, whole mm, 0 outside the head. .npy: the same in float32, mm, but NOT masked: "
    "what lies outside the head has values too. .ply: the head's points alone, mm from the camera, x right, y down, "
    "z forward."
)
CAMERA_HELP = (
    "JSON file of the camera, whose frames are undistorted: fx, fy: focal lengths in pixels; and, as you have them, "
    "cx, cy: principal point in pixels (pixel i covers [i, i + 1) here: add 0.5 to OpenCV's cx and cy), else the "
    "frame's middle; nominal_distance_mm: the distance where no option gives one, else 700; max_value: the largest "
    "value of a 16-bit pixel (1023 for 10 bits); width, height: the size in pixels that its frames must have.  "
    "[default: a view of 60 degrees along the frame's longer side]"
)
NEAR_HEAD_MM = 400.0
"""Hardly any picture is taken from nearer; a 60 degree view put half of 80 photographed faces there."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Job:
    """One image to predict, with what was said of its head; None where nothing was.

    Args:
        image: the file to read.
        out: the file to write.
        center: (x, y) of the head centre in pixels of the frame; None: it is detected.
        distance_mm: the head's distance.
        depth_file: a depth image of the same view.
        head_width_px: the head's width between the ears.
    """

    image: Path
    out: Path
    center: tuple[float, float] | None
    distance_mm: float | None
    depth_file: Path | None
    head_width_px: float | None


@dataclass(frozen=True)
class OutputOptions:
    """What is written beside or instead of the depth over the box, and what counts as done.

    Args:
        on_frame: .png and .npy are of the frame's size.
        picture: a picture to look at is written too.
        require_valid: a result that is not valid fails.
    """

    on_frame: bool
    picture: bool
    require_valid: bool


@dataclass(frozen=True)
class Outcome:
    """What came of one job.

    Args:
        entry: what the JSON object says of it, less the failure.
        line: the result for people; None where there is none.
        failure: why it failed; None where it did not.
    """

    entry: dict[str, Any]
    line: str | None = None
    failure: Exception | None = None


def _one_for_each(values: tuple[_T, ...], count: int, option: str) -> list[_T | None]:
    """Spread an option over the images: none, one for all, or one for each in order."""
    if len(values) > 1 and len(values) != count:
        rule = f"once for all images or once for each of the {count}"
        raise click.UsageError(f"{option}: got {len(values)} values, expected {rule}. Give it {rule}.")
    return list(values) if len(values) > 1 else [values[0] if values else None] * count


def _require_one_of(given: dict[str, bool], *, at_least: int) -> None:
    """Check that options which exclude each other were not given together."""
    names = [name for name, is_given in given.items() if is_given]
    if not at_least <= len(names) <= 1:
        rule = f"{'exactly' if at_least else 'at most'} one of {', '.join(given)}"
        raise click.UsageError(f"options: got {' and '.join(names) or 'none of them'}, expected {rule}.")


def _out_files(
    images: Sequence[Path], depths: Sequence[Path], out: Path | None, out_dir: Path | None, kind: str, picture: bool
) -> list[Path]:
    """Name the file to write for each image; none of them, nor a picture beside it, is written twice or read."""
    if out is not None and len(images) > 1:
        raise click.UsageError(f"--out: got {len(images)} images, expected one. Use --out-dir DIR for several.")
    files = [out] if out is not None else [Path(str(out_dir)) / f"{image.stem}_depth.{kind}" for image in images]
    read = {os.path.realpath(path) for path in (*images, *depths)}  # Path.resolve() raises for a link to itself
    taken: set[str] = set()
    for file in files:
        for written in (file, _picture_beside(file)) if picture else (file,):
            place = os.path.realpath(written)
            if place in read:
                rule = "a file that is not read. Choose another --out or --out-dir."
                raise click.UsageError(f"output: got {str(written)!r}, which is an input, expected {rule}")
            if place in taken:
                rule = "a file for each. Rename one of them, or give each folder a run with an --out-dir of its own."
                raise click.UsageError(f"output: got {str(written)!r} for two images, expected {rule}")
            taken.add(place)
    return files


def _picture_beside(file: Path) -> Path:
    """Name the picture of a result."""
    return file.with_name(f"{file.stem}_picture.png")


def _build_jobs(
    images: Sequence[Path],
    outs: Sequence[Path],
    *,
    centers: tuple[tuple[float, float], ...],
    distances: tuple[float, ...],
    depths: tuple[Path, ...],
    widths: tuple[float, ...],
) -> list[Job]:
    """Build the job of each image, of options that were given once for all images or once for each."""
    count = len(images)
    each_center = _one_for_each(centers, count, "--head-center")
    each_distance = _one_for_each(distances, count, "--distance-mm")
    each_depth = _one_for_each(depths, count, "--depth")
    each_width = _one_for_each(widths, count, "--head-width-px")
    return [
        Job(
            image=image,
            out=outs[i],
            center=each_center[i],
            distance_mm=each_distance[i],
            depth_file=each_depth[i],
            head_width_px=each_width[i],
        )
        for i, image in enumerate(images)
    ]


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--head-center", "centers", type=HeadCenter(), multiple=True,
              help="The point midway between the two ears, pixels from the frame's upper left corner.")  # fmt: skip
@click.option("--detect", is_flag=True,
              help="Find the largest head with OpenCV's face detector instead; where no distance is given, it comes "
              "from this head's width.")  # fmt: skip
@click.option("--distance-mm", "distances", type=PositiveNumber("mm", MIN_DISTANCE_MM, MAX_DISTANCE_MM), multiple=True,
              help="z, along the optical axis, of the face's surface around the head centre, millimetres.")  # fmt: skip
@click.option("--depth", "depths", type=click.Path(exists=True, dir_okay=False, path_type=Path), multiple=True,
              help="Depth image of the same view and size, whose depth at the head is the distance: 16-bit PNG or "
              ".npy, millimetres, 0 where nothing was measured.")  # fmt: skip
@click.option("--head-width-px", "widths", type=PositiveNumber("px"), multiple=True,
              help="Pixels from ear to ear, without them, of a head that faces the camera; the distance comes from it "
              "(beside --depth only where that has not measured the head).")  # fmt: skip
@click.option("--camera", type=CameraFile(), help=CAMERA_HELP)
@model_options
@click.option("--out", type=OutFile(OUT_SUFFIXES), help=f"Result of one image. {OUT_HELP}")
@click.option("--out-dir", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for NAME_depth.KIND of each image NAME; made where it is missing.")  # fmt: skip
@click.option("--kind", type=click.Choice([suffix[1:] for suffix in OUT_SUFFIXES]), default="png", show_default=True,
              help="Kind of the files in --out-dir, as for --out.")  # fmt: skip
@click.option("--on-frame", is_flag=True,
              help="Write .png and .npy at the frame's size instead of the box's, 0 outside the head.")  # fmt: skip
@click.option("--picture", is_flag=True,
              help="Write a picture to look at beside each result NAME.KIND: NAME_picture.png.")  # fmt: skip
@click.option("--require-valid", is_flag=True,
              help="A result that is not valid fails: exit status 1. Its files are written all the same.")  # fmt: skip
@json_option
def predict(
    images: tuple[Path, ...],
    centers: tuple[tuple[float, float], ...],
    detect: bool,
    distances: tuple[float, ...],
    depths: tuple[Path, ...],
    widths: tuple[float, ...],
    camera: Camera | None,
    model: str,
    backend: str,
    precision: str,
    out: Path | None,
    out_dir: Path | None,
    kind: str,
    on_frame: bool,
    picture: bool,
    require_valid: bool,
    as_json: bool,
) -> None:
    """Measure the face in each image file.

    Options with a value for an image may be given once for all images, or once for each in the same order.

    The head's distance is that of --distance-mm, --depth or --head-width-px; --detect finds the width. Without any of
    them it is the camera's nominal one, and a warning says so.
    """
    _require_one_of({"--head-center": bool(centers), "--detect": detect}, at_least=1)
    # --head-width-px beside --depth is for a head that the depth image has not measured
    _require_one_of({"--distance-mm": bool(distances), "--depth": bool(depths)}, at_least=0)
    _require_one_of({"--distance-mm": bool(distances), "--head-width-px": bool(widths)}, at_least=0)
    _require_one_of({"--out": out is not None, "--out-dir": out_dir is not None}, at_least=1)
    outs = _out_files(images, depths, out, out_dir, kind, picture)
    jobs = _build_jobs(images, outs, centers=centers, distances=distances, depths=depths, widths=widths)
    options = OutputOptions(on_frame, picture, require_valid)
    with reported("predict", as_json) as report:
        from facedepth_edge.api import EdgeDepth
        from facedepth_edge.head_detector import HeadDetector

        detector = HeadDetector() if detect else None
        if out_dir is not None:
            out_dir.mkdir(parents=True, exist_ok=True)
        report.data["results"] = []
        with EdgeDepth(model=model, backend=backend, precision=precision, camera=camera) as edge:
            report.data["model"] = edge.info
            with _progress(jobs) as bar:
                outcomes = [_outcome_of(edge, detector, job, camera, options) for job in bar]
            _tell(report, jobs, outcomes)


def _progress(jobs: Sequence[Job]) -> AbstractContextManager[Iterable[Job]]:
    """Show a progress bar on stderr for more than one image; yields the jobs."""
    if len(jobs) == 1:
        return nullcontext(jobs)
    return click.progressbar(jobs, label="predict", file=sys.stderr)


def _outcome_of(
    edge: EdgeDepth, detector: HeadDetector | None, job: Job, camera: Camera | None, options: OutputOptions
) -> Outcome:
    """Predict one image; a file or a face that cannot be taken is a failed outcome."""
    try:
        frame = _read_frame(job.image, camera)
        outcome = _predict_one(edge, detector, job, frame, options)
    except (FaceDepthError, OSError) as error:
        return Outcome({"image": str(job.image), "ok": False}, failure=error)
    if camera is None and outcome.entry["distance_source"] == FROM_WIDTH:
        _warn_of_a_near_head(job.image, outcome.entry["distance_mm"])
    return outcome


def _read_frame(image: Path, camera: Camera | None) -> np.ndarray:
    """Read an image; one of 16 bits needs the camera's largest value, which only --camera can give here."""
    frame = read_frame(image)
    if frame.dtype == np.uint16 and (camera is None or camera.max_value is None):
        got = "16-bit pixels and " + ("no --camera" if camera is None else "a --camera file without max_value")
        fix = 'Give --camera FILE with "max_value": 1023 for 10 bits, 4095 for 12, 65535 for 16, beside fx and fy.'
        raise InputError.of(f"image {image}", got, "the camera's max_value", fix)
    return frame


def _predict_one(
    edge: EdgeDepth, detector: HeadDetector | None, job: Job, frame: np.ndarray, options: OutputOptions
) -> Outcome:
    """Predict one image and write its files."""
    center, head_width_px = job.center, job.head_width_px
    if center is None:
        assert detector is not None, "predict asks for --head-center or --detect"
        head = detector.detect_largest(frame, where=str(job.image))
        center = head.head_center
        if job.head_width_px is None and job.distance_mm is None and job.depth_file is None:
            head_width_px = head.head_width_px
    depth = None if job.depth_file is None else read_depth(job.depth_file)
    result = edge.predict(frame, center, distance_mm=job.distance_mm, depth=depth, head_width_px=head_width_px)
    result.save(job.out, on_frame=options.on_frame)
    failure = _not_valid(job.image, result.reason) if options.require_valid and not result.valid else None
    entry = {"image": str(job.image), "ok": failure is None, "out": str(job.out), **json_from_result(result)}
    if options.picture:
        entry["picture"] = str(write_picture(result.picture(frame), _picture_beside(job.out)))
    return Outcome(entry, f"{job.image} -> {job.out}: {words_from_result(result)}", failure)


def _tell(report: Report, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Put what came of the jobs into the report; warnings and failures are logged here, after the progress bar."""
    _warn_of_the_nominal_distance([outcome.entry for outcome in outcomes])
    report.lines += [outcome.line for outcome in outcomes if outcome.line is not None]
    for job, outcome in zip(jobs, outcomes, strict=True):
        failure = outcome.failure
        error = {} if failure is None else {"error": report.fail(failure, str(job.image))}
        report.data["results"].append({**outcome.entry, **error})
    if len(jobs) > 1:
        failed = sum(outcome.failure is not None for outcome in outcomes)
        click.echo(f"{len(jobs) - failed} of {len(jobs)} images done, {failed} failed", err=True)


def _warn_of_a_near_head(image: Path, distance_mm: float) -> None:
    """Say so where the view of 60 degrees that is assumed puts a head nearer than people are photographed."""
    if distance_mm < NEAR_HEAD_MM:
        click.echo(
            f"{image}: got a head {distance_mm:.0f} mm away by its width and a view of 60 degrees, expected "
            f"{NEAR_HEAD_MM:.0f} or more: the lens is longer, or the picture was cut, and the face comes out tilted. "
            "Give --camera FILE with fx and fy; for a portrait about three times the picture's longer side.",
            err=True,
        )


def _warn_of_the_nominal_distance(entries: Sequence[dict[str, Any]]) -> None:
    """Say so, in one line for all images, where nothing said how far away the head is."""
    guessed = [entry for entry in entries if entry.get("distance_source") == NOMINAL]
    if guessed:
        where = guessed[0]["image"] if len(guessed) == 1 else f"{len(guessed)} images"
        click.echo(
            f"{where}: got no distance of the head, expected one: the nominal {guessed[0]['distance_mm']:g} mm was "
            "taken. x and y of the point cloud scale with it, and the depth of the whole face shifts with it. "
            "Give --distance-mm, --depth or --head-width-px, or --detect, which takes the head's width.",
            err=True,
        )


def _not_valid(image: Path, reason: str) -> InputError:
    """Build the failure of a result that --require-valid does not take."""
    fix = "Give another frame, or leave --require-valid out."
    return InputError.of(str(image), f"a result that is not valid: {reason}", "a valid one", fix)
