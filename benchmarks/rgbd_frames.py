# SPDX-License-Identifier: Apache-2.0
"""How right a model is on frames of a depth camera: real people whose depth was measured.

    python -m benchmarks.rgbd_frames recording --model edge --sheet sheet.png

The folder has a `frames.json`, a list with an object for each frame:

    {"image": "a.png", "depth": "a_depth.png", "person": "1", "head_center_xy": [311.5, 240.0],
     "fx": 525.0, "fy": 525.0, "cx": 320.0, "cy": 240.0}

Convention: pixel i covers [i, i + 1), so cx and cy are half a pixel larger than OpenCV's; z is along the optical axis.

`image` is 8-bit gray or BGR, `depth` 16-bit millimetres in the same pixels, 0 where nothing was measured,
`head_center_xy` the projection of the point midway between the tragi. `cx` and `cy` may be left out where the frames
were cut out of larger ones and nobody knows where: then only the columns beside a plane mean anything. `distance_mm`
may be given; else it is measured. `groups` may say what a frame shows, {"glasses": "no"}: each group gets a line.

Compared are the measured pixels of the face: the ellipse of train/face_ellipse.py about the head centre, within
HALF_RANGE_MM of the distance, and at most BEHIND_NOSE_MM behind the nearest of them, where the background begins. A
depth camera errs too: structured light and time of flight by some millimetres, most at edges, at hair, in open mouths.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facedepth_edge import Camera, DepthResult, EdgeDepth
from facedepth_edge.errors import InputError
from facedepth_edge.face_crop import sample_depth
from train.command import Outcome, run_command, write_json
from train.data.strict_files import number_in, read_colour, read_json, read_plane
from train.face_ellipse import beside_plane, face_ellipse, planes_over
from train.image_files import write_image
from train.units import HALF_RANGE_MM

BEHIND_NOSE_MM = 120.0
LEAST_PIXELS = 400
PANEL_PX, COLOURED_MM, ERROR_MM = 144, (-60.0, 100.0), 20.0
_FIX = "Correct the file, see the text of benchmarks/rgbd_frames.py."


@dataclass(frozen=True)
class Frame:
    """One frame of a recording: what `frames.json` says of it.

    Args:
        name: the picture's, as frames.json has it.
        image: its file.
        depth: the depth image's file.
        person: whom it shows.
        head_center_xy: in pixels.
        camera: intrinsics.
        on_axis: True where the place in the camera's frame is not known, and the head is taken as on the optical axis.
        distance_mm: None: it is measured in the depth image.
        groups: what it shows, by kind.
    """

    name: str
    image: Path
    depth: Path
    person: str
    head_center_xy: tuple[float, float]
    camera: Camera
    on_axis: bool
    distance_mm: float | None
    groups: Mapping[str, str]


@dataclass(frozen=True)
class Comparison:
    """A result beside what was measured, on the face's pixels.

    Args:
        frame: of which frame.
        result: the model's.
        measured_mm: (h, w) float64 z in the result's pixels.
        face: (h, w) bool, the pixels that are compared.
    """

    frame: Frame
    result: DepthResult
    measured_mm: np.ndarray
    face: np.ndarray

    def planes(self) -> np.ndarray:
        """Return columns that span all planes over the face, see `planes_over`: (n, 3)."""
        return planes_over(self.face)

    def error_mm(self) -> np.ndarray:
        """Return the model's depth less the measured one, (n,), without its mean."""
        error = self.result.depth_mm[self.face].astype(np.float64) - self.measured_mm[self.face]
        return error - error.mean()


def read_frames(folder: Path) -> list[Frame]:
    """Read a recording's `frames.json`.

    Raises:
        InputError: it is missing or breaks a rule; the text names the file and the field.
    """
    where = folder / "frames.json"
    items = read_json(where, _FIX)
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise InputError.of(str(where), f"a {type(items).__name__}", "a list of objects, at least one", _FIX)
    return [_frame_from(item, folder, where, f"[{position}].") for position, item in enumerate(items)]


