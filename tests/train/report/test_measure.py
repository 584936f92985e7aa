# SPDX-License-Identifier: Apache-2.0
"""Measuring: what the networks answer is what is summed, every pair is judged by its own frames, frames are chosen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facedepth_edge.errors import InputError
from tests.train.conftest import write_crops_set
from train.data.batches import make_batch
from train.data.packed import PackedSet, open_packed_set
from train.data.pairs import PairList
from train.data.subsets import is_frontal
from train.paper_metrics import sums_of_images
from train.report.measure import choose_samples, describe_data, measure_systems
from train.report.measurement import SOURCES, SYSTEMS, Measured, read_measured, write_measured
from train.report.summary import summarise
from train.synth.sources import settle_note

pytestmark = pytest.mark.usefixtures("one_thread")
OFFSETS = dict(zip(SYSTEMS, (0.0, 0.1, 0.2, -0.9), strict=True))


def write_test_set(root: Path) -> Path:
    """Write seven people, four of them for testing, half of their faces turned."""
    write_crops_set(root, subjects=7)
    path = root / "dataset.json"
    info = json.loads(path.read_text())
    info["subjects"] = {"train": [1, 2], "val": [3], "test": [4, 5, 6, 7]}
    path.write_text(json.dumps(info))
    for angles in root.glob("*/angles.txt"):
        angles.write_text("0\t1\t2\t3\n1\t0\t10\t-10\n2\t0\t0\t30\n3\t0\t0\t0\n")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    folder = tmp_path_factory.mktemp("measure")
    return open_packed_set(write_test_set(folder / "crops"), folder / "packed", processes=1, progress=False)


class Shifted(nn.Module):
    """Answers with the gray face and an offset."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, face: Tensor) -> dict[str, Tensor]:
        return {"depth": (face + self.offset).clamp(-1, 1)}


class Judge:
    """Embeds a face as its mean and its share of holes; the same where the first is not much larger than the second."""

    def __init__(self) -> None:
        self.embedded = 0

    def embed(self, x: Tensor) -> Tensor:
        self.embedded += len(x)
        return x.flatten(1)[:, :2]

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        return 3 * (a[:, 0] - b[:, 0]) + a[:, 1]


def prepare(depth: Tensor, valid: Tensor) -> Tensor:
    share = valid.float().mean(dim=(1, 2, 3))
    return torch.stack([(depth * valid).mean(dim=(1, 2, 3)), share], dim=1)[:, None, None]


def pair_list(data: PackedSet) -> PairList:
    faces = data.indices("test", faces_only=True)
    a, b = np.meshgrid(faces, faces)
    a, b = a.ravel(), b.ravel()
    same = data.meta["subject"][a] == data.meta["subject"][b]
    return PairList(np.array(["all|all"] * len(a)), a, b, same, data.key)


@pytest.fixture(scope="module")
def measured(data: PackedSet) -> Measured:
    judge = Judge()
    systems = {name: Shifted(offset) for name, offset in OFFSETS.items()}
    model = {"sha256": "x", "stages": [{"samples": 1}]}
    about = {"data": describe_data(data), "models": dict.fromkeys((*SYSTEMS, "siamese"), model), "pairs": model,
             "commit": "c", "torch": "2", "machine": "m"}  # fmt: skip
    result = measure_systems(data, systems, judge, prepare, pair_list(data), about, progress=False)
    assert judge.embedded == 5 * 12  # every frame once for each source, not once for each pair
    return result


