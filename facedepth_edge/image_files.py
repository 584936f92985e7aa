# SPDX-License-Identifier: Apache-2.0
"""Reads frames and depth images from files, and writes pictures, the way the command line does."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from facedepth_edge.errors import InputError
from facedepth_edge.opencv import import_cv2
from facedepth_edge.whole_file import replace_file

_FRAME_RULE = "an image file that OpenCV decodes (PNG, JPEG, TIFF, BMP, WebP)"
_NO_ARRAY = (
    OSError, ValueError, EOFError, SyntaxError, TokenError, MemoryError, OverflowError, TypeError, IndexError,
    RecursionError,
)  # fmt: skip
"""What NumPy raises for a file that is no .npy, or has an odd header."""


def read_frame(path: str | Path) -> np.ndarray:
    """Read a frame as `EdgeDepth.predict` takes it; a camera's orientation tag is applied, an alpha channel dropped.

    Args:
        path: an image file.

    Returns:
        (H, W, 3) BGR or (H, W) gray, uint8 or uint16 as the file holds it, host, C-contiguous; the caller owns it.

    Raises:
        InputError: the file cannot be read or is not an image.
        BackendUnavailable: OpenCV does not load here.
    """
    frame = _decode(Path(path), "image", _FRAME_RULE)
    if frame is None:
        raise InputError.of(f"image {path}", "bytes that are no image", _FRAME_RULE, "Convert it to PNG or JPEG first.")
    if frame.dtype not in (np.uint8, np.uint16):
        fix = "Convert it to 8 bits, or to 16 bits without sign."
        raise InputError.of(f"image {path}", f"{frame.dtype} pixels", "uint8 or uint16 ones", fix)
    return frame


def read_depth(path: str | Path) -> np.ndarray:
    """Read a depth image that is registered to a frame.

    Args:
        path: a 16-bit PNG in millimetres (0 = no measurement), or an .npy file of millimetres.

    Returns:
        (H, W) uint16 from a PNG, or the (H, W) array of an .npy file in its own dtype; the caller owns it.

    Raises:
        InputError: the file cannot be read, or it is not one plane of numbers of such a type.
    """
    path = Path(path)
    rule = "a 16-bit gray PNG in millimetres, or an .npy file with one (H, W) array of millimetres"
    fix = "Save the depth camera's raw image, not a coloured picture of it."
    if path.suffix.lower() == ".npy":
        try:
            with path.open("rb") as file:  # not numpy.load: it would open archives too
                depth = np.lib.format.read_array(file, allow_pickle=False)
        except _NO_ARRAY as error:
            raise InputError.of(f"depth {path}", str(error), rule, fix) from error
    else:
        depth = _decode(path, "depth", rule)
        if depth is not None and depth.dtype != np.uint16:
            raise InputError.of(f"depth {path}", f"{depth.dtype} values", rule, fix)
    if depth is None:
        raise InputError.of(f"depth {path}", "bytes that are no image", rule, fix)
    if not isinstance(depth, np.ndarray) or depth.ndim != 2:
        raise InputError.of(f"depth {path}", f"shape {np.shape(depth)}", rule, fix)
    return depth


def write_picture(picture: np.ndarray, path: str | Path) -> Path:
    """Write a picture for people.

    Args:
        picture: (H, W, 3) uint8 BGR.
        path: the file; its ending chooses the format, one that exists is replaced.

    Returns:
        The path.

    Raises:
        InputError: OpenCV knows no such format, or the file cannot be written.
    """
    cv2 = import_cv2()
    path = Path(path)
    try:
        data = cv2.imencode(path.suffix, picture)[1]
    except cv2.error as error:
        rule = "a file name that ends in .png or .jpg"
        raise InputError.of(f"picture {path}", f"the ending {path.suffix!r}", rule, "Rename it.") from error
    try:
        replace_file(path, data.tobytes())
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        fix = "Check that the folder exists and may be written."
        raise InputError.of(f"picture {path}", text, "a file that can be written", fix) from error
    return path


def _decode(path: Path, what: str, rule: str) -> Any:
    """Return the decoded image, or None where the bytes are no image; imread cannot tell that from a missing file."""
    cv2 = import_cv2()
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise InputError.of(f"{what} {path}", text, rule, "Check the path and its permissions.") from error
    if data.size == 0:
        return None
    try:
        return cv2.imdecode(data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    except cv2.error as error:
        raise InputError.of(f"{what} {path}", error.err, rule, "Convert it to PNG or JPEG first.") from error
