"""Exported detectors: what their outputs mean, tiles, and a teacher's labels."""

import json

import numpy as np
import pytest

from perception.annotation.pseudo import PseudoSettings, pseudo_labels
from perception.cli import main
from perception.data.build import build_augment, build_sets
from perception.data.datasets import open_dataset
from perception.errors import PerceptionError
from perception.files import read_yaml, write_image, write_text
from perception.formats.pseudo_labels import RECORD
from perception.inference.conventions import decode, lay_in, tell_convention
from perception.inference.detectors import Detector
from perception.inference.tiles import Tiled, tile_starts
from perception.structures import Boxes, Prediction
from tests.inference.detectors import detector, yolox_rows

SIZE = (32, 64)
NAMES = {"names": "{0: 'car', 1: 'person'}"}
IMAGE = np.zeros((64, 128, 3), np.uint8)  # twice the input: every pixel of the input is two


# ---------------------------------------------------------------------------- conventions


def test_a_row_of_yolox_is_an_offset_in_its_cell_and_the_logarithm_of_its_size():
    output = yolox_rows((1, 2, 20, 12, 16, 8, 1, 0.5))

    found = decode(output.astype(np.float32), "yolox", SIZE)

    best = found.score.argmax()
    np.testing.assert_allclose(found.xyxy[best], [12, 8, 28, 16], atol=1e-5)
    assert (found.label[best], found.score[best]) == (1, 0.5)


def test_the_four_conventions_give_one_box_the_same_place():
    centre = [20, 12, 16, 8]
    outputs = {
        "yolox": yolox_rows((1, 2, *centre, 1, 0.5)),
        "ultralytics": np.array([[*centre, 0.1, 0.5]]).T,
        "yolov5": np.array([[*centre, 0.5, 0.2, 1.0]]),
        "end_to_end": np.array([[12, 8, 28, 16, 0.5, 1]]),
    }
    for name, output in outputs.items():
        found = decode(output.astype(np.float32), name, SIZE)
        best = found.score.argmax()
        np.testing.assert_allclose(found.xyxy[best], [12, 8, 28, 16], atol=1e-5)
        assert found.label[best] == 1
        assert found.score[best] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("shape", "convention"),
    [
        ((42, 7), "yolox"),
        ((126, 7), "yolov5"),
        ((6, 42), "ultralytics"),
        ((300, 6), "end_to_end"),
        ((42, 9), None),
        ((7, 22, 22), "fastestdet"),
        ((85, 22, 22), None),
    ],
)
def test_the_convention_is_told_from_the_shape(shape, convention):
    assert tell_convention(shape, 2, SIZE) == convention


def test_a_map_of_fastestdet_holds_one_box_per_cell_in_a_stretched_image():
    maps = np.zeros((7, 4, 8))
    maps[1:3] = np.arctanh(0.5)  # half a cell to the right and down
    maps[3], maps[4] = np.log(0.25 / 0.75), 0.0  # a quarter of the width, half of the height
    maps[0, 1, 2], maps[6, 1, 2] = 0.5, 1.0

    found = decode(maps.astype(np.float32), "fastestdet", SIZE)
    values, box = lay_in(np.zeros((64, 64, 3), np.uint8), SIZE, "fastestdet")

    best = found.score.argmax()
    np.testing.assert_allclose(found.xyxy[best], [12, 4, 28, 20], atol=1e-4)
    assert found.label[best] == 1 and found.score[best] == pytest.approx(0.5**0.6)
    assert values.shape == (1, 3, *SIZE)
    np.testing.assert_allclose(box.undo(np.array([[0.0, 0, 64, 32]])), [[0, 0, 64, 64]])


def test_an_image_lies_top_left_for_yolox_and_in_the_middle_for_the_others():
    image = np.full((16, 64, 3), (200, 100, 0), np.uint8)

    top, box = lay_in(image, SIZE, "yolox")
    middle, other = lay_in(image, SIZE, "ultralytics")

    assert (box.top, other.top, other.left) == (0, 8, 0)
    np.testing.assert_array_equal(top[0, :, 0, 0], [0, 100, 200])  # BGR, 0..255
    np.testing.assert_allclose(middle[0, :, 8, 0], np.array([200, 100, 0]) / 255, rtol=1e-6)
    np.testing.assert_array_equal(top[0, :, 31, 0], [114] * 3)
    np.testing.assert_allclose(other.undo(np.array([[0.0, 8, 64, 24]])), [[0, 0, 64, 16]])


# ---------------------------------------------------------------------------- detectors


