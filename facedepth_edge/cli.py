# SPDX-License-Identifier: Apache-2.0
"""The command line `facedepth-edge`: results on stdout, logs on stderr, exit 0 ok, 1 failed, 2 usage."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import numpy as np

from facedepth_edge import __version__
from facedepth_edge.artifacts import list_models, open_artifact
from facedepth_edge.camera import Camera
from facedepth_edge.cli_bench import bench
from facedepth_edge.cli_device import build_engine, doctor, verify
from facedepth_edge.cli_report import PROGRAM, Cli, json_option, model_options, reported
from facedepth_edge.cli_types import CameraFile, HeadCenter, OutFile, PositiveNumber
from facedepth_edge.errors import ArtifactError, FaceDepthError, InputError
from facedepth_edge.image_files import read_depth, read_frame, write_picture

if TYPE_CHECKING:
    from facedepth_edge.api import EdgeDepth
    from facedepth_edge.head_detector import HeadDetector
    from facedepth_edge.result import DepthResult

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


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name=PROGRAM)
def main() -> None:
    """Face depth in millimetres from one camera frame and a head centre."""


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
    read = {path.resolve() for path in (*images, *depths)}
    taken: set[Path] = set()
    for file in files:
        for written in (file, _picture_beside(file)) if picture else (file,):
            if written.resolve() in read:
                rule = "a file that is not read. Choose another --out or --out-dir."
                raise click.UsageError(f"output: got {str(written)!r}, which is an input, expected {rule}")
            if written.resolve() in taken:
                rule = "a file for each. Rename one of them, or give each folder a run with an --out-dir of its own."
                raise click.UsageError(f"output: got {str(written)!r} for two images, expected {rule}")
            taken.add(written.resolve())
    return files


def _picture_beside(file: Path) -> Path:
    """Name the picture of a result."""
    return file.with_name(f"{file.stem}_picture.png")


@main.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--head-center", "centers", type=HeadCenter(), multiple=True,
              help="The point midway between the two ears, pixels from the frame's upper left corner.")  # fmt: skip
@click.option("--detect", is_flag=True,
              help="Find the largest head with OpenCV's face detector instead; where no distance is given, it comes "
              "from this head's width.")  # fmt: skip
@click.option("--distance-mm", "distances", type=PositiveNumber("mm"), multiple=True,
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
    count = len(images)
    jobs = zip(
        images,
        _out_files(images, depths, out, out_dir, kind, picture),
        _one_for_each(centers, count, "--head-center"),
        _one_for_each(distances, count, "--distance-mm"),
        _one_for_each(depths, count, "--depth"),
        _one_for_each(widths, count, "--head-width-px"),
        strict=True,
    )
    with reported("predict", as_json) as report:
        from facedepth_edge.api import EdgeDepth
        from facedepth_edge.head_detector import HeadDetector

        detector = HeadDetector() if detect else None
        if out_dir is not None:
            out_dir.mkdir(parents=True, exist_ok=True)
        report.data["results"] = []
        failures: list[tuple[Exception, dict[str, Any]]] = []
        with (
            EdgeDepth(model=model, backend=backend, precision=precision, camera=camera) as edge,
            _progress(jobs, count) as bar,
        ):
            report.data["model"] = edge.info
            for image, file, center, distance, depth, width in bar:
                try:
                    frame = _read_frame(image, camera)
                    entry, line = _predict_one(
                        edge, detector, image, frame, file, on_frame, picture, center, distance, depth, width
                    )
                    report.lines.append(line)
                    if camera is None and entry["distance_source"] == "head_width_px":
                        _warn_of_a_near_head(image, entry["distance_mm"])
                    if require_valid and not entry["valid"]:
                        entry["ok"] = False
                        failures.append((_not_valid(image, entry["reason"]), entry))
                except (FaceDepthError, OSError) as error:
                    entry = {"image": str(image), "ok": False}
                    failures.append((error, entry))
                report.data["results"].append(entry)
        _warn_of_the_nominal_distance(report.data["results"])
        for failure, entry in failures:
            entry["error"] = report.fail(failure, str(entry["image"]))
        if count > 1:
            click.echo(f"{count - len(failures)} of {count} images done, {len(failures)} failed", err=True)


def _progress(jobs: Iterable[_T], count: int) -> AbstractContextManager[Iterable[_T]]:
    """Show a progress bar on stderr for more than one image; yields the jobs."""
    if count == 1:
        return nullcontext(jobs)
    return click.progressbar(jobs, count, label="predict", file=sys.stderr)


def _read_frame(image: Path, camera: Camera | None) -> np.ndarray:
    """Read an image; one of 16 bits needs the camera's largest value, which only --camera can give here."""
    frame = read_frame(image)
    if frame.dtype == np.uint16 and (camera is None or camera.max_value is None):
        got = "16-bit pixels and " + ("no --camera" if camera is None else "a --camera file without max_value")
        fix = 'Give --camera FILE with "max_value": 1023 for 10 bits, 4095 for 12, 65535 for 16, beside fx and fy.'
        raise InputError.of(f"image {image}", got, "the camera's max_value", fix)
    return frame


