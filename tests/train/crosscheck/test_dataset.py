# SPDX-License-Identifier: Apache-2.0
"""The cross-check set's files, its people and its camera; the body model where it is installed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facedepth_edge.errors import ConfigError, InputError
from train.crosscheck import paint
from train.crosscheck.__main__ import main
from train.crosscheck.camera import develop
from train.crosscheck.dataset import CrossConfig, set_note
from train.crosscheck.glasses import frame_parts
from train.crosscheck.hair import grow
from train.crosscheck.person import Person, sample_expression, sample_local, sample_person
from train.crosscheck.shot import depth_picture
from train.crosscheck.surroundings import sample_background, sample_light
from train.data.crops_set import open_crops_set, read_frame
from train.data.crops_writer import CropFrame, start_set, write_frames
from train.synth.mesh import grid_triangles

_LABELS = ("l-cheek-volume-incr", "r-cheek-volume-incr", "nose-hump-incr", "hip-trans-out", "head-fat-incr")
_ACTIONS = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "browInnerUp", "cheekPuff", "eyeBlinkLeft")


def note(frame: int) -> dict[str, object]:
    """A frame's notes."""
    return {"frame": frame, "distance_mm": 600.0 + frame, "visible": 1.0, "face": True, "attributes": {"hair": "bald"}}


def test_a_written_set_reads_back(tmp_path: Path) -> None:
    config = CrossConfig(subjects=2, mean_subjects=1, frames=2)
    start_set(tmp_path, set_note(config, hair=False))
    rng = np.random.default_rng(1)
    frames = {}
    for person in (1, 2, 3):
        made = []
        for frame in range(2):
            picture = rng.integers(0, 255, (144, 144, 3), np.uint8)
            if person == 2:
                picture[..., 1:] = picture[..., :1]
            depth = rng.uniform(300, 900, (144, 144))
            depth[:9] = np.inf
            label = rng.integers(0, 5, (144, 144), np.uint8)
            made.append(CropFrame(picture, depth_picture(depth), label, (1.0, -2.5, 30.25 + frame), note(frame)))
        write_frames(tmp_path / f"{(person - 1) * 5 + 1:03d}", made)
        frames[person] = made
    crops = open_crops_set(tmp_path)
    assert crops.subjects == {"train": (3,), "val": (), "test": (1, 2)}
    assert len(crops.frames) == 6
    for entry in crops.frames:
        wanted = frames[entry.subject][entry.frame]
        gray, depth, label = read_frame(tmp_path, entry, 144)
        assert (label == wanted.label).all()
        assert (depth == wanted.depth_mm).all()
        assert (depth[:9] == 0).all()
        assert depth[9:].min() >= 300
        expected = cv2.cvtColor(wanted.picture, cv2.COLOR_BGR2GRAY)
        assert (gray == expected).all()
        assert entry.distance_mm == 600.0 + entry.frame
        assert entry.roll_pitch_yaw_deg == pytest.approx((1.0, -2.5, 30.25 + entry.frame))
    assert not list(tmp_path.glob(".*.partial"))


def test_older_sets_have_no_share_of_turned_heads() -> None:
    assert "turned" not in set_note(CrossConfig(), hair=True).generator
    assert set_note(CrossConfig(turned=0.5), hair=True).generator["turned"] == 0.5


def test_a_wrong_setting_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (
        ("frames", 0),
        ("margin", 0.9),
        ("margin", float("nan")),
        ("margin", float("inf")),
        ("seed", -1),
        ("turned", 1.5),
    ):
        with pytest.raises(ConfigError, match=name):
            CrossConfig(**{name: value})
    (tmp_path / "2024").write_text("a file is no sequence")
    (tmp_path / "001").mkdir()
    command = ["render", "--out", str(tmp_path), "--subjects", "1"]
    assert main(command) == 1
    assert "sequences and no dataset.json" in capsys.readouterr().err
    for content, why in (("{}", "other settings"), ('{"crop_px": 1', "no JSON")):
        (tmp_path / "dataset.json").write_text(content)
        assert main(command) == 1
        assert why in capsys.readouterr().err
        assert (tmp_path / "dataset.json").read_text() == content


def test_people_repeat_and_differ() -> None:
    one, again, other = (sample_person(3, n, _LABELS, ["bob", "short01"]) for n in (1, 1, 2))
    assert one == again
    assert one.local != other.local
    many = [sample_person(3, n, _LABELS, []) for n in range(1, 200)]
    assert {person.hair for person in many} == {"bald", "buzz", "short"}
    assert all(person.beard == "none" for person in many if person.female)
    tones = np.array([person.tone for person in many])
    assert tones.min() < 0.1
    assert tones.max() > 0.85
    assert 0.1 < np.mean([person.infrared for person in many]) < 0.4


def test_local_changes_are_the_faces_and_nearly_even() -> None:
    drawn = sample_local(np.random.default_rng(2), _LABELS)
    assert "hip-trans-out" not in drawn
    assert set(drawn) == set(_LABELS) - {"hip-trans-out"}
    assert abs(drawn["l-cheek-volume-incr"] - drawn["r-cheek-volume-incr"]) < 0.3
    assert all(abs(value) <= 0.9 for value in drawn.values())


