"""Everything that is written about a frame says the same: boxes, masks, polygons, calibration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perception.structures import Boxes, Float
from perception.synthesis.annotate import Labels, annotate, class_ids
from perception.synthesis.canvas import Element
from perception.synthesis.movers import dimensions_of, placed
from perception.synthesis.render import render
from perception.synthesis.road import KERB_M
from perception.synthesis.scene import draw_scene
from perception.synthesis.world import Actor, Scene
from perception.synthesis.write import write_frame

IDS = class_ids()
FRAMES = (0, 3, 4, 8)
SIZE = (188, 621)


@pytest.fixture(scope="module")
def labelled() -> list[tuple[Scene, Labels, tuple[Element, ...]]]:
    rows = []
    for index in FRAMES:
        scene = draw_scene(11, index, SIZE)
        rendering = render(scene)
        rows.append((scene, annotate(scene, rendering), rendering.elements))
    return rows


def street(*actors: Actor, size: tuple[int, int] = (375, 1242)) -> Scene:
    """An empty straight street with these actors."""
    scene = draw_scene(5, 2, size)
    road = replace(scene.road, offset=0.0, slope=0.0, curvature=0.0, sides=())
    return replace(scene, actors=actors, props=(), road=road)


def labels_of(scene: Scene) -> Labels:
    return annotate(scene, render(scene))


def driving(x: float, z: float, kind: str = "car", seed: int = 0) -> Actor:
    return Actor(kind, x, z, -np.pi / 2, seed)


def corners(boxes: Boxes, i: int) -> Float:
    """(8, 3) corners of a 3D box in KITTI's camera frame, from the label alone."""
    h, w, length = boxes.dimensions[i]
    x = np.array([1, 1, -1, -1, 1, 1, -1, -1]) * length / 2
    y = np.array([0, 0, 0, 0, -1, -1, -1, -1]) * h
    z = np.array([1, -1, -1, 1, 1, -1, -1, 1]) * w / 2
    c, s = np.cos(boxes.rotation_y[i]), np.sin(boxes.rotation_y[i])
    return np.stack([c * x + s * z, y, -s * x + c * z], 1) + boxes.location[i]


def projected(matrix: Float, points: Float) -> Float:
    """(N, 2) pixels of a 3x4 matrix."""
    p = np.hstack([points, np.ones((len(points), 1))]) @ matrix.T
    return p[:, :2] / p[:, 2:]


def overlap(a: Float, b: Float) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inter = np.prod(np.clip(high - low, 0, None))
    return float(inter / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inter))


# ---------------------------------------------------------------------------------- boxes


@pytest.mark.parametrize("kind", ["car", "van", "truck", "person", "cyclist"])
@pytest.mark.parametrize("z", [9.0, 17.0, 34.0])
def test_a_box_lies_tight_around_the_pixels_of_what_stands_free(kind: str, z: float) -> None:
    labels = labels_of(street(driving(1.5, z + 8 * (kind == "truck"), kind, seed=4)))
    ids = {"car": "car", "van": "car", "person": "person", "truck": "truck"}
    shown = labels.ids == IDS[ids.get(kind, "rider")]
    if kind == "cyclist":
        shown |= labels.ids == IDS["bicycle"]
    rows, columns = shown.any(1).nonzero()[0], shown.any(0).nonzero()[0]
    tight = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]

    assert labels.boxes.occlusion.tolist() == [0]
    assert labels.boxes.truncation.tolist() == [0]
    assert np.abs(labels.boxes.xyxy[0] - tight).max() <= 1.6


@pytest.mark.parametrize("turn", [0.0, 0.4, 1.2, -2.0])
def test_the_3d_box_of_a_label_holds_its_vehicle_and_projects_onto_its_2d_box(turn: float) -> None:
    for kind in ("car", "van", "truck"):
        actor = replace(driving(-2.0, 16.0, kind, seed=3), rotation_y=turn)
        scene = street(actor)
        boxes = labels_of(scene).boxes
        pixels = projected(scene.camera.calibration().matrix("P2"), corners(boxes, 0))
        outer = np.array([*pixels.min(0), *pixels.max(0)]) + 0.5

        assert (boxes.xyxy[0, :2] >= outer[:2] - 1.5).all()
        assert (boxes.xyxy[0, 2:] <= outer[2:] + 1.5).all()
        assert overlap(outer, boxes.xyxy[0]) > 0.75


