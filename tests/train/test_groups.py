# SPDX-License-Identifier: Apache-2.0
"""Measuring by group: who is in which, the means, what stands out, what validity accepts."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from facedepth_edge.api import EdgeDepth
from facedepth_edge.camera import Camera
from facedepth_edge.errors import InputError
from facedepth_edge.face_crop import FaceSampler
from facedepth_edge.spec import Preprocessing
from train import groups
from train.data.batches import Batch
from train.data.packed import PackedSet, open_packed_set
from train.face_ellipse import HALF_AXES_MM, face_ellipse
from train.groups import FrameScore, called_valid, groups_of, main, markdown, rows_by_group, score_frames, validity_rows
from train.predictors import Thresholds, predictors_from_model, thresholds_of_model

GRAY = np.full((96, 96), 120.0)


@pytest.fixture(scope="module")
def data(crops_root: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedSet:
    return open_packed_set(crops_root, tmp_path_factory.mktemp("packed"), progress=False)


def test_face_ellipse_has_the_area_and_the_place_of_the_ellipse() -> None:
    inside = face_ellipse(96, 96)
    area_mm2 = inside.sum() * (320 / 96) ** 2
    assert area_mm2 == pytest.approx(math.pi * HALF_AXES_MM[0] * HALF_AXES_MM[1], rel=0.01)
    rows, columns = np.nonzero(inside)
    assert rows.mean() == columns.mean() == 47.5
    assert np.ptp(rows) > np.ptp(columns)
    with pytest.raises(ValueError, match="read-only"):
        inside[0, 0] = True


def named(**attributes: object) -> dict[str, str]:
    return dict(groups_of(attributes, np.zeros(3), GRAY, 1.0))


def test_attributes_become_groups() -> None:
    found = named(hair="bob", glasses="dark", face_mask=True, tone=0.9, age=0.1, jaw_open=0.5, infrared=True)
    assert found["hair"] == "bob"
    assert found["face mask"] == "yes"
    assert (found["skin tone"], found["age-like shape and skin"]) == ("dark", "young")
    assert found["mouth"] == "open"
    assert found["camera"] == "near infra-red with a flash"
    assert named(tone=1.0)["skin tone"] == "dark"
    assert "hair" not in named()


def test_light_and_pose_become_groups() -> None:
    side = GRAY.copy()
    side[:, :48] = 60
    lights = {"even": GRAY, "dark": GRAY * 0.2, "over-exposed": GRAY * 2, "from one side": side}
    for expected, face in lights.items():
        assert dict(groups_of({}, np.zeros(3), face, 1.0))["light"] == expected
    turned = {5: "up to 10 degrees", -30: "10 to 40", 60: "more than 40"}
    for yaw, expected in turned.items():
        assert dict(groups_of({}, np.array([0, 0, yaw]), GRAY, 1.0))["head turned by"] == expected
    assert dict(groups_of({}, np.zeros(3), GRAY, 0.3))["of the head is seen"] == "less"


def score(head_mm: float, hair: str, accepted: float = 1.0, seen: float = 1.0) -> FrameScore:
    return FrameScore(head_mm, head_mm / 2, 0.9, accepted, seen, (("hair", hair),))


def test_means_and_ratios_and_what_stands_out() -> None:
    scores = [score(4.0, "short")] * 60 + [score(9.0, "long")] * 20 + [score(50.0, "rare")] * 3
    scores.append(FrameScore(math.nan, math.nan, math.nan, 0.1, 0.0, ()))
    rows = rows_by_group(scores)
    assert [(row.trait, row.value, row.frames) for row in rows] == [
        ("all", "all", 83), ("hair", "long", 20), ("hair", "short", 60),
    ]  # fmt: skip
    mean = (60 * 4 + 20 * 9 + 3 * 50) / 83
    assert rows[0].head_mm == pytest.approx(mean)
    assert (rows[0].head_ratio, rows[0].face_ratio) == (1.0, 1.0)
    assert rows[1].head_ratio == pytest.approx(9 / mean)
    assert rows[1].face_mm == 4.5
    text = markdown(rows, [])
    assert f"**{9 / mean:.2f}**" in text
    assert f"| {4 / mean:.2f} |" in text


def test_validity_by_what_is_in_the_box() -> None:
    scores = [FrameScore(math.nan, math.nan, math.nan, value, 0.0, ()) for value in (0.0, 0.0, 1.0, 0.0)]
    scores += [score(5.0, "short", accepted, seen) for accepted, seen in ((1, 1), (0, 1), (0, 0.8), (1, 0.7), (0, 0.3))]
    scores += [FrameScore(3.0, 3.0, 0.9, value, 1.0, (), turned_away=True) for value in (1.0, 0.0)]
    rows = validity_rows(scores)
    assert [(name, frames, share) for name, frames, share in rows if frames] == [
        ("no face", 4, 0.25),
        ("a head that is turned away", 2, 0.5),
        ("a face, 0% to 40% of its place is head", 1, 0.0),
        ("a face, 60% to 80% of its place is head", 1, 1.0),
        ("a face, 80% to 100% of its place is head", 3, pytest.approx(1 / 3)),
    ]
    everything = rows_by_group(scores)[0]
    assert (everything.frames, everything.head_mm) == (5, 5.0)  # the depth of a head without its face counts nowhere
    assert everything.accepted == pytest.approx(1 / 3)
    without = [FrameScore(5.0, 5.0, 0.9, math.nan, 1.0, (("hair", "short"),))]
    assert validity_rows(without) == []
    assert math.isnan(rows_by_group(without)[0].accepted)


def test_no_error_at_all_has_no_ratio() -> None:
    rows = rows_by_group([score(0.0, "short")] * 30)
    assert all(math.isnan(row.head_ratio) for row in rows)
    assert "| - |" in markdown(rows, [])


def test_no_head_at_all_is_told() -> None:
    with pytest.raises(InputError, match="1 without a measured face"):
        rows_by_group([FrameScore(math.nan, math.nan, math.nan, 0.1, 0.0, ())])


def test_a_perfect_answer_has_no_error(data: PackedSet) -> None:
    scores = score_frames(
        data, "test", lambda _, batch: {"depth": batch.depth.numpy(), "validity": batch.validity.numpy()}, Thresholds()
    )
    assert len(scores) == len(data.indices("test"))
    heads = [each.head_mm for each in scores if math.isfinite(each.head_mm)]
    assert heads
    assert max(heads) < 1e-6
    assert {(each.accepted, each.seen > 0.8) for each in scores} == {(1.0, True), (0.0, False)}  # whole faces and none
    strict = score_frames(
        data,
        "test",
        lambda _, batch: {"depth": batch.depth.numpy(), "validity": batch.validity.numpy() * 0.8},
        Thresholds(validity=0.9),
    )
    assert not any(each.accepted for each in strict)


def test_a_covered_face_is_not_accepted(data: PackedSet) -> None:
    def predict(_: np.ndarray, batch: Batch) -> dict[str, np.ndarray]:
        mask = 0.8 * batch.head.numpy().astype(np.float32)
        mask[:, :, 48:] *= 0.7  # under the threshold of 0.6 below, above it of 0.5
        return {"depth": batch.depth.numpy(), "validity": np.ones((len(mask), 1), np.float32), "mask": mask}

    whole, half = (score_frames(data, "test", predict, Thresholds(mask=threshold)) for threshold in (0.5, 0.6))
    faces = [index for index, each in enumerate(whole) if each.groups]
    assert faces
    assert all(whole[index].accepted == 1.0 for index in faces)
    assert all(half[index].accepted == 0.0 for index in faces)
    assert [each.seen for each in whole] == [each.seen for each in half]
    assert all(each.accepted == 0.0 for each in whole if not each.groups)


def test_a_head_that_fills_its_box_is_not_accepted() -> None:
    mask, validity = np.ones((1, 96, 96), np.float32), np.ones(1, np.float32)
    outputs = {"depth": np.zeros((1, 96, 96), np.float32), "mask": mask, "validity": validity}
    face = np.tile(np.float32([100, 140]), (96, 48))
    assert called_valid(outputs, face, Thresholds()) == 0.0
    mask[:, :2] = mask[:, -2:] = mask[:, :, :2] = mask[:, :, -2:] = 0.0
    assert called_valid(outputs, face, Thresholds()) == 1.0
    assert called_valid({**outputs, "depth": np.full((1, 96, 96), np.nan)}, face, Thresholds()) == 0.0
    assert math.isnan(called_valid({"depth": outputs["depth"]}, face, Thresholds()))


def head_of(side_px: int, head: int, around: int) -> np.ndarray:
    """Draw a square in the middle of a frame and of a box of that side; to the tiny model what is dark is head."""
    frame, reach = np.full((200, 200), around, np.uint8), side_px // 5
    frame[100 - reach : 100 + reach, 100 - reach : 100 + reach] = head
    return frame


@pytest.mark.parametrize(
    ("side_px", "head", "around", "reason"),
    [
        (96, 60, 220, ""),
        (96, 127, 129, "nothing to see in the box"),
        (20, 60, 220, "too few pixels"),
        (96, 220, 222, "nothing to see in the box"),
        (96, 180, 222, "no head in the box"),
    ],
)
def test_the_runtimes_rule_is_the_one_that_is_measured(
    tiny_artifact: Path, side_px: int, head: int, around: int, reason: str
) -> None:
    frame, focal_px = head_of(side_px, head, around), 300.0
    with EdgeDepth(tiny_artifact, precision="fp32", camera=Camera(focal_px, focal_px)) as edge:
        result = edge.predict(frame, (100, 100), distance_mm=focal_px * 320 / side_px)
    assert result.reason.startswith(reason)
    assert result.valid == (not reason)
    crop = np.empty((1, 1, 96, 96), np.float32)
    FaceSampler().sample_into(crop[0, 0], frame, result.box, Preprocessing())
    predict = predictors_from_model(tiny_artifact)["tiny fp32"]
    outputs = predict(np.arange(1), cast("Batch", SimpleNamespace(face=torch.from_numpy(crop))))
    face, thresholds = (crop[0, 0] + 1) * 127.5, thresholds_of_model(tiny_artifact)
    assert called_valid({name: each[0] for name, each in outputs.items()}, face, thresholds, side_px) == result.valid


def test_command(
    crops_root: Path, tiny_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(groups, "FEWEST_FRAMES", 1)
    out = tmp_path / "groups.json"
    arguments = ["--model", str(tiny_artifact), "--data", str(crops_root), "--cache-dir", str(tmp_path / "cache")]
    assert main([*arguments, "--json", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("tiny int8 on ")
    assert "| all | all |" in printed.out
    assert "| head turned by |" in printed.out
    content = json.loads(out.read_text())
    assert content["groups"][0]["head_mm"] > 0
    assert [row["in_box"] for row in content["validity"]] in ([], [name for name, _, _ in validity_rows(
        [score(1.0, "a")])])  # fmt: skip
    assert main([*arguments, "--file", "fp99"]) == 1
    assert "--file: got fp99" in capsys.readouterr().err


def test_an_artifacts_own_thresholds_count(tiny_artifact: Path, tmp_path: Path) -> None:
    folder = tmp_path / "strict"
    shutil.copytree(tiny_artifact, folder)
    spec = json.loads((folder / "spec.json").read_text())
    spec["outputs"]["validity"]["threshold"], spec["outputs"]["mask"]["threshold"] = 0.7, 0.3
    (folder / "spec.json").write_text(json.dumps(spec))
    assert thresholds_of_model(folder) == Thresholds(validity=0.7, mask=0.3)
    assert thresholds_of_model(tmp_path / "best.pt") == Thresholds(validity=0.5, mask=0.5)
