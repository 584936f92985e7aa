# SPDX-License-Identifier: Apache-2.0
"""Geometry of the cross-check renderer against closed forms: crop, pose, rays, subdivision, noise."""

from __future__ import annotations

import numpy as np
import pytest

from train.crosscheck.camera import (
    CAMERA_FROM_FACING,
    Placement,
    crop_view,
    pixel_slopes,
    sample_placement,
    sample_turned_placement,
)
from train.crosscheck.depth_truth import Truth, head_distance
from train.crosscheck.lattice import field, ramp
from train.crosscheck.parts import BACKGROUND, BODY, SKIN, Part, cut_out, triangles_of
from train.crosscheck.path_tracer import Light, Panel, PathTracer
from train.crosscheck.shot import Film, shoot
from train.crosscheck.subdivision import Subdivision
from train.synth.mesh import grid_triangles
from train.synth.motion import dataset_angles_from_rotation

_CUBE = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)


def ball(centre: np.ndarray, radius: float, label: int = SKIN, rows: int = 200) -> Part:
    """A fine sphere."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, rows), np.arange(rows) * 2 * np.pi / rows, indexing="ij")
    round_ = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1).reshape(-1, 3)
    colour = np.full((len(round_), 3), 0.6)
    return Part(centre + radius * round_, grid_triangles(rows, rows, closed=True), colour, label)


def test_crop_holds_480_mm_around_the_head_centre() -> None:
    centre = np.array([70.0, -40.0, 650.0])
    focal, principal = crop_view(centre, 600.0, 144, 1.5)
    assert 480.0 / 600.0 * focal == pytest.approx(144.0)
    assert principal[0] + focal * centre[0] / centre[2] == pytest.approx(72.0)
    assert principal[1] + focal * centre[1] / centre[2] == pytest.approx(72.0)


def test_slopes_are_those_of_the_pixels_centres() -> None:
    slopes = pixel_slopes(250.0, (30.0, 10.0), 5)
    assert slopes.shape == (5, 5, 2)
    assert slopes[1, 4].tolist() == pytest.approx([(4.5 - 30) / 250, (1.5 - 10) / 250])


def test_pose_keeps_the_angle_convention() -> None:
    placement = Placement((5.0, -12.0, 31.0), np.array([0.0, 0.0, 500.0]), np.eye(3))
    back = placement.camera_from_head @ CAMERA_FROM_FACING
    assert dataset_angles_from_rotation(back) == pytest.approx((5.0, -12.0, 31.0))
    straight = Placement((0.0, 0.0, 0.0), np.zeros(3), np.eye(3)).camera_from_head
    assert (straight @ [0, 0, 1]).tolist() == pytest.approx([0, 0, -1])  # the face looks into the camera
    assert (straight @ [0, 1, 0]).tolist() == pytest.approx([0, -1, 0])


def test_poses_stay_in_their_range_and_use_it() -> None:
    drawn = [sample_placement(np.random.default_rng(seed)) for seed in range(400)]
    angles = np.array([placement.angles_deg for placement in drawn])
    limit = np.array([20.0, 25.0, 55.0])
    assert (np.abs(angles) <= limit).all()
    assert (np.abs(angles).max(axis=0) > 0.9 * limit).all()
    depth = np.array([placement.centre_mm[2] for placement in drawn])
    assert depth.min() > 399
    assert depth.max() < 1301
    turn = drawn[7].torso_from_head
    assert np.allclose(turn @ turn.T, np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1.0)


def test_turned_poses_show_no_face() -> None:
    drawn = [sample_turned_placement(np.random.default_rng(seed)) for seed in range(200)]
    assert not any(placement.shows_face for placement in drawn)
    assert all(sample_placement(np.random.default_rng(seed)).shows_face for seed in range(200))
    looks = np.array([(placement.camera_from_head @ [0, 0, 1])[2] for placement in drawn])  # -1: into the camera
    assert looks.min() > -np.cos(np.deg2rad(65))
    assert looks.max() > 0.98
    apart = np.array([placement.torso_from_head[2, 2] for placement in drawn])  # 1: head and torso look the same way
    assert np.median(apart) > np.cos(np.deg2rad(60))


def test_depth_is_z_and_not_the_ray_length() -> None:
    centre, radius = np.array([120.0, -60.0, 700.0]), 90.0
    truth = Truth([ball(centre, radius), ball(centre + np.array([0, 0, 250]), 150.0, BODY)])
    slopes = pixel_slopes(300.0, (40.0, 60.0), 121)
    depth, label = truth.look(slopes)
    ray = np.concatenate([slopes, np.ones((121, 121, 1))], axis=-1)
    a, b, c = (ray**2).sum(-1), ray @ centre, (centre**2).sum() - radius**2
    inside = b**2 - a * c
    front = inside > 500.0 * a  # away from the faceted rim
    expected = (b - np.sqrt(np.where(front, inside, 0.0))) / a
    assert front.sum() > 1000
    assert np.abs(depth - expected)[front].max() < 0.1
    assert (label[front] == SKIN).all()
    assert (label == BODY).sum() > 500
    assert (~np.isfinite(depth) == (label == BACKGROUND)).all()
    assert (label == BACKGROUND).sum() > 500


def test_head_distance_is_the_median_of_the_window() -> None:
    plane = np.array([[-300.0, -300, 0], [300, -300, 0], [300, 300, 0], [-300, 300, 0]])
    centre = np.array([10.0, 20.0, 600.0])
    near = Part(plane + np.array([0, 0, 540]), np.array([[0, 1, 2], [0, 2, 3]], np.int32), np.ones((4, 3)), SKIN)
    assert head_distance([near], centre) == pytest.approx(540.0, abs=1e-3)
    aside = Part(
        plane + np.array([330, 0, 400]), near.triangles, near.colour, SKIN
    )  # covers less than half of the window
    assert head_distance([near, aside], centre) == pytest.approx(540.0, abs=1e-3)
    far_away = Part(plane + np.array([5000, 0, 400]), near.triangles, near.colour, SKIN)
    assert head_distance([far_away], centre) == pytest.approx(600.0)


def test_one_level_of_a_cube() -> None:
    finer = Subdivision(_CUBE, 8)
    points = finer.apply(_CORNERS)
    assert len(points) == 8 + 12 + 6
    assert np.allclose(np.abs(points[:8]), 5 / 9)  # the rule's value for a corner of valence 3
    assert np.allclose(np.sort(np.abs(points[8:20]), axis=1), [0, 0.75, 0.75])
    assert np.allclose(np.sort(np.abs(points[20:]), axis=1), [0, 0, 1])
    assert finer.quads.shape == (24, 4)
    corner = points[triangles_of(finer.quads)]
    outward = np.einsum("ij,ij->i", np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), corner.mean(1))
    coarse = _CORNERS[triangles_of(_CUBE)]
    before = np.einsum("ij,ij->i", np.cross(coarse[:, 1] - coarse[:, 0], coarse[:, 2] - coarse[:, 0]), coarse.mean(1))
    assert (np.sign(outward) == np.repeat(np.sign(before), 4)).all()


def test_a_flat_patch_stays_flat_with_round_corners() -> None:
    x, y = np.meshgrid(np.arange(4.0), np.arange(4.0))
    points = np.stack([x.ravel(), y.ravel(), np.full(16, 3.0)], axis=1)
    quads = np.array([[r * 4 + c, r * 4 + c + 1, r * 4 + c + 5, r * 4 + c + 4] for r in range(3) for c in range(3)])
    alone = np.concatenate([points, [[9.0, 9, 9]]])
    fine = Subdivision(quads, 17).apply(alone)
    assert np.allclose(fine[np.arange(len(fine)) != 16, 2], 3.0)
    assert np.allclose(fine[[0, 15], :2], [[0.125, 0.125], [2.875, 2.875]])  # 6/8 of itself, 1/8 of each neighbour
    assert np.allclose(fine[16], 9.0)
    assert np.allclose(fine[5], points[5])


def test_noise_is_repeatable_smooth_and_spread() -> None:
    points = np.random.default_rng(0).uniform(-200, 200, (4000, 3))
    one, again = (field(np.random.default_rng(5), points, 20.0, 2) for _ in range(2))
    assert (one == again).all()
    assert abs(one.mean()) < 0.1
    assert 0.4 < one.std() < 0.8
    near = field(np.random.default_rng(5), points + 0.01, 20.0, 2)
    assert np.abs(near - one).max() < 0.02
    assert ramp(np.array([0.0, 1.5, 3.0]), 3, 0).tolist() == [1.0, 0.5, 0.0]


def test_a_cut_part_has_only_its_own_vertices() -> None:
    whole = ball(np.zeros(3), 10.0, rows=12)
    part = cut_out(whole.vertices, whole.triangles[:5], whole.colour, BODY, roughness=0.2)
    assert part.vertices[part.triangles].tolist() == whole.vertices[whole.triangles[:5]].tolist()
    assert len(part.vertices) == len(np.unique(whole.triangles[:5]))
    assert part.roughness == 0.2


def test_a_turned_head_is_noted_as_no_face() -> None:
    class Blank:
        def render(self, parts: object, light: object, focal: float, principal: object, px: int, *_: int) -> np.ndarray:
            return np.ones((px, px, 3), np.float32)

    own, body = [ball(np.zeros(3), 90.0, rows=20)], [ball(np.array([0.0, -200.0, 0.0]), 90.0, rows=20)]
    for place, face in ((sample_placement, True), (sample_turned_placement, False)):
        rng = np.random.default_rng(1)
        taken = shoot(Blank(), Film(72, 1.5, 1), own, body, place(rng), 4, {"hair": "bald"}, rng)  # type: ignore[arg-type]
        note = taken.note
        assert list(note) == ["frame", "distance_mm", "visible", "face", "focal_px", "principal_xy", "head_center_xy",
                              "head_center_mm", "attributes"]  # fmt: skip
        assert (note["frame"], note["face"], note["head_center_xy"]) == (4, face, [36.0, 36.0])
        assert (note["visible"] > 0.5) == face
        assert note["attributes"].keys() == {"hair", "light"}


@pytest.mark.toolchain
def test_the_picture_lies_over_the_truth() -> None:
    pytest.importorskip("mitsuba")
    centre = np.array([150.0, -90.0, 800.0])
    part = ball(centre, 70.0, rows=40)
    focal, principal = crop_view(centre, 730.0, 48, 1.5)
    panel = Panel(np.array([0.0, 0.0, -50.0]), centre, 200.0, np.full(3, 30.0))
    light = Light(np.zeros((4, 8, 3), np.float32), (panel,))
    image = PathTracer().render([part], light, focal, principal, 48, 16, 1).mean(axis=2)
    depth, _ = Truth([part]).look(pixel_slopes(focal, principal, 48))
    seen, true = image > 0.2 * image.max(), np.isfinite(depth)
    assert true.sum() > 80
    union = (seen | true).sum()
    assert (seen & true).sum() / union > 0.85
    assert np.abs(np.argwhere(seen).mean(0) - np.argwhere(true).mean(0)).max() < 0.5
