from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.models.heads.cells import (
    assign,
    cell_centers,
    decode,
    encode,
    grid_size,
    paired_iou,
    to_center,
    to_grid,
)

CPU = torch.device("cpu")
COORDINATES = st.floats(-50, 400, width=32)
SIDES = st.floats(1, 300, width=32)


def test_kitti_has_468_cells_in_row_major_order():
    centers = cell_centers((384, 1248), 32, CPU)

    assert grid_size((384, 1248), 32) == (12, 39)
    assert grid_size((375, 1242), 32) == (12, 39)
    assert len(centers) == 468
    assert centers[:2].tolist() == [[16, 16], [48, 16]]
    assert centers[39].tolist() == [16, 48]


def test_the_nearest_centre_wins_whatever_the_order_in_the_file():
    """Two boxes overlap the first cell; the second one's centre (20, 18) is nearer to (16, 16)."""
    boxes = torch.tensor([[0.0, 0, 60, 60], [10, 8, 30, 28]])
    centers = cell_centers((64, 64), 32, CPU)
    none = torch.zeros(2, dtype=torch.bool)

    there = assign(centers, 32, boxes, none, focus=1.8)
    back = assign(centers, 32, boxes.flip(0), none, focus=1.8)

    assert there.box.tolist() == [1, 0, 0, 0]
    assert back.box.tolist() == [0, 1, 1, 1]
    assert there.positive.all()


def test_the_first_box_failing_the_focus_test_does_not_hide_the_second():
    boxes = torch.tensor([[0.0, 0, 320, 32], [8, 8, 24, 24]])  # first centre is 144 px away
    centers = cell_centers((32, 320), 32, CPU)

    found = assign(centers, 32, boxes, torch.zeros(2, dtype=torch.bool), focus=1.8)

    assert found.positive[0]
    assert found.box[0] == 1


def test_a_cell_answers_only_for_boxes_that_overlap_it_and_lie_in_focus():
    centers = cell_centers((32, 160), 32, CPU)
    box = torch.tensor([[40.0, 4, 60, 28]])  # inside the second cell, centre at x = 50

    found = assign(centers, 32, box, torch.zeros(1, dtype=torch.bool), focus=1.8)

    assert found.positive.tolist() == [False, True, False, False, False]


def test_ignore_regions_shrink_by_two_pixels_and_spare_positive_cells():
    centers = cell_centers((32, 128), 32, CPU)
    boxes = torch.tensor([[4.0, 4, 28, 28], [0, 0, 66, 32]])  # the second is ignored

    found = assign(centers, 32, boxes, torch.tensor([False, True]), focus=1.0)

    assert found.positive.tolist() == [True, False, False, False]
    assert found.ignore.tolist() == [False, True, False, False]  # reaches 2 px into the third cell


def test_no_boxes_is_all_background():
    centers = cell_centers((64, 64), 32, CPU)

    found = assign(centers, 32, torch.zeros(0, 4), torch.zeros(0, dtype=torch.bool), focus=1.8)

    assert not found.positive.any()
    assert not found.ignore.any()


@given(x=COORDINATES, y=COORDINATES, w=SIDES, h=SIDES, cx=COORDINATES, cy=COORDINATES)
@settings(deadline=None, max_examples=50)
def test_decode_inverts_encode(x, y, w, h, cx, cy):
    box = torch.tensor([x, y, x + w, y + h], dtype=torch.float64)
    reference = torch.tensor([cx, cy, 32, 16], dtype=torch.float64)

    torch.testing.assert_close(decode(encode(box, reference), reference), box)


def test_encode_by_hand():
    """A box 64 x 16 around (48, 16), seen from the cell 32 x 32 around (16, 16)."""
    code = encode(torch.tensor([16.0, 8, 80, 24]), torch.tensor([16.0, 16, 32, 32]))

    torch.testing.assert_close(code, torch.tensor([1.0, 0, 0.6931472, -0.6931472]))


def test_features_meet_the_grid_from_finer_and_coarser_strides():
    size, cell = (75, 130), 16
    for stride in (8, 16, 32):
        features = torch.ones(1, 2, -(-75 // stride), -(-130 // stride))
        grid = to_grid(features, stride, size, cell)
        assert grid.shape == (1, 2, *grid_size(size, cell))
        torch.testing.assert_close(grid, torch.ones_like(grid))


def test_paired_iou_and_centres_by_hand():
    a, b = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 3, 2]])

    torch.testing.assert_close(paired_iou(a, b), torch.tensor([1 / 3]))
    assert to_center(b).tolist() == [[2, 1, 2, 2]]
