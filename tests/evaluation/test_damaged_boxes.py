"""Damaged label and result files: an error that names the file, or a score that is defined."""

from __future__ import annotations

import json
import math

import pytest

from perception.errors import PerceptionError
from perception.evaluation import score

LABEL = "Car 0.00 0 0.10 100 100 200 150 1.5 1.6 3.9 1.0 1.6 20.0 0.2"
RESULT = LABEL + " 0.5"
XML = (
    "<annotation><object><name>car</name><difficult>0</difficult><bndbox><xmin>10</xmin>"
    "<ymin>10</ymin><xmax>60</xmax><ymax>60</ymax></bndbox></object></annotation>"
)
ENTRY = {"image_id": "a", "category": "car", "bbox": [9, 9, 60, 60], "score": 0.5}


def kitti(root):
    for folder, line in (("gt", LABEL), ("pred", RESULT)):
        (root / folder).mkdir()
        for name in ("000000.txt", "000001.txt"):
            (root / folder / name).write_text(line + "\n")
    return {"gt": root / "gt" / "000001.txt", "pred": root / "pred" / "000001.txt"}


def voc(root):
    (root / "gt/Annotations").mkdir(parents=True)
    (root / "gt/ImageSets/Main").mkdir(parents=True)
    (root / "pred").mkdir()
    for name in "ab":
        (root / f"gt/Annotations/{name}.xml").write_text(XML)
    (root / "gt/ImageSets/Main/test.txt").write_text("a\nb\n")
    (root / "pred/car.txt").write_text("a 0.5 10 10 60 60\nb 0.625 10 10 60 60\n")
    (root / "pred.json").write_text(json.dumps([ENTRY]))
    return {
        "xml": root / "gt/Annotations/b.xml",
        "list": root / "gt/ImageSets/Main/test.txt",
        "txt": root / "pred/car.txt",
        "json": root / "pred.json",
    }


def gone(path):
    path.unlink()


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_link_to_itself(path):
    path.unlink()
    path.symlink_to(path)


def a_dangling_link(path):
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


def random_bytes(path):
    path.write_bytes(bytes(range(1, 256)))


def utf16(path):
    path.write_text("Car", encoding="utf-16")


def latin1(path):
    path.write_bytes(path.read_bytes() + "\u00e4 \u00e4 ".encode("latin-1"))


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeros(path):
    path.write_bytes(b"\0" * 40)


EVERYWHERE = [
    gone,
    a_folder,
    a_link_to_itself,
    a_dangling_link,
    random_bytes,
    utf16,
    latin1,
    cut_in_half,
    zeros,
]


@pytest.mark.parametrize("damage", EVERYWHERE, ids=lambda d: d.__name__)
@pytest.mark.parametrize("side", ["gt", "pred"])
def test_a_damaged_kitti_file_is_named(tmp_path, side, damage):
    files = kitti(tmp_path)
    damage(files[side])

    if damage is gone and side == "gt":  # then it is a result without a label
        outcome = score("kitti_object/kitti_2019", tmp_path / "gt", tmp_path / "pred")
        assert outcome.result.values["num_frames"] == 1
        assert "1 results not scored" in outcome.inventory
        return
    with pytest.raises(PerceptionError, match=r"000001\.txt"):
        score("kitti_object/kitti_2019", tmp_path / "gt", tmp_path / "pred")


@pytest.mark.parametrize("side", ["gt", "pred"])
@pytest.mark.parametrize("field", range(1, 16))
@pytest.mark.parametrize("value", ["nan", "inf", "x", "1_0", "--1"])
def test_every_number_of_a_kitti_line_is_checked(tmp_path, side, field, value):
    files = kitti(tmp_path)
    words = files[side].read_text().split()
    if field >= len(words):
        return
    words[field] = value
    files[side].write_text(" ".join(words))

    with pytest.raises(PerceptionError, match=r"000001\.txt, line 1.*" + value):
        score("kitti_object/kitti_2019", tmp_path / "gt", tmp_path / "pred")


@pytest.mark.parametrize(
    "box",
    [
        "200 150 100 100",
        "200 100 100 150",
        "100 100 100 100",
        "-50 -50 -10 -10",
        "1e300 0 2e300 9",
        "-100 -100 5000 5000",
    ],
)
def test_odd_boxes_are_wrong_detections_and_nothing_worse(tmp_path, box):
    """The benchmark has them overlap nothing; the good detection beside keeps its score."""
    files = kitti(tmp_path)
    files["pred"].write_text(f"{RESULT}\n{RESULT.replace('100 100 200 150', box)}\n")

    values = score("kitti_object/kitti_2019", tmp_path / "gt", tmp_path / "pred").result.values
    easy = values["classes"]["car"]["image"]["easy"]

    assert easy["TP"][-1] == 2
    assert all(0 <= p <= 1 for p in easy["precision"])


