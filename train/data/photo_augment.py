# SPDX-License-Identifier: Apache-2.0
"""Makes gray faces look as other cameras, lights and lenses would show them; depth is untouched.

Order, as light goes: patches of light, shading and vignetting, exposure and gamma, blur and low resolution, shot and
read noise, sharpening and local contrast, contrast, clipping, 8-bit quantisation. Cut-outs come last and stand for
things in front of the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from facedepth_edge.errors import ConfigError

BLUR_RADIUS_PX = 3
PATCH_POINTS = (3, 8)  # fewest and most points a side at which the illumination field is drawn
SHARPEN_SIGMA_PX = (0.5, 1.4)  # of the unsharp mask's Gaussian
LOCAL_POINTS = (6, 19)  # fewest and most points a side of the coarse picture of local contrast
MOST_EVENED = 0.5  # the largest part of the coarse picture's contrast that local contrast takes away
STRIP_NARROWNESS = 0.35


@dataclass(frozen=True)
class PhotoAugment:
    """Shares and strengths of the photometric augmentation; a share is the fraction of samples that get it.

    Args:
        enabled: False leaves the pictures as they are.
        shading: Share with a brightness ramp across the face, as from a light at one side.
        shading_strength: Largest relative change at the box's border.
        vignette: Share with darkened corners.
        vignette_strength: Largest loss at the corners.
        gain: Smallest and largest exposure factor, drawn evenly in its logarithm; above 1 highlights clip.
        gain_share: Share with changed exposure.
        gamma: Smallest and largest exponent, drawn evenly in its logarithm.
        gamma_share: Share with changed gamma.
        contrast: Smallest and largest contrast factor about mid gray.
        contrast_share: Share with changed contrast.
        low_light: Share in low light: few photons, much noise.
        low_light_level: Smallest and largest brightness that is left in low light, before the camera's gain.
        low_light_regain: Largest part of the loss that the camera's gain brings back, in logarithm.
        shot_noise: Largest standard deviation of the shot noise at full brightness, of 1.
        read_noise: Largest standard deviation of the read noise, of 1.
        noise_share: Share with noise beyond 8 bits.
        blur: Share that is out of focus or moving.
        blur_sigma_px: Largest standard deviation of the blur along its longer axis, in pixels of the box.
        low_resolution: Share seen by a camera with fewer pixels.
        low_resolution_factor: Smallest and largest factor on the resolution.
        patches: Share under an illumination field that varies smoothly, as under several lamps or in soft shadow.
        patches_strength: Largest standard deviation of its logarithm at the points where it is drawn; less between.
        sharpen: Share that the camera has sharpened by an unsharp mask, with halos along edges.
        sharpen_strength: Largest amount of the unsharp mask.
        local_contrast: Share in which the camera has evened the light, by up to a half, and raised finer contrast.
        local_contrast_strength: Largest relative rise of that.
        cutout: Share with a filled rectangle or strip in front.
        cutout_size: Smallest and largest side of it, as a fraction of the box.
    """

    enabled: bool = True
    shading: float = 0.35
    shading_strength: float = 0.7
    vignette: float = 0.15
    vignette_strength: float = 0.5
    gain: tuple[float, float] = (0.5, 1.5)
    gain_share: float = 0.5
    gamma: tuple[float, float] = (0.6, 1.7)
    gamma_share: float = 0.5
    contrast: tuple[float, float] = (0.6, 1.4)
    contrast_share: float = 0.4
    low_light: float = 0.08
    low_light_level: tuple[float, float] = (0.04, 0.3)
    low_light_regain: float = 0.9
    shot_noise: float = 0.05
    read_noise: float = 0.025
    noise_share: float = 0.5
    blur: float = 0.25
    blur_sigma_px: float = 1.6
    low_resolution: float = 0.12
    low_resolution_factor: tuple[float, float] = (0.3, 0.75)
    patches: float = 0.0
    patches_strength: float = 0.35
    sharpen: float = 0.0
    sharpen_strength: float = 1.6
    local_contrast: float = 0.0
    local_contrast_strength: float = 0.8
    cutout: float = 0.06
    cutout_size: tuple[float, float] = (0.08, 0.45)

    def __post_init__(self) -> None:
        for name in ("shading", "vignette", "gain_share", "gamma_share", "contrast_share", "low_light", "noise_share"):
            self._require(name, 0.0, 1.0)
        for name in ("blur", "low_resolution", "cutout", "shading_strength", "vignette_strength", "low_light_regain"):
            self._require(name, 0.0, 1.0)
        for name in ("patches", "patches_strength", "sharpen", "local_contrast", "shot_noise", "read_noise"):
            self._require(name, 0.0, 1.0)
        for name in ("blur_sigma_px", "sharpen_strength", "local_contrast_strength"):
            self._require(name, 0.0, 4.0)
        for name, top in (("gain", 10.0), ("gamma", 10.0), ("contrast", 10.0), ("low_light_level", 1.0)):
            self._require_pair(name, top)
        for name in ("low_resolution_factor", "cutout_size"):
            self._require_pair(name, 1.0)

    def _require(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            raise ConfigError.of(f"augment.photo.{name}", value, f"{low:g} to {high:g}", "Correct it.")

    def _require_pair(self, name: str, top: float) -> None:
        low, high = getattr(self, name)
        if not 0.0 < low <= high <= top:
            rule = f"two numbers, 0 < low <= high <= {top:g}"
            raise ConfigError.of(f"augment.photo.{name}", (low, high), rule, "Order and limit them.")


def _rand(count: int, generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    values = torch.rand(count, 1, 1, 1, generator=generator, device=generator.device)
    return values * (high - low) + low


def _log_uniform(count: int, pair: tuple[float, float], generator: torch.Generator) -> Tensor:
    low, high = torch.log(torch.tensor(pair)).tolist()
    return torch.exp(_rand(count, generator, low, high))


def _where(share: float, value: Tensor, neutral: float, generator: torch.Generator) -> Tensor:
    """Keep `value` in the given share of samples and the neutral value in the others."""
    chosen = _rand(value.shape[0], generator) < share
    return torch.where(chosen, value, torch.full_like(value, neutral))


def change_photo(gray: Tensor, settings: PhotoAugment, generator: torch.Generator) -> Tensor:
    """Change light, lens and sensor.

    Args:
        gray: (B, 1, S, S) float32 in [0, 1].
        settings: Shares and strengths.
        generator: Source of randomness, on gray's device.

    Returns:
        (B, 1, S, S) float32 in [0, 1], on 256 levels; a new tensor.
    """
    s, g = settings, generator
    count, size = gray.shape[0], gray.shape[-1]
    ramp = (torch.arange(size, device=gray.device, dtype=torch.float32) + 0.5) / size * 2 - 1
    u, v = ramp[None, None, None, :], ramp[None, None, :, None]
    strength = _where(s.shading, _rand(count, g, 0.0, s.shading_strength), 0.0, g)
    direction = _rand(count, g, 0.0, 2 * torch.pi)
    light = 1 + strength * (torch.cos(direction) * u + torch.sin(direction) * v)  # (B, 1, S, S)
    corner = _where(s.vignette, _rand(count, g, 0.0, s.vignette_strength), 0.0, g) * 0.5
    off_u, off_v = _rand(count, g, -0.3, 0.3), _rand(count, g, -0.3, 0.3)
    light = light * (1 - corner * ((u - off_u) ** 2 + (v - off_v) ** 2)).clamp_(min=0.1)
    if s.patches > 0:  # what is off draws nothing, so that trainings of before see the same samples
        light = _patches(light, s, g)
    exposure = _where(s.gain_share, _log_uniform(count, s.gain, g), 1.0, g)
    level = _where(s.low_light, _log_uniform(count, s.low_light_level, g), 1.0, g)
    regain = level ** -(_rand(count, g) * s.low_light_regain)
    gamma = _where(s.gamma_share, _log_uniform(count, s.gamma, g), 1.0, g)
    x = (gray * light.clamp_(min=0.05)).clamp_(min=1e-4) ** gamma * exposure
    x = _blur(x, s, g)
    x = _lower_resolution(x, s, g)
    # In low light the photons are 1 / level times fewer, so shot noise relative to the signal grows by its root.
    shot = _where(s.noise_share, _rand(count, g) ** 2 * s.shot_noise, 0.0, g)
    read = _where(s.noise_share, _rand(count, g) ** 2 * s.read_noise, 0.0, g)
    shot = torch.where(level < 1, shot + 0.25 * s.shot_noise, shot)
    read = torch.where(level < 1, read + 0.05 * s.read_noise, read)
    dark = x * level
    noise = torch.randn(x.shape, generator=g, device=x.device)
    x = (dark + noise * torch.sqrt(shot**2 * dark + (read * level.sqrt()) ** 2)) * regain
    if s.sharpen > 0:
        x = _sharpen(x, s, g)
    if s.local_contrast > 0:
        x = _local_contrast(x, s, g)
    contrast = _where(s.contrast_share, _rand(count, g, *s.contrast), 1.0, g)
    x = (x - 0.5) * contrast + 0.5
    return torch.round(x.clamp_(0, 1) * 255) / 255


def _choose(count: int, share: float, g: torch.Generator) -> Tensor:
    """Draw the samples of a share, (b,) indices."""
    return torch.nonzero(_rand(count, g).flatten() < share).flatten()


def _blur(x: Tensor, s: PhotoAugment, g: torch.Generator) -> Tensor:
    """Blur a share of the samples by Gaussians that are longer in one direction (defocus, and motion)."""
    count = x.shape[0]
    chosen = _choose(count, s.blur, g)
    long_px = _rand(count, g, 0.3, max(0.3, s.blur_sigma_px))[chosen].clamp(max=s.blur_sigma_px + 1e-3)
    short_px = (long_px * _rand(count, g, 0.25, 1.0)[chosen]).clamp_(min=0.2)
    direction = _rand(count, g, 0.0, torch.pi)[chosen]
    if not len(chosen):
        return x
    return x.index_copy(0, chosen, _gaussian(x[chosen], long_px, short_px, direction))


def _gaussian(x: Tensor, long_px: Tensor, short_px: Tensor, direction: Tensor) -> Tensor:
    """Blur each sample by its own Gaussian, of standard deviations (b, 1, 1, 1) along and across a direction."""
    taps = torch.arange(-BLUR_RADIUS_PX, BLUR_RADIUS_PX + 1, device=x.device, dtype=torch.float32)
    u, v = taps[None, None, None, :], taps[None, None, :, None]
    along = torch.cos(direction) * u + torch.sin(direction) * v
    across = torch.cos(direction) * v - torch.sin(direction) * u
    kernel = torch.exp(-0.5 * ((along / long_px) ** 2 + (across / short_px) ** 2))
    kernel = kernel / kernel.sum(dim=(2, 3), keepdim=True)  # (b, 1, 7, 7)
    padded = F.pad(x.transpose(0, 1), [BLUR_RADIUS_PX] * 4, mode="replicate")  # (1, b, S + 6, S + 6)
    return F.conv2d(padded, kernel, groups=len(x)).transpose(0, 1)  # (b, 1, S, S)


def _side(points: tuple[int, int], g: torch.Generator) -> int:
    return int(torch.randint(points[0], points[1] + 1, (1,), generator=g, device=g.device))


def _patches(light: Tensor, s: PhotoAugment, g: torch.Generator) -> Tensor:
    """Multiply a share of the samples' light by a smooth random field, with one scale for the whole batch."""
    chosen = _choose(light.shape[0], s.patches, g)
    if not len(chosen):
        return light
    side = _side(PATCH_POINTS, g)
    strength = _rand(len(chosen), g, 0.0, s.patches_strength)
    coarse = strength * torch.randn(len(chosen), 1, side, side, generator=g, device=g.device)
    field = F.interpolate(coarse, size=light.shape[-2:], mode="bicubic", align_corners=True)
    return light.index_copy(0, chosen, light[chosen] * torch.exp(field))


