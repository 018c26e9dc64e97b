import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perception.evaluation.cityscapes import (
    Category,
    InstanceEvaluator,
    Mask,
    PanopticEvaluator,
    PixelEvaluator,
    Segment,
)
from perception.labels import load_scheme

SCHEME = load_scheme("cityscapes")
LAWS = settings(deadline=None, max_examples=40)
IDS = arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 7, 8, 24, 26, 29]))
CAR = 12794.0202738185  # the benchmark's average size of a car


def ids(*rows):
    return np.array(rows, np.uint8)


def instances_of(labels):
    """One instance per class with instances."""
    return np.where(labels >= 24, labels.astype(np.uint16) * 1000 + 1, labels).astype(np.uint16)


# ---------------------------------------------------------------------------- pixel


def test_ten_pixels_by_hand():
    target = ids([7, 7, 7, 7, 26], [26, 26, 26, 0, 29])
    predicted = ids([7, 7, 8, 0, 26], [26, 7, 29, 7, 26])

    scores = PixelEvaluator.zero(SCHEME).update(predicted, target, instances_of(target)).compute()

    # road: 2 hit; missed: one as sidewalk, one as void; wrong: one car pixel (the void one is not)
    assert scores.class_iou["road"] == 2 / 5
    assert scores.class_iou["sidewalk"] == 0  # predicted on a scored pixel, never labelled
    assert math.isnan(scores.class_iou["sky"])
    # car: 2 hit, 2 missed; the caravan predicted as car is not scored
    assert scores.class_iou["car"] == 2 / 4
    weight = CAR / 4
    assert scores.class_iiou["car"] == pytest.approx(2 * weight / (4 * weight))
    # vehicle: "predicted as caravan" is a hit for the instance, not for the IoU
    assert scores.category_iou["vehicle"] == 2 / 4
    assert scores.category_iiou["vehicle"] == pytest.approx(3 / 4)
    assert scores.category_iou["flat"] == pytest.approx(3 / 5)
    assert math.isnan(scores.class_iiou["road"])


def test_small_instances_weigh_as_much_as_large_ones():
    target = ids([26] * 8 + [7, 26, 26])
    instances = np.array([[26001] * 8 + [7, 26002, 26002]], np.uint16)
    predicted = ids([26] * 8 + [7, 7, 7])  # the large one found, the small one not

    scores = PixelEvaluator.zero(SCHEME).update(predicted, target, instances).compute()

    assert scores.class_iou["car"] == 8 / 10
    assert scores.class_iiou["car"] == pytest.approx(1 / 2)


def test_groups_belong_to_no_instance():
    target = ids([26, 26, 7])
    groups = target.astype(np.uint16)  # a group is stored as the class id alone

    scores = PixelEvaluator.zero(SCHEME).update(target, target, groups).compute()

    assert scores.class_iou["car"] == 1
    assert math.isnan(scores.class_iiou["car"])


@LAWS
@given(a=IDS, b=IDS, first=IDS, second=IDS)
def test_pixel_scores_do_not_depend_on_order_or_split(a, b, first, second):
    zero = PixelEvaluator.zero(SCHEME)
    one = zero.update(first, a, instances_of(a))
    two = zero.update(second, b, instances_of(b))

    together = one.update(second, b, instances_of(b)).compute()

    # equal to the last bit; repr, because NaN is not equal to itself
    assert repr(two.merge(one).compute()) == repr(together)


@LAWS
@given(target=IDS, predicted=IDS, other=IDS)
def test_ignored_pixels_never_change_the_pixel_scores(target, predicted, other):
    ignored = (target == 0) | (target == 29)
    changed = np.where(ignored, other, predicted)
    zero = PixelEvaluator.zero(SCHEME)

    a = zero.update(predicted, target, instances_of(target)).compute()
    b = zero.update(changed, target, instances_of(target)).compute()

    assert repr(a) == repr(b)


