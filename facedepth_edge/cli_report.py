# SPDX-License-Identifier: Apache-2.0
"""What the commands share: their common options, and the report that each prints at its end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from facedepth_edge.backends.base import BACKENDS, PRECISIONS
from facedepth_edge.errors import FaceDepthError

PROGRAM = "facedepth-edge"
BACKEND_NAMES = ("auto", *BACKENDS)

MODEL_HELP = "A bundled model's name or a model's folder."
BACKEND_HELP = (
    "What runs the network. auto: the first of those listed that works, tensorrt where build-engine has built its "
    "engine; doctor says which. One that is named is taken, or the command fails."
)
PRECISION_HELP = (
    "Of the network's numbers. auto: the first that the model has of int8, fp32, fp16 with ONNX Runtime on a CPU, of "
    "fp16, fp32 with ONNX Runtime on an NVIDIA GPU, of int8, fp16 with TensorRT; fp32 with torch."
)

_ARGS_KEY = "facedepth_edge.args"


class Cli(click.Group):
    """Keep the arguments as they were written, for the last log line."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        written = list(args)
        ctx = super().make_context(info_name, args, *rest, **extra)
        ctx.meta[_ARGS_KEY] = written
        return ctx


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON object.")(command)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --model, --backend and --precision."""
    precisions, backends = click.Choice(PRECISIONS), click.Choice(BACKEND_NAMES)
    for option in (
        click.option("--precision", type=precisions, default="auto", show_default=True, help=PRECISION_HELP),
        click.option("--backend", type=backends, default="auto", show_default=True, help=BACKEND_HELP),
        click.option("--model", default="edge", show_default=True, help=MODEL_HELP),
    ):
        command = option(command)
    return command


class Report:
    """What a command found: printed once at its end, as lines or as one JSON object."""

    def __init__(self, command: str) -> None:
        self.data: dict[str, Any] = {"command": command, "ok": True}
        self.lines: list[str] = []

    def fail(self, error: Exception, subject: str | None = None) -> dict[str, str]:
        """Log an error and remember that the command failed; returns the error as JSON has it."""
        self.data["ok"] = False
        name = "" if subject is None or subject in str(error) else f"{subject}: "
        click.echo(f"error: {name}{error}", err=True)
        return {"type": type(error).__name__, "message": str(error)}


@contextmanager
def reported(command: str, as_json: bool) -> Iterator[Report]:
    """Print the report on stdout, then PASS or FAIL with the command on stderr, and leave with its status."""
    report = Report(command)
    finished = False
    try:
        try:
            yield report
        except (FaceDepthError, OSError) as error:
            report.data["error"] = report.fail(error)
        try:
            if as_json:
                click.echo(json.dumps(report.data, indent=2, allow_nan=False))
            else:
                for line in report.lines:
                    click.echo(line)
        except BrokenPipeError:
            raise  # the reader has seen enough: click ends quietly
        except OSError as error:
            report.fail(error, "standard output")
        finished = report.data["ok"]
    finally:
        written = click.get_current_context().find_root().meta[_ARGS_KEY]
        click.echo(f"{'PASS' if finished else 'FAIL'} {shlex.join([PROGRAM, *written])}", err=True)
    if not finished:
        click.get_current_context().exit(1)
