# SPDX-License-Identifier: Apache-2.0
"""The camera behind the lens: exposure, vignetting, defocus, noise, tone curve; a depth camera's noise and holes."""

from __future__ import annotations

import cv2
import numpy as np

from train.data.crops_set import HEAD_LABELS
from train.synth.noise import blurred, fractal_noise

_MOST_DRAWN = 3.0  # pixels of the camera a pixel of the crop for which noise and codec are computed; finer is scaled
_CODED = 0.6  # of the pictures went through JPEG


def expose(
    radiance: np.ndarray,
    label: np.ndarray,
    rng: np.random.Generator,
    *,
    infrared: bool,
    clean: bool = False,
    finer: float | None = None,
) -> np.ndarray:
    """Turn radiance into an 8-bit picture as a camera would.

    Args:
        radiance: (H, W, 3) float32 linear RGB.
        label: (H, W) uint8; the exposure is set mostly by the head.
        rng: exposure error, vignetting, blur, noise and tone curve.
        infrared: make the picture gray.
        clean: a good camera that was held still: an eighth of the noise, sharp, well exposed.
        finer: how many pixels of the camera a pixel of the picture is wide; None: drawn, as for a crop.

    Returns:
        (H, W, 3) uint8 BGR; gray pictures have three equal channels.
    """
    head = np.isin(label, HEAD_LABELS)
    metered = radiance[head] if head.sum() > 50 else radiance.reshape(-1, 3)
    level = 0.75 * float(np.mean(metered)) + 0.25 * float(radiance.mean())
    target = 0.20 * np.exp(rng.normal(0, 0.25 if clean else 0.38))
    if clean:
        pass
    elif rng.uniform() < 0.06:
        target *= rng.uniform(0.15, 0.5)  # a dark frame
    elif rng.uniform() < 0.05:
        target *= rng.uniform(1.8, 3.0)  # an over-exposed one
    image = radiance * np.float32(target / max(level, 1e-4))
    height, width = image.shape[:2]
    if rng.uniform() < 0.5:
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        image = image * (1 - rng.uniform(0, 0.3) * (x**2 + y**2) / 2)[..., None].astype(np.float32)
    scale = min(height, width) / 144
    image = blurred(image, scale * max(0.0, rng.normal(0.25, 0.15 if clean else 0.3)))
    if not clean and rng.uniform() < 0.12:
        image = _motion_blurred(image, rng, scale)
    shot, read = np.exp(rng.uniform(np.log(0.002), np.log(0.03))), np.exp(rng.uniform(np.log(0.0005), np.log(0.008)))
    if clean:
        shot, read = shot / 8, read / 8
    if infrared:
        image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    finer = sample_finer(rng) if finer is None else finer
    grain = _grain(rng, (height, width, 1 if infrared else 3), finer)
    image = image + grain * np.sqrt(np.maximum(image, 0) * shot**2 * 4 + read**2)
    gamma = rng.uniform(1.7, 2.6)
    tone = np.clip(image, 0, None)
    knee = rng.uniform(0.75, 1.0)
    tone = np.where(
        tone > knee, knee + (1 - knee) * (1 - np.exp(-np.maximum(tone - knee, 0) / max(1 - knee, 1e-3))), tone
    )
    encoded = np.clip(tone, 0, 1) ** (1 / gamma)
    contrast = rng.uniform(0.0, 0.5)
    encoded = (1 - contrast) * encoded + contrast * (encoded * encoded * (3 - 2 * encoded))
    return _coded(np.clip(np.round(encoded[..., ::-1] * 255), 0, 255).astype(np.uint8), rng, finer, 75 if clean else 35)


def sample_finer(rng: np.random.Generator) -> float:
    """Draw how many pixels of the camera a pixel of the crop is wide: a face of 30 to 250 pixels."""
    return float(np.exp(rng.uniform(np.log(0.6), np.log(5.0))))


def _grain(rng: np.random.Generator, shape: tuple[int, ...], finer: float) -> np.ndarray:
    """Draw noise of standard deviation 1 in the camera's pixels, as the coarser ones of the crop show it."""
    scale = min(finer, _MOST_DRAWN)
    drawn = (round(shape[0] * scale), round(shape[1] * scale), *shape[2:])
    grain = _resized(rng.standard_normal(drawn, np.float32), (shape[0], shape[1]))
    return grain.reshape(shape) * np.float32(scale / finer)


