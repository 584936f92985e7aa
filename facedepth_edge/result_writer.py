# SPDX-License-Identifier: Apache-2.0
"""Turns the network's output for one face into a DepthResult."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from facedepth_edge.camera import Camera
from facedepth_edge.depth_maps import write_depth_maps
from facedepth_edge.face_region import cut_to_frame, share_of_border, share_seen
from facedepth_edge.ray_depth import along_axis, ray_of
from facedepth_edge.result import DepthResult
from facedepth_edge.validity import Evidence, why_not_valid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facedepth_edge.frame_path import Face, FrameFaces, NetworkOutput
    from facedepth_edge.spec import ModelSpec


class _MaskRule(NamedTuple):
    """What a model's mask is read from."""

    of_model: bool
    """True: the network's own mask output; False: where its relative_z is below the threshold."""
    threshold: float
    source: str
    """DepthResult.mask_source."""


def _mask_rule_of(spec: ModelSpec) -> _MaskRule:
    if spec.outputs.mask is not None:
        return _MaskRule(True, spec.outputs.mask.threshold, "model")
    threshold = spec.depth_mask_threshold
    assert threshold is not None, "ModelSpec wants a threshold where there is no mask output"
    where = " along the ray" if spec.depth_scale.along == "ray" else ""
    return _MaskRule(False, threshold, f"relative depth{where} below {threshold:g}")


class ResultWriter:
    """Write the results of one model; any thread may.

    Args:
        spec: the model's.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._mask_rule = _mask_rule_of(spec)
        self._validity_threshold = None if spec.outputs.validity is None else spec.outputs.validity.threshold
        self._completed: tuple[Camera | None, tuple[int, int], Camera] = (None, (0, 0), Camera.default_for(1))

    def write(
        self,
        output: NetworkOutput,
        located: FrameFaces,
        face: Face,
        out: DepthResult | NDArray[np.float32] | None = None,
    ) -> DepthResult:
        """Turn the network's numbers into a result, without its timings.

        Args:
            output: the network's, of this face; its buffers may be overwritten.
            located: the frame that the face is in.
            face: one of located.faces.
            out: as predict() takes it, checked.

        Returns:
            Fresh arrays, or those of out.
        """
        spec, size_hw = self._spec, (located.frame.shape[0], located.frame.shape[1])
        depth_mm, relative, mask = _arrays_for(out, spec.output_hw)
        relative_z, probability, threshold = self._along_axis(output, located, face, size_hw)
        half_range_mm = spec.depth_scale.half_range_mm
        finite, has_head = write_depth_maps(
            depth_mm, relative, mask, relative_z, probability, face.distance_mm, half_range_mm, threshold
        )
        at_border = face_seen = None
        if self._mask_rule.of_model:
            at_border = share_of_border(mask)  # before the cut: outside the frame the network sees its border again
        if cut_to_frame(mask, face.box, size_hw):
            has_head = bool(mask.any())
        if self._mask_rule.of_model:
            face_seen = share_seen(mask, spec.preprocessing)
        evidence = Evidence(
            finite=finite,
            contrast_levels=output.contrast_levels,
            side_px=min(face.box.width, face.box.height),
            validity=output.validity,
            has_head=has_head,
            at_border=at_border,
            face_seen=face_seen,
        )
        reason = why_not_valid(evidence, self._validity_threshold)
        fields = {
            "depth_mm": depth_mm,
            "relative": relative,
            "mask": mask,
            "mask_source": self._mask_rule.source,
            "box": face.box,
            "head_center": face.head_center,
            "distance_mm": face.distance_mm,
            "distance_source": face.distance_source,
            "validity": output.validity,
            "filtered": False,
            "valid": not reason,
            "reason": reason,
            "face_seen": face_seen,
            "camera": self._complete(located.camera, size_hw),
            "frame_hw": size_hw,
        }
        return _filled(out, fields)

    def _along_axis(
        self, output: NetworkOutput, located: FrameFaces, face: Face, size_hw: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, float]:
        """Return relative_z along the optical axis, and the mask's probability and threshold that go with it."""
        spec = self._spec
        relative_z, probability, threshold = output.relative_z, output.mask, self._mask_rule.threshold
        if spec.depth_scale.along != "ray":
            return relative_z, probability, threshold
        if probability is None:  # relative_z along the ray below the threshold, as -relative_z above -threshold
            probability, threshold = np.negative(relative_z), -threshold
        ray_xy = ray_of(face.head_center, located.camera, size_hw)
        reach = (spec.preprocessing.reach_x_mm, spec.preprocessing.reach_y_mm)
        buffer = relative_z if relative_z.flags.writeable else None  # the path's, which nobody reads after this
        relative_z = along_axis(relative_z, ray_xy, face.distance_mm, spec.depth_scale.half_range_mm, reach, out=buffer)
        return relative_z, probability, threshold

    def _complete(self, camera: Camera, size_hw: tuple[int, int]) -> Camera:
        """Return the camera with cx and cy as numbers; the same object as long as camera and size stay the same."""
        known, known_hw, complete = self._completed
        if camera is not known or size_hw != known_hw:
            cx, cy = camera.center_px(size_hw)
            complete = dataclasses.replace(camera, cx=cx, cy=cy)
            self._completed = (camera, size_hw, complete)
        return complete


def _arrays_for(
    out: DepthResult | NDArray[np.float32] | None, shape_hw: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return depth_mm, relative and mask to write to: those of out, fresh where it has none."""
    if isinstance(out, DepthResult):
        return out.depth_mm, out.relative, out.mask
    depth_mm = np.empty(shape_hw, np.float32) if out is None else out
    return depth_mm, np.empty(shape_hw, np.float32), np.empty(shape_hw, np.bool_)


def _filled(out: DepthResult | NDArray[np.float32] | None, fields: dict[str, Any]) -> DepthResult:
    """Return a result of these fields: out, where it is one."""
    if not isinstance(out, DepthResult):
        return DepthResult(**fields)
    for name, value in fields.items():
        setattr(out, name, value)
    return out
