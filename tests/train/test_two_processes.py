# SPDX-License-Identifier: Apache-2.0
"""Two processes compute what one does: gradients of one step, and a whole run under the engine's own launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from train.checkpoint import load_checkpoint

REPO = Path(__file__).resolve().parents[2]
# Both phases, and equation (3) among the losses: whatever holds of this holds of the other tasks.
CGAN = (
    "network: {name: paper, encoder_widths: [4, 6], decoder_widths: [6, 4]}\n"
    "task: {name: cgan, lambda_mse: 0.01, discriminator: {widths: [4, 6]}}\n"
)


def write_config(path: Path, devices: int, batch_size: int) -> Path:
    path.write_text(
        CGAN + "data: {faces_only: true, processes: 1, validation_frames: 2}\naugment: {enabled: false}\n"
        f"loop: {{accelerator: cpu, precision: 32-true, devices: '{devices}', batch_size: {batch_size}, steps: 3, "
        "threads: 1}\n"
    )
    return path


def run(*command: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], cwd=REPO, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_gradients_of_two_processes_are_those_of_one(crops_root: Path, tmp_path: Path) -> None:
    saved = []
    for devices in (1, 2):
        config = write_config(tmp_path / f"{devices}.yaml", devices, 4 // devices)
        out = tmp_path / f"{devices}.pt"
        run("tests/train/two_processes.py", str(config), str(crops_root), str(out))
        saved.append(torch.load(out, weights_only=True))
    one, two = saved
    assert (one["world"], two["world"]) == (1, 2)
    assert two["frames"] == one["frames"][:2]  # each process has its own half of the samples
    assert one["gradients"].keys() == two["gradients"].keys()
    for name, gradient in one["gradients"].items():
        scale = gradient.abs().max()
        assert scale > 0, name
        assert (gradient - two["gradients"][name]).abs().max() <= 1e-5 * scale, name


@pytest.mark.slow
def test_a_run_of_two_processes_ends_in_one_checkpoint(crops_root: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "two.yaml", 2, 2)
    run("-m", "train", "--config", str(config), "--data", str(crops_root), "--out", str(tmp_path / "run"))
    state = load_checkpoint(tmp_path / "run" / "last.pt")
    assert (state["step"], state["samples"]) == (3, 12)
