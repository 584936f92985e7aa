# SPDX-License-Identifier: Apache-2.0
"""Draws what a model sees in faces: `python -m train.face_sheet --model edge --data DIR --out sheet.jpg`.

A card is a crop, the measured depth, the model's, both in one scale, and both from the side: the points within
SLICE_MM of the head's middle, measured ones white, the model's orange. Photographs have no measured depth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from facedepth_edge import Camera, EdgeDepth
from facedepth_edge.errors import InputError
from facedepth_edge.picture import colour_from_depth
from train.command import Outcome, require_counts, run_command
from train.data.command_line import add_reading_arguments, open_sets
from train.data.frame_source import SPLITS
from train.data.packed import PackedSet
from train.face_ellipse import face_ellipse
from train.image_files import write_image
from train.metrics import score_depth
from train.units import HALF_RANGE_MM, REACH_MM, gray_from_face
from train.validation import batches_of

SLICE_MM = 12.0
NEAR_FAR_MM = (-110.0, 110.0)  # behind the head's distance: the ends of the colours and of the side view
PANEL_PX = 168
COLUMNS = 2
FACES = 11
# With these a crop of eq. 6's box, enlarged by the set's margin, is cut back to the box, whatever its true distance.
_FOCAL_PX, _DISTANCE_MM = 1000.0, 1000.0
_EMPTY, _INK = (40, 40, 40), (235, 235, 235)
_MEASURED, _MODEL = (255, 255, 255), (60, 150, 255)

ASTRONAUT_CENTER, ASTRONAUT_WIDTH_PX = (224.5, 111.0), 104.0  # by eye: midway between the tragi, ear to ear


def card(
    face: np.ndarray,
    depth: np.ndarray,
    mask: np.ndarray,
    truth: np.ndarray | None,
    measured: np.ndarray | None,
    text: str,
) -> np.ndarray:
    """Draw one face.

    Args:
        face: (H, W) uint8.
        depth: (H, W) mm behind the head's distance, the model's.
        mask: (H, W) bool, where the model sees the head.
        truth: (H, W) mm behind the head's distance; None where nobody measured it.
        measured: (H, W) bool, where truth is the head's; None with truth.
        text: one line beneath.

    Returns:
        (PANEL_PX + 18, 4 PANEL_PX, 3) uint8 BGR.
    """
    panels = [cv2.cvtColor(_enlarged(face), cv2.COLOR_GRAY2BGR)]
    if truth is not None and measured is not None:
        panels.append(_coloured(truth, measured))
    else:
        panels.append(np.full((PANEL_PX, PANEL_PX, 3), _EMPTY, np.uint8))
    panels.append(_coloured(depth, mask))
    side = np.full((PANEL_PX, PANEL_PX, 3), _EMPTY, np.uint8)
    if truth is not None and measured is not None:
        _draw_side(side, truth, measured, _MEASURED)
    _draw_side(side, depth, mask, _MODEL)
    strip = np.full((18, 4 * PANEL_PX, 3), 20, np.uint8)
    cv2.putText(strip, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.38, _INK, 1, cv2.LINE_AA)
    return np.vstack([np.hstack([*panels, side]), strip])


def _enlarged(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (PANEL_PX, PANEL_PX), interpolation=cv2.INTER_NEAREST)


def _coloured(depth: np.ndarray, where: np.ndarray) -> np.ndarray:
    colours = colour_from_depth(depth, *NEAR_FAR_MM)
    colours[~where] = _EMPTY
    return _enlarged(colours)


def _draw_side(picture: np.ndarray, depth: np.ndarray, where: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draw the points near the head's middle as seen from its side: near is left, up is up."""
    height, width = depth.shape
    across_mm = ((np.arange(width) + 0.5) / width - 0.5) * REACH_MM
    rows, columns = np.nonzero(where & (np.abs(across_mm) <= SLICE_MM)[None, :])
    near, far = NEAR_FAR_MM
    x = (depth[rows, columns] - near) / (far - near) * PANEL_PX
    y = (rows + 0.5) / height * PANEL_PX
    for u, v in zip(np.clip(x, 0, PANEL_PX - 1), y, strict=True):
        cv2.circle(picture, (round(float(u)), round(float(v))), 1, colour, -1)