def test_alpha_is_the_turn_seen_from_the_camera(
    labelled: list[tuple[Scene, Labels, tuple[Element, ...]]],
) -> None:
    for _, labels, _ in labelled:
        boxes = labels.boxes[~labels.boxes.ignore]
        expected = boxes.rotation_y - np.arctan2(boxes.location[:, 0], boxes.location[:, 2])
        difference = (boxes.alpha - expected + np.pi) % (2 * np.pi) - np.pi

        assert np.abs(difference).max() < 0.03


def test_the_location_is_on_the_ground_where_the_actor_stands() -> None:
    scene = street(driving(2.0, 20.0))
    boxes = labels_of(scene).boxes

    assert boxes.location[0].tolist() == [2.0, round(scene.camera.height_m, 2), 20.0]
    assert boxes.dimensions[0].tolist() == [round(v, 2) for v in dimensions_of(scene.actors[0])]


def test_truncation_is_the_share_of_the_box_beyond_the_picture() -> None:
    scene = street(driving(-6.5, 9.0, seed=1))
    cut = labels_of(scene).boxes
    wide = replace(scene, camera=replace(scene.camera, cx=scene.camera.cx + 400))
    whole = labels_of(wide).boxes
    inside = whole.xyxy[0] - [400, 0, 400, 0]
    share = -inside[0] / (inside[2] - inside[0])

    assert whole.truncation.tolist() == [0]
    assert 0.1 < share < 0.9
    assert cut.truncation[0] == pytest.approx(share, abs=0.015)
    assert cut.xyxy[0] == pytest.approx([0, *inside[1:]], abs=0.05)


def test_occlusion_follows_the_pixels_that_are_seen() -> None:
    near, far = driving(0.0, 10.0, "truck", seed=1), driving(0.4, 30.0)
    hidden = labels_of(street(near, far)).boxes
    assert hidden.names.tolist() == ["Truck", "DontCare"]

    for x, levels in ((6.0, {1, 2}), (12.0, {0})):
        boxes = labels_of(street(near, driving(x, 30.0))).boxes
        car = boxes[boxes.names == "Car"]
        assert len(car) == 1
        assert set(car.occlusion.tolist()) <= levels


def test_a_cyclist_does_not_hide_his_own_bicycle() -> None:
    for turn in (0.0, -np.pi / 2, 2.5):
        actor = replace(driving(1.0, 12.0, "cyclist"), rotation_y=turn)

        assert labels_of(street(actor)).boxes.occlusion.tolist() == [0]


def test_what_is_tiny_is_dont_care() -> None:
    boxes = labels_of(street(driving(0.0, 200.0))).boxes

    assert boxes.names.tolist() in ([], ["DontCare"])


def test_what_is_behind_the_camera_leaves_no_trace() -> None:
    labels = labels_of(street(driving(0.0, -8.0), driving(3.0, -3.5)))

    assert len(labels.boxes) == 0
    assert IDS["car"] not in labels.ids


# --------------------------------------------------------------------- road, calibration


def test_the_road_label_is_the_asphalt_that_is_seen(
    labelled: list[tuple[Scene, Labels, tuple[Element, ...]]],
) -> None:
    for _, labels, _ in labelled:
        assert (labels.road.road == (labels.ids == IDS["road"])).all()
        assert (labels.road.lane is None) or not (labels.road.lane & ~labels.road.road).any()
        assert labels.road.valid.mean() > 0.8


@pytest.mark.parametrize("index", range(6))
def test_the_homography_of_the_calibration_finds_the_road_where_it_is(index: int) -> None:
    scene = draw_scene(21, index, (375, 1242))
    scene = replace(scene, actors=(), props=(), road=replace(scene.road, sides=()))
    labels = labels_of(scene)
    matrices = scene.camera.calibration().matrices
    rectify, to_road = np.eye(4), np.eye(4)
    rectify[:3, :3], to_road[:3] = matrices["R0_rect"], matrices["Tr_cam_to_road"]
    matrix = matrices["P2"] @ rectify @ np.linalg.inv(to_road)
    found = 0
    for s in np.linspace(6.5, 35, 20):
        for edge, sign in ((scene.road.left, -1), (scene.road.right, 1)):
            for beyond, expected in ((-0.25, True), (KERB_M + 0.2, False)):
                x = float(scene.road.x(s, edge + sign * beyond))
                u, v = np.rint(projected(matrix, np.array([[x, 0.0, s]]))[0]).astype(int)
                if 0 <= u < 1242 and 0 <= v < 375:
                    assert labels.road.road[v, u] == expected
                    found += 1
    assert found > 20


