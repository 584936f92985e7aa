# SPDX-License-Identifier: Apache-2.0
"""Every error that this package raises on purpose.

The text of each is ``<where>: got <value>, expected <rule>. <how to fix>``; ``of()`` builds it from its four parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class FaceDepthError(Exception):
    """The base of all errors of this package: one ``except`` catches them.

    Attributes:
        face_index: which of several faces `predict_batch` cannot predict; None for any other error.
    """

    face_index: int | None = None

    @classmethod
    def of(cls, where: str, got: object, expected: str, fix: str) -> Self:
        """Build the error from its four parts.

        Args:
            where: the argument, field or file that is wrong, as the user wrote it.
            got: what was found there; a str is shown as it is, on one line, anything else by its repr.
            expected: the rule that was tested, without a full stop.
            fix: a sentence that says what to do, with its full stop.

        Returns:
            The error, ready to be raised.
        """
        shown = " ".join(got.split()) if isinstance(got, str) else ""  # a library's own text may have many lines
        shown = shown or repr(got)
        return cls(f"{where}: got {shown}, expected {expected}. {fix}")


class InputError(FaceDepthError):
    """A frame, a depth image, a head centre or a distance cannot be used."""


class UnmeasuredHead(InputError):
    """A depth image has only holes where the head is; in a video that happens in single frames."""


class ConfigError(FaceDepthError):
    """An option is wrong, options contradict each other, or a closed object was used."""


class ArtifactError(FaceDepthError):
    """A model's folder is missing, incomplete, altered or written by other rules."""


class BackendUnavailable(FaceDepthError):
    """A backend cannot run here: its library, its device or its model file is missing."""
