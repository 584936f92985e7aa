# SPDX-License-Identifier: Apache-2.0
"""Boxes of a wrong size: the same heads, smaller or larger, with the same depth in mm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facedepth_edge.errors import ConfigError, InputError
from train.box_scale import main, measure_boxes, of_few_pixels, table_of
from train.data.batches import Augmentation, AugmentConfig, make_batch
from train.data.geometry_augment import fixed_boxes
from train.data.packed import PackedSet, open_packed_set
from train.predictors import Thresholds


@pytest.fixture(scope="module")
def data(crops_root: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    return open_packed_set(crops_root, tmp_path_factory.mktemp("packed"), processes=1, progress=False)


class Plane(nn.Module):
    """Say the same depth everywhere, and validity as a logit."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = logit

    def forward(self, face: Tensor) -> dict[str, Tensor]:
        return {"depth": torch.zeros_like(face), "validity": torch.full((len(face), 1), self.logit)}


def test_the_box_s_side_is_multiplied_and_nothing_else(data: PackedSet) -> None:
    indices = data.indices("test", faces_only=True)
    plain, same, wide = (
        make_batch(data, indices, placement=None if scale is None else fixed_boxes(len(indices), 144, 96, scale))
        for scale in (None, 1.0, 1.5)
    )
    torch.testing.assert_close(same.face, plain.face, atol=1e-4, rtol=0)  # a gray level is 0.008
    assert torch.equal(same.depth, plain.depth)
    heads = [int((batch.head & batch.valid).sum()) for batch in (plain, wide)]
    assert heads[1] == pytest.approx(heads[0] / 1.5**2, rel=0.1)
    assert wide.depth[wide.valid & wide.head].mean() == pytest.approx(
        float(plain.depth[plain.valid & plain.head].mean()), abs=0.02
    )


def test_a_plane_s_error_is_the_spread_of_the_depth(data: PackedSet) -> None:
    indices = data.indices("test", faces_only=True)
    head_mm, valid = measure_boxes(Plane(2.0), data, indices, Thresholds())
    batch = make_batch(data, indices)
    spreads = []
    for depth, where in zip(batch.depth[:, 0], (batch.valid & batch.head)[:, 0], strict=True):
        of_head = depth[where].double() * 160
        spreads.append(float((of_head - of_head.mean()).abs().mean()))
    assert head_mm == pytest.approx(np.mean(spreads), rel=1e-5)
    assert valid == 1
    assert measure_boxes(Plane(-2.0), data, indices, Thresholds())[1] == 0


def test_a_box_of_too_few_pixels_is_not_called_valid(data: PackedSet) -> None:
    """As the runtime, which refuses less than 24 whatever the network says."""
    indices = data.indices("test", faces_only=True)
    shares = [measure_boxes(Plane(2.0), data, indices, Thresholds(), pixels=side)[1] for side in (24, 23, 16)]
    assert shares == [1, 0, 0]


def test_the_command_prints_a_line_for_each_size(
    crops_root: Path, edge_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--model", str(edge_artifact), "--data", str(crops_root), "--cache-dir", str(tmp_path)]
    assert main([*asked, "--scales", "0.8", "1", "--count", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(", split test")
    assert [line.split("|")[1].strip() for line in lines[4:]] == ["0.8", "1"]
    assert [line.split("|")[2].strip() for line in lines[4:]] == ["125 %", "100 %"]
    assert main([*asked, "--scales", "1", "--rolls", "0", "90", "--count", "4"]) == 0
    upright, same, side = (line.split("|")[1:] for line in capsys.readouterr().out.splitlines()[4:])
    assert [row[0].strip() for row in (upright, same, side)] == [
        "1",
        "1, turned by 0 degrees",
        "1, turned by 90 degrees",
    ]
    assert upright[2:] == same[2:] != side[2:]
    assert main([*asked, "--scales", "2"]) == 2
    assert "--scales: got [2.0], expected 0.4 to 1.5 each" in capsys.readouterr().err


def test_a_set_of_depth_alone_is_refused(data: PackedSet) -> None:
    blind = replace(data, crops=replace(data.crops, pictures=False))
    with pytest.raises(InputError, match="got a set of depth alone, expected one with pictures"):
        table_of([Path("none")], blind, "test", 4, (1.0,))


def test_boxes_are_turned_in_the_image_plane(data: PackedSet) -> None:
    indices = data.indices("test", faces_only=True)
    upright = make_batch(data, indices)
    side, down = (make_batch(data, indices, placement=fixed_boxes(len(indices), 144, 96, 1, a)) for a in (90, 180))
    for name in ("face", "head", "valid"):
        one = getattr(upright, name)
        torch.testing.assert_close(getattr(side, name), one.rot90(1, (2, 3)), atol=1e-4, rtol=0)
        torch.testing.assert_close(getattr(down, name), one.rot90(2, (2, 3)), atol=1e-4, rtol=0)


def test_boxes_and_augmentation_exclude_each_other(data: PackedSet) -> None:
    with pytest.raises(ConfigError, match="make_batch: got augment and placement, expected one of them"):
        make_batch(
            data,
            np.arange(1),
            augmentation=Augmentation(AugmentConfig(), torch.Generator()),
            placement=fixed_boxes(1, 144, 96),
        )


def test_few_pixels_are_means_of_what_they_cover() -> None:
    """A step between two halves: even pixels keep it, one pixel is the mean of all."""
    faces = torch.full((2, 1, 96, 96), -0.5)
    faces[:, :, :, 48:] = 0.5
    torch.testing.assert_close(of_few_pixels(faces, 96), faces, atol=0.005, rtol=0)  # half a gray level is 0.004
    assert of_few_pixels(faces, 1).unique().numel() == 1
    assert float(of_few_pixels(faces, 1)[0, 0, 0, 0]) == pytest.approx(0.0, abs=0.005)
    few = of_few_pixels(faces, 8)[0, 0, 50]
    torch.testing.assert_close(few[:36], torch.full((36,), -0.5), atol=0.005, rtol=0)
    assert (few[43:53].diff() > 0).all()
    torch.testing.assert_close(few[60:], torch.full((36,), 0.5), atol=0.005, rtol=0)


def test_the_command_takes_numbers_of_pixels(
    crops_root: Path, edge_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--model", str(edge_artifact), "--data", str(crops_root), "--cache-dir", str(tmp_path), "--count", "4"]
    assert main([*asked, "--scales", "1", "--pixels", "96", "3"]) == 0
    whole, same, few = (line.split("|")[1:] for line in capsys.readouterr().out.splitlines()[4:])
    assert [row[0].strip() for row in (whole, same, few)] == ["1", "1, of 96 x 96 pixels", "1, of 3 x 3 pixels"]
    assert float(same[2]) == pytest.approx(float(whole[2]), abs=0.1)
    assert few[2] != whole[2]
    assert main([*asked, "--pixels", "0"]) == 2
