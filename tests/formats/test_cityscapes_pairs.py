"""Cityscapes as image and colour label side by side, and CityPersons' boxes of the same frames."""

import cv2
import numpy as np
import pytest
import scipy.io

from perception.cli import main
from perception.data.datasets import open_dataset
from perception.errors import PerceptionError
from perception.files import packaged, write_image
from perception.formats.citypersons import read_boxes
from perception.formats.cityscapes_pairs import decode_colors, split_pair
from perception.formats.frames import find_frames
from perception.formats.manifest import load_manifest
from perception.formats.verify import verify
from perception.labels import load_scheme
from tests.inference.detectors import detector, yolox_rows
from tests.shared import shared

ROAD, CAR, PARKING, BUILDING = (128, 64, 128), (0, 0, 142), (250, 170, 160), (70, 70, 70)


def picture(*columns, size=64):
    """A grey image beside a label of vertical stripes of these colours."""
    label = np.zeros((size, size, 3), np.uint8)
    for stripe, color in zip(np.array_split(np.arange(size), len(columns)), columns, strict=True):
        label[:, stripe] = color
    return np.hstack([np.full((size, size, 3), 90, np.uint8), label])


def frames_file(path, frames):
    """A file as CityPersons has it; `frames` holds (name, rows) pairs."""
    table = np.empty((1, len(frames)), object)
    kind = [("cityname", object), ("im_name", object), ("bbs", object)]
    for i, (name, rows) in enumerate(frames):
        entry = np.empty((1, 1), kind)
        bbs = np.array(rows, np.uint16).reshape(-1, 10)
        entry[0, 0] = (name.split("_")[0], f"{name}_leftImg8bit.png", bbs)
        table[0, i] = entry
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"anno_train_aligned": table})


@pytest.fixture
def folder(tmp_path):
    """Frames 1, 2 and 174 to 176 of train: three of Aachen, then two of Bochum."""
    for number in (1, 2, 174, 175, 176):
        write_image(tmp_path / "train" / f"{number}.png", picture(ROAD, CAR, PARKING, BUILDING))
    return tmp_path


def test_a_colour_counts_as_the_nearest_class_and_one_that_is_far_from_all_is_ignored():
    scheme = load_scheme("cityscapes")
    near_road, nowhere = (128 + 3, 64 - 4, 128), (0, 255, 0)
    colors = np.array([[ROAD, near_road, CAR, nowhere]], np.uint8)

    ids = decode_colors(colors, scheme, limit=25, left_out=("caravan", "trailer"))

    np.testing.assert_array_equal(ids, [[7, 7, 26, 255]])
    np.testing.assert_array_equal(decode_colors(colors, scheme, limit=24), [[7, 255, 26, 255]])


def test_a_class_that_is_left_out_gives_its_pixels_to_the_nearest_other_one():
    caravan = np.array([[(0, 0, 90)]], np.uint8)
    scheme = load_scheme("cityscapes")

    assert decode_colors(caravan, scheme, limit=700) == 29
    assert decode_colors(caravan, scheme, limit=700, left_out=("caravan", "trailer")) == 27


def test_frames_are_called_by_their_names_so_that_cities_can_be_left_out(folder):
    manifest = load_manifest("cityscapes_pairs")

    keys = [f.key for f in find_frames(manifest, folder, "train").frames]
    names = (packaged("datasets", "cityscapes_pairs", "names") / "train.txt").read_text().split()

    assert keys == [names[n - 1] for n in (1, 2, 174, 175, 176)]
    assert keys[0] == "aachen_000000_000019"
    dataset = open_dataset(
        "cityscapes_pairs", folder, "train", tasks=["semantic"], exclude=["aachen_*"]
    )
    assert [f.key for f in dataset.frames] == [n for n in keys if n.startswith("bochum")]
    assert len(dataset.frames) == 2