@LAWS
@given(target=IDS)
def test_a_perfect_prediction_scores_one_where_anything_counts(target):
    scores = PixelEvaluator.zero(SCHEME).update(target, target, instances_of(target)).compute()

    for values in vars(scores).values():
        assert {value for value in values.values() if value == value} <= {1.0}


# ---------------------------------------------------------------------------- instances


def two_cars():
    """Two cars of 200 pixels, a group of 200, void of 100 in a 30 x 60 image of road."""
    image = np.full((30, 60), 7, np.uint16)
    image[0:10, 0:20], image[0:10, 30:50] = 26001, 26002
    image[15:25, 0:20], image[15:25, 30:40] = 26, 3
    return image


def mask(score, rows, columns, label=26):
    pixels = np.zeros((30, 60), bool)
    pixels[rows, columns] = True
    return Mask(label, score, pixels)


def instance_scores(*masks, image=None):
    instances = two_cars() if image is None else image
    return InstanceEvaluator(SCHEME).update(masks, instances).compute()


def test_perfect_masks_score_one():
    scores = instance_scores(
        mask(0.9, slice(0, 10), slice(0, 20)), mask(0.8, slice(0, 10), slice(30, 50))
    )

    assert (scores.ap, scores.ap50) == (1, 1)
    assert np.isnan(scores.matrix["person"]).all()


def test_one_of_two_found_and_one_wrong_by_hand():
    scores = instance_scores(
        mask(0.9, slice(0, 10), slice(0, 20)), mask(0.8, slice(27, 30), slice(50, 60))
    )

    # points, by confidence: (1/2, 1/2) at 0.8, (1, 1/2) at 0.9, (1, 0): widths 0, 1/4, 1/4
    assert scores.matrix["car"][0] == pytest.approx(0.5 * 0 + 1 * 0.25 + 1 * 0.25)


def test_an_overlap_of_exactly_one_half_is_no_match():
    scores = instance_scores(mask(0.9, slice(0, 10), slice(0, 10)))

    assert scores.matrix["car"][0] == 0


def test_a_second_mask_on_the_same_car_is_wrong_with_the_smaller_confidence():
    one = InstanceEvaluator(SCHEME).update(
        [mask(0.3, slice(0, 10), slice(0, 20)), mask(0.7, slice(0, 10), slice(0, 19))], two_cars()
    )

    matches = one.records[0]["car"]
    assert (matches.true[0], matches.false[0], matches.missed[0]) == ((0.7,), (0.3,), 1)


def test_masks_on_groups_and_void_are_forgiven_and_small_cars_not_asked_for():
    image = two_cars()
    image[28:30, 0:20] = 26003  # 40 pixels
    one = InstanceEvaluator(SCHEME).update(
        [mask(0.9, slice(15, 25), slice(0, 10)), mask(0.8, slice(15, 25), slice(30, 40))], image
    )

    matches = one.records[0]["car"]
    assert (matches.asked, matches.false[0], matches.missed[0]) == (2, (), 2)
    assert instance_scores(mask(0.9, slice(15, 25), slice(0, 10)), image=image).ap == 0


def test_kitti_instance_ids_are_refused():
    with pytest.raises(ValueError, match=r"KITTI stores id \* 256 \+ n"):
        InstanceEvaluator(SCHEME).update([], np.full((4, 4), 26 * 256 + 1, np.uint16))


@LAWS
@given(st.permutations(range(4)), st.integers(0, 4))
def test_instance_scores_do_not_depend_on_order_or_split(order, split):
    boxes = [(slice(0, 10), slice(0, 20)), (slice(0, 9), slice(30, 50)),
             (slice(5, 15), slice(0, 20)), (slice(20, 30), slice(40, 60))]  # fmt: skip
    images = [[mask(0.1 * k + 0.5, *boxes[k]), mask(0.4, *boxes[(k + 1) % 4])] for k in range(4)]
    parts = [InstanceEvaluator(SCHEME), InstanceEvaluator(SCHEME)]
    for position, k in enumerate(order):
        part = position >= split
        parts[part] = parts[part].update(images[k], two_cars())
    together = InstanceEvaluator(SCHEME)
    for masks in images:
        together = together.update(masks, two_cars())

    assert parts[1].merge(parts[0]).compute().ap == together.compute().ap


