# SPDX-License-Identifier: Apache-2.0
"""Writes an artifact's folder: whole or not at all, and the same bytes for the same model on the same machine."""

from __future__ import annotations

import ctypes
import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.onnx_from_torch import INPUT, OPSET, ArtifactModule, quiet_exporter
from facedepth_edge.artifacts import REFERENCE_FILE
from facedepth_edge.errors import ArtifactError
from facedepth_edge.spec import (
    SPEC_FILE,
    DepthOutput,
    DepthScale,
    FileEntry,
    InputSpec,
    MaskOutput,
    ModelSpec,
    Outputs,
    ValidityOutput,
)

LICENCE = "Apache-2.0"
PARITY_FILE = "parity.json"
MAX_REFERENCE_BATCH = 64
AT_FDCWD = -100  # of linux/fcntl.h: relative to the working folder
RENAME_EXCHANGE = 2  # of linux/fs.h
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can name


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays as an .npz file whose bytes depend on them alone (np.savez notes the time)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.lib.format.write_array(part, np.ascontiguousarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", ZIP_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, part.getvalue())
    return buffer.getvalue()


def reference_bytes(network: nn.Module, input_hw: tuple[int, int]) -> bytes:
    """Return the unfused network as a torch.export program without source positions.

    Args:
        network: In inference mode.
        input_hw: Height and width of the face.
    """
    module = ArtifactModule(network, input_hw).eval()
    example = torch.linspace(-1, 1, 2 * input_hw[0] * input_hw[1]).reshape(2, 1, *input_hw)
    batch = torch.export.Dim("batch", min=1, max=MAX_REFERENCE_BATCH)
    return program_bytes(module, (example,), {"face": {0: batch}})


def program_bytes(module: nn.Module, examples: tuple[Tensor, ...], dynamic_shapes: dict[str, Any]) -> bytes:
    """Return a module as a torch.export program without source positions and dates.

    Args:
        module: In inference mode.
        examples: Its arguments.
        dynamic_shapes: As torch.export.export takes them.
    """
    with quiet_exporter(), torch.no_grad():
        program = torch.export.export(module, examples, dynamic_shapes=dynamic_shapes)
    for graph_module in program.graph_module.modules():
        graph = getattr(graph_module, "graph", None)
        for node in graph.nodes if graph is not None else ():
            node.meta.pop("stack_trace", None)
    buffer = io.BytesIO()
    with quiet_exporter():
        torch.export.save(program, buffer)
    return without_dates(buffer.getvalue())


def without_dates(archive: bytes) -> bytes:
    """Return a zip file with every member's date at ZIP_DATE, stored uncompressed in the same order."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(result, "w", zipfile.ZIP_STORED) as target:
        for member in source.infolist():
            target.writestr(zipfile.ZipInfo(member.filename, ZIP_DATE), source.read(member))
    return result.getvalue()


def outputs_from_names(names: tuple[str, ...], size_hw: tuple[int, int]) -> Outputs:
    """Return the spec's outputs of a network that gives these names at this size."""
    height, width = size_hw
    return Outputs(
        depth=DepthOutput(height=height, width=width),
        mask=MaskOutput(height=height, width=width) if "mask" in names else None,
        validity=ValidityOutput() if "validity" in names else None,
    )


def make_spec(
    *,
    name: str,
    version: str,
    architecture: str,
    input_hw: tuple[int, int],
    output_names: tuple[str, ...],
    files: Mapping[str, bytes],
    accuracy: Mapping[str, Any],
    training: Mapping[str, Any],
    depth_mask_threshold: float | None,
    depth_along: str = "axis",
) -> ModelSpec:
    """Describe the files of an artifact.

    Args:
        name: The model's.
        version: The model's.
        architecture: The network's name.
        input_hw: Height and width of the face, which the outputs share.
        output_names: In the graph.
        files: Content by file name.
        accuracy: For people and reports.
        training: For people and reports.
        depth_mask_threshold: For a network without a mask: head is where z is below it.
        depth_along: Along what the network's depth is, one of DEPTH_ALONG.
    """
    return ModelSpec(
        name=name,
        version=version,
        architecture=architecture,
        licence=LICENCE,
        opset=OPSET,
        files={key: FileEntry(hashlib.sha256(content).hexdigest(), len(content)) for key, content in files.items()},
        input=InputSpec(name=INPUT, height=input_hw[0], width=input_hw[1]),
        outputs=outputs_from_names(output_names, input_hw),
        depth_mask_threshold=None if "mask" in output_names else depth_mask_threshold,
        depth_scale=DepthScale(along=depth_along),
        optional_files=(REFERENCE_FILE,) if REFERENCE_FILE in files else (),
        accuracy=accuracy,
        training=training,
    )


def write_artifact(
    folder: Path,
    spec: ModelSpec,
    files: Mapping[str, bytes],
    *,
    replace: bool = False,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Write an artifact: these files and spec.json; see `write_folder`."""
    write_folder(folder, {**files, SPEC_FILE: spec.to_json().encode()}, replace=replace, check=check)


def write_folder(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    replace: bool = False,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Write a folder whole or not at all.

    The files are written and flushed beside it, checked, and the folder is renamed into place. An old artifact changes
    places with it in one step and is removed then; where the system cannot exchange folders (other than Linux), it is
    moved aside before, and a kill between the two renames leaves it under `.NAME.old`.

    Args:
        folder: Where; its parent is made when missing.
        files: Content by file name, spec.json among them.
        replace: Replace an artifact that is there.
        check: Called with the temporary folder before anything is renamed; what it raises stops the writing.

    Raises:
        ArtifactError: `folder` is there and not to be replaced, or is no artifact.
    """
    folder = Path(os.path.realpath(folder))
    require_free(folder, replace)
    rule, fix = "a folder that can be written", "Check the folder's permissions and the free space."
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise ArtifactError.of(str(folder), str(error), rule, fix) from error
    try:
        temporary.chmod(0o755)
        for name, content in files.items():
            with open(temporary / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if check is not None:
            check(temporary)
        if not folder.exists():
            os.rename(temporary, folder)
        elif not exchange_folders(temporary, folder):
            old = folder.with_name(f".{folder.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            os.rename(folder, old)
            os.rename(temporary, folder)
            shutil.rmtree(old)
    except OSError as error:
        raise ArtifactError.of(str(folder), str(error), rule, fix) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def exchange_folders(first: Path, second: Path) -> bool:
    """Let two folders of one file system change their names in one step; nothing sees only one of them.

    Returns:
        Whether it was done; False where the system has no such call.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    done = call(AT_FDCWD, os.fsencode(first.absolute()), AT_FDCWD, os.fsencode(second.absolute()), RENAME_EXCHANGE)
    return bool(done == 0)


def require_free(folder: Path, replace: bool) -> None:
    """Check, before hours of work, that an artifact may be written to a folder.

    Raises:
        ArtifactError: It may not.
    """
    folder = Path(os.path.realpath(folder))  # so that none/../models is models
    if not folder.exists():
        parent = next(parent for parent in folder.parents if parent.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            got, rule = f"{parent} above it", "a folder that may be written"
            raise ArtifactError.of(str(folder), got, rule, "Give another --out.")
        return
    if not replace:
        raise ArtifactError.of(
            str(folder), "a folder that exists", "a new one", "Add --replace, or give another --out."
        )
    try:
        found = json.loads((folder / SPEC_FILE).read_bytes())
        known = isinstance(found, dict) and {"format", "name", "files", "licence"} <= set(found)
        if not known:
            raise ValueError("no artifact's spec")
    except (OSError, ValueError) as error:
        fix = "Remove it yourself if you mean it."
        raise ArtifactError.of(str(folder), "a folder that is no artifact", "an artifact to replace", fix) from error
