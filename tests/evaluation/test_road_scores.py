import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perception.evaluation.kitti_road import BEV, RoadCounts, RoadEvaluator, quantize

MAPS = arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 77, 128, 254, 255]))
MASKS = arrays(np.bool_, (4, 5))
LAWS = settings(deadline=None, max_examples=60)


def row(*values):
    return np.array([values], np.uint8)


def flags(*values):
    return np.array([values], bool)


def everywhere(array):
    return np.ones(array.shape, bool)


def test_four_pixels_by_hand():
    """Two road pixels at 200 and 100, two others at 150 and 0: every threshold can be read off."""
    confidence = row(200, 100, 150, 0)
    counts = RoadCounts.zero().update(confidence, flags(1, 1, 0, 0), flags(1, 1, 1, 1))

    scores = counts.compute()

    # 1..100: TP 2, FP 1: precision 2/3, recall 1, F1 0.8, the best; the lowest threshold wins.
    assert scores.best_index == 1
    assert scores.best_threshold == 1 / 255
    assert scores.max_f1 == pytest.approx(0.8, abs=1e-9)
    assert (scores.tp, scores.fp, scores.fn, scores.tn) == (2, 1, 0, 1)
    assert (scores.precision, scores.recall, scores.fpr, scores.fnr) == (2 / 3, 1, 0.5, 0)
    # recall steps 0..0.5: precision 1 (only the 200 is left); above: 2/3
    assert scores.ap == pytest.approx((6 * 1 + 5 * 2 / 3) / 11, abs=1e-9)


def test_a_pixel_reaches_the_threshold_of_its_own_value():
    counts = RoadCounts.zero().update(row(7, 6), flags(1, 0), flags(1, 1))

    scores = counts.compute()

    assert (scores.best_index, scores.fp) == (7, 0)


def test_a_perfect_map_scores_one_but_for_the_benchmarks_epsilon():
    road = flags(1, 0, 0)

    scores = RoadCounts.zero().update(row(255, 0, 0), road, everywhere(road)).compute()

    assert scores.max_f1 == pytest.approx(1, abs=1e-9)
    assert scores.ap == pytest.approx(1, abs=1e-9)
    assert (scores.precision, scores.recall, scores.fpr) == (1, 1, 0)


def test_without_road_the_scores_are_undefined_and_the_counts_remain():
    scores = RoadCounts.zero().update(row(9, 0), flags(0, 0), flags(1, 1)).compute()

    assert math.isnan(scores.max_f1)
    assert math.isnan(scores.ap)
    assert (scores.positives, scores.negatives) == (0, 2)


def test_urban_road_pools_counts_and_leaves_the_lane_out():
    lane, um, uu = (
        (row(255, 0), flags(1, 0)),
        (row(200, 0, 0), flags(1, 0, 1)),
        (row(200, 255), flags(1, 0)),
    )
    evaluator = RoadEvaluator()
    for category, (confidence, road) in (("um_lane", lane), ("um_road", um), ("uu_road", uu)):
        evaluator = evaluator.update(category, confidence, road, everywhere(road))

    scores = evaluator.compute()

    assert scores["URBAN_ROAD"].positives == 3
    assert scores["URBAN_ROAD"].negatives == 2
    pooled = evaluator.counts["um_road"].merge(evaluator.counts["uu_road"]).compute()
    assert scores["URBAN_ROAD"].max_f1 == pooled.max_f1
    assert (
        "URBAN_ROAD" not in RoadEvaluator().update("um_lane", *lane, everywhere(lane[1])).compute()
    )


def test_image_and_birds_eye_view_are_never_mixed():
    with pytest.raises(ValueError, match="kitti_road/perspective cannot be merged with"):
        RoadEvaluator().merge(RoadEvaluator(BEV))


def test_a_probability_is_quantized_without_stretching():
    assert quantize(np.array([[0.0, 0.499, 0.5, 1.0]])).tolist() == [[0, 127, 128, 255]]
    with pytest.raises(ValueError, match="expected"):
        quantize(np.array([[0.0, np.nan]]))


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="one size"):
        RoadCounts.zero().update(row(1, 2), flags(1), flags(1))


@LAWS
@given(a=MAPS, b=MAPS, road_a=MASKS, road_b=MASKS, valid=MASKS)
def test_counts_do_not_depend_on_order_or_split(a, b, road_a, road_b, valid):
    zero = RoadCounts.zero()
    together = zero.update(a, road_a, valid).update(b, road_b, valid)

    split = zero.update(b, road_b, valid).merge(zero.update(a, road_a, valid))

    np.testing.assert_array_equal(split.histogram, together.histogram)
    assert split.images == together.images == 2


@LAWS
@given(confidence=MAPS, other=MAPS, road=MASKS, noise=MASKS, valid=MASKS)
def test_ignored_pixels_never_change_the_counts(confidence, other, road, noise, valid):
    changed = np.where(valid, confidence, other)

    a = RoadCounts.zero().update(confidence, road, valid)
    b = RoadCounts.zero().update(changed, np.where(valid, road, noise), valid)

    np.testing.assert_array_equal(a.histogram, b.histogram)


@LAWS
@given(confidence=MAPS, road=MASKS)
def test_the_histogram_equals_thresholding_every_time(confidence, road):
    """The slow definition: predicted road at k/255 where confidence >= k/255."""
    counts = RoadCounts.zero().update(confidence, road, everywhere(road))
    scores = counts.compute()
    if not road.any():
        return
    k = scores.best_index
    predicted = confidence / 255 >= k / 255

    assert (predicted & road).sum() == scores.tp
    assert (predicted & ~road).sum() == scores.fp
    assert scores.curve.recall[k] == (predicted & road).sum() / road.sum()
