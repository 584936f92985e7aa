# SPDX-License-Identifier: Apache-2.0
"""PyTorch: the reference, which runs the artifact's reference.pt2 (torch.export) in float32 on the CPU."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facedepth_edge.artifacts import REFERENCE_FILE, Artifact
from facedepth_edge.backends.base import missing_library
from facedepth_edge.errors import ArtifactError, BackendUnavailable, ConfigError
from facedepth_edge.spec import ModelSpec


@dataclass(frozen=True)
class _Loaded:
    """What a backend and its forks share."""

    torch: Any
    module: Any
    spec: ModelSpec
    threads: int


class TorchBackend:
    """Run the exported program that every other backend is compared with.

    The program takes the input and returns the outputs in the order of the spec's names, or a dict by those names.
    ``threads`` sets PyTorch's pool, which belongs to the whole process; None leaves it as it is. open() and fork() make
    the objects.
    """

    name = "torch"
    memory = "host"
    max_batch = 8
    precision = "fp32"
    provider = "CPU"

    def __init__(self, loaded: _Loaded) -> None:
        self._loaded = loaded
        self._spec = loaded.spec
        self.threads = loaded.threads
        self.notes: tuple[str, ...] = ()
        self.reserve(1)

    @classmethod
    def open(cls, artifact: Artifact, precision: str, threads: int | None, *, may_build: bool = True) -> TorchBackend:
        """Load the program; nothing has to be built.

        Raises:
            As open_backend().
        """
        if precision not in ("auto", "fp32"):
            fix = 'Use precision="fp32", or another backend.'
            raise ConfigError.of("precision", precision, "fp32 with backend 'torch'", fix)
        if not artifact.has(REFERENCE_FILE):
            fix = "The installed package leaves it out; export the model from a checkout with python -m export."
            where = f"backend {cls.name!r}"
            raise BackendUnavailable.of(where, f"no {REFERENCE_FILE} in {artifact.folder}", "that file", fix)
        try:
            import torch
        except ImportError as error:
            raise missing_library(cls.name, error) from error
        if threads is not None:
            torch.set_num_threads(threads)
        content = artifact.read(REFERENCE_FILE)
        try:
            module = torch.export.load(io.BytesIO(content)).module()
        except (RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
            where = str(artifact.folder / REFERENCE_FILE)
            fix = "Export the model again with this version of torch."
            raise ArtifactError.of(where, str(error), "a program that torch.export can load", fix) from error
        return cls(_Loaded(torch, module, artifact.spec, torch.get_num_threads()))

    def reserve(self, batch: int) -> None:
        """Make input hold this many faces; output is made by run()."""
        shape = (batch, self._spec.input.channels, *self._spec.input_hw)
        self.input: NDArray[np.float32] = np.zeros(shape, np.float32)
        self.output: Mapping[str, NDArray[np.float32]] = {}

    def run(self) -> None:
        """Compute output from input."""
        torch = self._loaded.torch
        with torch.inference_mode():
            result = self._loaded.module(torch.from_numpy(self.input))
        names = self._spec.outputs.names
        if not isinstance(result, Mapping):
            parts = result if isinstance(result, (tuple, list)) else (result,)
            result = dict(zip(names, parts, strict=False))  # a length that differs is told below
        if set(result) != set(names):
            fix = "Export the model again with python -m export."
            got = f"the outputs {', '.join(map(str, result))}"
            raise ArtifactError.of(REFERENCE_FILE, got, f"{', '.join(names)} as in spec.json", fix)
        self.output = {name: result[name].numpy() for name in names}

    def fork(self) -> TorchBackend:
        """Return another backend on the same module, with buffers of its own."""
        return TorchBackend(self._loaded)

    def close(self) -> None:
        """Let the module and the buffers go."""
        self._loaded = None  # type: ignore[assignment]
        self.output = {}
        self.input = np.empty((0, self._spec.input.channels, *self._spec.input_hw), np.float32)