def test_sums_are_those_of_the_systems(measured: Measured, data: PackedSet) -> None:
    faces = data.indices("test", faces_only=True)
    assert len(faces) == 12
    batch = make_batch(data, faces)
    truth, valid, head = (plane[:, 0].numpy() for plane in (batch.depth, batch.valid, batch.head))
    assert not valid.all()
    for region, where in (("all", valid), ("head", valid & head)):
        for number, offset in enumerate(OFFSETS.values()):
            depth = np.clip(batch.face[:, 0].numpy() + np.float32(offset), -1, 1)
            for name, values in sums_of_images(depth, truth, where).items():
                np.testing.assert_allclose(measured.sums[region][name][number], values, rtol=1e-6, err_msg=name)
    assert measured.sums["all"]["raised_depth"][3].sum() > 0
    assert (measured.sums["head"]["pixels"] < measured.sums["all"]["pixels"]).all()
    assert np.array_equal(measured.frames.subject, data.meta["subject"][faces])
    assert np.array_equal(measured.frames.frame, data.meta["frame"][faces])


def test_pairs_are_judged_by_their_own_depth(measured: Measured, data: PackedSet) -> None:
    pairs = pair_list(data)
    faces = data.indices("test", faces_only=True)
    assert np.array_equal(faces[measured.pairs.a], pairs.first)
    batch = make_batch(data, faces)
    depths = [batch.depth, *((batch.face + offset).clamp(-1, 1) for offset in OFFSETS.values())]
    for number, depth in enumerate(depths):
        known = batch.valid if number == 0 else torch.ones_like(batch.valid)
        mean = (depth * known).mean(dim=(1, 2, 3)).double().numpy()
        share = known.double().mean(dim=(1, 2, 3)).numpy()
        row_a, row_b = measured.pairs.a, measured.pairs.b
        logit = 3 * (mean[row_a] - mean[row_b]) + share[row_a]
        np.testing.assert_allclose(measured.pairs.similarity[number], 1 / (1 + np.exp(-logit)), atol=1e-6)
        assert (share < 1).all() == (number == 0)  # original depth has its holes, generated depth none
    assert len(measured.pairs.similarity) == len(SOURCES)


def test_samples_are_the_frames_and_the_answers(measured: Measured, data: PackedSet) -> None:
    samples = measured.samples
    faces = data.indices("test", faces_only=True)
    batch = make_batch(data, faces[samples.rows])
    assert len(samples.rows) == 8
    assert samples.frontal.tolist() == [True, False] * 4
    gray = (batch.face[:, 0].numpy() + 1) * 127.5
    np.testing.assert_allclose(samples.gray, gray, atol=0.51)
    valid = batch.valid[:, 0].numpy()
    assert np.array_equal(samples.valid, valid)
    truth = (batch.depth[:, 0].numpy() + 1) * 127.5
    np.testing.assert_allclose(samples.truth[valid], truth[valid], atol=0.51)
    assert (samples.truth[~valid] == 0).all()
    for number, offset in enumerate(OFFSETS.values()):
        np.testing.assert_allclose(samples.depth[number], np.clip(gray + offset * 127.5, 0, 255), atol=0.51)


def test_a_measurement_is_kept_and_summed_up(measured: Measured, tmp_path: Path) -> None:
    write_measured(tmp_path, measured)
    exact, kept = (summarise(m, resamples=20) for m in (measured, read_measured(tmp_path)))
    for metric, row in exact.depth["head"].items():
        for system, estimate in row.items():
            assert kept.depth["head"][metric][system].value == pytest.approx(estimate.value, rel=1e-6)
    cell = "all|all"
    for source in SOURCES:
        assert kept.verification[cell][source].value == exact.verification[cell][source].value
    assert kept.pairs[cell] == 144


def test_samples_are_spread_over_people_and_angles(data: PackedSet) -> None:
    faces = data.indices("test", faces_only=True)
    chosen = choose_samples(data, faces)
    assert len(set(chosen.tolist())) == 8
    assert data.meta["subject"][chosen].tolist() == [4, 4, 5, 5, 6, 6, 7, 7]
    assert is_frontal(data.meta[chosen]).tolist() == [True, False] * 4
    assert (data.meta["visible"][chosen] >= 0.9).all()
    assert np.array_equal(chosen, choose_samples(data, faces))
    hidden = replace(data, meta=data.meta.copy())
    hidden.meta["visible"][data.meta["subject"] == 5] = 0.5
    assert data.meta["subject"][choose_samples(hidden, faces)].tolist() == [4, 4, 6, 6, 7, 7]
    hidden.meta["visible"] = 0.0
    assert choose_samples(hidden, faces).tolist() == []
    many = choose_samples(data, faces, count=40)
    assert len(set(many.tolist())) == len(many) == 12


