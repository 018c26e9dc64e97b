"""The page of `perception look`: augmented samples with their targets drawn in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perception.data.batch import DenseTarget, Sample, SampleBoxes, Target
from perception.data.build import TaskSet
from perception.data.datasets import TaskSource
from perception.data.sampling import sample_seed
from perception.labels import IGNORE_INDEX
from perception.report.overlay import (
    IGNORED,
    RGB,
    Picture,
    box_color,
    draw_boxes,
    draw_road,
    draw_semantic,
    draw_values,
    enlarge,
    enlarge_label,
    mask_color,
)
from perception.report.page import render
from perception.report.parts import Column, Legend, Panel, Part, Pictures, Section, Table
from perception.tasks import Kind

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
    for source in task_set.train.sources:
        target = sample.targets[source.task.name]
        panels.append(Panel(source.task.name, _drawn(image, source, target, factor)))
    return tuple(panels)


def _drawn(image: Picture, source: TaskSource, target: Target, factor: int) -> Picture:
    """The target of one task drawn into its image, both enlarged by `factor`."""
    if isinstance(target, SampleBoxes):
        names = [source.class_names[i] for i in target.label]
        return draw_boxes(image, target.xyxy * factor, names, ignore=target.ignore)
    array = enlarge_label(target.array, factor)
    if target.kind is Kind.VALUES:
        return draw_values(image, array)
    if source.scheme is not None:
        return draw_semantic(image, array, source.scheme.colors)
    color = mask_color(source.task.name)
    return draw_road(image, array == 1, valid=array != IGNORE_INDEX, color=color)


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
    entries: list[tuple[str, RGB]] = []
    for source in task_set.train.sources:
        if source.task.kind is Kind.MASK:
            entries.append((f"{source.task.name} (target)", mask_color(source.task.name)))
        entries += [(c.name, c.color) for c in (source.scheme.trained if source.scheme else ())]
        entries += [(f"{c.name} (box)", box_color(c.name)) for c in source.classes]
    return Legend((*dict.fromkeys(entries), ("ignored", IGNORED)))


Row = tuple[str, str, float | None, int | None]  # task, class, share of pixels, boxes


def _shares(task_set: TaskSet, samples: Sequence[Sample]) -> Table:
    """How often each class is seen in the samples of this page."""
    rows: list[Row] = []
    for source in task_set.train.sources:
        rows += _rows(source, [s.targets[source.task.name] for s in samples])
    columns = (
        Column("task", "text"),
        Column("class", "text"),
        Column("pixels, %"),
        Column("boxes", "count"),
    )
    return Table(columns, tuple(rows), title="What these samples hold", tall=True)


def _rows(source: TaskSource, targets: Sequence[Target]) -> list[Row]:
    task = source.task.name
    boxes = [t for t in targets if isinstance(t, SampleBoxes)]
    if boxes:
        found = [
            (task, name, None, sum(int(((b.label == i) & ~b.ignore).sum()) for b in boxes))
            for i, name in enumerate(source.class_names)
        ]
        return [*found, (task, "ignored", None, sum(int(b.ignore.sum()) for b in boxes))]
    pixels = np.concatenate([t.array.ravel() for t in targets if isinstance(t, DenseTarget)])
    if source.task.kind is Kind.VALUES:
        known = float(np.isfinite(pixels).mean())
        return [(task, "known", known, None), (task, "ignored", 1 - known, None)]
    count = np.bincount(pixels, minlength=256)
    named = dict(enumerate(source.class_names)) or {1: task}
    shares = [(task, n, float(count[i] / pixels.size), None) for i, n in named.items()]
    return [*shares, (task, "ignored", float(count[IGNORE_INDEX] / pixels.size), None)]
