# SPDX-License-Identifier: Apache-2.0
"""Draws a DepthResult: the frame with its box, the crop, the depth in colour with its scale, and the head in relief.

Convention: near is warm (red), far is cold (blue). All panels are (rows, columns, 3) uint8 BGR.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from facedepth_edge.errors import InputError
from facedepth_edge.face_crop import FaceSampler, check_frame
from facedepth_edge.head import FROM_DEPTH, FROM_WIDTH, GIVEN, HELD, NOMINAL
from facedepth_edge.opencv import import_cv2
from facedepth_edge.spec import Preprocessing

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    from facedepth_edge.head_pose import HeadPose
    from facedepth_edge.result import DepthResult

    Image: TypeAlias = NDArray[np.uint8]

PANEL_PX = 520
GAP_PX = 16
SMALL_PX = (PANEL_PX - GAP_PX) // 2
MAX_FRAME_WIDTH_PX = 930
SCALE_WIDTH_PX = 96
CAPTION_PX = 40
TURN_DEGREES = 45.0
AXIS_SHARE = 0.3
"""Length of the head's axes that are drawn, as a share of the box's side."""
MIN_FACING = 0.15  # cosine to the camera; steeper parts are the jump from one surface to the next
SOURCE_WORDS = {
    GIVEN: "given",
    FROM_DEPTH: "from the depth image",
    FROM_WIDTH: "from the head's width",
    NOMINAL: "nominal",
    HELD: "held from an earlier frame",
}
"""DepthResult.distance_source -> what the picture says of it."""

_PAPER = (30, 28, 26)
_EMPTY = (48, 45, 42)
_INK = (235, 235, 235)
_FAINT = (165, 165, 165)
_BOX = (90, 220, 255)
_AXES = ((90, 90, 255), (110, 230, 110), (255, 170, 70))


def draw_result(result: DepthResult, frame: NDArray[Any] | None) -> Image:
    """Draw a result as one picture.

    Args:
        result: what predict() returned.
        frame: the frame that it was predicted from, or None to leave the frame and the crop out.

    Returns:
        (rows, columns, 3) uint8 BGR, a fresh array.

    Raises:
        InputError: the frame breaks a rule of predict(), or is of another size than the one predicted from.
    """
    pose = result.head_pose()
    depth, head = _smooth_depth(result, PANEL_PX)
    near_mm, far_mm = _span_mm(result)
    step_mm = result.box.width / result.camera.fx * result.distance_mm / PANEL_PX
    normals = _normals(depth, head, step_mm)
    relief = _relief(depth, head, normals, step_mm, SMALL_PX if frame is not None else PANEL_PX)
    shading = 0.72 + 0.28 * _lit(normals)[..., None]  # little enough for the colour to keep its meaning
    depth_panel = np.rint(colour_from_depth(depth, near_mm, far_mm) * shading).astype(np.uint8)
    depth_panel[~head] = _EMPTY
    if not result.mask.any():
        _text(depth_panel, "no head in the box", (PANEL_PX // 2 - 105, PANEL_PX // 2), 0.7, _INK)
    panels = [(depth_panel, "depth of the head"), (_scale(near_mm, far_mm), "mm")]
    if frame is None:
        panels.append((relief, f"turned by {TURN_DEGREES:.0f} degrees"))
    else:
        shown = _frame_as_bgr(result, frame)
        crop = _crop_panel(result, frame)
        stacked = np.vstack([crop, np.full((PANEL_PX - 2 * SMALL_PX, SMALL_PX, 3), _PAPER, np.uint8), relief])
        panels = [(_frame_panel(result, shown, pose), "frame and box"), (stacked, "crop and relief"), *panels]
    return _compose(panels, _title(result, pose))


def colour_from_depth(depth_mm: NDArray[Any], near_mm: float, far_mm: float) -> Image:
    """Colour a depth map.

    Args:
        depth_mm: (h, w) millimetres.
        near_mm: the depth of the warm end; what is nearer has its colour.
        far_mm: the depth of the cold end.

    Returns:
        (h, w, 3) uint8 BGR.
    """
    cv2 = import_cv2()
    level = 1.0 - np.clip((depth_mm - near_mm) / max(far_mm - near_mm, 1e-6), 0.0, 1.0)
    # the outermost colours of the map are nearly black: they would be read as shadow
    return np.asarray(cv2.applyColorMap(np.rint(16 + level * 224).astype(np.uint8), cv2.COLORMAP_TURBO), np.uint8)


def _span_mm(result: DepthResult) -> tuple[float, float]:
    """Return the depths at the ends of the colour scale: the head's own, in whole tens of mm."""
    head = result.depth_mm[result.mask]
    if head.size == 0:
        return result.distance_mm - 50.0, result.distance_mm + 100.0
    near, far = np.percentile(head, (0.5, 99.0))
    near, far = 10.0 * np.floor(near / 10.0), 10.0 * np.ceil(far / 10.0)
    return float(near), float(max(far, near + 20.0))