def test_without_samples_there_are_no_pictures(data: PackedSet, measured: Measured, tmp_path: Path) -> None:
    hidden = replace(data, meta=data.meta.copy())
    hidden.meta["visible"] = 0.1
    systems = {name: Shifted(offset) for name, offset in OFFSETS.items()}
    got = measure_systems(hidden, systems, Judge(), prepare, pair_list(data), measured.about, progress=False)
    assert got.samples.gray.shape == (0, 96, 96)
    write_measured(tmp_path, got)
    assert read_measured(tmp_path).samples.depth.shape == (4, 0, 96, 96)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pairs: pairs.first.__setitem__(0, 0), r"got frame 001/000000, expected frames of the test split"),
        (lambda pairs: pairs.second.__setitem__(0, 10**6), "got position 1000000"),
        (lambda pairs: pairs.same.__setitem__(0, False), "expected same where, and only where"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(change: object, message: str, data: PackedSet, measured: Measured) -> None:
    pairs = pair_list(data)
    change(pairs)
    systems = {name: Shifted(offset) for name, offset in OFFSETS.items()}
    with pytest.raises(InputError, match=message):
        measure_systems(data, systems, Judge(), prepare, pairs, measured.about, progress=False)


def test_nan_is_refused(data: PackedSet, measured: Measured) -> None:
    systems = {name: Shifted(offset) for name, offset in OFFSETS.items()}
    broken = {**systems, "cui": Shifted(float("nan"))}
    with pytest.raises(InputError, match="cui: depth: got NaN or infinity"):
        measure_systems(data, broken, Judge(), prepare, pair_list(data), measured.about, progress=False)
    judge = SimpleNamespace(embed=Judge().embed, compare=lambda a, b: a[:, 0] * float("nan"))
    with pytest.raises(InputError, match="siamese: got NaN or infinity"):
        measure_systems(data, systems, judge, prepare, pair_list(data), measured.about, progress=False)


def test_a_set_is_pandora_only_where_somebody_says_so(data: PackedSet, tmp_path: Path) -> None:
    assert describe_data(data)["origin"] == "unknown"
    assert describe_data(data, "pandora")["origin"] == "pandora"
    described = describe_data(data)
    assert (described["frames"], described["frames_without_face"], described["subjects"]) == (12, 4, 4)
    root = write_test_set(tmp_path / "crops")
    info = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**info, "generator": {"seed": 1}}))
    rendered = open_packed_set(root, processes=1, progress=False)
    assert describe_data(rendered)["origin"] == describe_data(rendered, "synthetic")["origin"] == "synthetic"
    with pytest.raises(InputError, match=r"origin: got pandora, expected synthetic: .*the renderer wrote this set"):
        describe_data(rendered, "pandora")


def test_a_rendered_raw_set_is_synthetic(data: PackedSet, tmp_path: Path) -> None:
    """`train.synth render-raw` and `render-biwi` leave a file of their own, no dataset.json."""
    settle_note(tmp_path, {"layout": "render-raw", "seed": 1, "frames": 2})
    rendered = replace(data, crops=replace(data.crops, root=tmp_path))
    assert describe_data(rendered)["origin"] == describe_data(rendered, "synthetic")["origin"] == "synthetic"
    for origin in ("pandora", "biwi"):
        rule = rf"origin: got {origin}, expected synthetic: .*rendered\.json says that the renderer wrote this set"
        with pytest.raises(InputError, match=rule):
            describe_data(rendered, origin)
    (tmp_path / "rendered.json").write_text("[]")
    with pytest.raises(InputError, match=r"rendered\.json: got a list, expected an object"):
        describe_data(rendered)