def test_a_detector_gives_our_classes_in_pixels_of_the_image_without_doubles(tmp_path):
    output = yolox_rows(
        (1, 2, 20, 12, 16, 8, 0, 0.9),
        (1, 3, 20.5, 12, 16, 8, 0, 0.8),
        (2, 5, 44, 20, 8, 16, 1, 0.7),
    )
    path = detector(tmp_path / "a.onnx", output, SIZE, NAMES)

    boxes = Detector(path, classes={"car": "Car", "person": "Pedestrian"}).predict(IMAGE).boxes
    cars = Detector(path, classes={"car": "Car"}).predict(IMAGE, key="a")

    np.testing.assert_allclose(boxes.xyxy, [[24, 16, 56, 32], [80, 24, 96, 56]], atol=1e-4)
    assert boxes.names.tolist() == ["Car", "Pedestrian"]
    np.testing.assert_allclose(boxes.score, [0.9, 0.7], rtol=1e-6)
    assert cars.key == "a" and cars.boxes.names.tolist() == ["Car"]


def test_a_detector_that_is_none_is_one_clear_line(tmp_path):
    good = detector(tmp_path / "good.onnx", yolox_rows(), SIZE, NAMES)
    odd = detector(tmp_path / "odd.onnx", np.zeros((5, 9)), SIZE, NAMES)
    write_text(tmp_path / "text.onnx", "no model")

    for path, options, found in (
        (tmp_path / "none.onnx", {}, "no such file"),
        (tmp_path / "text.onnx", {}, "an ONNX file"),
        (odd, {}, "an output of 5x9"),
        (good, {"classes": {"tram": "tram"}}, "no class tram"),
        (good, {"convention": "yolo"}, "one of yolox"),
    ):
        with pytest.raises(PerceptionError, match=found):
            Detector(path, **options)


# ---------------------------------------------------------------------------- tiles


class Columns:
    """Sees a box around every bright pixel column; knows what it was shown."""

    def __init__(self):
        self.shown = []
        self.timing = type("Timing", (), {"pre": 1.0, "network": 2.0, "post": 3.0})()

    def predict(self, image, *, key="", tasks=None):
        self.shown.append(image.shape)
        columns = np.flatnonzero(image[0, :, 0])
        boxes = [[max(0, c - 4), 2, min(image.shape[1], c + 5), 8] for c in columns]
        found = Boxes.of(
            np.array(boxes).reshape(-1, 4), ["car"] * len(boxes), score=[0.9] * len(boxes)
        )
        return Prediction(key, image.shape[:2], boxes=found)


def test_tiles_are_squares_from_edge_to_edge():
    assert tile_starts(1242, 375, 4) == [0, 289, 578, 867]
    assert tile_starts(100, 100, 3) == [] == tile_starts(300, 100, 0)


def test_boxes_of_tiles_come_back_in_the_pixels_of_the_image_each_once():
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, [6, 21, 50]] = 255  # 21: cut by the first tile, whole in the second
    inner = Columns()

    found = Tiled(inner, 3).predict(image, key="a").boxes

    assert inner.shown == [(20, 60, 3), *[(20, 20, 3)] * 3]
    assert sorted(found.xyxy[:, 0].tolist()) == [2, 17, 46]
    only = Tiled(Columns(), 3, whole=False).predict(image).boxes
    assert sorted(only.xyxy[:, 0].tolist()) == [2, 46]  # every tile cuts the middle one


# ---------------------------------------------------------------------------- labels


def boxes_of(*rows):
    """(x1, y1, x2, y2, name, score) rows."""
    return Boxes.of([r[:4] for r in rows], [r[4] for r in rows], score=[r[5] for r in rows])


def test_sure_boxes_are_labels_doubtful_ones_are_ignored_and_weak_ones_background():
    found = boxes_of(
        (0, 0, 10, 10, "car", 0.9), (20, 0, 30, 10, "car", 0.3), (40, 0, 50, 10, "car", 0.05)
    )

    made = pseudo_labels(found, PseudoSettings(confident=0.5, low=0.1))

    assert made.boxes.names.tolist() == ["car", "DontCare"]
    assert made.boxes.ignore.tolist() == [False, True]
    assert np.isnan(made.boxes.score).all()
    assert made.counts.values == (1, 1, 0, 0)


def test_what_lies_under_an_ignored_class_is_ignored():
    found = boxes_of((0, 0, 10, 20, "pedestrian", 0.9), (0, 10, 10, 30, "ignore", 0.6))

    made = pseudo_labels(found, PseudoSettings())

    assert made.boxes.names.tolist() == ["DontCare", "DontCare"]


def test_of_two_boxes_of_one_object_the_surer_one_decides():
    car, truck = (0, 0, 20, 10, "car", 0.8), (0, 0, 20, 11, "ignore", 0.6)

    kept = pseudo_labels(boxes_of(car, truck), PseudoSettings()).boxes
    gone = pseudo_labels(boxes_of(car, (*truck[:5], 0.9)), PseudoSettings()).boxes

    assert kept.names.tolist() == ["car", "DontCare"]
    assert gone.names.tolist() == ["DontCare", "DontCare"]


