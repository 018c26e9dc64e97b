"""Charts as SVG text; colours and fonts come from the page's style sheet."""

from __future__ import annotations

import json
import math
from html import escape

import numpy as np
from numpy.typing import NDArray

from perception.report.parts import Lines, Matrix, Series

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 10, 42
COLORS = 8  # --c0 .. --c7 of the style sheet
_MOST_POINTS = 600  # per line; more are thinned out

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Range = tuple[float, float]


def lines_svg(chart: Lines) -> str:
    """A chart of lines with axes, grid and, for the page's script, its values."""
    series = [_thinned(one) for one in chart.series]
    x_range = chart.x_range or _range_of([one[0] for one in series])
    y_range = chart.y_range or _range_of([one[1] for one in series])
    out = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}" '
        f"data-series='{_values(chart, series, x_range)}'>"
    ]
    out += _axes(chart, x_range, y_range)
    for index, (one, (x, y)) in enumerate(zip(chart.series, series, strict=True)):
        color = f"var(--c{index % COLORS})"
        path = _path(_to_x(x, x_range), _to_y(np.clip(y, *y_range), y_range))
        out.append(f'<path class="series" stroke="{color}" d="{path}"/>')
        if one.mark is not None and all(map(math.isfinite, one.mark)):
            cx, cy = _to_x(np.array(one.mark[0]), x_range), _to_y(np.array(one.mark[1]), y_range)
            out.append(
                f'<circle class="mark" fill="{color}" r="4.5" cx="{cx:.1f}" cy="{cy:.1f}">'
                f"<title>{escape(one.name)}: {one.mark[0]:.4g}, {one.mark[1]:.4g}</title>"
                "</circle>"
            )
    out.append(f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/></svg>')
    return "".join(out)


def matrix_svg(chart: Matrix) -> str:
    """A confusion matrix; shade and text are the share of the row in percent."""
    counts = chart.counts.astype(np.float64)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    cell = 34 if len(chart.columns) <= 22 else 26
    margin = 12 + 6.4 * max((len(name) for name in (*chart.rows, *chart.columns)), default=1)
    width = margin + cell * len(chart.columns) + 8
    height = margin + cell * len(chart.rows) + 26
    out = [
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{1.15 * width:.0f}px" '
        f'role="img" aria-label="{escape(chart.title)}">'
    ]
    for j, name in enumerate(chart.columns):
        x = margin + cell * (j + 0.5) + 4
        out.append(
            f'<text transform="translate({x:.1f} {margin - 8:.1f}) rotate(-60)">'
            f"{escape(name)}</text>"
        )
    for i, name in enumerate(chart.rows):
        y = margin + cell * i
        out.append(
            f'<text x="{margin - 8:.1f}" y="{y + cell / 2 + 4:.1f}" text-anchor="end">'
            f"{escape(name)}</text>"
        )
        for j, other in enumerate(chart.columns):
            out.append(
                _cell(
                    margin + cell * j,
                    y,
                    cell,
                    shares[i, j],
                    f"{name} predicted as {other}: {int(counts[i, j]):,}",
                )
            )
    out.append(
        f'<text x="{margin:.0f}" y="{height - 6:.0f}">columns: predicted; rows: labelled; '
        "numbers: percent of the row</text></svg>"
    )
    return "".join(out)


# ---------------------------------------------------------------------------- parts of a chart


def _axes(chart: Lines, x_range: Range, y_range: Range) -> list[str]:
    """Grid, tick labels and axis labels."""
    out = []
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for tick in ticks(*x_range):
        x = f"{_to_x(np.array(tick), x_range):.1f}"
        out.append(
            f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{bottom}"/>'
            f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>'
        )
    y_ticks = ticks(*y_range)
    unit, of_unit = _unit(y_ticks)
    for tick in y_ticks:
        y = float(_to_y(np.array(tick), y_range))
        out.append(
            f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick / unit:g}</text>'
        )
    middle_x, middle_y = (LEFT + right) / 2, (TOP + bottom) / 2
    out.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    out.append(
        f'<text x="{middle_x}" y="{HEIGHT - 6}" text-anchor="middle">{escape(chart.x_label)}</text>'
    )
    out.append(
        f'<text transform="translate(13 {middle_y}) rotate(-90)" text-anchor="middle">'
        f"{escape(chart.y_label + of_unit)}</text>"
    )
    return out


