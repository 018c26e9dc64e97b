"""Own classes: from labelme to class ids, COCO and YOLO; frames kept for validation."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import yaml
from drawing import SIZE, annotation, convert, picture, reasons, shape, write_folder

from perception.annotation.classes import default_table
from perception.annotation.interfaces import Item
from perception.annotation.own_classes import class_names, own_table
from perception.annotation.splitting import split_of
from perception.cli import main
from perception.errors import UsageError
from perception.files import read_label
from perception.formats.frames import find_frames
from perception.formats.manifest import load_manifest
from perception.labels import load_scheme

ASPHALT = shape("asphalt", "polygon", [[0, 20], [59, 20], [59, 39], [0, 39]])
TUK = shape("Tuk-Tuk", "rectangle", [[10, 10], [19, 29]])
WALKER = shape("pedestrian", "rectangle", [[30, 5], [39, 34]])
CAR = shape("car", "rectangle", [[1, 1], [9, 9]])
SCHEME = """
name: campus
labels:
  - {name: asphalt, id: 3, train_id: 0, color: [128, 64, 128]}
  - {name: tuk tuk, id: 7, train_id: 1, color: [0, 0, 142]}
  - {name: person, id: 9, train_id: 2, color: [220, 20, 60]}
  - {name: unsure, id: 0, train_id: 255, color: [0, 0, 0], ignore: true}
