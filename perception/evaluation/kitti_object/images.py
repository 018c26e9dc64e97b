"""Frame by frame: what was found, missed and wrongly reported, as numbers and as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from perception.evaluation.box_pictures import box_panels, box_scores
from perception.evaluation.kitti_object import KittiObjectEvaluator
from perception.evaluation.kitti_object.verdicts import judge
from perception.files import read_image
from perception.report.parts import Panel

NOTE = (
    "Boxes in the image, hardest difficulty, each class at the score where its F1 over all images "
    "is best. Smaller objects and ignored regions count for nothing."
)


def frame_scores(total: KittiObjectEvaluator, keys: Sequence[str]) -> list[Mapping[str, float]]:
    """F1 and counts of the frames `keys`."""
    scene = total.scene()
    counts = judge(scene, total.rules).counts(scene)
    rows = dict(zip(scene.keys, box_scores(*counts), strict=True))
    return [rows[key] for key in keys]


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
        labels = scene.target[own], verdicts.target[own]
        detections = scene.predicted[found], verdicts.predicted[found]
        panels.append(box_panels(photo, labels, detections))
    return panels