# ---------------------------------------------------------------------------- panoptic

CATEGORIES = (Category(7, "road", False), Category(26, "car", True), Category(21, "tree", False))


def panoptic(target, target_segments, predicted, predicted_segments):
    one = PanopticEvaluator.zero(CATEGORIES).update(
        np.array(predicted), predicted_segments, np.array(target), target_segments
    )
    return one, one.compute()


def test_panoptic_quality_by_hand():
    target = [[1, 1, 1, 1, 2, 2, 2, 0]]
    predicted = [[1, 1, 1, 5, 5, 5, 5, 5]]

    one, scores = panoptic(
        target, [Segment(1, 7, 4), Segment(2, 26, 3)], predicted, [Segment(1, 7), Segment(5, 26)]
    )

    # road 3 of 4; car: 3 shared, union 5 + 3 - 3 - 1 void = 4
    assert one.matched == {7: (3 / 4,), 26: (3 / 4,)}
    assert scores.groups["All"].pq == 3 / 4
    assert scores.groups["Things"].categories == scores.groups["Stuff"].categories == 1
    assert scores.per_category[21].pq == 0  # absent: zeros, and not in the mean


def test_missed_and_wrong_segments_count_half():
    one, scores = panoptic([[1, 1, 2, 2]], [Segment(1, 7, 2), Segment(2, 26, 2)],
                           [[1, 1, 3, 3]], [Segment(1, 7), Segment(3, 21)])  # fmt: skip

    assert one.counts == {26: (0, 1), 21: (1, 0)}
    assert scores.groups["All"].pq == pytest.approx(1 / 3)


def test_predictions_on_void_and_on_the_last_crowd_are_forgiven():
    crowds = [Segment(1, 26, 4, crowd=True), Segment(2, 26, 4, crowd=True)]
    target = [[1, 1, 1, 1, 2, 2, 2, 2]]

    first, _ = panoptic(target, crowds, [[9, 9, 9, 9, 0, 0, 0, 0]], [Segment(9, 26)])
    last, _ = panoptic(target, crowds, [[0, 0, 0, 0, 9, 9, 9, 9]], [Segment(9, 26)])
    void, _ = panoptic([[0, 0, 0, 7]], [Segment(7, 7, 1)], [[9, 9, 9, 9]], [Segment(9, 26)])

    assert first.counts == {26: (1, 0)}
    assert last.counts == {}
    assert void.counts == {7: (0, 1)}


def test_nothing_to_score_has_no_value():
    _, scores = panoptic([[0]], [], [[0]], [])

    assert math.isnan(scores.groups["All"].pq)
    assert scores.groups["All"].categories == 0


@LAWS
@given(
    arrays(np.int64, (4, 6), elements=st.sampled_from([0, 1, 2])),
    arrays(np.int64, (4, 6), elements=st.sampled_from([0, 1, 2])),
)
def test_panoptic_scores_do_not_depend_on_order_and_perfect_is_one(first, second):
    kinds = {1: 7, 2: 26}

    def segments(image, areas):
        return [
            Segment(i, kinds[i], int((image == i).sum()) if areas else 0)
            for i in np.unique(image).tolist()
            if i
        ]

    zero = PanopticEvaluator.zero(CATEGORIES)
    pair = (first, segments(first, False), second, segments(second, True))
    perfect = (second, segments(second, False), second, segments(second, True))
    a, b = zero.update(*pair), zero.update(*perfect)

    assert repr(a.merge(b).compute()) == repr(b.merge(a).compute())
    if segments(second, True):
        assert b.compute().groups["All"].pq == 1
