"""Compiled kernels of overlap and suppression equal their definitions, on any number of threads."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perception import ops
from perception.ops import reference

pytestmark = pytest.mark.skipif(ops.backend() != "native", reason="no compiled kernels here")

NATIVE = torch.ops.perception
FAMILY = ["box_iou", "generalized_box_iou", "distance_box_iou", "complete_box_iou"]
ODD = [float("nan"), math.inf, -math.inf, 1e30, -1e30, 0.0, 3e38]
SIZES = st.sampled_from([0, 1, 2, 7, 8, 9, 17, 40])
GRID = settings(deadline=None, max_examples=25)


@st.composite
def box_tables(draw, columns=4, odd=True):
    """(N, columns) boxes on a coarse grid, so that sides coincide; some numbers are odd."""
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    generator = torch.manual_seed(draw(st.integers(0, 2**31)))
    count = draw(SIZES)
    boxes = torch.randint(0, 40, (count, columns), generator=generator).to(dtype) / 2
    boxes[:, 2:4] = boxes[:, 2:4] * (1 if columns == 5 else 0.5)
    if columns == 4:
        boxes[:, 2:] += boxes[:, :2]
    else:
        boxes[:, 4] *= 18
    if odd and count and draw(st.booleans()):
        for _ in range(3):
            row, column = (int(torch.randint(n, (1,), generator=generator)) for n in boxes.shape)
            boxes[row, column] = draw(st.sampled_from(ODD))
    if draw(st.booleans()):  # a slice of something wider
        boxes = torch.cat([boxes, boxes], 1)[:, :columns]
    return boxes


def scores_for(boxes, seed):
    made = torch.randint(-3, 12, (len(boxes),), generator=torch.manual_seed(seed)) / 10
    made[made == 1.1] = float("nan")
    return made


@given(box_tables(), box_tables())
@GRID
def test_the_iou_family_equals_its_definition(a, b):
    b = b.to(a.dtype)
    for name in FAMILY:
        eps = () if "distance" not in name and "complete" not in name else (1e-7,)
        got = getattr(NATIVE, name)(a, b, *eps)
        expected = getattr(reference, name)(a, b, *eps)
        torch.testing.assert_close(got, expected, equal_nan=True, msg=name)


@given(box_tables(odd=False), box_tables(odd=False), st.integers(0, 99))
@GRID
def test_gradients_of_the_iou_family_equal_their_definition(a, b, seed):
    b = b.to(a.dtype)
    grad = torch.randn(len(a), len(b), dtype=a.dtype, generator=torch.manual_seed(seed))
    for name in FAMILY:
        eps = () if "distance" not in name and "complete" not in name else (1e-7,)
        got = getattr(NATIVE, f"{name}_backward")(grad, a, b, *eps)
        expected = getattr(reference, f"{name}_backward")(grad, a, b, *eps)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6, msg=name)


@given(box_tables(columns=5), box_tables(columns=5))
@GRID
def test_rotated_overlap_equals_its_definition(a, b):
    b = b.to(a.dtype)
    got, expected = NATIVE.box_iou_rotated(a, b), reference.box_iou_rotated(a, b)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-9)


@given(box_tables(), st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]), st.integers(0, 99))
@GRID
def test_nms_equals_its_definition(boxes, threshold, seed):
    scores, idxs = scores_for(boxes, seed), torch.arange(len(boxes)) % 3 - 1

    assert NATIVE.nms(boxes, scores, threshold).equal(reference.nms(boxes, scores, threshold))
    got = NATIVE.batched_nms(boxes, scores, idxs, threshold)
    assert got.equal(reference.batched_nms(boxes, scores, idxs, threshold))
    for groups in (None, idxs):
        got = NATIVE.nms_padded(boxes, scores, groups, threshold, 5)
        expected = reference.nms_padded(boxes, scores, groups, threshold, 5)
        assert all(x.equal(y) for x, y in zip(got, expected, strict=True))


@given(box_tables(columns=5), st.sampled_from([0.0, 0.3, 0.7]), st.integers(0, 99))
@GRID
def test_rotated_nms_equals_its_definition(boxes, threshold, seed):
    scores = scores_for(boxes, seed)

    got = NATIVE.nms_rotated(boxes, scores, threshold)

    assert got.equal(reference.nms_rotated(boxes, scores, threshold))


@given(box_tables(), st.integers(0, 2), st.floats(0, 1), st.integers(0, 99))
@GRID
def test_soft_nms_equals_its_definition(boxes, method, threshold, seed):
    scores = scores_for(boxes, seed)

    got = NATIVE.soft_nms(boxes, scores, method, threshold, 0.5, 0.01)

    expected = reference.soft_nms(boxes, scores, method, threshold, 0.5, 0.01)
    assert got[0].equal(expected[0])
    torch.testing.assert_close(got[1], expected[1])


@given(
    box_tables(), box_tables(), st.integers(0, 5), st.sampled_from([0.0, 0.3]), st.integers(0, 99)
)
@GRID
def test_box_voting_equals_its_definition(boxes, everyone, scoring, threshold, seed):
    scores, weights = scores_for(boxes, seed).nan_to_num(), scores_for(everyone, seed + 1).abs()

    got = NATIVE.box_voting(boxes, scores, everyone, weights, threshold, scoring, 2.0)

    expected = reference.box_voting(boxes, scores, everyone, weights, threshold, scoring, 2.0)
    torch.testing.assert_close(got, expected, equal_nan=True)


def test_one_and_two_threads_give_the_same_bits():
    generator = torch.manual_seed(0)
    corner = torch.rand(3000, 2, generator=generator) * 300
    boxes = torch.cat([corner, corner + torch.rand(3000, 2, generator=generator) * 60], 1)
    scores, idxs = torch.rand(3000, generator=generator), torch.arange(3000) % 5
    rotated = torch.cat([boxes, scores[:, None] * 360], 1)
    grad = torch.randn(300, 300, generator=generator)

    def everything():
        few = boxes[:300]
        made = [
            NATIVE.nms(boxes, scores, 0.5), NATIVE.batched_nms(boxes, scores, idxs, 0.5),
            NATIVE.nms_rotated(rotated, scores, 0.3),
            NATIVE.box_iou_rotated(rotated[:300], rotated[300:600]),
            *NATIVE.box_voting(few, scores[:300], boxes, scores, 0.5, 3, 1.0),
            NATIVE.complete_box_iou(few, few, 1e-7),
            *NATIVE.complete_box_iou_backward(grad, few, boxes[300:600], 1e-7),
        ]  # fmt: skip
        return [x.clone() for x in made]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = everything()
        torch.set_num_threads(2)
        two = everything()
    finally:
        torch.set_num_threads(before)
    assert all(x.equal(y) for x, y in zip(one, two, strict=True))
