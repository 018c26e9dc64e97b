"""How VOC scores are told: JSON values, terminal table, curves, images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perception.evaluation.benchmark import Result
from perception.evaluation.box_pictures import box_panels, box_scores
from perception.evaluation.verdict import Verdict
from perception.evaluation.voc import Curve, VocEvaluator, VocRules, VocScores
from perception.files import read_image
from perception.report.parts import Cell, Column, Lines, Panel, Section, Series, Table
from perception.structures import Boxes

NOTE = (
    "Each class at the score where its F1 over all images is best. Difficult objects count for "
    "nothing."
)


def voc_result(total: VocEvaluator) -> Result:
    """Everything about all classes."""
    scores = total.compute()
    several = len(total.rules.thresholds) > 1
    return Result(
        headline=voc_headline(total.rules, scores),
        values=coco_style_values(total, scores) if several else voc_values(total, scores),
        tables=(_table(total, scores),),
        sections=(_curves(total, scores),),
        notes=tuple(_notes(total, scores)),
    )


def voc_headline(rules: VocRules, scores: VocScores) -> dict[str, float]:
    """The numbers that people quote."""
    names = list(dict.fromkeys(name for name, _ in scores.curves))
    if len(rules.thresholds) == 1:
        return {"mAP": scores.mean_ap(), **{f"{name} AP": scores.ap(name) for name in names}}
    return {
        "AP": scores.mean_ap(),
        "AP50": scores.mean_ap(0.5),
        "AP75": scores.mean_ap(0.75),
        **{f"{name} AP": scores.ap(name) for name in names},
    }


def voc_values(total: VocEvaluator, scores: VocScores) -> dict[str, Any]:
    """One overlap threshold: AP and counts of every class."""
    classes = {
        name: {
            "ap": curve.ap,
            "npos": curve.objects,
            "num_det": curve.detections,
            "tp": curve.hits,
            "max_recall": curve.max_recall,
        }
        for (name, _), curve in scores.curves.items()
    }
    return {"classes": classes, "mAP": scores.mean_ap(), "num_images": len(total.records)}


def coco_style_values(total: VocEvaluator, scores: VocScores) -> dict[str, Any]:
    """Several overlap thresholds: AP of every class at each."""
    classes: dict[str, dict[str, float]] = {name: {} for name in total.classes}
    for (name, threshold), curve in scores.curves.items():
        classes[name][f"{threshold:.2f}"] = curve.ap
    headline = voc_headline(total.rules, scores)
    means = {key: headline[key] for key in ("AP", "AP50", "AP75")}
    return {**means, "classes": classes, "num_images": len(total.records)}


def _table(total: VocEvaluator, scores: VocScores) -> Table:
    """One row per class."""
    first = total.rules.thresholds[0]
    rows: list[tuple[Cell, ...]] = []
    for name in total.classes:
        curve = scores.curves[name, first]
        rows.append(
            (
                name,
                scores.ap(name),
                curve.ap,
                curve.objects,
                curve.detections,
                curve.hits,
                curve.max_recall,
            )
        )
    rows.append(("mean", scores.mean_ap(), scores.mean_ap(first), None, None, None, None))
    columns = (
        Column("class", "text"),
        Column("AP"),
        Column(f"AP{100 * first:.0f}"),
        Column("objects", "count"),
        Column("detections", "count"),
        Column("hits", "count"),
        Column("max recall"),
    )
    note = f"rule {total.rules.rule}; hits and recall at overlap {first:g}"
    return Table(columns, tuple(rows), note=note)


def _curves(total: VocEvaluator, scores: VocScores) -> Section:
    """Precision over recall per class, and AP over the overlap threshold where there are many."""
    first = total.rules.thresholds[0]
    series = tuple(
        Series(f"{name} {100 * curve.ap:.1f} ({curve.objects:,} objects)", *_points(curve))
        for name in total.classes
        if (curve := scores.curves[name, first]).objects and len(curve.recall)
    )
    parts = [
        Lines(
            f"Precision over recall, overlap {first:g}",
            "recall",
            "precision",
            series,
            (0, 1),
            (0, 1),
        )
    ]
    if len(total.rules.thresholds) > 1:
        thresholds = total.rules.thresholds
        over = tuple(
            Series(name, thresholds, [scores.curves[name, t].ap for t in thresholds])
            for name in total.classes
            if scores.curves[name, first].objects
        )
        parts.append(Lines("AP over the overlap threshold", "overlap", "AP", over, None, (0, 1)))
    return Section("Curves", tuple(parts))


def _points(curve: Curve) -> tuple[Any, Any]:
    """At most about 500 points of a curve, always with the last one."""
    step = max(1, len(curve.recall) // 500)
    chosen = np.unique(np.append(np.arange(0, len(curve.recall), step), len(curve.recall) - 1))
    return curve.recall[chosen], curve.precision[chosen]


def _notes(total: VocEvaluator, scores: VocScores) -> list[str]:
    """Classes without objects, and labels and detections that are not scored."""
    first = total.rules.thresholds[0]
    empty = [name for name in total.classes if not scores.curves[name, first].objects]
    notes = []
    if empty:
        notes.append(
            f"no countable objects (all marked difficult), not in the mean: {', '.join(empty)}"
        )
    for kind, column in (("objects", "target_names"), ("detections", "names")):
        others = Counter(
            name
            for record in total.records
            for name in getattr(record, column)
            if name not in total.classes
        )
        if others:
            listed = ", ".join(f"{name} ({count:,})" for name, count in sorted(others.items()))
            notes.append(f"{kind} of other classes, not scored: {listed}")
    return notes


def image_counts(total: VocEvaluator, keys: Sequence[str]) -> list[Mapping[str, float]]:
    """F1 and counts of the images `keys`."""
    matched = total.matched()
    target, predicted = matched.verdicts()
    names = sorted(record.key for record in total.records)
    counts = (
        np.bincount(image[verdict == wanted], minlength=len(names))
        for image, verdict, wanted in (
            (matched.target_image, target, Verdict.RIGHT),
            (matched.target_image, target, Verdict.MISSED),
            (matched.image, predicted, Verdict.WRONG),
        )
    )
    rows = dict(zip(names, box_scores(*counts), strict=True))
    return [rows[key] for key in keys]


def image_panels(
    total: VocEvaluator, chosen: Sequence[tuple[str, Path | None]]
) -> list[tuple[Panel, ...]]:
    """Pictures of (image, photograph); none where there is no photograph."""
    matched = total.matched()
    verdicts = matched.verdicts()
    records = {record.key: record for record in total.records}
    places = {key: i for i, key in enumerate(sorted(records))}
    panels: list[tuple[Panel, ...]] = []
    for key, path in chosen:
        if path is None:
            panels.append(())
            continue
        record = records[key]
        labels = Boxes.of(record.target_corners - [1, 1, 0, 0], record.target_names)
        own = matched.image == places[key]
        found = Boxes.of(
            matched.corners[own] - [1, 1, 0, 0],
            [total.classes[i] for i in matched.kind[own]],
            score=matched.score[own],
        )
        panels.append(
            box_panels(
                read_image(path),
                (labels, verdicts[0][matched.target_image == places[key]]),
                (found, verdicts[1][own]),
            )
        )
    return panels
