# SPDX-License-Identifier: Apache-2.0
"""Rays against closed forms: depth of a sphere, holes, shadows, poses; pixels never mix depths."""

from __future__ import annotations

import numpy as np
import pytest

from tests.train.synth.test_mesh import sphere
from train.synth.light import Light, Lighting
from train.synth.materials import BACKGROUND, HEAD_SKIN, MATERIAL_NAMES, MATERIALS, OCCLUDER, flat
from train.synth.mesh import Mesh, grid_triangles
from train.synth.motion import dataset_angles_from_rotation, rotation_from_dataset_angles
from train.synth.renderer import CAMERA_FROM_FACING, HeadPose, View, render, surface_distance
from train.synth.tracer import TraceScene, sample_nearest

VIEW = View(focal_px=200.0, principal_xy=(40.0, 32.0), size_hw=(64, 80))
POSE = HeadPose(np.eye(3), np.array([10.0, -5.0, 600.0]), np.zeros(3))
LIGHTING = Lighting((Light(np.array([0.0, 0.0, -1.0]), np.ones(3), 0.0),), np.full(3, 0.2), np.zeros((3, 3)))
TEXTURES = {name: flat(0.5) for name in MATERIAL_NAMES}


def sphere_mesh(material: str = "skin", radius: float = 50.0, rows: int = 160) -> Mesh:
    points, triangles = sphere(rows, 2 * rows, radius)
    return Mesh(points, triangles, np.zeros((len(points), 2), np.float32), material)


def plate(z: float, half: float, material: str) -> Mesh:
    y, x = np.meshgrid(np.linspace(-half, half, 9), np.linspace(-half, half, 9), indexing="ij")
    points = np.stack([x, y, np.full_like(x, z)], -1).reshape(-1, 3).astype(np.float32)
    uv = ((points[:, :2] / half + 1) / 2).astype(np.float32)
    return Mesh(points, grid_triangles(9, 9), uv, material)


def shoot(*scenes: TraceScene, pose: HeadPose = POSE, lighting: Lighting = LIGHTING):
    backdrop = np.full((*VIEW.size_hw, 3), 0.05, np.float32)
    return render(list(scenes), TEXTURES, VIEW, pose, lighting, backdrop, np.random.default_rng(0))


def scene(*meshes: Mesh, alpha: dict[str, np.ndarray] | None = None) -> TraceScene:
    return TraceScene(list(meshes), MATERIAL_NAMES, alpha or {})


def test_depth_of_a_sphere_is_its_closed_form() -> None:
    image = shoot(scene(sphere_mesh()))
    rows, columns = np.nonzero(image.label == HEAD_SKIN)
    x = (columns + 0.5 - VIEW.principal_xy[0]) / VIEW.focal_px
    y = (rows + 0.5 - VIEW.principal_xy[1]) / VIEW.focal_px
    # z of the ray (x, y, 1) z that first meets |p - centre| = 50
    centre = POSE.centre_mm
    a = x * x + y * y + 1
    b = x * centre[0] + y * centre[1] + centre[2]
    c = (centre**2).sum() - 50.0**2
    root = b * b - a * c
    inside = root > 0.02 * b * b * (50 / 600) ** 2 * 10  # away from the silhouette, where depth is steep
    z = (b[inside] - np.sqrt(root[inside])) / a[inside]
    assert inside.sum() > 400
    assert np.abs(image.depth_mm[rows[inside], columns[inside]] - z).max() < 1.5
    assert (image.label == BACKGROUND).any()
    assert np.isinf(image.depth_mm[image.label == BACKGROUND]).all()


def test_depth_never_lies_between_two_surfaces() -> None:
    near, far = plate(40.0, 30.0, "hand"), plate(-60.0, 400.0, "garment")
    image = shoot(scene(near), scene(far))
    z = image.depth_mm
    assert np.all((np.abs(z - 560) < 1e-2) | (np.abs(z - 660) < 1e-2))
    assert set(np.unique(image.label)) == {4, OCCLUDER}
    # while the picture is anti-aliased: some pixels mix both surfaces' light
    assert len(np.unique(image.radiance[..., 0].round(4))) >= 2


