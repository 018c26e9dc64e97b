from __future__ import annotations

import numpy as np
import pytest

from perception.errors import PerceptionError
from perception.formats.box_list import read_box_list
from perception.formats.voc import read_annotation, read_detections, read_image_set

OBJECT = """<object><name>car</name><part><name>wheel</name><bndbox><xmin>5</xmin></bndbox></part>
<difficult>1</difficult>
<bndbox><xmax>29.5</xmax><xmin>10</xmin><ymin>11</ymin><ymax>30</ymax></bndbox></object>"""
XML = f"<annotation><size><width>50</width></size>{OBJECT}{{}}</annotation>"


def file(tmp_path, text, name="a.xml"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_an_object_has_its_own_name_and_corners(tmp_path):
    objects = read_annotation(
        file(tmp_path, XML.format(OBJECT.replace("<difficult>1</difficult>", "")))
    )

    assert objects.names == ("car", "car")
    assert objects.corners.tolist() == [[10, 11, 29.5, 30]] * 2
    assert objects.difficult.tolist() == [True, False]
    assert objects.boxes.xyxy[0].tolist() == [9, 10, 29.5, 30]
    assert objects.boxes.ignore.tolist() == [True, False]


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("<size><width>50</width><height>40</height><depth>3</depth></size>", (40, 50)),
        ("<size><width>0</width><height>0</height></size>", None),
        ("<size><width>50</width></size>", None),
        ("<size><width>wide</width><height>40</height></size>", None),
        ("", None),
    ],
)
def test_the_size_of_the_image_is_known_where_it_is_said(tmp_path, size, said):
    assert read_annotation(file(tmp_path, f"<annotation>{size}</annotation>")).size == said


def test_an_annotation_without_objects_is_empty(tmp_path):
    assert len(read_annotation(file(tmp_path, "<annotation/>")).boxes) == 0


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("", ["a.xml"]),
        ("<annotation>", ["a.xml"]),
        (b"\xff\xfe<annotation", ["a.xml"]),
        ("<html></html>", ["<html>"]),
        (XML.format("<object><difficult>0</difficult></object>"), ["object 2", "no name"]),
        (XML.format("<object><name>x</name></object>"), ["object 2", "no bndbox"]),
        (XML.replace("<xmax>29.5</xmax>", "").format(""), ["object 1", "xmax"]),
        (XML.replace("29.5", "nan").format(""), ["object 1", "nan"]),
        (XML.replace("29.5", "").format(""), ["object 1", "finite"]),
        (XML.replace(">1</d", ">maybe</d").format(""), ["object 1", "difficult maybe"]),
    ],
)
def test_damaged_annotations_are_named(tmp_path, text, mentions):
    with pytest.raises(PerceptionError) as caught:
        read_annotation(file(tmp_path, text))

    for word in ["a.xml", *mentions]:
        assert word in str(caught.value)


def test_an_image_set_gives_first_columns_and_refuses_doubles(tmp_path):
    assert read_image_set(file(tmp_path, "a  1\n\nb -1\n", "test.txt")) == ["a", "b"]
    with pytest.raises(PerceptionError, match="a twice"):
        read_image_set(file(tmp_path, "a\nb\na\n", "test.txt"))
    with pytest.raises(PerceptionError, match="no image"):
        read_image_set(file(tmp_path, "\n", "test.txt"))


def test_detections_are_read_in_the_order_of_the_file(tmp_path):
    found = read_detections(
        file(tmp_path, "b 0.5 1 2 3 4\n\na 0.9 5 6 7 8\n", "car.txt"), {"a", "b"}
    )

    assert found.images == ("b", "a")
    assert found.score.tolist() == [0.5, 0.9]
    assert found.corners[1].tolist() == [5, 6, 7, 8]
    assert len(read_detections(file(tmp_path, "", "car.txt"), {"a"}).images) == 0


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("a 0.5 1 2 3 4\nzzz 0.5 1 2 3 4\n", ["line 2", "zzz"]),
        ("a 0.5 1 2 3\n", ["line 1", "5 fields"]),
        ("a nan 1 2 3 4\n", ["line 1", "nan"]),
        ("a 0.5 1 2 3 4_0\n", ["line 1", "4_0"]),
        (b"a 0.5 1 2 3 \xff\n", ["UTF-8"]),
    ],
)
def test_damaged_detections_are_named(tmp_path, text, mentions):
    with pytest.raises(PerceptionError) as caught:
        read_detections(file(tmp_path, text, "car.txt"), {"a"})

    for word in ["car.txt", *mentions]:
        assert word in str(caught.value)


def test_a_json_list_of_boxes_keeps_its_order(tmp_path):
    text = '[{"image_id": 7, "category": "car", "bbox": [1, 2, 3, 4.5], "score": 0.5}]'
    found = read_box_list(file(tmp_path, text, "p.json"), {"7"})

    assert (found.images, found.names) == (("7",), ("car",))
    np.testing.assert_array_equal(found.xyxy, [[1, 2, 3, 4.5]])


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("{}", ["list"]),
        ("[", ["p.json"]),
        ("[1]", ["entry 0"]),
        ('[{"image_id": "a", "category": "car", "bbox": [1, 2, 3], "score": 0.5}]', ["entry 0"]),
        ('[{"image_id": "a", "category": "car", "bbox": [1, 2, 3, NaN], "score": 1}]', ["entry 0"]),
        ('[{"image_id": "b", "category": "car", "bbox": [1, 2, 3, 4], "score": 1}]', ["image b"]),
        ('[{"image_id": "a", "category": 3, "bbox": [1, 2, 3, 4], "score": 1}]', ["entry 0"]),
        ('[{"image_id": "a", "category": "c", "bbox": "1234", "score": 1}]', ["entry 0"]),
    ],
)
def test_damaged_lists_are_named(tmp_path, text, mentions):
    with pytest.raises(PerceptionError) as caught:
        read_box_list(file(tmp_path, text, "p.json"), {"a"})

    for word in ["p.json", *mentions]:
        assert word in str(caught.value)