def test_the_lists_hold_every_city_once_and_in_order():
    manifest = load_manifest("cityscapes_pairs")

    assert {part: len(names) for part, names in manifest.names.items()} == {
        "train": 2975,
        "val": 500,
    }
    for names in manifest.names.values():
        assert list(names) == sorted(names)
    held_out = manifest.splits["train_held_out"]
    inside = [n for n in manifest.names["train"] if f"{n.split('_')[0]}_*" in held_out.include]
    assert len(inside) == held_out.frames
    assert manifest.splits["train_rest"].frames == 2975 - held_out.frames


def test_a_frame_has_its_natural_shape_its_classes_and_a_road_that_holds_parking(folder):
    dataset = open_dataset("cityscapes_pairs", folder, "train", tasks=["semantic", "road"])

    frame = dataset.frame(0)

    assert frame.image.size == (256, 512)
    assert (frame.image.read() == 90).all()
    assert frame.semantic.ids.shape == (256, 512)
    np.testing.assert_array_equal(np.unique(frame.semantic.ids[:, :100]), [7])
    np.testing.assert_array_equal(np.unique(frame.semantic.ids[:, 400:]), [11])
    assert frame.road.road[:, :120].all() and frame.road.road[:, 270:370].all()
    assert not frame.road.road[:, 130:250].any()
    assert frame.boxes is None


def test_the_label_of_a_jpeg_decodes_and_its_edges_are_ignored(tmp_path):
    path = tmp_path / "train" / "1.jpg"
    write_image(tmp_path / "whole.png", picture(ROAD, CAR, size=256))
    path.parent.mkdir()
    cv2.imwrite(str(path), cv2.imread(str(tmp_path / "whole.png")), [cv2.IMWRITE_JPEG_QUALITY, 75])

    frame = open_dataset("cityscapes_pairs", tmp_path, "train", tasks=["semantic"]).frame(0)

    inside = np.r_[0:230, 282:512]
    np.testing.assert_array_equal(np.unique(frame.semantic.ids[:, inside]), [7, 26])
    assert (frame.semantic.ids == 255).mean() < 0.05


def test_the_boxes_of_citypersons_come_in_pixels_of_the_frame_with_regions_ignored(folder):
    rows = [
        [1, 400, 200, 80, 200, 24000, 400, 200, 80, 100],
        [2, 800, 400, 100, 160, 25000, 800, 400, 100, 160],
        [3, 900, 400, 40, 80, 24001, 900, 400, 40, 80],
        [0, 1200, 100, 400, 300, 0, 1200, 100, 400, 300],
        [5, 1700, 100, 40, 40, 0, 1700, 100, 40, 40],
    ]
    frames = [("aachen_000000_000019", rows), ("aachen_000001_000019", [])]
    frames_file(folder / "citypersons" / "anno_train.mat", frames)

    dataset = open_dataset(
        "cityscapes_pairs", folder, "train", tasks=["boxes"], include=["aachen_00000[01]_*"]
    )
    first, second = (dataset.frame(i).boxes for i in range(2))
    target = dataset.target(dataset.frame(0), "boxes")

    np.testing.assert_array_equal(first.xyxy[0], [100, 50, 120, 100])
    assert first.names.tolist() == ["pedestrian", "rider", "sitting", "ignore", "group"]
    assert len(second) == 0
    assert dataset.box_names == ("pedestrian", "cyclist")
    assert target.label.tolist()[:2] == [0, 1]
    assert target.ignore.tolist() == [False, False, True, True, True]


