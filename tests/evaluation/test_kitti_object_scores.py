"""KITTI object: hand-worked numbers, the slow reference, and laws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.errors import PerceptionError
from perception.evaluation.kitti_object import (
    KITTI_2019,
    PROTOCOLS,
    KittiObjectEvaluator,
    ObjectClass,
    find_rules,
)
from perception.evaluation.kitti_object.verdicts import judge
from perception.evaluation.kitti_object.weighted import all_steps
from perception.evaluation.verdict import Verdict
from perception.structures import Boxes
from tests.evaluation import kitti_object_reference as reference


def labels(rows, names="Car", **columns) -> Boxes:
    names = [names] * len(rows) if isinstance(names, str) else names
    columns.setdefault("truncation", np.zeros(len(rows)))
    columns.setdefault("occlusion", np.zeros(len(rows)))
    columns.setdefault("alpha", np.zeros(len(rows)))
    return Boxes.of(rows, names, ignore=[n == "DontCare" for n in names], **columns)


def detections(rows, score, names="Car", **columns) -> Boxes:
    names = [names] * len(rows) if isinstance(names, str) else names
    columns.setdefault("alpha", np.zeros(len(rows)))
    return Boxes.of(rows, names, score=score, **columns)


def score_of(*frames, protocol="kitti_2019", **options):
    evaluator = KittiObjectEvaluator(protocol, **options)
    for index, (predicted, target) in enumerate(frames):
        evaluator = evaluator.update(f"{index:06d}", predicted, target)
    return evaluator.compute()


BOX = [100.0, 100.0, 200.0, 150.0]


# ---------------------------------------------------------------------------- worked by hand


def test_five_perfect_detections_fill_five_of_41_slots():
    frames = [(detections([BOX], [0.1 * i]), labels([BOX])) for i in range(1, 6)]

    for protocol, ap in (("kitti_2019", 0.1), ("prclibo_2017", 2 / 11)):
        curve = score_of(*frames, protocol=protocol).curve("car", "easy")
        assert curve.precision.tolist() == [1.0] * 5 + [0.0] * 36
        assert curve.ap == pytest.approx(ap)
        assert curve.objects == 5
    curve = score_of(*frames, protocol="kittibox_2015").curve("car", "easy")
    assert curve.ap == curve.ap_r41 == pytest.approx(5 / 41)


def test_from_41_objects_on_a_perfect_detector_scores_one():
    rows = [[50.0 * i, 100.0, 50.0 * i + 40, 150.0] for i in range(41)]
    scores = score_of((detections(rows, np.linspace(1, 0.1, 41)), labels(rows)))

    for metric in ("image", "orientation"):
        for difficulty in ("easy", "moderate", "hard"):
            assert scores.ap("car", difficulty, metric) == 1.0


def test_a_false_positive_with_the_highest_score_halves_the_precision_of_the_first_slot():
    far = [500.0, 100.0, 600.0, 150.0]
    scores = score_of((detections([BOX, far], [0.5, 0.9]), labels([BOX])))

    curve = scores.curve("car", "moderate")
    assert (curve.tp.tolist(), curve.fp.tolist(), curve.fn.tolist()) == ([1], [1], [0])
    assert curve.precision[0] == 0.5


def test_orientation_counts_half_of_one_plus_the_cosine():
    scores = score_of((detections([BOX], [1.0], alpha=[math.pi / 2]), labels([BOX])))

    assert scores.curve("car", "easy").precision[0] == 1.0
    assert scores.curve("car", "easy", "orientation").precision[0] == pytest.approx(0.5)


def test_one_detection_without_alpha_switches_orientation_off_for_all():
    scores = score_of(
        (detections([BOX], [1.0]), labels([BOX])),
        (detections([BOX], [1.0], "Tram", alpha=[-10]), labels([BOX])),
    )

    assert scores.curve("car", "easy", "orientation") is None
    assert math.isnan(scores.ap("car", "easy", "orientation"))
    assert any("alpha" in note for note in scores.notes)


@pytest.mark.parametrize(("protocol", "objects"), [("kitti_2019", 1), ("prclibo_2017", 2)])
def test_a_label_of_exactly_the_minimum_height_counts_only_before_2019(protocol, objects):
    rows = [[0.0, 0.0, 50.0, 25.0], [100.0, 0.0, 150.0, 26.0]]
    scores = score_of((detections(rows, [1, 1]), labels(rows)), protocol=protocol)

    assert scores.objects["car", "moderate"] == objects
    assert scores.objects["car", "easy"] == 0


def test_difficulty_limits_are_inclusive():
    rows = [[100.0 * i, 0.0, 100.0 * i + 50, 60.0] for i in range(4)]
    target = labels(rows, truncation=[0.15, 0.1500001, 0.3, 0.5], occlusion=[0, 0, 1, 2])
    scores = score_of((detections(rows, [1, 1, 1, 1]), target))

    counts = [scores.objects["car", level] for level in ("easy", "moderate", "hard")]
    assert counts == [1, 3, 4]


def test_a_van_absorbs_a_car_and_a_truck_does_not():
    rows = [[100.0 * i, 0.0, 100.0 * i + 50, 60.0] for i in range(3)]
    target = labels(rows, ["CAR", "van", "Truck"])
    curve = score_of((detections(rows, [0.5, 0.9, 0.8]), target)).curve("car", "easy")

    assert (curve.tp.tolist(), curve.fp.tolist()) == ([1], [1])


def test_dont_care_forgives_by_the_share_of_the_detection_and_strictly():
    """70 of 100 columns lie in the region: not more than 0.7; 71 of 100 are."""
    region = [100.0, 0.0, 500.0, 400.0]
    rows = [BOX, [70.0, 200.0, 170.0, 250.0], [71.0, 300.0, 171.0, 350.0]]
    target = labels([[600.0, 100.0, 700.0, 150.0], region], ["Car", "DontCare"])
    predicted = detections([[600.0, 100.0, 700.0, 150.0], *rows], [0.1, 0.9, 0.9, 0.9])

    curve = score_of((predicted, target)).curve("car", "easy")

    assert curve.fp.tolist() == [1]


def test_labels_pick_in_file_order_and_the_loser_is_missed():
    """Both labels want the detection; the first one gets it, although the second fits better."""
    first, second = [0.0, 0.0, 100.0, 100.0], [10.0, 0.0, 110.0, 100.0]
    predicted = detections([second], [0.5])

    curve = score_of((predicted, labels([first, second]))).curve("car", "easy")

    assert (curve.tp.tolist(), curve.fn.tolist()) == ([1], [1])


def test_the_largest_overlap_wins_at_a_threshold_and_the_highest_score_before():
    """Of a better fitting and a better scoring detection, the threshold is that of the score."""
    close, exact = [5.0, 0.0, 105.0, 100.0], [0.0, 0.0, 100.0, 100.0]
    predicted = detections([close, exact], [0.9, 0.3])

    curve = score_of((predicted, labels([exact]))).curve("car", "easy")

    assert curve.thresholds.tolist() == [0.9]
    assert (curve.tp.tolist(), curve.fp.tolist()) == ([1], [0])


def test_a_short_detection_of_any_class_takes_a_label_out_of_the_count():
    """39.9 pixels high: short at easy; the car it lies on is neither found nor missed."""
    low = [0.0, 0.0, 100.0, 39.9]
    tall = [0.0, 0.0, 100.0, 41.0]
    other = [300.0, 0.0, 400.0, 50.0]
    predicted = detections([low, other], [0.9, 0.5], ["Cyclist", "Car"])
    frame = (predicted, labels([tall, other]))

    curve = score_of(frame).curve("car", "easy")
    assert (curve.tp.tolist(), curve.fn.tolist(), curve.objects) == ([1], [0], 2)
    curve = score_of(frame, protocol="kittibox_2015").curve("car", "easy")
    assert (curve.tp.tolist(), curve.fn.tolist()) == ([1], [1])


def test_a_threshold_at_which_nothing_is_counted_is_nan_and_so_is_the_ap():
    """Before a threshold is set the van takes the higher score, and the car the other detection.

    At the threshold the van takes what fits better, the car nothing, and the rest is forgiven.
    """
    van, car = [0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 100.0, 75.0]
    target = labels([van, car, [0.0, 0.0, 300.0, 300.0]], ["Van", "Car", "DontCare"])
    predicted = detections([[8.0, 0.0, 108.0, 100.0], [0.0, 0.0, 100.0, 90.0]], [0.9, 0.5])

    curve = score_of((predicted, target)).curve("car", "easy")

    assert curve.thresholds.tolist() == [0.5]
    assert (curve.tp.tolist(), curve.fp.tolist(), curve.fn.tolist()) == ([0], [0], [1])
    assert math.isnan(curve.precision[0]) and curve.precision[1] == 0
    assert math.isnan(curve.ap_r11) and curve.ap_r40 == 0


def test_classes_that_were_never_detected_do_not_exist_but_their_objects_are_counted():
    scores = score_of((detections([BOX], [1.0]), labels([BOX, BOX], ["Car", "Cyclist"])))

    assert scores.curve("cyclist", "easy") is None
    assert scores.objects["cyclist", "easy"] == 1


def test_detections_left_of_the_image_alone_do_not_make_a_class_exist_after_2015():
    left = [-5.0, 100.0, 100.0, 150.0]
    frame = (detections([left], [1.0], "Cyclist"), labels([left], "Cyclist"))

    assert score_of(frame).curve("cyclist", "easy") is None
    assert score_of(frame, protocol="kittibox_2015").curve("cyclist", "easy") is not None


def test_further_classes_come_with_their_own_overlap():
    shifted = [10.0, 0.0, 110.0, 100.0]  # overlap 90 / 110 = 0.82
    frame = (detections([shifted], [1.0], "tram"), labels([[0.0, 0.0, 100.0, 100.0]], "Tram"))

    for overlap, tp in ((0.8, [1]), (0.85, [])):
        scores = score_of(frame, classes=(ObjectClass("tram", overlap), "car"))
        assert scores.curve("tram", "easy").tp.tolist() == tp
    with pytest.raises(PerceptionError, match="class tram"):
        score_of(frame, classes=("tram",))


def test_unknown_protocols_and_unusable_numbers_are_named():
    with pytest.raises(PerceptionError, match=r"kitti_2012.*kitti_2019"):
        find_rules("kitti_2012")
    with pytest.raises(PerceptionError, match=r"000007.*scores"):
        KittiObjectEvaluator().update("000007", detections([BOX], [np.nan]), labels([BOX]))
    with pytest.raises(PerceptionError, match=r"000007.*boxes"):
        KittiObjectEvaluator().update(
            "000007", detections([[0, 0, np.inf, 1]], [0.5]), labels([BOX])
        )
    with pytest.raises(PerceptionError, match="no frame"):
        KittiObjectEvaluator().compute()
    with pytest.raises(PerceptionError, match="twice"):
        score_of_twice = KittiObjectEvaluator().update("1", Boxes.empty(), labels([BOX]))
        score_of_twice.merge(score_of_twice).compute()
    with pytest.raises(ValueError, match="merged"):
        KittiObjectEvaluator("kitti_2019").merge(KittiObjectEvaluator("prclibo_2017"))


# ---------------------------------------------------------------------------- against the reference

KINDS = ["Car", "car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "DontCare"]


@st.composite
def frame(draw, metric):
    """A frame of few places, so that boxes meet, compete and tie."""
    half = st.integers(0, 6).map(lambda v: 4.0 * v)

    def box():
        x, y = draw(half), draw(half)
        return (
            x,
            y,
            x + draw(st.sampled_from([30.0, 34.0])),
            y + draw(st.sampled_from([24.99, 25.0, 30.0, 40.0, 41.0])),
        )

    def solid():
        if metric == "image" or draw(st.integers(0, 4)) == 0:
            return -1, -1, -1, -1000, -1000, -1000, -10
        tenth = st.integers(-5, 5).map(lambda v: v / 10)
        return (
            1.5 + draw(tenth) / 5,
            1.6,
            4.0 + draw(tenth),
            draw(tenth),
            1.6 + draw(tenth) / 5,
            10 + draw(tenth) / 2,
            draw(st.integers(-3, 3)) / 10,
        )

    angle = st.sampled_from([-3.0, 0.0, 0.5, 1.5])
    targets = [
        (
            draw(st.sampled_from(KINDS)),
            draw(st.sampled_from([0.0, 0.15, 0.2, 0.5, 0.6])),
            draw(st.integers(0, 3)),
            draw(angle),
            box(),
            solid(),
        )
        for _ in range(draw(st.integers(0, 5)))
    ]
    found = [
        (
            draw(st.sampled_from(KINDS[:-1])),
            draw(st.integers(0, 5)) / 5,
            draw(angle),
            box(),
            solid(),
        )
        for _ in range(draw(st.integers(0, 6)))
    ]
    return targets, found


def as_boxes(rows, target):
    columns = list(zip(*rows, strict=True)) or [[]] * (6 if target else 5)
    solid = np.array(columns[-1], np.float64).reshape(-1, 7)
    unset = solid[:, 3] == -1000
    solid[unset] = np.nan
    geometry = {"dimensions": solid[:, :3], "location": solid[:, 3:6], "rotation_y": solid[:, 6]}
    if not target:
        return detections(columns[3], columns[1], list(columns[0]), alpha=columns[2], **geometry)
    names, truncation, occlusion, alpha, xyxy, _ = columns
    return labels(
        xyxy, list(names), truncation=truncation, occlusion=occlusion, alpha=alpha, **geometry
    )


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["image", "ground", "box3d"]).flatmap(
        lambda metric: st.tuples(st.just(metric), st.lists(frame(metric), min_size=1, max_size=4))
    ),
    st.sampled_from(sorted(PROTOCOLS)),
)
def test_all_frames_at_once_give_what_the_slow_reference_gives(case, protocol):
    metric, frames = case
    rules = replace(find_rules(protocol), metrics=KITTI_2019.metrics)
    scores = score_of(
        *((as_boxes(found, False), as_boxes(targets, True)) for targets, found in frames),
        protocol=rules,
    )
    variant = reference.Variant(rules.limit_height_counts, rules.short_detections)

    for (kind, name, level), curve in scores.curves.items():
        if name in (metric, "orientation"):
            expected = reference.curves(
                frames, kind, level, variant, "image" if name == "orientation" else name
            )[name == "orientation"]
            np.testing.assert_allclose(curve.precision, expected, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------------------- laws


@settings(max_examples=25, deadline=None)
@given(st.lists(frame("box3d"), min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_neither_order_nor_splitting_of_the_frames_changes_a_bit(frames, random):
    records = [
        (f"{i}", as_boxes(found, False), as_boxes(targets, True))
        for i, (targets, found) in enumerate(frames)
    ]
    zero = KittiObjectEvaluator()
    together = zero
    for record in records:
        together = together.update(*record)

    random.shuffle(records)
    cut = random.randint(0, len(records))
    parts = [zero, zero]
    for index, record in enumerate(records):
        parts[index < cut] = parts[index < cut].update(*record)
    first, second = together.compute(), parts[0].merge(parts[1]).compute()

    assert first.objects == second.objects
    assert list(first.curves) == list(second.curves)
    for key, curve in first.curves.items():
        np.testing.assert_array_equal(curve.precision, second.curves[key].precision)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(frame("box3d"), st.integers(0, 3)), min_size=1, max_size=4),
    st.sampled_from(sorted(PROTOCOLS)),
)
def test_weighting_frames_equals_repeating_them(frames, protocol):
    parts = [(as_boxes(found, False), as_boxes(targets, True)) for (targets, found), _ in frames]
    weights = np.array([weight for _, weight in frames])
    once, repeated = KittiObjectEvaluator(protocol), KittiObjectEvaluator(protocol)
    for i, (part, weight) in enumerate(zip(parts, weights, strict=True)):
        once = once.update(f"{i}", *part)
        for j in range(weight):
            repeated = repeated.update(f"{i}-{j}", *part)
    expected = repeated.compute().curves if weights.any() else {}

    steps = all_steps(once.scene(), once.rules)

    for (kind, metric, level), curve in expected.items():
        both = steps[kind, "image" if metric == "orientation" else metric, level].curves(
            weights, once.rules
        )
        found = both.orientation if metric == "orientation" else both.precision
        np.testing.assert_allclose(found.precision, curve.precision, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(found.tp, curve.tp)
        np.testing.assert_array_equal(found.fp, curve.fp)
        np.testing.assert_array_equal(found.fn, curve.fn)


def test_every_label_and_detection_gets_its_verdict_at_the_best_score():
    far, low = [500.0, 100.0, 600.0, 150.0], [700.0, 100.0, 710.0, 110.0]
    evaluator = KittiObjectEvaluator()
    for key, rows, score in (("a", [BOX, far], [0.9, 0.4]), ("b", [far, low], [0.95, 0.9])):
        evaluator = evaluator.update(key, detections(rows, score), labels([BOX, low]))
    scene = evaluator.scene()

    verdicts = judge(scene, evaluator.rules)

    assert verdicts.thresholds["car"] == 0.9
    right, neutral, missed = Verdict.RIGHT, Verdict.NEUTRAL, Verdict.MISSED
    assert verdicts.target.tolist() == [right, neutral, missed, neutral]
    assert verdicts.predicted.tolist() == [right, Verdict.LEFT_OUT, Verdict.WRONG, neutral]
    assert [counts.tolist() for counts in verdicts.counts(scene)] == [[1, 0], [0, 1], [0, 1]]


@settings(max_examples=25, deadline=None)
@given(frame("image"), st.integers(0, 5))
def test_detections_inside_a_dont_care_region_never_change_a_score(case, count):
    targets, found = case
    region = ("DontCare", -1, -1, -10, (1000.0, 0.0, 2000.0, 500.0), CAR[0][-1])
    inside = [
        ("Car", 0.9, 0.0, (1010.0 + 100 * i, 50.0, 1090.0 + 100 * i, 120.0), region[-1])
        for i in range(count)
    ]
    target = as_boxes([*targets, region], True)

    # The additional detection outside makes the class exist on both sides.
    plain = score_of((as_boxes(found + CAR, False), target)).curves
    more = score_of((as_boxes(found + CAR + inside, False), target)).curves

    for key in plain:
        np.testing.assert_array_equal(plain[key].precision, more[key].precision)


CAR = [("Car", 0.7, 0.0, (500.0, 0.0, 580.0, 60.0), (-1, -1, -1, -1000, -1000, -1000, -10))]
