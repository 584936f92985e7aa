# SPDX-License-Identifier: Apache-2.0
"""The command line `facedepth-edge`: results on stdout, logs on stderr, exit 0 ok, 1 failed, 2 usage."""

from __future__ import annotations

from pathlib import Path

import click

from facedepth_edge import __version__
from facedepth_edge.artifacts import list_models, open_artifact
from facedepth_edge.cli_bench import bench
from facedepth_edge.cli_device import build_engine, doctor, verify
from facedepth_edge.cli_predict import predict
from facedepth_edge.cli_report import PROGRAM, Cli, json_option, model_options, reported
from facedepth_edge.cli_result import json_from_result, words_from_result
from facedepth_edge.cli_types import OutFile
from facedepth_edge.errors import ArtifactError


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name=PROGRAM)
def main() -> None:
    """Face depth in millimetres from one camera frame and a head centre."""


@main.command()
@click.option("--out", type=OutFile((".png", ".jpg")), default=f"{PROGRAM}-demo.png", show_default=True,
              help="The picture to write, .png or .jpg.")  # fmt: skip
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True,
              help="Predictions to time, of which the median is told.")  # fmt: skip
@model_options
@json_option
def demo(out: Path, runs: int, model: str, backend: str, precision: str, as_json: bool) -> None:
    """Measure the rendered face of this package."""
    with reported("demo", as_json) as report:
        from facedepth_edge.demo import run_demo

        found = run_demo(out, model=model, backend=backend, precision=precision, runs=runs)
        info, picture = found.info, found.picture.resolve()
        report.data |= {
            "model": info,
            "picture": str(picture),
            **json_from_result(found.result),
            "latency_ms": {"p50": round(found.latency_p50_ms, 4), "runs": found.runs},
        }
        height, width = found.result.frame_hw
        report.lines += [
            f"frame    rendered, {width} x {height}; nobody's likeness",
            f"model    {info['model']} {info['version']}, {info['precision']}, {info['backend']} ({info['provider']})",
            f"face     {words_from_result(found.result)}",
            f"predict  {found.latency_p50_ms:.2f} ms from frame to result, median of {found.runs}",
            f"picture  {picture}",
        ]


@main.command()
@json_option
def models(as_json: bool) -> None:
    """List the bundled models and check their hashes."""
    with reported("models", as_json) as report:
        report.data["models"] = []
        for name in list_models():
            artifact = open_artifact(name)
            spec = artifact.spec
            present = [file for file in spec.files if artifact.has(file) or file not in spec.optional_files]
            sizes = {file: len(artifact.read(file)) for file in sorted(present)}
            report.data["models"].append({
                "name": spec.name, "version": spec.version, "architecture": spec.architecture, "licence": spec.licence,
                "folder": str(artifact.folder), "input_hw": list(spec.input_hw), "outputs": list(spec.outputs.names),
                "files": sizes, "accuracy": dict(spec.accuracy), "training": dict(spec.training),
            })  # fmt: skip
            height, width = spec.input_hw
            files = ", ".join(f"{file} {size / 1e6:.2f} MB" for file, size in sizes.items())
            outputs = ", ".join(spec.outputs.names)
            report.lines += [
                f"{spec.name} {spec.version}  {width} x {height} -> {outputs}  {spec.licence}",
                f"    {files}",
                f"    {artifact.folder}",
            ]
        if not report.data["models"]:
            raise ArtifactError.of("models", "none", "at least the bundled model edge", "Install facedepth-edge again.")


for command in (predict, bench, verify, doctor, build_engine):
    main.add_command(command)
