"""The page of `perception score --html`: numbers, curves, every image, and the worst ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perception.evaluation.run import Outcome
from perception.files import write_text
from perception.report.page import render
from perception.report.parts import (
    Cell,
    Column,
    Figure,
    Figures,
    Part,
    Pictures,
    Section,
    Table,
    Text,
    show,
)

MOST_FIGURES = 12


def write_page(
    path: Path, outcome: Outcome, intervals: Mapping[str, tuple[float, float]], *, worst: int
) -> None:
    """Writes the page atomically."""
    protocol = outcome.benchmark.protocol
    facts = {
        "protocol": f"{protocol.name}, version {protocol.version}",
        "images": outcome.inventory or f"{len(outcome.jobs):,}",
        **({"files left out": outcome.left_out} if outcome.left_out else {}),
        **{k.replace("_", " "): _fact(v) for k, v in protocol.parameters.items() if v is not None},
    }
    sections = (_numbers(outcome, intervals), *outcome.result.sections, *_images(outcome, worst))
    text = render(f"Scores: {protocol.name}", sections, facts=facts)
    write_text(path, text)


def _fact(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _numbers(outcome: Outcome, intervals: Mapping[str, tuple[float, float]]) -> Section:
    headline = list(outcome.result.headline.items())
    figures = tuple(
        Figure(name, value, *intervals.get(name, (None, None)))
        for name, value in headline[:MOST_FIGURES]
    )
    note = "In small type: 95 % bootstrap interval over images." if intervals else ""
    parts: list[Part] = [Text(one, warning=True) for one in outcome.result.notes]
    parts += [Figures(figures, note), *outcome.result.tables]
    return Section("Numbers", tuple(parts))


def _images(outcome: Outcome, worst: int) -> tuple[Section, ...]:
    """Every image in a table, worst first, and pictures of the worst."""
    benchmark = outcome.benchmark
    scores_of = [dict(scores) for scores in benchmark.each_image(outcome.records)]
    order = sorted(range(len(scores_of)), key=lambda i: _rank(scores_of[i]))
    scored = [(outcome.jobs[i], scores_of[i]) for i in order]
    names = list(dict.fromkeys(name for _, scores in scored for name in scores))
    columns = (Column("image", "text"), *(Column(name, _kind(name, scored)) for name in names))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (job.key, *(scores.get(name) for name in names)) for job, scores in scored
    )
    sections = [
        Section(
            "Images",
            (Table(columns, rows, note=benchmark.image_note, tall=True),),
            "Worst first; click a column heading to sort.",
        )
    ]
    pictures = []
    drawn = benchmark.panels_of(outcome.jobs, outcome.records, order[:worst])
    for (job, scores), panels in zip(scored, drawn, strict=False):
        if panels:
            text = ", ".join(
                f"{n} {show(v, _kind(n, scored))}" for n, v in list(scores.items())[:3]
            )
            pictures.append(Pictures(job.key, panels, text))
    if pictures:
        sections.append(Section("Worst images", tuple(pictures), "A click enlarges."))
    return tuple(sections)


def _rank(scores: Mapping[str, Any]) -> float:
    """The first score; undefined ones last."""
    value = next(iter(scores.values()), math.nan)
    return math.inf if value is None or math.isnan(value) else float(value)


def _kind(name: str, scored: list[tuple[Any, dict[str, float]]]) -> Any:
    """Whole numbers are counts, names of thresholds plain numbers, everything else fractions."""
    values = [scores[name] for _, scores in scored if name in scores]
    if all(isinstance(value, int) for value in values):
        return "count"
    return "number" if "threshold" in name else "percent"