"""


def test_own_classes_become_ids_of_the_scheme_and_a_ready_data_set(tmp_path: Path):
    """By hand: road from row 20, the tuk-tuk's 10x20 pixels, the person's 10x30; the rest 255."""
    src = write_folder(tmp_path / "src", {"a": [ASPHALT, TUK, WALKER], "b": [ASPHALT]})
    (tmp_path / "campus.yaml").write_text(SCHEME)
    out = tmp_path / "out"

    assert convert("semantic", src, out, "--scheme", str(tmp_path / "campus.yaml")) == 0

    ids = read_label(out / "labels/a.png")
    expected = np.full(SIZE, 255, np.uint8)
    expected[20:], expected[10:30, 10:20], expected[5:35, 30:40] = 3, 7, 9
    np.testing.assert_array_equal(ids, expected)
    manifest = load_manifest(out / "dataset.yaml")
    assert manifest.scheme.classes == load_scheme(tmp_path / "campus.yaml").classes
    frames = find_frames(manifest, out, "train", ("semantic",)).frames
    assert [frame.key for frame in frames] == ["a", "b"]
    assert main(["prepare", str(out / "dataset.yaml"), "--root", str(out)]) == 0


def test_classes_named_on_the_command_line_count_from_0_and_background_is_the_rest(tmp_path: Path):
    hole = shape("_background_", "rectangle", [[0, 30], [4, 39]])
    unsure = shape("ignore", "rectangle", [[50, 30], [59, 39]])
    src = write_folder(tmp_path / "src", {"a": [ASPHALT, hole, unsure]})

    assert convert("semantic", src, tmp_path / "out", "--classes", "background,asphalt") == 0

    ids = read_label(tmp_path / "out/labels/a.png")
    expected = np.zeros(SIZE, np.uint8)
    expected[20:], expected[30:, :5], expected[30:, 50:] = 1, 0, 255
    np.testing.assert_array_equal(ids, expected)


def test_pixels_without_a_shape_get_the_class_that_is_asked_for(tmp_path: Path):
    src = write_folder(tmp_path / "src", {"a": [TUK]})
    words = ("--classes", "tuk-tuk,other", "--unlabelled")

    assert convert("semantic", src, tmp_path / "out", *words, "other") == 0
    assert convert("semantic", src, tmp_path / "x", *words, "nothing") == 2

    assert np.bincount(read_label(tmp_path / "out/labels/a.png").ravel()).tolist() == [200, 2200]


def test_a_label_that_no_class_covers_is_an_error_unless_ignored(tmp_path: Path):
    src = write_folder(tmp_path / "src", {"a": [ASPHALT, TUK]})
    words = ("--classes", "asphalt")

    assert convert("semantic", src, tmp_path / "out", *words) == 1
    assert convert("semantic", src, tmp_path / "o2", *words, "--unknown", "ignore") == 0

    assert reasons(tmp_path / "out", "errors") == [("a.json", 1, "unknown_label")]


def test_a_label_map_leads_to_own_classes(tmp_path: Path):
    src = write_folder(tmp_path / "src", {"a": [ASPHALT | {"label": "tarmac"}]})
    (tmp_path / "map.yaml").write_text("labels: {tarmac: asphalt}\n")
    words = ("--classes", "asphalt", "--label-map", str(tmp_path / "map.yaml"))

    assert convert("semantic", src, tmp_path / "out", *words) == 0

    assert (read_label(tmp_path / "out/labels/a.png")[20:] == 0).all()


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--classes", ""),
        ("--classes", "car,Car"),
        ("--classes", "car", "--scheme", "camvid"),
        ("--classes", "car", "--val-share", "1"),
        ("--classes", "car", "--val-share", "0.5"),  # one frame
        ("--classes", "car", "--city", "ulm"),
    ],
)
def test_wrong_use_of_own_classes_writes_nothing(words: tuple[str, ...], tmp_path: Path):
    src = write_folder(tmp_path / "src", {"a": [TUK]})

    assert convert("semantic", src, tmp_path / "out", *words) == 2
    assert not (tmp_path / "out").exists()


def test_coco_and_yolo_hold_exactly_the_classes_that_are_named(tmp_path: Path):
    src = write_folder(tmp_path / "src", {"a": [TUK, WALKER, CAR]})
    words = ("--classes", "person,tuk-tuk,bicycle")

    assert convert("coco", src, tmp_path / "coco", *words) == 0
    assert convert("yolo", src, tmp_path / "yolo", *words) == 0

    content = json.loads((tmp_path / "coco/annotations.json").read_text())
    assert content["categories"] == [
        {"id": 1, "name": "person"},
        {"id": 2, "name": "tuk-tuk"},
        {"id": 3, "name": "bicycle"},
    ]
    assert [a["category_id"] for a in content["annotations"]] == [2, 1]
    lines = (tmp_path / "yolo/labels/a.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["1", "0"]
    data = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())
    names = {0: "person", 1: "tuk-tuk", 2: "bicycle"}
    assert data == {"train": "images", "val": "images", "names": names}


@pytest.mark.parametrize(
    ("text", "names"),
    [("car, tuk tuk,", ("car", "tuk tuk")), ("FILE.txt", ("a", "b c")), ("FILE.yaml", ("road",))],
)
def test_names_of_classes_are_read(text: str, names: tuple[str, ...], tmp_path: Path):
    (tmp_path / "FILE.txt").write_text("a\n\nb c  # two words\n")
    row = "labels: [{name: road, id: 4, train_id: 0, color: [1, 2, 3]}]"
    (tmp_path / "FILE.yaml").write_text(f"name: x\n{row}\n")

    assert class_names(text.replace("FILE", str(tmp_path / "FILE"))) == names


def test_own_classes_keep_the_spellings_of_the_built_in_table():
    table = own_table(("vehicle", "Pedestrian", "tuk tuk"), default_table(), only=True)

    found = {
        label: resolved.meaning.name if (resolved := table.resolve(label)) else None
        for label in ("car", "SUV", "vehicle", "person", "pedestrian", "tuk-tuk 3", "void", "sky")
    }

    assert found == {
        "car": "vehicle",
        "SUV": "vehicle",
        "vehicle": "vehicle",
        "person": "Pedestrian",
        "pedestrian": "Pedestrian",
        "tuk-tuk 3": "tuk tuk",
        "void": "unlabeled",
        "sky": None,
    }


def test_a_class_is_preferred_to_a_synonym_of_another():
    table = own_table(("vehicle", "car"), default_table(), only=True)

    names = [table.resolve(label).meaning.name for label in ("car", "suv", "vehicle")]

    assert names == ["car", "car", "vehicle"]


@pytest.mark.parametrize(
    ("files", "share", "val"),
    [
        (["1", "2", "3", "4", "5"], 0.2, ["5"]),
        (["1", "2", "3"], 0.01, ["3"]),
        (["1", "2", "3"], 0.99, ["2", "3"]),
        (["a/1", "a/2", "a/3", "b/1"], 0.25, ["b/1"]),
        (["a/1", "a/2", "b/1", "b/2", "c/1"], 0.4, ["a/1", "a/2"]),
        (["a/1", "a/2", "b/1", "b/2"], 0.1, ["a/1", "a/2"]),
    ],
)
def test_whole_folders_or_the_last_frames_are_kept_for_validation(files, share, val):
    items = [Item(file, file, Path(file), Path()) for file in files]

    parts = split_of(items, share)

    assert [file for file, part in zip(files, parts, strict=True) if part == "val"] == val


def test_one_frame_cannot_be_split():
    with pytest.raises(UsageError, match="at least 2"):
        split_of([Item("a", "a", Path("a"), Path())], 0.5)


TARGETS = ("kitti_road", "kitti_object", "cityscapes", "coco", "yolo", "semantic", "labelme")


@pytest.mark.parametrize("target", TARGETS)
def test_every_format_keeps_frames_for_validation(target: str, tmp_path: Path):
    src = write_folder(tmp_path / "src", {f"f{k}": [CAR] for k in range(4)})
    words = ("--classes", "car") if target == "semantic" else ()
    out = tmp_path / "out"

    assert convert(target, src, out, "--val-share", "0.25", *words) == 0

    if target == "coco":
        files = [json.loads((out / f"annotations_{s}.json").read_text()) for s in ("train", "val")]
        counts = [len(content["images"]) for content in files]
        assert files[1]["images"][0]["file_name"] == "f3.png"
        assert [a["image_id"] for a in files[1]["annotations"]] == [1]
    elif target in ("cityscapes", "yolo"):
        base = "leftImg8bit" if target == "cityscapes" else "images"
        counts = [len(list((out / base / s).rglob("*.png"))) for s in ("train", "val")]
    else:
        lists = [(out / f"splits/{s}.txt").read_text().split() for s in ("train", "val")]
        counts = [len(names) for names in lists]
        last = {"kitti_road": "um_000003", "kitti_object": "000003"}.get(target, "f3")
        assert lists[1] == [last]
    assert counts == [3, 1]


def test_the_lists_are_splits_of_the_kitti_data_sets(tmp_path: Path):
    road = ASPHALT | {"label": "road"}
    src = write_folder(tmp_path / "src", {f"f{k}": [road] for k in range(4)})
    for target in ("kitti_road", "kitti_object"):
        out = tmp_path / target

        assert convert(target, src, out, "--val-share", "0.25") == 0

        listing = find_frames(load_manifest(target), out, str(out / "splits/val.txt"))
        assert len(listing.frames) == 1


def jpeg(orientation: int = 1) -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    PIL.Image.fromarray(picture()).save(buffer, "JPEG", quality=80, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("target", ["coco", "yolo", "semantic"])
def test_images_are_copied_unchanged_where_every_tool_reads_them(target: str, tmp_path: Path):
    src = write_folder(tmp_path / "src", {"png": [TUK]})
    for stem, data in (("jpg", jpeg()), ("turned", jpeg(3))):
        (src / f"{stem}.jpg").write_bytes(data)
        (src / f"{stem}.json").write_text(json.dumps(annotation([TUK], f"{stem}.jpg")))
    PIL.Image.fromarray(picture()).save(src / "bmp.bmp")
    (src / "bmp.json").write_text(json.dumps(annotation([TUK], "bmp.bmp")))
    images = tmp_path / "out/images"

    assert convert(target, src, tmp_path / "out", "--classes", "tuk-tuk") == 0

    names = sorted(path.name for path in images.iterdir())
    assert names == ["bmp.png", "jpg.jpg", "png.png", "turned.png"]
    assert (images / "jpg.jpg").read_bytes() == (src / "jpg.jpg").read_bytes()
    assert (images / "png.png").read_bytes() == (src / "png.png").read_bytes()


def test_a_jpeg_inside_a_labelme_file_keeps_its_kind(tmp_path: Path):
    (tmp_path / "src").mkdir()
    content = annotation([TUK], "gone.png", imageData=base64.b64encode(jpeg()).decode())
    (tmp_path / "src/a.json").write_text(json.dumps(content))

    assert convert("coco", tmp_path / "src", tmp_path / "out", "--classes", "tuk-tuk") == 0

    assert (tmp_path / "out/images/a.jpg").read_bytes() == jpeg()
    row = json.loads((tmp_path / "out/annotations.json").read_text())["images"][0]
    assert row["file_name"] == "a.jpg"


def test_own_classes_are_offered_by_labelme_and_known_to_the_audit(tmp_path: Path, capsys):
    src = write_folder(tmp_path, {"a": [ASPHALT, TUK]})

    assert main(["annotate", str(src), "--classes", "asphalt,tuk-tuk", "--print"]) == 0
    assert "--labels asphalt,tuk-tuk,ignore,_background_" in capsys.readouterr().out
    assert main(["audit", str(src), "--workers", "1"]) == 1
    assert main(["audit", str(src), "--classes", "asphalt,tuk-tuk", "--workers", "1"]) == 0
