import numpy as np

from perception.report.overlay import (
    box_color,
    draw_boxes,
    draw_road,
    draw_semantic,
    enlarge,
    enlarge_label,
)

GREY = np.full((120, 200, 3), 100, np.uint8)


def changed(drawn):
    return (drawn != GREY).any(axis=2)


def test_the_tint_follows_the_probability_and_leaves_the_rest_alone():
    road = np.zeros((120, 200), np.float32)
    road[60:, :100], road[60:, 100:] = 0.2, 0.4

    drawn = draw_road(GREY, road, color=(0, 255, 0), alpha=0.5).astype(int)

    assert not changed(drawn)[:60].any()
    assert 100 < drawn[100, 50, 1] < drawn[100, 150, 1]


def test_the_edge_of_the_road_is_drawn_where_it_is_as_likely_as_not():
    road = np.repeat(np.linspace(0, 1, 200, dtype=np.float32)[None], 120, 0)

    tinted, plain = draw_road(GREY, road), draw_road(GREY, road * 0.49)

    assert tinted[60, 100].sum() > plain[60, 100].sum() + 100


def test_what_is_not_valid_is_darker_and_hatched():
    valid = np.ones((120, 200), bool)
    valid[:40] = False

    drawn = draw_road(GREY, np.zeros((120, 200), bool), valid=valid)

    assert changed(drawn)[:40].all()
    assert not changed(drawn)[40:].any()
    assert len(np.unique(drawn[:40, :, 0])) > 1


def test_every_class_has_its_colour_and_ignored_pixels_have_none():
    ids = np.zeros((120, 200), np.uint8)
    ids[:, 100:] = 1
    ids[:30] = 255
    colors = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)

    drawn = draw_semantic(GREY, ids, colors).astype(int)

    assert drawn[80, 50, 0] > drawn[80, 50, 2] + 100
    assert drawn[80, 150, 2] > drawn[80, 150, 0] + 100
    assert abs(drawn[10, 50, 0] - drawn[10, 50, 2]) < 10


def test_a_box_is_drawn_on_its_pixels_with_its_name_above():
    drawn = draw_boxes(GREY, np.array([[50.0, 40, 150, 100]]), ["car"])

    assert tuple(drawn[40, 100]) == tuple(drawn[99, 100]) == box_color("car")
    assert tuple(drawn[70, 50]) == tuple(drawn[70, 149]) == box_color("car")
    assert not changed(drawn)[45:95, 55:145].any()
    assert changed(drawn)[25:38, 50:60].any()


def test_an_ignored_region_is_hatched_and_has_no_name():
    box = np.array([[50.0, 40, 150, 100]])

    drawn = draw_boxes(GREY, box, ["car"], ignore=np.array([True]))

    assert changed(drawn)[45:95, 55:145].all()
    assert not changed(drawn)[:38].any()


def test_boxes_outside_the_picture_and_no_boxes_are_no_trouble():
    outside = np.array([[-30.0, -20, 20, 10], [190, 110, 300, 200]])

    assert (
        draw_boxes(GREY, outside, ["car", "tram"], scores=np.array([0.9, np.nan])).shape
        == GREY.shape
    )
    np.testing.assert_array_equal(draw_boxes(GREY, np.zeros((0, 4)), []), GREY)


def test_drawing_never_changes_the_picture_it_is_given():
    picture, road = GREY.copy(), np.ones((120, 200), bool)

    draw_road(picture, road, valid=~road)
    draw_semantic(picture, road.astype(np.uint8), np.zeros((2, 3), np.uint8))
    draw_boxes(picture, np.array([[0.0, 0, 50, 50]]), ["car"], ignore=np.array([True]))

    np.testing.assert_array_equal(picture, GREY)


def test_enlarging_keeps_labels_on_their_pixels():
    label = np.arange(6, dtype=np.uint8).reshape(2, 3)

    assert enlarge(GREY, 3).shape == (360, 600, 3)
    np.testing.assert_array_equal(enlarge_label(label, 4)[2::4, 2::4], label)
