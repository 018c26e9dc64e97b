"""The world before it is painted: roads, cameras, who stands where."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.synthesis.camera import draw_camera
from perception.synthesis.movers import dimensions_of, placed
from perception.synthesis.road import Road, SideRoad, draw_road
from perception.synthesis.scene import CATEGORIES, draw_scene, frame_rng

plain = Road(
    "um", offset=0.0, slope=0.0, curvature=0.0, left=-5.0, right=2.0, lane=(-1.7, 1.7),
    middle=-1.7, lines=(), sides=(), strip=(0.0, 0.0), sidewalk=(2.0, 2.0), parking=(0.0, 0.0),
)  # fmt: skip


def outside(road: Road, d: float, s: float) -> float:
    grid = np.array([[d]], np.float32), np.array([[s]], np.float32)
    return float(road.outside(*grid)[0, 0])


def test_the_distance_to_the_asphalt_of_a_straight_road() -> None:
    assert outside(plain, 2.5, 20) == pytest.approx(0.5)
    assert outside(plain, 0.0, 20) == pytest.approx(-2.0)
    assert outside(plain, -6.0, 20) == pytest.approx(1.0)


def test_a_side_road_is_asphalt_with_round_corners() -> None:
    side = SideRoad(20, 3.0, left=False, right=True, radius=2.0, crosswalk=False, stop_line=False)
    road = replace(plain, sides=(side,))

    assert outside(road, 8.0, 20) == pytest.approx(-3.0)
    assert outside(road, 8.0, 24) == pytest.approx(1.0)
    assert outside(road, -8.0, 20) == pytest.approx(3.0)  # not on the left
    assert outside(road, 2.2, 23.2) < 0 < outside(plain, 2.2, 23.2)  # the corner is cut round
    assert outside(road, 4.0, 25.0) == pytest.approx(2.0)  # one radius away from both


def test_a_thing_that_drives_along_a_straight_road_looks_ahead() -> None:
    assert plain.heading(10) == pytest.approx(-np.pi / 2)


@settings(deadline=None, max_examples=40)
@given(st.floats(-0.06, 0.06), st.floats(-0.008, 0.008), st.floats(0, 80), st.floats(-12, 12))
def test_every_point_of_the_ground_has_one_place_on_the_road(
    slope: float, curvature: float, s: float, d: float
) -> None:
    road = replace(plain, slope=slope, curvature=curvature, offset=0.3)
    x = road.x(s, d)

    assert road.across(np.array([x]), np.array([s]))[0] == pytest.approx(d, abs=1e-9)


@pytest.mark.parametrize("category", CATEGORIES)
def test_roads_of_a_category_look_like_it(category: str) -> None:
    for seed in range(20):
        road = draw_road(category, np.random.default_rng(seed))

        assert road.left < road.lane[0] < 0 < road.lane[1] < road.right + 1e-9
        assert bool(road.lines) == (category != "uu")
        lanes = (road.right - road.left - sum(road.parking)) / (road.lane[1] - road.lane[0])
        assert lanes == pytest.approx(2) if category != "umm" else lanes > 2.9


def test_the_calibration_has_kitti_s_numbers() -> None:
    camera = draw_camera((375, 1242), np.random.default_rng(0))
    matrices = camera.calibration().matrices

    assert matrices["P2"][0, 0] == pytest.approx(721.5377)
    assert matrices["P2"][0, 3] == pytest.approx(44.86, abs=0.01)
    assert matrices["R0_rect"] @ matrices["R0_rect"].T == pytest.approx(np.eye(3))
    assert np.linalg.det(matrices["R0_rect"]) == pytest.approx(1)
    velodyne = np.vstack([matrices["Tr_velo_to_cam"], [0, 0, 0, 1]])
    ahead = matrices["R0_rect"] @ (velodyne @ [10, 0, 0, 1])[:3]
    assert ahead == pytest.approx([0, -0.08, 9.73], abs=0.01)


def test_the_ground_rows_are_where_the_camera_projects_the_ground() -> None:
    camera = draw_camera((375, 1242), np.random.default_rng(1))
    first, depth = camera.ground_rows(100.0)
    points = np.stack([np.zeros_like(depth), np.zeros_like(depth), depth], 1)

    assert camera.project(points)[0][:, 1] == pytest.approx(np.arange(first, 375))
    assert depth[0] < 100 < camera.focal * camera.height_m / (first - 1 - camera.cy)


@pytest.mark.parametrize("index", range(8))
def test_nobody_stands_in_another(index: int) -> None:
    scene = draw_scene(2, index, (128, 416))
    feet = []
    for actor in scene.actors:
        _, w, length = dimensions_of(actor)
        a, b = length / 2, w / 2
        base = placed(np.array([[a, 0, b], [a, 0, -b], [-a, 0, -b], [-a, 0, b]]), actor)
        feet.append(base[:, [0, 2]].astype(np.float32))
    for i, first in enumerate(feet):
        for j, second in enumerate(feet[:i]):
            shared, _ = cv2.intersectConvexConvex(first, second)
            assert shared < 0.1, (scene.actors[i], scene.actors[j])


def test_frames_draw_their_numbers_from_seed_and_index() -> None:
    draws = {frame_rng(seed, index).random() for seed in range(4) for index in range(4)}

    assert len(draws) == 16
    assert frame_rng(2, 3).random() == frame_rng(2, 3).random()


def test_all_categories_and_kinds_occur() -> None:
    scenes = [draw_scene(0, index, (128, 416)) for index in range(60)]

    assert {scene.road.category for scene in scenes} == set(CATEGORIES)
    kinds = {actor.kind for scene in scenes for actor in scene.actors}
    assert kinds == {"car", "van", "truck", "person", "cyclist"}
    props = {prop.kind for scene in scenes for prop in scene.props}
    assert props == {
        "building",
        "house",
        "tree",
        "bush",
        "fence",
        "wall",
        "hedge",
        "lamp",
        "sign",
        "light",
    }
    assert sum(actor.kind == "car" for scene in scenes for actor in scene.actors) > 400