def test_true_masks_drop_a_box_beside_its_class_and_ignore_what_no_box_covers():
    mask = np.zeros((40, 100), bool)
    mask[10:20, 10:30] = True  # found
    mask[10:20, 70:90] = True  # not found
    mask[30, 50:53] = True  # three pixels: noise
    found = boxes_of((10, 10, 30, 20, "car", 0.9), (40, 10, 60, 20, "car", 0.9))

    made = pseudo_labels(found, PseudoSettings(), {"car": mask})

    assert made.boxes.names.tolist() == ["car", "DontCare"]
    np.testing.assert_array_equal(made.boxes.xyxy[1], [70, 10, 90, 20])
    assert made.counts.values == (1, 0, 1, 1)


# ---------------------------------------------------------------------------- the verb


@pytest.fixture
def campus(tmp_path):
    """Two frames with classes and no boxes; a car's pixels where the teacher sees its first car."""
    root = tmp_path / "campus"
    ids = np.zeros((64, 128), np.uint8)
    ids[16:32, 24:56] = 1
    for name in ("a", "b"):
        write_image(root / "images" / f"{name}.png", IMAGE)
        write_image(root / "labels" / f"{name}.png", ids)
    write_text(
        root / "dataset.yaml",
        """name: campus
layout: {image: "images/{number}", semantic: "labels/{number}.png"}
key: "{number}"
splits: {train: {}, val: {}}
labels:
  - {name: road, id: 0, color: [128, 64, 128]}
  - {name: car, id: 1, color: [0, 0, 142]}
""",
    )
    return root


@pytest.fixture
def teacher(tmp_path):
    """Sees a car, another where there is none, and a person that it doubts."""
    output = yolox_rows(
        (1, 2, 20, 12, 16, 8, 0, 0.9), (2, 6, 52, 24, 8, 8, 0, 0.9), (3, 1, 10, 26, 4, 8, 1, 0.3)
    )
    return detector(tmp_path / "teacher.onnx", output, SIZE, NAMES)


def label(campus, teacher, out, *more):
    words = ["--data", f"{campus}/dataset.yaml", "--root", str(campus), "--teacher", str(teacher)]
    return main(["pseudo-label", str(out), *words, *more])


def test_pseudo_label_writes_labels_that_train_and_says_who_made_them(campus, teacher, tmp_path):
    out = tmp_path / "made" / "campus"
    words = ("--class", "car=car", "--class", "person=pedestrian", "--mask", "car=car")

    assert label(campus, teacher, out, *words) == 0

    dataset = open_dataset(out / "dataset.yaml", campus, "train", tasks=["semantic", "boxes"])
    boxes = dataset.frame(1).boxes
    record = json.loads((out / "boxes" / RECORD).read_text())
    assert len(dataset) == 2 and dataset.box_names == ("car",)
    np.testing.assert_allclose(boxes.xyxy[0], [24, 16, 56, 32], atol=0.01)
    assert boxes.names.tolist() == ["car", "DontCare"]
    assert boxes.ignore.tolist() == [False, True]
    assert record["teacher"] == "teacher.onnx" and len(record["sha256"]) == 64
    assert record["counts"] == {"labels": 2, "ignored": 2, "off_mask": 2, "uncovered": 0}
    assert read_yaml(out / "dataset.yaml")["pseudo"] == {"boxes": "teacher.onnx"}


def test_pseudo_labels_are_never_the_ground_truth_of_an_evaluation(
    campus, teacher, tmp_path, capsys
):
    out = tmp_path / "made"
    assert label(campus, teacher, out, "--class", "car=car") == 0
    sets = {
        "campus": {
            "dataset": str(out / "dataset.yaml"),
            "root": str(campus),
            "tasks": ["semantic", "boxes"],
            "batch_size": 1,
        }
    }
    augment = build_augment({"size": [32, 32]})

    with pytest.raises(PerceptionError, match=r"campus\.val: found pseudo-labels for boxes"):
        build_sets({"sets": sets}, augment)
    own = {"dataset": str(campus / "dataset.yaml"), "split": "val", "tasks": ["semantic"]}
    (made,) = build_sets({"sets": {"campus": {**sets["campus"], "val": own}}}, augment)
    assert made.val.tasks == ("semantic",) and made.tasks == ("semantic", "boxes")

    write_text(out / "results" / "a.txt", "")
    folders = ["--gt", str(out / "boxes"), "--pred", str(out / "results")]
    assert main(["score", "kitti_object/kitti_2019", *folders]) == 1
    assert "pseudo-labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--class", "car"), "two names"),
        (("--class", "tram=car"), "no class tram"),
        (("--mask", "car=lorry"), "no class lorry"),
        (("--confident", "0.1", "--low", "0.5"), "low <= confident"),
    ],
)
def test_a_wrong_word_of_pseudo_label_is_one_line(campus, teacher, tmp_path, capsys, words, found):
    assert label(campus, teacher, tmp_path / "made", *words) in (1, 2)
    assert found in capsys.readouterr().err
    assert not (tmp_path / "made" / "dataset.yaml").exists()
