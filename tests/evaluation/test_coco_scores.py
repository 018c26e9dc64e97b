"""COCO's AP of boxes: hand-worked numbers, and a published implementation."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.errors import PerceptionError
from perception.evaluation.coco import CocoEvaluator
from perception.structures import Boxes

CLASSES = ("car", "bus")


def score_of(*images, classes=CLASSES):
    evaluator = CocoEvaluator(classes)
    for index, (predicted, target) in enumerate(images):
        evaluator = evaluator.update(f"{index:03d}", predicted, target)
    return evaluator.compute()


def test_a_perfect_detector_scores_one_and_an_absent_class_is_nan():
    label = Boxes.of([[0, 0, 50, 50], [60, 0, 160, 100]], ["car", "car"])

    scores = score_of((label.replace(score=np.array([0.9, 0.8])), label))

    assert [scores.ap(size) for size in ("all", "medium", "large")] == pytest.approx([1, 1, 1])
    assert math.isnan(scores.ap(name="bus")) and math.isnan(scores.ap("small"))
    assert scores.objects["medium"].tolist() == [1, 0]


def test_an_overlap_of_exactly_the_threshold_is_a_match():
    """Overlap 0.8 reaches 0.50 to 0.80: seven of ten."""
    found = Boxes.of([[0, 0, 10, 8]], ["car"], score=[1])

    assert score_of((found, Boxes.of([[0, 0, 10, 10]], ["car"]))).ap() == pytest.approx(0.7)


def test_a_detection_takes_the_best_label_that_is_free():
    label = Boxes.of([[0, 0, 10, 10], [1, 0, 11, 10]], ["car"] * 2)
    found = Boxes.of([[0, 0, 10, 10], [0, 0, 10, 10]], ["car"] * 2, score=[0.9, 0.8])

    assert score_of((found, label)).ap(threshold=0.5) == pytest.approx(1)


def test_a_crowd_swallows_any_number_of_detections():
    label = Boxes.of([[0, 0, 100, 100], [200, 0, 210, 10]], ["car"] * 2, ignore=[True, False])
    inside = [[10.0 * i, 0, 10.0 * i + 9, 9] for i in range(5)]
    found = Boxes.of([*inside, [200, 0, 210, 10]], ["car"] * 6, score=[0.9] * 5 + [0.1])

    assert score_of((found, label)).ap() == pytest.approx(1)


def test_unusable_numbers_and_doubled_images_are_named():
    evaluator = CocoEvaluator(CLASSES)
    with pytest.raises(PerceptionError, match="image x"):
        evaluator.update("x", Boxes.of([[0, 0, 1, 1]], ["car"], score=[np.nan]), Boxes.empty())
    once = evaluator.update("x", Boxes.of([], [], score=[]), Boxes.empty())
    with pytest.raises(PerceptionError, match="twice"):
        once.merge(once).compute()
    with pytest.raises(PerceptionError, match="no image"):
        evaluator.compute()
    with pytest.raises(ValueError, match="merged"):
        once.merge(CocoEvaluator(("car",)))


PLACE = st.tuples(
    st.integers(0, 8), st.integers(0, 8), st.sampled_from([20, 30, 33, 95, 100]),
    st.sampled_from([20, 31, 32, 96, 100]),
)  # fmt: skip
LABELS = st.lists(st.tuples(PLACE, st.integers(0, 1), st.integers(0, 4)), max_size=5)
FOUND = st.lists(st.tuples(PLACE, st.integers(0, 1), st.integers(0, 5)), max_size=8)
IMAGES = st.lists(st.tuples(FOUND, LABELS), min_size=1, max_size=4)


def as_boxes(rows, **columns) -> Boxes:
    corners = [(x, y, x + w, y + h) for (x, y, w, h), _, _ in rows]
    return Boxes.of(corners, [CLASSES[kind] for _, kind, _ in rows], **columns)


def published(images):
    """AP, AP50, AP75, and AP of small, medium and large objects; -1 where there are none."""
    module = pytest.importorskip("faster_coco_eval")
    labels, found = [], []
    for i, (detections, objects) in enumerate(images):
        for (x, y, w, h), kind, crowd in objects:
            labels.append(
                {
                    "id": len(labels) + 1,
                    "image_id": i + 1,
                    "category_id": kind + 1,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(crowd == 0),
                }
            )
        found += [
            {"image_id": i + 1, "category_id": kind + 1, "bbox": list(box), "score": value / 5}
            for box, kind, value in detections
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = module.COCO(
            {
                "images": [{"id": i + 1, "width": 200, "height": 200} for i in range(len(images))],
                "annotations": labels,
                "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
            }
        )
        evaluation = module.COCOeval_faster(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:6]


@settings(max_examples=60, deadline=None)
@given(IMAGES)
def test_scores_equal_those_of_a_published_implementation(images):
    if not any(found for found, _ in images) or not any(objects for _, objects in images):
        return
    parts = [
        (
            as_boxes(found, score=[value / 5 for _, _, value in found]),
            as_boxes(objects, ignore=[crowd == 0 for _, _, crowd in objects]),
        )
        for found, objects in images
    ]

    scores = score_of(*parts)

    ours = [scores.ap(), scores.ap(threshold=0.5), scores.ap(threshold=0.75)]
    ours += [scores.ap(size) for size in ("small", "medium", "large")]
    np.testing.assert_allclose(np.nan_to_num(ours, nan=-1), published(images), atol=1e-9)
