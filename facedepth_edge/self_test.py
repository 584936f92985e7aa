# SPDX-License-Identifier: Apache-2.0
"""The start-up self-test of EdgeDepth(self_test=True): the golden faces, and on a GPU the demo frame's way too."""

from __future__ import annotations

import numpy as np

from facedepth_edge.artifacts import Artifact
from facedepth_edge.backends.base import Backend
from facedepth_edge.errors import BackendUnavailable, FaceDepthError
from facedepth_edge.verify import LIMITS, UNTIL_VERIFIED, check_golden_faces
from facedepth_edge.verify_frame import CROP_LIMITS_LEVELS, check_device_path


def require_self_test(artifact: Artifact, backend: Backend) -> None:
    """Run the self-test; where it fails, the backend is closed.

    Args:
        artifact: the model.
        backend: opened with it.

    Raises:
        BackendUnavailable: a face is past its limits, or as check_device_path() raises it.
        ArtifactError: there are no golden faces, or they or the demo frame are damaged.
    """
    try:
        _require_golden_faces(artifact, backend)
        _require_device_path(artifact, backend)
    except FaceDepthError:
        backend.close()
        raise


def _require_golden_faces(artifact: Artifact, backend: Backend) -> None:
    checks = check_golden_faces(artifact, backend)
    bad = [check for check in checks if not check.ok]
    if bad:
        worst = max(bad, key=lambda check: check.mean_mm if np.isfinite(check.mean_mm) else np.inf)
        got = f"{len(bad)} of {len(checks)} golden faces past their limits, the worst {worst.mean_mm:.3f} mm away"
        rule = f"at most {LIMITS[backend.precision].mean_mm:g} mm in {backend.precision}, with mask and validity"
        raise BackendUnavailable.of(f"self-test of backend {backend.name!r}", got, rule, UNTIL_VERIFIED)


def _require_device_path(artifact: Artifact, backend: Backend) -> None:
    check = check_device_path(artifact, backend)
    if check is None or check.ok:
        return
    bad, first = check.bad, check.bad[0]
    got = f"{len(bad)} of {len(check.faces)} faces of the demo frame past their limits, first {first.what}: {first}"
    crop, mean = CROP_LIMITS_LEVELS[check.crop], LIMITS[backend.precision].mean_mm
    rule = f"the CPU's crop within {crop:g} gray levels and its depth within {mean:g} mm, with mask and validity"
    raise BackendUnavailable.of(f"self-test of backend {backend.name!r}", got, rule, UNTIL_VERIFIED)
