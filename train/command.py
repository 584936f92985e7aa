# SPDX-License-Identifier: Apache-2.0
"""What all commands have in common: the end of a run, wrong settings, counts on the command line, figures as JSON.

Results go to stdout; the last line on stderr is PASS or FAIL with the command, so that a log says what was run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from facedepth_edge.errors import ConfigError, FaceDepthError, InputError


class WrongSettings(ConfigError):
    """Settings that cannot be used: the command ends with status 2, before any work."""


class Outcome(NamedTuple):
    """What a command found.

    Attributes:
        text: For stdout; empty prints nothing.
        passed: False where the command itself worked and what it measured is not good enough.
    """

    text: str
    passed: bool = True


def run_command(program: str, arguments: list[str] | None, work: Callable[[], Outcome]) -> int:
    """Do a command's work and say how it ended.

    Args:
        program: As the user calls it, for example "python -m train.evaluate".
        arguments: Those of the command line; None for the process's own.
        work: The work.

    Returns:
        Exit status: 0 done and passed, 1 failed, 2 wrong settings.
    """
    command = " ".join([program, *(sys.argv[1:] if arguments is None else arguments)])
    try:
        outcome = work()
    except (FaceDepthError, OSError) as error:
        print(error, file=sys.stderr)
        print(f"FAIL {command}", file=sys.stderr)
        return 2 if isinstance(error, WrongSettings) else 1
    if outcome.text:
        print(outcome.text)
    print(f"{'PASS' if outcome.passed else 'FAIL'} {command}", file=sys.stderr)
    return 0 if outcome.passed else 1


@contextmanager
def reading_settings() -> Iterator[None]:
    """Turn a setting's error into one that ends the command with status 2.

    Raises:
        WrongSettings: In place of a ConfigError.
    """
    try:
        yield
    except ConfigError as error:
        raise WrongSettings(str(error)) from error


def require_counts(args: argparse.Namespace, *names: str) -> None:
    """Make sure that counts of a command line are 1 or more, where they are given.

    Raises:
        InputError: One is not; the text names the option.
    """
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError.of(f"--{name.replace('_', '-')}", value, ">= 1", "Leave it out for the default.")


def write_text(path: Path, text: str, option: str) -> None:
    """Write a result's file.

    Raises:
        InputError: That failed; the text names the option.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError.of(option, str(error), "a file that can be written", "Give another path.") from error


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write figures as JSON where `--json` was given; NaN is a mistake, not a value.

    Raises:
        InputError: The file cannot be written.
    """
    if path is not None:
        write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n", "--json")
