"""Boxes image by image: counts for the table, and pictures with every box in its colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.evaluation.verdict import Verdict
from perception.report.parts import Panel
from perception.structures import Boxes

Rows = NDArray[np.int64]

_COLORS = {
    Verdict.NEUTRAL: (150, 150, 150), Verdict.RIGHT: (34, 197, 94), Verdict.MISSED: (59, 130, 246),
    Verdict.WRONG: (239, 68, 68),
}  # fmt: skip


def box_scores(found: Rows, missed: Rows, wrong: Rows) -> list[Mapping[str, float]]:
    """Columns for the table of images from (N,) counts; the balance is lowest where most is wrong.

    F1 is 1 where there is nothing to find and nothing wrong.
    """
    errors = missed + wrong
    f1 = np.where(found + errors > 0, 2 * found, 1) / np.maximum(2 * found + errors, 1)
    columns = (found - errors, f1, found, missed, wrong)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [dict(zip(("balance", "F1", "found", "missed", "wrong"), r, strict=True)) for r in rows]


def box_panels(
    photo: NDArray[np.uint8],
    target: tuple[Boxes, NDArray[Any]],
    predicted: tuple[Boxes, NDArray[Any]],
) -> tuple[Panel, ...]:
    """The photograph twice: with the labels and with the detections, each with its verdicts."""
    return (
        Panel("labels: found green, missed blue, not counted grey", _drawn(photo, *target)),
        Panel("detections: right green, wrong red, not counted grey", _drawn(photo, *predicted)),
    )


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
