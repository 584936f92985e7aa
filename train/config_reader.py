# SPDX-License-Identifier: Apache-2.0
"""Reads frozen dataclasses from YAML and from `key=value` settings, strictly, and writes them back as plain values."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from facedepth_edge.errors import ConfigError

T = TypeVar("T")


def nearest_names(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names what `name` may have meant, out of `known`."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names) or 'none'}."


def dataclass_from_mapping(cls: type[T], data: Any, where: str = "config") -> T:
    """Build a dataclass from plain values.

    A field whose class has `from_mapping(data, where)` is built by it; dataclass fields are read alike, one level down.

    Args:
        cls: The dataclass.
        data: A mapping with some or all of its fields.
        where: Dotted name of this place, for errors.

    Returns:
        The instance, with defaults where `data` is silent.

    Raises:
        ConfigError: An unknown key (near keys are named), a missing one, or a value of another type.
    """
    if not isinstance(data, Mapping):
        raise ConfigError.of(where, data, "a mapping of settings", "Write `key: value` lines.")
    hints = typing.get_type_hints(cls)
    known = {entry.name: entry for entry in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            rule = f"one of {', '.join(known) or 'no settings at all'}"
            raise ConfigError.of(where, f"the unknown key {key!r}", rule, nearest_names(str(key), known))
    missing = [
        name
        for name, entry in known.items()
        if name not in data and entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError.of(where, f"no {', '.join(missing)}", "these keys", "Add them.")
    values = {key: _value_from(hints[key], value, f"{where}.{key}") for key, value in data.items()}
    return cls(**values)


def _value_from(kind: Any, value: Any, where: str) -> Any:
    if hasattr(kind, "from_mapping"):
        if not isinstance(value, Mapping):
            raise ConfigError.of(where, value, "a mapping of settings", "Write `key: value` lines.")
        return kind.from_mapping(value, where)
    if dataclasses.is_dataclass(kind):
        return dataclass_from_mapping(typing.cast(type, kind), value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        inner = [argument for argument in arguments if argument is not type(None)]
        return _value_from(inner[0], value, where)
    if origin is tuple:
        return _tuple_from(arguments, value, where)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(value)
        except ValueError:
            pass
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise ConfigError.of(where, value, f"{kind.__name__}", "Correct the value.")


def _tuple_from(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    open_ended = len(arguments) == 2 and arguments[1] is Ellipsis
    if not isinstance(value, (list, tuple)) or (not open_ended and len(value) != len(arguments)):
        size = "any number of" if open_ended else str(len(arguments))
        raise ConfigError.of(where, value, f"a list of {size} values", "Write them as [a, b, ...].")
    kinds = [arguments[0]] * len(value) if open_ended else arguments
    return tuple(
        _value_from(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def plain_from_dataclass(config: Any) -> Any:
    """Return a dataclass as mappings, lists and plain values that YAML and JSON can hold.

    `dataclass_from_mapping` reads the result back. A `Choice` becomes its settings with `name` beside them.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        plain = {entry.name: plain_from_dataclass(getattr(config, entry.name)) for entry in dataclasses.fields(config)}
        options = plain.pop("options", None)
        return {**plain, **options} if options is not None else plain
    if isinstance(config, (list, tuple)):
        return [plain_from_dataclass(item) for item in config]
    return config


def mapping_from_yaml(path: str | Path, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML file and apply `a.b=value` settings on top.

    Args:
        path: The YAML file.
        settings: Texts `dotted.key=value`; the value is read as YAML.

    Returns:
        The merged mapping, not yet checked against a dataclass.

    Raises:
        ConfigError: The file is missing or no YAML mapping, or a setting has no `=`.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError.of(str(path), str(error), "a readable YAML file", "Correct the path or the file.") from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError.of(
            str(path), f"a {type(data).__name__}", "a mapping of settings", "Write `key: value` lines."
        )
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator or not key.strip():
            raise ConfigError.of("--set", setting, "dotted.key=value", "For example --set loop.batch_size=32.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError.of("--set", setting, "a value that YAML can read", "Quote it.") from error
        place = data
        *parents, last = key.strip().split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError.of("--set", setting, f"{parent} to be a group of settings", "Correct the key.")
        place[last] = value
    return data
