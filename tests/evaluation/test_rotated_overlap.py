"""Rotated overlap: hand-worked, against slow clipping, and against the compiled operator."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.evaluation.kitti_object.overlap import (
    Solid,
    ground_intersection,
    ground_overlap,
    solid_overlap,
)
from tests.evaluation import kitti_object_reference as reference


def solid(*rows) -> Solid:
    """From rows h, w, l, x, y, z, rotation."""
    table = np.array(rows, np.float64).reshape(-1, 7)
    return Solid(table[:, :3], table[:, 3:6], table[:, 6])


def test_a_square_turned_by_45_degrees_shares_an_octagon():
    """Side 2: the octagon has area 8 (sqrt 2 - 1)."""
    square, turned = (solid((1, 2, 2, 0, 0, 0, angle)) for angle in (0, math.pi / 4))

    assert ground_intersection(square, turned)[0] == pytest.approx(8 * (math.sqrt(2) - 1))


def test_length_lies_along_x_and_a_quarter_turn_lays_it_along_z():
    car = (1.5, 2.0, 4.0, 0.0, 1.6, 10.0, 0.0)
    along_x, beyond = (1, 0.1, 0.1, 1.9, 1.6, 10, 0), (1, 0.1, 0.1, 0.0, 1.6, 11.9, 0)

    assert ground_intersection(solid(car, car), solid(along_x, beyond)).tolist() == pytest.approx(
        [0.01, 0]
    )
    turned = (*car[:6], math.pi / 2)
    assert ground_intersection(solid(turned, turned), solid(along_x, beyond)).tolist() == (
        pytest.approx([0, 0.01])
    )


def test_a_box_overlaps_itself_wholly_whatever_its_angle():
    boxes = solid(*((1.5, 1.6, 3.9, 100.3, 1.7, 55.1, angle) for angle in np.linspace(-7, 7, 99)))

    np.testing.assert_allclose(ground_overlap(boxes, boxes).iou, 1, rtol=1e-12)
    np.testing.assert_allclose(solid_overlap(boxes, boxes).iou, 1, rtol=1e-12)


def test_boxes_stand_on_y_and_share_the_height_between():
    """Heights 2 and 1 on the same ground: half of the volume of the higher one."""
    high, low = solid((2, 1, 1, 0, 5, 9, 0)), solid((1, 1, 1, 0, 5, 9, 0))

    assert solid_overlap(high, low).iou.tolist() == [0.5]
    assert solid_overlap(high, solid((1, 1, 1, 0, 2.5, 9, 0))).iou.tolist() == [0]


def test_unset_boxes_coincide_on_the_ground_and_share_no_volume():
    unset = solid((-1, -1, -1, -1000, -1000, -1000, -10))

    assert ground_overlap(unset, unset).over_second.tolist() == [1]
    assert solid_overlap(unset, unset).over_second.tolist() == [0]


def test_one_negative_or_missing_side_shares_nothing():
    good = (1, 1, 1, 0, 0, 0, 0)

    for sides in ((-1, 1), (1, -1), (0, 1), (1, 0)):
        assert ground_intersection(solid(good), solid((1, *sides, 0, 0, 0, 0))).tolist() == [0]


PLACE = st.floats(-2, 2)
SIDE = st.floats(0.01, 4)
BOX = st.tuples(SIDE, SIDE, SIDE, PLACE, PLACE, PLACE, st.floats(-7, 7))
NICE = st.tuples(
    *(st.sampled_from([1.0, 2.0]),) * 3,
    *(st.sampled_from([0.0, 0.5, 1.0]),) * 3,
    st.sampled_from([0.0, math.pi / 4, math.pi / 2, math.pi]),
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(BOX, NICE), st.one_of(BOX, NICE))
def test_the_integral_equals_clipping_polygon_by_polygon(first, second):
    a, b = solid(first), solid(second)

    assert ground_overlap(a, b).iou[0] == pytest.approx(
        reference.ground(first, second, False), abs=1e-9
    )
    assert solid_overlap(a, b).iou[0] == pytest.approx(
        reference.box3d(first, second, False), abs=1e-9
    )


def test_the_rotated_overlap_of_the_operators_is_the_same():
    torch = pytest.importorskip("torch")
    from perception.ops import box_iou_rotated

    generator = np.random.default_rng(0)
    table = np.column_stack([
        np.ones(60), generator.uniform(0.5, 3, (60, 2)), generator.uniform(-2, 2, (60, 3)),
        generator.uniform(-7, 7, 60),
    ])  # fmt: skip
    table[:6] = table[6:12]  # equal boxes too
    boxes = solid(*table)
    flat = torch.tensor(
        np.column_stack(
            [table[:, 3], table[:, 5], table[:, 2], table[:, 1], np.rad2deg(table[:, 6])]
        )
    )
    first, second = np.divmod(np.arange(3600), 60)

    ours = ground_overlap(boxes[first], boxes[second]).iou.reshape(60, 60)

    np.testing.assert_allclose(box_iou_rotated(flat, flat).numpy(), ours, atol=1e-9)
