# SPDX-License-Identifier: Apache-2.0
"""What cameras do to pictures: each change by itself, in its share of the samples, and nothing where it is off."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from facedepth_edge.errors import ConfigError
from train.data.photo_augment import PhotoAugment, change_photo

OFF: dict[str, Any] = dict.fromkeys(
    ("shading", "vignette", "gain_share", "gamma_share", "contrast_share", "low_light", "noise_share", "blur"), 0.0
) | {"low_resolution": 0.0}
SIZE = 48
LEVEL = 1 / 255


def edges(count: int) -> Tensor:
    """Pictures (count, 1, SIZE, SIZE) that are dark on the left and light on the right, each of its own darkness."""
    dark = torch.linspace(0.3, 0.45, count).reshape(-1, 1, 1, 1)
    right = torch.arange(SIZE) >= SIZE // 2
    return torch.where(right, dark + 0.2, dark).expand(count, 1, SIZE, SIZE).clone()


def changed(picture: Tensor, seed: int = 0, **settings: Any) -> Tensor:
    return change_photo(picture, PhotoAugment(**OFF, **settings), torch.Generator().manual_seed(seed))


def rounded(picture: Tensor) -> Tensor:
    return torch.round(picture * 255) / 255


@pytest.mark.parametrize("name", ["patches", "sharpen", "local_contrast"])
def test_a_share_of_the_samples_is_changed_and_the_others_are_their_own(name: str) -> None:
    pictures = edges(400)
    assert torch.equal(changed(pictures), rounded(pictures))
    out = changed(pictures, **{name: 0.3})
    differs = (out - rounded(pictures)).abs().amax(dim=(1, 2, 3)) > 0
    assert 0.2 < differs.float().mean() < 0.4
    # Nobody got another's picture: the neighbours' means are 0.0004 apart, and patches alone change a mean by much.
    if name != "patches":
        assert (out - pictures).mean(dim=(1, 2, 3)).abs().max() < 0.01


def test_what_is_off_draws_nothing() -> None:
    pictures = edges(8)
    drawn = []
    for shares in ((0.0, 0.0, 0.0), (1e-9, 0.0, 0.0), (0.0, 1e-9, 0.0), (0.0, 0.0, 1e-9)):
        generator = torch.Generator().manual_seed(4)
        names = dict(zip(("patches", "sharpen", "local_contrast"), shares, strict=True))
        change_photo(pictures, PhotoAugment(**names), generator)
        drawn.append(generator.get_state())
    assert not any(torch.equal(drawn[0], other) for other in drawn[1:])  # one that is on draws who is chosen


def test_sharpening_leaves_halos_along_the_edge_alone() -> None:
    pictures = edges(64)
    out = changed(pictures, sharpen=1.0, sharpen_strength=1.6)
    rows, before = out[:, 0, SIZE // 2], pictures[:, 0, SIZE // 2]
    dark_side, light_side = (rows - before)[:, SIZE // 2 - 1], (rows - before)[:, SIZE // 2]
    assert (dark_side <= LEVEL).all()
    assert torch.allclose(dark_side, -light_side, atol=1.01 * LEVEL)
    assert -0.17 < dark_side.min() < -0.08  # 1.6 times somewhat less than half of the edge's height
    assert dark_side.std() > 0.02  # each sample has its own amount
    assert changed(pictures, sharpen=1.0, sharpen_strength=0.2).sub(pictures).abs().max() < 0.03
    away = (rows - rounded(before)).abs()
    assert away[:, : SIZE // 2 - 4].max() <= 1.01 * LEVEL
    assert away[:, SIZE // 2 + 4 :].max() <= 1.01 * LEVEL


def test_local_contrast_evens_the_light_and_keeps_each_mean() -> None:
    level = torch.linspace(0.25, 0.6, 64).reshape(-1, 1, 1, 1)
    ramp = (level + torch.linspace(-0.2, 0.2, SIZE)).expand(64, 1, SIZE, SIZE)
    out = changed(ramp, local_contrast=1.0)
    span = (out[..., -3:].mean(dim=(1, 2, 3)) - out[..., :3].mean(dim=(1, 2, 3))) / 0.4
    assert (span < 1.0).all()
    assert 0.45 < span.min() < 0.65  # evened by half at most
    assert torch.allclose(out.mean(dim=(1, 2, 3)), level.flatten(), atol=0.005)


def test_local_contrast_raises_what_is_fine() -> None:
    fine = (0.5 + 0.1 * (torch.arange(SIZE) % 2 * 2 - 1).float()).expand(64, 1, SIZE, SIZE)
    for strength in (0.2, 0.8):
        rise = changed(fine, local_contrast=1.0, local_contrast_strength=strength).std(dim=(1, 2, 3)) / fine.std()
        assert rise.min() > 0.95
        assert 1 + 0.7 * strength < rise.max() < 1.02 + 1.1 * strength


def test_patches_are_smooth_and_as_often_brighter_as_darker() -> None:
    flat = torch.full((256, 1, SIZE, SIZE), 0.4)
    logs = [torch.log(changed(flat, seed, patches=1.0, patches_strength=0.35) / 0.4) for seed in range(6)]
    assert abs(float(torch.cat(logs).mean())) < 0.02
    for one in logs:
        assert 0.08 < float(one.std()) < 0.3
        assert float((one - one.mean(dim=(2, 3), keepdim=True)).std()) > 0.05  # it differs over a picture
    steps = [float((one[..., 1:] - one[..., :-1]).abs().mean() / one.std()) for one in logs]
    assert max(steps) < 0.2
    assert max(steps) > 1.5 * min(steps)  # of another scale in each batch


@pytest.mark.parametrize(
    "change",
    [
        {"patches": 1.2},
        {"sharpen": -0.1},
        {"local_contrast": 2.0},
        {"sharpen_strength": 5.0},
        {"patches_strength": 1.5},
    ],
)
def test_senseless_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        PhotoAugment(**change)