def _sharpen(x: Tensor, s: PhotoAugment, g: torch.Generator) -> Tensor:
    """Raise what a small blur takes away in a share of the samples."""
    chosen = _choose(x.shape[0], s.sharpen, g)
    if not len(chosen):
        return x
    sigma_px = _rand(len(chosen), g, *SHARPEN_SIGMA_PX)
    amount = _rand(len(chosen), g, 0.0, s.sharpen_strength)
    sharp = x[chosen]
    return x.index_copy(0, chosen, sharp + amount * (sharp - _gaussian(sharp, sigma_px, sigma_px, sigma_px * 0)))


def _local_contrast(x: Tensor, s: PhotoAugment, g: torch.Generator) -> Tensor:
    """Raise what a coarse picture lacks in a share of the samples, and even that out; one scale for all."""
    chosen = _choose(x.shape[0], s.local_contrast, g)
    if not len(chosen):
        return x
    side = _side(LOCAL_POINTS, g)
    raised, evened = _rand(len(chosen), g, 0.0, s.local_contrast_strength), _rand(len(chosen), g, 0.0, MOST_EVENED)
    part = x[chosen]
    coarse = F.interpolate(part, size=(side, side), mode="area")
    coarse = F.interpolate(coarse, size=x.shape[-2:], mode="bilinear", align_corners=False)
    mean = coarse.mean(dim=(2, 3), keepdim=True)
    return x.index_copy(0, chosen, mean + (1 - evened) * (coarse - mean) + (1 + raised) * (part - coarse))


