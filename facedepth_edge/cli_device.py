# SPDX-License-Identifier: Apache-2.0
"""The commands that a person runs on the device: verify, doctor, build-engine."""

from __future__ import annotations

import dataclasses

import click

from facedepth_edge.artifacts import open_artifact
from facedepth_edge.backends.base import choose_backend, open_backend
from facedepth_edge.cli_report import MODEL_HELP, json_option, model_options, reported
from facedepth_edge.engine_cache import MAX_WORKSPACE_MIB, MIN_WORKSPACE_MIB


@click.command()
@click.option("--live", is_flag=True, help="Also ask PyTorch itself on mirrored faces; needs torch and reference.pt2.")
@model_options
@json_option
def verify(live: bool, model: str, backend: str, precision: str, as_json: bool) -> None:
    """Run the model's golden faces through a backend and compare with PyTorch's stored answers.

    With a backend in a GPU's memory a whole frame is run too, and compared with the CPU's crop on the same network.
    """
    with reported("verify", as_json) as report:
        from facedepth_edge.verify import LIMITS, check_golden_faces, check_live, table_of
        from facedepth_edge.verify_frame import check_device_path

        artifact = open_artifact(model)
        opened = choose_backend(artifact, precision, None) if backend == "auto" else open_backend(
            backend, artifact, precision, None
        )  # fmt: skip
        checks = check_golden_faces(artifact, opened) + (check_live(artifact, opened) if live else [])
        frame = check_device_path(artifact, opened)
        limits = LIMITS[opened.precision]
        report.data |= {
            "model": artifact.spec.name, "version": artifact.spec.version, "backend": opened.name,
            "provider": opened.provider, "precision": opened.precision, "memory": opened.memory,
            "why_not": list(opened.notes), "limits": dataclasses.asdict(limits),
            "faces": [check.as_json() for check in checks],
            "frame": None if frame is None else frame.as_json(),
        }  # fmt: skip
        opened.close()
        report.lines += [
            f"{artifact.spec.name} {artifact.spec.version}, {opened.precision}, {opened.name} ({opened.provider})",
            *table_of(checks),
            f"limits: mean {limits.mean_mm:g} mm, mask IoU {limits.mask_iou:g}, validity {limits.validity:g}",
            *([] if frame is None else frame.lines()),
        ]
        report.data["ok"] = all(check.ok for check in checks) and (frame is None or frame.ok)


@click.command()
@click.option("--model", default="edge", show_default=True, help=f"What the backends are tried with. {MODEL_HELP}")
@json_option
def doctor(model: str, as_json: bool) -> None:
    """Say what is installed, what works, and how to mend what does not."""
    with reported("doctor", as_json) as report:
        from facedepth_edge.doctor import diagnose

        found = diagnose(model)
        report.data |= {
            "findings": [dataclasses.asdict(finding) for finding in found.findings],
            "backends": found.backends,
            "auto": found.auto,
            "ok": found.ok,
        }
        report.lines += found.lines()


@click.command("build-engine")
@click.option("--model", default="edge", show_default=True, help=MODEL_HELP)
@click.option("--precision", type=click.Choice(("auto", "fp16", "int8")), default="auto", show_default=True,
              help="Of the engine. auto: int8 where the model has it, else fp16.")  # fmt: skip
@click.option("--workspace-mib", type=click.IntRange(MIN_WORKSPACE_MIB, MAX_WORKSPACE_MIB),
              help="Most scratch memory of a layer, in MiB; lower it where memory is short.  "
              "[default: as in the last build of this model's file, else 1024]")  # fmt: skip
@click.option("--force", is_flag=True, help="Build even if the cache has it.")
@json_option
def build_engine(model: str, precision: str, workspace_mib: int | None, force: bool, as_json: bool) -> None:
    """Build the TensorRT engine of a model on this device, and keep it in the cache."""
    with reported("build-engine", as_json) as report:
        from facedepth_edge.backends.tensorrt import TensorRtBackend
        from facedepth_edge.cuda_kernels import CROP_SOURCE, compiled_kernel

        artifact = open_artifact(model)
        opened = TensorRtBackend.open(artifact, precision, None, workspace_mib=workspace_mib, force=force)
        compiled_kernel(CROP_SOURCE, opened.session.gpu.architecture)
        plan, built = opened.loaded.files.plan, opened.loaded.built
        report.data |= {"model": artifact.spec.name, "precision": opened.precision, "plan": str(plan), "built": built}
        report.lines.append(f"{plan}: {f'built, because {built}' if built else 'was there and fits'}")
        opened.close()