def _frame_from(item: Mapping[str, Any], folder: Path, where: Path, label: str) -> Frame:
    names = {}
    for key in ("image", "depth", "person"):
        if not isinstance(item.get(key), str) or not item[key]:
            raise InputError.of(f"{where}: {label}{key}", item.get(key), "a text", _FIX)
        names[key] = item[key]
    point = item.get("head_center_xy")
    if not isinstance(point, list) or len(point) != 2:
        raise InputError.of(f"{where}: {label}head_center_xy", point, "two numbers, x and y", _FIX)
    head = tuple(number_in({"head_center_xy": v}, "head_center_xy", where, -1e5, 1e5, _FIX, label) for v in point)
    fx, fy = (number_in(item, key, where, 1.0, 1e6, _FIX, label) for key in ("fx", "fy"))
    on_axis = "cx" not in item and "cy" not in item
    cx, cy = head if on_axis else (number_in(item, key, where, -1e5, 1e5, _FIX, label) for key in ("cx", "cy"))
    distance = number_in(item, "distance_mm", where, 10.0, 65_535.0, _FIX, label) if "distance_mm" in item else None
    camera = Camera(fx, fy, cx, cy)
    groups = item.get("groups", {})
    if not isinstance(groups, dict) or not all(isinstance(value, str) and value for value in groups.values()):
        raise InputError.of(f"{where}: {label}groups", groups, "an object of texts", _FIX)
    return Frame(names["image"], folder / names["image"], folder / names["depth"], names["person"], (head[0], head[1]),
                 camera, on_axis, distance, groups)  # fmt: skip


def face_pixels(measured_mm: np.ndarray, distance_mm: float) -> np.ndarray:
    """Return the pixels (h, w) bool of a measured crop that show the face, see the file's text."""
    known = np.isfinite(measured_mm) & (measured_mm > 0) & (np.abs(measured_mm - distance_mm) < HALF_RANGE_MM)
    face = face_ellipse(*measured_mm.shape) & known
    if not face.any():
        return face
    return face & (measured_mm < np.percentile(measured_mm[face], 1) + BEHIND_NOSE_MM)


def compare(frame: Frame, edge: EdgeDepth) -> Comparison | None:
    """Run a model on a frame.

    Args:
        frame: which.
        edge: the model, opened with the frame's camera.

    Returns:
        The result and what was measured; None where fewer than LEAST_PIXELS of the face are measured, or all that is
        has one depth.

    Raises:
        InputError: a file is missing or no image of the right kind, the head centre is outside the frame, or no
            distance is given and none measured around it; the text names the image.
    """
    image = read_colour(frame.image, None, _FIX)
    depth = read_plane(frame.depth, np.uint16, image.shape[:2], _FIX)
    try:
        result = edge.predict(image, frame.head_center_xy, distance_mm=frame.distance_mm, depth=depth)
    except InputError as error:
        raise InputError(f"{frame.image}: {error}") from error
    measured = sample_depth(depth, result.box, result.depth_mm.shape).astype(np.float64)
    face = face_pixels(measured, result.distance_mm)
    if face.sum() < LEAST_PIXELS or min(np.ptp(measured[face]), np.ptp(result.depth_mm[face])) == 0:
        return None
    return Comparison(frame, result, measured, face)


def compare_all(frames: Sequence[Frame], model: str | Path, precision: str = "auto") -> list[Comparison]:
    """Run a model on all frames; those with too little measured are left out.

    Raises:
        InputError: as `compare`.
    """
    found = []
    for camera, own in itertools.groupby(frames, key=lambda frame: frame.camera):
        with EdgeDepth(model, precision=precision, camera=camera, threads=1) as edge:
            found += [one for one in (compare(frame, edge) for frame in own) if one is not None]
    return found