def cards_of_set(model: EdgeDepth, data: PackedSet, split: str, count: int, name: str) -> list[np.ndarray]:
    """Draw faces of a set, spread over a split.

    Args:
        model: With Camera(_FOCAL_PX, _FOCAL_PX), see main().
        data: The packed set.
        split: train, val or test.
        count: How many.
        name: The set's, for the text.
    """
    # The crop is given as a frame: its middle is on the axis.
    data = data.with_depth_along(model.spec.depth_scale.along)
    faces = data.indices(split, faces_only=True)
    if not len(faces):
        raise InputError.of(name, f"no face in split {split}", "some", "Give another --split.")
    chosen = faces[np.linspace(0, len(faces) - 1, min(count, len(faces))).round().astype(np.int64)]
    middle = (data.crops.crop_px / 2, data.crops.crop_px / 2)
    distance_mm = _FOCAL_PX * REACH_MM / data.crops.box_px
    cards = []
    for positions, batch in batches_of(data, chosen):
        for i, position in enumerate(positions):
            result = model.predict(np.asarray(data.gray[position]), middle, distance_mm=distance_mm)
            truth, valid, head = (plane[i, 0].numpy() for plane in (batch.depth, batch.valid, batch.head))
            measured = valid & head
            error, _, correlation = score_depth(result.relative, truth, measured & face_ellipse(*truth.shape))
            state = "" if result.valid else ", not valid"
            text = f"{name} {data.crops.frames[position].frame_id}: face {error:.1f} mm, r {correlation:.2f}{state}"
            gray = np.rint(gray_from_face(batch.face[i, 0].numpy())).astype(np.uint8)
            # the offset is taken out of both, as it is out of the error
            model_mm, truth_mm = result.relative * HALF_RANGE_MM, truth * HALF_RANGE_MM
            model_mm = model_mm - (model_mm - truth_mm)[measured].mean() if measured.any() else model_mm
            cards.append(card(gray, model_mm, result.mask, truth_mm, measured, text))
    return cards


def card_of_astronaut(model: EdgeDepth) -> np.ndarray:
    """Draw scikit-image's photograph of an astronaut, which is in the public domain."""
    import skimage.data

    frame = np.ascontiguousarray(skimage.data.astronaut()[..., ::-1])
    result = model.predict(frame, ASTRONAUT_CENTER, head_width_px=ASTRONAUT_WIDTH_PX)
    height, width = result.relative.shape
    box = result.box
    wide, high = box.width / width, box.height / height
    crop = cv2.warpAffine(
        cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY),
        # warpAffine counts from the first pixel's centre
        np.array([[wide, 0, box.x0 + (wide - 1) / 2], [0, high, box.y0 + (high - 1) / 2]]),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    text = "photograph: scikit-image's astronaut (public domain), depth not measured"
    return card(crop, result.relative * HALF_RANGE_MM, result.mask, None, None, text)


def draw(model: str | Path, sets: Mapping[str, PackedSet], split: str, count: int, out: Path) -> None:
    """Draw the astronaut and faces of sets into a picture.

    Args:
        model: Name or folder of an artifact.
        sets: By name.
        split: train, val or test.
        count: Faces of each set.
        out: The picture, .jpg or .png.
    """
    with EdgeDepth(model, camera=Camera(_FOCAL_PX, _FOCAL_PX)) as opened:
        cards = [card_of_astronaut(opened)]
        for name, data in sets.items():
            cards += cards_of_set(opened, data, split, count, name)
    cards += [np.full_like(cards[0], 20)] * (-len(cards) % COLUMNS)
    rows = [np.hstack(cards[first : first + COLUMNS]) for first in range(0, len(cards), COLUMNS)]
    write_image(out, np.vstack(rows))


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m train.face_sheet", description="Draw a model's depth of faces.")
    parser.add_argument("--model", default="edge", help="name or folder of an artifact (default: edge)")
    parser.add_argument("--data", type=Path, action="append", default=[], help="folder of a data set; repeatable")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--count", type=int, default=FACES, help=f"faces of each set (default: {FACES})")
    parser.add_argument("--out", type=Path, required=True, help="the picture, .jpg or .png")
    add_reading_arguments(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Draw as the command line says.

    Returns:
        Exit status: 0 done, 1 failed.
    """
    args = parse_arguments(arguments)

    def work() -> Outcome:
        require_counts(args, "count")
        sets = open_sets(args.data, args)
        draw(args.model, sets, args.split, args.count, args.out)
        return Outcome(str(args.out))

    return run_command("python -m train.face_sheet", arguments, work)


if __name__ == "__main__":
    sys.exit(main())
