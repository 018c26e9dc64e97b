"""Overlap of boxes: hand-worked values, laws, odd boxes, gradients."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.ops import (
    box_iou,
    box_iou_rotated,
    complete_box_iou,
    distance_box_iou,
    generalized_box_iou,
)

FAMILY = [box_iou, generalized_box_iou, distance_box_iou, complete_box_iou]
NAN, INF = float("nan"), float("inf")


def rows(*boxes: list[float]) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float32)


def random_boxes(count: int, seed: int) -> torch.Tensor:
    made = torch.rand(count, 4, dtype=torch.double, generator=torch.manual_seed(seed)) * 20
    return torch.cat([made[:, :2], made[:, :2] + made[:, 2:] + 0.5], 1)


# --- worked by hand ------------------------------------------------------------------------------


def test_two_squares_that_share_a_quarter():
    """4 x 4 at (0, 0) and at (2, 2): intersection 4, union 28, enclosing 36, diagonal^2 72."""
    a, b = rows([0, 0, 4, 4]), rows([2, 2, 6, 6])

    assert box_iou(a, b).item() == pytest.approx(4 / 28)
    assert generalized_box_iou(a, b).item() == pytest.approx(4 / 28 - 8 / 36)
    assert distance_box_iou(a, b).item() == pytest.approx(4 / 28 - 8 / 72)
    assert complete_box_iou(a, b).item() == pytest.approx(4 / 28 - 8 / 72)


def test_complete_iou_punishes_another_aspect():
    """4 x 2 and 2 x 4 about one centre: IoU 4 / 12, angles atan 2 and atan 1/2."""
    iou, v = 1 / 3, 4 / math.pi**2 * (math.atan(2) - math.atan(0.5)) ** 2
    expected = iou - v * v / (1 - iou + v)

    got = complete_box_iou(rows([0, 1, 4, 3]), rows([1, 0, 3, 4])).item()

    assert got == pytest.approx(expected, rel=1e-5)


def test_a_square_turned_by_45_degrees_covers_an_octagon():
    """Side 2: the octagon has area 8 (sqrt 2 - 1)."""
    octagon = 8 * (math.sqrt(2) - 1)

    got = box_iou_rotated(rows([5, 5, 2, 2, 45]), rows([5, 5, 2, 2, 0])).item()

    assert got == pytest.approx(octagon / (8 - octagon), abs=1e-6)


def test_a_positive_angle_turns_counter_clockwise_on_the_screen():
    """Up on the screen is -y: a long box turned by 90 degrees about (0, 0) stands upright, and one
    turned by 45 degrees reaches up on its right side."""
    turned = rows([0, 0, 20, 1, 45])

    assert box_iou_rotated(turned, rows([5, -5, 1, 1, 0])).item() > 0
    assert box_iou_rotated(turned, rows([5, 5, 1, 1, 0])).item() == 0


def test_formats_name_the_same_boxes():
    corners = box_iou(rows([0, 0, 4, 2]), rows([1, 1, 5, 3]))

    assert box_iou(rows([0, 0, 4, 2]), rows([1, 1, 4, 2]), "xywh").equal(corners)
    assert box_iou(rows([2, 1, 4, 2]), rows([3, 2, 4, 2]), "cxcywh").equal(corners)
    rotated = box_iou(rows([2, 1, 4, 2, 0]), rows([3, 2, 4, 2, 0]), "cxcywhr")
    torch.testing.assert_close(rotated, corners)


# --- laws ----------------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.floats(-720, 720), st.floats(0.01, 100))
@settings(deadline=None, max_examples=30)
def test_rotated_overlap_does_not_change_when_both_boxes_turn_grow_and_swap(seed, turn, scale):
    generator = torch.manual_seed(seed)
    boxes = torch.rand(12, 5, dtype=torch.double, generator=generator)
    boxes = boxes * torch.tensor([8.0, 8, 9, 9, 360]) + torch.tensor([0, 0, 0.1, 0.1, 0])
    angle = math.radians(turn)
    moved = boxes * torch.tensor([scale, scale, scale, scale, 1.0])
    x, y = moved[:, 0].clone(), moved[:, 1].clone()
    moved[:, 0] = x * math.cos(angle) + y * math.sin(angle)
    moved[:, 1] = y * math.cos(angle) - x * math.sin(angle)
    moved[:, 4] += turn

    plain = box_iou_rotated(boxes, boxes)

    torch.testing.assert_close(box_iou_rotated(moved, moved), plain, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(plain.T, plain, rtol=1e-9, atol=1e-9)
    assert ((plain.diagonal() - 1).abs() < 1e-9).all()


@given(st.integers(0, 2**31), st.floats(-400, 400))
@settings(deadline=None, max_examples=30)
def test_rotated_overlap_equals_clipping_one_polygon_by_the_other(seed, angle):
    generator = torch.manual_seed(seed)
    boxes = torch.rand(10, 5, dtype=torch.double, generator=generator)
    boxes = boxes * torch.tensor([10.0, 10, 12, 3, 360]) + torch.tensor([0, 0, 0.1, 0.1, angle])

    got = box_iou_rotated(boxes[:5], boxes[5:])

    expected = [[clipped_iou(a, b) for b in boxes[5:].tolist()] for a in boxes[:5].tolist()]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.double), rtol=0, atol=1e-9)


def clipped_iou(a: list[float], b: list[float]) -> float:
    """Sutherland and Hodgman's polygon clipping."""
    polygon, cutter = corners(a), corners(b)
    for (x0, y0), (x1, y1) in zip(cutter, cutter[1:] + cutter[:1], strict=True):
        kept = []
        for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            side_p = (x1 - x0) * (p[1] - y0) - (y1 - y0) * (p[0] - x0)
            side_q = (x1 - x0) * (q[1] - y0) - (y1 - y0) * (q[0] - x0)
            if side_p >= 0:
                kept.append(p)
            if side_p * side_q < 0:
                t = side_p / (side_p - side_q)
                kept.append((p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])))
        polygon = kept
    shared = area(polygon)
    return shared / (area(corners(a)) + area(corners(b)) - shared)


