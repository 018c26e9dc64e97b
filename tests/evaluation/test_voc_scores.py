"""Pascal VOC: hand-worked numbers, a slow reference, laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.errors import PerceptionError
from perception.evaluation.verdict import Verdict
from perception.evaluation.voc import (
    COCO_STYLE,
    VOC_2007,
    VOC_AREA,
    VocEvaluator,
    ap_2007,
    ap_area,
    as_text,
)
from perception.evaluation.voc.overlap import inclusive_overlap
from perception.structures import Boxes


def boxes(rows, score=None, names="car", **columns) -> Boxes:
    """From 1-based inclusive corners."""
    names = [names] * len(rows) if isinstance(names, str) else names
    corners = np.asarray(rows, np.float64).reshape(-1, 4) - [1, 1, 0, 0]
    return Boxes.of(corners, names, score=score, **columns)


def score_of(*images, rules=VOC_AREA, classes=("car",)):
    evaluator = VocEvaluator(rules, classes)
    for index, (predicted, target) in enumerate(images):
        evaluator = evaluator.update(f"{index}", predicted, target)
    return evaluator.compute()


# ---------------------------------------------------------------------------- worked by hand


def test_overlap_counts_the_last_pixel():
    """Columns 1..10 and 6..15 share five of fifteen; one row each."""
    first, second = np.array([[1.0, 1, 10, 1]]), np.array([[6.0, 1, 15, 1]])

    assert inclusive_overlap(first, second).tolist() == [5 / 15]


def test_two_hits_and_one_miss_between_them():
    """Right, wrong, right over two objects: precision 1 at recall 1/2, 2/3 at recall 1."""
    box, other, far = [1, 1, 10, 10], [21, 1, 30, 10], [51, 51, 60, 60]
    found = boxes([box, far, other], [0.9, 0.8, 0.7])
    label = boxes([box, other])

    assert score_of((found, label)).ap("car") == pytest.approx(0.5 + 0.5 * 2 / 3)
    # Eleven steps: 0 .. 0.5 reach precision 1, 0.6 .. 1 reach 2/3.
    assert score_of((found, label), rules=VOC_2007).ap("car") == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_an_object_is_found_once_and_there_is_no_second_choice():
    """The second detection lies best on the found object; the free one beside does not count."""
    first, second = [1, 1, 10, 10], [3, 1, 12, 10]
    found = boxes([first, first], [0.9, 0.8])

    curve = score_of((found, boxes([first, second]))).curves["car", 0.5]

    assert (curve.hits, curve.detections, curve.objects) == (1, 2, 2)
    assert curve.max_recall == 0.5


def test_an_overlap_of_exactly_the_threshold_is_no_hit():
    assert score_of((boxes([[1, 1, 10, 10]], [1]), boxes([[1, 1, 10, 5]]))).ap("car") == 0
    assert score_of((boxes([[1, 1, 10, 9]], [1]), boxes([[1, 1, 10, 5]]))).ap("car") == 1


def test_difficult_objects_are_neither_right_nor_wrong():
    box, other = [1, 1, 10, 10], [21, 1, 30, 10]
    found = boxes([other, other, box], [0.9, 0.8, 0.7])

    curve = score_of((found, boxes([box, other], ignore=[False, True]))).curves["car", 0.5]

    assert (curve.ap, curve.objects, curve.hits) == (1, 1, 1)


def test_a_class_without_objects_is_nan_and_left_out_of_the_mean():
    box = [1, 1, 10, 10]
    scores = score_of(
        (boxes([box, box], [1, 1], ["car", "boat"]), boxes([box])), classes=("car", "boat")
    )

    assert math.isnan(scores.ap("boat"))
    assert scores.mean_ap() == 1


def test_recall_of_exactly_three_tenths_does_not_reach_the_fourth_step():
    """arange gives 0.30000000000000004, 0.6000000000000001, 0.7000000000000001."""
    recall = np.arange(1, 11) / 10
    precision = np.linspace(1, 0.1, 10)
    reached = [0, 0, 1, 3, 3, 4, 6, 7, 7, 8, 9]

    assert ap_2007(recall, precision) == pytest.approx(np.mean(precision[reached]))


def test_no_detection_scores_zero():
    assert score_of((boxes([], []), boxes([[1, 1, 2, 2]]))).ap("car") == 0
    assert ap_area(np.zeros(0), np.zeros(0)) == ap_2007(np.zeros(0), np.zeros(0)) == 0


def test_equal_scores_keep_the_order_of_the_images_and_of_the_boxes():
    box, far = [1, 1, 10, 10], [51, 51, 60, 60]
    right, wrong = (boxes([box], [0.5]), boxes([box])), (boxes([far], [0.5]), boxes([box]))

    assert score_of(right, wrong).ap("car") == 0.5
    assert score_of(wrong, right).ap("car") == 0.25


def test_coco_style_rounds_as_the_text_that_it_writes():
    """0.25 + 1 is written 1.2 (half to even); 1.35 in float32 lies above, and is written 1.4."""
    corners, score = as_text(np.array([[0.25, 0.35, 2.06, 3.0]]), np.array([0.12345]))

    assert corners.tolist() == [[1.2, 1.4, 2.1, 3.0]]
    assert score.tolist() == [0.123]


def test_coco_style_is_the_mean_over_ten_thresholds():
    """Overlap 0.8 is above six of the ten thresholds."""
    scores = score_of((boxes([[1, 1, 10, 8]], [1]), boxes([[1, 1, 10, 10]])), rules=COCO_STYLE)

    assert scores.ap("car") == pytest.approx(0.6)
    assert (scores.mean_ap(0.5), scores.mean_ap(0.75), scores.mean_ap(0.85)) == (1, 1, 0)


def test_every_box_gets_its_verdict_at_the_best_score():
    box, far, hard = [1, 1, 10, 10], [51, 51, 60, 60], [81, 1, 90, 10]
    evaluator = VocEvaluator(VOC_AREA, ("car",))
    label = boxes([box, far, hard], ignore=[False, False, True])
    evaluator = evaluator.update("a", boxes([box, hard, [21, 1, 30, 10]], [0.9, 0.8, 0.1]), label)
    evaluator = evaluator.update("b", boxes([[31, 1, 40, 10]], [0.95]), boxes([]))

    target, predicted = evaluator.matched().verdicts()

    assert target.tolist() == [Verdict.RIGHT, Verdict.MISSED, Verdict.NEUTRAL]
    assert predicted.tolist() == [Verdict.WRONG, Verdict.RIGHT, Verdict.LEFT_OUT, Verdict.LEFT_OUT]


def test_unusable_numbers_and_doubled_images_are_named():
    evaluator = VocEvaluator(VOC_AREA, ("car",))
    with pytest.raises(PerceptionError, match="image x"):
        evaluator.update("x", boxes([[1, 1, 2, 2]], [np.nan]), boxes([]))
    once = evaluator.update("x", boxes([], []), boxes([]))
    with pytest.raises(PerceptionError, match="image x"):
        once.merge(once).compute()
    with pytest.raises(ValueError, match="merged"):
        once.merge(VocEvaluator(VOC_2007, ("car",)))
    with pytest.raises(PerceptionError, match="no image"):
        evaluator.compute()


# ---------------------------------------------------------------------------- reference and laws

PLACE = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(3, 8), st.integers(3, 8))
OBJECTS = st.lists(st.tuples(PLACE, st.sampled_from(["car", "bus"]), st.booleans()), max_size=4)
FOUND = st.lists(st.tuples(PLACE, st.sampled_from(["car", "bus"]), st.integers(0, 4)), max_size=5)
IMAGES = st.lists(st.tuples(FOUND, OBJECTS), min_size=1, max_size=4)


def as_boxes(rows, labelled):
    corners = [(x, y, x + w, y + h) for (x, y, w, h), _, _ in rows]
    last = [row[2] for row in rows]
    names = [row[1] for row in rows]
    if labelled:
        return boxes(corners, names=names, ignore=last)
    return boxes(corners, [value / 4 for value in last], names)


def slow_ap(images, name, threshold, rule):
    """The definition, detection by detection."""
    queue = [
        (score, i, corners)
        for i, (found, _) in enumerate(images)
        for corners, kind, score in found
        if kind == name
    ]
    queue.sort(key=lambda one: -one[0])
    total = sum(kind == name and not hard for _, objects in images for _, kind, hard in objects)
    if not total:
        return math.nan
    taken, tp, fp, points = set(), 0, 0, []
    for _, i, (x, y, w, h) in queue:
        best, largest = None, -1.0
        for j, ((a, b, c, d), kind, hard) in enumerate(images[i][1]):
            if kind == name:
                width = min(x + w, a + c) - max(x, a) + 1
                height = min(y + h, b + d) - max(y, b) + 1
                shared = max(width, 0) * max(height, 0)
                overlap = shared / ((w + 1) * (h + 1) + (c + 1) * (d + 1) - shared)
                if overlap > largest:
                    best, largest = (i, j, hard), overlap
        if largest > threshold and best[2]:
            pass
        elif largest > threshold and best not in taken:
            taken.add(best)
            tp += 1
        else:
            fp += 1
        points.append((tp / total, tp / max(tp + fp, 1e-300)))
    if rule == "2007":
        steps = np.arange(0, 1.1, 0.1)
        return sum(max((p for r, p in points if r >= t), default=0) for t in steps) / 11
    area, before = 0.0, 0.0
    for k, (recall, _) in enumerate(points):
        area += (recall - before) * max(p for _, p in points[k:])
        before = recall
    return area


@settings(max_examples=80, deadline=None)
@given(IMAGES, st.sampled_from([VOC_2007, VOC_AREA]))
def test_all_images_at_once_give_what_the_slow_reference_gives(images, rules):
    parts = [(as_boxes(found, False), as_boxes(objects, True)) for found, objects in images]

    scores = score_of(*parts, rules=rules, classes=("car", "bus"))

    for name in ("car", "bus"):
        expected = slow_ap(images, name, 0.5, rules.rule)
        assert scores.ap(name) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(IMAGES, st.randoms(use_true_random=False))
def test_neither_order_nor_splitting_of_the_images_changes_a_bit(images, random):
    zero = VocEvaluator(VOC_AREA, ("car", "bus"))
    parts = [
        (f"{i}", as_boxes(found, False), as_boxes(objects, True))
        for i, (found, objects) in enumerate(images)
    ]
    together = zero
    for part in parts:
        together = together.update(*part)
    random.shuffle(parts)
    first, second = zero, zero
    for index, part in enumerate(parts):
        if index % 2:
            first = first.update(*part)
        else:
            second = second.update(*part)

    a, b = together.compute(), first.merge(second).compute()

    for key, curve in a.curves.items():
        np.testing.assert_array_equal(curve.precision, b.curves[key].precision)
        np.testing.assert_equal(curve.ap, b.curves[key].ap)


@settings(max_examples=30, deadline=None)
@given(IMAGES, st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_weighting_images_equals_repeating_them(images, weights):
    once, repeated = (VocEvaluator(VOC_AREA, ("car", "bus")) for _ in range(2))
    for i, (found, objects) in enumerate(images):
        part = as_boxes(found, False), as_boxes(objects, True)
        once = once.update(f"{i}", *part)
        for j in range(weights[i]):
            repeated = repeated.update(f"{i}-{j}", *part)
    weight = np.array(weights[: len(images)])
    if not weight.any():
        return

    weighted, expected = once.matched().scores(weight), repeated.compute()

    for name in ("car", "bus"):
        assert weighted.curves[name, 0.5].objects == expected.curves[name, 0.5].objects
        assert weighted.curves[name, 0.5].hits == expected.curves[name, 0.5].hits