def _predict_one(
    edge: EdgeDepth,
    detector: HeadDetector | None,
    image: Path,
    frame: np.ndarray,
    file: Path,
    on_frame: bool,
    picture: bool,
    center: tuple[float, float] | None,
    distance: float | None,
    depth: Path | None,
    width: float | None,
) -> tuple[dict[str, Any], str]:
    """Predict one image and write its files; returns its entry of the JSON object and its line."""
    if center is None:
        assert detector is not None, "predict asks for --head-center or --detect"
        head = detector.detect_largest(frame, where=str(image))
        center = head.head_center
        if width is None and distance is None and depth is None:
            width = head.head_width_px
    depth_mm = None if depth is None else read_depth(depth)
    result = edge.predict(frame, center, distance_mm=distance, depth=depth_mm, head_width_px=width)
    result.save(file, on_frame=on_frame)
    entry: dict[str, Any] = {"image": str(image), "ok": True, "out": str(file), **_measured(result)}
    if picture:
        drawn = write_picture(result.picture(frame), _picture_beside(file))
        entry["picture"] = str(drawn)
    return entry, f"{image} -> {file}: {_in_words(result)}"


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
    guessed = [entry for entry in entries if entry.get("distance_source") == "nominal"]
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


def _measured(result: DepthResult) -> dict[str, Any]:
    """Return what was measured as JSON values: pixels of the frame, millimetres, degrees, milliseconds."""
    head_mm = result.depth_mm[result.mask]
    span = None
    if head_mm.size and np.isfinite(head_mm).all():
        span = {"nearest": float(head_mm.min()), "median": float(np.median(head_mm)), "farthest": float(head_mm.max())}
    pose = result.head_pose()
    return {
        "head_center": list(result.head_center),
        "box": [float(value) for value in result.box],
        "distance_mm": result.distance_mm,
        "distance_source": result.distance_source,
        "valid": result.valid,
        "validity": None if result.validity is None or math.isnan(result.validity) else result.validity,
        "reason": result.reason,
        "face_seen": result.face_seen,
        "head_pose": None
        if pose is None
        else {
            "yaw_deg": pose.yaw_deg,
            "pitch_deg": pose.pitch_deg,
            "roll_deg": pose.roll_deg,
            "position_mm": list(pose.position_mm),
        },
        "mask_source": result.mask_source,
        "head_pixels": int(head_mm.size),
        "head_mm": span,
        "timings_ms": {name: round(value, 4) for name, value in result.timings_ms.items()},
    }


def _in_words(result: DepthResult) -> str:
    """Say in one line what was measured."""
    x, y = result.head_center
    pose = result.head_pose()
    turn = f", yaw {pose.yaw_deg:.0f}, pitch {pose.pitch_deg:.0f}, roll {pose.roll_deg:.0f} degrees" if pose else ""
    head_mm = result.depth_mm[result.mask]
    span = f"head {head_mm.min():.0f} to {head_mm.max():.0f} mm" if head_mm.size else "no head pixel"
    state = "valid" if result.valid else f"not valid: {result.reason}"
    distance = f"distance {result.distance_mm:.0f} mm ({result.distance_source})"
    return f"{span}, {distance}, centre {x:.0f},{y:.0f}{turn}, {state}"


@main.command()
@click.option("--out", type=OutFile((".png", ".jpg")), default=f"{PROGRAM}-demo.png", show_default=True,
              help="The picture to write, .png or .jpg.")  # fmt: skip
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True,
              help="Predictions to time, of which the median is told.")  # fmt: skip
@model_options
@json_option
def demo(out: Path, runs: int, model: str, backend: str, precision: str, as_json: bool) -> None:
    """Measure the rendered face of this package."""
    with reported("demo", as_json) as report:
        from facedepth_edge.demo import run_demo

        found = run_demo(out, model=model, backend=backend, precision=precision, runs=runs)
        info, picture = found.info, found.picture.resolve()
        report.data |= {
            "model": info,
            "picture": str(picture),
            **_measured(found.result),
            "latency_ms": {"p50": round(found.latency_p50_ms, 4), "runs": found.runs},
        }
        height, width = found.result.frame_hw
        report.lines += [
            f"frame    rendered, {width} x {height}; nobody's likeness",
            f"model    {info['model']} {info['version']}, {info['precision']}, {info['backend']} ({info['provider']})",
            f"face     {_in_words(found.result)}",
            f"predict  {found.latency_p50_ms:.2f} ms from frame to result, median of {found.runs}",
            f"picture  {picture}",
        ]


@main.command()
@json_option
def models(as_json: bool) -> None:
    """List the bundled models and check their hashes."""
    with reported("models", as_json) as report:
        report.data["models"] = []
        for name in list_models():
            artifact = open_artifact(name)
            spec = artifact.spec
            present = [file for file in spec.files if artifact.has(file) or file not in spec.optional_files]
            sizes = {file: len(artifact.read(file)) for file in sorted(present)}
            report.data["models"].append({
                "name": spec.name, "version": spec.version, "architecture": spec.architecture, "licence": spec.licence,
                "folder": str(artifact.folder), "input_hw": list(spec.input_hw), "outputs": list(spec.outputs.names),
                "files": sizes, "accuracy": dict(spec.accuracy), "training": dict(spec.training),
            })  # fmt: skip
            height, width = spec.input_hw
            files = ", ".join(f"{file} {size / 1e6:.2f} MB" for file, size in sizes.items())
            outputs = ", ".join(spec.outputs.names)
            report.lines += [
                f"{spec.name} {spec.version}  {width} x {height} -> {outputs}  {spec.licence}",
                f"    {files}",
                f"    {artifact.folder}",
            ]
        if not report.data["models"]:
            raise ArtifactError.of("models", "none", "at least the bundled model edge", "Install facedepth-edge again.")


for command in (bench, verify, doctor, build_engine):
    main.add_command(command)
