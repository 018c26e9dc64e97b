"""A model's prediction as shapes for people to correct: simplified polygons and rectangles.

Polygons are painted largest first, so that a region inside another ends on top of it. Where boxes
are predicted, countable classes come from them alone, or each object would be there twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.annotation.classes import LabelTable, default_table, is_thing
from perception.structures import Boxes, ClassesResult, MaskResult, Prediction, SemanticLabel, Shape

ALIASES = {"pavement": "sidewalk", "tree": "vegetation"}  # names of other label schemes


@dataclass(frozen=True)
class PrelabelSettings:
    """How much detail is left for people to correct."""

    tolerance: float = 1.5  # largest distance, in pixels, between the simplified and exact outline
    smallest: int = 64  # pixels of a region; smaller ones are left out
    score: float = 0.5  # lowest score of a box, lowest probability of road
    labels: frozenset[str] | None = None  # canonical labels wanted; None: all
    table: LabelTable | None = None  # what class names mean; None: the packaged table


def prelabel(
    prediction: Prediction, settings: PrelabelSettings | None = None
) -> tuple[list[Shape], int]:
    """Shapes in painting order, and how many regions were too small.

    The description of a box holds its score.
    """
    settings = settings or PrelabelSettings()
    table = settings.table or default_table()
    masks: dict[str, NDArray[np.bool_]] = {}
    for result in prediction.results.values():
        if isinstance(result, ClassesResult):
            masks |= _class_masks(result.label, _has_boxes(prediction), table)
    for task, result in prediction.results.items():
        if isinstance(result, MaskResult) and task not in masks and (task != "road" or not masks):
            masks[task] = result.probability >= settings.score
    regions: list[tuple[float, Shape]] = []
    small = 0
    for label, mask in masks.items():
        if settings.labels is None or label in settings.labels:
            found, dropped = _regions(label, mask, settings)
            regions += found
            small += dropped
    regions.sort(key=lambda region: -region[0])
    return [shape for _, shape in regions] + _rectangles(prediction, table, settings), small


def _class_masks(
    label: SemanticLabel, boxes: bool, table: LabelTable
) -> dict[str, NDArray[np.bool_]]:
    masks: dict[str, NDArray[np.bool_]] = {}
    for row in label.scheme.trained:
        mask = label.ids == row.id
        resolved = table.resolve(ALIASES.get(row.name, row.name))
        if not mask.any() or (resolved and is_thing(resolved.meaning) and boxes):
            continue
        name = resolved.meaning.name if resolved else row.name
        masks[name] = masks[name] | mask if name in masks else mask
    return masks


def _has_boxes(prediction: Prediction) -> bool:
    return any(isinstance(result, Boxes) for result in prediction.results.values())


def _regions(
    label: str, mask: NDArray[np.bool_], settings: PrelabelSettings
) -> tuple[list[tuple[float, Shape]], int]:
    """(area, polygon) of each region; holes of the road become background, painted later."""
    contours, links = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    found = []
    small = 0
    for contour, link in zip(contours, links[0] if links is not None else (), strict=True):
        is_hole = link[3] >= 0
        if is_hole and label != "road":
            continue  # other classes are painted into it
        area = float(cv2.contourArea(contour))
        outline = cv2.approxPolyDP(contour, settings.tolerance, True)[:, 0].astype(np.float64)
        if area < settings.smallest or len(outline) < 3:
            small += 1
            continue
        found.append((area, Shape("_background_" if is_hole else label, "polygon", outline)))
    return found, small


def _rectangles(
    prediction: Prediction, table: LabelTable, settings: PrelabelSettings
) -> list[Shape]:
    shapes = []
    found = [result for result in prediction.results.values() if isinstance(result, Boxes)]
    boxes = Boxes.concatenate(found)
    for row in range(len(boxes)):
        score = float(boxes.score[row])
        resolved = table.resolve(str(boxes.names[row]))
        label = resolved.meaning.name if resolved else str(boxes.names[row])
        if score >= settings.score and (settings.labels is None or label in settings.labels):
            corners = boxes.xyxy[row].reshape(2, 2)
            shapes.append(Shape(label, "rectangle", corners, description=f"score={score:.2f}"))
    return shapes
