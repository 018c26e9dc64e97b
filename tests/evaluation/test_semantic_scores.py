import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perception.evaluation.semantic import Confusion, class_iou
from perception.labels import LabelClass, LabelMap, LabelScheme

LABELS = arrays(np.uint8, (6, 5), elements=st.sampled_from([0, 1, 2, 255]))
PREDICTED = arrays(np.uint8, (6, 5), elements=st.integers(0, 2))
LAWS = settings(deadline=None, max_examples=60)


def image(*rows):
    return np.array(rows, np.uint8)


def test_six_pixels_by_hand():
    target = image([0, 0, 0], [1, 1, 255])
    predicted = image([0, 0, 1], [1, 2, 2])

    scores = Confusion.zero(4).update(predicted, target).compute()

    # class 0: 2 of 3; class 1: 1 of 3 (one missed, one too many); class 2: predicted once on a
    # labelled pixel, never labelled: 0; class 3: nowhere
    np.testing.assert_array_equal(scores.iou, [2 / 3, 1 / 3, 0, np.nan])
    assert scores.mean_iou == pytest.approx(1 / 3)
    assert scores.pixel_accuracy == 3 / 5


def test_ignored_true_classes_count_for_nobody_and_ignored_predictions_are_misses():
    table = np.array([[4, 1, 1], [0, 3, 0], [5, 5, 5]])

    iou = class_iou(table, np.array([False, False, True]))

    np.testing.assert_array_equal(iou, [4 / 6, 3 / 4, np.nan])


def test_unknown_ids_are_refused_with_a_hint():
    with pytest.raises(ValueError, match=r"\[26\] outside 0\.\.18.*train ids"):
        Confusion.zero(19).update(image([0]), image([26]))
    with pytest.raises(ValueError, match=r"predicted holds class ids \[255\]"):
        Confusion.zero(19).update(image([255]), image([3]))
    with pytest.raises(ValueError, match="resize the prediction"):
        Confusion.zero(19).update(image([2, 2]), image([3]))


@LAWS
@given(a=LABELS, b=LABELS, first=PREDICTED, second=PREDICTED)
def test_counts_do_not_depend_on_order_or_split(a, b, first, second):
    zero = Confusion.zero(3)
    together = zero.update(first, a).update(second, b)

    split = zero.update(second, b).merge(zero.update(first, a))

    np.testing.assert_array_equal(split.table, together.table)


@LAWS
@given(target=LABELS, predicted=PREDICTED, other=PREDICTED)
def test_ignored_pixels_never_change_the_counts(target, predicted, other):
    changed = np.where(target == 255, other, predicted)

    a = Confusion.zero(3).update(predicted, target)
    b = Confusion.zero(3).update(changed, target)

    np.testing.assert_array_equal(a.table, b.table)


@LAWS
@given(target=PREDICTED)
def test_a_perfect_prediction_scores_one(target):
    scores = Confusion.zero(3).update(target, target).compute()

    assert (scores.mean_iou, scores.pixel_accuracy) == (1, 1)


@LAWS
@given(target=LABELS, predicted=PREDICTED)
def test_counting_runs_equals_counting_pixels(target, predicted):
    table = np.zeros((3, 3), int)
    for t, p in zip(target.ravel(), predicted.ravel(), strict=True):
        if t != 255:
            table[t, p] += 1

    np.testing.assert_array_equal(Confusion.zero(3).update(predicted, target).table, table)


@LAWS
@given(target=LABELS, predicted=PREDICTED)
def test_the_score_of_a_merged_scheme_equals_merging_the_confusion(target, predicted):
    def scheme(name, count):
        rows = (LabelClass(f"{name}{i}", i, i, (i, 0, 0)) for i in range(count))
        return LabelScheme(name, tuple(rows))

    table = np.full(256, 255, np.uint8)
    table[:3] = [0, 1, 1]
    merge = LabelMap(scheme("fine", 3), scheme("coarse", 2), table)

    fine = Confusion.zero(3).update(predicted, target)
    coarse = Confusion.zero(2).update(merge(predicted), merge(target))

    np.testing.assert_array_equal(merge.merge_confusion(fine.table), coarse.table)
