# SPDX-License-Identifier: Apache-2.0
"""Writing pictures and depth images: the same pixels come back, or the error names the file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facedepth_edge.errors import ConfigError
from train.image_files import write_image


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_keeps_every_pixel(dtype: type, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (7, 9), dtype)
    path = tmp_path / "new" / "folder" / "image.png"
    write_image(path, image)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), image)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    image = np.zeros((4, 4), np.uint8)
    with pytest.raises(ConfigError, match=r"image\.xyz: got .*expected a writable folder and a \.png or \.jpg name"):
        write_image(tmp_path / "image.xyz", image)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/image\.png: got .*expected a writable folder"):
        write_image(tmp_path / "file" / "image.png", image)