def corners(box: list[float]) -> list[tuple[float, float]]:
    cx, cy, w, h, degrees = box
    s, c = math.sin(math.radians(degrees)) / 2, math.cos(math.radians(degrees)) / 2
    signs = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    return [(cx + i * c * w + j * s * h, cy - i * s * w + j * c * h) for i, j in signs]


def area(polygon: list[tuple[float, float]]) -> float:
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return sum(p[0] * q[1] - q[0] * p[1] for p, q in pairs) / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("change", ["half turn", "full turn", "swap"])
def test_the_same_rotated_box_described_otherwise_overlaps_fully(dtype, change):
    generator = torch.manual_seed(1)
    boxes = torch.rand(500, 5, dtype=torch.double, generator=generator)
    boxes = boxes * torch.tensor([100.0, 100, 58, 58, 360]) + torch.tensor([0, 0, 2.0, 2, -180])
    other = boxes.clone()
    if change == "swap":
        other = boxes[:, [0, 1, 3, 2, 4]]
    other[:, 4] += {"half turn": 180, "full turn": 360, "swap": 90}[change]

    overlap = box_iou_rotated(boxes.to(dtype), other.to(dtype)).diagonal()

    assert overlap.min() > (0.9999 if dtype == torch.float64 else 0.999)


@pytest.mark.parametrize("op", FAMILY)
def test_gradients_of_the_overlaps_are_exact(op):
    a, b = random_boxes(5, 0).requires_grad_(), random_boxes(4, 1).requires_grad_()
    if op is not complete_box_iou:  # whose alpha has no gradient, by definition
        assert torch.autograd.gradcheck(op, (a, b))
        return
    with torch.no_grad():
        difference = aspect(a)[:, None] - aspect(b)
        v = 4 / math.pi**2 * difference**2
        alpha = v / (1 - box_iou(a, b) + v + 1e-7)
    got = torch.autograd.grad(op(a, b).sum(), (a, b))
    frozen = distance_box_iou(a, b) - alpha * 4 / math.pi**2 * (aspect(a)[:, None] - aspect(b)) ** 2
    for ours, theirs in zip(got, torch.autograd.grad(frozen.sum(), (a, b)), strict=True):
        torch.testing.assert_close(ours, theirs)


