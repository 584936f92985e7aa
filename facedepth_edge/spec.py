# SPDX-License-Identifier: Apache-2.0
"""ModelSpec: what spec.json beside a model says, and the only place that knows its rules."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from facedepth_edge.errors import ArtifactError
from facedepth_edge.json_values import repeated_keys

SPEC_FILE = "spec.json"
FORMAT = 1

_FIX = "Export the model again with this version's python -m export, or install the package again."
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

MOST_SIDE_PX = 4096
LARGEST_WHOLE = 2**53  # not every JSON reader reads larger whole numbers exactly
LARGEST_IN_SPEC = 1e6  # largest magnitude in a spec.json; anything larger is a mistake and would overflow


def _require(ok: bool, where: str, got: object, expected: str) -> None:
    if not ok:
        raise ArtifactError.of(where, got, expected, _FIX)


def _is_int(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= LARGEST_WHOLE


def _is_number(value: object) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST_IN_SPEC <= value <= LARGEST_IN_SPEC
    )


def _require_text(where: str, value: object) -> None:
    ok = isinstance(value, str) and value.strip() != "" and value.isprintable()
    _require(ok, where, value, "a text that is not empty and can be printed")


def _require_probability(where: str, value: object) -> None:
    _require(_is_number(value) and 0.0 < value < 1.0, where, value, "a number between 0 and 1")  # type: ignore[operator]


def _require_size(where: str, height: object, width: object) -> None:
    for name, side in (("height", height), ("width", width)):
        fits = _is_int(side, 1) and side <= MOST_SIDE_PX  # type: ignore[operator]
        _require(fits, f"{where}.{name}", side, f"a whole number of pixels, 1 to {MOST_SIDE_PX}")


@dataclass(frozen=True)
class InputSpec:
    """The graph's input: (B, channels, height, width) float32, the face as face_crop samples it."""

    name: str = "face"
    channels: int = 1
    height: int = 96
    width: int = 96

    def __post_init__(self) -> None:
        _require_text("input.name", self.name)
        _require(self.channels == 1 and _is_int(self.channels, 1), "input.channels", self.channels, "1 (gray)")
        _require_size("input", self.height, self.width)


@dataclass(frozen=True)
class DepthOutput:
    """The graph's depth: (B, 1, height, width) float32 in [-1, 1], farther is larger."""

    name: str = "depth"
    height: int = 96
    width: int = 96

    def __post_init__(self) -> None:
        _require_text("outputs.depth.name", self.name)
        _require_size("outputs.depth", self.height, self.width)


@dataclass(frozen=True)
class MaskOutput:
    """The graph's head mask: (B, 1, height, width) float32 probability; head where it is above threshold."""

    name: str = "mask"
    height: int = 96
    width: int = 96
    threshold: float = 0.5

    def __post_init__(self) -> None:
        _require_text("outputs.mask.name", self.name)
        _require_size("outputs.mask", self.height, self.width)
        _require_probability("outputs.mask.threshold", self.threshold)


@dataclass(frozen=True)
class ValidityOutput:
    """The graph's validity: (B,) or (B, 1) float32 probability that a usable face is in the box."""

    name: str = "validity"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        _require_text("outputs.validity.name", self.name)
        _require_probability("outputs.validity.threshold", self.threshold)


@dataclass(frozen=True)
class Outputs:
    """The graph's outputs; depth always, mask and validity where the model has them."""

    depth: DepthOutput = field(default_factory=DepthOutput)
    mask: MaskOutput | None = None
    validity: ValidityOutput | None = None

    def __post_init__(self) -> None:
        names = [part.name for part in (self.depth, self.mask, self.validity) if part is not None]
        _require(len(set(names)) == len(names), "outputs", names, "a different name for each output")
        if self.mask is not None:
            mask_hw = (self.mask.height, self.mask.width)
            depth_hw = (self.depth.height, self.depth.width)
            _require(mask_hw == depth_hw, "outputs.mask", mask_hw, f"the size of outputs.depth, {depth_hw}")

    @property
    def names(self) -> tuple[str, ...]:
        """The outputs' names in the graph, in the order depth, mask, validity."""
        return tuple(part.name for part in (self.depth, self.mask, self.validity) if part is not None)


@dataclass(frozen=True)
class Preprocessing:
    """How a frame becomes the input: eq. 6's box, gray, resampled, then gray * scale + offset (gray is 0..255)."""

    gray: str = "bt601"
    shrink: str = "area"
    grow: str = "bilinear"
    border: str = "replicate"
    scale: float = 1.0 / 127.5
    offset: float = -1.0
    reach_x_mm: float = 320.0
    reach_y_mm: float = 320.0

    def __post_init__(self) -> None:
        for name, only in (("gray", "bt601"), ("shrink", "area"), ("grow", "bilinear"), ("border", "replicate")):
            _require(getattr(self, name) == only, f"preprocessing.{name}", getattr(self, name), repr(only))
        for name in ("scale", "reach_x_mm", "reach_y_mm"):
            value = getattr(self, name)
            _require(_is_number(value) and value > 0, f"preprocessing.{name}", value, "a number above 0")
        _require(_is_number(self.offset), "preprocessing.offset", self.offset, "a finite number")