def test_the_world_keeps_its_place_at_another_size() -> None:
    large, small = (labels_of(draw_scene(9, 1, s)).boxes for s in ((375, 1242), (128, 416)))
    scale = np.array([416 / 1242, 128 / 375, 416 / 1242, 128 / 375])
    pairs = 0
    for i in np.flatnonzero(small.names == "Car"):
        same = np.flatnonzero((large.location == small.location[i]).all(1))
        for j in same:
            assert np.abs(large.xyxy[j] * scale - small.xyxy[i]).max() < 2.0
            pairs += 1
    assert pairs


@pytest.mark.parametrize("size", [(32, 64), (600, 64), (40, 900), (512, 1024)])
def test_any_size_of_picture_can_be_made(size: tuple[int, int]) -> None:
    for index in range(2):
        scene = draw_scene(1, index, size)
        rendering = render(scene)

        assert rendering.image.shape == (*size, 3)
        assert annotate(scene, rendering).ids.shape == size


# ------------------------------------------------------------------------------- polygons


def test_the_polygons_painted_by_cityscapesscripts_are_the_label_images(tmp_path: Path) -> None:
    annotation = pytest.importorskip("cityscapesscripts.helpers.annotation")
    from cityscapesscripts.preparation.json2instanceImg import createInstanceImage
    from cityscapesscripts.preparation.json2labelImg import createLabelImage

    for index in FRAMES[:2]:
        scene = draw_scene(11, index, SIZE)
        rendering = render(scene)
        labels = annotate(scene, rendering)
        write_frame(tmp_path, "train", index, scene, rendering.image, labels)
    for path in (tmp_path / "cityscapes").rglob("*_polygons.json"):
        index = int(path.name.split("_")[1])
        labels = annotate(scene := draw_scene(11, index, SIZE), render(scene))
        read = annotation.Annotation()
        read.fromJsonFile(str(path))

        assert (np.array(createLabelImage(read, "ids")) == labels.ids).all()
        assert (np.array(createInstanceImage(read, "ids")) == labels.instances).all()


def test_the_labelme_polygons_are_the_same_ones(tmp_path: Path) -> None:
    scene = draw_scene(11, 3, SIZE)
    rendering = render(scene)
    write_frame(tmp_path, "val", 3, scene, rendering.image, annotate(scene, rendering))
    labelme = json.loads(next((tmp_path / "labelme").rglob("*.json")).read_text())
    cityscapes = json.loads(next((tmp_path / "cityscapes").rglob("*.json")).read_text())

    assert len(labelme["shapes"]) == len(cityscapes["objects"])
    for shape, thing in zip(labelme["shapes"], cityscapes["objects"], strict=True):
        assert np.floor(shape["points"]).astype(int).tolist() == thing["polygon"]
        assert thing["label"] == ("car" if shape["label"] == "van" else shape["label"])


def test_every_labelled_vehicle_has_pixels_of_its_class_inside_its_box(
    labelled: list[tuple[Scene, Labels, tuple[Element, ...]]],
) -> None:
    ids = {"Car": "car", "Van": "car", "Truck": "truck", "Pedestrian": "person", "Cyclist": "rider"}
    for _, labels, _ in labelled:
        for name, box in zip(labels.boxes.names, labels.boxes.xyxy, strict=True):
            if name != "DontCare":
                x1, y1, x2, y2 = np.rint(box).astype(int)
                assert IDS[ids[str(name)]] in labels.ids[y1 : y2 + 1, x1 : x2 + 1]


def test_a_point_of_an_actor_is_turned_as_kitti_turns_it() -> None:
    ahead = placed(np.array([[2.0, 0.0, 0.0]]), Actor("car", 1.0, 10.0, -np.pi / 2, 0))

    assert ahead[0] == pytest.approx([1.0, 0.0, 12.0])