def _coded(picture: np.ndarray, rng: np.random.Generator, finer: float, lowest: int) -> np.ndarray:
    """Lose what a codec loses, in the camera's pixels; some cameras give their pixels as they are."""
    coded, quality = rng.uniform() < _CODED, int(rng.integers(lowest, 97))
    if not coded:
        return picture
    size_hw = picture.shape[:2]
    scale = min(finer, _MOST_DRAWN)
    native = _resized(picture, (round(size_hw[0] * scale), round(size_hw[1] * scale)))
    done, data = cv2.imencode(".jpg", native, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "OpenCV writes JPEG"
    back = _resized(cv2.imdecode(data, cv2.IMREAD_COLOR), size_hw)
    gray = bool((picture[..., 0] == picture[..., 2]).all())
    return np.repeat(back[..., 1:2], 3, axis=2) if gray else back


def _resized(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    smaller = size_hw[0] < image.shape[0]
    return cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def expose_driver(radiance: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn radiance into the 8-bit picture of a driver camera: global shutter, little noise, often a linear response.

    Args:
        radiance: (H, W, 3) float32 linear, three equal channels.
        label: (H, W) uint8; the exposure is set by the skin, where there is some, else by the head.
        rng: exposure, blur, noise and tone curve.

    Returns:
        (H, W, 3) uint8, three equal channels.
    """
    gray = radiance.mean(axis=2)
    skin, head = label == HEAD_LABELS[0], np.isin(label, HEAD_LABELS)
    metered = gray[skin] if skin.sum() > 50 else gray[head]
    gamma = 1.0 if rng.uniform() < 0.5 else rng.uniform(1.3, 2.4)
    shown = np.clip(np.exp(rng.normal(np.log(0.43), 0.35)), 0.08, 0.85)  # how bright the skin comes out, 0..1
    level = float(np.percentile(metered, 70)) if len(metered) > 50 else float(gray.max())
    image = gray * np.float32(shown**gamma / max(level, 1e-4))
    scale = min(gray.shape) / 144
    image = blurred(image, scale * max(0.0, rng.normal(0.35, 0.3)))
    shot, read = (np.exp(rng.uniform(np.log(0.0003), np.log(0.008))) for _ in range(2))
    finer = sample_finer(rng)
    image = image + _grain(rng, gray.shape, finer) * np.sqrt(np.maximum(image, 0) * shot**2 * 4 + read**2)
    encoded = np.clip(image, 0, 1) ** (1 / gamma)
    return _coded(np.repeat(np.round(encoded * 255).astype(np.uint8)[..., None], 3, axis=2), rng, finer, 60)


def _motion_blurred(image: np.ndarray, rng: np.random.Generator, scale: float) -> np.ndarray:
    size = int(2 * round(scale * rng.uniform(1.5, 4.5)) + 1)
    kernel = np.zeros((size, size), np.float32)
    angle = rng.uniform(0, np.pi)
    middle = (size - 1) / 2
    end = (middle + np.cos(angle) * middle, middle + np.sin(angle) * middle)
    start = (2 * middle - end[0], 2 * middle - end[1])
    cv2.line(kernel, tuple(round(c) for c in start), tuple(round(c) for c in end), 1.0, 1)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def depth_picture(depth_mm: np.ndarray, backdrop_mm: float) -> np.ndarray:
    """Round depth to a 16-bit millimetre image; what no ray hit lies at backdrop_mm. (H, W) uint16."""
    filled = np.where(np.isfinite(depth_mm), depth_mm, backdrop_mm)
    return np.clip(np.round(filled), 1, 65535).astype(np.uint16)


def structured_light_depth(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give a 16-bit depth image the noise, steps and holes of a structured-light camera; 0 marks a hole."""
    z = depth.astype(np.float32)
    disparity = 580.0 * 75.0 / np.maximum(z, 1)
    noisy = np.round((disparity + rng.normal(0, 0.06, z.shape)) * 8) / 8
    out = 580.0 * 75.0 / np.maximum(noisy, 1e-3)
    edge = cv2.morphologyEx(z, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 40
    holes = edge & (rng.uniform(size=z.shape) < 0.7)
    holes |= fractal_noise(rng, z.shape, (12, 12), 2) > 3.0
    shadow = np.zeros(z.shape, bool)
    shadow[:, 1:] = (z[:, 1:] - z[:, :-1]) > 60
    for step in range(1, 6):
        shadow[:, step:] |= shadow[:, :-step] & (rng.uniform() < 0.8)
    out[holes | shadow] = 0
    return np.clip(np.round(out), 0, 65535).astype(np.uint16)
