# SPDX-License-Identifier: Apache-2.0
"""What all commands have in common: the end of a run, wrong settings, counts on the command line, figures as JSON.

Results go to stdout; the last line on stderr is PASS or FAIL with the command, so that a log says what was run. Where
the reader of stdout has gone (`| head`), a command ends with FAIL and status 1 and no traceback, as the runtime's CLI.
"""

from __future__ import annotations

import argparse
import json
import os
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
    passed = _print_result(outcome.text) and outcome.passed
    print(f"{'PASS' if passed else 'FAIL'} {command}", file=sys.stderr)
    return 0 if passed else 1


def _print_result(text: str) -> bool:
    """Print a result on stdout; returns False where nobody reads it any more."""
    try:
        if text:
            print(text)
        sys.stdout.flush()
    except BrokenPipeError:
        with open(os.devnull, "wb") as nowhere:  # the interpreter flushes once more at its end
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return False
    return True


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


def require_writable(path: Path | None, option: str = "--json") -> None:
    """Make sure, before a long run, that a result's file can be written where it is asked for; changes no file.

    Raises:
        InputError: It cannot; the text names the option.
    """
    if path is None:
        return
    rule, fix = "a file that can be written", "Give another path."
    if path.is_dir():
        raise InputError.of(option, f"the folder {path}", rule, fix)
    if not path.parent.is_dir():
        raise InputError.of(option, f"{path}, whose folder does not exist", rule, fix)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError.of(option, f"{path}, which may not be written", rule, fix)


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
