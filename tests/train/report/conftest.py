# SPDX-License-Identifier: Apache-2.0
"""A measurement made of random numbers, small and complete: 6 subjects, 30 frames, 8 pairs in each of nine cells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from train.data.subsets import CELLS
from train.paper_metrics import sums_of_images
from train.report.measurement import (
    REGIONS,
    SOURCES,
    SYSTEMS,
    VERIFIER,
    FrameList,
    Measured,
    PairScores,
    Samples,
    file_sha256,
    write_measured,
)

SUBJECTS, FRAMES, SIDE = 6, 30, 12


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Run tiny networks on one thread: more only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write_inputs(folder: Path) -> tuple[Path, Path]:
    """Write five files in the place of the models and one in the place of the pair list; only their hashes matter."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*SYSTEMS, VERIFIER):
        (folder / f"{name}.safetensors").write_text(f"weights of {name}")
    (folder / "pairs.csv").write_text("cell,a,b,same\n")
    return folder, folder / "pairs.csv"


def make_measured(models: Path, pairs: Path, origin: str = "synthetic", subjects: int = SUBJECTS) -> Measured:
    """Make a measurement; the systems get worse in the order of SYSTEMS."""
    rng = np.random.default_rng(8)
    subject = np.repeat(np.arange(11, 11 + subjects), FRAMES // subjects)
    truth = rng.uniform(-0.6, 0.6, (len(subject), SIDE, SIDE))
    valid = rng.random(truth.shape) > 0.1
    head = np.zeros(truth.shape, bool)
    head[:, 1:-1, 1:-1] = True
    skill = rng.uniform(0.7, 1.3, subjects)[subject - 11][:, None, None]
    depths = [truth + 0.05 * (1 + number) * skill * rng.normal(size=truth.shape) for number in range(len(SYSTEMS))]
    sums = {}
    for region, where in zip(REGIONS, (valid, valid & head), strict=True):
        single = [sums_of_images(depth, truth, where) for depth in depths]
        sums[region] = {name: np.stack([one[name] for one in single]) for name in single[0]}
    rows = np.arange(len(subject))
    cells, a, b = [], [], []
    for cell in CELLS:
        for pair in range(8):
            first = int(rng.integers(len(subject)))
            others = rows[(subject == subject[first]) == (pair % 2 == 0)]
            cells.append(cell)
            a.append(first)
            b.append(int(rng.choice(others[others != first])) if len(others[others != first]) else first)
    a_rows, b_rows = np.array(a), np.array(b)
    similarity = rng.uniform(0, 1, (len(SOURCES), len(a))).astype(np.float32)
    chosen = np.array([0, 9, 20])
    levels = np.rint((np.stack(depths)[:, chosen] + 1) * 127.5).clip(0, 255).astype(np.uint8)
    samples = Samples(chosen, np.array([True, False, True]), rng.integers(0, 255, (3, SIDE, SIDE)).astype(np.uint8),
                      np.where(valid[chosen], np.rint((truth[chosen] + 1) * 127.5), 0).astype(np.uint8),
                      valid[chosen], head[chosen], levels)  # fmt: skip
    stage = {"parameters": 34_620_225, "samples": 4000, "step": 2, "optimizer": "adam", "lr": 2e-4,
             "trained_on": "heads"}  # fmt: skip
    model = {"architecture": "x", "stages": [stage], "commit": "c" * 40}
    files = {name: models / f"{name}.safetensors" for name in (*SYSTEMS, VERIFIER)}
    about = {
        "data": {"name": "pandora", "origin": origin, "key": "k1", "split": "test", "frames": len(subject),
                 "frames_without_face": 2, "subjects": subjects, "sequences": subjects},
        "models": {name: {"file": path.name, "sha256": file_sha256(path), **model} for name, path in files.items()},
        "pairs": {"file": pairs.name, "sha256": file_sha256(pairs), "count": len(a)},
        "commit": "d" * 40,
        "torch": "2.0",
        "machine": "a machine",
    }  # fmt: skip
    frames = FrameList(subject.astype(np.int32) * 5, rows.astype(np.int32), subject.astype(np.int32))
    same = subject[a_rows] == subject[b_rows]
    return Measured(about, frames, sums, PairScores(np.array(cells), a_rows, b_rows, same, similarity), samples)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folder of the models and path of the pair list; do not change them."""
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def measured(inputs: tuple[Path, Path]) -> Measured:
    """A measurement of rendered faces whose set has a misleading name."""
    return make_measured(*inputs)


@pytest.fixture(scope="session")
def measured_folder(measured: Measured, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, written; do not change it."""
    folder = tmp_path_factory.mktemp("reproduction") / "synthetic"
    write_measured(folder, measured)
    return folder
