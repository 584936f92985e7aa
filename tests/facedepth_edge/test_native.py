# SPDX-License-Identifier: Apache-2.0
"""The compiled module: that it is there, that it is taken, and what happens where it is not."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from facedepth_edge import BackendUnavailable, ConfigError, EdgeDepth, __version__
from facedepth_edge.face_crop import FaceSampler
from facedepth_edge.native import find_native


@contextmanager
def hidden_native() -> Iterator[None]:
    """Make the compiled module unimportable, as on a machine without a compiler."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "facedepth_edge._native", None)
        find_native.cache_clear()
        yield
    find_native.cache_clear()


def test_the_module_is_built_and_taken(tiny_edge: EdgeDepth) -> None:
    """Never skipped: the README's test command builds it, and a run without it would test the other way only."""
    module, reason = find_native()
    assert module is not None, f"{reason}. Run: pip install --no-deps -e . (it needs a C++17 compiler)"
    assert module.version == __version__
    assert FaceSampler().crop == FaceSampler("native").crop == "native"
    assert (tiny_edge.info["crop"], tiny_edge.info["crop_why_not"]) == ("native", "")


def test_without_it_opencv_is_taken_and_the_reason_told(tiny_artifact: Path, frame: np.ndarray) -> None:
    with hidden_native(), EdgeDepth(tiny_artifact, precision="fp32") as edge:
        assert FaceSampler().crop == edge.info["crop"] == "opencv"
        assert "C++17 compiler" in edge.info["crop_why_not"]
        slow = edge.predict(frame, (250, 170))
    with EdgeDepth(tiny_artifact, precision="fp32") as edge:
        assert edge.info["crop"] == "native"
        fast = edge.predict(frame, (250, 170))
    assert np.ptp(fast.depth_mm) > 5
    np.testing.assert_allclose(fast.depth_mm, slow.depth_mm, atol=2.0)  # the tiny model: 160 / 127.5 mm a gray level


def test_naming_it_never_falls_back() -> None:
    rule = r"^crop 'native': got .*_native.*, expected the compiled module"
    with hidden_native(), pytest.raises(BackendUnavailable, match=rule):
        FaceSampler("native")


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ConfigError, match=re.escape("crop: got cuda, expected one of auto, native, opencv.")):
        FaceSampler("cuda")


def test_a_module_of_another_version_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from facedepth_edge import _native

    find_native.cache_clear()
    monkeypatch.setattr(_native, "version", "0.0.1")
    try:
        module, reason = find_native()
    finally:
        find_native.cache_clear()
    assert module is None
    assert f"is of version 0.0.1, not {__version__}" in reason
