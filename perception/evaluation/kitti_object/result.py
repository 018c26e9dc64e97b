"""How KITTI object scores are told: JSON values, terminal table, curves."""

from __future__ import annotations

from typing import Any

from perception.evaluation.benchmark import Result
from perception.evaluation.kitti_object import Curve, ObjectScores
from perception.evaluation.kitti_object.protocol import METRICS, RECALL_SLOTS
from perception.report.parts import Cell, Column, Lines, Section, Series, Table

TITLES = {"image": "AP", "orientation": "AOS", "ground": "AP BEV", "box3d": "AP 3D"}


def object_result(scores: ObjectScores) -> Result:
    """Everything about all classes."""
    return Result(
        headline=object_headline(scores),
        values=object_values(scores),
        tables=(object_table(scores),),
        sections=tuple(_section(scores, metric) for metric in METRICS if _has(scores, metric)),
        notes=(*scores.notes, *_few(scores)),
    )


def headline_name(kind: str, level: str, metric: str) -> str:
    """The name under which a number is quoted: "car moderate AP 3D"."""
    return f"{kind} {level} {TITLES[metric]}"


def object_headline(scores: ObjectScores) -> dict[str, float]:
    """The protocol's own AP of everything that exists."""
    return {
        headline_name(kind.name, level.name, metric): scores.ap(kind.name, level.name, metric)
        for metric in scores.rules.metrics
        for kind in scores.rules.classes
        for level in scores.rules.difficulties
        if scores.curve(kind.name, level.name, metric) is not None
    }


def object_values(scores: ObjectScores) -> dict[str, Any]:
    """All numbers; a metric that does not exist is None."""
    classes: dict[str, Any] = {}
    for kind in scores.rules.classes:
        classes[kind.name] = {
            metric: {
                level.name: _curve_values(curve)
                for level in scores.rules.difficulties
                if (curve := scores.curve(kind.name, level.name, metric)) is not None
            }
            or None
            for metric in METRICS
        }
        classes[kind.name]["objects"] = {
            level.name: scores.objects[kind.name, level.name] for level in scores.rules.difficulties
        }
    return {"classes": classes, "num_frames": scores.frames}


def _curve_values(curve: Curve) -> dict[str, Any]:
    return {
        "AP": curve.ap,
        "AP_R40": curve.ap_r40,
        "AP_R11": curve.ap_r11,
        "AP_R41": curve.ap_r41,
        "objects": curve.objects,
        "precision": curve.precision.tolist(),
        "thresholds": curve.thresholds.tolist(),
        "TP": curve.tp.tolist(),
        "FP": curve.fp.tolist(),
        "FN": curve.fn.tolist(),
    }


def object_table(scores: ObjectScores) -> Table:
    """One row per class and metric; with the number of objects."""
    levels = scores.rules.difficulties
    rows: list[tuple[Cell, ...]] = []
    for kind in scores.rules.classes:
        counts = " / ".join(f"{scores.objects[kind.name, level.name]:,}" for level in levels)
        for metric in scores.rules.metrics:
            aps = [scores.ap(kind.name, level.name, metric) for level in levels]
            rows.append((kind.name, TITLES[metric], *aps, counts))
    columns = (
        Column("class", "text"),
        Column("metric", "text"),
        *(Column(level.name) for level in levels),
        Column("objects", "text", "labels that had to be found, by difficulty"),
    )
    note = f"AP is {scores.rules.recall_rule}; with fewer than 41 objects it cannot reach 100"
    return Table(columns, tuple(rows), note=note)


def _section(scores: ObjectScores, metric: str) -> Section:
    """Precision (or similarity) over recall per class, one line per difficulty."""
    word = "orientation similarity" if metric == "orientation" else "precision"
    charts = []
    for kind in scores.rules.classes:
        lines = []
        for level in scores.rules.difficulties:
            curve = scores.curve(kind.name, level.name, metric)
            if curve is not None and len(curve.thresholds):
                filled = len(curve.thresholds)
                name = f"{level.name} {100 * curve.ap:.1f} ({curve.objects:,} objects)"
                recall = [i / (RECALL_SLOTS - 1) for i in range(filled)]
                lines.append(Series(name, recall, curve.precision[:filled]))
        if lines:
            title = f"{kind.name}, {TITLES[metric]}"
            charts.append(Lines(title, "recall slot", word, tuple(lines), (0, 1), (0, 1)))
    return Section(TITLES[metric], tuple(charts), _INTROS[metric])


_INTROS = {
    "image": "Boxes in the image. Each slot holds the best precision at its recall or beyond.",
    "orientation": "Precision weighted by how well the observation angle agrees.",
    "ground": "Rectangles on the ground plane, with their rotation.",
    "box3d": "Boxes in 3D, with their rotation.",
}


def _has(scores: ObjectScores, metric: str) -> bool:
    return any(name == metric for _, name, _ in scores.curves)


def _few(scores: ObjectScores) -> list[str]:
    """Says where even a perfect detector stays below 1."""
    few = [
        f"{name} {level} has {count}"
        for (name, level), count in scores.objects.items()
        if 0 < count < RECALL_SLOTS and any(key[0] == name for key in scores.curves)
    ]
    if not few:
        return []
    return [f"below {RECALL_SLOTS} objects even perfect boxes score less than 1: {', '.join(few)}"]
