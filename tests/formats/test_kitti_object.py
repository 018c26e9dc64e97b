from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.errors import PerceptionError
from perception.formats import kitti_object
from perception.formats.kitti_object import (
    BoxTable,
    format_labels,
    format_results,
    frame_files,
    read_label_table,
    read_labels,
    read_result_table,
    read_results,
    write_labels,
    write_results,
)
from perception.structures import Boxes

LABEL = """\
Truck 0.25 1 -1.57 599.41 156.40 629.75 189.25 2.85 2.63 12.34 0.47 1.49 69.44 -1.56
DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10
"""
RESULT = "Car -1 -1 0.5 1.5 2.5 3.5 4.5 -1 -1 -1 -1000 -1000 -1000 -10 0.125\n"


def written(folder: Path, text: str | bytes, name: str = "000001.txt") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_label_line_fills_every_column(tmp_path):
    boxes = read_labels(written(tmp_path, LABEL))

    assert boxes.names.tolist() == ["Truck", "DontCare"]
    assert boxes.xyxy[0].tolist() == [599.41, 156.40, 629.75, 189.25]
    assert (boxes.truncation[0], boxes.occlusion[0], boxes.alpha[0]) == (0.25, 1, -1.57)
    assert boxes.dimensions[0].tolist() == [2.85, 2.63, 12.34]
    assert boxes.location[0].tolist() == [0.47, 1.49, 69.44]
    assert boxes.rotation_y[0] == -1.56
    assert np.isnan(boxes.score).all()


def test_dont_care_is_ignored_and_its_unset_numbers_are_nan(tmp_path):
    boxes = read_labels(written(tmp_path, LABEL.replace("DontCare", "dontcare")))

    assert boxes.ignore.tolist() == [False, True]
    for column in ("truncation", "alpha", "dimensions", "location", "rotation_y"):
        assert np.isnan(getattr(boxes, column)[1]).all(), column
    assert boxes.occlusion[1] == -1


def test_files_in_kittis_own_style_are_written_back_byte_for_byte(tmp_path):
    assert format_labels(read_labels(written(tmp_path, LABEL))) == LABEL
    write_results(tmp_path / "000002.txt", read_results(written(tmp_path, RESULT)))
    assert (tmp_path / "000002.txt").read_text() == (
        "Car -1 -1 0.50 1.50 2.50 3.50 4.50 -1 -1 -1 -1000 -1000 -1000 -10 0.125\n"
    )


NUMBERS = st.floats(-1e4, 1e4).filter(lambda v: v not in (-1, -10, -1000))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(NUMBERS, min_size=14, max_size=14), max_size=4))
def test_boxes_written_and_read_again_are_equal(tmp_path_factory, rows):
    table = np.array(rows, np.float64).reshape(-1, 14)
    boxes = Boxes.of(
        table[:, :4],
        ["Van"] * len(table),
        score=table[:, 4],
        truncation=table[:, 5],
        alpha=table[:, 6],
        dimensions=table[:, 7:10],
        location=table[:, 10:13],
        rotation_y=table[:, 13],
    )
    path = tmp_path_factory.mktemp("kitti") / "7.txt"

    write_results(path, boxes)
    read = read_results(path)

    for column in Boxes.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(read, column), getattr(boxes, column))
    write_labels(path, boxes)
    np.testing.assert_array_equal(read_labels(path).location, boxes.location)


