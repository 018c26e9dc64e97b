"""A run's numbers on the terminal."""

from __future__ import annotations

from rich.console import Console

from perception.experiments.evaluate import Evaluation
from perception.report.parts import Column, Table
from perception.report.terminal import rich_table


def print_metrics(evaluation: Evaluation) -> None:
    """One row per data set and number, with the protocol and the frames or objects behind it."""
    rows = []
    for result in evaluation.sets:
        metrics = result.metrics()
        rows += [
            (result.dataset, title, value, f"{len(result.frames):,}", "")
            for title, value in result.headline().items()
            if "AP" not in title
        ]
        for name, value in metrics.items():
            if name.startswith("boxes/") and name.endswith("/ap"):
                _, kind, level, _ = name.split("/")
                objects = f"{int(metrics[f'boxes/{kind}/{level}/objects']):,}"
                title = f"{kind} AP, {level}"
                rows.append((result.dataset, title, value, f"{len(result.frames):,}", objects))
    columns = (
        Column("data set", "text"),
        Column("score", "text"),
        Column("%"),
        Column("frames", "text"),
        Column("objects", "text"),
    )
    names = {f"{p.name} v{p.version}": None for s in evaluation.sets for p in s.protocols}
    Console().print(rich_table(Table(columns, tuple(rows), note="; ".join(names))))