def _smooth_depth(result: DepthResult, size_px: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Enlarge the head's depth for the eye, without mixing in what is not head.

    Returns:
        ((size_px, size_px) float32 mm, (size_px, size_px) bool head).
    """
    cv2 = import_cv2()
    weight = result.mask.astype(np.float32)
    offset = (result.depth_mm - result.distance_mm) * weight
    size = (size_px, size_px)
    share = np.asarray(cv2.resize(weight, size, interpolation=cv2.INTER_LINEAR))
    total = np.asarray(cv2.resize(offset, size, interpolation=cv2.INTER_LINEAR))
    depth = result.distance_mm + total / np.maximum(share, 1e-6)
    return depth.astype(np.float32), share > 0.5


def _frame_as_bgr(result: DepthResult, frame: NDArray[Any]) -> Image:
    frame = check_frame(frame, result.camera.max_value)
    if frame.shape[:2] != result.frame_hw:
        fix = "Give the frame that this result was predicted from."
        raise InputError.of("frame", f"shape {frame.shape}", f"height and width {result.frame_hw}", fix)
    if frame.dtype == np.uint16:
        assert result.camera.max_value is not None, "check_frame refuses a uint16 frame without max_value"
        frame = np.clip(frame * (255.0 / result.camera.max_value), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(frame if frame.ndim == 3 else np.repeat(frame[:, :, None], 3, axis=2))


def _frame_panel(result: DepthResult, frame: Image, pose: HeadPose | None) -> Image:
    """Scale the frame to the panel's height and draw box, head centre and the head's axes."""
    cv2 = import_cv2()
    height, width = frame.shape[:2]
    scale = min(PANEL_PX / height, MAX_FRAME_WIDTH_PX / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    x0, y0, x1, y1 = (round(value * scale) for value in result.box)
    cv2.rectangle(small, (x0, y0), (x1, y1), _BOX, 2, cv2.LINE_AA)
    center = (round(result.head_center[0] * scale), round(result.head_center[1] * scale))
    if pose is not None:
        _draw_axes(small, pose, center, AXIS_SHARE * result.box.width * scale)
    cv2.drawMarker(small, center, _BOX, cv2.MARKER_CROSS, 16, 2, cv2.LINE_AA)
    panel = np.full((PANEL_PX, size[0], 3), _PAPER, np.uint8)
    top = (PANEL_PX - size[1]) // 2
    panel[top : top + size[1]] = small
    return panel


def _crop_panel(result: DepthResult, frame: NDArray[Any]) -> Image:
    """Draw the gray face as the network saw it."""
    cv2 = import_cv2()
    face = np.empty(result.depth_mm.shape, np.float32)
    checked = check_frame(frame, result.camera.max_value)
    FaceSampler().sample_into(face, checked, result.box, Preprocessing(scale=1.0, offset=0.0), result.camera.max_value)
    gray = np.clip(np.rint(face), 0, 255).astype(np.uint8)
    gray = np.asarray(cv2.resize(gray, (SMALL_PX, SMALL_PX), interpolation=cv2.INTER_CUBIC), np.uint8)
    return np.repeat(gray[:, :, None], 3, axis=2)


def _normals(depth: NDArray[np.float32], head: NDArray[np.bool_], step_mm: float) -> NDArray[np.float32]:
    """Return the (h, w, 3) unit normals of the head's surface, towards the camera; step_mm is a pixel's side."""
    cv2 = import_cv2()
    back = np.float32(depth[head].max()) if head.any() else np.float32(0)
    slope_y, slope_x = np.gradient(cv2.GaussianBlur(np.where(head, depth, back), (0, 0), 2.5), step_mm)
    normals = np.stack([slope_x, slope_y, np.full(depth.shape, -1.0)], axis=2).astype(np.float32)
    return np.asarray(normals / np.linalg.norm(normals, axis=2, keepdims=True), np.float32)


def _relief(
    depth: NDArray[np.float32], head: NDArray[np.bool_], normals: NDArray[np.float32], step_mm: float, size_px: int
) -> Image:
    """Draw the head's surface turned about the vertical axis and lit from the upper left, by splatting its points."""
    panel = np.full((size_px, size_px, 3), _EMPTY, np.uint8)
    rows, columns = np.nonzero(head & (normals[..., 2] < -MIN_FACING))
    if rows.size == 0:
        return panel
    normal = normals[rows, columns]
    cosine, sine = np.cos(np.radians(TURN_DEGREES)), np.sin(np.radians(TURN_DEGREES))
    if normal[:, 0].mean() > 0:  # turn towards the side of which the camera saw more
        sine = -sine
    turned = normal.copy()
    turned[:, 0] = normal[:, 0] * cosine - normal[:, 2] * sine
    turned[:, 2] = normal[:, 0] * sine + normal[:, 2] * cosine
    seen = turned[:, 2] < 0  # not the far side of the nose
    rows, columns = rows[seen], columns[seen]
    x, y, z = columns * step_mm, rows * step_mm, depth[rows, columns]
    across = x * cosine - z * sine
    behind = x * sine + z * cosine
    shade = (55 + 195 * _lit(turned[seen])).astype(np.uint8)
    low, high = np.percentile(across, (0.5, 99.5))
    scale = 0.9 * size_px / max(float(y.max() - y.min()), float(high - low), step_mm)
    u = np.rint(size_px / 2 + (across - (low + high) / 2) * scale).astype(int)
    v = np.rint(size_px / 2 + (y - (y.min() + y.max()) / 2) * scale).astype(int)
    order = np.argsort(-behind)  # the nearest is drawn last
    u, v, shade = u[order], v[order], shade[order]
    splat = 2 + round(2.5 * scale * step_mm)  # pixels; slopes that turn towards the eye spread their points
    for right in range(splat):
        for down in range(splat):
            inside = (u + right >= 0) & (u + right < size_px) & (v + down >= 0) & (v + down < size_px)
            panel[v[inside] + down, u[inside] + right] = shade[inside, None]
    return panel


def _lit(normals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much light falls on surfaces with these (..., 3) normals, 0 to 1."""
    light = np.array([-0.62, -0.38, -0.69], np.float32)  # from the upper left, before the head
    return np.asarray(np.clip(normals @ light, 0.0, 1.0), np.float32)


def _scale(near_mm: float, far_mm: float) -> Image:
    """Draw the colour scale with its numbers, near at the top."""
    cv2 = import_cv2()
    panel = np.full((PANEL_PX, SCALE_WIDTH_PX, 3), _PAPER, np.uint8)
    top, bottom, width = 12, PANEL_PX - 12, 26
    ramp = np.linspace(near_mm, far_mm, bottom - top)[:, None]
    panel[top:bottom, :width] = colour_from_depth(ramp, near_mm, far_mm)
    span = far_mm - near_mm
    step = next((value for value in (5.0, 10.0, 20.0, 50.0, 100.0) if span / value <= 10), 200.0)
    for value in np.arange(np.ceil(near_mm / step) * step, far_mm + 1e-6, step):
        y = round(top + (bottom - 1 - top) * (value - near_mm) / span)
        cv2.line(panel, (width, y), (width + 7, y), _INK, 1, cv2.LINE_AA)
        _text(panel, f"{value:.0f}", (width + 12, y + 6), 0.55, _INK)
    return panel


def _draw_axes(image: NDArray[Any], pose: HeadPose, center: tuple[int, int], length_px: float) -> None:
    """Draw where the head's right side, its chin and its face point to, as a camera turned towards it sees them."""
    cv2 = import_cv2()
    seen = pose.rotation_seen
    axes = (seen[:2, 0], seen[:2, 1], -seen[:2, 2])  # the face looks along -z of the head
    for (x, y), colour in zip(axes, _AXES, strict=True):
        end = (round(center[0] + length_px * x), round(center[1] + length_px * y))
        cv2.line(image, center, end, colour, 2, cv2.LINE_AA)


def _title(result: DepthResult, pose: HeadPose | None) -> str:
    said = SOURCE_WORDS.get(result.distance_source, result.distance_source)
    text = f"distance {result.distance_mm:.0f} mm ({said})"
    if result.validity is not None:
        text += f"   validity {result.validity:.2f}"
    if result.face_seen is not None:
        text += f"   seen {100 * result.face_seen:.0f} %"
    if pose is not None:
        text += f"   yaw {pose.yaw_deg:.0f}, pitch {pose.pitch_deg:.0f}, roll {pose.roll_deg:.0f} degrees"
    return text if result.valid else f"{text}   NOT VALID: {result.reason}"


def _compose(panels: list[tuple[Image, str]], title: str) -> Image:
    """Set panels of equal height side by side, each with its caption above, and the title over all."""
    width = sum(panel.shape[1] for panel, _ in panels) + GAP_PX * (len(panels) + 1)
    canvas = np.full((PANEL_PX + 2 * CAPTION_PX + GAP_PX, width, 3), _PAPER, np.uint8)
    _text(canvas, title, (GAP_PX, 28), 0.7, _INK)
    left, top = GAP_PX, 2 * CAPTION_PX
    for panel, caption in panels:
        _text(canvas, caption, (left, top - 12), 0.55, _FAINT)
        canvas[top : top + PANEL_PX, left : left + panel.shape[1]] = panel
        left += panel.shape[1] + GAP_PX
    return canvas


def _text(image: Image, text: str, at: tuple[int, int], scale: float, colour: tuple[int, int, int]) -> None:
    cv2 = import_cv2()
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