def scores(found: Sequence[Comparison]) -> list[dict[str, float]]:
    """Score comparisons.

    Args:
        found: of all frames; those of one person share a plane.

    Returns:
        For each: `correlation` and `error_mm` after the offset; `yaw_deg` and `pitch_deg`, the tilt of the model's face
        against the measured one (above 0: right side, chin farther); `person_correlation` and `person_error_mm` after
        one plane for all frames of the person, which takes out what a camera's unknown place adds; `shape_error_mm`
        after the frame's own plane; `gain`, the slope of the model's relief beside planes over the measured one.
    """
    rows = []
    tilts = _tilt_of_people(found)
    for one in found:
        planes, error = one.planes(), one.error_mm()
        model, measured = one.result.depth_mm[one.face].astype(np.float64), one.measured_mm[one.face]
        slopes, shape = beside_plane(error, planes)
        relief, true = (beside_plane(depth, planes)[1] for depth in (model, measured))
        own = planes[:, :2] @ tilts[one.frame.person]
        yaw, pitch = np.degrees(np.arctan(slopes[:2]))
        rows.append({
            "correlation": float(np.corrcoef(model, measured)[0, 1]),
            "error_mm": float(np.abs(error).mean()),
            "yaw_deg": float(yaw),
            "pitch_deg": float(pitch),
            "person_correlation": float(np.corrcoef(model - own, measured)[0, 1]),
            "person_error_mm": float(np.abs(error - own).mean()),
            "shape_error_mm": float(np.abs(shape).mean()),
            "gain": float(relief @ true / (true @ true)),
        })  # fmt: skip
    return rows


def _tilt_of_people(found: Sequence[Comparison]) -> dict[str, np.ndarray]:
    tilts = {}
    for person in {one.frame.person for one in found}:
        own = [one for one in found if one.frame.person == person]
        planes, errors = (np.concatenate(v) for v in ([o.planes()[:, :2] for o in own], [o.error_mm() for o in own]))
        tilts[person], _ = beside_plane(errors, planes)
    return tilts


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def table(found: Sequence[Comparison], rows: Sequence[Mapping[str, float]], frames: int) -> str:
    """Write the means over each person's frames, over all frames, and over people.

    Args:
        found: the comparisons.
        rows: their scores.
        frames: how many frames there were before those with too little measured were left out.

    Returns:
        A table in Markdown, and below it a line or two, and where frames say what they show, a table by group.
    """
    people = sorted({one.frame.person for one in found})
    own = {person: [r for one, r in zip(found, rows, strict=True) if one.frame.person == person] for person in people}
    means = {person: _mean(scored) for person, scored in own.items()}
    shown = [(person, len(own[person]), means[person]) for person in people]
    shown += [("all frames", len(found), _mean(rows)), (f"{len(people)} people", len(found), _mean([*means.values()]))]
    heads = ("", "frames", "r", "error (mm)", "yaw, pitch (degrees)", "one plane a person: r", "error (mm)",
             "one a frame: error (mm)", "gain")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, count, row in shown:
        first = f"| {name} | {count} | {row['correlation']:.3f} | {row['error_mm']:.2f} "
        tilt = f"| {row['yaw_deg']:+.1f}, {row['pitch_deg']:+.1f} "
        beside = f"| {row['person_correlation']:.3f} | {row['person_error_mm']:.2f} | {row['shape_error_mm']:.2f} "
        lines.append(f"{first}{tilt}{beside}| {row['gain']:.2f} |")
    valid, few = sum(one.result.valid for one in found), frames - len(found)
    lines.append(f"\n{frames} frames, {few} with too little measured; of the others {valid} called valid.")
    if any(one.frame.on_axis for one in found):
        lines.append("Some frames' place before the camera is not known: r, error, yaw and pitch are not the model's.")
    return "\n".join([*lines, *_group_lines(found, rows)])


def _group_lines(found: Sequence[Comparison], rows: Sequence[Mapping[str, float]]) -> list[str]:
    groups = sorted({group for one in found for group in one.frame.groups.items()})
    if not groups:
        return []
    all_mm = _mean(rows)["error_mm"]
    lines = ["", "| | | frames | people | r | error (mm) | of all |", "|---|---|---|---|---|---|---|"]
    for kind, value in groups:
        own = [(one, r) for one, r in zip(found, rows, strict=True) if one.frame.groups.get(kind) == value]
        mean, people = _mean([row for _, row in own]), len({one.frame.person for one, _ in own})
        first = f"| {kind} | {value} | {len(own)} | {people} | {mean['correlation']:.3f} "
        lines.append(f"{first}| {mean['error_mm']:.2f} | {mean['error_mm'] / all_mm:.2f} |")
    return lines


