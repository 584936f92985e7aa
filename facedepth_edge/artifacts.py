# SPDX-License-Identifier: Apache-2.0
"""Finds a model, bundled by name or in a folder, and hands out its files only after checking size and SHA-256."""

from __future__ import annotations

import os
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

from facedepth_edge.errors import ArtifactError, ConfigError
from facedepth_edge.spec import SPEC_FILE, ModelSpec

if TYPE_CHECKING:
    from pathlib import Path

GOLDEN_FILE = "golden.npz"
"""Faces and the reference's answers to them."""
REFERENCE_FILE = "reference.pt2"
"""The torch.export program that every other file is compared with; an installed package has none."""

BUNDLED_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models")
_FIX = "Install the package again, or export the model again with python -m export."


@dataclass(frozen=True)
class Artifact:
    """Hold a model's folder and its checked spec."""

    folder: Path
    spec: ModelSpec

    def has(self, name: str) -> bool:
        """Say whether the spec lists this file, and if the file is optional, whether it is there."""
        return name in self.spec.files and (name not in self.spec.optional_files or (self.folder / name).is_file())

    def read(self, name: str) -> bytes:
        """Read one of the artifact's files whole, and check it.

        What is returned is what was checked: the file is read once.

        Args:
            name: a name in the spec's files.

        Returns:
            The file's bytes.

        Raises:
            ArtifactError: the spec does not list the file, it is missing or unreadable, its size differs (truncated),
                or its SHA-256 differs (altered).
        """
        entry = self.spec.files.get(name)
        path = self.folder / name
        if entry is None:
            listed = ", ".join(sorted(self.spec.files))
            raise ArtifactError.of(str(path), "a file that the spec does not list", f"one of {listed}", _FIX)
        try:
            content = path.read_bytes()
        except OSError as error:
            reason = error.strerror or str(error)
            raise ArtifactError.of(str(path), reason, "a file that can be read", _FIX) from error
        if len(content) != entry.bytes:
            rule = f"{entry.bytes} bytes as in {SPEC_FILE}"
            raise ArtifactError.of(str(path), f"{len(content)} bytes", rule, _FIX)
        import hashlib

        digest = hashlib.sha256(content).hexdigest()
        if digest != entry.sha256:
            raise ArtifactError.of(str(path), f"SHA-256 {digest}", f"{entry.sha256} as in {SPEC_FILE}", _FIX)
        return content


def list_models() -> tuple[str, ...]:
    """Return the names of the bundled models, sorted."""
    if not os.path.isdir(BUNDLED_FOLDER):
        return ()
    names = os.listdir(BUNDLED_FOLDER)
    return tuple(sorted(name for name in names if os.path.isfile(os.path.join(BUNDLED_FOLDER, name, SPEC_FILE))))


def open_artifact(model: str | PathLike[str]) -> Artifact:
    """Find a model and read its spec; no other file is opened yet.

    Args:
        model: a bundled model's name, or the path of an artifact's folder. A text that is not a bundled name is taken
            as a path, and a Path where there is no such folder as a name.

    Returns:
        The artifact.

    Raises:
        ConfigError: model is neither a text nor a path.
        ArtifactError: there is no such model, or its spec breaks a rule.
    """
    if not isinstance(model, (str, PathLike)):
        fix = "Give the name of a bundled model, or the path of an artifact's folder."
        raise ConfigError.of("model", model, "a text or a path", fix)
    from pathlib import Path  # a tenth of what importing this package takes

    bundled = list_models()
    folder = Path(BUNDLED_FOLDER, model) if model in bundled else Path(model)
    try:
        there = folder.is_dir()
        if not there and str(model) in bundled:  # a path, as commands give one, to nothing: the name is meant
            folder, there = Path(BUNDLED_FOLDER, model), True
    except (OSError, ValueError):  # a name that the system does not take: too long, or with a NUL
        there = False
    if not there or not str(model):
        names = ", ".join(bundled) or "none: this installation has no models folder"
        rule = f"a bundled model ({names}) or the folder of an artifact"
        raise ArtifactError.of(
            "model", str(model), rule, "Check the name or the path; facedepth-edge models lists them."
        )
    path = folder / SPEC_FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArtifactError.of(str(path), reason, "a file that can be read", _FIX) from error
    return Artifact(folder, ModelSpec.from_json(text, str(path)))