DEPTH_ALONG = ("axis", "ray")


@dataclass(frozen=True)
class DepthScale:
    """depth_mm = distance_mm + z * half_range_mm, along the camera's optical axis or along the ray to the head.

    ``along`` says what the network's z is: "axis", or "ray", which facedepth_edge/ray_depth.py turns into "axis". A
    spec.json without it means "axis".
    """

    half_range_mm: float = 160.0
    along: str = "axis"

    def __post_init__(self) -> None:
        value = self.half_range_mm
        _require(_is_number(value) and value > 0, "depth_scale.half_range_mm", value, "a number above 0")
        rule = f"one of {', '.join(DEPTH_ALONG)}"
        _require(self.along in DEPTH_ALONG, "depth_scale.along", self.along, rule)


@dataclass(frozen=True)
class FileEntry:
    """One file of the artifact: its SHA-256 in lower-case hexadecimal and its size."""

    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        ok = isinstance(self.sha256, str) and _SHA256.fullmatch(self.sha256) is not None
        _require(ok, "files.sha256", self.sha256, "64 hexadecimal digits in lower case")
        _require(_is_int(self.bytes, 1), "files.bytes", self.bytes, "a whole number, 1 or more")


@dataclass(frozen=True)
class ModelSpec:
    """Say what a model takes and gives, and which files belong to it.

    ``accuracy`` and ``training`` are free JSON objects for people and reports; the runtime computes nothing from them.
    ``python -m train --start`` reads ``training``.
    ``depth_mask_threshold`` is for a model without a mask output: head is where the network's z is below it.
    ``optional_files`` are hashed like the others but may be absent (reference.pt2 is not in the wheel).
    """

    name: str
    version: str
    architecture: str
    licence: str
    opset: int
    files: Mapping[str, FileEntry]
    input: InputSpec = field(default_factory=InputSpec)
    outputs: Outputs = field(default_factory=Outputs)
    depth_mask_threshold: float | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    depth_scale: DepthScale = field(default_factory=DepthScale)
    optional_files: tuple[str, ...] = ()
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        _require(self.format == FORMAT, "format", self.format, str(FORMAT))
        for name in ("name", "version", "architecture", "licence"):
            _require_text(name, getattr(self, name))
        _require(_is_int(self.opset, 1), "opset", self.opset, "a whole number, 1 or more")
        _require(isinstance(self.files, Mapping) and len(self.files) > 0, "files", self.files, "at least one file")
        for name in self.files:
            ok = isinstance(name, str) and _FILE_NAME.fullmatch(name) is not None and name != SPEC_FILE
            _require(ok, "files", name, f"the plain name of a file in the same folder, other than {SPEC_FILE}")
        unknown = sorted(set(self.optional_files) - set(self.files))
        _require(not unknown, "optional_files", unknown, "names that are in files")
        object.__setattr__(self, "optional_files", tuple(self.optional_files))
        threshold = self.depth_mask_threshold
        if self.outputs.mask is None:
            ok = _is_number(threshold) and -1.0 < threshold <= 1.0  # type: ignore[operator]
            rule = "a number above -1 and up to 1, because the model has no mask output"
            _require(ok, "depth_mask_threshold", threshold, rule)
        else:
            _require(threshold is None, "depth_mask_threshold", threshold, "null, because the model has a mask output")

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of the network's input in pixels."""
        return self.input.height, self.input.width

    @property
    def output_hw(self) -> tuple[int, int]:
        """Height and width of the depth map in pixels."""
        return self.outputs.depth.height, self.outputs.depth.width

    def output_shapes(self, name: str) -> tuple[tuple[int, ...], ...]:
        """Return the shapes that an output may have in the graph, without the batch; the first is the usual one."""
        maps = (self.outputs.depth, self.outputs.mask)
        if any(part is not None and part.name == name for part in maps):
            return ((1, *self.output_hw),)
        return ((1,), ())

    @classmethod
    def from_json(cls, source: str | bytes | Mapping[str, Any], where: str = SPEC_FILE) -> ModelSpec:
        """Read a spec, refusing every key that this version does not know.

        Args:
            source: the text of a spec.json, or the object parsed from one.
            where: the file's name, for the error's text.

        Returns:
            The checked spec.

        Raises:
            ArtifactError: the text is not JSON, or a key or a value breaks a rule.
        """
        try:
            data = _parse(source) if isinstance(source, (str, bytes)) else source
            return _spec_from_object(data)
        except ArtifactError as error:
            raise ArtifactError(f"{where}: {error}") from error

    def to_json(self) -> str:
        """Write the spec as JSON text, keys in the order of the schema, with a final newline."""
        outputs = {key: value for key, value in dataclasses.asdict(self.outputs).items() if value is not None}
        scale = dataclasses.asdict(self.depth_scale)
        if self.depth_scale.along == "axis":
            del scale["along"]  # readers older than the key take it for the axis
        plain = {
            "format": self.format,
            "name": self.name,
            "version": self.version,
            "architecture": self.architecture,
            "licence": self.licence,
            "input": dataclasses.asdict(self.input),
            "outputs": outputs,
            "depth_mask_threshold": self.depth_mask_threshold,
            "preprocessing": dataclasses.asdict(self.preprocessing),
            "depth_scale": scale,
            "opset": self.opset,
            "files": {name: dataclasses.asdict(self.files[name]) for name in sorted(self.files)},
            "optional_files": sorted(self.optional_files),
            "accuracy": dict(self.accuracy),
            "training": dict(self.training),
        }
        import json

        try:
            return json.dumps(plain, indent=2, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            rule = "JSON values only, without NaN or infinity"
            raise ArtifactError.of("accuracy or training", str(error), rule, "Leave out what has no value.") from error


def _parse(text: str | bytes) -> Any:
    """Parse JSON strictly: UTF-8 without a byte order mark, no key twice, no NaN or infinity."""
    import json
    import math

    def object_from_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = repeated_keys(pairs)
        _require(not twice, "JSON", f"the keys {twice} twice", "each key once")
        return dict(pairs)

    def refuse_constant(name: str) -> None:
        _require(False, "JSON", name, "finite numbers")

    def finite_number(text: str) -> float:
        value = float(text)  # of 1e999 infinity
        _require(math.isfinite(value), "JSON", text, "finite numbers")
        return value

    try:
        if isinstance(text, bytes):
            text = text.decode()  # json.loads would take UTF-16 too
        return json.loads(text, object_pairs_hook=object_from_pairs, parse_constant=refuse_constant,
                          parse_float=finite_number)  # fmt: skip
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or a number of thousands of digits
        raise ArtifactError.of("JSON", str(error), "valid JSON text", _FIX) from error


def _checked_object(
    data: Any, where: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> Mapping[str, Any]:
    """Return data after checking that it is an object with the required keys and no unknown one."""
    _require(isinstance(data, Mapping), where, f"a {type(data).__name__}", "an object")
    missing = [key for key in required if key not in data]
    _require(not missing, where, f"no {', '.join(missing)}", f"the keys {', '.join(required)}")
    unknown = [str(key) for key in data if key not in required and key not in optional]
    known = ", ".join(required + optional)
    _require(not unknown, where, f"the unknown key {', '.join(unknown)}", f"only the keys {known}")
    return data


def _part_from_object(cls: type, data: Any, where: str) -> Any:
    """Build one of the small dataclasses, every field of which must be there."""
    names = tuple(entry.name for entry in dataclasses.fields(cls))
    return cls(**_checked_object(data, where, names))


def _spec_from_object(data: Any) -> ModelSpec:
    keys: tuple[str, ...] = (
        "format",
        "name",
        "version",
        "architecture",
        "licence",
        "input",
        "outputs",
        "depth_mask_threshold",
    )
    keys += ("preprocessing", "depth_scale", "opset", "files", "optional_files", "accuracy", "training")
    if isinstance(data, Mapping) and "format" in data:  # a newer file, or another kind: say that, not its keys
        _require(_is_int(data["format"], FORMAT) and data["format"] == FORMAT, "format", data["format"], str(FORMAT))
    if isinstance(data, Mapping) and "kind" in data:
        _require(False, "kind", data["kind"], "a model that estimates depth, which has no kind")
    top = dict(_checked_object(data, "spec", keys))
    outputs = _checked_object(top["outputs"], "outputs", ("depth",), ("mask", "validity"))
    kinds = (("depth", DepthOutput), ("mask", MaskOutput), ("validity", ValidityOutput))
    parts = {key: _part_from_object(kind, outputs[key], f"outputs.{key}") for key, kind in kinds if key in outputs}
    top["outputs"] = Outputs(**parts)
    top["input"] = _part_from_object(InputSpec, top["input"], "input")
    top["preprocessing"] = _part_from_object(Preprocessing, top["preprocessing"], "preprocessing")
    scale = _checked_object(top["depth_scale"], "depth_scale", ("half_range_mm",), ("along",))
    top["depth_scale"] = DepthScale(**scale)
    files = top["files"]
    _require(isinstance(files, Mapping), "files", f"a {type(files).__name__}", "an object")
    top["files"] = {name: _part_from_object(FileEntry, entry, f"files.{name}") for name, entry in files.items()}
    names = top["optional_files"]
    ok = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    _require(ok, "optional_files", names, "a list of file names")
    top["optional_files"] = tuple(names)
    for key in ("accuracy", "training"):
        _require(isinstance(top[key], Mapping), key, f"a {type(top[key]).__name__}", "an object")
    return ModelSpec(**top)