def _unit(y_ticks: list[float]) -> tuple[float, str]:
    """A power of ten that keeps tick labels short, and what to add to the label of the axis."""
    largest = max(map(abs, y_ticks), default=0.0)
    if not largest or 0.01 <= largest < 1e5:
        return 1.0, ""
    power = math.floor(math.log10(largest))
    return 10.0**power, f" (× 10{str(power).translate(_RAISED)})"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers in [low, high], at most `most` + 1 of them."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low] if math.isfinite(low) else []
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(f * power for f in (1, 2, 2.5, 5, 10, 20) if span / (f * power) <= most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _cell(x: float, y: float, size: int, share: float, hint: str) -> str:
    """One square of a matrix."""
    text = f"{100 * share:.0f}" if share >= 0.005 else ""
    deep = " deep" if share > 0.55 else ""
    return (
        f'<g class="cell{deep}"><rect x="{x:.1f}" y="{y:.1f}" width="{size - 1.5}" '
        f'height="{size - 1.5}" rx="3" fill="rgba(var(--heat),{0.05 + 0.9 * share:.3f})">'
        f"<title>{escape(hint)} ({100 * share:.2f} %)</title></rect>"
        f'<text x="{x + size / 2 - 0.75:.1f}" y="{y + size / 2 + 3.2:.1f}" text-anchor="middle" '
        f'pointer-events="none">{text}</text></g>'
    )


def _path(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Path data; values that are not finite lift the pen."""
    words, drawing = [], False
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        if not (math.isfinite(a) and math.isfinite(b)):
            drawing = False
            continue
        words.append(f"{'L' if drawing else 'M'}{a:.1f} {b:.1f}")
        drawing = True
    return "".join(words)


def _thinned(series: Series) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most `_MOST_POINTS` points: of each stretch its lowest and its highest value."""
    x, y = np.asarray(series.x, np.float64), np.asarray(series.y, np.float64)
    if len(x) <= _MOST_POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), _MOST_POINTS // 2)
    filled = np.where(np.isfinite(y), y, 0.0)
    kept = np.unique(
        [part[pick(filled[part])] for part in parts for pick in (np.argmin, np.argmax)]
    )
    return x[kept], y[kept]


def _range_of(values: list[NDArray[np.float64]]) -> Range:
    """The values' range with a little air; (0, 1) when there is none."""
    known = np.concatenate([v[np.isfinite(v)] for v in values]) if values else np.zeros(0)
    if not len(known):
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    air = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - air, high + air


def _to_x(x: NDArray[np.float64], x_range: Range) -> NDArray[np.float64]:
    return LEFT + (x - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT)


def _to_y(y: NDArray[np.float64], y_range: Range) -> NDArray[np.float64]:
    return HEIGHT - BOTTOM - (y - y_range[0]) / (y_range[1] - y_range[0]) * (HEIGHT - TOP - BOTTOM)


def _values(
    chart: Lines, series: list[tuple[NDArray[np.float64], NDArray[np.float64]]], x_range: Range
) -> str:
    """What the page's script shows under the pointer, as an attribute's JSON."""

    def plain(values: NDArray[np.float64]) -> list[float | None]:
        return [float(f"{v:.5g}") if math.isfinite(v) else None for v in values.tolist()]

    content = {
        "series": [
            {"name": one.name, "x": plain(x), "y": plain(y)}
            for one, (x, y) in zip(chart.series, series, strict=True)
        ],
        "box": [LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM],
        "x": list(x_range),
        "labels": [chart.x_label, chart.y_label],
    }
    return escape(json.dumps(content, separators=(",", ":")), quote=True)
