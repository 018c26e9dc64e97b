"""Frame by frame: what was found, missed and wrongly reported, as numbers and as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.evaluation.kitti_object import KittiObjectEvaluator
from perception.evaluation.kitti_object.verdicts import Verdict, judge
from perception.files import read_image
from perception.report.parts import Panel
from perception.structures import Boxes

NOTE = (
    "Boxes in the image, hardest difficulty, each class at the score where its F1 over all images "
    "is best. Smaller objects and ignored regions count for nothing."
)
_COLORS = {
    Verdict.NEUTRAL: (150, 150, 150), Verdict.RIGHT: (34, 197, 94), Verdict.MISSED: (59, 130, 246),
    Verdict.WRONG: (239, 68, 68),
}  # fmt: skip


def frame_scores(total: KittiObjectEvaluator, keys: Sequence[str]) -> list[Mapping[str, float]]:
    """F1 and counts of the frames `keys`; a frame without anything to find or report has F1 1."""
    scene = total.scene()
    found, missed, wrong = judge(scene, total.rules).counts(scene)
    f1 = np.where(found + missed + wrong > 0, 2 * found, 1) / np.maximum(
        2 * found + missed + wrong, 1
    )
    columns = zip(f1.tolist(), found.tolist(), missed.tolist(), wrong.tolist(), strict=True)
    rows = dict(zip(scene.keys, columns, strict=True))
    return [dict(zip(("F1", "found", "missed", "wrong"), rows[key], strict=True)) for key in keys]


def frame_panels(
    total: KittiObjectEvaluator, chosen: Sequence[tuple[str, Path | None]]
) -> list[tuple[Panel, ...]]:
    """Pictures of (frame, photograph); none where there is no photograph."""
    scene = total.scene()
    verdicts = judge(scene, total.rules)
    places = {key: i for i, key in enumerate(scene.keys)}
    panels: list[tuple[Panel, ...]] = []
    for key, path in chosen:
        if path is None:
            panels.append(())
            continue
        photo = read_image(path)
        own, found = scene.frame == places[key], scene.predicted_frame == places[key]
        labels = _drawn(photo, scene.target[own], verdicts.target[own])
        detections = _drawn(photo, scene.predicted[found], verdicts.predicted[found])
        panels.append((
            Panel("labels: found green, missed blue, not counted grey", labels),
            Panel("detections: right green, wrong red, not counted grey", detections),
        ))  # fmt: skip
    return panels


def _drawn(photo: NDArray[np.uint8], boxes: Boxes, verdicts: NDArray[Any]) -> NDArray[np.uint8]:
    """A copy of the photograph with the boxes on it."""
    import cv2

    drawn = photo.copy()
    for xyxy, name, score, verdict in zip(
        boxes.xyxy.round().astype(int).tolist(), boxes.names, boxes.score, verdicts, strict=True
    ):
        if verdict == Verdict.LEFT_OUT:
            continue
        color = _COLORS[Verdict(verdict)]
        cv2.rectangle(drawn, xyxy[:2], xyxy[2:], color, 1 if verdict == Verdict.NEUTRAL else 2)
        text = str(name) if np.isnan(score) else f"{name} {score:.2f}"
        at = (max(xyxy[0], 0), max(xyxy[1] - 4, 10))
        cv2.putText(drawn, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, color, 1, cv2.LINE_AA)
    return drawn