def test_holes_let_rays_pass() -> None:
    half_open = np.ones((1, 2), np.float32)
    half_open[0, 0] = 0.0
    front, back = plate(40.0, 200.0, "hair1"), plate(-60.0, 400.0, "garment")
    image = shoot(scene(front, back, alpha={"hair1": half_open}))
    column = int(VIEW.principal_xy[0] + VIEW.focal_px * 10 / 600)
    assert np.allclose(image.depth_mm[:, : column - 2], 660, atol=1e-2)
    assert np.allclose(image.depth_mm[:, column + 3 :], 560, atol=1e-2)


def test_what_stands_in_the_light_casts_a_shadow() -> None:
    floor = plate(-60.0, 400.0, "garment")
    beside = Lighting((Light(np.array([0.0, 0.0, -1.0]), np.ones(3), 0.0),), np.full(3, 0.2), np.zeros((3, 3)))
    free = shoot(scene(floor), lighting=beside).radiance
    # A light from the right: a ball 80 mm over the floor, out of the floor's view of the camera, darkens a spot.
    slanted = Lighting((Light(np.array([0.6, 0.0, -0.8]), np.ones(3), 0.0),), np.full(3, 0.2), np.zeros((3, 3)))
    ball = sphere_mesh("hand", radius=20.0, rows=24).moved(np.eye(3), np.array([0.0, 0.0, 20.0]))
    with_ball, without = shoot(scene(floor), scene(ball), lighting=slanted), shoot(scene(floor), lighting=slanted)
    shadow = (with_ball.label != OCCLUDER) & (with_ball.radiance[..., 0] < 0.6 * without.radiance[..., 0])
    assert 20 < shadow.sum() < 500
    centre_column = np.nonzero(shadow)[1].mean()
    assert centre_column < VIEW.principal_xy[0] + VIEW.focal_px * 10 / 600 - 3  # the light comes from the right
    assert free.min() > 0.05


@pytest.mark.parametrize("angles", [(0, 0, 0), (10, -20, 30), (-35, 40, -70)])
def test_angles_survive_a_round_trip(angles: tuple[float, float, float]) -> None:
    assert dataset_angles_from_rotation(rotation_from_dataset_angles(*angles)) == pytest.approx(angles, abs=1e-9)


def test_a_near_light_is_carried_into_the_head_s_frame() -> None:
    """A turned head with its own origin, beside the closed form, and with a plate that shades half of it."""
    pose = HeadPose(
        rotation_from_dataset_angles(20, -15, 30), np.array([30.0, 20.0, 700.0]), np.array([5.0, -8.0, 12.0])
    )
    place = np.array([150.0, -60.0, 40.0])
    towards = (place - pose.centre_mm) / np.linalg.norm(place - pose.centre_mm)
    near = Lighting((Light(towards, np.ones(3), 0.0, place),), np.zeros(3), np.zeros((3, 3)))
    ball = scene(sphere_mesh("garment", 60.0))
    image = shoot(ball, pose=pose, lighting=near)
    rows, columns = np.nonzero(image.label == 4)
    z = image.depth_mm[rows, columns]
    point = np.stack([(columns + 0.5 - 40) / 200 * z, (rows + 0.5 - 32) / 200 * z, z], -1)
    # The sphere lies about the head frame's origin.
    middle = pose.centre_mm - pose.camera_from_head @ pose.head_centre_mm
    normal = (point - middle) / 60.0
    apart = place - point
    distance = np.linalg.norm(apart, axis=1)
    cosine = np.einsum("ij,ij->i", normal, apart) / distance
    wrap = MATERIALS["garment"].wrap
    expected = 0.5 * np.clip((cosine + wrap) / (1 + wrap), 0, None)
    expected *= np.square(np.linalg.norm(place - pose.centre_mm) / distance)
    inner = np.einsum("ij,ij->i", normal, -point) / np.linalg.norm(point, axis=1) > 0.5  # away from the outline
    found = image.radiance[rows, columns, 0]
    lit = inner & (cosine > 0.15)
    assert lit.sum() > 60
    assert np.abs(found - expected)[lit].max() < 0.04
    assert np.corrcoef(found[lit], expected[lit])[0, 1] > 0.99


def test_a_near_light_casts_its_own_shadows() -> None:
    place = np.array([0.0, 0.0, 300.0])
    towards = (place - POSE.centre_mm) / np.linalg.norm(place - POSE.centre_mm)
    near = Lighting((Light(towards, np.ones(3), 0.0, place),), np.zeros(3), np.zeros((3, 3)))
    wall, screen = plate(-60.0, 400.0, "garment"), plate(150.0, 20.0, "hand")
    image = shoot(scene(screen), scene(wall), lighting=near)
    dark = (image.label == 4) & (image.radiance[..., 0] < 0.02)
    # From 300 mm, a plate of 40 mm at 450 mm shades 96 mm of a wall at 660 mm, of which the camera sees a rim.
    rows, columns = np.nonzero(dark | (image.label == OCCLUDER))
    assert np.ptp(columns) * 660 / 200 == pytest.approx(40 * 360 / 150, abs=10)
    assert np.ptp(rows) * 660 / 200 == pytest.approx(40 * 360 / 150, abs=10)


