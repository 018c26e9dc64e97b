"""BDD100K in its official layout, drawn small."""

import json

import numpy as np
import pytest

from perception.data.datasets import open_dataset
from perception.errors import PerceptionError
from perception.files import write_image, write_text
from perception.formats.bdd100k_frames import read_boxes
from tests.shared import shared

NAMES = ("b1c66a42-6f7d68ca", "b1c81faa-3df17267")


def write_boxes(folder, frames):
    write_text(folder / "labels/det_20/det_train.json", json.dumps(frames))


def entry(name, *labels):
    rows = []
    for category, box, attributes in labels:
        box2d = dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
        rows.append({"category": category, "box2d": box2d, "attributes": attributes})
    return {"name": f"{name}.jpg", "labels": rows}


@pytest.fixture
def folder(tmp_path):
    """Two frames; the own lane left, then another lane, no road, unsure; a marking between."""
    drivable = np.repeat(np.array([[0, 1, 2, 255]], np.uint8), 8, 1).repeat(16, 0)
    lanes = np.full((16, 32), 255, np.uint8)
    lanes[:, 8] = 0b0010_0110  # a marking: bit 3 is not set
    for name in NAMES:
        write_image(tmp_path / f"images/100k/train/{name}.png", np.zeros((16, 32, 3), np.uint8))
        write_image(tmp_path / f"labels/drivable/masks/train/{name}.png", drivable)
        write_image(tmp_path / f"labels/lane/masks/train/{name}.png", lanes)
    labels = [
        ("car", (2, 4, 9, 11), {"crowd": False}),
        ("other person", (12, 4, 14, 9), {}),
        ("pedestrian", (16, 2, 29, 9), {"crowd": True}),
    ]
    write_boxes(tmp_path, [entry(NAMES[0], *labels), {"name": f"{NAMES[1]}.jpg", "labels": None}])
    return tmp_path


def test_every_label_of_a_frame_is_read(folder):
    dataset = open_dataset(
        "bdd100k",
        folder,
        "train",
        tasks=["road", "lane", "markings", "boxes"],
        box_classes=["car", "pedestrian"],
    )

    frame, other = dataset.frame(0), dataset.frame(1)
    columns = np.arange(32)

    assert [f.key for f in dataset.frames] == list(NAMES)
    np.testing.assert_array_equal(frame.road.road[0], columns < 16)
    np.testing.assert_array_equal(frame.road.valid[0], columns < 24)
    np.testing.assert_array_equal(frame.labels["lane"].mask[0], columns < 8)
    np.testing.assert_array_equal(frame.labels["markings"].mask[0], columns == 8)
    np.testing.assert_array_equal(frame.boxes.xyxy[0], [2, 4, 10, 12])
    assert frame.boxes.names.tolist() == ["car", "other_person", "pedestrian"]
    assert frame.boxes.ignore.tolist() == [False, False, True]
    assert len(other.boxes) == 0


def test_the_papers_vehicle_is_car_truck_bus_and_train(folder):
    write_boxes(
        folder, [entry(NAMES[0], *((c, (0, 0, 4, 4), {}) for c in ("car", "bus", "rider")))]
    )
    dataset = open_dataset("bdd100k", folder, "train", tasks=["boxes"], box_classes=["vehicle"])

    assert dataset.sample(0).boxes.label.tolist() == [0, 0]


def test_a_coloured_map_and_a_label_without_a_box_are_named(folder):
    odd = np.full((16, 32), 7, np.uint8)
    write_image(folder / f"labels/drivable/masks/train/{NAMES[0]}.png", odd)
    with pytest.raises(PerceptionError, match="value 7"):
        open_dataset("bdd100k", folder, "train", tasks=["road"]).frame(0)

    for frames, found in (
        ({"a": 1}, "a list of frames"),
        ([{"labels": []}], "frame 0"),
        ([{"name": "a.jpg", "labels": [{"category": "car"}]}], "a.jpg, label 0"),
        ([entry("a", ("car", (5, 0, 1, 4), {}))], "x1 <= x2"),
    ):
        path = folder / f"{len(found)}.json"
        path.write_text(json.dumps(frames))
        with pytest.raises(PerceptionError, match=found):
            read_boxes(path)


def test_the_classes_of_the_10k_images_are_train_ids(tmp_path):
    write_image(tmp_path / "images/10k/val/a.png", np.zeros((4, 4, 3), np.uint8))
    ids = np.array([[0, 13, 18, 255]] * 4, np.uint8)
    write_image(tmp_path / "labels/sem_seg/masks/val/a.png", ids)

    frame = open_dataset("bdd100k_semantic", tmp_path, "val", tasks=["semantic"]).frame(0)

    np.testing.assert_array_equal(frame.semantic.train_ids, ids)
    assert frame.road.road[:, 0].all() and frame.road.road.sum() == 4


def test_the_toolkits_own_boxes_are_read():
    boxes = read_boxes(shared("data", "bdd100k", "example_ignore_annotation.json"))

    assert sum(map(len, boxes.values())) > 0
