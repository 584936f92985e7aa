# SPDX-License-Identifier: Apache-2.0
"""spec.json: what is written is what is read, and every rule is an error with the file's name."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from facedepth_edge.errors import ArtifactError
from facedepth_edge.spec import FileEntry, MaskOutput, ModelSpec, Outputs, ValidityOutput

HASH = "0123456789abcdef" * 4


def edge_like_spec() -> ModelSpec:
    return ModelSpec(
        name="edge",
        version="0.1.0",
        architecture="edge",
        licence="Apache-2.0",
        opset=19,
        files={"fp32.onnx": FileEntry(HASH, 7), "golden.npz": FileEntry(HASH, 9), "reference.pt2": FileEntry(HASH, 8)},
        outputs=Outputs(mask=MaskOutput(), validity=ValidityOutput(threshold=0.4)),
        optional_files=("reference.pt2",),
        accuracy={"mean_mm": 4.5, "data": "rendered"},
        training={"commit": "abc", "samples": 20000},
    )


def test_round_trip() -> None:
    spec = edge_like_spec()
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert ModelSpec.from_json(json.loads(spec.to_json())) == spec
    assert ModelSpec.from_json(spec.to_json().encode()).to_json() == spec.to_json()


def test_a_model_without_mask_round_trips() -> None:
    spec = ModelSpec(
        "paper", "1", "paper", "Apache-2.0", 19, {"fp32.onnx": FileEntry(HASH, 7)}, depth_mask_threshold=0.3
    )
    written = json.loads(spec.to_json())
    assert written["outputs"].keys() == {"depth"}
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert spec.outputs.names == ("depth",)


def test_keys_come_in_one_order() -> None:
    spec = edge_like_spec()
    turned = ModelSpec.from_json(dict(reversed(json.loads(spec.to_json()).items())))
    assert turned.to_json() == spec.to_json()
    assert list(json.loads(spec.to_json()))[:3] == ["format", "name", "version"]


def test_sizes() -> None:
    spec = edge_like_spec()
    assert spec.input_hw == (96, 96)
    assert spec.output_hw == (96, 96)
    assert [spec.output_shapes(name) for name in spec.outputs.names] == [((1, 96, 96),), ((1, 96, 96),), ((1,), ())]
    assert spec.outputs.names == ("depth", "mask", "validity")


def change(path: str, value: Any) -> dict[str, Any]:
    """Return the spec's object with one value changed; the path's parts are separated by slashes."""
    data = copy.deepcopy(json.loads(edge_like_spec().to_json()))
    *parents, last = path.split("/")
    target = data
    for key in parents:
        target = target[key]
    target[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("format", 2, "format: got 2, expected 1"),
        ("name", "", "name: got '', expected a text that is not empty"),
        ("version", 3, "version: got 3"),
        ("opset", 0, "opset: got 0"),
        ("opset", True, "opset: got True"),
        ("input/height", 0, "input.height: got 0, expected a whole number of pixels"),
        ("input/width", 96.0, "input.width: got 96.0"),
        ("input/width", 4097, "input.width: got 4097, expected a whole number of pixels, 1 to 4096"),
        ("input/channels", 3, "input.channels: got 3, expected 1"),
        ("outputs/depth/height", -1, "outputs.depth.height"),
        ("outputs/mask/height", 48, r"outputs.mask: got \(48, 96\), expected the size of outputs.depth"),
        ("outputs/mask/threshold", 1.5, "outputs.mask.threshold"),
        ("outputs/validity/threshold", 0, "outputs.validity.threshold"),
        ("outputs/validity/name", "depth", "outputs: got .*expected a different name for each"),
        ("outputs/normals", {"name": "n"}, "outputs: got the unknown key normals"),
        ("depth_mask_threshold", 0.2, "depth_mask_threshold: got 0.2, expected null"),
        ("preprocessing/gray", "mean", "preprocessing.gray: got mean, expected 'bt601'"),
        ("preprocessing/shrink", "cubic", "preprocessing.shrink"),
        ("preprocessing/scale", 0, "preprocessing.scale: got 0"),
        ("preprocessing/offset", "x", "preprocessing.offset"),
        ("preprocessing/reach_x_mm", -320.0, "preprocessing.reach_x_mm"),
        ("depth_scale/half_range_mm", 0, "depth_scale.half_range_mm"),
        ("files", {}, "files: got {}, expected at least one file"),
        ("files", [], "files: got a list, expected an object"),
        ("files/fp32.onnx/sha256", HASH.upper(), "files.sha256"),
        ("files/fp32.onnx/bytes", 0, "files.bytes"),
        ("files/..%2Fx", {"sha256": HASH, "bytes": 1}, "expected the plain name of a file"),
        ("files/spec.json", {"sha256": HASH, "bytes": 1}, "other than spec.json"),
        ("optional_files", ["int8.onnx"], "optional_files: got .*expected names that are in files"),
        ("optional_files", "reference.pt2", "optional_files: got reference.pt2, expected a list"),
        ("accuracy", 3, "accuracy: got a int"),
        ("licence_text", "x", "spec: got the unknown key licence_text"),
    ],
)
def test_each_rule(path: str, value: Any, text: str) -> None:
    with pytest.raises(ArtifactError, match=rf"^models/x/spec.json: .*{text}"):
        ModelSpec.from_json(change(path, value), "models/x/spec.json")


def test_a_mask_or_a_threshold_is_needed() -> None:
    data = json.loads(edge_like_spec().to_json())
    del data["outputs"]["mask"]
    with pytest.raises(ArtifactError, match=r"depth_mask_threshold: got None, expected a number above -1"):
        ModelSpec.from_json(data)


@pytest.mark.parametrize("key", ["format", "name", "input", "outputs", "files", "training"])
def test_missing_key(key: str) -> None:
    data = json.loads(edge_like_spec().to_json())
    del data[key]
    with pytest.raises(ArtifactError, match=rf"spec: got no {key}, expected the keys"):
        ModelSpec.from_json(data)


@pytest.mark.parametrize("key", ["name", "height"])
def test_missing_key_of_a_part(key: str) -> None:
    data = json.loads(edge_like_spec().to_json())
    del data["input"][key]
    with pytest.raises(ArtifactError, match=rf"input: got no {key}"):
        ModelSpec.from_json(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected valid JSON text"),
        ("{", "expected valid JSON text"),
        ("[]", "spec: got a list, expected an object"),
        (b"\xff\xfe{", "expected valid JSON text"),
        ('{"name": 1, "name": 2}', "the keys .*name.* twice"),
        ('{"accuracy": {"mm": 1e999}}', "JSON: got 1e999, expected finite numbers"),
        ('{"format": true}', "format: got True, expected 1"),
        ('{"format": 1, "kind": "pair-verification"}', "kind: got pair-verification, expected a model that estimates"),
        ('{"name": NaN}', "JSON: got NaN, expected finite numbers"),
        ("[" * 100_000, "expected valid JSON text"),
    ],
)
def test_text_that_is_no_spec(text: str | bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=rf"^x.json: .*{message}"):
        ModelSpec.from_json(text, "x.json")


def test_nan_is_not_written() -> None:
    spec = edge_like_spec()
    spec.accuracy["mean_mm"] = float("nan")  # type: ignore[index]
    with pytest.raises(ArtifactError, match=r"expected JSON values only"):
        spec.to_json()
