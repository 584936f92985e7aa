# SPDX-License-Identifier: Apache-2.0
"""The real module onnxruntime against what our code names, and our way of binding addresses, run by it on the CPU."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from facedepth_edge.artifacts import open_artifact
from facedepth_edge.backends import onnxruntime_cuda
from facedepth_edge.backends.device_buffers import ALIGNMENT_BYTES, DeviceBuffers
from facedepth_edge.backends.onnxruntime_network import CPU, checked_outputs, failures, open_network
from facedepth_edge.cuda import Session
from tests.fake_gpu.contract import dotted
from tests.fake_gpu.onnxruntime import SURFACE
from tests.tiny_model import tiny_outputs

PACKAGE = Path(onnxruntime_cuda.__file__).parent
FILES = tuple(PACKAGE / name for name in ("onnxruntime.py", "onnxruntime_cuda.py", "onnxruntime_network.py"))
OBJECTS = {
    "ort": "",
    "_ort": "",
    "state": "capi.onnxruntime_pybind11_state",
    "settings": "SessionOptions",
    "network": "InferenceSession",
    "_network": "InferenceSession",
    "session": "InferenceSession",
    "_session": "InferenceSession",
    "io": "IOBinding",
    "options": "RunOptions",
    "value": "NodeArg",
}
"""What our code calls an object -> what it is in the module; every use of these names in FILES is checked."""
OURS = {"session": set(vars(Session)) | {"index", "driver", "gpu", "capturing"}}


def real_name(parts: list[str]) -> str | None:
    """Return the dotted name in onnxruntime that our a.b.c means, or None where it is none of theirs."""
    parts = parts[1:] if parts[:1] in (["self"], ["bound"]) else parts
    if len(parts) < 2 or parts[0] not in OBJECTS or parts[1].startswith("__") or parts[1] in OURS.get(parts[0], ()):
        return None
    return ".".join(filter(None, [OBJECTS[parts[0]], *parts[1:]]))


def uses() -> tuple[set[str], list[tuple[str, int, list[str]]]]:
    """Return the names that our code uses, and its calls: (name, positional arguments, keywords)."""
    names, calls = set(), []
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and (name := real_name(dotted(node))):
                names.add(name)
            if isinstance(node, ast.Call) and (name := real_name(dotted(node.func))):
                calls.append((name, len(node.args), [keyword.arg or "" for keyword in node.keywords]))
    return names, calls


def look_up(name: str) -> Any:
    found: Any = onnxruntime
    for part in name.split("."):
        found = getattr(found, part)
    return found


def test_every_name_is_there() -> None:
    surface = {f"{name}.{member}" for name, members in SURFACE.items() for member in members} | SURFACE.keys()
    names, calls = uses()
    assert {"InferenceSession.run_with_iobinding", "IOBinding.bind_input", "RunOptions.add_run_config_entry"} <= names
    assert names <= surface, "the stand-in's SURFACE lacks something"
    for name in sorted(surface):
        look_up(name)
    assert len(calls) > 10


def test_every_call_fits() -> None:
    checked = []
    for name, positional, keywords in uses()[1]:
        function = look_up(name)
        try:
            signature = inspect.signature(function)
        except ValueError:  # of C++: its first line has the arguments
            shown = re.match(r"\w+\((self: [^,)]*)?(?:, )?(.*)\) ->", function.__doc__ or "")
            if shown:
                assert len([part for part in shown[2].split(", ") if part]) == positional, name
                checked.append(name)
            continue
        owner = isinstance(function, type) or name.startswith("OrtValue.")  # called on the class
        signature.bind(*[None] * (positional + (not owner)), **dict.fromkeys(keywords))
        checked.append(name)
    assert {"InferenceSession", "IOBinding.bind_input", "IOBinding.bind_output", "OrtValue.ortvalue_from_numpy"} <= set(
        checked
    )
    assert {"InferenceSession.run_with_iobinding", "RunOptions.add_run_config_entry"} <= set(checked)


def test_entries_of_a_run_are_known_to_the_library() -> None:
    """A key that it does not know would be ignored without a word."""
    texts = re.findall(r'add_(?:run|session)_config_entry\(\s*"([^"]+)"', "".join(file.read_text() for file in FILES))
    assert {"gpu_graph_id", "disable_synchronize_execution_providers"} <= set(texts)
    content = Path(onnxruntime.capi.onnxruntime_pybind11_state.__file__).read_bytes()
    for text in texts:
        assert text.encode() in content


def test_errors_are_classes_of_exceptions() -> None:
    for kind in failures(onnxruntime):
        assert issubclass(kind, Exception)


class HostMemory:
    """Makes buffers as cuda.Session does, in the host's memory."""

    def device_buffer(self, shape: tuple[int, ...], dtype: Any) -> Any:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        room = np.zeros(size + ALIGNMENT_BYTES, np.uint8)
        skipped = -room.ctypes.data % ALIGNMENT_BYTES
        array = room[skipped : skipped + size]
        return SimpleNamespace(address=array.ctypes.data, array=array, bytes=size, close=lambda: None)


@pytest.mark.parametrize("batch", [1, 3])
def test_addresses_bound_our_way_are_read_and_written(
    tiny_artifact: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same calls with the device "cpu" in place of "cuda": element type, shape, address, options of the run."""
    monkeypatch.setattr(onnxruntime_cuda, "DEVICE_TYPE", "cpu")
    artifact = open_artifact(tiny_artifact)
    network, _ = open_network(onnxruntime, artifact.read("fp32.onnx"), "fp32.onnx", CPU, 1)
    shapes = checked_outputs(network, artifact.spec, "fp32.onnx")
    buffers = DeviceBuffers(HostMemory(), artifact.spec, shapes, batch)  # type: ignore[arg-type]
    bound = onnxruntime_cuda._Bound(onnxruntime, network, buffers, "face", onnxruntime_cuda.NO_GRAPH)
    bound.bind(0)
    block: Any = buffers.output_block
    for seed in (1, 2):
        faces = np.random.default_rng(seed).uniform(-1, 1, buffers.input.shape).astype(np.float32)
        face: Any = buffers._face
        face.array[:] = faces.view(np.uint8).reshape(-1)
        network.run_with_iobinding(bound.io, bound.options)
        for name, expected in tiny_outputs(faces).items():
            view, first = buffers.output[name], buffers.output_offsets[name]
            assert first % ALIGNMENT_BYTES == 0
            got = block.array[first : first + view.bytes].view(np.float32).reshape(view.shape)
            np.testing.assert_allclose(got, expected, atol=2e-6)


def test_wrong_shape_raises_what_we_expect(tiny_artifact: Path) -> None:
    network, _ = open_network(onnxruntime, open_artifact(tiny_artifact).read("fp32.onnx"), "fp32.onnx", CPU, 1)
    face = np.zeros((1, 1, 8, 8), np.float32)
    io = network.io_binding()
    io.bind_input("face", "cpu", 0, np.float32, face.shape, face.ctypes.data)
    io.bind_output("depth", "cpu", 0, np.float32, (1, 1, 96, 96), np.zeros((96, 96), np.float32).ctypes.data)
    with pytest.raises(failures(onnxruntime)):
        network.run_with_iobinding(io, onnxruntime.RunOptions())
