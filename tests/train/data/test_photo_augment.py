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


def edge_pictures(count: int) -> Tensor:
    """Pictures (count, 1, SIZE, SIZE) that are dark on the left and light on the right."""
    picture = torch.full((count, 1, SIZE, SIZE), 0.35)
    picture[..., SIZE // 2 :] = 0.65
    return picture


def changed(picture: Tensor, seed: int = 0, **settings: Any) -> Tensor:
    return change_photo(picture, PhotoAugment(**OFF, **settings), torch.Generator().manual_seed(seed))


def rounded(picture: Tensor) -> Tensor:
    return torch.round(picture * 255) / 255


@pytest.mark.parametrize("name", ["patches", "sharpen", "local_contrast"])
def test_a_share_of_the_samples_is_changed(name: str) -> None:
    pictures = edge_pictures(400)
    assert torch.equal(changed(pictures), rounded(pictures))
    differs = (changed(pictures, **{name: 0.3}) - rounded(pictures)).abs().amax(dim=(1, 2, 3)) > 0
    assert 0.2 < differs.float().mean() < 0.4


def test_what_is_off_draws_nothing() -> None:
    pictures = edge_pictures(8)
    on = PhotoAugment(patches=0.0, sharpen=0.0, local_contrast=0.0, patches_strength=0.9, sharpen_strength=3.0)
    one, other = (change_photo(pictures, s, torch.Generator().manual_seed(4)) for s in (PhotoAugment(), on))
    assert torch.equal(one, other)  # trainings of before begin with the same samples


def test_sharpening_leaves_halos_along_the_edge_alone() -> None:
    out = changed(edge_pictures(64), sharpen=1.0, sharpen_strength=1.6)
    rows = out[:, 0, SIZE // 2]
    dark_side, light_side = rows[:, SIZE // 2 - 1], rows[:, SIZE // 2]
    assert (dark_side <= 0.35 + 0.003).all()
    assert (light_side >= 0.65 - 0.003).all()
    assert dark_side.min() < 0.2  # the strongest
    assert torch.allclose(dark_side + light_side, torch.ones(64), atol=0.01)
    far = torch.cat([rows[:, : SIZE // 2 - 4], rows[:, SIZE // 2 + 4 :]], dim=1)
    assert torch.allclose(
        far, rounded(edge_pictures(64))[:, 0, 0, : far.shape[1]].where(far < 0.5, torch.tensor(166 / 255))
    )


def test_local_contrast_evens_the_light_and_keeps_the_mean() -> None:
    ramp = torch.linspace(0.2, 0.8, SIZE).expand(64, 1, SIZE, SIZE)
    out = changed(ramp, local_contrast=1.0)
    span = out[:, 0, :, -3:].mean(dim=(1, 2)) - out[:, 0, :, :3].mean(dim=(1, 2))
    assert (span < 0.6).all()
    assert span.min() < 0.4
    assert torch.allclose(out.mean(dim=(1, 2, 3)), ramp.mean(dim=(1, 2, 3)), atol=0.01)
    fine = 0.5 + 0.1 * (torch.arange(SIZE) % 2 * 2 - 1).float().expand(64, 1, SIZE, SIZE)
    raised = changed(fine, local_contrast=1.0).std(dim=(1, 2, 3)) / fine.std(dim=(1, 2, 3))
    assert raised.min() > 0.99
    assert raised.max() > 1.5


def test_patches_of_light_are_smooth_and_as_often_brighter_as_darker() -> None:
    flat = torch.full((256, 1, SIZE, SIZE), 0.4)
    out = changed(flat, patches=1.0, patches_strength=0.35)
    logs = torch.log(out / 0.4)
    assert abs(float(logs.mean())) < 0.03
    assert 0.08 < float(logs.std()) < 0.3
    step = (logs[..., 1:] - logs[..., :-1]).abs()
    assert float(step.mean()) < 0.15 * float(logs.std())
    assert (
        float((logs.mean(dim=(2, 3)).squeeze() - logs[:, 0, 0, 0]).abs().mean()) > 0.03
    )  # it wanders over the picture


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