def test_expressions_are_known_actions_in_range() -> None:
    opened = 0
    for seed in range(100):
        weights, gaze = sample_expression(np.random.default_rng(seed), _ACTIONS)
        assert set(weights) <= set(_ACTIONS)
        assert all(0 < value <= 1 for value in weights.values())
        assert np.abs(gaze).max() <= 0.5
        opened += weights.get("jawOpen", 0) > 0.2
    assert 10 < opened < 60


def test_skin_goes_from_light_to_dark_and_infrared_is_gray() -> None:
    light, dark = (paint.skin_albedo(tone, infrared=False) for tone in (0.0, 1.0))
    assert (light > 5 * dark).all()
    infrared = paint.skin_albedo(0.8, infrared=True)
    assert infrared.min() == infrared.max()
    assert infrared[0] > 0.4


def test_hair_grows_over_the_skin_and_only_where_it_should() -> None:
    theta, phi = np.meshgrid(np.linspace(0.01, np.pi - 0.01, 40), np.arange(60) * np.pi / 30, indexing="ij")
    skull = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], -1).reshape(-1, 3) * 90
    triangles = grid_triangles(40, 60, closed=True)
    shell = grow(skull, triangles, (skull[:, 1] > 20).astype(float), 8.0, np.full(3, 0.1), 4)
    assert shell is not None
    height = np.linalg.norm(shell.vertices, axis=1) - 90
    assert 4 < height.mean() < 12
    assert height.min() > 0
    assert shell.vertices[:, 1].min() > 15
    assert grow(skull, triangles, np.zeros(len(skull)), 8.0, np.full(3, 0.1), 4) is None


def test_glasses_stand_before_the_eyes_and_reach_the_ears() -> None:
    eyes = [(np.array([31.0, 0, 60]), 13.0), (np.array([-31.0, 0, 60]), 13.0)]
    ears = np.array([[72.0, -15, 0], [-72.0, -15, 0]])
    parts = frame_parts(eyes, ears, dark=True, seed=1, infrared=False)
    points = np.concatenate([part.vertices for part in parts])
    assert points[:, 2].max() > 73
    assert points[:, 2].min() < 0
    assert abs(points[:, 0]).max() < 90
    assert len(parts) == 7


@pytest.mark.parametrize("infrared", [False, True])
def test_light_and_background(infrared: bool) -> None:
    centre = np.array([50.0, 0.0, 600.0])
    kinds = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        for part in sample_background(rng, centre, infrared=infrared):
            assert part.vertices[:, 2].min() > centre[2]
            assert part.colour.min() > 0
            assert part.colour.max() <= 0.9
            assert not infrared or np.ptp(part.colour, axis=1).max() < 1e-9
        light, kind = sample_light(rng, centre, infrared=infrared)
        assert np.isfinite(light.sky).all()
        assert all(panel.position[2] < centre[2] for panel in light.panels)
        kinds.add(kind)
    assert kinds == ({"flash"} if infrared else {"side", "top", "two", "sky"})


@pytest.mark.parametrize("infrared", [False, True])
def test_the_camera_exposes_the_head(infrared: bool) -> None:
    radiance = np.full((144, 144, 3), [8.0, 4.0, 2.0], np.float32)
    head = np.zeros((144, 144), bool)
    head[40:100, 40:100] = True
    radiance[head] *= 0.5
    pictures = [develop(radiance, head, np.random.default_rng(n), infrared=infrared) for n in range(30)]
    assert all(picture.shape == (144, 144, 3) for picture in pictures)
    levels = np.array([picture[head].mean() for picture in pictures])
    assert 70 < levels.mean() < 170
    assert levels.std() > 3
    for picture in pictures:
        assert not infrared or (picture == picture[..., :1]).all()


def test_modelled_hair_needs_files(tmp_path: Path) -> None:
    from train.crosscheck.body_model import Template
    from train.crosscheck.hair import Styles

    empty = np.zeros((0, 4), int)
    template = Template(np.zeros((3, 3)), empty, empty, empty, {}, (0, 1))
    assert len(Styles(None, template)) == 0
    with pytest.raises(InputError, match=r"NAME\.obj"):
        Styles(tmp_path, template)


@pytest.mark.slow
@pytest.mark.toolchain
@pytest.mark.filterwarnings("ignore")  # of anny's own dependencies
def test_the_body_model_has_a_head() -> None:
    pytest.importorskip("anny")
    from train.crosscheck.body_model import BodyModel, eyeball, head_center
    from train.crosscheck.figure import Atelier, Figure
    from train.crosscheck.hair import Styles
    from train.crosscheck.parts import BODY, SKIN

    model = BodyModel()
    template = model.template
    left, right = template.vertices[list(template.tragi)]
    assert np.allclose(left, right * [-1, 1, 1], atol=0.5)
    person: Person = sample_person(1, 1, model.local_labels, [])
    closed = model.shape(person.phenotype, person.local, {})
    opened = model.shape(person.phenotype, person.local, {"jawOpen": 1.0})
    assert 10 < np.abs(opened - closed).max() < 80
    centre, radius = eyeball(closed, "left")
    assert 10 < radius < 17
    middle = head_center(closed, template.tragi)
    assert 40 < centre[2] - middle[2] < 100
    own, body = Figure(Atelier(model, Styles(None, template)), person).parts({}, np.zeros(2), np.eye(3))
    assert {part.label for part in body} == {BODY}
    assert own[0].label == SKIN
    face = own[0].vertices
    assert 130 < np.ptp(face[:, 0]) < 230
    assert face[:, 2].max() > 80
