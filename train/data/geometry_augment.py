# SPDX-License-Identifier: Apache-2.0
"""Moves, scales, turns and mirrors the box within its crop, for gray, depth and label alike.

Convention: image coordinates in pixels of the crop, pixel i covers [i, i + 1); depth is z, so moving, scaling or
turning the box in the image plane changes no depth value. Gray is sampled bilinearly, without a low-pass filter: the
box shrinks by 1.18 at most by default, by 1.5 at most. Depth and label are sampled nearest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from facedepth_edge.errors import ConfigError

ROLLED_DEG = (90.0, 180.0)  # a head that is itself rolled by 30 degrees is still 60 degrees from upright then


@dataclass(frozen=True)
class GeometryAugment:
    """Ranges of the geometric augmentation.

    Args:
        shift_large: Largest shift of the box, as a fraction of its side, in the `large` share of samples.
        shift_small: The same in the other samples.
        scale_large: Smallest and largest factor on the box's side in the `large` share.
        scale_small: The same in the other samples.
        rotate_large_deg: Largest in-plane rotation in the `large` share.
        rotate_small_deg: The same in the other samples.
        large: Share of samples with large changes; drawn for shift, scale and rotation apart.
        flip: Share of mirrored samples.
        frame_edge: Share of samples in which a side of the camera's frame cuts through the crop.
        frame_edge_depth: How far that side may come into the box, as a fraction of the box's side.
        rolled: Share of samples turned by ROLLED_DEG to either side, as by a camera that lies on its side or hangs
            upside down: faces that nobody may trust, which validity learns from.
    """

    shift_large: float = 0.15
    shift_small: float = 0.04
    scale_large: tuple[float, float] = (0.85, 1.18)
    scale_small: tuple[float, float] = (0.96, 1.04)
    rotate_large_deg: float = 15.0
    rotate_small_deg: float = 4.0
    large: float = 0.35
    flip: float = 0.5
    frame_edge: float = 0.05
    frame_edge_depth: float = 0.3
    rolled: float = 0.0

    def __post_init__(self) -> None:
        for name in ("large", "flip", "frame_edge", "rolled"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError.of(f"augment.geometry.{name}", getattr(self, name), "0 to 1", "Give a share.")
        for name in ("shift_large", "shift_small", "frame_edge_depth"):
            if not 0.0 <= getattr(self, name) <= 0.45:
                fix = "Give a fraction of the box's side."
                raise ConfigError.of(f"augment.geometry.{name}", getattr(self, name), "0 to 0.45", fix)
        for name in ("scale_large", "scale_small"):
            low, high = getattr(self, name)
            if not 0.5 <= low <= high <= 1.5:
                rule = "two factors, 0.5 <= low <= high <= 1.5"
                raise ConfigError.of(f"augment.geometry.{name}", (low, high), rule, "Order and limit them.")
        for name in ("rotate_large_deg", "rotate_small_deg"):
            if not 0.0 <= getattr(self, name) <= 180.0:
                raise ConfigError.of(f"augment.geometry.{name}", getattr(self, name), "0 to 180", "Give degrees.")


@dataclass(frozen=True)
class Placement:
    """Where each sample's box lies in its crop; all tensors (B,).

    Args:
        center_x_px: Box centre in the crop.
        center_y_px: Box centre in the crop.
        side_px: Side of the box in the crop.
        angle_rad: In-plane rotation of the box, from x towards y.
        flip: 1 where the sample is mirrored, else 0.
        low_xy_px: (B, 2) first column and row of the crop that the camera saw.
        high_xy_px: (B, 2) end of the columns and rows that the camera saw.
    """

    center_x_px: Tensor
    center_y_px: Tensor
    side_px: Tensor
    angle_rad: Tensor
    flip: Tensor
    low_xy_px: Tensor
    high_xy_px: Tensor

    @property
    def rolled(self) -> Tensor:
        """Whether each box is turned by ROLLED_DEG or more, so that its face is not usable: (B,) bool."""
        return torch.cos(self.angle_rad) <= math.cos(math.radians(ROLLED_DEG[0])) + 1e-6

    @property
    def center_xy_px(self) -> Tensor:
        """Box centres in the crops, (B, 2): x, y."""
        return torch.stack((self.center_x_px, self.center_y_px), dim=1)

    def pixels(self, size_px: int) -> tuple[Tensor, Tensor]:
        """Return where the pixels of a result of size_px x size_px lie in the crop: x and y, (B, S, S) float32 each."""
        device = self.center_x_px.device
        ramp = (torch.arange(size_px, device=device, dtype=torch.float32) + 0.5) / size_px - 0.5
        u = ramp[None, None, :] * (1 - 2 * self.flip)[:, None, None]  # (B, 1, S)
        v = ramp[None, :, None]  # (1, S, 1)
        cos = (self.side_px * torch.cos(self.angle_rad))[:, None, None]
        sin = (self.side_px * torch.sin(self.angle_rad))[:, None, None]
        x = self.center_x_px[:, None, None] + cos * u - sin * v
        y = self.center_y_px[:, None, None] + sin * u + cos * v
        return x, y


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device) * (high - low) + low


def _chance(count: int, share: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device) < share


def draw_placement(
    count: int, crop_px: int, box_px: int, settings: GeometryAugment, generator: torch.Generator
) -> Placement:
    """Draw where the boxes lie.

    Args:
        count: Number of samples, B.
        crop_px: Side of the crops.
        box_px: Side of eq. 6's box in the crops.
        settings: The ranges.
        generator: Source of randomness, on the device where the result is wanted.

    Returns:
        The placement, on the generator's device.
    """
    s, g = settings, generator
    shifts = []
    for _ in range(2):
        large = _uniform(count, -s.shift_large, s.shift_large, g)
        small = _uniform(count, -s.shift_small, s.shift_small, g)
        shifts.append((large, small))
    use_large = _chance(count, s.large, g)
    center_x, center_y = (crop_px / 2 + box_px * torch.where(use_large, large, small) for large, small in shifts)
    scale = torch.where(
        _chance(count, s.large, g), _uniform(count, *s.scale_large, g), _uniform(count, *s.scale_small, g)
    )
    angle = torch.where(
        _chance(count, s.large, g),
        _uniform(count, -s.rotate_large_deg, s.rotate_large_deg, g),
        _uniform(count, -s.rotate_small_deg, s.rotate_small_deg, g),
    )
    flip = _chance(count, s.flip, g).float()
    low = torch.zeros(count, 2, device=g.device)
    high = torch.full((count, 2), float(crop_px), device=g.device)
    border_px = (crop_px - box_px) / 2
    cut_px = border_px + box_px * _uniform(count, 0.0, s.frame_edge_depth, g)
    cut_px = torch.where(_chance(count, s.frame_edge, g), cut_px, 0.0)
    axis = _chance(count, 0.5, g).long()
    at_low = _chance(count, 0.5, g)
    rows = torch.arange(count, device=g.device)
    low[rows, axis] = torch.where(at_low, cut_px, 0.0)
    high[rows, axis] = torch.where(at_low, float(crop_px), crop_px - cut_px)
    if s.rolled > 0:  # draws nothing otherwise, so that a seed's samples stay what they were without it
        rolled = _chance(count, s.rolled, g)
        angle = torch.where(rolled, _uniform(count, *ROLLED_DEG, g) * torch.where(_chance(count, 0.5, g), 1, -1), angle)
    return Placement(center_x, center_y, box_px * scale, angle * (torch.pi / 180), flip, low, high)


def fixed_boxes(count: int, crop_px: int, box_px: int, scale: float = 1.0, roll_deg: float = 0.0) -> Placement:
    """Return boxes about the crops' middles, all of one size and turned by one angle, on the CPU.

    Args:
        count: Number of boxes, B.
        crop_px: Side of the crops.
        box_px: Side of eq. 6's box in the crops.
        scale: Of eq. 6's side.
        roll_deg: In-plane rotation, from x towards y.
    """
    middle, none = torch.full((count,), crop_px / 2), torch.zeros(count)
    low, high = torch.zeros(count, 2), torch.full((count, 2), float(crop_px))
    side, angle = none + box_px * scale, none + math.radians(roll_deg)
    return Placement(middle, middle, side, angle, none, low, high)


def sample_boxes(
    gray: Tensor, depth_mm: Tensor, label: Tensor, placement: Placement, size_px: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sample each crop at its box.

    Args:
        gray: (B, P, P) float32, any range.
        depth_mm: (B, P, P) int32, 0 = no measurement.
        label: (B, P, P) uint8.
        placement: Where the boxes lie.
        size_px: Side of the result, S.

    Returns:
        gray (B, 1, S, S) float32, the camera's border repeated outside; depth (B, 1, S, S) int32 and label
        (B, 1, S, S) uint8, both of the nearest pixel; seen (B, 1, S, S) bool, whether the camera saw that pixel.
    """
    count, crop_px, _ = gray.shape
    p = placement
    seen = torch.ones(count, size_px, size_px, dtype=torch.bool, device=gray.device)
    inside = []  # x, then y
    for axis, place in enumerate(p.pixels(size_px)):
        low, high = p.low_xy_px[:, axis, None, None], p.high_xy_px[:, axis, None, None]  # (B, 1, 1)
        seen &= (place >= low) & (place < high)
        inside.append(torch.minimum(torch.maximum(place, low + 0.5), high - 0.5))
    grid = torch.stack(inside, dim=-1).mul_(2.0 / crop_px).sub_(1.0)  # (B, S, S, 2)
    sampled = F.grid_sample(gray[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    column, row = (place.floor().long().clamp_(0, crop_px - 1) for place in inside)
    flat = (row * crop_px + column).flatten(1)  # (B, S * S)
    shape = (count, 1, size_px, size_px)
    depth_mm = depth_mm.flatten(1).gather(1, flat).reshape(shape)
    label = label.flatten(1).gather(1, flat).reshape(shape)
    return sampled, depth_mm, label, seen[:, None]


def center_boxes(plane: Tensor, box_px: int) -> Tensor:
    """Cut eq. 6's box out of crops, without resampling.

    Args:
        plane: (B, P, P) of any type.
        box_px: Side of the box, of P's parity.

    Returns:
        (B, 1, box_px, box_px), a view.
    """
    border = (plane.shape[-1] - box_px) // 2
    return plane[:, None, border : border + box_px, border : border + box_px]