@pytest.mark.parametrize(
    "text",
    [
        LABEL.replace("\n", "\r\n"),
        LABEL.replace(" ", "  "),
        LABEL.replace(" ", "\t"),
        "\n\n" + LABEL.replace("\n", " \n\n"),
        "\ufeff" + LABEL,
    ],
    ids=["crlf", "two blanks", "tabs", "empty lines", "byte order mark"],
)
def test_white_space_does_not_matter(tmp_path, text):
    plain = read_labels(written(tmp_path, LABEL))
    other = read_labels(written(tmp_path, text, "000002.txt"))

    for column in Boxes.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(other, column), getattr(plain, column))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.sampled_from("0 1.\n-e_aN\u0661"), max_size=12).map(
            lambda noise: LABEL.replace("0.25", noise)
        ),
        min_size=1,
        max_size=3,
    )
)
def test_reading_all_files_at_once_gives_what_reading_line_by_line_gives(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("kitti")
    paths = [written(folder, text, f"{i}.txt") for i, text in enumerate(texts)]
    contents = [path.read_bytes().rstrip() for path in paths]
    fast = kitti_object._split_regular(contents, 15)
    try:
        slow = kitti_object._split_lines(paths, contents, 15)
    except PerceptionError:
        slow = None

    if fast is not None:
        assert slow is not None, "the fast reader accepts what the definition refuses"
        assert fast[0] == slow[0]
        np.testing.assert_array_equal(fast[1], slow[1])
        np.testing.assert_array_equal(fast[2], slow[2])


def test_many_files_make_one_table_in_the_order_given(tmp_path):
    paths = [
        written(tmp_path, text, name)
        for name, text in (("000003.txt", LABEL), ("000001.txt", ""), ("000002.txt", LABEL * 2))
    ]

    table = read_label_table(paths)

    assert table.keys == ("000003", "000001", "000002")
    assert table.counts.tolist() == [2, 0, 4]
    assert table.frame.tolist() == [0, 0, 2, 2, 2, 2]
    parts = list(table.split())
    assert len(parts[1]) == 0
    assert parts[2].names.tolist() == ["Truck", "DontCare"] * 2
    again = BoxTable.of(zip(table.keys, parts, strict=True))
    np.testing.assert_array_equal(again.boxes.xyxy, table.boxes.xyxy)


def test_an_empty_file_and_no_file_hold_no_boxes(tmp_path):
    assert len(read_results(written(tmp_path, ""))) == 0
    assert len(read_result_table([]).boxes) == 0


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        (LABEL + "Car 0 0 0 1 2 3 4\n", ["line 3", "8 fields", "15 fields"]),
        (LABEL + RESULT, ["line 3", "16 fields"]),
        ("0.5 " + LABEL, ["line 1", "16 fields"]),
        (LABEL.replace("Truck", "0.5"), ["line 1", "type 0.5"]),
        (LABEL.replace("599.41", "nan"), ["line 1", "left nan", "finite"]),
        (LABEL.replace("69.44", "1e999"), ["line 1", "z 1e999"]),
        (LABEL.replace("69.44", "6_9"), ["line 1", "z 6_9"]),
        (LABEL.replace("69.44", "\u0661"), ["line 1", "z"]),
        (LABEL.replace(" 1 ", " 1.0 "), ["line 1", "occluded 1.0", "whole number"]),
        (LABEL.encode() + b"Car\xff 0 0", ["line 3", "0xff", "UTF-8"]),
        (b"\x89PNG\r\n\x1a\n", ["line 1", "UTF-8"]),
    ],
)
def test_a_damaged_label_names_file_and_line(tmp_path, text, mentions):
    good = written(tmp_path, LABEL, "000000.txt")
    bad = written(tmp_path, text)

    with pytest.raises(PerceptionError) as caught:
        read_label_table([good, bad])

    for word in ["000001.txt", *mentions]:
        assert word in str(caught.value)


def test_results_with_a_missing_field_are_not_read_across_lines(tmp_path):
    """A line of 15 fields and one of 17 have the right total."""
    short, long = RESULT.rsplit(" ", 1)[0] + "\n", "7 " + RESULT

    with pytest.raises(PerceptionError, match=r"line 1.*15 fields"):
        read_results(written(tmp_path, short + long))
    with pytest.raises(PerceptionError, match=r"line 1.*17 fields"):
        read_results(written(tmp_path, long + short))


def test_files_that_cannot_be_opened_are_named(tmp_path):
    (tmp_path / "000001.txt").mkdir()
    (tmp_path / "000002.txt").symlink_to(tmp_path / "000002.txt")

    for name in ("000001.txt", "000002.txt", "000003.txt"):
        with pytest.raises(PerceptionError, match=name):
            read_labels(tmp_path / name)


def test_frame_files_come_in_the_order_of_their_numbers(tmp_path):
    for name in ("000010.txt", "9.txt", "000002.txt", "000002.txt~", "image.png"):
        written(tmp_path, "", name)

    assert list(frame_files(tmp_path)) == ["000002", "9", "000010"]


def test_other_text_files_and_doubled_frames_are_refused(tmp_path):
    written(tmp_path, "", "000002.txt")
    written(tmp_path, "", "stats_car.txt")

    with pytest.raises(PerceptionError, match="stats_car"):
        frame_files(tmp_path)
    assert list(frame_files(tmp_path, skip=r"stats_.*\.txt")) == ["000002"]
    written(tmp_path, "", "2.txt")
    with pytest.raises(PerceptionError, match=r"2\.txt.*000002\.txt"):
        frame_files(tmp_path, skip=r"stats_.*\.txt")
    with pytest.raises(PerceptionError, match="nowhere"):
        frame_files(tmp_path / "nowhere")


def test_boxes_that_the_format_cannot_hold_are_refused():
    with pytest.raises(PerceptionError, match="traffic light"):
        format_labels(Boxes.of([[0, 0, 1, 1]], ["traffic light"]))
    with pytest.raises(ValueError, match="score"):
        format_results(Boxes.of([[0, 0, 1, 1]], ["Car"]))
    with pytest.raises(ValueError, match="corners"):
        format_labels(Boxes.of([[0, 0, 1, np.nan]], ["Car"]))
