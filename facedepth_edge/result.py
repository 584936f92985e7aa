# SPDX-License-Identifier: Apache-2.0
"""DepthResult: one face's depth in millimetres, with everything that is known about it.

Convention: a pixel of the maps covers its part of the box, which is real-valued in pixels of the frame (pixel i covers
[i, i + 1)). Depth is z along the optical axis, farther is larger. Points are in the camera's frame: x right, y down,
z forward, millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from facedepth_edge.box import Box
from facedepth_edge.camera import Camera
from facedepth_edge.errors import InputError
from facedepth_edge.opencv import import_cv2

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from facedepth_edge.head import DistanceSource
    from facedepth_edge.head_pose import HeadPose


@dataclass(eq=False)
class DepthResult:
    """Hold the depth of one face.

    The arrays are the result's own, fresh from predict(), and nobody overwrites them; a result that is given back to
    predict(out=...) is overwritten by that call.
    """

    depth_mm: NDArray[np.float32]
    """(h, w) millimetres from the camera: distance_mm + relative * the model's half range."""
    relative: NDArray[np.float32]
    """(h, w) depth along the optical axis in [-1, 1]; 0 is the head's distance, +1 the half range beyond it or more."""
    mask: NDArray[np.bool_]
    """(h, w) true on the head: skin, ears, hair, glasses and hat, not neck, hands or background; never outside the
    frame, though depth is given there too where the box reaches beyond it."""
    mask_source: str
    """Where the mask comes from: "model", or the threshold on relative depth that made it."""
    box: Box
    """The square around the head in pixels of the frame: x0, y0, x1, y1."""
    head_center: tuple[float, float]
    """(x, y) in pixels of the frame, as given."""
    distance_mm: float
    """The head's distance, to which the depth is relative. In a DepthStream's result it is filtered, while the box is
    that of the frame's own distance, or of the one that was held."""
    distance_source: DistanceSource
    """Where the distance comes from: "distance_mm", "depth", "head_width_px", "nominal", or "held": the last one
    of a DepthStream, for a frame that brought none."""
    validity: float | None
    """The model's probability that a usable face is in the box; None where the model does not say."""
    valid: bool
    """False where the depth should not be used."""
    reason: str
    """Why not; empty where valid."""
    camera: Camera
    """The camera, with cx and cy as numbers."""
    frame_hw: tuple[int, int]
    """Height and width of the frame in pixels."""
    face_seen: float | None = None
    """Share of the face's place, an ellipse of 120 x 160 mm about the head centre, that the model's mask calls head;
    None where the model has no mask of its own."""
    filtered: bool = False
    """Whether a DepthStream has filtered the depth."""
    timings_ms: dict[str, float] = field(default_factory=dict)
    """Wall-clock milliseconds: "check", "crop", "network", "result" and "total"; crop and network are of the batch that
    the face was in, and check of the whole call."""

    def __repr__(self) -> str:
        state = "valid" if self.valid else f"not valid: {self.reason}"
        head = self.depth_mm[self.mask]
        span = f"head {head.min():.0f} to {head.max():.0f} mm" if head.size else "no head pixel"
        height, width = self.depth_mm.shape
        distance = f"distance {self.distance_mm:.0f} mm by {self.distance_source}"
        return f"DepthResult({width} x {height}, {span}, {distance}, {state})"

    def pixel_centers(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where the maps' columns and rows lie in the frame.

        Returns:
            (x of each column, y of each row): (w,) and (h,) float64, centres in pixels of the frame.
        """
        height, width = self.depth_mm.shape
        x = self.box.x0 + (np.arange(width) + 0.5) * (self.box.width / width)
        y = self.box.y0 + (np.arange(height) + 0.5) * (self.box.height / height)
        return x, y

    def point_cloud(self, *, head_only: bool = True) -> NDArray[np.float32]:
        """Return the depth map as points.

        Args:
            head_only: leave out what the mask does not call head.

        Returns:
            (N, 3) float32, x right, y down, z forward from the camera in mm; rows of the map in order; a fresh array.
        """
        cx, cy = self.camera.center_px(self.frame_hw)
        x, y = self.pixel_centers()
        z = self.depth_mm
        points = np.empty((*z.shape, 3), np.float32)
        np.multiply((x - cx) / self.camera.fx, z, out=points[..., 0], casting="same_kind")
        np.multiply(((y - cy) / self.camera.fy)[:, None], z, out=points[..., 1], casting="same_kind")
        points[..., 2] = z
        return points[self.mask] if head_only else points.reshape(-1, 3)

    def on_frame(self, *, head_only: bool = True) -> NDArray[np.float32]:
        """Paste the depth back at the frame's size.

        Each pixel whose centre is in the box takes the map's pixel that covers it: nothing is averaged.

        Args:
            head_only: leave out what the mask does not call head.

        Returns:
            (H, W) float32 mm, 0 where there is no depth; a fresh array.
        """
        frame = np.zeros(self.frame_hw, np.float32)
        source = np.where(self.mask, self.depth_mm, np.float32(0)) if head_only else self.depth_mm
        rows, from_rows = _covered(self.box.y0, self.box.y1, source.shape[0], self.frame_hw[0])
        columns, from_columns = _covered(self.box.x0, self.box.x1, source.shape[1], self.frame_hw[1])
        frame[rows, columns] = source[from_rows[:, None], from_columns]
        return frame

    def head_pose(self) -> HeadPose | None:
        """Estimate how the head is turned, by its depth and mask alone, and where it is.

        It is computed at each call, in about 0.2 ms. For a DepthStream's result it is that of the filtered depth.

        Returns:
            The pose; None where the result is not valid, and for models without a mask of their own or with maps whose
            sides 12 does not divide.

        Raises:
            ArtifactError: the file with the weights is missing or damaged.
        """
        from facedepth_edge.head_pose import estimate_head_pose

        return estimate_head_pose(self)

    def picture(self, frame: NDArray[Any] | None = None) -> NDArray[np.uint8]:
        """Draw the depth in colour with its scale in mm, and the head from the side.

        Args:
            frame: the frame that was predicted from, to be shown with the box, and its crop. A result keeps no frame.

        Returns:
            (rows, columns, 3) uint8 BGR, a fresh array.

        Raises:
            InputError: the frame is not of the size that was predicted from.
        """
        from facedepth_edge.picture import draw_result

        return draw_result(self, frame)

    def save(self, path: str | PathLike[str], *, on_frame: bool = False) -> Path:
        """Write the depth into a file; its ending says how.

        .png: 16-bit, whole millimetres, 0 outside the head; (h, w) over the box.
        .npy: depth_mm as it is, (h, w) float32 over the box, the background included.
        .ply: the head's points in mm, binary, little-endian; a comment says where the result is not valid.

        Args:
            path: the file; one that exists is replaced.
            on_frame: write .png and .npy at the frame's size, registered to it, as `depth=` takes it; 0 outside the
                head.

        Returns:
            The path.

        Raises:
            InputError: the ending is none of the three, or the file cannot be written.
        """
        from pathlib import Path

        from facedepth_edge.whole_file import replace_file

        target = Path(path)
        writers = {".png": self._png, ".npy": self._npy, ".ply": self._ply}
        if target.suffix.lower() not in writers:
            rule = f"an ending of {', '.join(writers)}"
            raise InputError.of("path", str(path), rule, "Choose one of these endings.")
        content = writers[target.suffix.lower()](on_frame)
        try:
            replace_file(target, content)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            fix = "Check that the folder exists and may be written."
            raise InputError.of(str(path), reason, "a file that can be written", fix) from error
        return target

    def _png(self, on_frame: bool) -> bytes:
        cv2 = import_cv2()

        depth = np.rint(self.on_frame() if on_frame else np.where(self.mask, self.depth_mm, 0))
        ok, data = cv2.imencode(".png", np.clip(depth, 0, 65535).astype(np.uint16))
        assert ok, "cv2.imencode takes every (h, w) uint16 image"
        return data.tobytes()

    def _npy(self, on_frame: bool) -> bytes:
        import io

        buffer = io.BytesIO()
        np.save(buffer, self.on_frame() if on_frame else self.depth_mm, allow_pickle=False)
        return buffer.getvalue()

    def _ply(self, on_frame: bool) -> bytes:
        del on_frame  # points have their place anyway
        points = self.point_cloud()
        lines = ["ply", "format binary_little_endian 1.0", "comment millimetres, x right, y down, z forward"]
        if not self.valid:
            lines.append(f"comment not valid: {self.reason}")
        lines += [f"element vertex {len(points)}", *(f"property float {name}" for name in "xyz"), "end_header", ""]
        return "\n".join(lines).encode("ascii") + points.astype("<f4").tobytes()


def _covered(start: float, end: float, n_map: int, n_frame: int) -> tuple[slice, NDArray[np.intp]]:
    """Return the frame's pixels whose centres lie in [start, end), and the map's pixel that covers each."""
    first = max(int(np.ceil(start - 0.5)), 0)
    last = min(int(np.ceil(end - 0.5)), n_frame)
    centers = np.arange(first, max(first, last)) + 0.5
    index = np.floor((centers - start) * (n_map / (end - start))).astype(np.intp)
    return slice(first, max(first, last)), np.clip(index, 0, n_map - 1)
