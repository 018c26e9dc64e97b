"""Which picture a label gets: by its path, and refused where that does not tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drawing import convert, picture, reasons, report_of

from perception.annotation.pairing import pair
from perception.annotation.sources.camvid import ORIGINAL
from perception.files import read_image, write_image


def paired(pictures: list[str], **labels: tuple[str, str]) -> dict[str, str | None]:
    """Label → its picture, or the reason why it has none; a warning stands behind it."""
    root = Path("/data")
    named = {key: (name, root / place) for key, (name, place) in labels.items()}
    found = pair(named, [root / p for p in pictures], root)
    return {
        key: " ".join(
            ([one.picture.relative_to(root).as_posix()] if one.picture else [])
            + ([one.problem.reason] if one.problem else [])
        )
        for key, one in found.items()
    }


@pytest.mark.parametrize(
    ("pictures", "name", "place", "expected"),
    [
        (["day1/1.png", "day2/1.png"], "day2/1.png", "l.json", "day2/1.png"),
        (["day1/1.png", "day2/1.png"], "/cam/day2/1.png", "l.json", "day2/1.png"),
        (["day1/1.png", "day2/1.png"], "cam\\day1\\1.png", "l.json", "day1/1.png"),
        (["day1/1.png", "day2/1.png"], "1.png", "l.json", "image_ambiguous"),
        (["day1/1.png", "day2/1.png"], "day3/1.png", "l.json", "image_ambiguous"),
        (["i/day1/1.png", "i/day2/1.png"], "1.png", "l/day2/1.json", "i/day2/1.png"),
        (["day1/i/1.png", "day2/i/1.png"], "1.png", "day2/l/1.json", "day2/i/1.png"),
        (["day1/1.png", "day2/1.png"], "1.png", "day1/1.json", "day1/1.png"),
        (["i/1.jpg"], "1.png", "l.json", "i/1.jpg"),
        (["i/1.JPG"], "1.jpg", "l.json", "i/1.JPG"),
        (["i/1.jpg", "m/1.png"], "1.jpg", "l.json", "i/1.jpg"),
        (["i/1.jpg", "i/1.png"], "1", "l.json", "image_ambiguous"),
        (["i/b1.2.jpg"], "b1.2", "l.json", "i/b1.2.jpg"),
        (["1.png"], "day1/1.png", "l.json", "1.png"),
        (["i/1.png"], "day1/1.png", "l.json", "i/1.png image_path_fallback"),
        (["i/1.png"], "2.png", "l.json", "image_missing"),
        (["i/1.png"], "", "l.json", "image_missing"),
    ],
)
def test_a_label_gets_the_picture_that_its_path_tells(pictures, name, place, expected):
    assert paired(pictures, a=(name, place)) == {"a": expected}


def test_a_picture_that_belongs_to_other_labels_is_not_given_twice():
    found = paired(["day2/1.png"], a=("day1/1.png", "l.json"), b=("day2/1.png", "l.json"))

    assert found == {"a": "image_missing", "b": "day2/1.png"}


def test_boxes_and_areas_of_one_picture_in_two_files_both_get_it():
    found = paired(["i/1.png"], a=("1.png", "boxes.json"), b=("1.png", "areas.json"))

    assert found == {"a": "i/1.png", "b": "i/1.png"}


def two_days(src: Path) -> None:
    """day1/0001.png is blue, day2/0001.png red."""
    for day, colour in (("day1", (0, 0, 250)), ("day2", (250, 0, 0))):
        write_image(src / day / "0001.png", np.full((40, 60, 3), colour, np.uint8))


def box(x: float) -> dict:
    return {"category": "car", "box2d": {"x1": x, "y1": 2, "x2": x + 9, "y2": 20}}


@pytest.mark.parametrize("form", ["list", "one file per image"])
def test_two_drives_with_the_same_frame_names_keep_their_own_pictures(form: str, tmp_path: Path):
    src = tmp_path / "src"
    two_days(src)
    days = {"day1": box(1), "day2": box(11)}
    if form == "list":
        frames = [{"name": f"{day}/0001.png", "labels": [one]} for day, one in days.items()]
        (src / "labels.json").write_text(json.dumps(frames))
    else:
        for day, one in days.items():
            content = {"name": "0001", "frames": [{"objects": [one]}]}
            (src / day / "0001.json").write_text(json.dumps(content))

    words = ("--renumber",)
    assert convert("kitti_object", src, tmp_path / "out", *words, source="bdd100k") == 0

    out = tmp_path / "out/training"
    for number, (colour, x) in enumerate((((0, 0, 250), "1.00"), ((250, 0, 0), "11.00"))):
        assert tuple(read_image(out / f"image_2/{number:06d}.png")[0, 0]) == colour
        assert (out / f"label_2/{number:06d}.txt").read_text().split()[4] == x


def test_a_name_that_fits_two_pictures_is_an_error_that_lists_them(tmp_path: Path):
    src = tmp_path / "src"
    two_days(src)
    (src / "l.json").write_text(json.dumps([{"name": "0001.png", "labels": [box(1)]}]))

    assert convert("kitti_object", src, tmp_path / "out", source="bdd100k") == 1

    (error,) = report_of(tmp_path / "out")["errors"]
    assert error["reason"] == "image_ambiguous"
    assert "day1/0001.png, day2/0001.png" in error["detail"]


def test_the_recording_of_a_frame_tells_its_picture(tmp_path: Path):
    src = tmp_path / "src"
    two_days(src)
    frame = {"name": "0001.png", "videoName": "day2", "labels": [box(1)]}
    (src / "l.json").write_text(json.dumps([frame]))

    assert convert("kitti_object", src, tmp_path / "out", source="bdd100k") == 0

    got = read_image(tmp_path / "out/training/image_2/000000.png")
    assert tuple(got[0, 0]) == (250, 0, 0)


def test_open_images_ids_that_fit_two_pictures_are_refused(tmp_path: Path):
    src = tmp_path / "src"
    two_days(src)
    (src / "b.csv").write_text(
        "ImageID,LabelName,XMin,XMax,YMin,YMax\n0001,/m/0k4j,0.1,0.5,0.2,0.8\n"
    )

    assert convert("kitti_object", src, tmp_path / "out", source="open_images") == 1

    assert [code for _, _, code in reasons(tmp_path / "out", "errors")] == ["image_ambiguous"]


def test_camvid_labels_of_two_drives_keep_their_own_pictures(tmp_path: Path):
    src = tmp_path / "src"
    colours = list(ORIGINAL)
    for day, colour in (("day1", (0, 0, 250)), ("day2", (250, 0, 0))):
        write_image(src / day / "raw/0001.png", np.full((40, 60, 3), colour, np.uint8))
        write_image(src / day / "label/0001_L.png", np.full((40, 60, 3), colours[17], np.uint8))

    assert convert("cityscapes", src, tmp_path / "out", source="camvid") == 0

    images = sorted((tmp_path / "out/leftImg8bit").rglob("*.png"))
    assert [tuple(read_image(p)[0, 0]) for p in images] == [(0, 0, 250), (250, 0, 0)]


def test_pictures_beside_the_original_camvid_labels_are_not_labels(tmp_path: Path):
    write_image(tmp_path / "src/f.png", picture())
    write_image(tmp_path / "src/f_L.png", np.full((40, 60, 3), (128, 64, 128), np.uint8))

    assert convert("cityscapes", tmp_path / "src", tmp_path / "out", source="camvid") == 0

    assert [entry["file"] for entry in report_of(tmp_path / "out")["converted"]] == ["f_L.png"]