def sheet(found: Sequence[Comparison], rows: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Draw crop, measured depth, the model's, and its error (red: too far, blue: too near) of each frame.

    Args:
        found: the comparisons.
        rows: their scores.

    Returns:
        (H, W, 3) uint8 BGR, two frames a row.
    """
    tiles = []
    for one, row in zip(found, rows, strict=True):
        frame, box = read_colour(one.frame.image, None, _FIX), one.result.box
        frame = frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
        wide, high = PANEL_PX / box.width, PANEL_PX / box.height
        # warpAffine counts from the first pixel's centre
        turn = np.array([[wide, 0, (0.5 - box.x0) * wide - 0.5], [0, high, (0.5 - box.y0) * high - 0.5]])
        crop = cv2.warpAffine(frame, turn, (PANEL_PX, PANEL_PX), borderMode=cv2.BORDER_REPLICATE)
        cv2.putText(crop, f"{row['correlation']:.2f} {row['error_mm']:.1f}", (2, 140), 0, 0.35, (255, 255, 255), 1)
        distance = one.result.distance_mm
        mean = (one.result.depth_mm[one.face] - one.measured_mm[one.face]).mean()
        own = one.result.depth_mm - mean
        far = (one.measured_mm <= 0) | (np.abs(one.measured_mm - distance) > HALF_RANGE_MM)
        error = np.clip((own - one.measured_mm) / ERROR_MM, -1, 1)
        shown = np.full((*error.shape, 3), 128.0)
        tint = np.stack([1 - error.clip(0), 1 - np.abs(error), 1 + error.clip(None, 0)], axis=-1) * 255
        shown[one.face] = tint[one.face]
        panels = [_coloured(one.measured_mm - distance, far), _coloured(own - distance, ~one.result.mask), shown]
        panels = [cv2.resize(p.astype(np.uint8), (PANEL_PX, PANEL_PX), interpolation=cv2.INTER_NEAREST) for p in panels]
        tiles.append(np.hstack([crop, *panels]))
    tiles += [np.zeros_like(tiles[0])] * (len(tiles) % 2)
    return np.vstack([np.hstack(tiles[i : i + 2]) for i in range(0, len(tiles), 2)])


def _coloured(relative_mm: np.ndarray, empty: np.ndarray) -> np.ndarray:
    low, high = COLOURED_MM
    levels = np.clip((relative_mm - low) / (high - low), 0, 1) * 255
    picture = cv2.applyColorMap(levels.astype(np.uint8), cv2.COLORMAP_TURBO)
    picture[empty] = 0
    return picture


def main(arguments: list[str] | None = None) -> int:
    """Compare as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rgbd_frames", description="A model on measured depth")
    parser.add_argument("folder", type=Path, help="of the recording, with frames.json")
    parser.add_argument("--model", default="edge", help="name or folder of an artifact (%(default)s)")
    parser.add_argument("--precision", default="auto", help="of the network (%(default)s)")
    parser.add_argument("--sheet", type=Path, help="write a picture of all frames, to look at")
    parser.add_argument("--json", type=Path, help="write every frame's scores there")
    chosen = parser.parse_args(arguments)

    def work() -> Outcome:
        frames = read_frames(chosen.folder)
        found = compare_all(frames, chosen.model, chosen.precision)
        if not found:
            got = f"{len(frames)} frames, none with {LEAST_PIXELS} measured pixels of a face"
            raise InputError.of(str(chosen.folder), got, "some", "Look at head_center_xy and at the depth images.")
        rows = scores(found)
        names = [{"image": one.frame.name, "person": one.frame.person} for one in found]
        write_json(chosen.json, {"frames": [{**name, **row} for name, row in zip(names, rows, strict=True)]})
        if chosen.sheet is not None:
            write_image(chosen.sheet, sheet(found, rows))
        return Outcome(table(found, rows, len(frames)))

    return run_command("python -m benchmarks.rgbd_frames", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
