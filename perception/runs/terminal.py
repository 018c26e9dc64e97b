"""A run's numbers on the terminal."""

from __future__ import annotations

from rich.console import Console

from perception.experiments.evaluate import Evaluation
from perception.experiments.meters import Meter
from perception.report.parts import Column, Table
from perception.report.terminal import rich_table
from perception.tasks import Kind


def print_metrics(evaluation: Evaluation) -> None:
    """One row per data set and number, with the protocol and the frames or objects behind it."""
    rows = []
    for result in evaluation.sets:
        frames = f"{len(result.frames):,}"
        for task, meter in result.meters.items():
            if meter.task.kind is Kind.BOXES:
                rows += [
                    (result.dataset, *row, frames, objects) for row, objects in _boxes(task, meter)
                ]
            else:
                rows += [(result.dataset, t, v, frames, "") for t, v in meter.headline().items()]
    columns = (
        Column("data set", "text"),
        Column("score", "text"),
        Column("%"),
        Column("frames", "text"),
        Column("objects", "text"),
    )
    names = {f"{p.name} v{p.version}": None for s in evaluation.sets for p in s.protocols}
    Console().print(rich_table(Table(columns, tuple(rows), note="; ".join(names))))


def _boxes(task: str, meter: Meter) -> list[tuple[tuple[str, float], str]]:
    """((title, AP), objects) for every class and difficulty."""
    metrics = meter.metrics()
    own = "" if task == "boxes" else f"{task}: "
    rows = []
    for name, value in metrics.items():
        if name.endswith("/ap"):
            kind, level, _ = name.split("/")
            objects = f"{int(metrics[f'{kind}/{level}/objects']):,}"
            rows.append(((f"{own}{kind} AP, {level}", value), objects))
    return rows
