# SPDX-License-Identifier: Apache-2.0
"""The committed measurement of the rendered set, whose report is the committed one and complete, and the weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from train.paper_metrics import PIXEL_METRICS
from train.report.command import COMMITTED_MODELS, ROOT, main
from train.report.measurement import SYSTEMS
from train.start import at_full_width
from train.weights import network_from_weights


def test_one_command_prints_the_committed_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures, document = tmp_path / "figures.json", tmp_path / "reproduction.md"
    assert main(["--data", "synthetic", "--json", str(figures), "--out", str(document)]) == 0
    assert document.read_text(encoding="utf-8") == (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
    drawn = {path.name for path in (tmp_path / "reproduction").iterdir()}
    assert drawn == {path.name for path in (ROOT / "docs" / "reproduction").glob("*.png")}
    printed = capsys.readouterr().out
    assert "None of our figures is a figure on Pandora or Biwi." in printed
    plain = json.loads(figures.read_text())
    for region in ("all", "head"):
        for metric in PIXEL_METRICS:
            row = plain["table_1"][region][metric]
            assert set(row) == set(SYSTEMS)
            assert all(0 <= row[system]["value"] < 1e5 for system in SYSTEMS), (region, metric)
    assert all(0.4 < plain["table_1"]["verification"][system]["value"] <= 1 for system in SYSTEMS)
    assert len(plain["table_2"]) == 9
    for cell in plain["table_2"].values():
        assert all(0 <= cell[kind]["value"] <= 1 for kind in ("original", "generated"))
    assert plain["order"]["why"]


@pytest.mark.parametrize("name", [*SYSTEMS, "siamese"])
def test_the_committed_weights_are_what_they_say(name: str) -> None:
    trained = network_from_weights(COMMITTED_MODELS / f"{name}.safetensors")
    assert trained.architecture == {"autoencoder": "paper"}.get(name, name)
    assert trained.data["train_subjects"] >= 100
    assert trained.samples > 0
    assert "changes" not in trained.commit
    wide = at_full_width(trained)
    widths = {"paper": ("encoder_widths", (128, 256, 512, 1024)), "siamese": ("widths", (64, 128, 256, 256, 256))}
    if name in widths:
        option, expected = widths[name]
        assert getattr(wide.network.config, option) == expected
    faces = torch.linspace(-1, 1, 96 * 96).reshape(1, 1, 96, 96)
    inputs = (faces, -faces) if name == "siamese" else (faces,)
    for key, value in trained.network(*inputs).items():
        torch.testing.assert_close(wide.network(*inputs)[key], value, rtol=0, atol=1e-4)