def test_empty_kitti_files_are_frames_without_boxes(tmp_path):
    files = kitti(tmp_path)
    files["gt"].write_text("")
    files["pred"].write_text("\n\n")

    values = score("kitti_object/kitti_2019", tmp_path / "gt", tmp_path / "pred").result.values

    assert values["num_frames"] == 2
    assert values["classes"]["car"]["objects"]["easy"] == 1


@pytest.mark.parametrize("name", ["1.txt", "000001 (copy).txt", "notes.txt", "stats_car.txt"])
def test_stray_text_files_among_the_results_are_named(tmp_path, name):
    kitti(tmp_path)
    (tmp_path / "pred" / name).write_text(RESULT)

    with pytest.raises(PerceptionError) as caught:
        score("kitti_object/kitti_2019", tmp_path / "gt", tmp_path / "pred")
    assert name in str(caught.value)


def test_other_files_beside_are_passed_over(tmp_path):
    kitti(tmp_path)
    (tmp_path / "pred" / "000001.txt~").write_text("x")
    (tmp_path / "pred" / "sub").mkdir()

    outcome = score("kitti_object/kitti_2019", tmp_path / "gt", tmp_path / "pred")

    assert outcome.result.values["num_frames"] == 2


@pytest.mark.parametrize("folder", ["gt", "pred"])
def test_a_missing_or_empty_kitti_folder_is_named(tmp_path, folder):
    files = kitti(tmp_path)
    for path in files[folder].parent.iterdir():
        path.unlink()
    with pytest.raises(PerceptionError, match=folder):
        score("kitti_object/kitti_2019", tmp_path / "gt", tmp_path / "pred")
    files[folder].parent.rmdir()
    with pytest.raises(PerceptionError, match=folder):
        score("kitti_object/kitti_2019", tmp_path / "gt", tmp_path / "pred")


@pytest.mark.parametrize("damage", EVERYWHERE, ids=lambda d: d.__name__)
@pytest.mark.parametrize(
    ("protocol", "role"),
    [("voc/2007", "xml"), ("voc/2007", "list"), ("voc/area", "txt"), ("coco_style", "json")],
)
def test_a_damaged_voc_file_is_named(tmp_path, protocol, role, damage):
    files = voc(tmp_path)
    damage(files[role])
    if role == "list" and damage is cut_in_half:
        files[role].write_text("a\nb\nb\n")

    predicted = files["json"] if protocol == "coco_style" else tmp_path / "pred"
    with pytest.raises(PerceptionError) as caught:
        score(protocol, tmp_path / "gt", predicted, classes=["car"])
    assert files[role].stem in str(caught.value)


def test_a_voc_bomb_of_entities_is_refused(tmp_path):
    files = voc(tmp_path)
    entities = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(12))
    files["xml"].write_text(
        f'<!DOCTYPE a [<!ENTITY e0 "ha">{entities}]><annotation>&e12;</annotation>'
    )

    with pytest.raises(PerceptionError, match=r"b\.xml"):
        score("voc/2007", tmp_path / "gt", tmp_path / "pred")


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.5", None, True])
def test_every_number_of_a_json_entry_is_checked(tmp_path, value):
    files = voc(tmp_path)
    for entry in ({**ENTRY, "score": value}, {**ENTRY, "bbox": [9, 9, value, 60]}):
        files["json"].write_text(json.dumps([ENTRY, entry]))
        with pytest.raises(PerceptionError, match=r"pred\.json, entry 1"):
            score("coco_style", tmp_path / "gt", files["json"])


@pytest.mark.parametrize("missing", ["image_id", "category", "bbox", "score"])
def test_every_key_of_a_json_entry_is_needed(tmp_path, missing):
    files = voc(tmp_path)
    files["json"].write_text(json.dumps([{k: v for k, v in ENTRY.items() if k != missing}]))

    with pytest.raises(PerceptionError, match=r"pred\.json, entry 0"):
        score("coco_style", tmp_path / "gt", files["json"])


def test_labels_and_detections_of_other_classes_are_counted_aloud(tmp_path):
    files = voc(tmp_path)
    files["xml"].write_text(XML.replace("car", "boat"))

    notes = score("voc/2007", tmp_path / "gt", tmp_path / "pred").result.notes

    assert any("boat (1)" in note for note in notes)