def aspect(boxes: torch.Tensor) -> torch.Tensor:
    return torch.atan((boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1]))


# --- odd boxes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("op", FAMILY)
def test_equal_empty_boxes_overlap_by_nothing(op):
    assert op(rows([5, 5, 5, 5]), rows([5, 5, 5, 5])).item() == 0


@pytest.mark.parametrize("op", FAMILY)
def test_a_huge_box_overlaps_itself_fully(op):
    assert op(rows([0, 0, 1e30, 1e30]), rows([0, 0, 1e30, 1e30])).item() == pytest.approx(1)


def test_a_reversed_box_overlaps_nothing_and_its_giou_is_not_above_its_iou():
    reversed_box, other = rows([10, 10, 0, 0]), rows([0, 0, 10, 10], [4, 4, 6, 6], [10, 10, 0, 0])

    assert (box_iou(reversed_box, other) == 0).all()
    assert (generalized_box_iou(reversed_box, other) <= 0).all()


def test_integer_areas_do_not_wrap():
    a = torch.tensor([[0, 0, 50000, 50000]], dtype=torch.int32)
    b = torch.tensor([[0, 0, 50000, 30000]], dtype=torch.int32)

    assert box_iou(a, b).item() == pytest.approx(0.6, abs=1e-7)


def test_a_nan_coordinate_shows():
    assert box_iou(rows([0, NAN, 1, 1], [0, 0, 1, 1]), rows([0, 0, 1, 1]))[0].isnan().all()


@pytest.mark.parametrize("flat", [[0, 0, 10, 0], [0, 0, 0, 10], [3, 3, 3, 3]])
def test_a_flat_box_has_finite_overlaps_and_gradients(flat):
    box = rows(flat).requires_grad_()

    value = complete_box_iou(box, rows([0, 0, 10, 10], flat))
    value.sum().backward()

    assert value.isfinite().all() and box.grad.isfinite().all()


@pytest.mark.parametrize("op", [*FAMILY, box_iou_rotated])
def test_no_boxes_give_an_empty_table(op):
    columns = 5 if op is box_iou_rotated else 4

    assert op(torch.zeros(0, columns), torch.zeros(3, columns)).shape == (0, 3)
    assert op(torch.zeros(3, columns), torch.zeros(0, columns)).shape == (3, 0)


@pytest.mark.parametrize(
    "odd", [[5, 5, 4, 4, NAN], [INF, 5, 4, 4, 0], [5, 5, -4, 4, 0], [5, 5, 0, 4, 0]]
)
def test_a_rotated_box_that_is_none_overlaps_nothing(odd):
    assert box_iou_rotated(rows(odd), rows([5, 5, 4, 4, 0], odd)).tolist() == [[0, 0]]


@pytest.mark.parametrize("side", [1e-4, 1e-12, 1e12, 1e30])
def test_the_size_of_a_rotated_box_does_not_matter(side):
    box = rows([5, 5, side, side, 30])

    assert box_iou_rotated(box, box).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("op", FAMILY)
def test_half_and_mixed_dtypes_and_strides_are_accepted(op):
    a, b = random_boxes(4, 2).half(), random_boxes(3, 3).half()
    wide = torch.full((3, 9), NAN, dtype=torch.double)
    wide[:, 1::2] = b.double()

    expected = op(a.double(), b.double())

    torch.testing.assert_close(op(a, b), expected.float())
    assert op(a, wide[:, 1::2]).equal(expected)


@pytest.mark.parametrize("op", [*FAMILY, box_iou_rotated])
def test_a_wrong_shape_or_kind_is_refused(op):
    columns = 5 if op is box_iou_rotated else 4
    with pytest.raises(ValueError, match="boxes1 must have shape"):
        op(torch.zeros(3, 3), torch.zeros(3, columns))
    with pytest.raises(TypeError, match="boxes2 must be dense and real"):
        op(torch.zeros(3, columns), torch.zeros(3, columns, dtype=torch.cfloat))


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="fmt must be"):
        box_iou(torch.zeros(1, 4), torch.zeros(1, 4), "yxyx")
