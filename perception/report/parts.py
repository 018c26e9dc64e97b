"""What pages and terminal tables are made of: plain values, no drawing (that is `page`, `svg`).

Scores are fractions in [0, 1] and shown as percentages; NaN is shown as a dash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Cell = str | int | float | None
Kind = Literal["text", "percent", "count", "number"]


@dataclass(frozen=True)
class Column:
    """One column of a table; `percent` takes fractions."""

    name: str
    kind: Kind = "percent"
    hint: str = ""  # what stands in it, shown when pointed at


@dataclass(frozen=True)
class Table:
    """Rows of numbers; on a page they are sorted by a click on the head of a column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    note: str = ""
    tall: bool = False  # many rows: the page scrolls inside the table


@dataclass(frozen=True)
class Series:
    """One line of a chart, drawn point to point; NaN breaks it."""

    name: str
    x: Sequence[float] | NDArray[np.float64]
    y: Sequence[float] | NDArray[np.float64]
    mark: tuple[float, float] | None = None  # one point to emphasise


@dataclass(frozen=True)
class Lines:
    """A chart of lines over numeric axes; ranges left None follow the values."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class Matrix:
    """Counts by true class (row) and predicted class (column), shown as shares of each row."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: NDArray[np.int64]  # (rows, columns)
    note: str = ""


@dataclass(frozen=True)
class Panel:
    """One picture with its caption."""

    caption: str
    pixels: NDArray[np.uint8]  # (H, W, 3) RGB
    sharp: bool = False  # few flat colours: stored without loss


@dataclass(frozen=True)
class Pictures:
    """Panels that belong together, side by side."""

    title: str
    panels: tuple[Panel, ...]
    note: str = ""
    columns: int = 1  # room for at least so many: small pictures stay small
    wide: bool = False  # at most two side by side: for pictures twice as wide as high


@dataclass(frozen=True)
class Figure:
    """One number that people quote, large; `low`, `high`: its interval."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    kind: Kind = "percent"


@dataclass(frozen=True)
class Figures:
    """Numbers in a row."""

    figures: tuple[Figure, ...]
    note: str = ""


@dataclass(frozen=True)
class Legend:
    """What the colours in pictures mean: (name, RGB) each."""

    entries: tuple[tuple[str, tuple[int, int, int]], ...]


@dataclass(frozen=True)
class Text:
    """A paragraph; `warning` makes it stand out, `code` keeps lines and spaces."""

    text: str
    warning: bool = False
    code: bool = False


Part = Table | Lines | Matrix | Pictures | Legend | Figures | Text


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; charts that follow each other stand side by side."""

    title: str
    parts: tuple[Part, ...] = field(default=())
    intro: str = ""


def show(value: Cell, kind: Kind) -> str:
    """The text of a cell; percentages with two decimals, NaN and None a dash."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if isinstance(value, str):
        return value
    if kind == "percent":
        return f"{100 * value:.2f}"
    if kind == "count":
        return f"{int(value):,}"
    return f"{value:.4g}"
