# SPDX-License-Identifier: Apache-2.0
"""Every loss against a float64 NumPy oracle written pixel by pixel, on masks with holes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from train import losses

B, H, W = 3, 20, 24


@pytest.fixture
def case() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(8)
    y, x = np.mgrid[0:H, 0:W]
    head = np.stack([((y - 10) / 9) ** 2 + ((x - 12) / r) ** 2 < 1 for r in (9, 7, 11)])[:, None]
    return {
        "depth": rng.uniform(-1, 1, (B, 1, H, W)),
        "target": rng.uniform(-1, 1, (B, 1, H, W)),
        "valid": rng.random((B, 1, H, W)) > 0.2,
        "head": head,
        "seen": rng.random((B, 1, H, W)) > 0.1,
        "logits": rng.normal(0, 2, (B, 1, H, W)),
    }


def tensors(case: dict[str, np.ndarray], *names: str) -> list[torch.Tensor]:
    return [torch.from_numpy(case[name]) for name in names]


def bce(logit: float, target: float) -> float:
    probability = 1 / (1 + np.exp(-logit))
    return -(target * np.log(probability) + (1 - target) * np.log(1 - probability))


@pytest.mark.parametrize("real", [True, False])
def test_equation_2(real: bool) -> None:
    logits = np.array([[-1.5], [0.25], [3.0]])
    expected = np.mean([bce(value, float(real)) for value in logits[:, 0]])
    assert float(losses.adversarial_bce(torch.from_numpy(logits), real)) == pytest.approx(expected, rel=1e-12)


def test_equation_3(case: dict[str, np.ndarray]) -> None:
    expected = 0.0
    for b in range(B):
        for p in np.argwhere(case["valid"][b, 0]):
            expected += (case["depth"][b, 0][tuple(p)] - case["target"][b, 0][tuple(p)]) ** 2 / B
    got = losses.mse(*tensors(case, "depth", "target", "valid"))
    assert float(got) == pytest.approx(expected, rel=1e-12)


def test_equation_5() -> None:
    assert float(losses.generator_objective(torch.tensor(3.0), torch.tensor(0.5), 10.0)) == 30.5


def test_offset_free(case: dict[str, np.ndarray]) -> None:
    expected = []
    for b in range(B):
        where = case["valid"][b, 0] & case["head"][b, 0]
        assert where.sum() >= losses.MIN_HEAD_PIXELS
        error = 160 * (case["depth"][b, 0][where] - case["target"][b, 0][where])
        expected.append(np.abs(error - error.mean()).mean())
    got = losses.offset_free_mm(*tensors(case, "depth", "target", "valid", "head"))
    assert float(got) == pytest.approx(np.mean(expected), rel=1e-12)


def test_offset_free_ignores_an_offset_and_small_heads(case: dict[str, np.ndarray]) -> None:
    depth, target, valid, head = tensors(case, "depth", "target", "valid", "head")
    base = float(losses.offset_free_mm(depth, target, valid, head))
    offset = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)[:, None, None, None]
    assert float(losses.offset_free_mm(depth + offset, target, valid, head)) == pytest.approx(base, rel=1e-12)
    head[1:] = False
    head[1, 0, 3, :5] = True  # too few pixels to count
    alone = losses.offset_free_mm(depth[:1], target[:1], valid[:1], head[:1])
    assert float(losses.offset_free_mm(depth, target, valid, head)) == pytest.approx(float(alone), rel=1e-12)


def test_tilt(case: dict[str, np.ndarray]) -> None:
    expected = []
    for b in range(B):
        where = case["valid"][b, 0] & case["head"][b, 0]
        rows, columns = np.nonzero(where)
        planes = np.stack([columns - columns.mean(), rows - rows.mean(), np.ones(len(rows))], axis=1)
        error = 160 * (case["depth"][b, 0][where] - case["target"][b, 0][where])
        slopes = np.linalg.lstsq(planes, error, rcond=None)[0]
        expected.append(np.abs(planes[:, :2] @ slopes[:2]).mean())
    got = losses.tilt_mm(*tensors(case, "depth", "target", "valid", "head"))
    assert float(got) == pytest.approx(np.mean(expected), rel=1e-9)


def test_tilt_sees_a_plane_alone_and_ignores_small_heads(case: dict[str, np.ndarray]) -> None:
    depth, target, valid, head = tensors(case, "depth", "target", "valid", "head")
    plane = 0.01 * torch.arange(W, dtype=torch.float64) - 0.02 * torch.arange(H, dtype=torch.float64)[:, None]
    tilted = target + plane + 0.4
    both = [float(loss(tilted, target, valid, head)) for loss in (losses.tilt_mm, losses.offset_free_mm)]
    assert both[0] == pytest.approx(both[1], rel=1e-9)  # they agree where nothing else is wrong
    assert both[0] > 1
    assert float(losses.tilt_mm(target + 0.4, target, valid, head)) == pytest.approx(0, abs=1e-9)
    head[1:] = False
    head[1, 0, 3, :5] = True  # too few pixels to count
    alone = losses.tilt_mm(depth[:1], target[:1], valid[:1], head[:1])
    assert float(losses.tilt_mm(depth, target, valid, head)) == pytest.approx(float(alone), rel=1e-12)


def test_tilt_of_the_smallest_head_that_counts() -> None:
    small = torch.zeros(1, 1, 96, 96, dtype=torch.bool)
    small[..., 40:48, 50:58] = True
    plane = (0.004 * torch.arange(96.0)).expand(1, 1, 96, 96)
    across = np.arange(8) - 3.5
    got = losses.tilt_mm(plane, torch.zeros_like(plane), torch.ones_like(small), small)
    assert float(got) == pytest.approx(160 * 0.004 * np.abs(across).mean(), rel=1e-3)


def test_a_line_of_pixels_has_no_tilt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "MIN_HEAD_PIXELS", 4)
    depth = torch.rand(1, 1, 8, 8, dtype=torch.float64).requires_grad_()
    line = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    line[0, 0, 3] = True
    value = losses.tilt_mm(depth, torch.zeros_like(depth), torch.ones_like(line), line)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert depth.grad.isfinite().all()


def test_absolute(case: dict[str, np.ndarray]) -> None:
    where = case["valid"] & ~case["head"]
    expected = 160 * np.abs(case["depth"] - case["target"])[where].mean()
    got = losses.absolute_mm(*tensors(case, "depth", "target"), torch.from_numpy(where))
    assert float(got) == pytest.approx(expected, rel=1e-12)


def huber(error: float) -> float:
    bend = losses.ROUNDING_MM
    return error**2 / (2 * bend) if abs(error) < bend else abs(error) - bend / 2


def test_gradient(case: dict[str, np.ndarray]) -> None:
    where = (case["valid"] & case["head"])[:, 0]
    error = 160 * (case["depth"] - case["target"])[:, 0]
    means = []
    for k in (1, 3):
        for dy, dx in ((0, k), (k, 0)):
            values = [
                huber(error[b, y + dy, x + dx] - error[b, y, x])
                for b in range(B)
                for y in range(H - dy)
                for x in range(W - dx)
                if where[b, y, x] and where[b, y + dy, x + dx]
            ]
            means.append(np.mean(values))
    got = losses.gradient_mm(*tensors(case, "depth", "target", "valid", "head"), strides=(1, 3))
    assert float(got) == pytest.approx(np.mean(means), rel=1e-12)


def test_gradient_finds_the_mean_of_whole_millimetres() -> None:
    """A slope of a quarter millimetre a pixel, stored in whole ones: the true slope beats the steps, and flatness."""
    x = torch.arange(32, dtype=torch.float64).expand(1, 1, 32, 32) * 0.25
    stored = torch.round(x - 0.01)
    everywhere = torch.ones(stored.shape, dtype=torch.bool)
    slopes = {slope: losses.gradient_mm(x * slope / 160, stored / 160, everywhere, everywhere) for slope in (0, 1, 2)}
    assert slopes[1] < slopes[0]
    assert slopes[1] < slopes[2]


def test_normals(case: dict[str, np.ndarray]) -> None:
    where = (case["valid"] & case["head"])[:, 0]
    pitch_mm = 320 / W
    values = []
    for b in range(B):
        for y in range(H - 1):
            for x in range(W - 1):
                if not (where[b, y, x] and where[b, y, x + 1] and where[b, y + 1, x]):
                    continue
                normals = []
                for name in ("depth", "target"):
                    z = 160 * case[name][b, 0]
                    across = np.array([pitch_mm, 0, z[y, x + 1] - z[y, x]])
                    down = np.array([0, pitch_mm, z[y + 1, x] - z[y, x]])
                    normal = np.cross(across, down)
                    normals.append(normal / np.linalg.norm(normal))
                values.append(1 - normals[0] @ normals[1])
    assert len(values) > 100
    got = losses.normal_cosine(*tensors(case, "depth", "target", "valid", "head"))
    assert float(got) == pytest.approx(np.mean(values), rel=1e-10)


def test_mask_losses(case: dict[str, np.ndarray]) -> None:
    logits, head, seen = (case[name][:, 0] for name in ("logits", "head", "seen"))
    expected = np.mean([bce(logits[tuple(p)], float(head[tuple(p)])) for p in np.argwhere(seen)])
    got = losses.mask_bce(*tensors(case, "logits", "head", "seen"))
    assert float(got) == pytest.approx(expected, rel=1e-5)
    dice = []
    for b in range(B):
        p, t = 1 / (1 + np.exp(-logits[b][seen[b]])), head[b][seen[b]]
        dice.append(1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
    assert float(losses.mask_dice(*tensors(case, "logits", "head", "seen"))) == pytest.approx(np.mean(dice), rel=1e-5)


def test_validity_takes_soft_targets() -> None:
    logits, target = torch.tensor([[0.5], [-2.0]]), torch.tensor([[0.3], [1.0]])
    expected = (bce(0.5, 0.3) + bce(-2.0, 1.0)) / 2
    assert float(losses.validity_bce(logits, target)) == pytest.approx(expected, rel=1e-5)


HEAD_LOSSES = {
    "mse": lambda d, c: losses.mse(d, c["target"], c["valid"]),
    "offset_free": lambda d, c: losses.offset_free_mm(d, c["target"], c["valid"], c["head"]),
    "tilt": lambda d, c: losses.tilt_mm(d, c["target"], c["valid"], c["head"]),
    "absolute": lambda d, c: losses.absolute_mm(d, c["target"], c["valid"] & c["head"]),
    "gradient": lambda d, c: losses.gradient_mm(d, c["target"], c["valid"], c["head"]),
    "normal": lambda d, c: losses.normal_cosine(d, c["target"], c["valid"], c["head"]),
}


@pytest.mark.parametrize("name", HEAD_LOSSES)
def test_holes_do_not_count_and_have_no_gradient(name: str, case: dict[str, np.ndarray]) -> None:
    loss = HEAD_LOSSES[name]
    truth = {key: torch.from_numpy(value) for key, value in case.items()}
    depth = truth["depth"].clone().requires_grad_()
    value = loss(depth, truth)
    value.backward()
    assert depth.grad[~truth["valid"]].abs().max() == 0
    assert depth.grad[truth["valid"]].abs().max() > 0
    wild = dict(truth, target=torch.where(truth["valid"], truth["target"], 1e6))
    assert float(loss(truth["depth"], wild)) == pytest.approx(value.item(), rel=1e-9)


@pytest.mark.parametrize("name", HEAD_LOSSES)
def test_nothing_to_measure_gives_zero(name: str, case: dict[str, np.ndarray]) -> None:
    truth = {key: torch.from_numpy(value) for key, value in case.items()}
    truth["valid"] = torch.zeros_like(truth["valid"])
    depth = truth["depth"].clone().requires_grad_()
    value = HEAD_LOSSES[name](depth, truth)
    value.backward()
    assert value.item() == 0
    assert depth.grad.abs().max() == 0
