# SPDX-License-Identifier: Apache-2.0
"""Run with real TensorRT bindings on the path: holds the names, calls and choices of our code to them.

Prints one JSON object: the version, how many names and calls were checked, and what does not hold.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.fake_gpu.tensorrt import SURFACE, FakeTensorRt

PACKAGE = Path(__file__).resolve().parents[2] / "facedepth_edge"
FILES = (PACKAGE / "engine.py", PACKAGE / "backends" / "tensorrt.py")
MODULE = "trt"
CLASSES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "cache": "ITimingCache",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
}
"""What our code calls an object -> the class it is of; every use of these names in FILES is checked."""
OURS = {"error": {"errno", "strerror"}}  # an exception of Python has the same name in places


def dotted(node: ast.expr) -> list[str]:
    """Return the parts of a.b.c, or nothing where it does not begin with a name."""
    if isinstance(node, ast.Name):
        return [node.id]
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else []
    return [*inner, node.attr] if inner and isinstance(node, ast.Attribute) else []


def real_name(parts: list[str]) -> str | None:
    """Return the name in the bindings that our a.b.c means, or None where it is none of theirs."""
    parts = parts[1:] if parts[:1] == ["self"] else parts
    if "loaded" in parts:  # loaded.engine.x, self.loaded.trt.x
        parts = parts[parts.index("loaded") + 1 :]
    if len(parts) < 2 or any(part.startswith("__") for part in parts):
        return None
    if parts[0] == MODULE:
        return ".".join(parts[1:])
    if parts[0] in CLASSES and parts[1] not in OURS.get(parts[0], ()):
        return ".".join([CLASSES[parts[0]], *parts[1:]])
    return None


def uses() -> tuple[set[str], list[tuple[str, int, tuple[str, ...]]]]:
    """Return the names that our code uses, and its calls: (name, positional arguments, keywords)."""
    names: set[str] = set()
    calls = []
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                name = real_name(dotted(node))
                if name is not None:
                    names.add(name)
            if isinstance(node, ast.Call):
                name = real_name(dotted(node.func))
                if name is not None and not any(isinstance(part, ast.Starred) for part in node.args):
                    keywords = tuple(keyword.arg for keyword in node.keywords if keyword.arg is not None)
                    calls.append((name, len(node.args), keywords))
    return names, calls


def signatures(function: Any) -> list[tuple[int, int, list[str]]]:
    """Return each overload of a bound C++ function: fewest and most arguments without self, and their names."""
    found = []
    for text in re.findall(r"\w+\((self: .*)\) ->", function.__doc__ or ""):
        depth, parts = 0, [""]
        for letter in text:
            depth += (letter in "[(<") - (letter in "])>")
            if letter == "," and depth == 0:
                parts.append("")
            else:
                parts[-1] += letter
        arguments = [part.strip() for part in parts[1:]]
        optional = sum("=" in argument for argument in arguments)
        found.append((len(arguments) - optional, len(arguments), [part.split(":")[0] for part in arguments]))
    return found


def look_up(trt: Any, name: str) -> Any:
    """Return a dotted name of the bindings."""
    found = trt
    for part in name.split("."):
        found = getattr(found, part)
    return found


def broken_uses(trt: Any) -> tuple[int, int, list[str]]:
    """Return how many names and calls were checked, and which do not hold."""
    names, calls = uses()
    surface = {f"{name}.{member}" for name, members in SURFACE.items() for member in members} | SURFACE.keys()
    problems = [f"{name} is not in the stand-in's SURFACE" for name in sorted(names - surface)]
    major = int(trt.__version__.split(".")[0])
    for name in sorted(names | surface):
        try:
            look_up(trt, name)
        except AttributeError:
            problems.append(f"{name} is not in TensorRT {major}")
    checked = 0
    for name, positional, keywords in calls:
        try:
            function = look_up(trt, name)
        except AttributeError:
            continue
        overloads = signatures(function.__init__ if isinstance(function, type) else function)
        if not overloads:
            continue
        checked += 1
        given = positional + len(keywords)
        if not any(low <= given <= high and set(keywords) <= set(args) for low, high, args in overloads):
            problems.append(f"{name} with {positional} arguments and {keywords}: TensorRT {major} has {overloads}")
    return len(names | surface), checked, problems


class Mixed:
    """The real module, with what needs a GPU replaced by the stand-in's."""

    def __init__(self, trt: Any) -> None:
        fake = FakeTensorRt(SimpleNamespace(), trt.__version__)  # type: ignore[arg-type]
        self._trt, self.fake = trt, fake
        self.Builder, self.OnnxParser = fake.Builder, fake.OnnxParser

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trt, name)


def main() -> None:
    """Check the bindings that are on the path."""
    from facedepth_edge.engine import _made, _progress_monitor, build_plan, check_version, logger_of
    from facedepth_edge.errors import BackendUnavailable

    trt = importlib.import_module("tensorrt_bindings")
    names, calls, problems = broken_uses(trt)
    lines: list[str] = []
    logger = logger_of(trt)
    logger.log(trt.ILogger.Severity.WARNING, "not kept")
    logger.log(trt.ILogger.Severity.ERROR, "kept")
    told = logger.told()
    monitor = _progress_monitor(trt, lines.append)
    monitor.phase_start("outer", None, 3)
    going_on = monitor.step_complete("outer", 0)
    monitor.phase_finish("outer")
    is_real = isinstance(monitor, trt.IProgressMonitor) and isinstance(logger, trt.ILogger)
    no_gpu = []
    for make in (trt.Builder, trt.Runtime):
        try:
            _made(lambda make=make: make(logger), make.__name__, logger)
        except BackendUnavailable as error:
            no_gpu.append(str(error))
    if "buffer protocol" not in (trt.IHostMemory.__doc__ or ""):
        problems.append("IHostMemory has no buffer protocol, so bytes() does not read it")
    mixed = Mixed(trt)
    input_spec = SimpleNamespace(name="face", channels=1)
    artifact: Any = SimpleNamespace(spec=SimpleNamespace(input=input_spec, input_hw=(96, 96)))
    plan, _ = build_plan(mixed, b"model", "model.onnx", artifact, 1024, b"", lines.append)
    print(
        json.dumps({
            "version": trt.__version__, "known": check_version(trt.__version__), "names": names, "calls": calls,
            "problems": problems, "told": told, "real": is_real, "going_on": going_on, "lines": lines,
            "no_gpu": no_gpu, "flags": mixed.fake.networks, "plan": plan[:4].decode(),
            "dims": list(trt.Dims((-1, 1, 96, 96))), "python": sys.version.split()[0],
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
