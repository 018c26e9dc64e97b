"""How pooled confusions are told: class tables, pictures of the matrix, panels of one image."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from perception.labels import LabelScheme
from perception.report.parts import Cell, Column, Matrix, Panel, Section, Table


def class_table(
    title: str,
    columns: Mapping[str, Mapping[str, float]],
    means: Mapping[str, float] | None = None,
    pixels: Mapping[str, int] | None = None,
) -> Table:
    """One row per class that has any number, and their means; `columns` are numbers by class name,
    `means` by column, and `pixels` say how many are labelled as each class.
    """
    names = dict.fromkeys(name for values in columns.values() for name in values)
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, *(values.get(name, math.nan) for values in columns.values()))
        for name in names
        if any(not math.isnan(values.get(name, math.nan)) for values in columns.values())
    )
    if means is not None:
        rows += (("mean", *(means[name] for name in columns)),)
    heads = (Column("class", "text"), *(Column(name) for name in columns))
    if pixels is not None:
        heads += (Column("labelled pixels", "count"),)
        rows = tuple((*row, pixels.get(str(row[0]))) for row in rows)
    return Table(heads, rows, title)


def confusion_section(
    counts: NDArray[np.int64], names: tuple[str, ...], kept: NDArray[np.bool_]
) -> Section:
    """The matrix over the labelled classes that are scored; other predictions in one column."""
    rows = np.flatnonzero(kept & (counts.sum(1) > 0))
    columns = np.flatnonzero(kept & (counts[rows].sum(0) + counts.sum(1) > 0))
    shown = counts[rows][:, columns]
    other = counts[rows].sum(1) - shown.sum(1)
    titles = [names[c] for c in columns]
    if other.any():
        shown = np.concatenate([shown, other[:, None]], axis=1)
        titles.append("other")
    matrix = Matrix(
        "Predicted class (columns) for each true class (rows)",
        tuple(names[r] for r in rows),
        tuple(titles),
        shown,
        "Rows add up to 100; the diagonal is the recall of the class.",
    )
    return Section("Confusion", (matrix,))


def semantic_panels(
    scheme: LabelScheme,
    target: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    photo: NDArray[np.uint8] | None = None,
) -> tuple[Panel, ...]:
    """Image (if given), label, prediction and errors, from label ids (H, W)."""
    colors = np.full((256, 3), 255, np.uint8)
    for c in scheme.classes:
        if 0 <= c.id < 256:
            colors[c.id] = c.color
    ignored = np.ones(256, bool)
    ignored[[c.id for c in scheme.classes if 0 <= c.id < 256 and not c.ignore]] = False
    errors = colors[predicted] // 3 + 165
    wrong = (target != predicted) & ~ignored[target]
    errors[wrong] = (220, 38, 38)
    errors[ignored[target]] = 255
    first = () if photo is None else (Panel("image", photo),)
    return (
        *first,
        Panel("label", colors[target], sharp=True),
        Panel("prediction", colors[predicted], sharp=True),
        Panel("wrong in red, not scored in white", errors, sharp=True),
    )
