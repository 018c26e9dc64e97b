from __future__ import annotations

import math

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from drawing import SIZE, parsed, shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perception.annotation.chains import polygons_of
from perception.annotation.crossing import crosses_itself
from perception.annotation.raster import check_work, covers, paint, shape_mask
from perception.formats.labelme import read_mask
from perception.structures import Shape


def reference(raw: dict) -> np.ndarray:
    """The rules of labelme's `shape_to_mask`, with line width 10 and point size 5."""
    image = PIL.Image.new("L", SIZE[::-1], 0)
    pen = PIL.ImageDraw.Draw(image)
    xy = [tuple(point) for point in raw["points"]]
    match raw["shape_type"]:
        case "circle":
            (cx, cy), (px, py) = xy
            d = math.sqrt((cx - px) ** 2 + (cy - py) ** 2)
            pen.ellipse([cx - d, cy - d, cx + d, cy + d], outline=1, fill=1)
        case "rectangle":
            (x1, y1), (x2, y2) = xy
            corners = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
            pen.rectangle(corners, outline=1, fill=1)
        case "line" | "linestrip":
            pen.line(xy, fill=1, width=10)
        case "point":
            ((cx, cy),) = xy
            pen.ellipse([cx - 5, cy - 5, cx + 5, cy + 5], outline=1, fill=1)
        case "mask":
            mask = read_mask(raw, 10_000)
            canvas = np.zeros(SIZE, bool)
            for row, column in np.argwhere(mask):
                y, x = row + round(xy[0][1]), column + round(xy[0][0])
                if 0 <= y < SIZE[0] and 0 <= x < SIZE[1]:
                    canvas[y, x] = True
            return canvas
        case _:
            pen.polygon(xy, outline=1, fill=1)
    return np.asarray(image) != 0


def polygon(*points: tuple[float, float]) -> Shape:
    return Shape("road", "polygon", np.array(points, np.float64))


def test_a_rectangle_is_closed_at_both_ends_and_truncates_toward_zero():
    mask = shape_mask(Shape("car", "rectangle", np.array([[-0.9, 1.9], [3.2, 4.99]])), (10, 10))

    assert np.argwhere(mask).min(0).tolist() == [1, 0]
    assert np.argwhere(mask).max(0).tolist() == [4, 3]
    assert mask.sum() == 4 * 4


@settings(max_examples=200, deadline=None)
@given(shapes())
def test_every_shape_has_the_pixels_that_labelme_gives_it(raw: dict):
    np.testing.assert_array_equal(shape_mask(parsed(raw), SIZE), reference(raw))


@settings(max_examples=200, deadline=None)
@given(shapes())
def test_covers_is_true_where_there_is_a_pixel(raw: dict):
    drawn = parsed(raw)

    assert covers(drawn, SIZE) == shape_mask(drawn, SIZE).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(shapes(), max_size=6))
def test_one_canvas_holds_what_painting_one_by_one_gives(raws: list[dict]):
    drawn = [parsed(raw) for raw in raws]
    expected = np.zeros(SIZE, int)
    for number, one in enumerate(drawn, 1):
        expected[shape_mask(one, SIZE)] = number

    np.testing.assert_array_equal(paint(drawn, SIZE), expected)


def test_more_shapes_than_eight_bits_hold_are_painted_in_order():
    drawn = [polygon((x, 0), (x + 1, 0), (x, 9)) for x in range(600)]

    canvas = paint(drawn, (10, 620))

    assert canvas.dtype == np.uint16
    assert canvas[9].tolist()[:600] == list(range(1, 601))


@settings(max_examples=150, deadline=None)
@given(arrays(bool, (12, 17)))
def test_chains_of_any_mask_draw_exactly_its_pixels(mask: np.ndarray):
    drawn = [polygon(*points) for points in polygons_of(mask)]

    np.testing.assert_array_equal(paint(drawn, mask.shape) != 0, mask)
    assert all(len(one.points) >= 3 for one in drawn)


def test_a_bow_tie_crosses_itself_and_a_touching_polygon_does_not():
    bow_tie = np.array([[0, 0], [4, 4], [4, 0], [0, 4]], float)
    touching = np.array([[0, 0], [4, 0], [4, 4], [2, 0], [0, 4]], float)  # a vertex on an edge
    pentagram = np.array([[np.cos(a), np.sin(a)] for a in np.arange(5) * 4 * np.pi / 5])

    assert crosses_itself(bow_tie)
    assert crosses_itself(pentagram)
    assert not crosses_itself(touching)
    assert not crosses_itself(np.array([[0, 0], [1, 0], [1, 0], [1, 1]], float))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=9))
def test_crossing_equals_the_definition_on_whole_numbers(points: list[tuple[int, int]]):
    def side(a, b, p):
        turn = (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])
        return (turn > 0) - (turn < 0)

    edges = list(zip(points, points[1:] + points[:1], strict=True))
    expected = any(
        side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
        for a, b in edges
        for c, d in edges
    )

    assert crosses_itself(np.array(points, float)) == expected


def test_a_million_points_are_drawn_or_refused_before_they_are_drawn():
    angle = np.linspace(0, 2 * np.pi, 1_000_000, endpoint=False)
    circle = np.stack([500 + 400 * np.cos(angle), 500 + 400 * np.sin(angle)], 1)
    noise = np.random.default_rng(0).uniform(0, 1000, (1_000_000, 2))

    assert check_work([(0, Shape("road", "polygon", circle))], (1000, 1000)) == []
    assert shape_mask(Shape("road", "polygon", circle), (1000, 1000)).sum() > 500_000
    refused = check_work([(4, Shape("road", "polygon", noise))], (1000, 1000))
    assert [r.problem.reason for r in refused] == ["bad_points"]
    assert refused[0].problem.shape == 4


def test_a_circle_that_overflows_the_drawing_library_is_refused():
    circle = Shape("car", "circle", np.array([[10.0, 10.0], [900_000.0, 10.0]]))

    assert [r.problem.reason for r in check_work([(0, circle)], SIZE)] == ["bad_points"]


@pytest.mark.parametrize("y", [-3.5, 39.9, 40.0])
def test_a_shape_outside_covers_nothing(y: float):
    line = Shape("fence", "point", np.array([[70.0, y]]))

    assert not covers(line, SIZE)