def test_a_near_light_falls_with_the_square_of_the_distance() -> None:
    place = np.array([0.0, 0.0, 100.0])
    towards = (place - POSE.centre_mm) / np.linalg.norm(place - POSE.centre_mm)
    near = Lighting((Light(towards, np.ones(3), 0.0, place),), np.zeros(3), np.zeros((3, 3)))
    image = shoot(scene(plate(0.0, 200.0, "garment")), lighting=near)
    rows, columns = np.mgrid[2:62, 2:78]
    assert np.allclose(image.depth_mm[2:62, 2:78], 600.0, atol=1e-2)
    point = np.stack([(columns + 0.5 - 40.0) * 3, (rows + 0.5 - 32.0) * 3, np.full(rows.shape, 600.0)], -1)
    apart = place - point
    distance = np.linalg.norm(apart, axis=-1)
    wrap = MATERIALS["garment"].wrap
    diffuse = (np.abs(apart[..., 2]) / distance + wrap) / (1 + wrap)
    expected = 0.5 * diffuse * np.square(np.linalg.norm(place - POSE.centre_mm) / distance)
    red = image.radiance[2:62, 2:78, 0]
    gloss = red - expected  # the highlight, which lies between both directions' mirror, is small and positive
    assert (gloss.min() > -0.002, gloss.max() < 0.02) == (True, True)
    assert expected.max() / expected.min() > 1.03


def test_a_turned_head_moves_its_nose_as_the_angles_say() -> None:
    nose = np.array([0.0, 0, 100])  # in the head's frame: straight out of the face
    facing = CAMERA_FROM_FACING

    def seen(*angles: float) -> np.ndarray:
        pose = HeadPose(facing @ rotation_from_dataset_angles(*angles) @ facing, np.array([0.0, 0, 600]), np.zeros(3))
        return pose.camera_from_head @ nose

    assert seen(0, 0, 0) == pytest.approx([0, 0, -100])
    assert seen(0, 0, 30)[0] == pytest.approx(-50)  # yaw > 0: the nose goes to the picture's left
    assert seen(0, 30, 0)[1] == pytest.approx(50)  # pitch > 0: the nose goes down
    assert seen(45, 0, 0) == pytest.approx([0, 0, -100])  # roll turns about the view's axis


def test_distance_is_that_of_the_surface_not_of_the_centre() -> None:
    ball = scene(sphere_mesh())
    assert surface_distance([ball], POSE) == pytest.approx(550 + 2, abs=3)


def test_textures_wrap_around_but_not_over_the_poles() -> None:
    texture = np.arange(6, dtype=np.float32).reshape(2, 3)
    uv = np.array([[0.1, 0.2], [1.1, 0.2], [0.99, 0.9], [0.5, 1.7], [0.5, -1.0]], np.float32)
    assert sample_nearest(texture, uv).tolist() == [0, 0, 5, 4, 1]


def test_ambient_light_is_less_in_a_corner() -> None:
    fine = Mesh(*_fine_plate(), "skin")
    wall = plate(0.0, 100.0, "garment").moved(np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]), np.array([60.0, 0, 60]))
    shut = Mesh(wall.vertices, wall.triangles, wall.uv, "garment", np.ones(len(wall.vertices), np.float32))
    corner = scene(fine, shut)
    corner.bake_ambient(np.random.default_rng(0), rays=64)
    origins = np.array([[55.0, 0, 50], [-80.0, 0, 50]], np.float32)
    hits = corner.closest(origins, np.array([[0, 0, -1], [0, 0, -1]], np.float32))
    assert hits.ambient[0] < 0.75 < hits.ambient[1]


def _fine_plate() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y, x = np.meshgrid(np.linspace(-100, 100, 21), np.linspace(-100, 100, 21), indexing="ij")
    points = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3).astype(np.float32)
    return points, grid_triangles(21, 21)[:, ::-1].copy(), np.zeros((441, 2), np.float32)