def test_a_teacher_adds_cars_to_the_people_of_citypersons(folder, tmp_path):
    rows = [[1, 400, 200, 80, 200, 24000, 400, 200, 80, 100], [5, 1700, 100, 40, 40, 0, 1, 1, 1, 1]]
    frames_file(folder / "citypersons" / "anno_train.mat", [("aachen_000000_000019", rows)])
    (folder / "one.txt").write_text("aachen_000000_000019\n")
    sees = yolox_rows((1, 2, 20, 12, 16, 8, 0, 0.9), (2, 4, 36, 20, 8, 8, 1, 0.9))
    teacher = detector(tmp_path / "t.onnx", sees, (32, 64), {"names": "['car', 'person']"})
    out = tmp_path / "out"
    words = ["--data", "cityscapes_pairs", "--root", str(folder), "--split", "one.txt"]
    classes = ["--class", "car=car", "--class", "person=pedestrian"]

    assert main(["pseudo-label", str(out), *words, "--teacher", str(teacher), *classes]) == 0

    dataset = open_dataset(out / "dataset.yaml", folder, "one.txt", tasks=["semantic", "boxes"])
    boxes = dataset.frame(0).boxes
    assert dataset.box_names == ("pedestrian", "cyclist", "car")
    assert boxes.names.tolist() == ["pedestrian", "DontCare", "car"]
    np.testing.assert_allclose(boxes.xyxy[0], [100, 50, 120, 100])
    np.testing.assert_allclose(boxes.xyxy[2], [96, 64, 224, 128], atol=0.02)


def test_a_file_of_boxes_without_the_frame_is_named(folder):
    path = folder / "citypersons" / "anno_train.mat"
    frames_file(path, [("aachen_000001_000019", [])])

    dataset = open_dataset("cityscapes_pairs", folder, "train", tasks=["boxes"])
    with pytest.raises(PerceptionError, match="no frame aachen_000000_000019"):
        dataset.frame(0)


@pytest.mark.parametrize(
    "content", [b"", b"not a MATLAB file, though long enough to have a header" * 9]
)
def test_a_file_that_is_no_matlab_file_is_named(tmp_path, content):
    path = tmp_path / "anno_train.mat"
    path.write_bytes(content)

    with pytest.raises(PerceptionError, match=r"anno_train\.mat"):
        read_boxes(path)


def test_a_matlab_file_of_something_else_is_refused(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"a": np.zeros((2, 2)), "b": np.zeros(3)})
    scipy.io.savemat(tmp_path / "b.mat", {"a": np.zeros((2, 2))})
    frames_file(tmp_path / "c.mat", [("aachen_000000_000019", [[9, 0, 0, 1, 1, 0, 0, 0, 1, 1]])])

    for name, found in (("a", "2 variables"), ("b", "without im_name"), ("c", "no box")):
        with pytest.raises(PerceptionError, match=found):
            read_boxes(tmp_path / f"{name}.mat")


def test_a_picture_that_is_no_pair_and_a_number_without_a_name_are_errors(folder, tmp_path):
    write_image(tmp_path / "square.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(PerceptionError, match="8x8"):
        split_pair(tmp_path / "square.png")

    write_image(folder / "train" / "2976.png", picture(ROAD))
    with pytest.raises(PerceptionError, match="1 to 2975"):
        open_dataset("cityscapes_pairs", folder, "train", tasks=["semantic"])


def test_prepare_reads_pairs_and_names_one_that_is_damaged(folder):
    manifest = load_manifest("cityscapes_pairs")
    assert verify(manifest, folder, ["train"]).damage == ()

    write_image(folder / "train" / "2.png", np.zeros((8, 8, 3), np.uint8))
    (line,) = verify(manifest, folder, ["train"]).damage
    assert "2.png" in line and "8x8" in line


def test_the_real_boxes_of_citypersons_have_the_published_counts():
    boxes = read_boxes(shared("data", "citypersons", "anno_train.mat"))
    names = np.concatenate([b.names for b in boxes.values()])

    assert len(boxes) == 2975
    assert {n: int((names == n).sum()) for n in ("pedestrian", "rider", "ignore")} == {
        "pedestrian": 16526,
        "rider": 1680,
        "ignore": 6768,
    }
    assert sorted(boxes) == list(load_manifest("cityscapes_pairs").names["train"])
