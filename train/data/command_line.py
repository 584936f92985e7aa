# SPDX-License-Identifier: Apache-2.0
"""The arguments by which commands open a data set, and the opening."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml

from facedepth_edge.errors import ConfigError, InputError
from train.config_reader import dataclass_from_mapping
from train.data.packed import PackedSet, open_packed_set
from train.data.reader_config import ReaderConfig


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --cache-dir and --set to a command that reads a data set."""
    parser.add_argument("--cache-dir", type=Path, help="where packed data sets lie (default: in the set's folder)")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
                        help="a setting of train.data.reader_config for raw Pandora and Biwi, e.g. --set "
                        "distance=median; repeatable; the same as data.reader in the training's config")  # fmt: skip


def open_set(root: Path, args: argparse.Namespace, processes: int = 2) -> PackedSet:
    """Open a data set as the arguments of `add_reading_arguments` say.

    Args:
        root: The set's folder, of any layout.
        args: The parsed command line.
        processes: Processes that decode images when the set is packed.

    Raises:
        ConfigError: A setting is unknown or wrong.
        InputError: The set breaks a rule.
    """
    return open_packed_set(root, args.cache_dir, processes, reader=reader_from_settings(args.settings))


def open_sets(folders: Sequence[Path], args: argparse.Namespace) -> dict[str, PackedSet]:
    """Open data sets as `open_set` does, by their folders' names.

    Raises:
        InputError: Two folders have one name.
    """
    sets: dict[str, PackedSet] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in sets:
            fix = "Reports call a set by its folder: rename one."
            raise InputError.of(str(folder), f"a second set of the name {name}", "another name for each", fix)
        sets[name] = open_set(folder, args)
    return sets


def reader_from_settings(settings: list[str]) -> ReaderConfig:
    """Build the reader's settings from texts `key=value`, the values in YAML.

    Raises:
        ConfigError: A text has no `=`, an unknown key or a wrong value.
    """
    values = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise ConfigError.of("--set", setting, "key=value", "For example --set distance=median.")
        try:
            values[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError.of("--set", setting, "a value that YAML can read", "Quote it.") from error
    return dataclass_from_mapping(ReaderConfig, values, "data.reader")
