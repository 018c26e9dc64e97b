from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from perception.files import write_image
from perception.formats import labelme
from perception.formats.problems import RefusedError
from perception.structures import Shape

TRIANGLE = [[0, 0], [4, 0], [4, 4]]


def refused(call, *args) -> str:
    """The code of the problem that a call raises."""
    with pytest.raises(RefusedError) as error:
        call(*args)
    assert error.value.problem.error
    return error.value.problem.reason


def png(pixels: np.ndarray, tmp_path: Path) -> str:
    write_image(tmp_path / "m.png", pixels)
    return base64.b64encode((tmp_path / "m.png").read_bytes()).decode()


def test_a_file_of_version_2_is_a_polygon_without_group_or_flags():
    raw = {"label": "car", "line_color": None, "fill_color": None, "points": TRIANGLE}

    shape, problems = labelme.read_shape(raw)

    assert (shape.type, shape.group_id, dict(shape.flags), problems) == ("polygon", None, {}, [])
    assert shape.extra == {"line_color": None, "fill_color": None}


def test_null_equals_absent():
    raw = {
        "label": "car",
        "points": TRIANGLE,
        "shape_type": None,
        "flags": None,
        "group_id": None,
        "description": None,
        "mask": None,
    }

    shape, problems = labelme.read_shape(raw)

    assert (shape.type, shape.description, problems) == ("polygon", "", [])


def test_rotation_of_other_tools_is_an_oriented_rectangle():
    shape, _ = labelme.read_shape(
        {"label": "car", "points": [*TRIANGLE, [0, 4]], "shape_type": "rotation"}
    )

    assert shape.type == "oriented_rectangle"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (7, "bad_shape"),
        ({"points": TRIANGLE}, "bad_shape"),
        ({"label": 3, "points": TRIANGLE}, "bad_shape"),
        ({"label": "a", "points": TRIANGLE, "shape_type": "points"}, "unsupported_shape_type"),
        ({"label": "a", "points": TRIANGLE, "shape_type": 3}, "unsupported_shape_type"),
        ({"label": "a"}, "bad_points"),
        ({"label": "a", "points": [[1, 2], [1, 2, 3], [4, 5]]}, "bad_points"),
        ({"label": "a", "points": [[1, "2"], [1, 2], [4, 5]]}, "bad_points"),
        ({"label": "a", "points": [[1, True], [1, 2], [4, 5]]}, "bad_points"),
        ({"label": "a", "points": [[float("nan"), 1e9], [1, 2], [4, 5]]}, "non_finite"),
        ({"label": "a", "points": [[1e7, 1], [1, float("inf")], [4, 5]]}, "non_finite"),
        ({"label": "a", "points": [[10**400, 1], [1, 2], [4, 5]]}, "coordinate_range"),
        ({"label": "a", "points": [[-1000000.5, 1], [1, 2], [4, 5]]}, "coordinate_range"),
        ({"label": "a", "points": TRIANGLE, "shape_type": "circle"}, "bad_points"),
        ({"label": "a", "points": [[1, 1]], "shape_type": "rectangle"}, "bad_points"),
        ({"label": "a", "points": TRIANGLE, "shape_type": "oriented_rectangle"}, "bad_points"),
    ],
)
def test_a_shape_that_cannot_be_used_gives_its_first_error(raw: object, code: str):
    assert refused(labelme.read_shape, raw) == code


@pytest.mark.parametrize(
    ("kind", "count", "text"),
    [
        ("polygon", 2, "polygon with 2 points"),
        ("linestrip", 1, "linestrip with 1 point"),
        ("circle", 0, "circle with 0 points"),
        ("polygon", 3, None),
        ("point", 1, None),
    ],
)
def test_too_few_points_are_degenerate_not_an_error(kind: str, count: int, text: str | None):
    shape, _ = labelme.read_shape({"label": "a", "points": TRIANGLE[:count], "shape_type": kind})

    assert labelme.degenerate(shape) == text


@pytest.mark.parametrize(
    ("raw", "group"), [(3, 3), (3.0, 3), ("3", "3"), (" a ", "a"), ("", None), (2.5, "2.5")]
)
def test_group_ids_of_other_tools_are_read(raw: object, group: object):
    shape, problems = labelme.read_shape({"label": "a", "points": TRIANGLE, "group_id": raw})

    assert (shape.group_id, problems) == (group, [])


