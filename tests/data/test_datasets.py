import numpy as np
import pytest

from perception.data.augment import Augment
from perception.data.batch import collate
from perception.data.build import build_sets
from perception.data.datasets import chosen_boxes, open_dataset
from perception.errors import PerceptionError
from perception.files import write_image
from perception.formats.kitti_object import write_labels
from perception.formats.kitti_road import write_label
from perception.formats.manifest import BoxClass, load_manifest
from perception.labels import load_map
from perception.structures import Boxes, RoadLabel
from tests.shared import shared

CLASSES = (BoxClass("car", ("Car",), ("Van",)), BoxClass("pedestrian", ("Pedestrian",), ()))


def boxes(*names):
    n = len(names)
    return Boxes.of(
        np.arange(4 * n).reshape(n, 4), names, ignore=[name == "DontCare" for name in names]
    )


def test_neighbours_and_dontcare_are_ignored_and_other_types_are_background():
    chosen = chosen_boxes(boxes("Car", "Van", "Truck", "DontCare", "Pedestrian"), CLASSES)

    assert chosen.xyxy[:, 0].tolist() == [0, 4, 12, 16]
    assert chosen.label.tolist() == [0, 0, 0, 1]
    assert chosen.ignore.tolist() == [False, True, True, False]


def test_a_neighbour_that_is_trained_itself_is_not_ignored():
    classes = (*CLASSES, BoxClass("van", ("Van",)))

    chosen = chosen_boxes(boxes("Van"), classes)

    assert (chosen.label.tolist(), chosen.ignore.tolist()) == ([2], [False])


def test_type_names_are_compared_without_case_as_the_benchmarks_do():
    chosen = chosen_boxes(boxes("car", "CAR", "vAn", "DontCare", "tram"), CLASSES)

    exact = chosen_boxes(boxes("Car", "Car", "Van", "DontCare", "Tram"), CLASSES)
    assert chosen.label.tolist() == exact.label.tolist()
    assert chosen.ignore.tolist() == exact.ignore.tolist()


def test_classes_come_in_the_order_they_are_asked_for():
    classes = load_manifest("kitti_object").box_classes(("cyclist", "car"))

    assert [c.name for c in classes] == ["cyclist", "car"]
    with pytest.raises(PerceptionError, match="found no class tram, expected one of car"):
        load_manifest("kitti_object").box_classes(("tram",))


def synthetic(root):
    """Two streets in the four formats: road on the left half, one car, ids that follow x."""
    image = np.zeros((40, 60, 3), np.uint8)
    road = np.zeros((40, 60), bool)
    road[:, :30] = True
    ids = np.where(road, 7, 23).astype(np.uint8)
    for part, category, number in (("train", "um", "000000"), ("val", "uu", "000001")):
        name = f"{part}/{category}/{category}_{number}_000000"
        write_image(root / f"cityscapes/leftImg8bit/{name}_leftImg8bit.png", image)
        write_image(root / f"cityscapes/gtFine/{name}_gtFine_labelIds.png", ids)
        write_image(root / f"cityscapes/gtFine/{name}_gtFine_instanceIds.png", ids)
        base = root / "kitti_road/training"
        write_label(base / f"gt_image_2/{category}_road_{number}.png", RoadLabel(road, road | True))
        (base / "calib").mkdir(exist_ok=True)
        (base / f"calib/{category}_{number}.txt").write_text("P2: 1 0 0 0 0 1 0 0 0 0 1 0\n")
        labels = root / f"kitti_object/training/label_2/{number}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        write_labels(labels, Boxes.of([[10, 10, 30, 30]], ["Car"]))
    return root


def test_one_frame_can_carry_all_three_labels(tmp_path):
    root = synthetic(tmp_path)
    (made,) = build_sets(
        {
            "sets": {
                "synthetic": {
                    "root": str(root),
                    "tasks": ["road", "boxes", "semantic"],
                    "batch_size": 2,
                }
            }
        },
        Augment((40, 60)),
    )

    batch = made.stream(seed=0, workers=0).batch(0)

    assert (made.train.frames[0].key, made.val.frames[0].key) == ("um_000000", "uu_000001")
    assert batch.road[0, 0].tolist() == [1] * 30 + [0] * 30
    assert batch.semantic[0, 0].tolist() == [0] * 30 + [10] * 30  # road, sky
    assert batch.boxes[0].xyxy.tolist() == [[10, 10, 30, 30]]
    assert made.train.scheme.names[10] == "sky"
    assert made.train.sample(0).projection.shape == (3, 4)


def test_classes_can_be_merged_by_a_table(tmp_path):
    root = synthetic(tmp_path)
    merged = open_dataset(
        "synthetic", root, "train", tasks=["semantic"], merge="cityscapes_categories"
    )

    assert (
        merged.scheme.names
        == load_map(load_manifest("synthetic").scheme, "cityscapes_categories").target.names
    )
    assert set(np.unique(merged.sample(0).semantic)) == {
        merged.scheme.names.index("flat"),
        merged.scheme.names.index("sky"),
    }


def test_samples_of_different_sizes_do_not_make_a_batch():
    data = open_dataset("kitti_object", shared("data", "kitti_object"), "all", tasks=["boxes"])

    with pytest.raises(ValueError, match="differ in size"):
        collate([data.sample(0), data.sample(1)])


def test_real_boxes_are_counted_by_class():
    data = open_dataset("kitti_object", shared("data", "kitti_object"), "all", tasks=["boxes"])

    targets = [data.target(data.frame(i), "boxes") for i in range(len(data))]
    true = np.concatenate([t.label[~t.ignore] for t in targets])

    assert data.summary == "kitti_object: 57 of 7481 frames"
    assert np.bincount(true).tolist() == [191, 77, 20]
    assert sum(t.ignore.sum() for t in targets) == 30 + 5 + 139  # vans, sitting persons, DontCare


def test_idd_lite_holds_whole_drives_apart():
    root = shared("data", "idd_lite")
    rest, held = (
        open_dataset("idd_lite", root, s, tasks=["road"]) for s in ("train_rest", "train_held_out")
    )

    drives = [{f.key.split("/")[0] for f in d.frames} for d in (rest, held)]
    assert (len(rest), len(held)) == (1220, 183)
    assert not drives[0] & drives[1]
    target, frame = rest.target(rest.frame(0), "road").array, rest.frame(0)
    np.testing.assert_array_equal(target == 1, frame.semantic.ids == 0)
    np.testing.assert_array_equal(target == 255, frame.semantic.ids == 255)


def test_instances_of_cityscapes_agree_with_its_ids():
    data = open_dataset(
        "cityscapes", shared("data", "cityscapes", "half"), "train", tasks=["semantic"]
    )

    frame = data.frame(0)

    of_class = np.where(frame.instances >= 1000, frame.instances // 1000, frame.instances)
    np.testing.assert_array_equal(of_class, frame.semantic.ids)
    assert data.summary == "cityscapes: 8 of 2975 frames"
