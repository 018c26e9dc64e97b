"""Suppression and voting: hand-worked values, laws, odd boxes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.ops import batched_nms, box_iou, box_voting, nms, nms_rotated, soft_nms

NAN, INF = float("nan"), float("inf")
# two overlapping boxes (IoU 60 / 140) and one apart
BOXES = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [50, 50, 60, 60]])
SCORES = torch.tensor([0.7, 0.9, 0.8])


def crowd(count: int, seed: int, side: float = 200.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * side
    boxes = torch.cat([corner, corner + torch.rand(count, 2, generator=generator) * 50], 1)
    return boxes, (torch.rand(count, generator=generator) * 50).round() / 50  # with ties


# --- worked by hand ------------------------------------------------------------------------------


def test_the_weaker_of_two_overlapping_boxes_goes_and_the_rest_come_by_score():
    assert nms(BOXES, SCORES, 0.4).tolist() == [1, 2]
    assert nms(BOXES, SCORES, 0.5).tolist() == [1, 2, 0]


def test_a_box_that_was_removed_removes_nothing():
    """Each overlaps its neighbour by 1/3: the middle one goes, so the last one stays."""
    chain = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10]])

    assert nms(chain, torch.tensor([0.9, 0.8, 0.7]), 0.3).tolist() == [0, 2]


def test_an_overlap_of_exactly_the_threshold_stays():
    half = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])

    assert nms(half, torch.tensor([0.9, 0.8]), 0.5).tolist() == [0, 1]
    assert nms(half, torch.tensor([0.9, 0.8]), math.nextafter(0.5, 0)).tolist() == [0]


def test_soft_nms_lowers_the_score_by_the_overlap():
    overlap = 60 / 140
    cases = {"gaussian": 0.7 * math.exp(-(overlap**2) / 0.5), "linear": 0.7 * (1 - overlap)}
    for method, score in cases.items():
        order, scores = soft_nms(BOXES, SCORES, method)
        assert order.tolist() == [1, 2, 0]
        torch.testing.assert_close(scores, torch.tensor([0.9, 0.8, score]))
    assert soft_nms(BOXES, SCORES, "hard", 0.4)[0].tolist() == [1, 2]


def test_soft_nms_drops_what_falls_below_the_least_score():
    assert soft_nms(BOXES, SCORES, min_score=0.6)[0].tolist() == [1, 2]
    assert soft_nms(BOXES, SCORES, min_score=0.95)[0].tolist() == []


def test_voting_moves_a_box_to_the_weighted_mean_of_its_voters():
    everyone = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]])
    scores = torch.tensor([0.6, 0.2, 0.9])

    boxes, same = box_voting(everyone[:1], scores[:1], everyone, scores)

    torch.testing.assert_close(boxes, torch.tensor([[0.5, 0, 10.5, 10]]))
    assert same.tolist() == scores[:1].tolist()


def test_voting_offers_six_new_scores():
    """Two voters, scores 0.6 and 0.2, overlaps 1 and 2/3."""
    everyone = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10]])
    scores = torch.tensor([0.6, 0.2])
    expected = {
        "id": 0.6, "avg": 0.4, "max": 0.6, "iou_avg": (0.6 + 0.2 * 2 / 3) / (5 / 3),
        "generalized_avg": math.sqrt((0.36 + 0.04) / 2), "quasi_sum": 0.8 / 4,
    }  # fmt: skip

    for scoring, value in expected.items():
        got = box_voting(everyone[:1], scores[:1], everyone, scores, scoring=scoring, beta=2.0)[1]
        assert got.item() == pytest.approx(value), scoring


def test_nobody_votes_and_nothing_changes():
    boxes, scores = box_voting(BOXES[:1], SCORES[:1], BOXES[2:], SCORES[2:], scoring="avg")
    alone, kept = box_voting(BOXES[:1], SCORES[:1], BOXES[:0], SCORES[:0], scoring="max")

    assert boxes.equal(BOXES[:1]) and scores.equal(SCORES[:1])
    assert alone.equal(BOXES[:1]) and kept.equal(SCORES[:1])


# --- laws ----------------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.integers(0, 400), st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]))
@settings(deadline=None, max_examples=30)
def test_kept_boxes_do_not_overlap_and_every_other_one_overlaps_a_better_one(seed, count, limit):
    boxes, scores = crowd(count, seed)

    kept = nms(boxes.double(), scores, limit)

    overlap = box_iou(boxes.double(), boxes.double()[kept])
    rank = torch.argsort(torch.argsort(scores, descending=True, stable=True))
    assert kept.equal(kept[rank[kept].argsort()])
    better = overlap > limit
    better[kept, torch.arange(len(kept))] = False
    better &= rank[kept][None] < rank[:, None]
    assert not better[kept].any()
    gone = torch.ones(count, dtype=torch.bool)
    gone[kept] = False
    assert better[gone].any(1).all()


@given(st.integers(0, 2**31), st.integers(0, 300), st.integers(1, 9))
@settings(deadline=None, max_examples=30)
def test_batched_nms_is_nms_of_every_class_by_itself(seed, count, classes):
    boxes, scores = crowd(count, seed)
    boxes = boxes - 100
    names = torch.tensor([-(2**62), -3, 0, 1, 2, 7, 10**9, 10**9 + 1, 2**62])
    idxs = names[torch.randint(classes, (count,), generator=torch.manual_seed(seed))]

    expected = []
    for group in idxs.unique():
        rows = (idxs == group).nonzero()[:, 0]
        expected += rows[nms(boxes[rows], scores[rows], 0.5)].tolist()
    expected.sort(key=lambda row: (-scores[row].item(), row))

    assert batched_nms(boxes, scores, idxs, 0.5).tolist() == expected


@given(st.integers(0, 2**31), st.integers(0, 200), st.integers(0, 250))
@settings(deadline=None, max_examples=20)
def test_the_padded_form_holds_the_first_survivors(seed, count, size):
    boxes, scores = crowd(count, seed)
    idxs = torch.arange(count) % 3

    for plain, (padded, number) in (
        (nms(boxes, scores, 0.5), nms(boxes, scores, 0.5, max_output=size)),
        (
            batched_nms(boxes, scores, idxs, 0.5),
            batched_nms(boxes, scores, idxs, 0.5, max_output=size),
        ),
    ):
        assert padded.shape == (size,) and number.item() == min(size, len(plain))
        assert padded[: number.item()].equal(plain[:size])
        assert (padded[number.item() :] == -1).all()


@given(st.integers(0, 2**31), st.integers(0, 100))
@settings(deadline=None, max_examples=20)
def test_rotated_nms_of_upright_boxes_is_nms(seed, count):
    boxes, scores = crowd(count, seed)
    boxes = boxes.double().round()
    upright = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    upright = torch.cat([upright, torch.zeros(count, 1)], 1)

    assert nms_rotated(upright, scores, 0.4999).equal(nms(boxes, scores, 0.4999))


# --- odd boxes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_box_that_is_not_finite_is_not_returned_and_removes_nothing(bad):
    boxes = torch.tensor([[0, 0, 10, 10], [bad, 0, 10, 10], [0, 0, 10, bad]])
    scores = torch.tensor([0.5, 0.9, 0.8])

    assert nms(boxes, scores, 0.1).tolist() == [0]
    assert batched_nms(boxes, scores, torch.zeros(3, dtype=torch.long), 0.1).tolist() == [0]
    assert soft_nms(boxes, scores)[0].tolist() == [0]


def test_a_nan_score_is_not_returned_and_infinite_ones_are_ordered():
    boxes = BOXES[2:] + 100 * torch.arange(4)[:, None]

    assert nms(boxes, torch.tensor([-INF, NAN, INF, 0.0]), 0.5).tolist() == [2, 3, 0]


def test_equal_scores_come_in_the_order_of_the_boxes():
    boxes = BOXES[2:] + 100 * torch.arange(300)[:, None]

    assert nms(boxes, torch.ones(300), 0.5).tolist() == list(range(300))
    assert nms(boxes, torch.tensor([0.0, -0.0]).repeat(150), 0.5).tolist() == list(range(300))


@pytest.mark.parametrize("pair", [[5.0, 5, 5, 5], [10.0, 10, 0, 0], [1e-30, 1e-30, 2e-30, 2e-30]])
def test_two_equal_boxes_without_area_both_stay(pair):
    assert nms(torch.tensor([pair, pair]), torch.tensor([0.7, 0.9]), 0.5).tolist() == [1, 0]


def test_two_equal_huge_boxes_suppress_each_other_beside_ordinary_ones():
    huge = torch.tensor([[0, 0, 1e30, 1e30], [0, 0, 1e30, 1e30], [-3e38, -3e38, 3e38, 3e38]])
    boxes = torch.cat([huge, BOXES + 1e3])

    kept = nms(boxes, torch.tensor([0.7, 0.9, 0.1, 0.3, 0.2, 0.25]), 0.4)

    assert kept.tolist() == [1, 3, 5, 2]


def test_thresholds_of_0_and_1_mean_any_overlap_and_none():
    twice = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [9, 9, 12, 12], [10, 10, 12, 12]])
    scores = torch.tensor([0.7, 0.9, 0.8, 0.6])

    assert nms(twice, scores, 1.0).tolist() == [1, 2, 0, 3]
    assert nms(twice, scores, 0.0).tolist() == [1, 3]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32, torch.float64])
def test_other_dtypes_and_mixtures_are_accepted(dtype):
    boxes = (BOXES * 16).to(dtype)

    assert nms(boxes, SCORES.half(), 0.4).tolist() == [1, 2]
    assert nms(boxes, torch.tensor([7, 9, 8]), 0.4).tolist() == [1, 2]


def test_float16_areas_do_not_overflow():
    boxes = torch.tensor([[0, 0, 300, 300], [0, 0, 300, 300]]).half()

    assert nms(boxes, torch.tensor([0.7, 0.9]).half(), 0.5).tolist() == [1]


def test_strided_and_differentiable_inputs_are_read_as_they_are():
    boxes, scores = crowd(60, 0)
    wide = torch.full((60, 11), NAN)
    wide[:, 1:9:2], wide[:, 10] = boxes, scores

    expected = nms(boxes, scores, 0.3)

    assert nms(wide[:, 1:9:2].requires_grad_(), wide[:, 10], 0.3).equal(expected)


def test_nothing_in_nothing_out():
    boxes, scores = torch.zeros(0, 4), torch.zeros(0)

    assert nms(boxes, scores, 0.5).dtype == torch.int64
    for kept in (
        nms(boxes, scores, 0.5),
        batched_nms(boxes, scores, scores.long(), 0.5),
        nms_rotated(torch.zeros(0, 5), scores, 0.5),
        soft_nms(boxes, scores)[0],
    ):
        assert kept.shape == (0,) and kept.dtype == torch.int64
    assert box_voting(boxes, scores, BOXES, SCORES)[0].shape == (0, 4)


@pytest.mark.parametrize("threshold", [NAN, -0.5, 1.5])
def test_a_threshold_outside_0_to_1_is_refused(threshold):
    for op in (nms, lambda b, s, t: batched_nms(b, s, s.long(), t)):
        with pytest.raises(ValueError, match="iou_threshold"):
            op(BOXES, SCORES, threshold)


def test_wrong_shapes_and_words_are_refused():
    with pytest.raises(ValueError, match="scores must have shape"):
        nms(BOXES, SCORES[:2], 0.5)
    with pytest.raises(ValueError, match="boxes must have shape"):
        nms(torch.zeros(3, 0), SCORES, 0.5)
    with pytest.raises(ValueError, match="idxs must have shape"):
        batched_nms(BOXES, SCORES, torch.zeros(2, dtype=torch.long), 0.5)
    with pytest.raises(ValueError, match="method must be one of"):
        soft_nms(BOXES, SCORES, "harsh")
    with pytest.raises(ValueError, match="sigma"):
        soft_nms(BOXES, SCORES, sigma=0.0)
    with pytest.raises(ValueError, match="scoring must be one of"):
        box_voting(BOXES, SCORES, BOXES, SCORES, scoring="sum")
    with pytest.raises(ValueError, match="max_output"):
        nms(BOXES, SCORES, 0.5, max_output=-1)


def test_tensors_of_two_devices_are_refused():
    far, number = SCORES.to("meta"), SCORES.long()
    with pytest.raises(ValueError, match="boxes are on cpu, scores on meta"):
        nms(BOXES, far, 0.5)
    with pytest.raises(ValueError, match="boxes are on cpu, idxs on meta"):
        batched_nms(BOXES, SCORES, number.to("meta"), 0.5)
    with pytest.raises(ValueError, match="boxes are on cpu, all_boxes on meta"):
        box_voting(BOXES, SCORES, BOXES.to("meta"), far)


def test_a_meta_tensor_has_no_values_to_choose_by():
    with pytest.raises(RuntimeError):
        nms(BOXES.to("meta"), SCORES.to("meta"), 0.5)
