"""What the converter takes for its input, what it passes over and what it says about that."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from drawing import SIZE, annotation, convert, picture, reasons, report_of, shape, write_folder

from perception.annotation import walk as walking
from perception.cli import main
from perception.files import read_image, write_image

ROAD = shape("road", "polygon", [[4, 20], [55, 18], [59, 39], [0, 39]])
SUFFIXES = ("bmp", "tiff", "webp", "gif", "ppm", "png", "jpg")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_picture_format_behind_a_labelme_file_is_read(suffix: str, tmp_path: Path):
    flat = np.full((*SIZE, 3), (255, 0, 0), np.uint8)
    src = tmp_path / "src"
    src.mkdir()
    PIL.Image.fromarray(flat).save(src / f"a.{suffix}")
    (src / "a.json").write_text(json.dumps(annotation([ROAD], f"a.{suffix}")))

    assert convert("kitti_road", src, tmp_path / "out") == 0
    assert main(["audit", str(src), "--workers", "1"]) == 0

    got = read_image(tmp_path / "out/training/image_2/um_000000.png")
    assert np.abs(got.astype(int) - flat).max() <= 2


def test_a_file_that_is_no_picture_says_so_and_names_no_python_error(tmp_path: Path):
    src = write_folder(tmp_path / "src", {"a": [ROAD]})
    (src / "a.png").write_bytes(b"GIF89a and nothing else")

    assert convert("kitti_road", src, tmp_path / "out") == 1

    (error,) = report_of(tmp_path / "out")["errors"]
    assert error["reason"] == "image_unreadable"
    assert "Error" not in error["detail"] and "WEBP" in error["detail"]


def test_a_cut_jpeg_is_refused(tmp_path: Path):
    src = write_folder(tmp_path / "src", {"a": [ROAD]})
    PIL.Image.fromarray(picture()).save(src / "a.jpg")
    data = (src / "a.jpg").read_bytes()
    (src / "a.jpg").write_bytes(data[: len(data) // 2])
    (src / "a.json").write_text(json.dumps(annotation([ROAD], "a.jpg")))

    assert convert("kitti_road", src, tmp_path / "out") == 1

    assert reasons(tmp_path / "out", "errors") == [("a.json", None, "image_unreadable")]


def test_12_bit_data_in_16_bits_is_refused_with_the_cause(tmp_path: Path):
    src = write_folder(tmp_path / "src", {"a": [ROAD]})
    write_image(src / "a.png", picture()[..., 0].astype(np.uint16) * 16)

    assert convert("kitti_road", src, tmp_path / "out") == 1

    (error,) = report_of(tmp_path / "out")["errors"]
    assert error["reason"] == "image_unreadable" and "nearly black" in error["detail"]


SOURCES = ("labelme", "kitti_road", "kitti_object", "cityscapes", "camvid", "bdd100k",
           "open_images")  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_a_folder_without_labels_of_the_format_is_wrong_usage(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    src = tmp_path / "src"
    for folder in ("training/label_2", "training/gt_image_2"):
        (src / folder).mkdir(parents=True)
    write_image(src / "lonely.png", picture())

    assert convert("labelme", src, tmp_path / "out", source=source) == 2

    assert not (tmp_path / "out").exists()
    assert str(src) in capsys.readouterr().err


def test_auditing_an_empty_folder_is_wrong_usage(tmp_path: Path, capsys):
    assert main(["audit", str(tmp_path)]) == 2
    assert "no *.json" in capsys.readouterr().err


def test_files_of_macos_and_of_notebooks_are_no_annotations(tmp_path: Path, capsys):
    src = write_folder(tmp_path / "src", {"um_000000": [ROAD], "um_000001": [ROAD]})
    (src / "._um_000000.json").write_bytes(b"\x00\x05\x16\x07\xb0")
    for folder in (".ipynb_checkpoints", "__MACOSX"):
        write_folder(src / folder, {"um_000000-checkpoint": [ROAD]})

    assert convert("kitti_road", src, tmp_path / "out") == 0

    assert [e["name"] for e in report_of(tmp_path / "out")["converted"]] == [
        "um_000000",
        "um_000001",
    ]
    assert "1 hidden file" in capsys.readouterr().out


@pytest.mark.parametrize(
    "source", ["bdd100k", "kitti_object", "kitti_road", "cityscapes", "camvid"]
)
def test_side_files_of_macos_are_no_labels_of_any_source(source: str, tmp_path: Path):
    src = tmp_path / "src"
    write_image(src / "training/image_2/um_000000.png", picture())
    write_image(src / "training/image_2/000000.png", picture())
    write_image(src / "leftImg8bit/train/ulm/ulm_000000_000000_leftImg8bit.png", picture())
    write_image(src / "a_L.png", np.zeros((*SIZE, 3), np.uint8))
    write_image(src / "a.png", picture())
    write_image(
        src / "gtFine/train/ulm/ulm_000000_000000_gtFine_labelIds.png", np.full(SIZE, 7, np.uint8)
    )
    write_image(
        src / "training/gt_image_2/um_road_000000.png", np.full((*SIZE, 3), (255, 0, 0), np.uint8)
    )
    (src / "training/label_2").mkdir()
    (src / "training/label_2/000000.txt").write_text("")
    (src / "l.json").write_text(json.dumps([{"name": "a.png", "labels": []}]))
    for path in [p for p in src.rglob("*") if p.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")

    convert("kitti_road", src, tmp_path / "out", source=source)

    assert report_of(tmp_path / "out")["errors"] == []
    assert len(report_of(tmp_path / "out")["converted"]) == 1


def test_a_linked_folder_is_said_and_entered_only_when_allowed(tmp_path: Path):
    src = write_folder(tmp_path / "src", {"a": [ROAD]})
    write_folder(tmp_path / "disk/day2", {"b": [ROAD]})
    (src / "day2").symlink_to(tmp_path / "disk/day2")
    (src / "again").symlink_to(src)  # leads in: nothing new there
    (tmp_path / "disk/day2/up").symlink_to(tmp_path)

    assert convert("kitti_road", src, tmp_path / "out") == 0
    assert convert("kitti_road", src, tmp_path / "all", "--allow-outside") == 0

    assert reasons(tmp_path / "out", "warnings") == [("day2", None, "linked_folder")]
    files = [entry["file"] for entry in report_of(tmp_path / "all")["converted"]]
    assert files == ["a.json", "day2/b.json"]
    assert reasons(tmp_path / "all", "warnings") == []


def test_a_folder_that_cannot_be_opened_is_an_error_and_the_rest_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    src = write_folder(tmp_path / "src", {"a": [ROAD]})
    (src / "locked").mkdir()
    real = os.walk

    def walk(top, onerror=None, **words):
        onerror(PermissionError(13, "Permission denied", str(src / "locked")))
        return real(top, onerror=onerror, **words)

    monkeypatch.setattr(walking.os, "walk", walk)  # root may open any folder

    assert convert("kitti_road", src, tmp_path / "out") == 1

    assert reasons(tmp_path / "out", "errors") == [("locked", None, "folder_unreadable")]
    assert len(report_of(tmp_path / "out")["converted"]) == 1


@pytest.mark.parametrize("suffix", [".PNG", ".Png", ".JPG"])
def test_suffixes_are_compared_without_case(suffix: str, tmp_path: Path):
    training = tmp_path / "src/training"
    write_image(training / "image_2/000000.png", picture())
    (training / "image_2/000000.png").rename(training / f"image_2/000000{suffix}")
    (training / "label_2").mkdir()
    line = "Car 0.00 0 0.00 1.00 2.00 30.00 20.00 1 1 1 1 1 9 0"
    (training / "label_2/000000.TXT").write_text(f"{line}\n")

    assert convert("labelme", tmp_path / "src", tmp_path / "out", source="kitti_object") == 0

    assert len(report_of(tmp_path / "out")["converted"]) == 1


def test_utf_16_is_named(tmp_path: Path):
    src = write_folder(tmp_path / "src", {"a": [ROAD]})
    (src / "a.json").write_text((src / "a.json").read_text(), encoding="utf-16")

    assert convert("kitti_road", src, tmp_path / "out") == 1

    (error,) = report_of(tmp_path / "out")["errors"]
    assert error["reason"] == "json_encoding" and "UTF-16" in error["detail"]


def mutated(value: object, rng: random.Random) -> object:
    """The value with one of its parts of another kind."""
    odd = [None, True, 5, -1, 1e999, "x", "\ud800", [], {}, [[]], [{}], {"a": []}, 10**30]
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        return value | {key: mutated(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        index = rng.randrange(len(value))
        return [*value[:index], mutated(value[index], rng), *value[index + 1 :]]
    return rng.choice(odd)


def test_odd_values_in_bdd100k_labels_are_named_or_converted(tmp_path: Path, capsys):
    labels = [
        {"category": "car", "attributes": {"occluded": True, "areaType": "direct"},
         "box2d": {"x1": 1.5, "y1": 2.0, "x2": 10.0, "y2": 20.0}},
        {"category": "drivable area", "attributes": {"areaType": "direct"},
         "poly2d": [{"vertices": [[0, 30], [50, 30], [59, 39]], "types": "LCC", "closed": True}]},
        {"category": "lane/crosswalk", "poly2d": [[5, 30, "L"], [9, 39, "L"]]},
    ]  # fmt: skip
    forms = [
        [{"name": "a.png", "labels": labels}],
        {"frames": [{"name": "a.png", "labels": labels}], "config": {}},
        {"name": "a", "frames": [{"timestamp": 1, "objects": labels}]},
    ]
    rng = random.Random(5)
    src = tmp_path / "src"
    write_image(src / "a.png", picture())
    for turn in range(300):
        (src / "l.json").write_text(json.dumps(mutated(forms[turn % 3], rng)))
        code = convert("kitti_road", src, tmp_path / "out", "--overwrite", source="bdd100k")
        assert code in (0, 1, 2)
        if code < 2:
            found = [*reasons(tmp_path / "out", "errors"), *reasons(tmp_path / "out", "warnings")]
            assert "internal_error" not in {reason for _, _, reason in found}
    assert "Traceback" not in capsys.readouterr().err
