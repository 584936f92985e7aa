# SPDX-License-Identifier: Apache-2.0
"""Writes pictures and depth images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facedepth_edge.errors import ConfigError


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image, or say why that failed.

    Args:
        path: Its ending is the format; the folder is made when missing.
        image: As OpenCV writes it: uint8 or uint16, (H, W), (H, W, 3) BGR or (H, W, 4) BGRA.

    Raises:
        ConfigError: The folder cannot be written, or the name has no ending that OpenCV knows.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written, reason = cv2.imwrite(str(path), image), "a write error"
    except (OSError, cv2.error) as error:
        written, reason = False, str(error).strip()
    if not written:
        raise ConfigError.of(str(path), reason, "a writable folder and a .png or .jpg name", "Check both.")
