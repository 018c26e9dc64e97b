"""The page of `perception look`: augmented samples with their targets drawn in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception.data.batch import Sample
from perception.data.build import TaskSet
from perception.data.sampling import sample_seed
from perception.report.overlay import (
    IGNORED,
    ROAD,
    box_color,
    draw_boxes,
    draw_road,
    draw_semantic,
    enlarge,
    enlarge_label,
)
from perception.report.page import render
from perception.report.parts import Column, Legend, Panel, Part, Pictures, Section, Table

WIDTH = 720  # narrower samples are enlarged to about this before labels are drawn


def look_page(sets: Sequence[TaskSet], *, samples: int, seed: int, command: str = "") -> str:
    """The page: `samples` samples of every set, as step 0 of training with `seed` sees them.

    Raises:
        PerceptionError: what reading a frame raises.
    """
    sections = [_section(s, draw_samples(s, samples, seed)) for s in sets]
    facts = {s.name: s.train.summary.removeprefix(f"{s.train.name}: ") for s in sets}
    return render(
        "Augmented samples",
        sections,
        facts={**facts, "seed": seed, "command": command},
        subtitle="What training sees: each sample with its targets after augmentation.",
    )


def draw_samples(task_set: TaskSet, count: int, seed: int) -> list[Sample]:
    """The first `count` samples of training: the same frames, the same augmentation."""
    stream = task_set.stream(seed=seed, workers=0)
    made: list[Sample] = []
    step = 0
    while len(made) < count:
        for i, index in enumerate(stream.indices(step)[: count - len(made)]):
            made.append(
                task_set.augment(
                    task_set.train.sample(index),
                    sample_seed(stream.seed, step, i),
                    size=stream.size(step),
                )
            )
        step += 1
    return made


def sample_panels(sample: Sample, task_set: TaskSet) -> tuple[Panel, ...]:
    """The picture, and one panel for each target."""
    factor = max(1, round(WIDTH / sample.image.shape[1]))
    image = enlarge(sample.image, factor)
    panels = [Panel("image", image)]
    if sample.road is not None:
        road = enlarge_label(sample.road, factor)
        panels.append(Panel("road", draw_road(image, road == 1, valid=road != 255)))
    if sample.semantic is not None and task_set.train.scheme is not None:
        ids = enlarge_label(sample.semantic, factor)
        panels.append(Panel("semantic", draw_semantic(image, ids, task_set.train.scheme.colors)))
    if sample.boxes is not None:
        names = [task_set.train.box_names[i] for i in sample.boxes.label]
        drawn = draw_boxes(image, sample.boxes.xyxy * factor, names, ignore=sample.boxes.ignore)
        panels.append(Panel("boxes", drawn))
    return tuple(panels)


def _section(task_set: TaskSet, samples: Sequence[Sample]) -> Section:
    parts: list[Part] = [_legend(task_set)]
    for sample in samples:
        height, width = sample.image.shape[:2]
        panels = sample_panels(sample, task_set)
        wide = width > 2 * height
        parts.append(Pictures(sample.key, panels, note=f"{width} × {height}", wide=wide))
    parts.append(_shares(task_set, samples))
    tasks = ", ".join(task_set.tasks)
    return Section(
        task_set.name,
        tuple(parts),
        intro=f"{task_set.train.summary}; tasks: {tasks}; {task_set.batch_size} samples per step. "
        "Hatched: ignored, neither right nor wrong.",
    )


def _legend(task_set: TaskSet) -> Legend:
    entries = [("road (target)", ROAD)] if "road" in task_set.tasks else []
    if scheme := task_set.train.scheme:
        entries += [(c.name, c.color) for c in scheme.trained]
    entries += [(f"{name} (box)", box_color(name)) for name in task_set.train.box_names]
    return Legend((*entries, ("ignored", IGNORED)))


def _shares(task_set: TaskSet, samples: Sequence[Sample]) -> Table:
    """How often each class is seen in the samples of this page."""
    rows: list[tuple[str, str, float | None, int | None]] = []
    if "road" in task_set.tasks:
        road = np.concatenate([s.road.ravel() for s in samples if s.road is not None])
        rows.append(("road", "road", float((road == 1).mean()), None))
        rows.append(("road", "ignored", float((road == 255).mean()), None))
    if scheme := task_set.train.scheme:
        ids = np.concatenate([s.semantic.ravel() for s in samples if s.semantic is not None])
        count = np.bincount(ids, minlength=256)
        rows += [
            ("semantic", n, float(count[i] / ids.size), None) for i, n in enumerate(scheme.names)
        ]
        rows.append(("semantic", "ignored", float(count[255] / ids.size), None))
    if "boxes" in task_set.tasks:
        boxes = [s.boxes for s in samples if s.boxes is not None]
        for i, name in enumerate(task_set.train.box_names):
            rows.append(
                ("boxes", name, None, sum(int(((b.label == i) & ~b.ignore).sum()) for b in boxes))
            )
        rows.append(("boxes", "ignored", None, sum(int(b.ignore.sum()) for b in boxes)))
    columns = (
        Column("task", "text"),
        Column("class", "text"),
        Column("pixels, %"),
        Column("boxes", "count"),
    )
    return Table(columns, tuple(rows), title="What these samples hold", tall=True)
