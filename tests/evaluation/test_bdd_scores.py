import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perception.evaluation.bdd import DRIVABLE, LANE, MaskEvaluator, foreground

MASKS = arrays(np.uint8, (3, 4), elements=st.integers(0, 1))


def row(*values):
    return np.array([values], np.uint8)


def scored(protocol, *pairs, batch_size=24):
    evaluator = MaskEvaluator(protocol, batch_size=batch_size)
    for position, (predicted, target) in enumerate(pairs):
        evaluator = evaluator.update(predicted, target, position=position)
    return evaluator.compute()


def test_four_pixels_by_hand():
    pair = (row(1, 1, 0, 0), row(1, 0, 0, 0))

    drivable, lane = scored(DRIVABLE, pair).pooled, scored(LANE, pair).pooled

    assert drivable.acc == 3 / 4
    assert lane.acc == pytest.approx(1)  # recall of the one lane pixel
    assert (drivable.iou, lane.iou) == (1 / 2, 1 / 2)
    assert drivable.miou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert lane.balanced_acc == pytest.approx((2 / 3 + 1) / 2)


def test_the_papers_mean_depends_on_the_batches_and_the_pooled_score_does_not():
    good, bad, empty = (row(1, 1), row(1, 1)), (row(0, 0), row(1, 1)), (row(0, 0), row(0, 0))

    alone = scored(LANE, good, bad, empty, batch_size=1)
    pairs = scored(LANE, good, bad, empty, batch_size=2)

    assert alone.batched.iou == pytest.approx((1 + 0 + 0) / 3)  # no lane at all: 0
    assert pairs.batched.iou == pytest.approx((2 * 0.5 + 1 * 0) / 3)
    assert alone.pooled == pairs.pooled


def test_grey_labels_are_foreground_above_the_threshold_and_index_masks_are_refused():
    assert foreground(row(0, 1, 2, 255)).tolist() == [[0, 0, 1, 1]]
    assert foreground(row(0, 0)).tolist() == [[0, 0]]
    with pytest.raises(ValueError, match="class indices"):
        foreground(row(0, 1))


def test_a_class_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"predicted holds class ids \[2\]"):
        scored(LANE, (row(2), row(1)))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(MASKS, MASKS), min_size=1, max_size=5), st.integers(0, 5))
def test_scores_do_not_depend_on_how_the_images_were_split(pairs, split):
    parts = [MaskEvaluator(LANE, batch_size=2), MaskEvaluator(LANE, batch_size=2)]
    for position, (predicted, target) in enumerate(pairs):
        side = position >= split
        parts[side] = parts[side].update(predicted, target, position=position)

    merged = parts[1].merge(parts[0]).compute()

    together = scored(LANE, *pairs, batch_size=2)
    assert merged.batched == together.batched
    assert merged.pooled == together.pooled
