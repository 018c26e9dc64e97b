import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.evaluation.kitti_road.bev import cells_of, road_to_image, to_bev, to_image
from perception.evaluation.kitti_road.raw import match_colors, resize_nearest, threshold_bins

FLAT = np.eye(3)
# camera 1.6 m above the road plane, looking straight ahead
LEVEL = np.array([[1.0, 0, 0, 0], [0, 1, 0, -1.6], [0, 0, 1, 0]])
PINHOLE = np.array([[100.0, 0, 60, 0], [0, 100, 20, 0], [0, 0, 1, 0]])


def test_a_point_of_the_road_by_hand():
    """x = 2 m, z = 20 m, 1.6 m below the camera: u = 60 + 100 * 2/20, v = 20 + 100 * 1.6/20."""
    a, b, c = road_to_image(PINHOLE, FLAT, LEVEL) @ [2, 20, 1]

    assert (a / c, b / c) == (pytest.approx(70), pytest.approx(28))


def test_a_cell_shows_the_pixel_below_its_one_based_coordinates():
    image = np.arange(60 * 120).reshape(60, 120).astype(np.uint16)
    homography = road_to_image(PINHOLE, FLAT, LEVEL)

    view = to_bev(image, homography)

    x, z = np.float32(2.025), np.float32(19.975)  # column 240, row 520
    u, v = 60 + 100 * float(x) / float(z), 20 + 160 / float(z)
    assert view[520, 240] == image[int(v) - 1, int(u) - 1]
    assert view.shape == (800, 400)
    assert view.dtype == np.uint16


def test_cells_outside_the_image_are_empty_and_not_inside():
    homography = road_to_image(PINHOLE, FLAT, LEVEL)

    cells = cells_of(homography, (60, 120))

    assert not cells.inside[799, 0]  # 10 m left, 6 m ahead: u = 60 - 166
    assert cells.inside[520, 240]
    assert to_bev(np.full((60, 120), 255, np.uint8), homography)[799, 0] == 0


@pytest.mark.parametrize(
    ("v", "inside"), [(0.999, False), (1.0, True), (60.0, True), (60.001, False)]
)
def test_the_border_of_the_image_is_inclusive(v, inside):
    """A homography that sends every cell to one point: row coordinate v, column 5."""
    homography = np.array([[0, 0, 5.0], [0, 0, v], [0, 0, 1.0]])

    assert cells_of(homography, (60, 120)).inside.all() == inside


def test_the_way_back_shows_what_the_view_holds():
    homography = road_to_image(PINHOLE, FLAT, LEVEL)
    view = np.zeros((800, 400), np.uint8)
    view[:, 200:] = 9  # everything right of the car

    image = to_image(view, homography, (60, 120))

    assert image[40, 70] == 9
    assert image[40, 50] == 0
    assert image[10, 70] == 0  # above the horizon


@settings(deadline=None, max_examples=15)
@given(shift=st.floats(-0.05, 0.05), height=st.floats(1.2, 2.0), focal=st.floats(60, 140))
def test_the_fast_transform_equals_the_definition_cell_by_cell(shift, height, focal):
    pose = LEVEL.copy()
    pose[0, 1], pose[1, 3] = shift, -height
    homography = road_to_image(PINHOLE * [[focal / 100], [focal / 100], [1]], FLAT, pose)
    image = np.arange(1, 60 * 120 + 1).reshape(60, 120).astype(np.int32)

    view = to_bev(image, homography)

    xs = np.arange(-10 + 0.025, 10, 0.05).astype(np.float32)
    zs = np.arange(46 - 0.025, 6, -0.05).astype(np.float32)
    for row in range(0, 800, 97):
        for column in range(0, 400, 53):
            a, b, c = homography @ [float(xs[column]), float(zs[row]), 1]
            u, v = a / c, b / c
            if min(abs(u - round(u)), abs(v - round(v))) < 1e-9:
                continue  # on the border of two pixels the order of sums decides
            seen = 1 <= v <= 60 and 1 <= u <= 120
            assert view[row, column] == (image[int(v) - 1, int(u) - 1] if seen else 0)


def test_float_maps_are_compared_as_stored():
    below = np.nextafter(0.2, 0)  # 51/255 in double is 0.2
    bins = threshold_bins(np.array([0.0, below, 0.2, np.nextafter(0.2, 1), 1.0]))

    assert bins.tolist() == [0, 50, 51, 51, 255]
    assert threshold_bins(np.array([0.2], np.float32)).tolist() == [51]  # above 0.2 as float32
    with pytest.raises(ValueError, match=r"expected \[0, 1\]"):
        threshold_bins(np.array([0.5, -1e-9]))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_a_bin_is_the_number_of_thresholds_reached(values):
    bins = threshold_bins(np.array(values))

    assert bins.tolist() == [sum(v >= k / 255 for k in range(1, 256)) for v in values]


def test_labels_are_matched_by_exact_colours():
    label = np.array([[[255, 0, 255], [255, 0, 0], [254, 0, 0], [0, 255, 0]]], np.uint8)

    road, valid = match_colors(label)

    assert road.tolist() == [[True, False, False, False]]
    assert valid.tolist() == [[True, True, False, False]]


def test_nearest_resizing_takes_the_pixel_under_the_new_centre():
    assert resize_nearest(np.array([[1, 2, 3, 4]]), (2, 2)).tolist() == [[2, 4], [2, 4]]
