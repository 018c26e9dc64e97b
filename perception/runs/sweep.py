"""What a sweep found: a row for every job, on the terminal and in `sweep.csv`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perception.files import write_text
from perception.report.parts import Cell, Column, Table
from perception.report.terminal import console, rich_table
from perception.training.logs import read_log

QUOTED = ("/mean_iou", "/max_f1", "/moderate/ap", "/delta_1.25")  # on the terminal


@dataclass(frozen=True)
class Job:
    """One job of a sweep and its numbers."""

    folder: Path
    overrides: Sequence[str]
    code: int  # exit code; 0: it ran to its end
    scores: Mapping[str, float] = field(default_factory=dict)


def read_job(folder: Path, overrides: Sequence[str], code: int) -> Job:
    """A job with its scores: those of its report, else of its last evaluation while training."""
    path = folder / "evaluation.json"
    if path.is_file():
        scores = json.loads(path.read_text(encoding="utf-8"))["metrics"]
    else:
        rows = read_log(folder / "evaluation.csv")
        scores = {k: v for k, v in rows[-1].items() if "/" in k} if rows else {}
    return Job(folder, tuple(overrides), code, {k: v for k, v in scores.items() if v is not None})


def tell_sweep(base: Path, jobs: Sequence[Job]) -> None:
    """Prints the jobs with the numbers that people quote; `sweep.csv` in `base` has all numbers."""
    names = list(dict.fromkeys(name for job in jobs for name in job.scores))
    quoted = [name for name in names if name.endswith(QUOTED)]
    changed = [_own_words(job, jobs) for job in jobs]
    columns = (
        Column("job", "text"),
        Column("overrides", "text"),
        Column("ended", "text"),
        *(Column(name) for name in quoted),
    )
    rows: list[tuple[Cell, ...]] = [
        (
            job.folder.name,
            words,
            "yes" if job.code == 0 else f"no, exit code {job.code}",
            *(job.scores.get(name) for name in quoted),
        )
        for job, words in zip(jobs, changed, strict=True)
    ]
    path = base / "sweep.csv"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["job", "exit_code", "overrides", *names])
    for job in jobs:
        numbers = (job.scores.get(name, "") for name in names)
        writer.writerow([job.folder.name, job.code, " ".join(job.overrides), *numbers])
    write_text(path, text.getvalue())
    console().print(rich_table(Table(columns, tuple(rows), note=f"all numbers: {path}")))


def _own_words(job: Job, jobs: Sequence[Job]) -> str:
    """The overrides that not all jobs have."""
    return " ".join(w for w in job.overrides if not all(w in other.overrides for other in jobs))
