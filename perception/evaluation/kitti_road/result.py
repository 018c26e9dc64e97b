"""How KITTI road scores are told: JSON values, terminal table, curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from perception.evaluation.benchmark import Result
from perception.evaluation.kitti_road import RoadCounts, RoadScores
from perception.evaluation.kitti_road.protocol import THRESHOLDS
from perception.report.parts import Column, Lines, Section, Series, Table

_COLUMNS = ("MaxF1", "AP", "PRE", "REC", "FPR", "FNR")


def road_values(scores: RoadScores) -> dict[str, float | int]:
    """All numbers under the benchmark's own names."""
    return {
        "MaxF1": scores.max_f1,
        "AP": scores.ap,
        "PRE": scores.precision,
        "REC": scores.recall,
        "FPR": scores.fpr,
        "FNR": scores.fnr,
        "best_threshold": scores.best_threshold,
        "best_index": scores.best_index,
        "TP": scores.tp,
        "FP": scores.fp,
        "FN": scores.fn,
        "TN": scores.tn,
        "num_pos": scores.positives,
        "num_neg": scores.negatives,
        "num_images": scores.images,
    }


def road_result(scores: Mapping[str, RoadScores], counts: Mapping[str, RoadCounts]) -> Result:
    """Everything about one or more categories."""
    values = {name: road_values(one) for name, one in scores.items()}
    return Result(
        headline={
            f"{name} {key}": float(values[name][key]) for name in values for key in ("MaxF1", "AP")
        },
        values={"categories": values},
        tables=(road_table(scores),),
        sections=(road_curves(scores),),
        notes=tuple(_suspicions(counts)),
    )


def road_table(scores: Mapping[str, RoadScores]) -> Table:
    """One row per category."""
    rows = []
    for name, one in scores.items():
        values = road_values(one)
        rows.append((name, *(values[c] for c in _COLUMNS), one.best_threshold, one.images))
    columns = (
        Column("category", "text"),
        *(Column(c) for c in _COLUMNS),
        Column("threshold", "number", "confidence with the best F1; PRE to FNR hold there"),
        Column("images", "count"),
    )
    return Table(columns, tuple(rows))


def road_curves(scores: Mapping[str, RoadScores]) -> Section:
    """Precision over recall, and F1 over the threshold."""
    precision_recall = tuple(
        Series(name, one.curve.recall[::-1], one.curve.precision[::-1], (one.recall, one.precision))
        for name, one in scores.items()
    )
    threshold = tuple(
        Series(name, THRESHOLDS, one.curve.f1, (one.best_threshold, one.max_f1))
        for name, one in scores.items()
    )
    return Section(
        "Curves",
        (
            Lines(
                "Precision over recall",
                "recall",
                "precision",
                precision_recall,
                (0, 1),
                (_lowest(scores.values()), 1),
                "The dot is the threshold with the best F1.",
            ),
            Lines(
                "F1 over the threshold",
                "confidence threshold",
                "F1",
                threshold,
                (0, 1),
                (0, 1),
                "A broad plateau means that the threshold hardly matters.",
            ),
        ),
    )


def _lowest(scores: Iterable[RoadScores]) -> float:
    """Lower end of the precision axis: the dots and all up to 95 % of recall fill the chart."""
    least = 1.0
    for one in scores:
        shown = one.curve.precision[one.curve.recall <= 0.95]
        least = min([least, one.precision, *shown.tolist()])
    return max(0.0, math.floor(10 * least - 1) / 10)


def _suspicions(counts: Mapping[str, RoadCounts]) -> list[str]:
    swapped = [
        f"{name}: no label has a pixel that is evaluated and not road; are red and blue swapped?"
        for name, one in counts.items()
        if not one.histogram[0].any()
    ]
    return swapped + [
        f"{name}: all confidences are 0 or 1; are these 0/1 masks instead of 0/255?"
        for name, one in counts.items()
        if not one.histogram[:, 2:].any() and one.histogram[:, 1].any()
    ]