def _lower_resolution(x: Tensor, s: PhotoAugment, g: torch.Generator) -> Tensor:
    """Shrink a share of the samples by area and grow them again; with one factor for the whole batch."""
    count, size = x.shape[0], x.shape[-1]
    chosen = _choose(count, s.low_resolution, g)
    factor = float(_rand(1, g, *s.low_resolution_factor))
    if not len(chosen):
        return x
    small_px = max(8, round(size * factor))
    small = F.interpolate(x[chosen], size=(small_px, small_px), mode="area")
    return x.index_copy(0, chosen, F.interpolate(small, size=(size, size), mode="bilinear", align_corners=False))


def cut_out(gray: Tensor, settings: PhotoAugment, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Put a filled rectangle or strip in front of a share of the samples.

    Args:
        gray: (B, 1, S, S) float32 in [0, 1].
        settings: Share and size.
        generator: Source of randomness, on gray's device.

    Returns:
        The new gray, and (B, 1, S, S) bool, true where something is in front.
    """
    s, g = settings, generator
    count, size = gray.shape[0], gray.shape[-1]
    ramp = (torch.arange(size, device=gray.device, dtype=torch.float32) + 0.5) / size
    u, v = ramp[None, None, None, :], ramp[None, None, :, None]
    center_u, center_v = _rand(count, g), _rand(count, g)
    half_u, half_v = _rand(count, g, *s.cutout_size) / 2, _rand(count, g, *s.cutout_size) / 2
    kind = _rand(count, g)  # a third are narrow strips from side to side, half of these upright
    level_strip, upright_strip = kind < 1 / 6, (kind >= 1 / 6) & (kind < 1 / 3)
    half_u = torch.where(level_strip, 2.0, torch.where(upright_strip, half_u * STRIP_NARROWNESS, half_u))
    half_v = torch.where(upright_strip, 2.0, torch.where(level_strip, half_v * STRIP_NARROWNESS, half_v))
    chosen = _rand(count, g) < s.cutout
    covered = chosen & ((u - center_u).abs() < half_u) & ((v - center_v).abs() < half_v)
    level, texture = _rand(count, g), _rand(count, g, 0.0, 0.15)
    noise = torch.randn(gray.shape, generator=g, device=gray.device)
    return torch.where(covered, (level + texture * noise).clamp_(0, 1), gray), covered
