# SPDX-License-Identifier: Apache-2.0
"""The verification network's input against OpenCV and a float64 oracle, the drawn pairs, and the task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from facedepth_edge.errors import ConfigError, InputError
from train.data.batches import make_batch
from train.data.packed import PackedSet, open_packed_set
from train.data.shapes import SHAPE_VALUES
from train.networks import Siamese, SiameseConfig
from train.tasks import TASKS
from train.tasks.verification import VerificationTask, VerificationTaskConfig
from train.verification import equalised, levels_from_depth, random_pairs, verification_input


@pytest.fixture(scope="module")
def data(crops_root: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    return open_packed_set(crops_root, tmp_path_factory.mktemp("packed"), processes=1, progress=False)


def small_siamese() -> Siamese:
    torch.manual_seed(0)
    return Siamese(SiameseConfig((4, 6, 8, 8, 8), (8, 4)))


def test_equalisation_is_opencvs_where_nothing_is_missing() -> None:
    rng = np.random.default_rng(1)
    planes = [rng.integers(0, 256, (40, 31)), rng.normal(90, 6, (40, 31)).clip(0, 255), np.full((40, 31), 7)]
    planes[1][0, 0] = 200
    images = np.stack([plane.astype(np.uint8) for plane in planes])
    result = equalised(torch.from_numpy(images).long()[:, None], torch.ones(3, 1, 40, 31, dtype=torch.bool))
    for image, mine in zip(images, result[:, 0].numpy(), strict=True):
        np.testing.assert_array_equal(mine, cv2.equalizeHist(image).astype(np.float32))


def test_holes_take_no_part() -> None:
    rng = np.random.default_rng(2)
    depth = torch.from_numpy(rng.uniform(-1, 1, (1, 1, 20, 20)).astype(np.float32))
    valid = torch.from_numpy(rng.random((1, 1, 20, 20)) < 0.7)
    other = torch.where(valid, depth, torch.full_like(depth, 0.37))
    first, second = verification_input(depth, valid), verification_input(other, valid)
    assert torch.equal(first, second)
    assert (first[~valid] == 0).all()
    known = first[valid].double().numpy()
    assert known.mean() == pytest.approx(0, abs=1e-5)
    assert known.std() == pytest.approx(1, abs=1e-5)
    levels = np.round((depth[valid].double().numpy() + 1) * 127.5)
    order = np.argsort(levels, kind="stable")
    assert (np.diff(known[order]) >= 0).all()  # equalisation keeps the order of depths


def test_an_image_of_one_level_gives_zeros() -> None:
    result = verification_input(torch.full((2, 1, 8, 8), 0.25), torch.ones(2, 1, 8, 8, dtype=torch.bool))
    assert torch.equal(result, torch.zeros(2, 1, 8, 8))
    nothing = verification_input(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.bool))
    assert torch.equal(nothing, torch.zeros(1, 1, 8, 8))


def test_levels_are_the_papers_scale() -> None:
    depth = torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 1, 1, 3)
    assert levels_from_depth(depth).flatten().tolist() == [0, 128, 255]


def test_random_pairs_are_half_same_and_never_a_frame_with_itself() -> None:
    subjects = np.repeat([3, 7, 9, 12], [2, 5, 9, 4])
    first, second = random_pairs(subjects, 20_000, np.random.default_rng(3))
    assert (first != second).all()
    same = subjects[first] == subjects[second]
    assert same.mean() == pytest.approx(0.5, abs=0.015)
    for person in (3, 7, 9, 12):  # people weigh the same, however many frames they have
        assert (subjects[first] == person).mean() == pytest.approx(0.25, abs=0.015)
    assert len(np.unique(first)) == len(np.unique(second)) == len(subjects)


def test_too_few_people_or_frames_are_refused() -> None:
    with pytest.raises(InputError, match="random_pairs: got 1 people, the one with the fewest frames has 4"):
        random_pairs(np.ones(4, int), 2, np.random.default_rng(0))
    with pytest.raises(InputError, match="the one with the fewest frames has 1"):
        random_pairs(np.array([1, 1, 2]), 2, np.random.default_rng(0))


def test_a_step_draws_several_frames_of_several_people(data: PackedSet) -> None:
    task = VerificationTask(small_siamese(), VerificationTaskConfig(frames_per_person=2))
    indices = data.indices("train", faces_only=True)
    chosen = task.draw(data, indices, 1, 0, 6, 0, 1)
    subjects = data.meta["subject"][chosen].reshape(3, 2)
    assert (subjects[:, 0] == subjects[:, 1]).all()
    assert len(np.unique(subjects[:, 0])) == 3
    assert len(np.unique(chosen)) == 6
    assert np.isin(chosen, indices).all()
    assert np.array_equal(chosen, task.draw(data, indices, 1, 0, 6, 0, 1))
    assert not np.array_equal(chosen, task.draw(data, indices, 1, 1, 6, 0, 1))
    with pytest.raises(ConfigError, match=r"loop\.batch_size: got 5, expected a multiple of 2 with 2 to 4 people"):
        task.draw(data, indices, 1, 0, 5, 0, 1)


def test_the_loss_is_the_mean_over_pairs_written_out(data: PackedSet) -> None:
    task = VerificationTask(small_siamese().eval(), VerificationTaskConfig(frames_per_person=2))
    indices = data.indices("train", faces_only=True)
    batch = make_batch(data, task.draw(data, indices, 1, 0, 6, 0, 1))
    result = task("network", batch)
    images = verification_input(batch.depth, batch.valid)
    costs: dict[bool, list[float]] = {True: [], False: []}
    right: dict[bool, list[bool]] = {True: [], False: []}
    for i in range(6):
        for j in range(6):
            if i != j:
                logit = task.network(images[i : i + 1], images[j : j + 1])["same"][0, 0]
                same = bool(batch.subject[i] == batch.subject[j])
                costs[same].append(float(F.softplus(-logit if same else logit).detach()))
                right[same].append(bool(logit > 0) == same)
    assert (len(costs[True]), len(costs[False])) == (6, 24)
    assert float(result["loss"].detach()) == pytest.approx((np.mean(costs[True]) + np.mean(costs[False])) / 2, rel=1e-5)
    accuracy = (np.mean(right[True]) + np.mean(right[False])) / 2
    assert float(result["parts"]["accuracy"]) == pytest.approx(accuracy, abs=1e-6)


def test_frames_of_different_sequences_come_first(data: PackedSet) -> None:
    meta = data.meta.copy()
    indices = data.indices("train", faces_only=True)
    # Two sequences of two frames for the first person: both must be seen before one is seen twice.
    mine = indices[meta["subject"][indices] == meta["subject"][indices[0]]]
    meta["sequence"][mine] = np.arange(len(mine)) % 2 + 1
    split = replace(data, meta=meta)
    settings = VerificationTaskConfig(frames_per_person=2, across_sequences=True)
    task = VerificationTask(small_siamese(), settings)
    picked = set()
    for step in range(20):
        chosen = task.draw(split, indices, 1, step, 4, 0, 1)
        assert len(set(chosen.tolist())) == 4
        pair = [int(i) for i in chosen if i in mine]
        assert len(pair) in (0, 2)
        if pair:
            assert meta["sequence"][pair[0]] != meta["sequence"][pair[1]]
            picked.add(tuple(pair))
    assert len(picked) > 2
    three = VerificationTask(small_siamese(), VerificationTaskConfig(frames_per_person=3, across_sequences=True))
    chosen = three.draw(split, mine_and_another(split, indices, mine), 1, 0, 6, 0, 1)
    assert len(set(chosen.tolist())) == 6


def mine_and_another(data: PackedSet, indices: np.ndarray, mine: np.ndarray) -> np.ndarray:
    other = indices[data.meta["subject"][indices] != data.meta["subject"][mine[0]]]
    return np.concatenate([mine, other[data.meta["subject"][other] == data.meta["subject"][other[0]]]])


def test_measuring_repeats_and_keeps_the_mode(data: PackedSet) -> None:
    task = TASKS["verification"](small_siamese(), VerificationTaskConfig(validation_pairs=50))
    indices = data.indices("train", faces_only=True)
    first = task.measure(task.network, data, indices, "cpu")
    assert first == task.measure(task.network, data, indices, "cpu")
    assert set(first) == {"accuracy", "wrong", "bce"}
    assert first["wrong"] == pytest.approx(1 - first["accuracy"])
    assert 0 <= first["accuracy"] <= 1
    assert task.selects == "wrong"
    with torch.no_grad():
        for parameter in task.network.parameters():
            parameter.fill_(torch.nan)
    assert np.isnan(task.measure(task.network, data, indices, "cpu")["wrong"])  # is never the best
    assert task.network.training


def test_naming_adds_its_cross_entropy_and_its_layer_learns(data: PackedSet) -> None:
    alone = VerificationTask(small_siamese().eval(), VerificationTaskConfig(frames_per_person=2))
    naming = VerificationTask(
        small_siamese().eval(), VerificationTaskConfig(frames_per_person=2, identity=0.5, people=7)
    )
    indices = data.indices("train", faces_only=True)
    batch = make_batch(data, naming.draw(data, indices, 1, 0, 6, 0, 1))
    result = naming("network", batch)
    vectors = naming.network.embed(verification_input(batch.depth, batch.valid))  # type: ignore[operator]
    logits = vectors @ naming.names.weight.T + naming.names.bias  # (6, 7)
    chance = torch.softmax(logits, dim=1)[torch.arange(6), batch.subject - 1]
    expected = float((alone("network", batch)["loss"] - 0.5 * chance.log().mean()).detach())
    assert float(result["loss"].detach()) == pytest.approx(expected, rel=1e-5)
    result["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in naming.names.parameters())
    assert {id(p) for p in naming.phase_parameters("network")} == {id(p) for p in naming.parameters()}
    assert len(naming.phase_parameters("network")) == len(alone.phase_parameters("network")) + 2


def test_a_person_without_a_name_is_told(data: PackedSet) -> None:
    task = VerificationTask(small_siamese(), VerificationTaskConfig(frames_per_person=2, identity=1.0, people=2))
    indices = data.indices("train", faces_only=True)
    batch = make_batch(data, indices[-4:])
    with pytest.raises(ConfigError, match=r"task\.people: got 2, expected at least \d, the highest number of a person"):
        task("network", batch)


def with_shapes(data: PackedSet, unknown: int | None = None) -> PackedSet:
    shapes = np.random.default_rng(5).normal(size=(9, SHAPE_VALUES)).astype(np.float32)
    if unknown is not None:
        shapes[unknown - 1, 3] = np.nan  # one value is enough
    return replace(data, crops=replace(data.crops, shapes=shapes))


def test_telling_the_shape_adds_its_squared_error_and_its_layer_learns(data: PackedSet) -> None:
    alone = VerificationTask(small_siamese().eval(), VerificationTaskConfig(frames_per_person=2))
    telling = VerificationTask(small_siamese().eval(), VerificationTaskConfig(frames_per_person=2, shape=0.25))
    indices = data.indices("train", faces_only=True)
    chosen = telling.draw(with_shapes(data), indices, 1, 0, 6, 0, 1)
    unknown = int(data.meta["subject"][chosen[0]])
    known_data = with_shapes(data, unknown)
    batch = make_batch(known_data, chosen)
    result = telling("network", batch)
    vectors = telling.network.embed(verification_input(batch.depth, batch.valid))  # type: ignore[operator]
    told = vectors @ telling.shape.weight.T + telling.shape.bias  # (6, 103)
    others = data.meta["subject"][chosen] != unknown
    assert 0 < others.sum() < len(others)
    truth = torch.from_numpy(known_data.crops.shapes[data.meta["subject"][chosen] - 1])  # type: ignore[index]
    missed = (told - truth)[torch.from_numpy(others)].square().sum() / others.sum()
    expected = float((alone("network", batch)["loss"] + 0.25 * missed).detach())
    assert float(result["loss"].detach()) == pytest.approx(expected, rel=1e-5)
    assert float(result["parts"]["shape_mm"]) == pytest.approx(float(missed.detach()) ** 0.5, rel=1e-5)
    result["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in telling.shape.parameters())
    assert {id(p) for p in telling.phase_parameters("network")} == {id(p) for p in telling.parameters()}


def test_shapes_that_nobody_knows_are_told(data: PackedSet) -> None:
    task = VerificationTask(small_siamese().eval(), VerificationTaskConfig(frames_per_person=2, shape=1.0))
    indices = data.indices("train", faces_only=True)
    with pytest.raises(ConfigError, match=r"task\.shape: got people without a known shape, expected shapes\.npy"):
        task.draw(data, indices, 1, 0, 4, 0, 1)
    assert len(task.draw(with_shapes(data), indices, 1, 0, 4, 0, 1)) == 4
    # A batch that happens to hold nobody whose shape is known learns by its pairs alone; the layer stays in the graph.
    batch = make_batch(data, task.draw(with_shapes(data), indices, 1, 0, 4, 0, 1))
    alone = VerificationTask(small_siamese().eval(), VerificationTaskConfig(frames_per_person=2))
    result = task("network", batch)
    assert float(result["loss"].detach()) == pytest.approx(float(alone("network", batch)["loss"].detach()), rel=1e-6)
    result["loss"].backward()
    assert all(p.grad is not None and not p.grad.any() for p in task.shape.parameters())
