# SPDX-License-Identifier: Apache-2.0
"""Random textures: value noise in octaves, strands, spots. All are functions of a NumPy generator."""

from __future__ import annotations

import cv2
import numpy as np

FILTER_TEXELS = 1.2  # standard deviation; a texel of the head's textures is 0.6 mm, a ray stands for 1.9 mm of a crop
_FILTER_REACH = 8


def fractal_noise(
    rng: np.random.Generator, shape_hw: tuple[int, int], cell_px: tuple[float, float], octaves: int = 3
) -> np.ndarray:
    """Sum value noise of halving cell sizes.

    Args:
        rng: source of randomness.
        shape_hw: rows and columns of the texture.
        cell_px: rows and columns of the coarsest cell.
        octaves: number of layers, each half the cell and half the amplitude of the one before.

    Returns:
        shape_hw float32, zero mean, standard deviation about 1; the first column goes on where the last one ends.
    """
    total = np.zeros(shape_hw, np.float32)
    weight_sum = 0.0
    for octave in range(octaves):
        rows = max(2, int(np.ceil(shape_hw[0] * 2**octave / cell_px[0])) + 2)
        columns = max(2, int(np.ceil(shape_hw[1] * 2**octave / cell_px[1])) + 2)
        rows, columns = min(rows, shape_hw[0] + 2), min(columns, shape_hw[1] + 2)
        layer = rng.standard_normal((rows, columns), np.float32)
        weight = 0.5**octave
        total += weight * _enlarged_around(layer[:, : columns - 2], shape_hw)
        weight_sum += weight**2
    return total / np.float32(np.sqrt(weight_sum) * 0.75)


def _enlarged_around(layer: np.ndarray, shape_hw: tuple[int, int]) -> np.ndarray:
    """Enlarge noise to a texture whose columns go on at its other side: textures lie around heads and torsos."""
    cells, margin = layer.shape[1], min(2, layer.shape[1])
    wrapped = np.concatenate([layer[:, cells - margin :], layer, layer[:, :margin]], axis=1)
    scale = shape_hw[1] / cells
    whole = cv2.resize(wrapped, (round(wrapped.shape[1] * scale), shape_hw[0]), interpolation=cv2.INTER_CUBIC)
    first = round(margin * scale)
    return whole[:, first : first + shape_hw[1]]


def strands(rng: np.random.Generator, shape_hw: tuple[int, int], width_px: float, length_px: float) -> np.ndarray:
    """Make noise stretched along the rows, as hair combed downwards: (H, W) float32 in 0..1, nearly uniform."""
    fine = fractal_noise(rng, shape_hw, (length_px, width_px), 2)
    coarse = fractal_noise(rng, shape_hw, (length_px * 2, width_px * 8), 2)
    field = fine + 0.6 * coarse
    field *= np.float32(0.85 / max(float(field[::4, ::4].std()), 1e-6))
    return (0.5 + 0.5 * np.tanh(field)).astype(np.float32)


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Go from 0 at `low` to 1 at `high` with zero slope at both ends."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def filtered(texture: np.ndarray) -> np.ndarray:
    """Blur a texture that lies around something by FILTER_TEXELS: a picture's pixel sees many texels by few rays."""
    if min(texture.shape[:2]) < 8:
        return texture
    wrapped = cv2.copyMakeBorder(texture, 0, 0, _FILTER_REACH, _FILTER_REACH, cv2.BORDER_WRAP)
    return np.ascontiguousarray(blurred(wrapped, FILTER_TEXELS)[:, _FILTER_REACH:-_FILTER_REACH])


def blurred(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Blur with a Gaussian; sigma 0 returns the image itself."""
    return image if sigma_px <= 0 else cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101)