def test_attributes_that_cannot_be_used_are_warned_about():
    raw = {
        "label": "a",
        "points": TRIANGLE,
        "group_id": [1],
        "description": 5,
        "flags": {"ok": True, "odd": "yes"},
    }

    shape, problems = labelme.read_shape(raw)

    assert [p.reason for p in problems] == ["bad_attribute"] * 3
    assert not any(p.error for p in problems)
    assert dict(shape.flags) == {"ok": True}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "json_invalid"),
        (b"{", "json_invalid"),
        (b"[" * 200_000, "json_invalid"),
        (b'{"shapes": [' + b"9" * 6000 + b"]}", "json_invalid"),
        ('{"shapes": [], "imagePath": "道路"}'.encode("gb18030"), "json_encoding"),
        (b"[]", "not_labelme"),
        (b'"text"', "not_labelme"),
        (b'{"shapes": {}}', "not_labelme"),
        (b'{"shapes": [' + b"[]," * 10_000_000 + b"1]}", "json_too_large"),
    ],
    ids=range(9),
)
def test_a_file_that_is_no_annotation_is_refused(data: bytes, code: str):
    assert refused(labelme.parse, data) == code


def test_the_encoding_error_says_what_to_do():
    with pytest.raises(RefusedError, match="iconv -f gb18030 -t utf-8"):
        labelme.parse('{"shapes": [], "a": "道路"}'.encode("gb18030"))


def test_a_byte_order_mark_is_accepted():
    assert labelme.parse(b"\xef\xbb\xbf" + b'{"shapes": []}').shapes == []


def test_a_file_above_256_mib_is_refused_unread(tmp_path: Path):
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(1 << 30)

    assert refused(labelme.read, path) == "json_too_large"


def test_masks_of_0_1_of_0_255_and_of_one_bit_are_the_same(tmp_path: Path):
    import io

    import PIL.Image

    mask = np.array([[1, 0, 1], [0, 1, 1]], np.uint8)
    one_bit = io.BytesIO()
    PIL.Image.fromarray(mask.astype(bool)).save(one_bit, "PNG")
    texts = [
        png(mask, tmp_path),
        png(mask * 255, tmp_path),
        base64.b64encode(one_bit.getvalue()).decode(),
        labelme.encode_mask(mask != 0),
    ]

    for text in texts:
        np.testing.assert_array_equal(labelme.read_mask({"mask": text}, 100), mask != 0)


@pytest.mark.parametrize("kind", ["absent", "no image", "colour", "too large", "cut"])
def test_a_mask_that_cannot_be_used_is_refused(kind: str, tmp_path: Path):
    whole = png(np.ones((30, 30), np.uint8), tmp_path)
    text = {
        "absent": None,
        "no image": "AAAA",
        "colour": png(np.ones((3, 3, 3), np.uint8), tmp_path),
        "too large": png(np.ones((11, 10), np.uint8), tmp_path),
        "cut": whole[: len(whole) // 2],
    }[kind]

    assert refused(labelme.read_mask, {"mask": text}, 100) == "bad_mask"


def test_a_written_file_has_the_seven_keys_and_what_was_unknown():
    shape = Shape("道路", "polygon", np.array(TRIANGLE, float), extra={"kitti": "Car"})

    text = labelme.encode(labelme.document([shape], "a.png", (4, 5))).decode("utf-8")

    content = json.loads(text)
    assert list(content) == [
        "version",
        "flags",
        "shapes",
        "imagePath",
        "imageData",
        "imageHeight",
        "imageWidth",
    ]
    assert list(content["shapes"][0]) == [*labelme.SHAPE_KEYS, "kitti"]
    assert (content["imageHeight"], content["imageWidth"]) == (4, 5)
    assert "道路" in text and '\n  "version": "5.5.0"' in text


def test_a_lone_surrogate_is_written_as_an_escape():
    document = labelme.parse(b'{"shapes": [], "a": "\\ud800\\u9053"}')

    assert json.loads(labelme.encode(document)) == document.content


def test_a_mask_shape_stands_on_its_own_box():
    mask = np.zeros((8, 9), bool)
    mask[2:4, 3:7] = True

    shape = labelme.mask_shape("road", mask)

    assert shape.points.tolist() == [[3, 2], [6, 3]]
    assert shape.mask.shape == (2, 4)
    assert labelme.mask_shape("road", np.zeros((3, 3), bool)) is None
